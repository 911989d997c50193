// Cpu: one virtual processor as Python sees it.  Its registers and state are in module_registers.cpp.
#include "decode.h"
#include "module.h"

#include <algorithm>
#include <new>
#include <structmember.h>

namespace {

PyCpu *self_of(PyObject *o) { return reinterpret_cast<PyCpu *>(o); }

PyObject *usage_error(PyObject *self) {
    ModuleState *state = state_of(self);
    return state ? state->usage_error : PyExc_RuntimeError;
}

// ------------------------------------------------------------------------------------------------------------ the type

// [(leaf, subleaf or None, eax, ebx, ecx, edx), ...] -> sorted table.
bool parse_cpuid(PyObject *object, std::vector<CpuidLeaf> *out) {
    PyObject *rows = PySequence_Fast(object, "cpuid: expected a sequence of (leaf, subleaf or None, eax, ebx, ecx, edx)");
    if (!rows) return false;
    bool good = true;
    for (Py_ssize_t i = 0; good && i < PySequence_Fast_GET_SIZE(rows); i++) {
        PyObject *row = PySequence_Fast_GET_ITEM(rows, i);
        if (!PyTuple_Check(row) || PyTuple_GET_SIZE(row) != 6) {
            PyErr_SetString(PyExc_TypeError, "cpuid: expected tuples (leaf, subleaf or None, eax, ebx, ecx, edx)");
            good = false;
            break;
        }
        u64 v[6] = {};
        bool subleaf = PyTuple_GET_ITEM(row, 1) != Py_None;
        for (int k = 0; good && k < 6; k++)
            if (k != 1 || subleaf) good = unsigned_argument(PyTuple_GET_ITEM(row, k), "cpuid", 0xffffffff, &v[k]) == 0;
        if (good) out->push_back({u32(v[0]), u32(v[1]), u32(v[2]), u32(v[3]), u32(v[4]), u32(v[5]), u8(subleaf)});
    }
    Py_DECREF(rows);
    std::stable_sort(out->begin(), out->end(), [](const CpuidLeaf &a, const CpuidLeaf &b) {
        return a.leaf != b.leaf ? a.leaf < b.leaf : a.subleaf < b.subleaf;
    });
    return good;
}

bool parse_features(PyObject *object, Cpu *cpu) {
    PyObject *indices = PySequence_Fast(object, "features: expected a sequence of indices into FEATURES");
    if (!indices) return false;
    bool good = true;
    for (Py_ssize_t i = 0; good && i < PySequence_Fast_GET_SIZE(indices); i++) {
        u64 index = 0;
        good = unsigned_argument(PySequence_Fast_GET_ITEM(indices, i), "features", FEATURE_COUNT - 1, &index) == 0;
        if (good) cpu->features[index >> 6] |= u64(1) << (index & 63);
    }
    Py_DECREF(indices);
    return good;
}

PyObject *cpu_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"memory", "index", "features", "cpuid", "phys_bits", "lin_bits", "seed", "tsc_hz", nullptr};
    static_assert(FEATURE_COUNT <= sizeof(Cpu::features) * 8, "Cpu::features is too small");
    PyObject *memory_o, *index_o = nullptr, *features = nullptr, *cpuid = nullptr, *phys_o = nullptr, *lin_o = nullptr,
             *seed_o = nullptr, *tsc_o = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$OOOOOO:Cpu", const_cast<char **>(names), &memory_o, &index_o, &features,
                                     &cpuid, &phys_o, &lin_o, &seed_o, &tsc_o))
        return nullptr;
    u64 index = 0, phys_bits = 40, lin_bits = 48, seed = 0, tsc_hz = 1000000000;
    if ((index_o && unsigned_argument(index_o, "index", 254, &index) < 0) ||
        (phys_o && unsigned_argument(phys_o, "phys_bits", 52, &phys_bits) < 0) ||
        (lin_o && unsigned_argument(lin_o, "lin_bits", 48, &lin_bits) < 0) ||
        (seed_o && unsigned_argument(seed_o, "seed", ~u64(0), &seed) < 0) ||
        (tsc_o && unsigned_argument(tsc_o, "tsc_hz", u64(1) << 40, &tsc_hz) < 0))
        return nullptr;
    if (phys_bits < 32 || lin_bits < 32) return PyErr_Format(PyExc_ValueError, "phys_bits and lin_bits: expected at least 32");
    PyObject *module = PyType_GetModuleByDef(type, &native_module);
    if (!module) return nullptr;
    auto *state = static_cast<ModuleState *>(PyModule_GetState(module));
    if (!PyObject_TypeCheck(memory_o, state->memory_type))
        return PyErr_Format(PyExc_TypeError, "memory: expected a PhysicalMemory, not %.100s", Py_TYPE(memory_o)->tp_name);
    auto *memory = reinterpret_cast<PyMemory *>(memory_o);
    if (!require_not_running(memory, "adding a vCPU")) return nullptr;

    auto *self = self_of(type->tp_alloc(type, 0));
    if (!self) return nullptr;
    bool good = false;
    try {
        self->memory = reinterpret_cast<PyMemory *>(Py_NewRef(memory_o));
        self->msr_hooks = new std::vector<u32>();
        self->breakpoints = new std::vector<u64>();
        self->watches = new std::vector<Watchpoint>();
        self->cpuid = new std::vector<CpuidLeaf>();
        self->cpu = new Cpu();  // all zero
        self->cpu->filled_count = ~u32(0);  // zero is the tag of page 0: the first flush goes over all TLB entries
        Cpu &cpu = *self->cpu;
        cpu.memory = memory->memory;
        cpu.owner = self;
        cpu.index = u32(index);
        cpu.phys_bits = u8(phys_bits);
        cpu.lin_bits = u8(lin_bits);
        cpu.rng_state = seed;
        cpu.tsc_hz = tsc_hz;
        cpu.ns_mul = cpu.tsc_mul = 1;
        cpu.breakpoint_exempt = ~u64(0);
        good = (!features || parse_features(features, &cpu)) && (!cpuid || parse_cpuid(cpuid, self->cpuid));
        if (good) {
            cpu.cpuid = self->cpuid->data();
            cpu.cpuid_count = u32(self->cpuid->size());
            memory->memory->cpus.push_back(&cpu);
            blocks_attach(cpu);
            for (auto &set : cpu.tlbs)
                for (TlbEntry &entry : set) entry = {TLB_INVALID, TLB_INVALID, TLB_INVALID, 0};
            tlb_flush(cpu);
            reset_cpu(cpu, false);
        }
    } catch (const std::bad_alloc &) {
        good = false;
        PyErr_NoMemory();
    }
    if (!good) {
        Py_DECREF(self);
        return nullptr;
    }
    return reinterpret_cast<PyObject *>(self);
}

int cpu_traverse(PyObject *o, visitproc visit, void *arg) {
    PyCpu *self = self_of(o);
    Py_VISIT(Py_TYPE(o));
    Py_VISIT(self->memory);
    Py_VISIT(self->acknowledge);
    Py_VISIT(self->on_msr_read);
    Py_VISIT(self->on_msr_write);
    Py_VISIT(self->on_cr8_write);
    Py_VISIT(self->on_ferr);
    return 0;
}

int cpu_clear(PyObject *o) {
    // The memory stays: the vCPU is registered there until it goes, and the memory's own clear breaks such cycles.
    PyCpu *self = self_of(o);
    Py_CLEAR(self->acknowledge);
    Py_CLEAR(self->on_msr_read);
    Py_CLEAR(self->on_msr_write);
    Py_CLEAR(self->on_cr8_write);
    Py_CLEAR(self->on_ferr);
    return 0;
}

void cpu_dealloc(PyObject *o) {
    PyCpu *self = self_of(o);
    PyTypeObject *type = Py_TYPE(o);
    PyObject_GC_UnTrack(o);
    if (self->weakrefs) PyObject_ClearWeakRefs(o);
    cpu_clear(o);
    if (self->cpu) {
        if (self->cpu->memory) {
            auto &cpus = self->cpu->memory->cpus;
            cpus.erase(std::remove(cpus.begin(), cpus.end(), self->cpu), cpus.end());
            if (self->cpu->jumps) blocks_detach(*self->cpu);
        }
        delete self->cpu;
    }
    delete self->msr_hooks;
    delete self->breakpoints;
    delete self->watches;
    delete self->cpuid;
    Py_XDECREF(self->memory);
    type->tp_free(o);
    Py_DECREF(type);
}

// ------------------------------------------------------------------------------------------------------------- running

// Instructions between two looks for signals, about a tenth of a second.
constexpr u64 SLICE = 20000000;

PyObject *run_for(PyCpu *self, u64 instructions) {
    PyMemory *m = self->memory;
    Cpu &cpu = *self->cpu;
    if (!require_not_running(m, "a run")) return nullptr;
    if (PyErr_CheckSignals() < 0) return nullptr;
    m->running = self;
    m->thread = PyThread_get_thread_ident();
    RunExit reason = RunExit::BUDGET;
    const char *failure = nullptr;
    bool good = true;
    for (u64 left = instructions; left;) {
        u64 slice = std::min(left, SLICE), before = retired(cpu);
        m->released = PyEval_SaveThread();
        try {
            reason = run(cpu, slice);
        } catch (const std::bad_alloc &) {
            failure = "no memory";
        } catch (...) {
            failure = "an exception escaped from the engine";
        }
        PyThreadState *state = m->released;
        m->released = nullptr;
        PyEval_RestoreThread(state);
        if (!m->collected->bytes.empty()) hand_over(m);
        u64 done = retired(cpu) - before;
        left -= std::min(left, done);
        if (failure || m->error || reason != RunExit::BUDGET) break;
        if (done < slice) break;
        if (left && PyErr_CheckSignals() < 0) {
            good = false;
            break;
        }
    }
    // A breakpoint that was reported is passed by the next run; one that a run just came to is not, wherever runs are cut.
    if (reason == RunExit::BREAKPOINT) cpu.breakpoint_exempt = retired(cpu);
    m->retired_blocks->clear();
    m->running = nullptr;
    cpu.pending.fetch_and(~u32(PEND_ERROR));
    if (PyObject *error = m->error) {
        m->error = nullptr;
        PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(error)), error);
        Py_DECREF(error);
        return nullptr;
    }
    if (!good) return nullptr;
    if (failure) return PyErr_Format(PyExc_SystemError, "the engine failed at rip 0x%llx: %s", static_cast<unsigned long long>(cpu.rip), failure);
    return PyLong_FromLong(long(reason));
}

PyObject *cpu_run(PyObject *o, PyObject *instructions) {
    u64 count;
    if (unsigned_argument(instructions, "instructions", INT64_MAX >> 1, &count) < 0) return nullptr;
    return run_for(self_of(o), count);
}

PyObject *cpu_step(PyObject *o, PyObject *const *args, Py_ssize_t given) {
    u64 count = 1;
    if (given > 1) return PyErr_Format(PyExc_TypeError, "step: expected at most 1 argument, got %zd", given);
    if (given && unsigned_argument(args[0], "instructions", INT64_MAX >> 1, &count) < 0) return nullptr;
    return run_for(self_of(o), count);
}

PyObject *cpu_request_stop(PyObject *o, PyObject *) {
    pend(*self_of(o)->cpu, PEND_STOP);
    Py_RETURN_NONE;
}

PyObject *cpu_cancel_stop(PyObject *o, PyObject *) {
    self_of(o)->cpu->pending.fetch_and(~u32(PEND_STOP));
    Py_RETURN_NONE;
}

PyObject *cpu_break_run(PyObject *o, PyObject *) {
    PyCpu *self = self_of(o);
    if (!require_parked(self->memory)) return nullptr;
    // Outside of a run there is nothing to break.
    if (self->memory->running == self) pend(*self->cpu, PEND_BREAK);
    Py_RETURN_NONE;
}

PyObject *cpu_set_interrupt(PyObject *o, PyObject *level) {
    PyCpu *self = self_of(o);
    int on = PyObject_IsTrue(level);
    if (on < 0 || !require_parked(self->memory)) return nullptr;
    if (on) pend(*self->cpu, PEND_INTR);
    else self->cpu->pending.fetch_and(~u32(PEND_INTR));
    Py_RETURN_NONE;
}

PyObject *cpu_nmi(PyObject *o, PyObject *) {
    PyCpu *self = self_of(o);
    if (!require_parked(self->memory)) return nullptr;
    pend(*self->cpu, PEND_NMI);
    Py_RETURN_NONE;
}

PyObject *cpu_init(PyObject *o, PyObject *) {
    PyCpu *self = self_of(o);
    if (!require_parked(self->memory)) return nullptr;
    pend(*self->cpu, PEND_INIT);
    Py_RETURN_NONE;
}

PyObject *cpu_sipi(PyObject *o, PyObject *vector_o) {
    PyCpu *self = self_of(o);
    u64 vector;
    if (unsigned_argument(vector_o, "vector", 0xff, &vector) < 0 || !require_parked(self->memory)) return nullptr;
    Cpu &cpu = *self->cpu;
    // An INIT that was sent just before has not been taken yet if the vCPU had no turn since.
    if (self->memory->running != self && (cpu.pending.load() & PEND_INIT)) {
        cpu.pending.fetch_and(~u32(PEND_INIT));
        reset_cpu(cpu, true);
    }
    if (cpu.activity == Activity::WAIT_SIPI) start_at_sipi(cpu, u8(vector));
    Py_RETURN_NONE;
}

PyObject *cpu_reset(PyObject *o, PyObject *) {
    PyCpu *self = self_of(o);
    if (!require_parked_cpu(self)) return nullptr;
    Cpu &cpu = *self->cpu;
    cpu.pending.fetch_and(PEND_STOP);
    reset_cpu(cpu, false);
    tlb_flush(cpu);
    Py_RETURN_NONE;
}

PyObject *cpu_inject_machine_check(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"bank", "status", "address", "misc", "mcg_status", nullptr};
    PyObject *given[5] = {};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OOO:inject_machine_check", const_cast<char **>(names), &given[0], &given[1],
                                     &given[2], &given[3], &given[4]))
        return nullptr;
    PyCpu *self = self_of(o);
    u64 v[5] = {}, banks = self->cpu->mcg_cap & 0xff;
    for (int i = 0; i < 5; i++)
        if (given[i] && unsigned_argument(given[i], names[i], ~u64(0), &v[i]) < 0) return nullptr;
    if (!require_parked(self->memory)) return nullptr;
    if (v[0] >= banks) return PyErr_Format(PyExc_ValueError, "bank: %llu: the processor has %u banks", static_cast<unsigned long long>(v[0]), unsigned(banks));
    inject_machine_check(*self->cpu, unsigned(v[0]), v[1], v[2], v[3], v[4]);
    Py_RETURN_NONE;
}

PyObject *cpu_set_time(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"base_ns", "ns_mul", "ns_shift", "tsc_mul", "tsc_shift", nullptr};
    PyObject *given[5] = {};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOOO:set_time", const_cast<char **>(names), &given[0], &given[1], &given[2],
                                     &given[3], &given[4]))
        return nullptr;
    PyCpu *self = self_of(o);
    Cpu &cpu = *self->cpu;
    u64 v[5] = {0, cpu.ns_mul, cpu.ns_shift, cpu.tsc_mul, cpu.tsc_shift};
    const u64 limits[5] = {~u64(0), ~u64(0), 63, ~u64(0), 63};
    for (int i = 0; i < 5; i++)
        if (given[i] && unsigned_argument(given[i], names[i], limits[i], &v[i]) < 0) return nullptr;
    if (!require_parked(self->memory)) return nullptr;
    cpu.time_base_ns = v[0];
    cpu.time_base_insns = retired(cpu);
    cpu.ns_mul = v[1];
    cpu.ns_shift = u32(v[2]);
    cpu.tsc_mul = v[3];
    cpu.tsc_shift = u32(v[4]);
    Py_RETURN_NONE;
}

// ------------------------------------------------------------------------------------------------------- address space

PyObject *cpu_translate(PyObject *o, PyObject *address) {
    PyCpu *self = self_of(o);
    u64 lin;
    if (unsigned_argument(address, "address", ~u64(0), &lin) < 0 || !require_parked(self->memory)) return nullptr;
    Cpu &cpu = *self->cpu;
    if (!long_mode(cpu)) {
        if (lin >> 32) Py_RETURN_NONE;
    } else if (!canonical(cpu, lin)) {
        Py_RETURN_NONE;
    }
    Translation t;
    u32 error;
    if (!walk(cpu, lin, ACCESS_READ, TLB_KERNEL, &t, &error, true)) Py_RETURN_NONE;
    return PyLong_FromUnsignedLongLong(t.pa & cpu.memory->a20_mask);
}

PyObject *cpu_flush_tlb(PyObject *o, PyObject *) {
    PyCpu *self = self_of(o);
    if (!require_parked(self->memory)) return nullptr;
    tlb_flush(*self->cpu);
    Py_RETURN_NONE;
}

PyObject *cpu_read_msr(PyObject *o, PyObject *index_o) {
    PyCpu *self = self_of(o);
    u64 index;
    if (unsigned_argument(index_o, "index", 0xffffffff, &index) < 0 || !require_parked(self->memory)) return nullptr;
    try {
        u64 value = read_msr(*self->cpu, u32(index));
        return PyErr_Occurred() ? nullptr : PyLong_FromUnsignedLongLong(value);
    } catch (const GuestFault &) {
        return PyErr_Format(PyExc_KeyError, "no MSR %u", unsigned(index));
    }
}

PyObject *cpu_write_msr(PyObject *o, PyObject *const *args, Py_ssize_t given) {
    PyCpu *self = self_of(o);
    u64 index, value;
    if (given != 2) return PyErr_Format(PyExc_TypeError, "write_msr: expected 2 arguments, got %zd", given);
    if (unsigned_argument(args[0], "index", 0xffffffff, &index) < 0 || unsigned_argument(args[1], "value", ~u64(0), &value) < 0 ||
        !require_parked_cpu(self))
        return nullptr;
    try {
        write_msr(*self->cpu, u32(index), value);
    } catch (const GuestFault &fault) {
        char what[32];
        PyOS_snprintf(what, sizeof what, "MSR %#x", unsigned(index));
        refuse(what, value, fault);
        return nullptr;
    }
    if (PyErr_Occurred()) return nullptr;
    Py_RETURN_NONE;
}

// ------------------------------------------------------------------------------------------- breakpoints, watchpoints

void publish_stops(PyCpu *self) {
    Cpu &cpu = *self->cpu;
    cpu.breakpoints = self->breakpoints->data();
    cpu.breakpoint_count = u32(self->breakpoints->size());
    cpu.watches = self->watches->data();
    cpu.watch_count = u32(self->watches->size());
    tlb_flush(cpu);
    attention(cpu);
}

PyObject *cpu_add_breakpoint(PyObject *o, PyObject *address) {
    PyCpu *self = self_of(o);
    u64 lin;
    if (unsigned_argument(address, "address", ~u64(0), &lin) < 0 || !require_parked(self->memory)) return nullptr;
    auto at = std::lower_bound(self->breakpoints->begin(), self->breakpoints->end(), lin);
    if (at != self->breakpoints->end() && *at == lin) Py_RETURN_NONE;
    try {
        self->breakpoints->insert(at, lin);
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    }
    publish_stops(self);
    Py_RETURN_NONE;
}

PyObject *cpu_remove_breakpoint(PyObject *o, PyObject *address) {
    PyCpu *self = self_of(o);
    u64 lin;
    if (unsigned_argument(address, "address", ~u64(0), &lin) < 0 || !require_parked(self->memory)) return nullptr;
    auto at = std::lower_bound(self->breakpoints->begin(), self->breakpoints->end(), lin);
    if (at == self->breakpoints->end() || *at != lin) {
        PyObject *text = PyNumber_ToBase(address, 16);
        PyErr_Format(usage_error(o), "no breakpoint at %V", text, "that address");
        Py_XDECREF(text);
        return nullptr;
    }
    self->breakpoints->erase(at);
    publish_stops(self);
    Py_RETURN_NONE;
}

bool watch_arguments(PyObject *args, PyObject *kwargs, Watchpoint *out) {
    static const char *names[] = {"address", "size", "read", "write", nullptr};
    PyObject *address, *size_o = nullptr;
    int read = 0, write = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$pp:watchpoint", const_cast<char **>(names), &address, &size_o, &read, &write))
        return false;
    out->size = 1;
    if (unsigned_argument(address, "address", ~u64(0), &out->lin) < 0 ||
        (size_o && unsigned_argument(size_o, "size", ~u64(0), &out->size) < 0))
        return false;
    out->read = read;
    out->write = write;
    if (!out->size || out->lin + (out->size - 1) < out->lin || !(read || write)) {
        PyErr_SetString(PyExc_ValueError, "watchpoint: expected at least one byte, below 2**64, and a read or a write to wait for");
        return false;
    }
    return true;
}

PyObject *cpu_add_watchpoint(PyObject *o, PyObject *args, PyObject *kwargs) {
    PyCpu *self = self_of(o);
    Watchpoint w;
    if (!watch_arguments(args, kwargs, &w) || !require_parked(self->memory)) return nullptr;
    try {
        self->watches->push_back(w);
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    }
    publish_stops(self);
    Py_RETURN_NONE;
}

PyObject *cpu_remove_watchpoint(PyObject *o, PyObject *args, PyObject *kwargs) {
    PyCpu *self = self_of(o);
    Watchpoint w;
    if (!watch_arguments(args, kwargs, &w) || !require_parked(self->memory)) return nullptr;
    auto at = std::find_if(self->watches->begin(), self->watches->end(), [&](const Watchpoint &x) {
        return x.lin == w.lin && x.size == w.size && x.read == w.read && x.write == w.write;
    });
    if (at == self->watches->end()) return PyErr_Format(usage_error(o), "no such watchpoint");
    self->watches->erase(at);
    publish_stops(self);
    Py_RETURN_NONE;
}

PyObject *cpu_set_msr_hooks(PyObject *o, PyObject *args, PyObject *kwargs) {
    static const char *names[] = {"msrs", "read", "write", nullptr};
    PyCpu *self = self_of(o);
    PyObject *msrs, *read, *write;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO:set_msr_hooks", const_cast<char **>(names), &msrs, &read, &write) ||
        callable_argument(read, "read", true) < 0 || callable_argument(write, "write", true) < 0 || !require_parked_cpu(self))
        return nullptr;
    PyObject *iterator = PyObject_GetIter(msrs);
    if (!iterator) return nullptr;
    try {
        std::vector<u32> wanted;
        while (PyObject *item = PyIter_Next(iterator)) {
            u64 index;
            int bad = unsigned_argument(item, "msrs", 0xffffffff, &index);
            Py_DECREF(item);
            if (bad) {
                Py_DECREF(iterator);
                return nullptr;
            }
            wanted.push_back(u32(index));
        }
        Py_CLEAR(iterator);
        if (PyErr_Occurred()) return nullptr;
        std::sort(wanted.begin(), wanted.end());
        self->msr_hooks->swap(wanted);
    } catch (const std::bad_alloc &) {
        Py_XDECREF(iterator);
        return PyErr_NoMemory();
    }
    assign(self->on_msr_read, read);
    assign(self->on_msr_write, write);
    Py_RETURN_NONE;
}

PyObject *cpu_decode(PyObject *o, PyObject *const *args, Py_ssize_t given) {
    u64 bits;
    Py_buffer data;
    if (given != 2) return PyErr_Format(PyExc_TypeError, "decode: expected 2 arguments, got %zd", given);
    if (unsigned_argument(args[1], "bits", 64, &bits) < 0) return nullptr;
    if (bits != 16 && bits != 32 && bits != 64) return PyErr_Format(PyExc_ValueError, "bits: expected 16, 32 or 64");
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) return nullptr;
    Op op;
    u32 mode = MODE_PROT | (bits == 64 ? u32(MODE_64) : bits == 32 ? u32(MODE_32) : u32(MODE_16));
    Decoded result = decode(*self_of(o)->cpu, mode, static_cast<const u8 *>(data.buf), unsigned(std::min<Py_ssize_t>(data.len, 64)), 0, op);
    PyBuffer_Release(&data);
    if (result == Decoded::TRUNCATED) Py_RETURN_NONE;
    return Py_BuildValue("(Iz)", unsigned(op.len), op.id <= ROW_FETCH_FAULT ? nullptr : row_of(op.id).text);
}

PyMemberDef cpu_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(PyCpu, weakrefs), READONLY, nullptr},
    {"memory", T_OBJECT, offsetof(PyCpu, memory), READONLY, "The PhysicalMemory of the machine."},
    {nullptr, 0, 0, 0, nullptr},
};

#define KEYWORDS(f) reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f)), METH_VARARGS | METH_KEYWORDS
#define FAST(f) reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f)), METH_FASTCALL
PyMethodDef cpu_methods[] = {
    {"run", cpu_run, METH_O, "run(instructions) -> int: runs the guest, without the GIL; why it returned is a RunExit value."},
    {"step", FAST(cpu_step), "step(instructions=1) -> int: like run."},
    {"request_stop", cpu_request_stop, METH_NOARGS,
     "From any thread: the run, or the next one, returns at the next instruction boundary."},
    {"cancel_stop", cpu_cancel_stop, METH_NOARGS, "Takes back a request_stop() that no run has noticed."},
    {"break_run", cpu_break_run, METH_NOARGS, "Inside a callback: the run returns at the end of this instruction.  Outside: nothing."},
    {"set_interrupt", cpu_set_interrupt, METH_O, "set_interrupt(level): the INTR pin."},
    {"nmi", cpu_nmi, METH_NOARGS, "Pulses the NMI pin."},
    {"init", cpu_init, METH_NOARGS, "INIT, taken at the next instruction boundary (SDM Vol. 3A 9.1)."},
    {"sipi", cpu_sipi, METH_O, "sipi(vector): start-up IPI; only a vCPU that waits for one takes it."},
    {"reset", cpu_reset, METH_NOARGS, "Power-on reset (SDM Vol. 3A table 9-1).  The instruction count goes on."},
    {"inject_machine_check", KEYWORDS(cpu_inject_machine_check),
     "inject_machine_check(bank, status, address=0, misc=0, mcg_status=0): an error record, and #MC where it is uncorrected."},
    {"set_time", KEYWORDS(cpu_set_time),
     "set_time(base_ns, ns_mul, ns_shift, tsc_mul, tsc_shift): guest time at this instruction; it goes on by ns_mul >> ns_shift an "
     "instruction, and the TSC by tsc_mul >> tsc_shift a nanosecond.  What is left out stays."},
    {"translate", cpu_translate, METH_O, "translate(address) -> physical address of a linear one, or None.  Without side effects."},
    {"flush_tlb", cpu_flush_tlb, METH_NOARGS, "Forgets cached translations: after page tables were changed behind the guest's back."},
    {"read_msr", cpu_read_msr, METH_O, "read_msr(index) -> int; KeyError where there is none."},
    {"write_msr", FAST(cpu_write_msr), "write_msr(index, value); ValueError where the processor would answer with an exception."},
    {"add_breakpoint", cpu_add_breakpoint, METH_O, "add_breakpoint(address): run() returns before the instruction at this linear address."},
    {"remove_breakpoint", cpu_remove_breakpoint, METH_O, "remove_breakpoint(address)"},
    {"add_watchpoint", KEYWORDS(cpu_add_watchpoint),
     "add_watchpoint(address, size=1, *, read=False, write=True): run() returns after the instruction that touches these bytes."},
    {"remove_watchpoint", KEYWORDS(cpu_remove_watchpoint), "remove_watchpoint(address, size=1, *, read=False, write=True)"},
    {"set_msr_hooks", KEYWORDS(cpu_set_msr_hooks),
     "set_msr_hooks(msrs, read, write): for these MSRs read(index) -> int | None and write(index, value) -> bool | None are asked first; None "
     "leaves it to the engine, False raises #GP(0)."},
    {"decode", FAST(cpu_decode),
     "decode(data, bits) -> (length, form): how the decoder takes these bytes in protected or long mode; the form is None where they are "
     "undefined, and the result None where more bytes are needed."},
    {"state", cpu_state, METH_NOARGS, "state() -> dict: everything, as plain values."},
    {"set_state", cpu_set_state, METH_O, "set_state(dict): what state() gave."},
    {"segment", cpu_segment, METH_O, "segment(index) -> (selector, base, limit, attributes)"},
    {"set_segment", cpu_set_segment, METH_VARARGS, "set_segment(index, selector, base, limit, attributes)"},
    {"table_register", cpu_table_register, METH_O, "table_register(0 for GDTR, 1 for IDTR) -> (base, limit)"},
    {"set_table_register", cpu_set_table_register, METH_VARARGS, "set_table_register(which, base, limit)"},
    {"context", cpu_context, METH_NOARGS,
     "context() -> 656 bytes: RAX to R15, RIP, RFLAGS, and x87, MMX, XMM and MXCSR as FXSAVE64 lays them out."},
    {"set_context", cpu_set_context, METH_O, "set_context(bytes): what context() gives."},
    {"statistics", cpu_statistics, METH_NOARGS, "statistics() -> dict of counters since the vCPU was made."},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot cpu_slots[] = {
    {Py_tp_new, reinterpret_cast<void *>(cpu_new)},
    {Py_tp_dealloc, reinterpret_cast<void *>(cpu_dealloc)},
    {Py_tp_traverse, reinterpret_cast<void *>(cpu_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(cpu_clear)},
    {Py_tp_methods, cpu_methods},
    {Py_tp_getset, cpu_getset},
    {Py_tp_members, cpu_members},
    {Py_tp_doc, const_cast<char *>("A vCPU.  vmcore.engine.Cpu is this with models, segments and the rest of the Python face.")},
    {0, nullptr},
};

}  // namespace

PyType_Spec cpu_spec = {
    "vmcore.engine._native.Cpu", sizeof(PyCpu), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, cpu_slots,
};

bool require_parked_cpu(PyCpu *self) {
    if (!require_parked(self->memory)) return false;
    if (LIKELY(self->memory->running != self)) return true;
    if (ModuleState *state = state_of(reinterpret_cast<PyObject *>(self)))
        PyErr_SetString(state->usage_error, "not possible inside a run of this vCPU: leave it with break_run() first");
    return false;
}

void refuse(const char *what, u64 value, const GuestFault &fault) {
    char text[160];
    PyOS_snprintf(text, sizeof text, "%s: %#llx: the processor answers with exception %u", what, static_cast<unsigned long long>(value),
                  unsigned(fault.vector));
    PyErr_SetString(PyExc_ValueError, text);
}

// ------------------------------------------------------------------------------------------------- questions of the vCPU

namespace {
PyCpu *owner_of(Cpu &cpu) { return static_cast<PyCpu *>(cpu.owner); }
bool hooked(PyCpu *self, u32 index) { return std::binary_search(self->msr_hooks->begin(), self->msr_hooks->end(), index); }

// Asked outside of a run (read_msr() and the like from Python) the exception stays set; inside it is kept for run().
void failed(PyCpu *self) {
    if (self->memory->running) keep_error(self->memory);
}
}  // namespace

int acknowledge_interrupt(Cpu &cpu) {
    PyCpu *self = owner_of(cpu);
    if (!self->acknowledge || self->memory->error) return -1;
    Gil gil(self->memory);
    PyObject *callable = Py_NewRef(self->acknowledge);
    PyObject *result = PyObject_CallNoArgs(callable);
    Py_DECREF(callable);
    if (result == Py_None) {
        Py_DECREF(result);
        return -1;
    }
    long vector = result ? PyLong_AsLong(result) : -1;
    if (result && !PyErr_Occurred() && vector >= 0 && vector <= 255) {
        Py_DECREF(result);
        return int(vector);
    }
    if (result) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "acknowledge answered %R: expected a vector from 0 to 255, or None", result);
        Py_DECREF(result);
    }
    failed(self);
    return -1;
}

bool msr_read_hook(Cpu &cpu, u32 index, u64 *value) {
    PyCpu *self = owner_of(cpu);
    if (!self->on_msr_read || !hooked(self, index) || self->memory->error) return false;
    Gil gil(self->memory);
    PyObject *callable = Py_NewRef(self->on_msr_read);
    PyObject *result = PyObject_CallFunction(callable, "I", unsigned(index));
    Py_DECREF(callable);
    if (result == Py_None) {
        Py_DECREF(result);
        return false;
    }
    *value = 0;
    if (result && unsigned_argument(result, "MSR hook's answer", ~u64(0), value) < 0) Py_CLEAR(result);
    if (!result) failed(self);
    Py_XDECREF(result);
    return true;
}

bool msr_write_hook(Cpu &cpu, u32 index, u64 value) {
    PyCpu *self = owner_of(cpu);
    if (!self->on_msr_write || !hooked(self, index) || self->memory->error) return false;
    bool refused;
    {
        Gil gil(self->memory);
        PyObject *callable = Py_NewRef(self->on_msr_write);
        PyObject *result = PyObject_CallFunction(callable, "IK", unsigned(index), static_cast<unsigned long long>(value));
        Py_DECREF(callable);
        if (result == Py_None) {
            Py_DECREF(result);
            return false;
        }
        if (!result) failed(self);
        refused = result == Py_False;
        Py_XDECREF(result);
    }
    if (refused) raise_gp(cpu);
    return true;
}

void cr8_write_hook(Cpu &cpu, u64 value) {
    PyCpu *self = owner_of(cpu);
    if (!self->on_cr8_write || self->memory->error) return;
    Gil gil(self->memory);
    PyObject *callable = Py_NewRef(self->on_cr8_write);
    PyObject *result = PyObject_CallFunction(callable, "K", static_cast<unsigned long long>(value));
    Py_DECREF(callable);
    if (!result) failed(self);
    Py_XDECREF(result);
}

void ferr_hook(Cpu &cpu) {
    PyCpu *self = owner_of(cpu);
    if (!self->on_ferr || self->memory->error) return;
    Gil gil(self->memory);
    PyObject *callable = Py_NewRef(self->on_ferr);
    PyObject *result = PyObject_CallOneArg(callable, cpu.ferr ? Py_True : Py_False);
    Py_DECREF(callable);
    if (!result) failed(self);
    Py_XDECREF(result);
}
