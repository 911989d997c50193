// x87 kernels in integers, for hosts that are not x86-64: the interface of fpu_host.h.
#pragma once
#include "fpu.h"

struct X87Result {
    F80 v;
    u16 sw;
};
struct X87Pair {
    F80 first, second;
    u16 sw;
    bool pushed;
};

// fpu_soft.cpp
#define SOFT87_ARITHMETIC(name)                                                                                              \
    X87Result h_f##name(Cpu &cpu, const F80 &a, const F80 &b);                                                               \
    X87Result h_f##name##_m32(Cpu &cpu, const F80 &a, u32 b);                                                                \
    X87Result h_f##name##_m64(Cpu &cpu, const F80 &a, u64 b);                                                                \
    X87Result h_fi##name##_m16(Cpu &cpu, const F80 &a, u16 b);                                                               \
    X87Result h_fi##name##_m32(Cpu &cpu, const F80 &a, u32 b);
SOFT87_ARITHMETIC(add)
SOFT87_ARITHMETIC(mul)
SOFT87_ARITHMETIC(sub)
SOFT87_ARITHMETIC(subr)
SOFT87_ARITHMETIC(div)
SOFT87_ARITHMETIC(divr)
#undef SOFT87_ARITHMETIC
u16 h_fcom(Cpu &cpu, const F80 &a, const F80 &b);
u16 h_fucom(Cpu &cpu, const F80 &a, const F80 &b);
u16 h_fcom_m32(Cpu &cpu, const F80 &a, u32 b);
u16 h_fcom_m64(Cpu &cpu, const F80 &a, u64 b);
u16 h_ficom_m16(Cpu &cpu, const F80 &a, u16 b);
u16 h_ficom_m32(Cpu &cpu, const F80 &a, u32 b);
u16 h_ftst(Cpu &cpu, const F80 &a);
X87Result h_fsqrt(Cpu &cpu, const F80 &a);
X87Result h_frndint(Cpu &cpu, const F80 &a);
u16 h_fst_m32(Cpu &cpu, const F80 &a, u32 *out);
u16 h_fst_m64(Cpu &cpu, const F80 &a, u64 *out);
u16 h_fist_m16(Cpu &cpu, const F80 &a, u16 *out);
u16 h_fist_m32(Cpu &cpu, const F80 &a, u32 *out);
u16 h_fist_m64(Cpu &cpu, const F80 &a, u64 *out);
u16 h_fisttp_m16(Cpu &cpu, const F80 &a, u16 *out);
u16 h_fisttp_m32(Cpu &cpu, const F80 &a, u32 *out);
u16 h_fisttp_m64(Cpu &cpu, const F80 &a, u64 *out);
u16 h_fbst(Cpu &cpu, const F80 &a, F80 *out);
X87Result h_fprem(Cpu &cpu, const F80 &st0, const F80 &st1);
X87Result h_fprem1(Cpu &cpu, const F80 &st0, const F80 &st1);
X87Result h_fscale(Cpu &cpu, const F80 &st0, const F80 &st1);
X87Pair h_fxtract(Cpu &cpu, const F80 &a);
// fpu_soft_functions.cpp
X87Result h_f2xm1(Cpu &cpu, const F80 &a);
X87Result h_fsin(Cpu &cpu, const F80 &a);
X87Result h_fcos(Cpu &cpu, const F80 &a);
X87Result h_fyl2x(Cpu &cpu, const F80 &st0, const F80 &st1);
X87Result h_fyl2xp1(Cpu &cpu, const F80 &st0, const F80 &st1);
X87Result h_fpatan(Cpu &cpu, const F80 &st0, const F80 &st1);
X87Pair h_fptan(Cpu &cpu, const F80 &a);
X87Pair h_fsincos(Cpu &cpu, const F80 &a);
