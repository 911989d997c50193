// SSE kernels in integers, for hosts that are not x86-64, and everywhere while the guest has the overflow or underflow exception unmasked: then
// inexactness is judged as if the exponent had no bounds, and a tiny result is reported even if it is exact (SDM Vol. 1 4.9.1.4, 4.9.1.5), which no
// masked host instruction tells.  Flags go to Cpu::mxcsr directly.
#pragma once
#include "softfloat.h"

namespace soft {

ALWAYS_INLINE Env sse_env(const Cpu &cpu) {
    Env env{};
    env.rounding = Rounding(cpu.mxcsr >> 13 & 3);
    env.daz = cpu.mxcsr & MX_DAZ;
    env.unmasked = ~cpu.mxcsr >> 7 & (OE | UE);
    env.ftz = (cpu.mxcsr & MX_FZ) && !(env.unmasked & UE);
    return env;
}

struct Single {
    using Bits = u32;
    static constexpr unsigned kCount = 4;
    static constexpr Format kFormat = kSingle;
    static constexpr u32 kDefaultNan = 0xffc00000, kSign = 0x80000000, kInfinity = 0x7f800000;
    static Number unpack(Env &env, u32 v) { return unpack32(env, v); }
    static u32 pack(const Rounded &r) { return pack32(r); }
    static u32 nan(const Number &n) { return nan32(n); }
};
struct Double {
    using Bits = u64;
    static constexpr unsigned kCount = 2;
    static constexpr Format kFormat = kDouble;
    static constexpr u64 kDefaultNan = 0xfff8000000000000, kSign = u64(1) << 63, kInfinity = 0x7ff0000000000000;
    static Number unpack(Env &env, u64 v) { return unpack64(env, v); }
    static u64 pack(const Rounded &r) { return pack64(r); }
    static u64 nan(const Number &n) { return nan64(n); }
};

enum Operation { ADD, SUB, MUL, DIV, MIN, MAX, SQRT };

template <class F> typename F::Bits invalid(Env &env) {
    env.flags |= IE;
    return F::kDefaultNan;
}
template <class F, Operation O> typename F::Bits compute(Env &env, typename F::Bits x, typename F::Bits y) {
    using Bits = typename F::Bits;
    Number a = F::unpack(env, x), b = F::unpack(env, y);
    if constexpr (O == SQRT) {  // of the second operand
        if (b.nan()) {
            if (b.cls == SIGNALLING) env.flags |= IE;
            return F::nan(b);
        }
        if (b.cls == ZERO) return b.sign ? F::kSign : 0;
        if (b.sign) return invalid<F>(env);
        if (b.cls == INFINITE) return y;
        if (b.denormal) env.flags |= DE;
        return F::pack(round(env, square_root(b), F::kFormat));
    } else if constexpr (O == MIN || O == MAX) {  // the second operand where either is a NaN or both are zeros
        Bits first = a.cls == ZERO ? x & F::kSign : x, second = b.cls == ZERO ? y & F::kSign : y;  // DAZ
        if (a.nan() || b.nan()) {
            env.flags |= IE;
            return second;
        }
        if (a.denormal || b.denormal) env.flags |= DE;
        int c = order(a, b);
        return (O == MIN ? c < 0 : c > 0) ? first : second;
    } else {
        if (a.nan() || b.nan()) {
            if (a.cls == SIGNALLING || b.cls == SIGNALLING) env.flags |= IE;
            return F::nan(a.nan() ? a : b);
        }
        bool sign = a.sign != b.sign;
        Bits signed_zero = sign ? F::kSign : 0, signed_infinity = signed_zero | F::kInfinity;
        if constexpr (O == ADD || O == SUB) {
            bool b_sign = b.sign != (O == SUB);
            if (a.cls == INFINITE && b.cls == INFINITE && a.sign != b_sign) return invalid<F>(env);
            if (a.denormal || b.denormal) env.flags |= DE;
            if (a.cls == INFINITE) return x;
            if (b.cls == INFINITE) return b_sign ? F::kSign | F::kInfinity : F::kInfinity;
            return F::pack(round(env, add(a, b, O == SUB, env.rounding), F::kFormat));
        } else if constexpr (O == MUL) {
            if ((a.cls == ZERO && b.cls == INFINITE) || (a.cls == INFINITE && b.cls == ZERO)) return invalid<F>(env);
            if (a.denormal || b.denormal) env.flags |= DE;
            if (a.cls == INFINITE || b.cls == INFINITE) return signed_infinity;
            if (a.cls == ZERO || b.cls == ZERO) return signed_zero;
            return F::pack(round(env, multiply(a, b), F::kFormat));
        } else {
            if (a.cls == b.cls && (a.cls == ZERO || a.cls == INFINITE)) return invalid<F>(env);
            if (b.cls == ZERO) {
                if (a.cls != INFINITE) env.flags |= ZE;
                return signed_infinity;
            }
            if (a.denormal || b.denormal) env.flags |= DE;
            if (a.cls == INFINITE) return signed_infinity;
            if (b.cls == INFINITE || a.cls == ZERO) return signed_zero;
            return F::pack(round(env, divide(a, b), F::kFormat));
        }
    }
}
template <class F, Operation O, bool PACKED> Xmm arithmetic(Cpu &cpu, Xmm a, const Xmm &b) {
    using Bits = typename F::Bits;
    for (unsigned i = 0; i < (PACKED ? F::kCount : 1); i++) {
        Env env = sse_env(cpu);
        lanes<Bits>(a)[i] = compute<F, O>(env, lanes<Bits>(a)[i], lanes<Bits>(b)[i]);
        cpu.mxcsr |= env.flags;
    }
    return a;
}

// Less, equal, greater, unordered.
template <class F> int relation(Env &env, typename F::Bits x, typename F::Bits y, bool quiet) {
    Number a = F::unpack(env, x), b = F::unpack(env, y);
    if (a.nan() || b.nan()) {
        if (!quiet || a.cls == SIGNALLING || b.cls == SIGNALLING) env.flags |= IE;
        return 2;
    }
    if (a.denormal || b.denormal) env.flags |= DE;
    return order(a, b);
}
template <class F, bool PACKED> Xmm compare(Cpu &cpu, Xmm a, const Xmm &b, unsigned predicate) {
    using Bits = typename F::Bits;
    for (unsigned i = 0; i < (PACKED ? F::kCount : 1); i++) {
        Env env = sse_env(cpu);
        unsigned kind = predicate & 3;
        int r = relation<F>(env, lanes<Bits>(a)[i], lanes<Bits>(b)[i], kind == 0 || kind == 3);
        cpu.mxcsr |= env.flags;
        bool v = kind == 0 ? r == 0 : kind == 1 ? r == -1 : kind == 2 ? r == -1 || r == 0 : r == 2;
        lanes<Bits>(a)[i] = v != bool(predicate & 4) ? ~Bits(0) : 0;
    }
    return a;
}
template <class F> u32 compare_flags(Cpu &cpu, const Xmm &a, const Xmm &b, bool quiet) {
    using Bits = typename F::Bits;
    Env env = sse_env(cpu);
    int r = relation<F>(env, lanes<Bits>(a)[0], lanes<Bits>(b)[0], quiet);
    cpu.mxcsr |= env.flags;
    return r == 2 ? u32(FL_ZF | FL_PF | FL_CF) : r == 0 ? u32(FL_ZF) : r < 0 ? u32(FL_CF) : 0;
}

// ---- conversions
template <class F> typename F::Bits from_int(Cpu &cpu, i64 v) {
    Env env = sse_env(cpu);
    Number n = from_integer(v);
    typename F::Bits r = n.cls == ZERO ? 0 : F::pack(round(env, exact_of(n), F::kFormat));
    cpu.mxcsr |= env.flags;
    return r;
}
template <class F> u64 to_int(Cpu &cpu, typename F::Bits v, unsigned bits, bool truncate) {
    Env env = sse_env(cpu);
    Number n = F::unpack(env, v);
    u64 r = to_integer(env, n, bits, truncate ? CHOP : env.rounding);
    cpu.mxcsr |= env.flags;
    return r;
}
template <class FROM, class TO> typename TO::Bits convert(Cpu &cpu, typename FROM::Bits v) {
    Env env = sse_env(cpu);
    Number n = FROM::unpack(env, v);
    typename TO::Bits r;
    if (n.nan()) {
        if (n.cls == SIGNALLING) env.flags |= IE;
        r = TO::nan(n);
    } else if (n.cls == FINITE) {
        if (n.denormal) env.flags |= DE;
        r = TO::pack(round(env, exact_of(n), TO::kFormat));
    } else {
        r = (n.sign ? TO::kSign : 0) | (n.cls == INFINITE ? TO::kInfinity : 0);
    }
    cpu.mxcsr |= env.flags;
    return r;
}

}  // namespace soft

#define SOFT_ARITHMETIC(name, O)                                                                                             \
    inline Xmm s_##name##ps(Cpu &cpu, Xmm a, const Xmm &b) { return soft::arithmetic<soft::Single, soft::O, true>(cpu, a, b); } \
    inline Xmm s_##name##pd(Cpu &cpu, Xmm a, const Xmm &b) { return soft::arithmetic<soft::Double, soft::O, true>(cpu, a, b); } \
    inline Xmm s_##name##ss(Cpu &cpu, Xmm a, const Xmm &b) { return soft::arithmetic<soft::Single, soft::O, false>(cpu, a, b); } \
    inline Xmm s_##name##sd(Cpu &cpu, Xmm a, const Xmm &b) { return soft::arithmetic<soft::Double, soft::O, false>(cpu, a, b); }
SOFT_ARITHMETIC(add, ADD)
SOFT_ARITHMETIC(sub, SUB)
SOFT_ARITHMETIC(mul, MUL)
SOFT_ARITHMETIC(div, DIV)
SOFT_ARITHMETIC(min, MIN)
SOFT_ARITHMETIC(max, MAX)
SOFT_ARITHMETIC(sqrt, SQRT)
#undef SOFT_ARITHMETIC

inline Xmm s_cmpps(Cpu &cpu, Xmm a, const Xmm &b, unsigned p) { return soft::compare<soft::Single, true>(cpu, a, b, p); }
inline Xmm s_cmppd(Cpu &cpu, Xmm a, const Xmm &b, unsigned p) { return soft::compare<soft::Double, true>(cpu, a, b, p); }
inline Xmm s_cmpss(Cpu &cpu, Xmm a, const Xmm &b, unsigned p) { return soft::compare<soft::Single, false>(cpu, a, b, p); }
inline Xmm s_cmpsd(Cpu &cpu, Xmm a, const Xmm &b, unsigned p) { return soft::compare<soft::Double, false>(cpu, a, b, p); }
inline u32 s_comiss(Cpu &cpu, const Xmm &a, const Xmm &b) { return soft::compare_flags<soft::Single>(cpu, a, b, false); }
inline u32 s_comisd(Cpu &cpu, const Xmm &a, const Xmm &b) { return soft::compare_flags<soft::Double>(cpu, a, b, false); }
inline u32 s_ucomiss(Cpu &cpu, const Xmm &a, const Xmm &b) { return soft::compare_flags<soft::Single>(cpu, a, b, true); }
inline u32 s_ucomisd(Cpu &cpu, const Xmm &a, const Xmm &b) { return soft::compare_flags<soft::Double>(cpu, a, b, true); }

inline Xmm s_cvtdq2ps(Cpu &cpu, Xmm a, const Xmm &b) {
    for (unsigned i = 0; i < 4; i++) a.ud[i] = soft::from_int<soft::Single>(cpu, b.sd[i]);
    return a;
}
inline Xmm s_cvtdq2pd(Cpu &cpu, Xmm, const Xmm &b) {
    return xmm_of(soft::from_int<soft::Double>(cpu, b.sd[0]), soft::from_int<soft::Double>(cpu, b.sd[1]));
}
#define SOFT_PACKED_TO_INT(t, truncate)                                                                                      \
    inline Xmm s_cvt##t##ps2dq(Cpu &cpu, Xmm a, const Xmm &b) {                                                              \
        for (unsigned i = 0; i < 4; i++) a.ud[i] = u32(soft::to_int<soft::Single>(cpu, b.ud[i], 32, truncate));              \
        return a;                                                                                                            \
    }                                                                                                                        \
    inline Xmm s_cvt##t##pd2dq(Cpu &cpu, Xmm, const Xmm &b) {                                                                \
        u32 low = u32(soft::to_int<soft::Double>(cpu, b.uq[0], 32, truncate));                                               \
        return low64(low | u64(u32(soft::to_int<soft::Double>(cpu, b.uq[1], 32, truncate))) << 32);                          \
    }
SOFT_PACKED_TO_INT(, false)
SOFT_PACKED_TO_INT(t, true)
#undef SOFT_PACKED_TO_INT
inline Xmm s_cvtps2pd(Cpu &cpu, Xmm, const Xmm &b) {
    return xmm_of(soft::convert<soft::Single, soft::Double>(cpu, b.ud[0]), soft::convert<soft::Single, soft::Double>(cpu, b.ud[1]));
}
inline Xmm s_cvtpd2ps(Cpu &cpu, Xmm, const Xmm &b) {
    u32 low = soft::convert<soft::Double, soft::Single>(cpu, b.uq[0]);
    return low64(low | u64(soft::convert<soft::Double, soft::Single>(cpu, b.uq[1])) << 32);
}
inline Xmm s_cvtss2sd(Cpu &cpu, Xmm a, const Xmm &b) {
    a.uq[0] = soft::convert<soft::Single, soft::Double>(cpu, b.ud[0]);
    return a;
}
inline Xmm s_cvtsd2ss(Cpu &cpu, Xmm a, const Xmm &b) {
    a.ud[0] = soft::convert<soft::Double, soft::Single>(cpu, b.uq[0]);
    return a;
}
#define SOFT_SCALAR(format, F, lane)                                                                                         \
    inline Xmm s_cvtsi2##format##32(Cpu &cpu, Xmm a, u32 v) {                                                                \
        a.lane[0] = soft::from_int<soft::F>(cpu, i32(v));                                                                    \
        return a;                                                                                                            \
    }                                                                                                                        \
    inline Xmm s_cvtsi2##format##64(Cpu &cpu, Xmm a, u64 v) {                                                                \
        a.lane[0] = soft::from_int<soft::F>(cpu, i64(v));                                                                    \
        return a;                                                                                                            \
    }                                                                                                                        \
    inline u32 s_cvt##format##2si32(Cpu &cpu, const Xmm &b) { return u32(soft::to_int<soft::F>(cpu, b.lane[0], 32, false)); } \
    inline u64 s_cvt##format##2si64(Cpu &cpu, const Xmm &b) { return soft::to_int<soft::F>(cpu, b.lane[0], 64, false); }      \
    inline u32 s_cvtt##format##2si32(Cpu &cpu, const Xmm &b) { return u32(soft::to_int<soft::F>(cpu, b.lane[0], 32, true)); } \
    inline u64 s_cvtt##format##2si64(Cpu &cpu, const Xmm &b) { return soft::to_int<soft::F>(cpu, b.lane[0], 64, true); }
SOFT_SCALAR(ss, Single, ud)
SOFT_SCALAR(sd, Double, uq)
#undef SOFT_SCALAR

#if !HOST_SSE2
#define h_addps s_addps
#define h_addpd s_addpd
#define h_addss s_addss
#define h_addsd s_addsd
#define h_subps s_subps
#define h_subpd s_subpd
#define h_subss s_subss
#define h_subsd s_subsd
#define h_mulps s_mulps
#define h_mulpd s_mulpd
#define h_mulss s_mulss
#define h_mulsd s_mulsd
#define h_divps s_divps
#define h_divpd s_divpd
#define h_divss s_divss
#define h_divsd s_divsd
#define h_minps s_minps
#define h_minpd s_minpd
#define h_minss s_minss
#define h_minsd s_minsd
#define h_maxps s_maxps
#define h_maxpd s_maxpd
#define h_maxss s_maxss
#define h_maxsd s_maxsd
#define h_sqrtps s_sqrtps
#define h_sqrtpd s_sqrtpd
#define h_sqrtss s_sqrtss
#define h_sqrtsd s_sqrtsd
#define h_cmpps s_cmpps
#define h_cmppd s_cmppd
#define h_cmpss s_cmpss
#define h_cmpsd s_cmpsd
#define h_comiss s_comiss
#define h_comisd s_comisd
#define h_ucomiss s_ucomiss
#define h_ucomisd s_ucomisd
#define h_cvtdq2ps s_cvtdq2ps
#define h_cvtdq2pd s_cvtdq2pd
#define h_cvtps2dq s_cvtps2dq
#define h_cvttps2dq s_cvttps2dq
#define h_cvtpd2dq s_cvtpd2dq
#define h_cvttpd2dq s_cvttpd2dq
#define h_cvtps2pd s_cvtps2pd
#define h_cvtpd2ps s_cvtpd2ps
#define h_cvtss2sd s_cvtss2sd
#define h_cvtsd2ss s_cvtsd2ss
#define h_cvtsi2ss32 s_cvtsi2ss32
#define h_cvtsi2ss64 s_cvtsi2ss64
#define h_cvtsi2sd32 s_cvtsi2sd32
#define h_cvtsi2sd64 s_cvtsi2sd64
#define h_cvtss2si32 s_cvtss2si32
#define h_cvtss2si64 s_cvtss2si64
#define h_cvtsd2si32 s_cvtsd2si32
#define h_cvtsd2si64 s_cvtsd2si64
#define h_cvttss2si32 s_cvttss2si32
#define h_cvttss2si64 s_cvttss2si64
#define h_cvttsd2si32 s_cvttsd2si32
#define h_cvttsd2si64 s_cvttsd2si64
#endif
