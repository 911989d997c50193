// Registers of a Cpu by name, its whole state, and its counters.
#include "module.h"

#include <cstddef>

namespace {

PyCpu *self_of(PyObject *o) { return reinterpret_cast<PyCpu *>(o); }

// ---------------------------------------------------------------------------------------- registers that are plain fields

enum Kind : u8 { FIELD, GPR, GPR_HIGH, XMM, MMX, ST };
struct RegisterName {
    const char *name;
    Kind kind;
    u8 size;        // bytes
    size_t offset;  // FIELD: in Cpu; else an index
    u64 max;        // FIELD: greatest value
};

// Addressed by closures, so the order does not matter.
#define GPRS(name64, name32, name16, name8, i) \
    {name64, GPR, 8, i, 0}, {name32, GPR, 4, i, 0}, {name16, GPR, 2, i, 0}, {name8, GPR, 1, i, 0}
#define PLAIN(text, member) {text, FIELD, sizeof(Cpu::member), offsetof(Cpu, member), ~u64(0)}
#define LIMITED(text, member, limit) {text, FIELD, sizeof(Cpu::member), offsetof(Cpu, member), limit}
const RegisterName registers[] = {
    GPRS("rax", "eax", "ax", "al", 0), GPRS("rcx", "ecx", "cx", "cl", 1), GPRS("rdx", "edx", "dx", "dl", 2),
    GPRS("rbx", "ebx", "bx", "bl", 3), GPRS("rsp", "esp", "sp", "spl", 4), GPRS("rbp", "ebp", "bp", "bpl", 5),
    GPRS("rsi", "esi", "si", "sil", 6), GPRS("rdi", "edi", "di", "dil", 7), GPRS("r8", "r8d", "r8w", "r8b", 8),
    GPRS("r9", "r9d", "r9w", "r9b", 9), GPRS("r10", "r10d", "r10w", "r10b", 10), GPRS("r11", "r11d", "r11w", "r11b", 11),
    GPRS("r12", "r12d", "r12w", "r12b", 12), GPRS("r13", "r13d", "r13w", "r13b", 13), GPRS("r14", "r14d", "r14w", "r14b", 14),
    GPRS("r15", "r15d", "r15w", "r15b", 15),
    {"ah", GPR_HIGH, 1, 0, 0}, {"ch", GPR_HIGH, 1, 1, 0}, {"dh", GPR_HIGH, 1, 2, 0}, {"bh", GPR_HIGH, 1, 3, 0},
#define X(n) {"xmm" #n, XMM, 16, n, 0}
    X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15),
#undef X
#define X(n) {"mm" #n, MMX, 8, n, 0}, {"st" #n, ST, 10, n, 0}
    X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7),
#undef X
    PLAIN("rip", rip), PLAIN("cr2", cr2), LIMITED("xcr0", xcr0, ~u64(0)),
    PLAIN("mxcsr", mxcsr), PLAIN("fcw", fpu.cw), PLAIN("fop", fpu.op), PLAIN("fip", fpu.ip), PLAIN("fdp", fpu.dp), PLAIN("fcs", fpu.cs),
    PLAIN("fds", fpu.ds), PLAIN("fpu_valid", fpu.valid),
    LIMITED("ferr", ferr, 1), LIMITED("ignne", ignne, 1), LIMITED("yields", yields, 1),
};
constexpr size_t REGISTERS = sizeof registers / sizeof *registers;

u8 *place_of(Cpu &cpu, const RegisterName &r) {
    switch (r.kind) {
    case FIELD: return reinterpret_cast<u8 *>(&cpu) + r.offset;
    case GPR: return reinterpret_cast<u8 *>(&cpu.gpr[r.offset]);
    case GPR_HIGH: return reinterpret_cast<u8 *>(&cpu.gpr[r.offset]) + 1;
    case XMM: return cpu.vec[r.offset].u8_;
    case MMX: return reinterpret_cast<u8 *>(&cpu.fpu.st[r.offset].mant);
    default: return reinterpret_cast<u8 *>(&cpu.fpu.st[(cpu.fpu.top + r.offset) & 7]);
    }
}

PyObject *get_register(PyObject *o, void *closure) {
    PyCpu *self = self_of(o);
    const auto &r = *static_cast<const RegisterName *>(closure);
    if (!require_parked(self->memory)) return nullptr;
    u8 bytes[16] = {};
    std::memcpy(bytes, place_of(*self->cpu, r), r.size);
    return r.size <= 8 ? PyLong_FromUnsignedLongLong(load_host<u64>(bytes)) : int_from_bytes(bytes, r.size);
}

int no_delete(PyObject *value, const char *name) {
    if (value) return 0;
    PyErr_Format(PyExc_TypeError, "%s: a register cannot be deleted", name);
    return -1;
}

int set_register(PyObject *o, PyObject *value, void *closure) {
    PyCpu *self = self_of(o);
    const auto &r = *static_cast<const RegisterName *>(closure);
    // A board raises IGNNE# in the middle of a run, when the guest writes to port F0h.
    bool pin = r.kind == FIELD && r.offset == offsetof(Cpu, ignne);
    if (no_delete(value, r.name) < 0 || !(pin ? require_parked(self->memory) : require_parked_cpu(self))) return -1;
    u8 bytes[16] = {};
    if (r.size <= 8) {
        u64 max = r.size == 8 ? ~u64(0) : (u64(1) << 8 * r.size) - 1, v;
        if (r.kind == FIELD && r.max < max) max = r.max;
        if (unsigned_argument(value, r.name, max, &v) < 0) return -1;
        store_host<u64>(bytes, v);
        if (r.kind == GPR && r.size == 4) {  // as the processor does: the upper half is cleared
            self->cpu->gpr[r.offset] = v;
            return 0;
        }
    } else if (int_to_bytes(value, r.name, bytes, r.size) < 0) {
        return -1;
    }
    std::memcpy(place_of(*self->cpu, r), bytes, r.size);
    if (r.kind == MMX) self->cpu->fpu.st[r.offset].se = 0xffff;  // SDM Vol. 1 9.2.2
    return 0;
}

// ------------------------------------------------------------------------------------------- registers with consequences

enum Special : int {
    RFLAGS, CR0, CR3, CR4, CR8, EFER, XFSW, DR0, DR1, DR2, DR3, DR6, DR7, CPL, ACTIVITY, INSTRUCTIONS, TSC, GUEST_NS, MODE_BITS,
    INDEX, WATCH_HIT, PENDING, SPECIALS,
};
const char *const special_names[] = {
    "rflags", "cr0", "cr3", "cr4", "cr8", "efer", "fsw", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7", "cpl", "activity", "instructions",
    "tsc", "guest_ns", "mode_bits", "index", "watch_hit", "pending",
};
static_assert(sizeof special_names / sizeof *special_names == SPECIALS, "a name for each");
const char *const special_docs[] = {
    "RFLAGS, with the arithmetic flags worked out.", "CR0.  Setting it has the consequences that MOV to CR0 has.", "CR3.", "CR4.",
    "CR8: the task priority.", "IA32_EFER.", "x87 status word with TOP.", "DR0.", "DR1.", "DR2.", "DR3.", "DR6.", "DR7.",
    "Current privilege level, 0 to 3.", "An Activity value: active, halted, waiting for a start-up IPI, shut down.",
    "Instructions retired since the vCPU was made; exact, also inside a callback.  Readable from any thread.", "The time-stamp counter.",
    "Guest time in nanoseconds.", "What decoding depends on (engine internal).", "The number of this vCPU.",
    "Linear address of the access that hit a watchpoint.", "Pending events (engine internal bits).",
};

PyObject *get_special(PyObject *o, void *closure) {
    PyCpu *self = self_of(o);
    Cpu &cpu = *self->cpu;
    auto which = Special(reinterpret_cast<intptr_t>(closure));
    if (which != INSTRUCTIONS && which != INDEX && !require_parked(self->memory)) return nullptr;
    u64 v = 0;
    switch (which) {
    case RFLAGS: v = get_eflags(cpu); break;
    case CR0: v = cpu.cr0; break;
    case CR3: v = cpu.cr3; break;
    case CR4: v = cpu.cr4; break;
    case CR8: v = cpu.cr8; break;
    case EFER: v = cpu.efer; break;
    case XFSW: v = fpu_sw(cpu); break;
    case DR0: case DR1: case DR2: case DR3: v = cpu.dr[which - DR0]; break;
    case DR6: v = cpu.dr[6]; break;
    case DR7: v = cpu.dr[7]; break;
    case CPL: v = cpu.cpl; break;
    case ACTIVITY: v = u64(cpu.activity); break;
    case INSTRUCTIONS: v = retired(cpu); break;
    case TSC: v = tsc_now(cpu); break;
    case GUEST_NS: v = guest_ns(cpu); break;
    case MODE_BITS: v = cpu.mode; break;
    case INDEX: v = cpu.index; break;
    case WATCH_HIT: v = cpu.watch_hit; break;
    case PENDING: v = cpu.pending.load(); break;
    default: break;
    }
    return PyLong_FromUnsignedLongLong(v);
}

int set_special(PyObject *o, PyObject *value, void *closure) {
    PyCpu *self = self_of(o);
    Cpu &cpu = *self->cpu;
    auto which = Special(reinterpret_cast<intptr_t>(closure));
    const char *name = special_names[which];
    u64 max = ~u64(0), v;
    switch (which) {
    case RFLAGS: max = 0x3fffff; break;
    case XFSW: max = 0xffff; break;
    case CPL: max = 3; break;
    case ACTIVITY: max = 4; break;
    case CR8: max = 15; break;
    case TSC: case CR0: case CR3: case CR4: case EFER: case DR0: case DR1: case DR2: case DR3: case DR6: case DR7: break;
    default: PyErr_Format(PyExc_AttributeError, "%s cannot be set", name); return -1;
    }
    if (no_delete(value, name) < 0 || unsigned_argument(value, name, max, &v) < 0) return -1;
    // The local APIC sets CR8 when the guest writes to the task priority register, in the middle of a run.
    if (which == CR8 ? !require_parked(self->memory) : !require_parked_cpu(self)) return -1;
    try {
        switch (which) {
        case RFLAGS:
            set_eflags(cpu, u32(v));
            update_mode(cpu);
            flags_changed(cpu);
            break;
        case CR0: set_cr0(cpu, v); break;
        case CR3: set_cr3(cpu, v); break;
        case CR4: set_cr4(cpu, v); break;
        case CR8: cpu.cr8 = v; break;
        case EFER: set_efer(cpu, v & ~u64(EFER_LMA)); break;  // LMA follows from LME and CR0.PG
        case XFSW:
            cpu.fpu.sw = u16(v & ~0x3800);
            cpu.fpu.top = v >> 11 & 7;
            break;
        case DR0: case DR1: case DR2: case DR3:
            cpu.dr[which - DR0] = v;
            set_dr7(cpu, cpu.dr[7]);
            tlb_flush(cpu);
            break;
        case DR6: set_dr6(cpu, v); break;
        case DR7: set_dr7(cpu, v); break;
        case CPL:
            cpu.cpl = u8(v);
            update_mode(cpu);
            break;
        case ACTIVITY: cpu.activity = Activity(v); break;
        case TSC: cpu.tsc_offset += v - tsc_now(cpu); break;
        default: break;
        }
    } catch (const GuestFault &fault) {
        refuse(name, v, fault);
        return -1;
    }
    attention(cpu);
    return 0;
}

// --------------------------------------------------------------------------------------------------------- the hook slots

template <PyObject *PyCpu::*slot> PyObject *get_hook(PyObject *o, void *) {
    PyObject *value = self_of(o)->*slot;
    return Py_NewRef(value ? value : Py_None);
}
template <PyObject *PyCpu::*slot> int set_hook(PyObject *o, PyObject *value, void *closure) {
    PyCpu *self = self_of(o);
    auto *name = static_cast<const char *>(closure);
    if (no_delete(value, name) < 0 || callable_argument(value, name, true) < 0 || !require_parked(self->memory)) return -1;
    assign(self->*slot, value);
    return 0;
}

constexpr size_t HOOKS = 5;

}  // namespace

PyGetSetDef cpu_getset[REGISTERS + SPECIALS + HOOKS + 1];

namespace {
// The table is the same for every interpreter: filled when the library is loaded.
struct FillTable {
    template <PyObject *PyCpu::*slot> static PyGetSetDef hook(const char *name, const char *doc) {
        return {name, get_hook<slot>, set_hook<slot>, doc, const_cast<char *>(name)};
    }
    FillTable() {
        PyGetSetDef *out = cpu_getset;
        for (const RegisterName &r : registers) *out++ = {r.name, get_register, set_register, nullptr, const_cast<RegisterName *>(&r)};
        for (intptr_t i = 0; i < SPECIALS; i++)
            *out++ = {special_names[i], get_special, set_special, special_docs[i], reinterpret_cast<void *>(i)};
        *out++ = hook<&PyCpu::acknowledge>("acknowledge", "Called when the vCPU takes an interrupt: () -> vector, or None where it went away.");
        *out++ = hook<&PyCpu::on_cr8_write>("on_cr8_write", "Called with the new value when the guest writes CR8.");
        *out++ = hook<&PyCpu::on_ferr>("on_ferr", "Called with the level of FERR# when it changes.");
        *out++ = hook<&PyCpu::on_msr_read>("on_msr_read", "See set_msr_hooks().");
        *out++ = hook<&PyCpu::on_msr_write>("on_msr_write", "See set_msr_hooks().");
        *out = {nullptr, nullptr, nullptr, nullptr, nullptr};
    }
} const fill_table;
}  // namespace

// ------------------------------------------------------------------------------------------------- segments and tables

PyObject *cpu_segment(PyObject *o, PyObject *index_o) {
    PyCpu *self = self_of(o);
    u64 index;
    if (unsigned_argument(index_o, "index", SEG_COUNT - 1, &index) < 0 || !require_parked(self->memory)) return nullptr;
    const Segment &s = self->cpu->seg[index];
    return Py_BuildValue("(HKII)", s.selector, static_cast<unsigned long long>(s.base), unsigned(s.limit), unsigned(s.attr));
}

PyObject *cpu_set_segment(PyObject *o, PyObject *args) {
    static const char *const names[] = {"index", "selector", "base", "limit", "attributes"};
    static const u64 limits[] = {SEG_COUNT - 1, 0xffff, ~u64(0), 0xffffffff, 0x1ffff};
    PyCpu *self = self_of(o);
    PyObject *given[5];
    u64 v[5];
    if (!PyArg_ParseTuple(args, "OOOOO:set_segment", &given[0], &given[1], &given[2], &given[3], &given[4])) return nullptr;
    for (int i = 0; i < 5; i++)
        if (unsigned_argument(given[i], names[i], limits[i], &v[i]) < 0) return nullptr;
    if (!require_parked_cpu(self)) return nullptr;
    Cpu &cpu = *self->cpu;
    Segment &s = cpu.seg[v[0]];
    s.selector = u16(v[1]);
    s.base = v[2];
    s.limit = u32(v[3]);
    s.attr = u32(v[4]);
    if (v[0] == SS && (cpu.cr0 & CR0_PE)) cpu.cpl = cpu.flags & FL_VM ? 3 : s.dpl();  // SDM Vol. 3C 25.4.1: CPL is SS.DPL
    update_mode(cpu);
    attention(cpu);
    Py_RETURN_NONE;
}

PyObject *cpu_table_register(PyObject *o, PyObject *index_o) {
    PyCpu *self = self_of(o);
    u64 index;
    if (unsigned_argument(index_o, "which", 1, &index) < 0 || !require_parked(self->memory)) return nullptr;
    const TableRegister &t = index ? self->cpu->idtr : self->cpu->gdtr;
    return Py_BuildValue("(KI)", static_cast<unsigned long long>(t.base), unsigned(t.limit));
}

PyObject *cpu_set_table_register(PyObject *o, PyObject *args) {
    PyCpu *self = self_of(o);
    PyObject *index_o, *base_o, *limit_o;
    u64 index, base, limit;
    if (!PyArg_ParseTuple(args, "OOO:set_table_register", &index_o, &base_o, &limit_o) ||
        unsigned_argument(index_o, "which", 1, &index) < 0 || unsigned_argument(base_o, "base", ~u64(0), &base) < 0 ||
        unsigned_argument(limit_o, "limit", 0xffff, &limit) < 0 || !require_parked_cpu(self))
        return nullptr;
    TableRegister &t = index ? self->cpu->idtr : self->cpu->gdtr;
    t.base = base;
    t.limit = u32(limit);
    Py_RETURN_NONE;
}

// --------------------------------------------------------------------------------------------------------------- state

namespace {
struct StateField {
    const char *name;
    u8 size;      // bytes of an element
    u16 count;    // 0: one plain value; else a tuple
    size_t offset;
};
#define ONE(member) {#member, sizeof(Cpu::member), 0, offsetof(Cpu, member)}
#define MANY(member) {#member, sizeof(Cpu::member[0]), sizeof(Cpu::member) / sizeof(Cpu::member[0]), offsetof(Cpu, member)}
#define NAMED(text, member) {text, sizeof(Cpu::member), 0, offsetof(Cpu, member)}
// Whatever a guest can see or feel later.  Members of Cpu that are not here are derived (update_mode, tlb_flush), live only
// within an instruction, or belong to the embedder.
const StateField state_fields[] = {
    {"gpr", 8, 16, offsetof(Cpu, gpr)},
    ONE(rip), ONE(cpl), ONE(activity), ONE(shadow), ONE(nmi_blocked), ONE(dr6_pending),
    ONE(cr0), ONE(cr2), ONE(cr3), ONE(cr4), ONE(cr8), ONE(efer), ONE(xcr0), MANY(dr), MANY(pdpte),
    ONE(star), ONE(lstar), ONE(cstar), ONE(fmask), ONE(kernel_gs_base), ONE(tsc_aux),
    ONE(sysenter_cs), ONE(sysenter_esp), ONE(sysenter_eip), ONE(pat), ONE(apic_base), ONE(misc_enable), ONE(tsc_deadline), ONE(tsc_adjust),
    ONE(mtrr_def), MANY(mtrr_fixed), MANY(mtrr_base), MANY(mtrr_mask),
    ONE(mcg_cap), ONE(mcg_status), ONE(mcg_ctl), MANY(mc_bank),
    ONE(feature_control), ONE(debugctl), ONE(syscfg), ONE(hwcr), ONE(top_mem), ONE(top_mem2), ONE(microcode), ONE(tsc_hz),
    ONE(tsc_offset), ONE(time_base_ns), ONE(time_base_insns), ONE(ns_mul), ONE(ns_shift), ONE(tsc_mul), ONE(tsc_shift),
    ONE(rng_state), ONE(monitor_armed), ONE(monitor_address),
    NAMED("fcw", fpu.cw), NAMED("fpu_sw", fpu.sw), NAMED("fpu_top", fpu.top), NAMED("fpu_valid", fpu.valid), NAMED("fop", fpu.op),
    NAMED("fip", fpu.ip), NAMED("fdp", fpu.dp), NAMED("fcs", fpu.cs), NAMED("fds", fpu.ds),
    ONE(mxcsr), ONE(ferr), ONE(ignne), ONE(yields),
};
constexpr u32 STATE_PENDING = PEND_INTR | PEND_NMI | PEND_SMI | PEND_INIT | PEND_MCE | PEND_DEBUG;

u64 load_sized(const u8 *p, unsigned size) {
    u64 v = 0;
    std::memcpy(&v, p, size);
    return v;
}

bool put(PyObject *dict, const char *name, PyObject *value) {  // steals
    bool good = value && PyDict_SetItemString(dict, name, value) == 0;
    Py_XDECREF(value);
    return good;
}

PyObject *need(PyObject *dict, const char *name) {  // borrowed
    PyObject *value = PyDict_GetItemString(dict, name);
    if (!value) PyErr_Format(PyExc_ValueError, "state: %s is missing", name);
    return value;
}

bool need_number(PyObject *dict, const char *name, u64 max, u64 *out) {
    PyObject *value = need(dict, name);
    return value && unsigned_argument(value, name, max, out) == 0;
}

PyObject *need_tuple(PyObject *dict, const char *name, Py_ssize_t count) {
    PyObject *value = need(dict, name);
    if (value && (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != count)) {
        PyErr_Format(PyExc_ValueError, "state: %s: expected a tuple of %zd", name, count);
        return nullptr;
    }
    return value;
}
}  // namespace

PyObject *cpu_state(PyObject *o, PyObject *) {
    PyCpu *self = self_of(o);
    if (!require_parked(self->memory)) return nullptr;
    Cpu &cpu = *self->cpu;
    PyObject *dict = PyDict_New();
    if (!dict) return nullptr;
    bool good = true;
    for (const StateField &f : state_fields) {
        const u8 *p = reinterpret_cast<const u8 *>(&cpu) + f.offset;
        PyObject *value;
        if (f.count == 0) {
            value = PyLong_FromUnsignedLongLong(load_sized(p, f.size));
        } else {
            value = PyTuple_New(f.count);
            for (u16 i = 0; value && i < f.count; i++) {
                PyObject *item = PyLong_FromUnsignedLongLong(load_sized(p + size_t(i) * f.size, f.size));
                if (!item) Py_CLEAR(value);
                else PyTuple_SET_ITEM(value, i, item);
            }
        }
        if (!(good = put(dict, f.name, value))) break;
    }
    if (good) {
        PyObject *segments = PyTuple_New(SEG_COUNT);
        for (int i = 0; segments && i < SEG_COUNT; i++) {
            const Segment &s = cpu.seg[i];
            PyObject *item = Py_BuildValue("(HKII)", s.selector, static_cast<unsigned long long>(s.base), unsigned(s.limit), unsigned(s.attr));
            if (!item) Py_CLEAR(segments);
            else PyTuple_SET_ITEM(segments, i, item);
        }
        PyObject *st = PyTuple_New(8);
        for (int i = 0; st && i < 8; i++) {
            u8 bytes[10];
            std::memcpy(bytes, &cpu.fpu.st[i].mant, 8);
            std::memcpy(bytes + 8, &cpu.fpu.st[i].se, 2);
            PyObject *item = int_from_bytes(bytes, 10);
            if (!item) Py_CLEAR(st);
            else PyTuple_SET_ITEM(st, i, item);
        }
        good = put(dict, "segments", segments);
        good = put(dict, "fpu_registers", st) && good;
        good = good && put(dict, "gdtr", Py_BuildValue("(KI)", static_cast<unsigned long long>(cpu.gdtr.base), unsigned(cpu.gdtr.limit))) &&
               put(dict, "idtr", Py_BuildValue("(KI)", static_cast<unsigned long long>(cpu.idtr.base), unsigned(cpu.idtr.limit))) &&
               put(dict, "rflags", PyLong_FromUnsignedLong(get_eflags(cpu))) &&
               put(dict, "vectors", PyBytes_FromStringAndSize(reinterpret_cast<const char *>(cpu.vec), sizeof cpu.vec)) &&
               put(dict, "pending", PyLong_FromUnsignedLong(cpu.pending.load() & STATE_PENDING)) &&
               put(dict, "instructions", PyLong_FromUnsignedLongLong(retired(cpu)));
    }
    if (!good) Py_CLEAR(dict);
    return dict;
}

PyObject *cpu_set_state(PyObject *o, PyObject *dict) {
    PyCpu *self = self_of(o);
    if (!PyDict_Check(dict)) return PyErr_Format(PyExc_TypeError, "state: expected a dict, not %.100s", Py_TYPE(dict)->tp_name);
    if (!require_parked_cpu(self)) return nullptr;
    Cpu &cpu = *self->cpu;
    // Everything is checked before anything is changed.
    constexpr size_t FIELDS = sizeof state_fields / sizeof *state_fields;
    std::vector<u64> values;
    u64 segments[SEG_COUNT][4], tables[2][2], rflags, pending, instructions;
    u8 st[8][10];
    try {
        values.reserve(256 + FIELDS);
        for (const StateField &f : state_fields) {
            u64 max = f.size == 8 ? ~u64(0) : (u64(1) << 8 * f.size) - 1, v;
            if (f.offset == offsetof(Cpu, cpl) || f.offset == offsetof(Cpu, activity)) max = f.offset == offsetof(Cpu, cpl) ? 3 : 4;
            if (f.offset == offsetof(Cpu, fpu.top)) max = 7;
            if (f.offset == offsetof(Cpu, ns_shift) || f.offset == offsetof(Cpu, tsc_shift)) max = 63;
            if (f.count == 0) {
                if (!need_number(dict, f.name, max, &v)) return nullptr;
                values.push_back(v);
                continue;
            }
            PyObject *tuple = need_tuple(dict, f.name, f.count);
            if (!tuple) return nullptr;
            for (u16 i = 0; i < f.count; i++) {
                if (unsigned_argument(PyTuple_GET_ITEM(tuple, i), f.name, max, &v) < 0) return nullptr;
                values.push_back(v);
            }
        }
    } catch (const std::bad_alloc &) {
        return PyErr_NoMemory();
    }
    static const u64 segment_limits[] = {0xffff, ~u64(0), 0xffffffff, 0x1ffff}, table_limits[] = {~u64(0), 0xffff};
    PyObject *outer = need_tuple(dict, "segments", SEG_COUNT);
    if (!outer) return nullptr;
    for (int i = 0; i < SEG_COUNT; i++) {
        PyObject *inner = PyTuple_GET_ITEM(outer, i);
        if (!PyTuple_Check(inner) || PyTuple_GET_SIZE(inner) != 4)
            return PyErr_Format(PyExc_ValueError, "state: segments: expected tuples (selector, base, limit, attributes)");
        for (int k = 0; k < 4; k++)
            if (unsigned_argument(PyTuple_GET_ITEM(inner, k), "segments", segment_limits[k], &segments[i][k]) < 0) return nullptr;
    }
    static const char *const table_names[] = {"gdtr", "idtr"};
    for (int i = 0; i < 2; i++) {
        PyObject *inner = need_tuple(dict, table_names[i], 2);
        if (!inner) return nullptr;
        for (int k = 0; k < 2; k++)
            if (unsigned_argument(PyTuple_GET_ITEM(inner, k), table_names[i], table_limits[k], &tables[i][k]) < 0) return nullptr;
    }
    if (!(outer = need_tuple(dict, "fpu_registers", 8))) return nullptr;
    for (int i = 0; i < 8; i++)
        if (int_to_bytes(PyTuple_GET_ITEM(outer, i), "fpu_registers", st[i], 10) < 0) return nullptr;
    PyObject *vectors = need(dict, "vectors");
    if (!vectors) return nullptr;
    if (!PyBytes_Check(vectors) || size_t(PyBytes_GET_SIZE(vectors)) != sizeof cpu.vec)
        return PyErr_Format(PyExc_ValueError, "state: vectors: expected %zu bytes", sizeof cpu.vec);
    if (!need_number(dict, "rflags", 0x3fffff, &rflags) || !need_number(dict, "pending", STATE_PENDING, &pending) ||
        !need_number(dict, "instructions", INT64_MAX, &instructions))
        return nullptr;

    const u64 *next = values.data();
    for (const StateField &f : state_fields) {
        u8 *p = reinterpret_cast<u8 *>(&cpu) + f.offset;
        for (u16 i = 0; i < (f.count ? f.count : 1); i++) std::memcpy(p + size_t(i) * f.size, next++, f.size);
    }
    for (int i = 0; i < SEG_COUNT; i++)
        cpu.seg[i] = {segments[i][1], u32(segments[i][2]), u32(segments[i][3]), u16(segments[i][0])};
    cpu.gdtr = {tables[0][0], u32(tables[0][1])};
    cpu.idtr = {tables[1][0], u32(tables[1][1])};
    for (int i = 0; i < 8; i++) {
        std::memcpy(&cpu.fpu.st[i].mant, st[i], 8);
        std::memcpy(&cpu.fpu.st[i].se, st[i] + 8, 2);
    }
    std::memcpy(cpu.vec, PyBytes_AS_STRING(vectors), sizeof cpu.vec);
    set_eflags(cpu, u32(rflags));
    cpu.budget = 0;
    cpu.run_end = instructions;
    cpu.in_delivery = 0;
    cpu.pending.fetch_and(~STATE_PENDING);
    cpu.pending.fetch_or(u32(pending));
    set_dr7(cpu, cpu.dr[7]);
    update_mode(cpu);
    tlb_flush(cpu);
    attention(cpu);
    Py_RETURN_NONE;
}

// The registers of a program, packed: RAX to R15, RIP, RFLAGS, then x87, MMX, XMM and MXCSR in the layout of FXSAVE64.
namespace {
constexpr size_t CONTEXT_SIZE = 18 * 8 + 512;
}

PyObject *cpu_context(PyObject *o, PyObject *) {
    PyCpu *self = self_of(o);
    if (!require_parked(self->memory)) return nullptr;
    const Cpu &cpu = *self->cpu;
    PyObject *bytes = PyBytes_FromStringAndSize(nullptr, CONTEXT_SIZE);
    if (!bytes) return nullptr;
    auto *p = reinterpret_cast<u8 *>(PyBytes_AS_STRING(bytes));
    std::memset(p, 0, CONTEXT_SIZE);
    std::memcpy(p, cpu.gpr, 128);
    store_host<u64>(p + 128, cpu.rip);
    store_host<u64>(p + 136, get_eflags(cpu));
    u8 *fx = p + 144;
    store_host<u16>(fx, cpu.fpu.cw);
    store_host<u16>(fx + 2, fpu_sw(cpu));
    fx[4] = cpu.fpu.valid;
    store_host<u16>(fx + 6, cpu.fpu.op);
    store_host<u64>(fx + 8, cpu.fpu.ip);
    store_host<u64>(fx + 16, cpu.fpu.dp);
    store_host<u32>(fx + 24, cpu.mxcsr);
    store_host<u32>(fx + 28, 0xffff);
    for (unsigned i = 0; i < 8; i++) {
        const F80 &st = cpu.fpu.st[(cpu.fpu.top + i) & 7];
        store_host<u64>(fx + 32 + 16 * i, st.mant);
        store_host<u16>(fx + 40 + 16 * i, st.se);
    }
    for (unsigned i = 0; i < 16; i++) std::memcpy(fx + 160 + 16 * i, cpu.vec[i].u8_, 16);
    return bytes;
}

PyObject *cpu_set_context(PyObject *o, PyObject *object) {
    PyCpu *self = self_of(o);
    if (!PyBytes_Check(object) || size_t(PyBytes_GET_SIZE(object)) != CONTEXT_SIZE)
        return PyErr_Format(PyExc_ValueError, "context: expected %zu bytes", CONTEXT_SIZE);
    if (!require_parked_cpu(self)) return nullptr;
    Cpu &cpu = *self->cpu;
    auto *p = reinterpret_cast<const u8 *>(PyBytes_AS_STRING(object));
    const u8 *fx = p + 144;
    std::memcpy(cpu.gpr, p, 128);
    cpu.rip = load_host<u64>(p + 128);
    set_eflags(cpu, u32(load_host<u64>(p + 136) & 0x3fffff));
    cpu.fpu.cw = load_host<u16>(fx);
    u16 sw = load_host<u16>(fx + 2);
    cpu.fpu.sw = u16(sw & ~0x3800);
    cpu.fpu.top = sw >> 11 & 7;
    cpu.fpu.valid = fx[4];
    cpu.fpu.op = load_host<u16>(fx + 6) & 0x7ff;
    cpu.fpu.ip = load_host<u64>(fx + 8);
    cpu.fpu.dp = load_host<u64>(fx + 16);
    cpu.mxcsr = load_host<u32>(fx + 24) & 0xffff;
    for (unsigned i = 0; i < 8; i++) {
        F80 &st = cpu.fpu.st[(cpu.fpu.top + i) & 7];
        st.mant = load_host<u64>(fx + 32 + 16 * i);
        st.se = load_host<u16>(fx + 40 + 16 * i);
    }
    for (unsigned i = 0; i < 16; i++) std::memcpy(cpu.vec[i].u8_, fx + 160 + 16 * i, 16);
    update_mode(cpu);
    attention(cpu);
    Py_RETURN_NONE;
}

PyObject *cpu_statistics(PyObject *o, PyObject *) {
    PyCpu *self = self_of(o);
    const PyMemory *m = self->memory;
    if (!require_parked(self->memory)) return nullptr;
    const Statistics &s = self->cpu->stats;
    using ull = unsigned long long;
    return Py_BuildValue("{sK sK sK sK sK sK sK sK sK sK sK sK sK sK sK sK}", "instructions", ull(retired(*self->cpu)), "blocks_decoded",
                         ull(s.blocks_decoded), "blocks_native", ull(s.blocks_native), "blocks_invalidated", ull(s.blocks_invalidated),
                         "tlb_misses", ull(s.tlb_misses), "walks", ull(s.walks), "lookups", ull(s.lookups), "slow_accesses", ull(s.slow_accesses), "device_accesses",
                         ull(s.device_accesses), "exceptions", ull(s.exceptions), "interrupts", ull(s.interrupts), "port_reads",
                         ull(m->port_reads), "port_writes", ull(m->port_writes), "mmio_reads", ull(m->mmio_reads), "mmio_writes",
                         ull(m->mmio_writes), "bulk_transfers", ull(m->bulk_transfers));
}
