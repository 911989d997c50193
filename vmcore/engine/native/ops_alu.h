// Between the files of the arithmetic handlers.
#pragma once
#include "ops.h"

// Carry flag without a call.
template <class T> ALWAYS_INLINE bool lazy_carry(CcGroup g, u64 d, u64 s) {
    T res = T(d), src = T(s);
    switch (g) {
    case CC_ADD: return res < src;
    case CC_ADC: return res <= src;
    case CC_SUB: return T(res + src) < src;
    case CC_SBB: return T(res + src + 1) <= src;
    case CC_SHL: return src >> (kBits<T> - 1) & 1;
    case CC_LOGIC: return false;
    default: return s & 1;  // EFLAGS, INC, DEC, MUL, BLS, SHR: bit 0
    }
}
ALWAYS_INLINE bool carry_inline(const Cpu *cpu) {
    u32 op = cpu->cc_op;
    CcGroup g = CcGroup(op >> 2);
    switch (op & 3) {
    case 0: return lazy_carry<u8>(g, cpu->cc_dst, cpu->cc_src);
    case 1: return lazy_carry<u16>(g, cpu->cc_dst, cpu->cc_src);
    case 2: return lazy_carry<u32>(g, cpu->cc_dst, cpu->cc_src);
    default: return lazy_carry<u64>(g, cpu->cc_dst, cpu->cc_src);
    }
}
// For INC and DEC: leaves the carry flag in bit 0 of cc_src.  After another INC or DEC it is there already.
#define KEEP_CARRY()                                                                                                         \
    do {                                                                                                                     \
        u32 group_ = cpu->cc_op >> 2;                                                                                        \
        if (group_ != CC_INC && group_ != CC_DEC) cpu->cc_src = carry_inline(cpu);                                           \
    } while (0)

// One operation: reads `a`, sets flags if F, then does `store` with result_.
#define ALU_BODY(A, T, F, a_, b_, store)                                                                                     \
    do {                                                                                                                     \
        const T first_ = (a_);                                                                                               \
        const bool carry_ = alu_reads_carry(A) ? carry_inline(cpu) : false;                                                  \
        const T result_ = alu_result<T>(A, first_, b_, carry_);                                                              \
        if (alu_writes(A)) {                                                                                                 \
            store;                                                                                                           \
        }                                                                                                                    \
        if (F) alu_flags<T>(*cpu, A, result_, b_, carry_);                                                                   \
    } while (0)

// ops_alu_mem.cpp
Handler memory_eg(Alu a, const Translation_ &t, const Op &op);
Handler memory_ge(Alu a, const Translation_ &t, const Op &op);
Handler memory_ei(Alu a, const Translation_ &t, const Op &op);
Handler memory_step(const Translation_ &t, const Op &op, bool dec);
