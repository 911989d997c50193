// I/O ports: the table of handlers, and the guest's accesses to them.
#include "module.h"

#include <algorithm>
#include <new>
#include <string>

namespace {

PyMemory *self_of(PyObject *o) { return reinterpret_cast<PyMemory *>(o); }

// -------------------------------------------------------------------------------------------------------------- mapping

// Finds a slot for ports [port, port + count); 0 with an exception set if they are taken.
u16 new_range(PyMemory *m, PyObject *port_o, u64 count) {
    u64 port;
    if (unsigned_argument(port_o, "port", 0xffff, &port) < 0 || !require_parked(m)) return 0;
    if (count == 0 || count > 0x10000 - port) {
        PyErr_Format(PyExc_ValueError, "count: %llu: expected 1 to %llu ports from 0x%llx", static_cast<unsigned long long>(count),
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

}  // namespace

PyObject *memory_set_port_handlers(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"read", "write", "read_bulk", "write_bulk", nullptr};
    AccessArguments given;
    DeviceAccess access;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OO:set_port_handlers", const_cast<char **>(names), &given.read, &given.write,
                                     &given.read_bulk, &given.write_bulk) ||
        !parse_access(given, &access) || !require_parked(self_of(o)))
        return nullptr;
    std::swap((*self_of(o)->ranges)[0].access, access);
    Py_RETURN_NONE;
}

PyObject *memory_map_port(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"port",   "count", "read",    "write",   "read_bulk", "write_bulk",
                                  "offset", "cells", "readers", "writers", "counter", "indexed", nullptr};
    PyMemory *m = self_of(o);
    PyObject *port, *count_o;
    AccessArguments given;
    DeviceAccess access;
    u64 count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|OO$OOOOOO:map_port", const_cast<char **>(names), &port, &count_o, &given.read,
                                     &given.write, &given.read_bulk, &given.write_bulk, &given.offset, &given.cells, &given.readers,
                                     &given.writers, &given.counter, &given.indexed) ||
        unsigned_argument(count_o, "count", 0x10000, &count) < 0 || !parse_access(given, &access))
        return nullptr;
    u16 slot = new_range(m, port, count);
    if (!slot) return nullptr;
    (*m->ranges)[slot].access = std::move(access);
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
    std::fill_n(m->port_range + port, count, u16(0));
    PortRange old;
    std::swap(old, (*m->ranges)[slot]);
    Py_RETURN_NONE;
}

void hand_over(PyMemory *m) {
    Collected now;
    std::swap(now, *m->collected);
    PyObject *write_bulk = (*m->ranges)[now.range].access.write_bulk.get();
    Py_INCREF(write_bulk);
    PyObject *result = PyObject_CallFunction(write_bulk, "KIy#", static_cast<unsigned long long>(now.offset), 1u, now.bytes.data(),
                                             Py_ssize_t(now.bytes.size()));
    Py_DECREF(write_bulk);
    if (!result) keep_error(m);
    Py_XDECREF(result);
}

// ------------------------------------------------------------------------------------------------ accesses by the guest

u32 port_read(Cpu &cpu, u16 port, unsigned size) {
    auto *m = static_cast<PyMemory *>(cpu.memory->owner);
    const PortRange &r = (*m->ranges)[m->port_range[port]];
    if (UNLIKELY(port - r.first + size > r.count)) {  // past the end of a range: each byte to its own
        u32 value = 0;
        for (unsigned i = 0; i < size; i++) value |= port_read(cpu, u16(port + i), 1) << 8 * i;
        return value;
    }
    m->port_reads++;
    cpu.stats.device_accesses++;
    const u64 offset = r.access.shift + (port - r.first);
    if (const Cells *cells = r.access.cells.get(); cells && cells->answers(cpu, offset, size)) {
        const u32 value = u32(cells->value(offset, size));
        if (UNLIKELY(!m->collected->bytes.empty()) && ++m->collected->accesses >= Collected::LIMIT) Gil gil(m);
        return value;
    }
    if (const Counter *counter = r.access.counter.get(); counter && counter->answers(offset, size)) {
        const u32 value = u32(counter->read(guest_ns(cpu), offset, size));
        if (UNLIKELY(!m->collected->bytes.empty()) && ++m->collected->accesses >= Collected::LIMIT) Gil gil(m);
        return value;
    }
    if (UNLIKELY(m->error) || !r.access.reads()) return size == 4 ? ~u32(0) : (u32(1) << 8 * size) - 1;
    Gil gil(m);
    return u32(call_read(m, (*m->ranges)[m->port_range[port]].access, offset, size, "port"));
}

void port_write(Cpu &cpu, u16 port, u32 value, unsigned size) {
    auto *m = static_cast<PyMemory *>(cpu.memory->owner);
    const PortRange &r = (*m->ranges)[m->port_range[port]];
    if (UNLIKELY(port - r.first + size > r.count)) {
        for (unsigned i = 0; i < size; i++) port_write(cpu, u16(port + i), value >> 8 * i & 0xff, 1);
        return;
    }
    m->port_writes++;
    cpu.stats.device_accesses++;
    if (UNLIKELY(m->error)) return;
    const u64 offset = r.access.shift + (port - r.first);
    if (Cells *cells = r.access.cells.get()) {
        const u8 rule = cells->rule(offset, size);
        if (rule & Cells::WRITE) return cells->store(offset, value, size);
        if (rule & Cells::KEEP && cells->value(offset, size) == value) return;
        if (rule & Cells::QUEUE && size == 1 && r.access.write_bulk) {
            Collected &c = *m->collected;
            const u16 range = m->port_range[port];
            if (UNLIKELY(!c.bytes.empty() && (c.range != range || c.offset != offset))) {
                { Gil gil(m); }  // hands over what came before; anything may be different then
                return m->error ? void() : port_write(cpu, port, value, size);
            }
            c.range = range;
            c.offset = offset;
            c.bytes.push_back(char(value));
            if (UNLIKELY(++c.accesses >= Collected::LIMIT)) Gil gil(m);
            return;
        }
    }
    for (const auto &pair : r.access.indexed) {
        if (offset == pair->offset + 1 && size == 1) {
            if (pair->store(r.access.cells->values()[pair->offset], u8(value))) return;
        } else if (offset == pair->offset && size == 2) {
            const u8 index = u8(value) & r.access.cells->writable()[offset];
            if (pair->store(index, u8(value >> 8))) {
                r.access.cells->values()[offset] = index;
                return;
            }
        }
    }
    if (!r.access.writes()) return;
    Gil gil(m);
    call_write(m, (*m->ranges)[m->port_range[port]].access, offset, value, size);
}

bool port_read_bulk(Cpu &cpu, u16 port, unsigned size, u8 *data, u32 count) {
    auto *m = static_cast<PyMemory *>(cpu.memory->owner);
    const PortRange &r = (*m->ranges)[m->port_range[port]];
    if (!r.access.read_bulk || port - r.first + size > r.count || m->error) return false;
    const u64 offset = r.access.shift + (port - r.first);
    m->port_reads += count;
    m->bulk_transfers++;
    cpu.stats.device_accesses++;
    size_t bytes = size_t(size) * count;
    Gil gil(m);
    PyObject *callable = (*m->ranges)[m->port_range[port]].access.read_bulk.get();
    Py_XINCREF(callable);
    PyObject *result =
        callable ? PyObject_CallFunction(callable, "KII", static_cast<unsigned long long>(offset), size, unsigned(count)) : nullptr;
    Py_XDECREF(callable);
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
    const PortRange &r = (*m->ranges)[m->port_range[port]];
    if (!r.access.write_bulk || port - r.first + size > r.count || m->error) return false;
    const u64 offset = r.access.shift + (port - r.first);
    m->port_writes += count;
    m->bulk_transfers++;
    cpu.stats.device_accesses++;
    Gil gil(m);
    PyObject *callable = (*m->ranges)[m->port_range[port]].access.write_bulk.get();
    if (!callable) return true;
    Py_INCREF(callable);
    PyObject *result = PyObject_CallFunction(callable, "KIy#", static_cast<unsigned long long>(offset), size,
                                             reinterpret_cast<const char *>(data), Py_ssize_t(size_t(size) * count));
    Py_DECREF(callable);
    if (!result) keep_error(m);
    Py_XDECREF(result);
    return true;
}
