// Conditions, for jumps, SETcc and CMOVcc.  SDM Vol. 2 appendix B.1.4.7.
#pragma once
#include "ops_alu.h"

// Condition code C (low nibble of the opcode) after an operation of group G on type T with result d and cc_src s.
template <unsigned C, CcGroup G, class T> ALWAYS_INLINE bool condition_known(u64 d, u64 s) {
    using S = typename SignedOf<T>::S;
    const T res = T(d), src = T(s);
    bool v;
    if constexpr (G == CC_SUB) {
        const T a = T(res + src);
        if constexpr (C >> 1 == 0) v = T((a ^ src) & (a ^ res)) >> (kBits<T> - 1);
        else if constexpr (C >> 1 == 1) v = a < src;
        else if constexpr (C >> 1 == 2) v = res == 0;
        else if constexpr (C >> 1 == 3) v = a <= src;
        else if constexpr (C >> 1 == 4) v = S(res) < 0;
        else if constexpr (C >> 1 == 5) v = parity_even(u8(res));
        else if constexpr (C >> 1 == 6) v = S(a) < S(src);
        else v = S(a) <= S(src);
    } else if constexpr (G == CC_LOGIC) {
        if constexpr (C >> 1 <= 1) v = false;
        else if constexpr (C >> 1 <= 3) v = res == 0;
        else if constexpr (C >> 1 == 4 || C >> 1 == 6) v = S(res) < 0;
        else if constexpr (C >> 1 == 5) v = parity_even(u8(res));
        else v = S(res) <= 0;
    } else {
        bool of = false, cf = false;
        constexpr T top = T(T(1) << (kBits<T> - 1));
        if constexpr (G == CC_ADD) {
            const T a = T(res - src);
            of = T((a ^ res) & (src ^ res)) >> (kBits<T> - 1);
            cf = res < src;
        } else if constexpr (G == CC_INC) {
            of = res == top;
            cf = s & 1;
        } else {
            static_assert(G == CC_DEC, "a group without direct evaluation");
            of = res == T(top - 1);
            cf = s & 1;
        }
        const bool sf = S(res) < 0, zf = res == 0;
        if constexpr (C >> 1 == 0) v = of;
        else if constexpr (C >> 1 == 1) v = cf;
        else if constexpr (C >> 1 == 2) v = zf;
        else if constexpr (C >> 1 == 3) v = cf || zf;
        else if constexpr (C >> 1 == 4) v = sf;
        else if constexpr (C >> 1 == 5) v = parity_even(u8(res));
        else if constexpr (C >> 1 == 6) v = sf != of;
        else v = zf || sf != of;
    }
    return v != bool(C & 1);
}

// Where the block does not show who set the flags: 0, 1, or 2 if the slow function must tell.
template <unsigned C> ALWAYS_INLINE unsigned condition_dynamic(const Cpu *cpu) {
    const u64 d = cpu->cc_dst, s = cpu->cc_src;
    if constexpr (C >> 1 == 1) return carry_inline(cpu) != bool(C & 1);
    if constexpr (C >> 1 == 2 || C >> 1 == 4) {
        if (cpu->cc_op >> 2 == CC_EFLAGS) return condition_of(u32(s), C);
        const u64 top = d << (64 - (8u << (cpu->cc_op & 3)));
        return (C >> 1 == 2 ? top == 0 : i64(top) < 0) != bool(C & 1);
    }
    switch (cpu->cc_op) {
    case cc(CC_EFLAGS, 0): return condition_of(u32(s), C);
    case cc(CC_SUB, 0): return condition_known<C, CC_SUB, u8>(d, s);
    case cc(CC_SUB, 2): return condition_known<C, CC_SUB, u32>(d, s);
    case cc(CC_SUB, 3): return condition_known<C, CC_SUB, u64>(d, s);
    case cc(CC_LOGIC, 0): return condition_known<C, CC_LOGIC, u8>(d, s);
    case cc(CC_LOGIC, 2): return condition_known<C, CC_LOGIC, u32>(d, s);
    case cc(CC_LOGIC, 3): return condition_known<C, CC_LOGIC, u64>(d, s);
    default: return 2;
    }
}

#define CONDITIONS(X)                                                                                                        \
    {X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15)}

// Position of a known cc_op in tables of [group][width]: SUB LOGIC ADD INC DEC; -1 if there is no direct evaluation.
inline int known_group(u32 known) {
    if (known == CC_UNKNOWN) return -1;
    switch (known >> 2) {
    case CC_SUB: return 0;
    case CC_LOGIC: return 1;
    case CC_ADD: return 2;
    case CC_INC: return 3;
    case CC_DEC: return 4;
    default: return -1;
    }
}

// A taken jump: what the block was debited for and does not run is given back.
#define TAKE(slot)                                                                                                           \
    do {                                                                                                                     \
        budget += i64((slot)->left) - 1;                                                                                     \
        JUMP_LINK(slot);                                                                                                     \
    } while (0)

// ops_fused.cpp: a handler for `first` and the conditional jump behind it, or nullptr.
Handler fuse(const Translation_ &t, const Op &first, const Op &second, Handler first_handler);
