// Floating-point arithmetic and comparison of SSE, SSE2, SSE3 and SSE4.1.
#include "sse_rules.h"

// ---- four operand shapes: packed and scalar, single and double
#define ARITHMETIC(name)                                                                                                     \
    void x_##name##ps(Cpu &cpu, const Op &op) {                                                                              \
        Xmm b = read_wx(cpu, op);                                                                                            \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        d = FP_RUN(name##ps, cpu, d, b);                                                                              \
    }                                                                                                                        \
    void x_##name##pd(Cpu &cpu, const Op &op) {                                                                              \
        Xmm b = read_wx(cpu, op);                                                                                            \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        d = FP_RUN(name##pd, cpu, d, b);                                                                              \
    }                                                                                                                        \
    void x_##name##ss(Cpu &cpu, const Op &op) {                                                                              \
        Xmm b = read_wd(cpu, op);                                                                                            \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        d = FP_RUN(name##ss, cpu, d, b);                                                                              \
    }                                                                                                                        \
    void x_##name##sd(Cpu &cpu, const Op &op) {                                                                              \
        Xmm b = read_wq(cpu, op);                                                                                            \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        d = FP_RUN(name##sd, cpu, d, b);                                                                              \
    }                                                                                                                        \
    FLOAT_RULE(name##ps, 16)                                                                                                 \
    FLOAT_RULE(name##pd, 16)                                                                                                 \
    FLOAT_RULE(name##ss, 4)                                                                                                  \
    FLOAT_RULE(name##sd, 8)
ARITHMETIC(add)
ARITHMETIC(sub)
ARITHMETIC(mul)
ARITHMETIC(div)
ARITHMETIC(min)
ARITHMETIC(max)
ARITHMETIC(sqrt)

#define COMPARE(shape, read)                                                                                                 \
    void x_cmp##shape(Cpu &cpu, const Op &op) {                                                                              \
        Xmm b = read(cpu, op);                                                                                               \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        d = FP_RUN(cmp##shape, cpu, d, b, unsigned(op.imm));                                                      \
    }
COMPARE(ps, read_wx)
COMPARE(pd, read_wx)
COMPARE(ss, read_wd)
COMPARE(sd, read_wq)
#if HOST_SSE2
#define COMPARE_RULE(shape, bytes)                                                                                           \
    template <unsigned P> static ALWAYS_INLINE Xmm k_cmp##shape(Cpu &cpu, Xmm a, const Xmm &b) { return h_cmp##shape(cpu, a, b, P); } \
    RULE(cmp##shape) {                                                                                                       \
        switch (op.imm & 7) {                                                                                                \
        case 0: return float_rule<k_cmp##shape<0>, bytes>(t, op);                                                            \
        case 1: return float_rule<k_cmp##shape<1>, bytes>(t, op);                                                            \
        case 2: return float_rule<k_cmp##shape<2>, bytes>(t, op);                                                            \
        case 3: return float_rule<k_cmp##shape<3>, bytes>(t, op);                                                            \
        case 4: return float_rule<k_cmp##shape<4>, bytes>(t, op);                                                            \
        case 5: return float_rule<k_cmp##shape<5>, bytes>(t, op);                                                            \
        case 6: return float_rule<k_cmp##shape<6>, bytes>(t, op);                                                            \
        default: return float_rule<k_cmp##shape<7>, bytes>(t, op);                                                           \
        }                                                                                                                    \
    }
COMPARE_RULE(ps, 16)
COMPARE_RULE(pd, 16)
COMPARE_RULE(ss, 4)
COMPARE_RULE(sd, 8)
#endif

#define ORDER(name, read)                                                                                                    \
    void x_##name(Cpu &cpu, const Op &op) {                                                                                  \
        Xmm b = read(cpu, op);                                                                                               \
        set_arith_flags(cpu, FP_RUN(name, cpu, xmm(cpu, op.r), b));                                                 \
    }
ORDER(comiss, read_wd)
ORDER(comisd, read_wq)
ORDER(ucomiss, read_wd)
ORDER(ucomisd, read_wq)

// ---- RCP and RSQRT.  The manual bounds the relative error by 1.5 * 2^-12 and processors differ in their tables; so that a run is the same on every
// host, the result here is the correctly rounded one.  No flags; denormal operands count as zero, tiny results become zero.
namespace {
u32 quiet_or_keep(u32 v) { return v | 0x00400000; }
u32 reciprocal(u32 v) {
    u32 sign = v & 0x80000000, exponent = v >> 23 & 0xff, fraction = v & 0x7fffff;
    if (exponent == 255) return fraction ? quiet_or_keep(v) : sign;
    if (exponent == 0) return sign | 0x7f800000;
    u64 m = fraction | 0x800000;  // 1/m with 24 bits after normalisation, to nearest
    int e = 253 - int(exponent);
    u64 q, r;
    if (fraction == 0) {
        e++;
        q = 0x800000;
    } else {
        q = (u64(1) << 47) / m;
        r = (u64(1) << 47) % m;
        if (2 * r >= m) q++;
    }
    if (e <= 0) return sign;
    return sign | u32(e) << 23 | (u32(q) & 0x7fffff);
}
u32 reciprocal_root(u32 v) {
    u32 sign = v & 0x80000000, exponent = v >> 23 & 0xff, fraction = v & 0x7fffff;
    if (exponent == 255 && fraction) return quiet_or_keep(v);
    if (exponent == 0) return sign | 0x7f800000;
    if (sign) return 0xffc00000;
    if (exponent == 255) return 0;
    // v = m * 2^(2k) with m in [1, 4): the result is 2^-k / sqrt(m).  Find the largest q with q^2 * m <= 2^(2 * 25 + 23), q in (2^24, 2^25].
    int unbiased = int(exponent) - 127;
    u64 m = u64(fraction | 0x800000) << (unbiased & 1);
    int k = (unbiased - (unbiased & 1)) / 2;
    u64 q = 0;
    for (int bit = 25; bit >= 0; bit--) {
        u64 t = q | u64(1) << bit;
        // t^2 has up to 52 bits, m up to 25: compare t^2 * m with 2^73 without a 128-bit product.
        u64 square = t * t;
        u64 high = (square >> 32) * m + ((square & 0xffffffff) * m >> 32);
        u64 low = (square & 0xffffffff) * m & 0xffffffff;
        if (high < u64(1) << 41 || (high == u64(1) << 41 && low == 0)) q = t;
    }
    // q has 25 or 26 bits: 1/sqrt(m) = q / 2^25, in (1/2, 1].
    int e = 126 - k;
    if (q == u64(1) << 25) return u32(e + 1) << 23;
    u64 rounded = (q >> 1) + (q & 1);  // a tie would need q exact, which only powers of four give
    if (rounded == u64(1) << 24) return u32(e + 1) << 23;
    return u32(e) << 23 | (u32(rounded) & 0x7fffff);
}
}  // namespace
#define APPROXIMATE(name, function)                                                                                          \
    void x_##name##ps(Cpu &cpu, const Op &op) {                                                                              \
        Xmm b = read_wx(cpu, op);                                                                                            \
        for (unsigned i = 0; i < 4; i++) xmm(cpu, op.r).ud[i] = function(b.ud[i]);                                           \
    }                                                                                                                        \
    void x_##name##ss(Cpu &cpu, const Op &op) { xmm(cpu, op.r).ud[0] = function(read_wd(cpu, op).ud[0]); }
APPROXIMATE(rcp, reciprocal)
APPROXIMATE(rsqrt, reciprocal_root)

// ---- SSE3: horizontal and alternating.  Lanes that an operation does not concern are zero in both operands, which raises nothing.
namespace {
Xmm masked(const Xmm &v, u64 low, u64 high) { return xmm_of(v.uq[0] & low, v.uq[1] & high); }
Xmm merged(const Xmm &a, const Xmm &b) { return xmm_of(a.uq[0] | b.uq[0], a.uq[1] | b.uq[1]); }
Xmm singles(u32 a, u32 b, u32 c, u32 d) { return xmm_of(a | u64(b) << 32, c | u64(d) << 32); }
}  // namespace
#define HORIZONTAL(name)                                                                                                     \
    void x_h##name##ps(Cpu &cpu, const Op &op) {                                                                             \
        Xmm b = read_wx(cpu, op);                                                                                            \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        Xmm even = singles(d.ud[0], d.ud[2], b.ud[0], b.ud[2]), odd = singles(d.ud[1], d.ud[3], b.ud[1], b.ud[3]);           \
        d = FP_RUN(name##ps, cpu, even, odd);                                                                                \
    }                                                                                                                        \
    void x_h##name##pd(Cpu &cpu, const Op &op) {                                                                             \
        Xmm b = read_wx(cpu, op);                                                                                            \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        Xmm even = xmm_of(d.uq[0], b.uq[0]), odd = xmm_of(d.uq[1], b.uq[1]);                                                 \
        d = FP_RUN(name##pd, cpu, even, odd);                                                                                \
    }
HORIZONTAL(add)
HORIZONTAL(sub)

// A kernel as an object: pointers to functions that must be inlined cannot be passed on.
#define CALL(kernel) [](Cpu &c, const Xmm &x, const Xmm &y) { return kernel(c, x, y); }
void x_addsubps(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    Xmm &d = xmm(cpu, op.r);
    constexpr u64 even = 0xffffffff, odd = ~even;
    auto both = [&](auto sub, auto add) {
        return merged(masked(sub(cpu, masked(d, even, even), masked(b, even, even)), even, even),
                      masked(add(cpu, masked(d, odd, odd), masked(b, odd, odd)), odd, odd));
    };
    d = fp_run(cpu, [&] { return both(CALL(h_subps), CALL(h_addps)); }, [&] { return both(CALL(s_subps), CALL(s_addps)); });
}
void x_addsubpd(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    Xmm &d = xmm(cpu, op.r);
    auto both = [&](auto sub, auto add) {
        return xmm_of(sub(cpu, low64(d.uq[0]), low64(b.uq[0])).uq[0], add(cpu, low64(d.uq[1]), low64(b.uq[1])).uq[0]);
    };
    d = fp_run(cpu, [&] { return both(CALL(h_subpd), CALL(h_addpd)); }, [&] { return both(CALL(s_subpd), CALL(s_addpd)); });
}

// ---- SSE4.1 dot products: the order of the additions is the manual's; an unmasked exception of a step ends the instruction there
void x_dpps(Cpu &cpu, const Op &op) {
    Xmm y = read_wx(cpu, op);
    Xmm &d = xmm(cpu, op.r), x = d;
    for (unsigned i = 0; i < 4; i++)
        if (!(op.imm >> (4 + i) & 1)) x.ud[i] = y.ud[i] = 0;
    Xmm p = FP_RUN(mulps, cpu, x, y);
    Xmm even = singles(p.ud[0], p.ud[2], 0, 0), odd = singles(p.ud[1], p.ud[3], 0, 0);
    Xmm pairs = FP_RUN(addps, cpu, even, odd);
    Xmm low = low64(pairs.ud[0]), high = low64(pairs.ud[1]);
    u32 sum = FP_RUN(addps, cpu, low, high).ud[0];
    for (unsigned i = 0; i < 4; i++) d.ud[i] = op.imm >> i & 1 ? sum : 0;
}
void x_dppd(Cpu &cpu, const Op &op) {
    Xmm y = read_wx(cpu, op);
    Xmm &d = xmm(cpu, op.r), x = d;
    for (unsigned i = 0; i < 2; i++)
        if (!(op.imm >> (4 + i) & 1)) x.uq[i] = y.uq[i] = 0;
    Xmm p = FP_RUN(mulpd, cpu, x, y);
    Xmm low = low64(p.uq[0]), high = low64(p.uq[1]);
    u64 sum = FP_RUN(addpd, cpu, low, high).uq[0];
    d = xmm_of(op.imm & 1 ? sum : 0, op.imm & 2 ? sum : 0);
}

// ---- SSE4.1 ROUND: to an integral value, by the immediate's or MXCSR's rounding; bit 3 suppresses the precision exception
namespace {
template <class T, unsigned FRACTION> T round_integral(Cpu &cpu, T v, unsigned control, u32 *flags) {
    constexpr T sign_bit = T(1) << (kBits<T> - 1), fraction_mask = (T(1) << FRACTION) - 1;
    constexpr unsigned exponent_mask = (1u << (kBits<T> - 1 - FRACTION)) - 1, bias = exponent_mask >> 1;
    u32 mxcsr = cpu.mxcsr;
    unsigned mode = control & 4 ? mxcsr >> 13 & 3 : control & 3;
    T sign = v & sign_bit, magnitude = v & ~sign_bit;
    unsigned exponent = unsigned(v >> FRACTION) & exponent_mask;
    if (exponent == exponent_mask) {
        if (v & fraction_mask) {
            if (!(v >> (FRACTION - 1) & 1)) *flags |= MX_IE;
            return v | T(1) << (FRACTION - 1);
        }
        return v;
    }
    if (exponent >= bias + FRACTION || magnitude == 0) return v;
    if (exponent == 0 && (mxcsr & MX_DAZ)) return sign;
    bool up = mode == 1 ? sign != 0 : mode == 2 ? sign == 0 : false;
    if (exponent < bias) {  // magnitude below one
        *flags |= MX_PE;
        constexpr T one = T(bias) << FRACTION, half = T(bias - 1) << FRACTION;
        if (mode == 0) up = magnitude > half;
        return up ? sign | one : sign;
    }
    unsigned bits = FRACTION - (exponent - bias);  // that many fraction bits go
    T mask = (T(1) << bits) - 1, rest = magnitude & mask;
    if (!rest) return v;
    *flags |= MX_PE;
    magnitude &= ~mask;
    if (mode == 0) {
        T half = T(1) << (bits - 1);
        up = rest > half || (rest == half && (magnitude >> bits & 1));
    }
    return sign | (up ? magnitude + mask + 1 : magnitude);
}
template <class T, unsigned FRACTION> void round_lanes(Cpu &cpu, const Op &op, const Xmm &b, unsigned count) {
    Xmm r = xmm(cpu, op.r);
    u32 flags = 0;
    for (unsigned i = 0; i < count; i++) lanes<T>(r)[i] = round_integral<T, FRACTION>(cpu, lanes<T>(b)[i], unsigned(op.imm), &flags);
    if (op.imm & 8) flags &= ~u32(MX_PE);
    if (flags) {
        u32 saved = unmasked_begin(cpu, true);
        cpu.mxcsr |= flags;
        unmasked_end(cpu, saved, true);
    }
    xmm(cpu, op.r) = r;
}
}  // namespace
void x_roundps(Cpu &cpu, const Op &op) { round_lanes<u32, 23>(cpu, op, read_wx(cpu, op), 4); }
void x_roundpd(Cpu &cpu, const Op &op) { round_lanes<u64, 52>(cpu, op, read_wx(cpu, op), 2); }
void x_roundss(Cpu &cpu, const Op &op) { round_lanes<u32, 23>(cpu, op, read_wd(cpu, op), 1); }
void x_roundsd(Cpu &cpu, const Op &op) { round_lanes<u64, 52>(cpu, op, read_wq(cpu, op), 1); }
