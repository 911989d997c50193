// Evaluation of the lazily kept arithmetic flags (see CcGroup).  SDM Vol. 1 3.4.3.1, Vol. 2 per instruction.
#pragma once

template <class T> struct LazyFlags {
    static constexpr T kTop = T(T(1) << (kBits<T> - 1));
    static bool cf(CcGroup g, u64 d, u64 s) {
        T res = T(d), src = T(s);
        switch (g) {
        case CC_ADD: return res < src;
        case CC_ADC: return res <= src;
        case CC_SUB: return T(res + src) < src;
        case CC_SBB: return T(res + src + 1) <= src;
        case CC_INC: case CC_DEC: case CC_MUL: case CC_BLS: return s & 1;
        case CC_SHL: return src & kTop;
        case CC_SHR: return src & 1;
        default: return false;
        }
    }
    static bool of(CcGroup g, u64 d, u64 s) {
        T res = T(d), src = T(s);
        switch (g) {
        case CC_ADD: { T a = T(res - src); return T((a ^ res) & (src ^ res)) & kTop; }
        case CC_ADC: { T a = T(res - src - 1); return T((a ^ res) & (src ^ res)) & kTop; }
        case CC_SUB: { T a = T(res + src); return T((a ^ src) & (a ^ res)) & kTop; }
        case CC_SBB: { T a = T(res + src + 1); return T((a ^ src) & (a ^ res)) & kTop; }
        case CC_INC: return res == kTop;
        case CC_DEC: return res == T(kTop - 1);
        case CC_SHL: case CC_SHR: return T(src ^ res) & kTop;
        case CC_MUL: return s & 1;
        default: return false;
        }
    }
    static bool af(CcGroup g, u64 d, u64 s) {
        T res = T(d), src = T(s);
        switch (g) {
        case CC_ADD: return (T(res - src) ^ src ^ res) & 0x10;
        case CC_ADC: return (T(res - src - 1) ^ src ^ res) & 0x10;
        case CC_SUB: return (T(res + src) ^ src ^ res) & 0x10;
        case CC_SBB: return (T(res + src + 1) ^ src ^ res) & 0x10;
        case CC_INC: return (res & 15) == 0;
        case CC_DEC: return (res & 15) == 15;
        default: return false;
        }
    }
    static bool zf(u64 d) { return T(d) == 0; }
    static bool sf(u64 d) { return T(d) & kTop; }
};

ALWAYS_INLINE bool parity_even(u8 v) {
    v ^= v >> 4;
    return (0x9669 >> (v & 15)) & 1;
}

template <class T> inline u32 lazy_flags(CcGroup g, u64 d, u64 s) {
    using L = LazyFlags<T>;
    u32 f = 0;
    if (L::cf(g, d, s)) f |= FL_CF;
    if (g != CC_BLS && parity_even(u8(d))) f |= FL_PF;
    if (L::af(g, d, s)) f |= FL_AF;
    if (L::zf(d)) f |= FL_ZF;
    if (L::sf(d)) f |= FL_SF;
    if (L::of(g, d, s)) f |= FL_OF;
    return f;
}

// The six arithmetic flags in EFLAGS positions.
inline u32 arith_flags(const Cpu &c) {
    CcGroup g = CcGroup(c.cc_op >> 2);
    if (g == CC_EFLAGS) return u32(c.cc_src) & FL_ARITH;
    switch (c.cc_op & 3) {
    case 0: return lazy_flags<u8>(g, c.cc_dst, c.cc_src);
    case 1: return lazy_flags<u16>(g, c.cc_dst, c.cc_src);
    case 2: return lazy_flags<u32>(g, c.cc_dst, c.cc_src);
    default: return lazy_flags<u64>(g, c.cc_dst, c.cc_src);
    }
}
inline bool carry_flag(const Cpu &c) {
    CcGroup g = CcGroup(c.cc_op >> 2);
    if (g == CC_EFLAGS) return c.cc_src & FL_CF;
    switch (c.cc_op & 3) {
    case 0: return LazyFlags<u8>::cf(g, c.cc_dst, c.cc_src);
    case 1: return LazyFlags<u16>::cf(g, c.cc_dst, c.cc_src);
    case 2: return LazyFlags<u32>::cf(g, c.cc_dst, c.cc_src);
    default: return LazyFlags<u64>::cf(g, c.cc_dst, c.cc_src);
    }
}
inline void set_arith_flags(Cpu &c, u32 f) {
    c.cc_op = CC_EFLAGS;
    c.cc_src = f & FL_ARITH;
}
inline u32 get_eflags(const Cpu &c) { return c.flags | FL_1 | arith_flags(c); }
// Plain assignment; the caller has masked what the privilege level may change and calls update_mode() if AC, VM or IF matter.
inline void set_eflags(Cpu &c, u32 f) {
    c.flags = (f & ~u32(FL_ARITH)) | FL_1;
    set_arith_flags(c, f);
}

// Condition codes as in the low nibble of Jcc (SDM Vol. 2 appendix B.1.4.7).
inline bool condition_of(u32 f, unsigned code) {
    bool v;
    switch (code >> 1) {
    case 0: v = f & FL_OF; break;
    case 1: v = f & FL_CF; break;
    case 2: v = f & FL_ZF; break;
    case 3: v = f & (FL_CF | FL_ZF); break;
    case 4: v = f & FL_SF; break;
    case 5: v = f & FL_PF; break;
    case 6: v = !(f & FL_SF) != !(f & FL_OF); break;
    default: v = (f & FL_ZF) || (!(f & FL_SF) != !(f & FL_OF)); break;
    }
    return v != bool(code & 1);
}
inline bool condition(const Cpu &c, unsigned code) { return condition_of(arith_flags(c), code); }
