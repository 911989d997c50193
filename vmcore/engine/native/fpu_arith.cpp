// x87 arithmetic and comparison.  SDM Vol. 1 8.3.5, 8.3.6, 8.5.
#include "fpu_kernels.h"

namespace {
// ---- result to ST(dest), from two registers or a register and memory
template <class K> ALWAYS_INLINE void registers(Cpu &cpu, const Op &op, unsigned dest, unsigned other, bool pop, K kernel) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (UNLIKELY(!st_valid(cpu, dest) || !st_valid(cpu, other))) {
        if (!stack_fault(cpu, false)) return;
        set_st(cpu, dest, kIndefinite);
    } else {
        X87Result r = kernel(cpu, st(cpu, dest), st(cpu, other));
        if (!x87_finish(cpu, r.sw)) return;
        st(cpu, dest) = r.v;
    }
    if (pop) x87_pop(cpu);
}
template <class T, class K> ALWAYS_INLINE void with_memory(Cpu &cpu, const Op &op, K kernel) {
    x87_begin(cpu);
    T b = read_mem<T>(cpu, op);
    x87_record_mem(cpu, op);
    if (UNLIKELY(!st_valid(cpu, 0))) {
        if (stack_fault(cpu, false)) set_st(cpu, 0, kIndefinite);
        return;
    }
    X87Result r = kernel(cpu, st(cpu, 0), b);
    if (x87_finish(cpu, r.sw)) st(cpu, 0) = r.v;
}

// ---- comparisons: C3 C2 C0, or ZF PF CF
constexpr u16 kCompareCodes = SW_C0 | SW_C2 | SW_C3;

template <class K> ALWAYS_INLINE void compare(Cpu &cpu, const Op &op, unsigned other, unsigned pops, K kernel) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (UNLIKELY(!st_valid(cpu, 0) || !st_valid(cpu, other))) {
        bool masked = stack_fault(cpu, false);
        cpu.fpu.sw |= kCompareCodes;
        if (!masked) return;
    } else if (!x87_finish(cpu, kernel(cpu, st(cpu, 0), st(cpu, other)), kCompareCodes)) {
        return;
    }
    for (; pops; pops--) x87_pop(cpu);
}
template <class T, class K> ALWAYS_INLINE void compare_memory(Cpu &cpu, const Op &op, bool pop, K kernel) {
    x87_begin(cpu);
    T b = read_mem<T>(cpu, op);
    x87_record_mem(cpu, op);
    if (UNLIKELY(!st_valid(cpu, 0))) {
        bool masked = stack_fault(cpu, false);
        cpu.fpu.sw |= kCompareCodes;
        if (!masked) return;
    } else if (!x87_finish(cpu, kernel(cpu, st(cpu, 0), b), kCompareCodes)) {
        return;
    }
    if (pop) x87_pop(cpu);
}
template <class K> ALWAYS_INLINE void compare_flags(Cpu &cpu, const Op &op, bool pop, K kernel) {
    x87_begin(cpu);
    x87_record(cpu, op);
    u32 flags = FL_ZF | FL_PF | FL_CF;
    bool done = true;
    if (UNLIKELY(!st_valid(cpu, 0) || !st_valid(cpu, sti(op)))) {
        done = stack_fault(cpu, false);
    } else {
        u16 sw = kernel(cpu, st(cpu, 0), st(cpu, sti(op)));
        flags = (sw & SW_C0 ? u32(FL_CF) : 0) | (sw & SW_C2 ? u32(FL_PF) : 0) | (sw & SW_C3 ? u32(FL_ZF) : 0);
        // C1 is cleared by Intel's manual; processors of AMD leave it alone.
        if (has(cpu, F_VENDOR_AMD)) sw = u16((sw & ~SW_C1) | (cpu.fpu.sw & SW_C1));
        done = x87_finish(cpu, sw);
    }
    // By Intel's manual the flags are not set if the exception is unmasked; processors of AMD set them.
    if (!done && !has(cpu, F_VENDOR_AMD)) return;
    set_arith_flags(cpu, flags);
    if (!done) return;
    if (pop) x87_pop(cpu);
}
}  // namespace

#define ARITHMETIC(name)                                                                                                     \
    void x_f##name(Cpu &cpu, const Op &op) { registers(cpu, op, 0, sti(op), false, h_f##name); }                             \
    void x_f##name##_m32(Cpu &cpu, const Op &op) { with_memory<u32>(cpu, op, h_f##name##_m32); }                             \
    void x_f##name##_m64(Cpu &cpu, const Op &op) { with_memory<u64>(cpu, op, h_f##name##_m64); }                             \
    void x_fi##name##_m16(Cpu &cpu, const Op &op) { with_memory<u16>(cpu, op, h_fi##name##_m16); }                           \
    void x_fi##name##_m32(Cpu &cpu, const Op &op) { with_memory<u32>(cpu, op, h_fi##name##_m32); }                           \
    void x_f##name##_sti(Cpu &cpu, const Op &op) { registers(cpu, op, sti(op), 0, false, h_f##name); }                       \
    void x_f##name##p_sti(Cpu &cpu, const Op &op) { registers(cpu, op, sti(op), 0, true, h_f##name); }
ARITHMETIC(add)
ARITHMETIC(mul)
ARITHMETIC(sub)
ARITHMETIC(subr)
ARITHMETIC(div)
ARITHMETIC(divr)

void x_fcom(Cpu &cpu, const Op &op) { compare(cpu, op, sti(op), 0, h_fcom); }
void x_fcomp(Cpu &cpu, const Op &op) { compare(cpu, op, sti(op), 1, h_fcom); }
void x_fcompp(Cpu &cpu, const Op &op) { compare(cpu, op, 1, 2, h_fcom); }
void x_fucom(Cpu &cpu, const Op &op) { compare(cpu, op, sti(op), 0, h_fucom); }
void x_fucomp(Cpu &cpu, const Op &op) { compare(cpu, op, sti(op), 1, h_fucom); }
void x_fucompp(Cpu &cpu, const Op &op) { compare(cpu, op, 1, 2, h_fucom); }
void x_fcom_m32(Cpu &cpu, const Op &op) { compare_memory<u32>(cpu, op, false, h_fcom_m32); }
void x_fcom_m64(Cpu &cpu, const Op &op) { compare_memory<u64>(cpu, op, false, h_fcom_m64); }
void x_fcomp_m32(Cpu &cpu, const Op &op) { compare_memory<u32>(cpu, op, true, h_fcom_m32); }
void x_fcomp_m64(Cpu &cpu, const Op &op) { compare_memory<u64>(cpu, op, true, h_fcom_m64); }
void x_ficom_m16(Cpu &cpu, const Op &op) { compare_memory<u16>(cpu, op, false, h_ficom_m16); }
void x_ficom_m32(Cpu &cpu, const Op &op) { compare_memory<u32>(cpu, op, false, h_ficom_m32); }
void x_ficomp_m16(Cpu &cpu, const Op &op) { compare_memory<u16>(cpu, op, true, h_ficom_m16); }
void x_ficomp_m32(Cpu &cpu, const Op &op) { compare_memory<u32>(cpu, op, true, h_ficom_m32); }
void x_fcomi(Cpu &cpu, const Op &op) { compare_flags(cpu, op, false, h_fcom); }
void x_fucomi(Cpu &cpu, const Op &op) { compare_flags(cpu, op, false, h_fucom); }
void x_fcomip(Cpu &cpu, const Op &op) { compare_flags(cpu, op, true, h_fcom); }
void x_fucomip(Cpu &cpu, const Op &op) { compare_flags(cpu, op, true, h_fucom); }
void x_ftst(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (st_valid(cpu, 0)) {
        x87_finish(cpu, h_ftst(cpu, st(cpu, 0)), kCompareCodes);
    } else {
        stack_fault(cpu, false);
        cpu.fpu.sw |= kCompareCodes;
    }
}
