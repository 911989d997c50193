// Fast handlers: shifts, rotates, bits, multiplication, division, on registers.  SDM Vol. 2.
#include "ops_alu.h"

namespace {

// ------------------------------------------------------------------------------------------- shifts by a constant
// The count in op->imm is masked and not 0 (rule_).
template <Shift S, class T, bool F> HANDLER(shift_i) {
    using Signed = typename SignedOf<T>::S;
    constexpr unsigned bits = kBits<T>;
    const T a = reg<T>(*cpu, op->m);
    const unsigned n = u8(op->imm);
    T r;
    if (S == Shift::SHL) {
        r = bits >= 32 ? T(a << n) : T(u64(a) << n);
        if (F) set_lazy(*cpu, cc(CC_SHL, kLog2<T>), r, u64(a) << (n - 1));
    } else if (S == Shift::SHR) {
        r = bits >= 32 ? T(a >> n) : T(u64(a) >> n);
        if (F) set_lazy(*cpu, cc(CC_SHR, kLog2<T>), r, u64(a) >> (n - 1));
    } else {
        r = T(i64(Signed(a)) >> n);
        if (F) set_lazy(*cpu, cc(CC_SHR, kLog2<T>), r, u64(i64(Signed(a)) >> (n - 1)));
    }
    set_reg<T>(*cpu, op->m, r);
    NEXT();
}
// Shifts by CL: a count of 0 leaves the flags.
template <Shift S, class T, bool F> HANDLER(shift_c) {
    using Signed = typename SignedOf<T>::S;
    constexpr unsigned bits = kBits<T>;
    const unsigned n = u8(cpu->gpr[RCX]) & (bits == 64 ? 63 : 31);
    const T a = reg<T>(*cpu, op->m);
    if (UNLIKELY(!n)) {
        set_reg<T>(*cpu, op->m, a);  // zero-extends
        NEXT();
    }
    T r;
    if (S == Shift::SHL) {
        r = T(u64(a) << n);
        if (F) set_lazy(*cpu, cc(CC_SHL, kLog2<T>), r, u64(a) << (n - 1));
    } else if (S == Shift::SHR) {
        r = T(u64(a) >> n);
        if (F) set_lazy(*cpu, cc(CC_SHR, kLog2<T>), r, u64(a) >> (n - 1));
    } else {
        r = T(i64(Signed(a)) >> n);
        if (F) set_lazy(*cpu, cc(CC_SHR, kLog2<T>), r, u64(i64(Signed(a)) >> (n - 1)));
    }
    set_reg<T>(*cpu, op->m, r);
    NEXT();
}
// Rotates where nobody sees the flags.
template <bool LEFT, class T> HANDLER(rotate_i_nf) {
    constexpr unsigned bits = kBits<T>;
    const T a = reg<T>(*cpu, op->m);
    const unsigned n = (LEFT ? u8(op->imm) : bits - u8(op->imm)) & (bits - 1);
    set_reg<T>(*cpu, op->m, T(a << n | a >> ((bits - n) & (bits - 1))));
    NEXT();
}
template <bool LEFT, class T> HANDLER(rotate_c_nf) {
    constexpr unsigned bits = kBits<T>;
    const T a = reg<T>(*cpu, op->m);
    const unsigned c = u8(cpu->gpr[RCX]), n = (LEFT ? c : 0 - c) & (bits - 1);
    set_reg<T>(*cpu, op->m, T(a << n | a >> ((bits - n) & (bits - 1))));
    NEXT();
}
// Rotates keep SF ZF AF PF: those are evaluated only if they are not at hand.  The flags end up in CC_EFLAGS form.
ALWAYS_INLINE u32 rotate_flags(u32 old, bool carry, bool overflow) {
    return (old & ~u32(FL_CF | FL_OF)) | u32(carry) | u32(overflow) << 11;
}
template <bool LEFT, class T> HANDLER(rotate_i) {
    constexpr unsigned bits = kBits<T>;
    if (cpu->cc_op >> 2 != CC_EFLAGS) TAIL(h_slow, op, budget);
    const T a = reg<T>(*cpu, op->m);
    const unsigned n = (LEFT ? u8(op->imm) : bits - u8(op->imm)) & (bits - 1);
    const T r = T(a << n | a >> ((bits - n) & (bits - 1)));
    const bool carry = LEFT ? r & 1 : r >> (bits - 1);
    cpu->cc_src = rotate_flags(u32(cpu->cc_src), carry, LEFT ? (r >> (bits - 1)) != carry : ((r >> (bits - 1)) ^ (r >> (bits - 2))) & 1);
    set_reg<T>(*cpu, op->m, r);
    NEXT();
}

// ------------------------------------------------------------------------------------------- double shifts
template <bool LEFT, class T, bool F> HANDLER(double_i) {
    constexpr unsigned bits = kBits<T>;
    const T a = reg<T>(*cpu, op->m), b = reg<T>(*cpu, op->r);
    const unsigned n = u8(op->imm);
    T r;
    if (LEFT) {
        r = T(a << n | b >> (bits - n));
        if (F) set_lazy(*cpu, cc(CC_SHL, kLog2<T>), r, a << (n - 1) | (b >> 1) >> (bits - n));
    } else {
        r = T(a >> n | b << (bits - n));
        if (F) set_lazy(*cpu, cc(CC_SHR, kLog2<T>), r, a >> (n - 1) | (b << 1) << (bits - n));
    }
    set_reg<T>(*cpu, op->m, r);
    NEXT();
}

// ------------------------------------------------------------------------------------------- multiplication, division
template <class T, bool F> HANDLER(imul_rr) {
    const T a = reg<T>(*cpu, op->r), b = reg<T>(*cpu, op->m);
    if (F) {
        T high, low = multiply_signed<T>(a, b, &high);
        set_lazy(*cpu, cc(CC_MUL, kLog2<T>), low, signed_product_overflows<T>(low, high));
        set_reg<T>(*cpu, op->r, low);
    } else {
        set_reg<T>(*cpu, op->r, T(u64(a) * u64(b)));
    }
    NEXT();
}
template <class T, bool F> HANDLER(imul_rri) {
    const T a = reg<T>(*cpu, op->m), b = T(op->imm);
    if (F) {
        T high, low = multiply_signed<T>(a, b, &high);
        set_lazy(*cpu, cc(CC_MUL, kLog2<T>), low, signed_product_overflows<T>(low, high));
        set_reg<T>(*cpu, op->r, low);
    } else {
        set_reg<T>(*cpu, op->r, T(u64(a) * u64(b)));
    }
    NEXT();
}
template <class T, bool F, AddressKind K> HANDLER(imul_rm) {
    HOST_READ(p, address<K>(cpu, op), sizeof(T));
    const T a = reg<T>(*cpu, op->r), b = load_host<T>(p);
    if (F) {
        T high, low = multiply_signed<T>(a, b, &high);
        set_lazy(*cpu, cc(CC_MUL, kLog2<T>), low, signed_product_overflows<T>(low, high));
        set_reg<T>(*cpu, op->r, low);
    } else {
        set_reg<T>(*cpu, op->r, T(u64(a) * u64(b)));
    }
    NEXT();
}
template <class T, bool SIGNED> HANDLER(mul_r) {
    const T a = reg<T>(*cpu, RAX), b = reg<T>(*cpu, op->m);
    T high, low;
    if (SIGNED) {
        low = multiply_signed<T>(a, b, &high);
        set_lazy(*cpu, cc(CC_MUL, kLog2<T>), low, signed_product_overflows<T>(low, high));
    } else {
        low = multiply_unsigned<T>(a, b, &high);
        set_lazy(*cpu, cc(CC_MUL, kLog2<T>), low, high != 0);
    }
    set_reg<T>(*cpu, RAX, low);
    set_reg<T>(*cpu, RDX, high);
    NEXT();
}
// Divisions: the slow function raises #DE, and does the 128-bit ones whose high half is not trivial.
HANDLER(div32) {
    const u64 n = u64(u32(cpu->gpr[RDX])) << 32 | u32(cpu->gpr[RAX]);
    const u32 d = u32(cpu->gpr[op->m]);
    if (UNLIKELY(d <= u32(cpu->gpr[RDX]))) TAIL(h_slow, op, budget);
    cpu->gpr[RAX] = u32(n / d);
    cpu->gpr[RDX] = u32(n % d);
    NEXT();
}
HANDLER(div64) {
    const u64 n = cpu->gpr[RAX], d = cpu->gpr[op->m];
    if (UNLIKELY(cpu->gpr[RDX] != 0 || d == 0)) TAIL(h_slow, op, budget);
    if ((n | d) >> 32) {
        cpu->gpr[RAX] = n / d;
        cpu->gpr[RDX] = n % d;
    } else {
        cpu->gpr[RAX] = u32(n) / u32(d);
        cpu->gpr[RDX] = u32(n) % u32(d);
    }
    NEXT();
}
HANDLER(idiv32) {
    const i64 n = i64(u64(u32(cpu->gpr[RDX])) << 32 | u32(cpu->gpr[RAX]));
    const i64 d = i32(cpu->gpr[op->m]);
    if (UNLIKELY(n != i32(n) || d == 0 || d == -1)) TAIL(h_slow, op, budget);
    cpu->gpr[RAX] = u32(i32(n) / i32(d));
    cpu->gpr[RDX] = u32(i32(n) % i32(d));
    NEXT();
}
HANDLER(idiv64) {
    const i64 n = i64(cpu->gpr[RAX]), d = i64(cpu->gpr[op->m]);
    if (UNLIKELY(i64(cpu->gpr[RDX]) != n >> 63 || d == 0 || d == -1)) TAIL(h_slow, op, budget);
    cpu->gpr[RAX] = u64(n / d);
    cpu->gpr[RDX] = u64(n % d);
    NEXT();
}

// ------------------------------------------------------------------------------------------- bits
// BT and kin change CF alone; OF SF AF PF are undefined, ZF stays.  If ZF is not at hand the slow function does it.
template <Bit B, class T, bool IMM, bool F> HANDLER(bit_r) {
    const T v = reg<T>(*cpu, op->m);
    const unsigned n = unsigned(IMM ? op->imm : cpu->gpr[op->r]) & (kBits<T> - 1);
    if (F) {
        const u32 group = cpu->cc_op >> 2;
        if (group == CC_EFLAGS) cpu->cc_src = (cpu->cc_src & ~u64(FL_CF)) | (v >> n & 1);
        else if (group == CC_MUL) cpu->cc_src = v >> n & 1;
        else TAIL(h_slow, op, budget);
    }
    if (B != Bit::TEST) set_reg<T>(*cpu, op->m, bit_result<T>(B, v, n));
    NEXT();
}
template <class T, bool REVERSE> HANDLER(scan_r) {
    const T v = reg<T>(*cpu, op->m);
    cpu->cc_op = cc(CC_LOGIC, kLog2<T>);
    cpu->cc_dst = v;
    if (LIKELY(v != 0)) {
#if defined(__GNUC__)
        set_reg<T>(*cpu, op->r, T(REVERSE ? 63 - __builtin_clzll(v) : __builtin_ctzll(v)));
#else
        T n = REVERSE ? kBits<T> - 1 : 0;
        while (!(v >> n & 1)) n = T(REVERSE ? n - 1 : n + 1);
        set_reg<T>(*cpu, op->r, n);
#endif
    }
    NEXT();
}

#define SHIFT_TABLE(h, S) {{h<S, u8, true>, h<S, u16, true>, h<S, u32, true>, h<S, u64, true>},                              \
                           {h<S, u8, false>, h<S, u16, false>, h<S, u32, false>, h<S, u64, false>}}

unsigned masked_count(const Op &op) { return u8(op.imm) & (op.width == 3 ? 63 : 31); }

Handler shift_rule(const Handler (&table)[2][4], const Translation_ &t, Op &op, bool by_one) {
    if (!op.is_reg) return nullptr;
    unsigned n = by_one ? 1 : masked_count(op);
    if (!n) return nullptr;
    op.imm = n;
    return table[t.flags_dead][op.width];
}
#define ROTATE_TABLE(h, L) {h<L, u8>, h<L, u16>, h<L, u32>, h<L, u64>}
const Handler rotates[2][4] = {ROTATE_TABLE(rotate_i, false), ROTATE_TABLE(rotate_i, true)};
const Handler rotates_nf[2][4] = {ROTATE_TABLE(rotate_i_nf, false), ROTATE_TABLE(rotate_i_nf, true)};
const Handler rotates_c_nf[2][4] = {ROTATE_TABLE(rotate_c_nf, false), ROTATE_TABLE(rotate_c_nf, true)};
Handler rotate_rule(const Translation_ &t, Op &op, bool left, bool by_one) {
    if (!op.is_reg) return nullptr;
    unsigned n = by_one ? 1 : masked_count(op);
    if (!n) return nullptr;
    op.imm = n;
    return (t.flags_dead ? rotates_nf : rotates)[left][op.width];
}

}  // namespace

#define SHIFT_RULES(name, S)                                                                                                 \
    namespace {                                                                                                              \
    const Handler name##_imm[2][4] = SHIFT_TABLE(shift_i, S);                                                                \
    const Handler name##_cl[2][4] = SHIFT_TABLE(shift_c, S);                                                                 \
    }                                                                                                                        \
    RULE(name##_i) { return shift_rule(name##_imm, t, op, false); }                                                          \
    RULE(name##_1) { return shift_rule(name##_imm, t, op, true); }                                                           \
    RULE(name##_c) { return op.is_reg ? name##_cl[t.flags_dead][op.width] : nullptr; }
SHIFT_RULES(shl, Shift::SHL)
SHIFT_RULES(shr, Shift::SHR)
SHIFT_RULES(sar, Shift::SAR)
RULE(rol_i) { return rotate_rule(t, op, true, false); }
RULE(ror_i) { return rotate_rule(t, op, false, false); }
RULE(rol_1) { return rotate_rule(t, op, true, true); }
RULE(ror_1) { return rotate_rule(t, op, false, true); }
RULE(rol_c) { return op.is_reg && t.flags_dead ? rotates_c_nf[1][op.width] : nullptr; }
RULE(ror_c) { return op.is_reg && t.flags_dead ? rotates_c_nf[0][op.width] : nullptr; }

namespace {
Handler double_rule(const Translation_ &t, Op &op, bool left) {
    static const Handler table[2][2][2] = {{{double_i<false, u32, true>, double_i<false, u64, true>}, {double_i<false, u32, false>, double_i<false, u64, false>}},
                                           {{double_i<true, u32, true>, double_i<true, u64, true>}, {double_i<true, u32, false>, double_i<true, u64, false>}}};
    unsigned n = masked_count(op);
    if (!op.is_reg || op.width < 2 || !n) return nullptr;
    op.imm = n;
    return table[left][t.flags_dead][op.width - 2];
}
}  // namespace
RULE(shld_i) { return double_rule(t, op, true); }
RULE(shrd_i) { return double_rule(t, op, false); }

#define KINDS(h, T, F) {h<T, F, A_BASE>, h<T, F, A_ANY>}
RULE(imul_ge) {
    static const Handler rr[2][3] = {{imul_rr<u16, true>, imul_rr<u32, true>, imul_rr<u64, true>}, {imul_rr<u16, false>, imul_rr<u32, false>, imul_rr<u64, false>}};
    static const Handler rm[3][2] = {KINDS(imul_rm, u16, true), KINDS(imul_rm, u32, true), KINDS(imul_rm, u64, true)};
    if (op.is_reg) return rr[t.flags_dead][op.width - 1];
    AddressKind k = address_kind2(t, op);
    return k == A_NONE ? nullptr : rm[op.width - 1][k == A_ANY];
}
RULE(imul_gei) {
    static const Handler rri[2][3] = {{imul_rri<u16, true>, imul_rri<u32, true>, imul_rri<u64, true>}, {imul_rri<u16, false>, imul_rri<u32, false>, imul_rri<u64, false>}};
    return op.is_reg ? rri[t.flags_dead][op.width - 1] : nullptr;
}
RULE(mul) {
    if (!op.is_reg) return nullptr;
    return op.width == 3 ? mul_r<u64, false> : op.width == 2 ? mul_r<u32, false> : nullptr;
}
RULE(imul) {
    if (!op.is_reg) return nullptr;
    return op.width == 3 ? mul_r<u64, true> : op.width == 2 ? mul_r<u32, true> : nullptr;
}
RULE(div) { return !op.is_reg ? nullptr : op.width == 3 ? div64 : op.width == 2 ? div32 : nullptr; }
RULE(idiv) { return !op.is_reg ? nullptr : op.width == 3 ? idiv64 : op.width == 2 ? idiv32 : nullptr; }

#define BITS(B, I, F) {bit_r<B, u16, I, F>, bit_r<B, u32, I, F>, bit_r<B, u64, I, F>}
#define BIT_RULES(name, B)                                                                                                   \
    RULE(name##_g) {                                                                                                         \
        static const Handler table[2][3] = {BITS(B, false, true), BITS(B, false, false)};                                    \
        return op.is_reg ? table[t.flags_dead][op.width - 1] : nullptr;                                                      \
    }                                                                                                                        \
    RULE(name##_i) {                                                                                                         \
        static const Handler table[2][3] = {BITS(B, true, true), BITS(B, true, false)};                                      \
        return op.is_reg ? table[t.flags_dead][op.width - 1] : nullptr;                                                      \
    }
BIT_RULES(bt, Bit::TEST)
BIT_RULES(bts, Bit::SET)
BIT_RULES(btr, Bit::RESET)
BIT_RULES(btc, Bit::COMPLEMENT)
RULE(bsf) { return !op.is_reg ? nullptr : op.width == 3 ? scan_r<u64, false> : op.width == 2 ? scan_r<u32, false> : nullptr; }
RULE(bsr) { return !op.is_reg ? nullptr : op.width == 3 ? scan_r<u64, true> : op.width == 2 ? scan_r<u32, true> : nullptr; }
