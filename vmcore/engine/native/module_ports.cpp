// I/O ports: the table of handlers, and the guest's accesses to them.
#include "module.h"

#include <algorithm>
#include <new>
#include <string>

u64 handler_value(PyMemory *m, PyObject *result, unsigned size, const char *what);

namespace {

PyMemory *self_of(PyObject *o) { return reinterpret_cast<PyMemory *>(o); }

// ------------------------------------------------------------------------------------------------------ native handlers

// Bytes that read as they were last written.
struct Latch final : NativePort {
    std::vector<u8> bytes;
    Latch(u32 count, u8 value) : bytes(count, value) {}
    u32 read(u32 offset, unsigned size) override {
        u32 value = 0;
        for (unsigned i = 0; i < size; i++) value |= u32(bytes[offset + i]) << 8 * i;
        return value;
    }
    void write(u32 offset, u32 value, unsigned size) override {
        for (unsigned i = 0; i < size; i++) bytes[offset + i] = u8(value >> 8 * i);
    }
};

// Collects what is written and gives it to Python in pieces.
struct Sink final : NativePort {
    static constexpr size_t LIMIT = 4096;
    PyObject *target;
    std::string held;
    u8 readback;
    Sink(PyObject *callable, u8 value) : target(Py_NewRef(callable)), readback(value) { held.reserve(LIMIT); }
    ~Sink() override { Py_XDECREF(target); }
    u32 read(u32, unsigned) override { return readback; }
    void write(u32, u32 value, unsigned) override { held.push_back(char(value)); }
    bool full() const override { return held.size() >= LIMIT || (!held.empty() && held.back() == '\n'); }
    bool flush() override {
        if (held.empty() || !target) return true;
        std::string piece;
        piece.swap(held);
        held.reserve(LIMIT);
        PyObject *callable = Py_NewRef(target);
        PyObject *result = PyObject_CallFunction(callable, "y#", piece.data(), Py_ssize_t(piece.size()));
        Py_DECREF(callable);
        Py_XDECREF(result);
        return result != nullptr;
    }
    int traverse(visitproc visit, void *arg) override {
        Py_VISIT(target);
        return 0;
    }
    void clear() override { Py_CLEAR(target); }
};

// -------------------------------------------------------------------------------------------------------------- mapping

// Finds a slot for ports [port, port + count); 0 with an exception set if they are taken.
u16 new_range(PyMemory *m, PyObject *port_o, u64 count) {
    u64 port;
    if (unsigned_argument(port_o, "port", 0xffff, &port) < 0 || !require_parked(m)) return 0;
    if (count == 0 || count > 0x10000 - port) {
        PyErr_Format(PyExc_ValueError, "count: %llu: expected 1 to %llu ports from %#llx", static_cast<unsigned long long>(count),
                     static_cast<unsigned long long>(0x10000 - port), static_cast<unsigned long long>(port));
        return 0;
    }
    for (u64 p = port; p < port + count; p++) {
        if (u16 taken = m->port_range[p]) {
            const PortRange &r = (*m->ranges)[taken];
            ModuleState *state = state_of(reinterpret_cast<PyObject *>(m));
            if (state)
                PyErr_Format(state->usage_error, "ports 0x%04x-0x%04x overlap the mapped ports 0x%04x-0x%04x", unsigned(port),
                             unsigned(port + count - 1), r.first, r.first + r.count - 1);
            return 0;
        }
    }
    size_t slot = 1;
    while (slot < m->ranges->size() && (*m->ranges)[slot].count) slot++;
    if (slot == m->ranges->size()) {
        try {
            m->ranges->emplace_back();
        } catch (const std::bad_alloc &) {
            PyErr_NoMemory();
            return 0;
        }
    }
    PortRange &r = (*m->ranges)[slot];
    r.first = u32(port);
    r.count = u32(count);
    std::fill_n(m->port_range + port, count, u16(slot));  // at most 65536 ranges of one port; slot 0 is one of the indices
    return u16(slot);
}

bool port_callables(PyObject *read, PyObject *write, PyObject *read_bulk, PyObject *write_bulk) {
    return callable_argument(read, "read", true) == 0 && callable_argument(write, "write", true) == 0 &&
           callable_argument(read_bulk, "read_bulk", true) == 0 && callable_argument(write_bulk, "write_bulk", true) == 0;
}

void set_callables(PortRange &r, PyObject *read, PyObject *write, PyObject *read_bulk, PyObject *write_bulk) {
    assign(r.read, read);
    assign(r.write, write);
    assign(r.read_bulk, read_bulk);
    assign(r.write_bulk, write_bulk);
}

PyObject *call(PyMemory *m, PyObject *callable, u32 offset, unsigned size) {
    PyObject *args[3] = {nullptr, PyLong_FromLong(long(offset)), PyLong_FromLong(long(size))};
    PyObject *result = nullptr;
    if (LIKELY(args[1] && args[2])) result = PyObject_Vectorcall(callable, args + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
    Py_XDECREF(args[1]);
    Py_XDECREF(args[2]);
    return result;
}

}  // namespace

PyObject *memory_set_port_handlers(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"read", "write", "read_bulk", "write_bulk", nullptr};
    PyObject *read, *write, *read_bulk = Py_None, *write_bulk = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OO:set_port_handlers", const_cast<char **>(names), &read, &write, &read_bulk,
                                     &write_bulk) ||
        !port_callables(read, write, read_bulk, write_bulk) || !require_parked(self_of(o)))
        return nullptr;
    set_callables((*self_of(o)->ranges)[0], read, write, read_bulk, write_bulk);
    Py_RETURN_NONE;
}

PyObject *memory_map_port(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"port", "count", "read", "write", "read_bulk", "write_bulk", nullptr};
    PyMemory *m = self_of(o);
    PyObject *port, *count_o, *read, *write, *read_bulk = Py_None, *write_bulk = Py_None;
    u64 count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|OO:map_port", const_cast<char **>(names), &port, &count_o, &read, &write,
                                     &read_bulk, &write_bulk) ||
        unsigned_argument(count_o, "count", 0x10000, &count) < 0 || !port_callables(read, write, read_bulk, write_bulk))
        return nullptr;
    u16 slot = new_range(m, port, count);
    if (!slot) return nullptr;
    set_callables((*m->ranges)[slot], read, write, read_bulk, write_bulk);
    Py_RETURN_NONE;
}

PyObject *memory_map_port_latch(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"port", "count", "value", nullptr};
    PyMemory *m = self_of(o);
    PyObject *port, *count_o = nullptr, *value_o = nullptr;
    u64 count = 1, value = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$O:map_port_latch", const_cast<char **>(names), &port, &count_o, &value_o) ||
        (count_o && unsigned_argument(count_o, "count", 0x10000, &count) < 0) ||
        (value_o && unsigned_argument(value_o, "value", 0xff, &value) < 0))
        return nullptr;
    try {
        auto latch = std::make_unique<Latch>(u32(count), u8(value));
        u16 slot = new_range(m, port, count);
        if (!slot) return nullptr;
        (*m->ranges)[slot].native = std::move(latch);
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

PyObject *memory_port_latch(PyObject *o, PyObject *port_o) {
    PyMemory *m = self_of(o);
    u64 port;
    if (unsigned_argument(port_o, "port", 0xffff, &port) < 0 || !require_parked(m)) return nullptr;
    PortRange &r = (*m->ranges)[m->port_range[port]];
    if (!dynamic_cast<Latch *>(r.native.get())) {
        ModuleState *state = state_of(o);
        return state ? PyErr_Format(state->usage_error, "port 0x%04x is no latch", unsigned(port)) : nullptr;
    }
    return PyLong_FromUnsignedLong(r.native->read(u32(port) - r.first, 1));
}

PyObject *memory_map_port_sink(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"port", "write", "readback", nullptr};
    PyMemory *m = self_of(o);
    PyObject *port, *write, *readback_o = nullptr;
    u64 readback = 0xff;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|$O:map_port_sink", const_cast<char **>(names), &port, &write, &readback_o) ||
        callable_argument(write, "write", false) < 0 || (readback_o && unsigned_argument(readback_o, "readback", 0xff, &readback) < 0))
        return nullptr;
    try {
        auto sink = std::make_unique<Sink>(write, u8(readback));
        u16 slot = new_range(m, port, 1);
        if (!slot) return nullptr;
        (*m->ranges)[slot].native = std::move(sink);
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

PyObject *memory_unmap_port(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"port", "count", nullptr};
    PyMemory *m = self_of(o);
    PyObject *port_o, *count_o;
    u64 port, count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO:unmap_port", const_cast<char **>(names), &port_o, &count_o) ||
        unsigned_argument(port_o, "port", 0xffff, &port) < 0 || unsigned_argument(count_o, "count", 0x10000, &count) < 0 ||
        !require_parked(m))
        return nullptr;
    u16 slot = m->port_range[port];
    if (!slot || (*m->ranges)[slot].first != port || (*m->ranges)[slot].count != count) {
        ModuleState *state = state_of(o);
        return state ? PyErr_Format(state->usage_error, "no %u ports mapped at 0x%04x", unsigned(count), unsigned(port)) : nullptr;
    }
    try {
        m->retired_ranges->emplace_back();
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    }
    std::fill_n(m->port_range + port, count, u16(0));
    std::swap(m->retired_ranges->back(), (*m->ranges)[slot]);
    if (!m->running) {
        if (!flush_native_ports(m)) return nullptr;
    }
    Py_RETURN_NONE;
}

// Hands over what native handlers hold back, and lets go of unmapped ones.  With the GIL, outside of guest code.
bool flush_native_ports(PyMemory *m) {
    for (size_t i = 0; i < m->ranges->size(); i++)
        if (NativePort *native = (*m->ranges)[i].native.get())
            if (!native->flush()) return false;
    while (!m->retired_ranges->empty()) {
        PortRange r;
        std::swap(r, m->retired_ranges->back());
        m->retired_ranges->pop_back();
        bool good = !r.native || r.native->flush();
        set_callables(r, nullptr, nullptr, nullptr, nullptr);
        if (!good) return false;
    }
    m->retired_blocks->clear();
    return true;
}

// ------------------------------------------------------------------------------------------------ accesses by the guest

u32 port_read(Cpu &cpu, u16 port, unsigned size) {
    auto *m = static_cast<PyMemory *>(cpu.memory->owner);
    PortRange &r = (*m->ranges)[m->port_range[port]];
    u32 ones = size == 4 ? 0xffffffffu : size == 2 ? 0xffffu : 0xffu;
    u32 offset = u32(port) - r.first;
    if (UNLIKELY(offset + size > r.count)) {  // past the end of a range: each byte to its own
        u32 value = 0;
        for (unsigned i = 0; i < size; i++) value |= port_read(cpu, u16(port + i), 1) << 8 * i;
        return value;
    }
    m->port_reads++;
    cpu.stats.device_accesses++;
    if (r.native) return r.native->read(offset, size);
    if (!r.read || UNLIKELY(m->error)) return ones;
    Gil gil(m);
    PyObject *callable = Py_NewRef(r.read);
    PyObject *result = call(m, callable, offset, size);
    Py_DECREF(callable);
    return u32(handler_value(m, result, size, "port"));
}

void port_write(Cpu &cpu, u16 port, u32 value, unsigned size) {
    auto *m = static_cast<PyMemory *>(cpu.memory->owner);
    PortRange &r = (*m->ranges)[m->port_range[port]];
    u32 offset = u32(port) - r.first;
    if (UNLIKELY(offset + size > r.count)) {
        for (unsigned i = 0; i < size; i++) port_write(cpu, u16(port + i), value >> 8 * i & 0xff, 1);
        return;
    }
    m->port_writes++;
    cpu.stats.device_accesses++;
    if (NativePort *native = r.native.get()) {
        native->write(offset, value, size);
        if (UNLIKELY(native->full()) && !m->error) {
            Gil gil(m);
            if (!native->flush()) keep_error(m);
        }
        return;
    }
    if (!r.write || UNLIKELY(m->error)) return;
    Gil gil(m);
    PyObject *callable = Py_NewRef(r.write);
    PyObject *args[4] = {nullptr, PyLong_FromLong(long(offset)), PyLong_FromUnsignedLong(value), PyLong_FromLong(long(size))};
    PyObject *result = nullptr;
    if (LIKELY(args[1] && args[2] && args[3]))
        result = PyObject_Vectorcall(callable, args + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
    for (int i = 1; i < 4; i++) Py_XDECREF(args[i]);
    Py_DECREF(callable);
    if (UNLIKELY(!result)) keep_error(m);
    else Py_DECREF(result);
}

bool port_read_bulk(Cpu &cpu, u16 port, unsigned size, u8 *data, u32 count) {
    auto *m = static_cast<PyMemory *>(cpu.memory->owner);
    PortRange &r = (*m->ranges)[m->port_range[port]];
    u32 offset = u32(port) - r.first;
    if (!r.read_bulk || offset + size > r.count || m->error) return false;
    m->port_reads += count;
    m->bulk_transfers++;
    cpu.stats.device_accesses++;
    size_t bytes = size_t(size) * count;
    Gil gil(m);
    PyObject *callable = Py_NewRef(r.read_bulk);
    PyObject *result = PyObject_CallFunction(callable, "III", unsigned(offset), size, unsigned(count));
    Py_DECREF(callable);
    Py_buffer view;
    bool good = false;
    if (result && PyObject_GetBuffer(result, &view, PyBUF_SIMPLE) == 0) {
        good = size_t(view.len) == bytes;
        if (good) std::memcpy(data, view.buf, bytes);
        else PyErr_Format(PyExc_ValueError, "read_bulk answered %zd bytes: expected %zu (%u reads of %u)", view.len, bytes, unsigned(count), size);
        PyBuffer_Release(&view);
    }
    Py_XDECREF(result);
    if (!good) {
        keep_error(m);
        std::memset(data, 0xff, bytes);
    }
    return true;
}

bool port_write_bulk(Cpu &cpu, u16 port, unsigned size, const u8 *data, u32 count) {
    auto *m = static_cast<PyMemory *>(cpu.memory->owner);
    PortRange &r = (*m->ranges)[m->port_range[port]];
    u32 offset = u32(port) - r.first;
    if (!r.write_bulk || offset + size > r.count || m->error) return false;
    m->port_writes += count;
    m->bulk_transfers++;
    cpu.stats.device_accesses++;
    Gil gil(m);
    PyObject *callable = Py_NewRef(r.write_bulk);
    PyObject *result = PyObject_CallFunction(callable, "IIy#", unsigned(offset), size, reinterpret_cast<const char *>(data),
                                             Py_ssize_t(size_t(size) * count));
    Py_DECREF(callable);
    if (!result) keep_error(m);
    Py_XDECREF(result);
    return true;
}
