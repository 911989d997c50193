// How a guest's accesses reach a device model.  Some registers are bytes that the model shares with the engine, as the rules beside them
// say; accesses to those need no Python and no GIL.  All others call Python.
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "cpu.h"
#include "types.h"
#include <cstring>
#include <memory>
#include <vector>

struct PyMemory;

// A reference that is given up with its owner, which holds the GIL then.  None is nullptr.
class Ref {
    PyObject *object_ = nullptr;

  public:
    Ref() = default;
    explicit Ref(PyObject *object) : object_(object && object != Py_None ? Py_NewRef(object) : nullptr) {}
    Ref(Ref &&other) noexcept : object_(other.object_) { other.object_ = nullptr; }
    Ref &operator=(Ref &&other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    ~Ref() { Py_XDECREF(object_); }
    PyObject *get() const { return object_; }
    explicit operator bool() const { return object_; }
};

// vmcore.hardware.Cells: values, rules, masks of the bits that a write stores and of those that a one clears, a byte for each offset; and
// a time.  The engine writes there while it runs without the GIL: the machine is the running thread's then.
struct Cells {
    enum Rule : u8 {
        READ = 1,   // a read gives the value
        WRITE = 2,  // a write is stored by the masks
        KEEP = 4,   // a write of the very value that is there does nothing
        QUEUE = 8,  // bytes written are collected for write_bulk
        UNTIL = 16, // a read gives the value before guest time until()
    };
    Py_buffer held[5] = {};
    std::size_t count = 0;
    ~Cells();
    bool hold(PyObject *const buffers[5]);  // false with an exception set
    u8 *values() const { return static_cast<u8 *>(held[0].buf); }
    u8 *rules() const { return static_cast<u8 *>(held[1].buf); }
    const u8 *writable() const { return static_cast<const u8 *>(held[2].buf); }
    const u8 *clears() const { return static_cast<const u8 *>(held[3].buf); }
    u64 until() const {
        u64 ns;
        std::memcpy(&ns, held[4].buf, sizeof ns);
        return ns;
    }
    bool answers(Cpu &cpu, u64 offset, unsigned size) const {
        const u8 common = rule(offset, size);
        return common & READ || (UNLIKELY(common & UNTIL) && guest_ns(cpu) < until());
    }

    // Rules that all bytes of an access have in common.
    u8 rule(u64 offset, unsigned size) const {
        if (UNLIKELY(offset >= count || size > count - offset)) return 0;
        u8 common = rules()[offset];
        for (unsigned i = 1; i < size; i++) common &= rules()[offset + i];
        return common;
    }
    u64 value(u64 offset, unsigned size) const {
        u64 value = 0;
        for (unsigned i = 0; i < size; i++) value |= u64(values()[offset + i]) << 8 * i;
        return value;
    }
    void store(u64 offset, u64 value, unsigned size) {
        for (u64 at = offset; at < offset + size; at++, value >>= 8) {
            u8 v = u8(value), mask = writable()[at];
            values()[at] = u8((values()[at] & ~mask & ~(v & clears()[at])) | (v & mask));
        }
    }
};

// vmcore.hardware.Counter: a register that counts guest time, worked out without Python while it runs.
struct Counter {
    struct State {
        u64 running;  // else Python is asked
        u64 value;    // at guest time `since`
        u64 since;    // ns
        u64 hz, mask;
    };
    u64 offset = 0;
    unsigned size = 0;
    Py_buffer held = {};
    ~Counter() {
        if (held.obj) PyBuffer_Release(&held);
    }
    bool hold(PyObject *description);  // (offset, size, buffer of a State); false with an exception set
    bool answers(u64 at, unsigned bytes) const {
        return at >= offset && at - offset + bytes <= size && static_cast<const State *>(held.buf)->running;
    }
    u64 read(u64 now, u64 at, unsigned bytes) const {
        constexpr u64 SECOND = 1000000000;
        const State &s = *static_cast<const State *>(held.buf);
        const u64 ns = now - s.since, ticks = ns / SECOND * s.hz + ns % SECOND * s.hz / SECOND;
        const u64 v = ((s.value + ticks) & s.mask) >> 8 * (at - offset);
        return bytes == 8 ? v : v & ((u64(1) << 8 * bytes) - 1);
    }
};

// An index register and the data register behind it, as display adapters have them: data writes that only change bits which have no
// further effect are stored without asking the device (vmcore.hardware.IndexedRegisters).
struct Indexed {
    Py_buffer held[3] = {};  // values, and for each the bits that a write stores, and those that may change unasked
    u64 offset = 0;          // of the index register, a cell; the data register is the next
    u64 first = 0;           // place of register 0 in values
    Indexed() = default;
    Indexed(const Indexed &) = delete;
    Indexed &operator=(const Indexed &) = delete;
    ~Indexed();
    bool hold(PyObject *const buffers[3]);  // false with an exception set
    // Takes a write, or leaves it to the device.
    bool store(u8 index, u8 value) const {
        if (index >= held[1].len) return false;
        u8 &old = static_cast<u8 *>(held[0].buf)[first + index];
        const u8 mask = static_cast<const u8 *>(held[1].buf)[index];
        if ((old ^ value) & mask & ~static_cast<const u8 *>(held[2].buf)[index]) return false;
        old = u8((old & ~mask) | (value & mask));
        return true;
    }
};

// What answers for a range of ports or memory.
struct DeviceAccess {
    u64 shift = 0;                           // the device's offset of the first port or byte; the offsets below include it
    Ref read, write, read_bulk, write_bulk;  // read(offset, size), write(offset, value, size), ...
    std::unique_ptr<Cells> cells;
    std::unique_ptr<Counter> counter;
    struct Direct {
        u64 place;                           // place_of(offset, size)
        Ref read, write;                     // read(), write(value): for just this register
    };
    std::vector<Direct> direct;              // sorted
    std::vector<std::unique_ptr<Indexed>> indexed;

    bool reads() const { return read || !direct.empty(); }
    bool writes() const { return write || !direct.empty(); }
    static u64 place_of(u64 offset, unsigned size) { return offset << 4 | size; }
    const Direct *find(u64 offset, unsigned size) const;
    int traverse(visitproc visit, void *arg) const;
};

// Takes the arguments that map_port() and map_device() have in common; nullptr for those not given.  False with an exception set.
struct AccessArguments {
    PyObject *read = nullptr, *write = nullptr, *read_bulk = nullptr, *write_bulk = nullptr, *offset = nullptr, *cells = nullptr,
             *readers = nullptr, *writers = nullptr, *counter = nullptr, *indexed = nullptr;
};
bool parse_access(const AccessArguments &given, DeviceAccess *out);

// Accesses that Python answers; with the GIL.  On failure the exception is kept for run(), and a read gives all ones.
u64 call_read(PyMemory *m, const DeviceAccess &access, u64 offset, unsigned size, const char *what);
void call_write(PyMemory *m, const DeviceAccess &access, u64 offset, u64 value, unsigned size);
