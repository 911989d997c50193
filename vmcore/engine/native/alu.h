// Integer arithmetic on one operand size: results and lazily kept flags.  Shared by the fast handlers and the slow functions.
// SDM Vol. 2 per instruction.
#pragma once
#include "cpu.h"

template <class T> constexpr unsigned kLog2 = sizeof(T) == 1 ? 0 : sizeof(T) == 2 ? 1 : sizeof(T) == 4 ? 2 : 3;

ALWAYS_INLINE void set_lazy(Cpu &c, u32 op, u64 dst, u64 src) {
    c.cc_op = op;
    c.cc_dst = dst;
    c.cc_src = src;
}

enum class Alu : u8 { ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST };
constexpr bool alu_writes(Alu op) { return op != Alu::CMP && op != Alu::TEST; }
constexpr bool alu_reads_carry(Alu op) { return op == Alu::ADC || op == Alu::SBB; }

// The result; for ADC and SBB `carry` is the incoming carry.
template <class T> ALWAYS_INLINE T alu_result(Alu op, T a, T b, bool carry) {
    switch (op) {
    case Alu::ADD: return T(a + b);
    case Alu::OR: return T(a | b);
    case Alu::ADC: return T(a + b + carry);
    case Alu::SBB: return T(a - b - carry);
    case Alu::AND: case Alu::TEST: return T(a & b);
    case Alu::SUB: case Alu::CMP: return T(a - b);
    default: return T(a ^ b);
    }
}
template <class T> ALWAYS_INLINE void alu_flags(Cpu &c, Alu op, T result, T b, bool carry) {
    constexpr unsigned w = kLog2<T>;
    switch (op) {
    case Alu::ADD: set_lazy(c, cc(CC_ADD, w), result, b); break;
    case Alu::ADC: set_lazy(c, carry ? cc(CC_ADC, w) : cc(CC_ADD, w), result, b); break;
    case Alu::SBB: set_lazy(c, carry ? cc(CC_SBB, w) : cc(CC_SUB, w), result, b); break;
    case Alu::SUB: case Alu::CMP: set_lazy(c, cc(CC_SUB, w), result, b); break;
    default:
        c.cc_op = cc(CC_LOGIC, w);
        c.cc_dst = result;
    }
}
template <class T> ALWAYS_INLINE T alu(Cpu &c, Alu op, T a, T b) {
    bool carry = alu_reads_carry(op) ? carry_flag(c) : false;
    T result = alu_result<T>(op, a, b, carry);
    alu_flags<T>(c, op, result, b, carry);
    return result;
}

enum class Shift : u8 { ROL, ROR, RCL, RCR, SHL, SHR, SAR };

// `count` is the raw count.  Flags stay as they are when the masked count is 0.
template <class T> inline T shift(Cpu &c, Shift op, T a, unsigned count) {
    constexpr unsigned bits = kBits<T>;
    using S = typename SignedOf<T>::S;
    count &= bits == 64 ? 63 : 31;
    if (!count) return a;
    T r;
    switch (op) {
    case Shift::SHL:
        r = count < bits ? T(a << count) : T(0);
        set_lazy(c, cc(CC_SHL, kLog2<T>), r, count - 1 < bits ? u64(a) << (count - 1) : 0);
        return r;
    case Shift::SHR:
        r = count < bits ? T(a >> count) : T(0);
        set_lazy(c, cc(CC_SHR, kLog2<T>), r, u64(a) >> (count - 1));
        return r;
    case Shift::SAR:
        r = T(i64(S(a)) >> count);
        set_lazy(c, cc(CC_SHR, kLog2<T>), r, u64(i64(S(a)) >> (count - 1)));
        return r;
    default: break;
    }
    u32 f = arith_flags(c) & ~u32(FL_CF | FL_OF);
    bool carry;
    if (op == Shift::ROL || op == Shift::ROR) {
        unsigned n = count & (bits - 1);
        if (op == Shift::ROL) {
            r = n ? T(a << n | a >> (bits - n)) : a;
            carry = r & 1;
        } else {
            r = n ? T(a >> n | a << (bits - n)) : a;
            carry = r >> (bits - 1);
        }
    } else {
        unsigned n = bits < 32 ? count % (bits + 1) : count;
        carry = carry_flag(c);
        r = a;
        if (!n) return a;
        if (op == Shift::RCL) {
            T out = T(a >> (bits - n)) & 1;
            r = T((n < bits ? T(a << n) : T(0)) | T(T(carry) << (n - 1)) | (n > 1 ? T(a >> (bits + 1 - n)) : T(0)));
            carry = out;
        } else {
            T out = T(a >> (n - 1)) & 1;
            r = T((n < bits ? T(a >> n) : T(0)) | T(T(carry) << (bits - n)) | (n > 1 ? T(a << (bits + 1 - n)) : T(0)));
            carry = out;
        }
    }
    // For counts other than 1 OF is undefined; it is computed as for 1.
    bool top = r >> (bits - 1), second = (r >> (bits - 2)) & 1;
    bool overflow = op == Shift::ROL || op == Shift::RCL ? top != carry : top != second;
    set_arith_flags(c, f | (carry ? u32(FL_CF) : 0u) | (overflow ? u32(FL_OF) : 0u));
    return r;
}

// SHLD and SHRD.  16-bit counts above 16 are undefined: the three words are then taken as a ring.
template <class T> inline T shift_double(Cpu &c, bool left, T a, T b, unsigned count) {
    constexpr unsigned bits = kBits<T>;
    count &= bits == 64 ? 63 : 31;
    if (!count) return a;
    T r, before;
    if constexpr (bits == 16) {
        if (left) {
            u64 ring = u64(a) << 32 | u64(b) << 16 | a;
            r = T(ring >> (32 - count));
            before = T(ring >> (33 - count));
        } else {
            u64 ring = u64(a) << 32 | u64(b) << 16 | a;
            r = T(ring >> count);
            before = T(ring >> (count - 1));
        }
    } else if (left) {
        r = T(a << count | b >> (bits - count));
        before = count == 1 ? a : T(a << (count - 1) | b >> (bits + 1 - count));
    } else {
        r = T(a >> count | b << (bits - count));
        before = count == 1 ? a : T(a >> (count - 1) | b << (bits + 1 - count));
    }
    set_lazy(c, cc(left ? CC_SHL : CC_SHR, kLog2<T>), r, before);
    return r;
}

template <class T> ALWAYS_INLINE T increment(Cpu &c, T a) {
    bool carry = carry_flag(c);
    T r = T(a + 1);
    set_lazy(c, cc(CC_INC, kLog2<T>), r, carry);
    return r;
}
template <class T> ALWAYS_INLINE T decrement(Cpu &c, T a) {
    bool carry = carry_flag(c);
    T r = T(a - 1);
    set_lazy(c, cc(CC_DEC, kLog2<T>), r, carry);
    return r;
}

// Full products: *high gets the upper half.
template <class T> ALWAYS_INLINE T multiply_unsigned(T a, T b, T *high) {
    using U = typename Wider<T>::U;
    U p = U(U(a) * U(b));
    *high = T(p >> kBits<T>);
    return T(p);
}
template <class T> ALWAYS_INLINE T multiply_signed(T a, T b, T *high) {
    using S = typename SignedOf<T>::S;
    using W = typename Wider<T>::S;
    W p = W(W(S(a)) * W(S(b)));
    *high = T(p >> kBits<T>);
    return T(p);
}
template <class T> ALWAYS_INLINE bool signed_product_overflows(T low, T high) {
    using S = typename SignedOf<T>::S;
    return high != T(S(low) >> (kBits<T> - 1));
}
template <class T> ALWAYS_INLINE T imul_truncating(Cpu &c, T a, T b, bool want_flags = true) {
    T high, low = multiply_signed<T>(a, b, &high);
    if (want_flags) set_lazy(c, cc(CC_MUL, kLog2<T>), low, signed_product_overflows<T>(low, high));
    return low;
}

enum class Bit : u8 { TEST, SET, RESET, COMPLEMENT };
template <class T> ALWAYS_INLINE T bit_result(Bit op, T v, unsigned bit) {
    T mask = T(T(1) << bit);
    return op == Bit::SET ? T(v | mask) : op == Bit::RESET ? T(v & ~mask) : op == Bit::COMPLEMENT ? T(v ^ mask) : v;
}
// Near branch targets: #GP(0) outside the CS limit or not canonical (SDM Vol. 2, JMP).
inline void check_target(Cpu &cpu, u64 rip) {
    if (in_64bit(cpu)) {
        if (UNLIKELY(!canonical(cpu, rip))) raise_gp(cpu);
    } else if (UNLIKELY(rip > cpu.seg[CS].limit)) {
        raise_gp(cpu);
    }
}
