// How a guest's accesses reach a device model.  See device_access.h.
#include "module.h"

#include <algorithm>
#include <new>

Cells::~Cells() {
    for (Py_buffer &buffer : held)
        if (buffer.obj) PyBuffer_Release(&buffer);
}

bool Cells::hold(PyObject *const buffers[5]) {
    for (int i = 0; i < 5; i++) {
        if (PyObject_GetBuffer(buffers[i], &held[i], PyBUF_WRITABLE) < 0) return false;
        if (held[i].len != (i == 4 ? Py_ssize_t(sizeof(u64)) : held[0].len)) {
            PyErr_SetString(PyExc_ValueError, "cells: expected four buffers of one length, and one of 8 bytes");
            return false;
        }
    }
    count = std::size_t(held[0].len);
    return true;
}

bool Counter::hold(PyObject *description) {
    PyObject *offset_o, *size_o, *state;
    u64 bytes;
    if (!PyTuple_Check(description)) {
        PyErr_Format(PyExc_TypeError, "counter: expected (offset, size, state), not %.100s", Py_TYPE(description)->tp_name);
        return false;
    }
    if (!PyArg_ParseTuple(description, "OOO;counter: expected (offset, size, state)", &offset_o, &size_o, &state) ||
        unsigned_argument(offset_o, "counter offset", ~u64(0) >> 8, &offset) < 0 ||
        unsigned_argument(size_o, "counter size", 8, &bytes) < 0 || PyObject_GetBuffer(state, &held, PyBUF_WRITABLE) < 0)
        return false;
    size = unsigned(bytes);
    if (std::size_t(held.len) != sizeof(State) || (reinterpret_cast<std::uintptr_t>(held.buf) & 7)) {
        PyErr_Format(PyExc_ValueError, "counter: expected a state of %zu aligned bytes", sizeof(State));
        return false;
    }
    return true;
}

Indexed::~Indexed() {
    for (Py_buffer &buffer : held)
        if (buffer.obj) PyBuffer_Release(&buffer);
}

bool Indexed::hold(PyObject *const buffers[3]) {
    for (int i = 0; i < 3; i++)
        if (PyObject_GetBuffer(buffers[i], &held[i], i == 0 ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) return false;
    if (held[1].len != held[2].len || held[1].len > 256 || first + u64(held[1].len) > u64(held[0].len)) {
        PyErr_SetString(PyExc_ValueError, "indexed: expected as many masks as free bits, and values for all of them");
        return false;
    }
    return true;
}

const DeviceAccess::Direct *DeviceAccess::find(u64 offset, unsigned size) const {
    const u64 place = place_of(offset, size);
    auto at = std::lower_bound(direct.begin(), direct.end(), place, [](const Direct &d, u64 p) { return d.place < p; });
    return at != direct.end() && at->place == place ? &*at : nullptr;
}

int DeviceAccess::traverse(visitproc visit, void *arg) const {
    Py_VISIT(read.get());
    Py_VISIT(write.get());
    Py_VISIT(read_bulk.get());
    Py_VISIT(write_bulk.get());
    for (const Direct &d : direct) {
        Py_VISIT(d.read.get());
        Py_VISIT(d.write.get());
    }
    return 0;
}

namespace {

// {(offset, size): callable} into the table.
bool parse_direct(PyObject *handlers, const char *name, Ref DeviceAccess::Direct::*slot, DeviceAccess *out) {
    if (!handlers || handlers == Py_None) return true;
    if (!PyDict_Check(handlers)) {
        PyErr_Format(PyExc_TypeError, "%s: expected a dict of callables by (offset, size), not %.100s", name, Py_TYPE(handlers)->tp_name);
        return false;
    }
    PyObject *key, *value;
    for (Py_ssize_t i = 0; PyDict_Next(handlers, &i, &key, &value);) {
        u64 offset, size;
        if (!PyTuple_Check(key) || PyTuple_GET_SIZE(key) != 2) {
            PyErr_Format(PyExc_TypeError, "%s: expected keys (offset, size), not %R", name, key);
            return false;
        }
        if (unsigned_argument(PyTuple_GET_ITEM(key, 0), name, ~u64(0) >> 4, &offset) < 0 ||
            unsigned_argument(PyTuple_GET_ITEM(key, 1), name, 8, &size) < 0 || callable_argument(value, name, false) < 0)
            return false;
        const u64 place = DeviceAccess::place_of(offset, unsigned(size));
        auto at = std::lower_bound(out->direct.begin(), out->direct.end(), place,
                                   [](const DeviceAccess::Direct &d, u64 p) { return d.place < p; });
        if (at == out->direct.end() || at->place != place) {
            at = out->direct.emplace(at);
            at->place = place;
        }
        (*at).*slot = Ref(value);
    }
    return true;
}

// [(offset, values, first, masks, free)]
bool parse_indexed(PyObject *given, DeviceAccess *out) {
    if (!given || given == Py_None) return true;
    PyObject *items = PySequence_Fast(given, "indexed: expected a sequence");
    if (!items) return false;
    bool good = true;
    for (Py_ssize_t i = 0; good && i < PySequence_Fast_GET_SIZE(items); i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(items, i), *offset, *first, *buffers[3];
        auto made = std::make_unique<Indexed>();
        good = PyTuple_Check(item) && PyArg_ParseTuple(item, "OOOOO", &offset, &buffers[0], &first, &buffers[1], &buffers[2]) &&
               unsigned_argument(offset, "offset", ~u64(0) >> 8, &made->offset) == 0 &&
               unsigned_argument(first, "first", 1 << 20, &made->first) == 0 && made->hold(buffers);
        if (good) out->indexed.push_back(std::move(made));
        else if (!PyErr_Occurred()) PyErr_SetString(PyExc_TypeError, "indexed: expected (offset, values, first, masks, free)");
    }
    Py_DECREF(items);
    return good;
}

PyObject *invoke(PyObject *callable, PyObject **args, std::size_t count) {
    bool good = true;
    for (std::size_t i = 1; i <= count; i++) good = good && args[i];
    Py_INCREF(callable);  // what it does may unmap it
    PyObject *result = LIKELY(good) ? PyObject_Vectorcall(callable, args + 1, count | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr) : nullptr;
    Py_DECREF(callable);
    for (std::size_t i = 1; i <= count; i++) Py_XDECREF(args[i]);
    return result;
}

}  // namespace

bool parse_access(const AccessArguments &given, DeviceAccess *out) {
    u64 shift = 0;
    if (callable_argument(given.read, "read", true) < 0 || callable_argument(given.write, "write", true) < 0 ||
        (given.read_bulk && callable_argument(given.read_bulk, "read_bulk", true) < 0) ||
        (given.write_bulk && callable_argument(given.write_bulk, "write_bulk", true) < 0) ||
        (given.offset && unsigned_argument(given.offset, "offset", ~u64(0) >> 8, &shift) < 0))
        return false;
    try {
        out->shift = shift;
        out->read = Ref(given.read);
        out->write = Ref(given.write);
        out->read_bulk = Ref(given.read_bulk);
        out->write_bulk = Ref(given.write_bulk);
        if (given.cells && given.cells != Py_None) {
            PyObject *buffers[5];
            if (!PyTuple_Check(given.cells)) {
                PyErr_Format(PyExc_TypeError, "cells: expected a tuple of five buffers, not %.100s", Py_TYPE(given.cells)->tp_name);
                return false;
            }
            if (!PyArg_ParseTuple(given.cells, "OOOOO;cells: expected (values, rules, writable, clears, until)", &buffers[0], &buffers[1],
                                  &buffers[2], &buffers[3], &buffers[4]))
                return false;
            out->cells = std::make_unique<Cells>();
            if (!out->cells->hold(buffers)) return false;
        }
        if (given.counter && given.counter != Py_None) {
            out->counter = std::make_unique<Counter>();
            if (!out->counter->hold(given.counter)) return false;
        }
        return parse_direct(given.readers, "readers", &DeviceAccess::Direct::read, out) &&
               parse_direct(given.writers, "writers", &DeviceAccess::Direct::write, out) && parse_indexed(given.indexed, out);
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
        return false;
    }
}

u64 call_read(PyMemory *m, const DeviceAccess &access, u64 offset, unsigned size, const char *what) {
    const u64 ones = size == 8 ? ~u64(0) : (u64(1) << 8 * size) - 1;
    const DeviceAccess::Direct *direct = access.find(offset, size);
    PyObject *result;
    if (direct && direct->read) {
        PyObject *args[1] = {nullptr};
        result = invoke(direct->read.get(), args, 0);
    } else if (access.read) {
        PyObject *args[3] = {nullptr, PyLong_FromUnsignedLongLong(offset), PyLong_FromLong(long(size))};
        result = invoke(access.read.get(), args, 2);
    } else {
        return ones;
    }
    if (LIKELY(result != nullptr)) {
        u64 value = PyLong_Check(result) ? PyLong_AsUnsignedLongLong(result) : u64(-1);
        bool failed = value == u64(-1) && (PyErr_Occurred() || !PyLong_Check(result));
        if (LIKELY(!failed && value <= ones)) {
            Py_DECREF(result);
            return value;
        }
        PyErr_Clear();
        PyErr_Format(PyLong_Check(result) ? PyExc_OverflowError : PyExc_TypeError,
                     "%s handler answered %R to a read of %u bytes: expected an unsigned integer of that size", what, result, size);
        Py_DECREF(result);
    }
    keep_error(m);
    return ones;
}

void call_write(PyMemory *m, const DeviceAccess &access, u64 offset, u64 value, unsigned size) {
    const DeviceAccess::Direct *direct = access.find(offset, size);
    PyObject *result;
    if (direct && direct->write) {
        PyObject *args[2] = {nullptr, PyLong_FromUnsignedLongLong(value)};
        result = invoke(direct->write.get(), args, 1);
    } else if (access.write) {
        PyObject *args[4] = {nullptr, PyLong_FromUnsignedLongLong(offset), PyLong_FromUnsignedLongLong(value), PyLong_FromLong(long(size))};
        result = invoke(access.write.get(), args, 3);
    } else {
        return;
    }
    if (UNLIKELY(!result)) keep_error(m);
    else Py_DECREF(result);
}
