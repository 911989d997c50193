// What the sources of the Python boundary share: the two types, the locking discipline, argument helpers.
//
// Who may touch what: while run() executes guest code the GIL is released and the machine (memory, ports, the vCPUs of that
// memory) belongs to the running thread.  Callbacks out of guest code take the GIL (Gil) and may use everything; other threads
// get a UsageError, but for request_stop() and `instructions`.  An exception in a callback is kept in PyMemory::error, PEND_ERROR
// leaves the run at the next instruction boundary, and run() raises that very exception.
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "cpu.h"
#include "device_access.h"
#include "planes.h"
#include <memory>
#include <string>
#include <vector>

// A stretch of host memory behind one or more regions (the region that made it, and its aliases).
struct HostBlock {
    u8 *host = nullptr, *flags = nullptr;
    u64 size = 0, flags_size = 0;
    Py_buffer lent{};  // memory that somebody else owns: `host` points into it
    ~HostBlock();
};
// What belongs to a region, by Region::id.
struct Mapping {
    bool used = false, alias = false;
    std::shared_ptr<HostBlock> block;  // RAM, ROM
    DeviceAccess access;               // DEVICE
    std::unique_ptr<Planes> planes;    // DEVICE that the engine answers by itself
};
struct PortRange {
    u32 first = 0, count = 0;  // count 0: free slot
    DeviceAccess access;
};
// Bytes for a device that Python has not got yet: those written to one port since Python last had a look at anything.
struct Collected {
    static constexpr unsigned LIMIT = 256;
    u16 range = 0;          // index into PyMemory::ranges
    unsigned accesses = 0;  // without Python since the first of them: a guest that polls a port must not keep them for long
    u64 offset = 0;
    std::string bytes;
};

struct PyCpu;
struct PyMemory {
    PyObject_HEAD
    PyObject *weakrefs;
    Memory *memory;
    std::vector<Mapping> *mappings;
    std::vector<u32> *free_mappings;
    std::vector<PortRange> *ranges;               // [0]: ports that nobody mapped
    std::vector<std::shared_ptr<HostBlock>> *retired_blocks;  // unmapped during a run: the instruction that runs may use them
    Collected *collected;
    u16 *port_range;                              // 64 Ki indices into ranges
    PyObject *error;                              // exception of a callback, to be raised by run()
    PyThreadState *released;                      // of the running thread, while the GIL is released for guest code
    PyCpu *running;                               // the vCPU that runs
    unsigned long thread;                         // on which thread
    u64 port_reads, port_writes, mmio_reads, mmio_writes, bulk_transfers;
};

struct PyCpu {
    PyObject_HEAD
    PyObject *weakrefs;
    Cpu *cpu;
    PyMemory *memory;
    PyObject *acknowledge, *on_msr_read, *on_msr_write, *on_cr8_write, *on_ferr;
    std::vector<u32> *msr_hooks;                  // sorted MSR numbers that the hooks want
    std::vector<u64> *breakpoints;
    std::vector<Watchpoint> *watches;
    std::vector<CpuidLeaf> *cpuid;
};

struct ModuleState {
    PyTypeObject *memory_type, *cpu_type;
    PyObject *usage_error;                        // vmcore.model.errors.UsageError
};
extern PyModuleDef native_module;
ModuleState *state_of(PyObject *self);            // of an instance of one of the types

extern PyType_Spec memory_spec, cpu_spec;

void hand_over(PyMemory *memory);  // module_ports.cpp: gives Python what is collected

// Holds the GIL inside a callback out of guest code, and puts the host's floating-point controls back meanwhile.  Whatever Python does
// then, it has been given all that was written before.  Outside a run, or where it is held already, this does nothing.
class Gil {
    PyMemory *memory_;
    PyThreadState *state_;

  public:
    explicit Gil(PyMemory *memory) : memory_(memory), state_(memory->released) {
        if (state_) {
            memory->released = nullptr;
            fp_leave(*memory->running->cpu);
            PyEval_RestoreThread(state_);
            if (UNLIKELY(!memory->collected->bytes.empty())) hand_over(memory);
        }
    }
    ~Gil() {
        if (state_) {
            memory_->released = PyEval_SaveThread();
            fp_enter(*memory_->running->cpu);
        }
    }
    Gil(const Gil &) = delete;
    Gil &operator=(const Gil &) = delete;
};

// Keeps the current exception for run() to raise (the first one wins) and makes the running vCPU leave.
void keep_error(PyMemory *memory);
// False with UsageError set if another thread runs guest code on this memory.
bool require_parked(PyMemory *memory);
// False with UsageError set inside a run, from whichever thread (`what` names the deed).
bool require_not_running(PyMemory *memory, const char *what);
bool flush_native_ports(PyMemory *memory);

// Unsigned arguments: -1 with TypeError or OverflowError set that names the argument.  Booleans are refused.
int unsigned_argument(PyObject *object, const char *name, u64 max, u64 *out);
PyObject *int_from_bytes(const void *data, size_t size);               // little endian, unsigned
int int_to_bytes(PyObject *object, const char *name, void *out, size_t size);
int callable_argument(PyObject *object, const char *name, bool optional);  // 0 good, -1 TypeError
inline void assign(PyObject *&slot, PyObject *value) {  // takes a new reference; None means none
    PyObject *old = slot;
    slot = value && value != Py_None ? Py_NewRef(value) : nullptr;
    Py_XDECREF(old);
}
inline int is_running_here(const PyMemory *m) { return m->running && m->thread == PyThread_get_thread_ident(); }


// module_registers.cpp
extern PyGetSetDef cpu_getset[];
PyObject *cpu_state(PyObject *self, PyObject *);
PyObject *cpu_set_state(PyObject *self, PyObject *state);
PyObject *cpu_segment(PyObject *self, PyObject *index);
PyObject *cpu_set_segment(PyObject *self, PyObject *args);
PyObject *cpu_table_register(PyObject *self, PyObject *index);
PyObject *cpu_set_table_register(PyObject *self, PyObject *args);
PyObject *cpu_statistics(PyObject *self, PyObject *);
PyObject *cpu_context(PyObject *self, PyObject *);
PyObject *cpu_set_context(PyObject *self, PyObject *context);
bool require_parked_cpu(PyCpu *self);   // not inside a run of this very vCPU, nor on another thread
void refuse(const char *what, u64 value, const GuestFault &fault);  // ValueError for what the processor answers with an exception
