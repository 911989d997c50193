// x87 arithmetic in integers.  SDM Vol. 1 4.8, 8.3, 8.5; Vol. 2 per instruction.
#include "fpu_soft_common.h"

#if !HOST_SSE2
using namespace soft;

namespace soft {
bool x87_nan(Env &env, const Number &a, const Number &b, X87Result *r) {
    if (a.cls == UNSUPPORTED || b.cls == UNSUPPORTED) {
        *r = x87_invalid(env);
        return true;
    }
    if (!a.nan() && !b.nan()) return false;
    if (a.cls == SIGNALLING || b.cls == SIGNALLING) env.flags |= IE;
    const Number *n;
    if (!b.nan()) n = &a;
    else if (!a.nan()) n = &b;
    else if (a.cls != b.cls) n = a.cls == QUIET ? &a : &b;  // a quiet one before a signalling one
    else if (a.mant != b.mant) n = a.mant > b.mant ? &a : &b;
    else n = a.sign ? &b : &a;
    *r = x87_result(env, nan80(*n));
    return true;
}
bool x87_nan(Env &env, const Number &a, X87Result *r) { return x87_nan(env, a, Number{}, r); }
}  // namespace soft

namespace {
enum Operation { ADD, SUB, MUL, DIV };

template <Operation O> X87Result compute(Cpu &cpu, const Number &a, const Number &b) {
    Env env = x87_env(cpu);
    const Format format = x87_format(cpu);
    X87Result r;
    if (x87_nan(env, a, b, &r)) return r;
    bool sign = a.sign != b.sign;
    auto denormals = [&] {
        note_denormal(env, a);
        note_denormal(env, b);
    };
    auto rounded = [&](const Exact &e) { return x87_result(env, pack80(round(env, e, format))); };
    if constexpr (O == ADD || O == SUB) {
        bool b_sign = b.sign != (O == SUB);
        if (a.cls == INFINITE && b.cls == INFINITE && a.sign != b_sign) return x87_invalid(env);
        denormals();
        if (a.cls == INFINITE) return x87_result(env, x87_infinity(a.sign));
        if (b.cls == INFINITE) return x87_result(env, x87_infinity(b_sign));
        if (env.flags & ~cpu.fpu.cw & DE) return x87_result(env, x87_zero(false));
        return rounded(add(a, b, O == SUB, env.rounding));
    } else if constexpr (O == MUL) {
        if ((a.cls == ZERO && b.cls == INFINITE) || (a.cls == INFINITE && b.cls == ZERO)) return x87_invalid(env);
        denormals();
        if (env.flags & ~cpu.fpu.cw & DE) return x87_result(env, x87_zero(false));
        if (a.cls == INFINITE || b.cls == INFINITE) return x87_result(env, x87_infinity(sign));
        if (a.cls == ZERO || b.cls == ZERO) return x87_result(env, x87_zero(sign));
        return rounded(multiply(a, b));
    } else {
        if (a.cls == b.cls && (a.cls == ZERO || a.cls == INFINITE)) return x87_invalid(env);
        if (b.cls == ZERO) {
            if (a.cls != INFINITE) env.flags |= ZE;
            return x87_result(env, x87_infinity(sign));
        }
        denormals();
        if (env.flags & ~cpu.fpu.cw & DE) return x87_result(env, x87_zero(false));
        if (a.cls == INFINITE) return x87_result(env, x87_infinity(sign));
        if (b.cls == INFINITE || a.cls == ZERO) return x87_result(env, x87_zero(sign));
        return rounded(divide(a, b));
    }
}

u16 compare(const Number &a, const Number &b, bool quiet) {
    constexpr u16 unordered = SW_C0 | SW_C2 | SW_C3;
    if (a.cls == UNSUPPORTED || b.cls == UNSUPPORTED) return SW_IE | unordered;
    if (a.nan() || b.nan()) return u16((!quiet || a.cls == SIGNALLING || b.cls == SIGNALLING ? u16(SW_IE) : 0) | unordered);
    u16 sw = a.denormal || b.denormal ? u16(SW_DE) : 0;
    int r = order(a, b);
    return u16(sw | (r < 0 ? u16(SW_C0) : r == 0 ? u16(SW_C3) : 0));
}

Number of80(const F80 &v) { return unpack80(v); }
Number of32(u32 v) {
    Env env{};
    return unpack32(env, v);
}
Number of64(u64 v) {
    Env env{};
    return unpack64(env, v);
}
Number of16i(u16 v) { return from_integer(i16(v)); }
Number of32i(u32 v) { return from_integer(i32(v)); }
}  // namespace

#define SOFT87_OPERATION(name, O)                                                                                            \
    X87Result h_f##name(Cpu &cpu, const F80 &a, const F80 &b) { return compute<O>(cpu, of80(a), of80(b)); }                  \
    X87Result h_f##name##_m32(Cpu &cpu, const F80 &a, u32 b) { return compute<O>(cpu, of80(a), of32(b)); }                   \
    X87Result h_f##name##_m64(Cpu &cpu, const F80 &a, u64 b) { return compute<O>(cpu, of80(a), of64(b)); }                   \
    X87Result h_fi##name##_m16(Cpu &cpu, const F80 &a, u16 b) { return compute<O>(cpu, of80(a), of16i(b)); }                 \
    X87Result h_fi##name##_m32(Cpu &cpu, const F80 &a, u32 b) { return compute<O>(cpu, of80(a), of32i(b)); }
#define SOFT87_REVERSED(name, O)                                                                                             \
    X87Result h_f##name(Cpu &cpu, const F80 &a, const F80 &b) { return compute<O>(cpu, of80(b), of80(a)); }                  \
    X87Result h_f##name##_m32(Cpu &cpu, const F80 &a, u32 b) { return compute<O>(cpu, of32(b), of80(a)); }                   \
    X87Result h_f##name##_m64(Cpu &cpu, const F80 &a, u64 b) { return compute<O>(cpu, of64(b), of80(a)); }                   \
    X87Result h_fi##name##_m16(Cpu &cpu, const F80 &a, u16 b) { return compute<O>(cpu, of16i(b), of80(a)); }                 \
    X87Result h_fi##name##_m32(Cpu &cpu, const F80 &a, u32 b) { return compute<O>(cpu, of32i(b), of80(a)); }
SOFT87_OPERATION(add, ADD)
SOFT87_OPERATION(mul, MUL)
SOFT87_OPERATION(sub, SUB)
SOFT87_OPERATION(div, DIV)
SOFT87_REVERSED(subr, SUB)
SOFT87_REVERSED(divr, DIV)

u16 h_fcom(Cpu &, const F80 &a, const F80 &b) { return compare(of80(a), of80(b), false); }
u16 h_fucom(Cpu &, const F80 &a, const F80 &b) { return compare(of80(a), of80(b), true); }
u16 h_fcom_m32(Cpu &, const F80 &a, u32 b) { return compare(of80(a), of32(b), false); }
u16 h_fcom_m64(Cpu &, const F80 &a, u64 b) { return compare(of80(a), of64(b), false); }
u16 h_ficom_m16(Cpu &, const F80 &a, u16 b) { return compare(of80(a), of16i(b), false); }
u16 h_ficom_m32(Cpu &, const F80 &a, u32 b) { return compare(of80(a), of32i(b), false); }
u16 h_ftst(Cpu &, const F80 &a) { return compare(of80(a), Number{}, false); }

X87Result h_fsqrt(Cpu &cpu, const F80 &a) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    X87Result r;
    if (x87_nan(env, n, &r)) return r;
    if (n.cls == ZERO) return x87_result(env, a);
    if (n.sign) return x87_invalid(env);
    note_denormal(env, n);
    if (n.cls == INFINITE) return x87_result(env, a);
    return x87_result(env, pack80(round(env, square_root(n), x87_format(cpu))));
}
X87Result h_frndint(Cpu &cpu, const F80 &a) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    X87Result r;
    if (x87_nan(env, n, &r)) return r;
    note_denormal(env, n);
    if (n.cls != FINITE || n.exp >= 63) return x87_result(env, a);
    // Below 2^63 every magnitude fits 64 bits with a sign.
    u64 whole = to_integer(env, n, 64, env.rounding);
    if (!whole) return x87_result(env, x87_zero(n.sign));
    if (whole == u64(1) << 63 && !n.sign) {  // rounded up to 2^63, which to_integer refuses
        env.flags = u32((env.flags & ~u32(IE)) | PE);
        env.up = true;
    }
    Number i = from_integer(i64(whole));
    i.sign = n.sign;
    Env exact{};
    return x87_result(env, pack80(round(exact, exact_of(i), kExtended)));
}

// ---- stores
namespace {
u16 store_integer(Cpu &cpu, const F80 &a, unsigned bits, bool truncate, u64 *out) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    *out = to_integer(env, n, bits, truncate ? CHOP : env.rounding);
    return x87_status(env);
}
template <class T> u16 store_as(Cpu &cpu, const F80 &a, bool truncate, T *out) {
    u64 v;
    u16 sw = store_integer(cpu, a, kBits<T>, truncate, &v);
    *out = T(v);
    return sw;
}
}  // namespace
u16 h_fist_m16(Cpu &cpu, const F80 &a, u16 *out) { return store_as(cpu, a, false, out); }
u16 h_fist_m32(Cpu &cpu, const F80 &a, u32 *out) { return store_as(cpu, a, false, out); }
u16 h_fist_m64(Cpu &cpu, const F80 &a, u64 *out) { return store_as(cpu, a, false, out); }
u16 h_fisttp_m16(Cpu &cpu, const F80 &a, u16 *out) { return u16(store_as(cpu, a, true, out) & ~SW_C1); }
u16 h_fisttp_m32(Cpu &cpu, const F80 &a, u32 *out) { return u16(store_as(cpu, a, true, out) & ~SW_C1); }
u16 h_fisttp_m64(Cpu &cpu, const F80 &a, u64 *out) { return u16(store_as(cpu, a, true, out) & ~SW_C1); }

u16 h_fst_m32(Cpu &cpu, const F80 &a, u32 *out) {
    Env env = x87_env(cpu);
    env.scaled = false;
    Number n = unpack80(a);
    X87Result r;
    if (n.cls == UNSUPPORTED) {
        env.flags |= IE;
        *out = 0xffc00000;
    } else if (x87_nan(env, n, &r)) {
        *out = nan32(n);
    } else if (n.cls == FINITE) {
        *out = pack32(round(env, exact_of(n), kSingle));
        if (env.flags & env.unmasked) env.flags &= ~u32(PE);  // nothing is stored
    } else {
        *out = u32(n.sign) << 31 | (n.cls == INFINITE ? 0x7f800000 : 0);
    }
    return x87_status(env);
}
u16 h_fst_m64(Cpu &cpu, const F80 &a, u64 *out) {
    Env env = x87_env(cpu);
    env.scaled = false;
    Number n = unpack80(a);
    X87Result r;
    if (n.cls == UNSUPPORTED) {
        env.flags |= IE;
        *out = 0xfff8000000000000;
    } else if (x87_nan(env, n, &r)) {
        *out = nan64(n);
    } else if (n.cls == FINITE) {
        *out = pack64(round(env, exact_of(n), kDouble));
        if (env.flags & env.unmasked) env.flags &= ~u32(PE);
    } else {
        *out = u64(n.sign) << 63 | (n.cls == INFINITE ? 0x7ff0000000000000 : 0);
    }
    return x87_status(env);
}
u16 h_fbst(Cpu &cpu, const F80 &a, F80 *out) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    u64 v = to_integer(env, n, 64, env.rounding);
    bool negative = n.sign;
    if (negative) v = 0 - v;
    if (env.flags & IE || v > 999999999999999999) {
        *out = kIndefinite;
        return SW_IE;
    }
    u64 digits = 0;
    for (unsigned i = 0; i < 16; i++, v /= 10) digits |= v % 10 << (4 * i);
    *out = {digits, u16((negative ? 0x8000 : 0) | v / 10 << 4 | v % 10)};
    return x87_status(env);
}

// ---- remainders, scaling
namespace {
X87Result remainder(Cpu &cpu, const F80 &x, const F80 &y, bool nearest) {
    Env env = x87_env(cpu);
    Number a = unpack80(x), b = unpack80(y);
    X87Result r;
    if (x87_nan(env, a, b, &r)) return r;
    if (a.cls == INFINITE || b.cls == ZERO) return x87_invalid(env);
    note_denormal(env, a);
    note_denormal(env, b);
    if (a.cls == ZERO) return x87_result(env, x87_zero(a.sign));
    if (b.cls == INFINITE) return x87_result(env, x);
    i32 distance = a.exp - b.exp;
    bool partial = distance >= 64;
    i32 steps = partial ? (distance & 31) + 32 : distance;  // bits of the quotient, less one
    u64 rest = a.mant, quotient = 0;
    bool carry = false;
    i32 exp = a.exp;
    for (i32 i = 0; i <= steps; i++) {
        quotient <<= 1;
        if (carry || rest >= b.mant) {
            rest -= b.mant;
            quotient |= 1;
            carry = false;
        }
        if (i < steps) {
            carry = rest >> 63;
            rest <<= 1;
            exp--;
        }
    }
    bool sign = a.sign;
    if (nearest && !partial && distance >= -1) {
        // rest * 2^exp against half of b; for distance -1 nothing was divided yet.
        bool above, tie;
        if (distance < 0) {
            above = rest > b.mant;
            tie = rest == b.mant;
        } else {
            u64 doubled = rest << 1;
            bool over = rest >> 63;
            above = over || doubled > b.mant;
            tie = !over && doubled == b.mant;
        }
        if (above || (tie && (quotient & 1))) {
            // b - rest, in units of 2^(b.exp - 63 - (distance < 0))
            if (distance < 0) {
                U128 difference = U128{0, b.mant} + U128{0, b.mant} - U128{0, rest};
                quotient++;
                sign = !sign;
                Exact e = normalised(sign, exp + 64, difference);
                Rounded rounded = round(env, e, kExtended);
                return {pack80(rounded), u16(x87_status(env) | (quotient & 1 ? SW_C1 : 0) | (quotient & 2 ? SW_C3 : 0) | (quotient & 4 ? SW_C0 : 0))};
            }
            rest = b.mant - rest;
            quotient++;
            sign = !sign;
        }
    }
    u16 codes = partial ? u16(SW_C2)
                        : u16((quotient & 1 ? u16(SW_C1) : 0) | (quotient & 2 ? u16(SW_C3) : 0) | (quotient & 4 ? u16(SW_C0) : 0));
    F80 v = x87_zero(a.sign);
    if (rest) v = pack80(round(env, normalised(sign, exp, {rest, 0}), kExtended));
    env.up = false;
    return {v, u16(x87_status(env) | codes)};
}
}  // namespace
X87Result h_fprem(Cpu &cpu, const F80 &st0, const F80 &st1) { return remainder(cpu, st0, st1, false); }
X87Result h_fprem1(Cpu &cpu, const F80 &st0, const F80 &st1) { return remainder(cpu, st0, st1, true); }

X87Result h_fscale(Cpu &cpu, const F80 &st0, const F80 &st1) {
    Env env = x87_env(cpu);
    Number a = unpack80(st0), b = unpack80(st1);
    X87Result r;
    if (x87_nan(env, a, b, &r)) return r;
    if (b.cls == INFINITE) {
        if (b.sign ? a.cls == INFINITE : a.cls == ZERO) return x87_invalid(env);
        note_denormal(env, a);
        if (b.sign) return x87_result(env, x87_zero(a.sign));
        return x87_result(env, x87_infinity(a.sign));
    }
    note_denormal(env, a);
    note_denormal(env, b);
    if (a.cls != FINITE) return x87_result(env, st0);
    i32 by = 0;
    if (b.cls == FINITE && b.exp >= 0) {
        by = b.exp >= 17 ? 0x1ffff : i32(b.mant >> (63 - b.exp));
        if (b.sign) by = -by;
    }
    Exact e = exact_of(a);
    e.exp += by;
    return x87_result(env, pack80(round(env, e, kExtended)));
}
X87Pair h_fxtract(Cpu &cpu, const F80 &a) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    X87Result r;
    if (x87_nan(env, n, &r)) return {r.v, r.v, r.sw, true};
    if (n.cls == ZERO) return {x87_infinity(true), a, u16(SW_ZE), !(~cpu.fpu.cw & SW_ZE)};
    if (n.cls == INFINITE) return {x87_infinity(false), a, 0, true};
    note_denormal(env, n);
    Env exact{};
    Number exponent = from_integer(n.exp);
    F80 first = exponent.cls == ZERO ? x87_zero(false) : pack80(round(exact, exact_of(exponent), kExtended));
    return {first, F80{n.mant, u16((n.sign ? 0x8000 : 0) | 0x3fff)}, x87_status(env), true};
}
#endif
