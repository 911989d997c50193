// x87 square root, rounding, remainders, scaling and transcendental functions.  SDM Vol. 1 8.3.6-8.3.11.
#include "fpu_kernels.h"

namespace {
template <class K> ALWAYS_INLINE void unary(Cpu &cpu, const Op &op, u16 codes, K kernel) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (UNLIKELY(!st_valid(cpu, 0))) {
        cpu.fpu.sw &= u16(~codes);
        if (stack_fault(cpu, false)) set_st(cpu, 0, kIndefinite);
        return;
    }
    X87Result r = kernel(cpu, st(cpu, 0));
    if (x87_finish(cpu, r.sw, codes)) st(cpu, 0) = r.v;
}
// ST and ST(1); with `pop` the result goes to ST(1), which then is the top.
template <class K> ALWAYS_INLINE void binary(Cpu &cpu, const Op &op, bool pop, K kernel) {
    x87_begin(cpu);
    x87_record(cpu, op);
    F80 v = kIndefinite;
    if (UNLIKELY(!st_valid(cpu, 0) || !st_valid(cpu, 1))) {
        if (!stack_fault(cpu, false)) return;
    } else {
        X87Result r = kernel(cpu, st(cpu, 0), st(cpu, 1));
        if (!x87_finish(cpu, r.sw)) return;
        v = r.v;
    }
    if (pop) x87_pop(cpu);
    set_st(cpu, 0, v);
}
// Partial remainders: C2 tells that the reduction is incomplete, C0 C3 C1 are the low bits of the quotient.  Where there is none (the result is a
// NaN, or an unmasked exception) C2 and C1 are cleared and the others stay as they were.
template <class K> ALWAYS_INLINE void remainder(Cpu &cpu, const Op &op, K kernel) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (UNLIKELY(!st_valid(cpu, 0) || !st_valid(cpu, 1))) {
        cpu.fpu.sw &= u16(~SW_C2);
        if (stack_fault(cpu, false)) set_st(cpu, 0, kIndefinite);
        return;
    }
    X87Result r = kernel(cpu, st(cpu, 0), st(cpu, 1));
    u16 codes = SW_CC;
    if ((r.v.se & 0x7fff) == 0x7fff || (r.sw & ~cpu.fpu.cw & (SW_IE | SW_DE | SW_ZE))) {
        codes = SW_C1 | SW_C2;
        r.sw &= u16(~codes);
    }
    if (x87_finish(cpu, r.sw, codes)) st(cpu, 0) = r.v;
}
template <class K> ALWAYS_INLINE void pushing(Cpu &cpu, const Op &op, u16 codes, K kernel) {
    x87_begin(cpu);
    x87_record(cpu, op);
    bool empty = !st_valid(cpu, 0), full = st_valid(cpu, 7);
    if (UNLIKELY(empty || full)) {
        cpu.fpu.sw &= u16(~codes);
        if (!stack_fault(cpu, !empty)) return;
        set_st(cpu, 0, kIndefinite);
        x87_push(cpu, kIndefinite);
        return;
    }
    X87Pair r = kernel(cpu, st(cpu, 0));
    if (!x87_finish(cpu, r.sw, codes) || !r.pushed) return;
    set_st(cpu, 0, r.first);
    x87_push(cpu, r.second);
}
}  // namespace

void x_fsqrt(Cpu &cpu, const Op &op) { unary(cpu, op, 0, h_fsqrt); }
void x_frndint(Cpu &cpu, const Op &op) { unary(cpu, op, 0, h_frndint); }
void x_f2xm1(Cpu &cpu, const Op &op) { unary(cpu, op, 0, h_f2xm1); }
void x_fsin(Cpu &cpu, const Op &op) { unary(cpu, op, SW_C2, h_fsin); }
void x_fcos(Cpu &cpu, const Op &op) { unary(cpu, op, SW_C2, h_fcos); }
void x_fprem(Cpu &cpu, const Op &op) { remainder(cpu, op, h_fprem); }
void x_fprem1(Cpu &cpu, const Op &op) { remainder(cpu, op, h_fprem1); }
void x_fscale(Cpu &cpu, const Op &op) { binary(cpu, op, false, h_fscale); }
void x_fyl2x(Cpu &cpu, const Op &op) { binary(cpu, op, true, h_fyl2x); }
void x_fyl2xp1(Cpu &cpu, const Op &op) { binary(cpu, op, true, h_fyl2xp1); }
void x_fpatan(Cpu &cpu, const Op &op) { binary(cpu, op, true, h_fpatan); }
void x_fxtract(Cpu &cpu, const Op &op) { pushing(cpu, op, 0, h_fxtract); }
void x_fptan(Cpu &cpu, const Op &op) { pushing(cpu, op, SW_C2, h_fptan); }
void x_fsincos(Cpu &cpu, const Op &op) { pushing(cpu, op, SW_C2, h_fsincos); }
