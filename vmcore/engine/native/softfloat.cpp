// See softfloat.h.
#include "softfloat.h"

namespace soft {

namespace {
// Keeps the top `bits` of m; returns whether something was lost.  *carry: the significand became 2^128.
bool round_top(const Env &env, bool sign, U128 m, unsigned bits, u64 *mant, bool *carry, bool *up) {
    u64 mask = bits == 64 ? 0 : ~u64(0) >> bits, rest = m.hi & mask, kept = m.hi & ~mask;
    bool inexact = rest || m.lo;
    *up = *carry = false;
    if (inexact) {
        switch (env.rounding) {
        case NEAREST: {
            bool above, tie;
            if (bits == 64) {
                above = m.lo > u64(1) << 63;
                tie = m.lo == u64(1) << 63;
            } else {
                u64 half = (mask >> 1) + 1;
                above = rest > half || (rest == half && m.lo);
                tie = rest == half && !m.lo;
            }
            *up = above || (tie && (kept & (mask + 1)));
            break;
        }
        case DOWN: *up = sign; break;
        case UP: *up = !sign; break;
        default: break;
        }
        if (*up) {
            kept += mask + 1;
            *carry = kept == 0;
        }
    }
    *mant = kept;
    return inexact;
}
}  // namespace

Rounded round(Env &env, const Exact &e, const Format &f) {
    constexpr i32 kScale = 24576;
    if (!e.m.hi && !e.m.lo) return {e.sign, false, f.emin, 0};
    u64 mant;
    bool carry, up;
    bool inexact = round_top(env, e.sign, e.m, f.precision, &mant, &carry, &up);
    i32 exp = e.exp;
    if (carry) {
        mant = u64(1) << 63;
        exp++;
    }
    if (exp > f.emax) {
        env.flags |= OE;
        if (env.unmasked & OE) {
            if (inexact) env.flags |= PE;
            if (!env.scaled) return {e.sign, true, 0, 0};
            env.up = up;
            exp -= kScale;
            if (exp > f.emax) return {e.sign, true, 0, 0};  // still too large (FSCALE)
            return {e.sign, false, exp, mant};
        }
        env.flags |= PE;
        bool infinite = env.rounding == NEAREST || env.rounding == (e.sign ? DOWN : UP);
        env.up = infinite;
        if (infinite) return {e.sign, true, 0, 0};
        return {e.sign, false, f.emax, f.precision == 64 ? ~u64(0) : ~(~u64(0) >> f.precision)};
    }
    if (exp < f.emin) {  // tiny, judged after rounding as every x86 does
        if (env.unmasked & UE) {
            env.flags |= UE;
            if (inexact) env.flags |= PE;
            env.up = up;
            if (!env.scaled) return {e.sign, false, f.emin, 0};
            exp += kScale;
            if (exp < f.emin) return {e.sign, false, f.emin, 0};
            return {e.sign, false, exp, mant};
        }
        if (env.ftz) {
            env.flags |= UE | PE;
            return {e.sign, false, f.emin, 0};
        }
        // The unrounded value lies below 2^emin, or rounds up to it only with the bits that a denormal lacks.
        U128 shifted = shift_sticky(e.m, unsigned(f.emin - e.exp > 200 ? 200 : f.emin - e.exp));
        inexact = round_top(env, e.sign, shifted, f.precision, &mant, &carry, &up);
        if (inexact) env.flags |= UE | PE;
        env.up = up;
        return {e.sign, false, f.emin, mant};
    }
    if (inexact) env.flags |= PE;
    env.up = up;
    return {e.sign, false, exp, mant};
}

// ---- encodings
namespace {
template <unsigned FRACTION, unsigned BITS> Number unpack(Env &env, u64 v) {
    constexpr unsigned exponent_mask = (1u << (BITS - 1 - FRACTION)) - 1;
    constexpr i32 bias = exponent_mask >> 1;
    Number n{};
    n.sign = v >> (BITS - 1) & 1;
    unsigned exponent = unsigned(v >> FRACTION) & exponent_mask;
    u64 fraction = (v & ((u64(1) << FRACTION) - 1)) << (63 - FRACTION);
    if (exponent == exponent_mask) {
        n.cls = !fraction ? INFINITE : fraction >> 62 ? QUIET : SIGNALLING;
        n.mant = fraction | u64(1) << 63;
    } else if (exponent) {
        n.cls = FINITE;
        n.exp = i32(exponent) - bias;
        n.mant = fraction | u64(1) << 63;
    } else if (fraction && !env.daz) {
        unsigned shift = leading_zeros(fraction);
        n.cls = FINITE;
        n.denormal = true;
        n.exp = 1 - bias - i32(shift);
        n.mant = fraction << shift;
    } else {
        n.cls = ZERO;
    }
    return n;
}
template <unsigned FRACTION, unsigned BITS> u64 pack(const Rounded &r) {
    constexpr unsigned exponent_mask = (1u << (BITS - 1 - FRACTION)) - 1;
    u64 sign = u64(r.sign) << (BITS - 1);
    if (r.infinite) return sign | u64(exponent_mask) << FRACTION;
    u64 exponent = r.mant >> 63 ? u64(r.exp + i32(exponent_mask >> 1)) : 0;
    return sign | exponent << FRACTION | (r.mant << 1 >> (64 - FRACTION));
}
}  // namespace
Number unpack32(Env &env, u32 v) { return unpack<23, 32>(env, v); }
Number unpack64(Env &env, u64 v) { return unpack<52, 64>(env, v); }
u32 pack32(const Rounded &r) { return u32(pack<23, 32>(r)); }
u64 pack64(const Rounded &r) { return pack<52, 64>(r); }
Number unpack80(const F80 &v) {
    Number n{};
    n.sign = v.se >> 15;
    i32 exponent = v.se & 0x7fff;
    n.mant = v.mant;
    if (exponent == 0) {
        n.cls = v.mant ? FINITE : ZERO;
        n.denormal = v.mant != 0;
        unsigned shift = leading_zeros(v.mant);
        n.exp = -16382 - i32(shift);
        if (v.mant) n.mant <<= shift;
    } else if (!(v.mant >> 63)) {
        n.cls = UNSUPPORTED;
    } else if (exponent == 0x7fff) {
        n.cls = !(v.mant << 1) ? INFINITE : v.mant >> 62 & 1 ? QUIET : SIGNALLING;
    } else {
        n.cls = FINITE;
        n.exp = exponent - 16383;
    }
    return n;
}
F80 pack80(const Rounded &r) {
    u16 sign = r.sign ? 0x8000 : 0;
    if (r.infinite) return {u64(1) << 63, u16(sign | 0x7fff)};
    return {r.mant, u16(sign | (r.mant >> 63 ? r.exp + 16383 : 0))};
}
u32 nan32(const Number &n) { return u32(n.sign) << 31 | 0x7fc00000 | (u32(n.mant >> 40) & 0x3fffff); }
u64 nan64(const Number &n) { return u64(n.sign) << 63 | 0x7ff8000000000000 | (n.mant >> 11 & 0x7ffffffffffff); }
F80 nan80(const Number &n) { return {n.mant | u64(3) << 62, u16((n.sign ? 0x8000 : 0) | 0x7fff)}; }

// ---- arithmetic
Exact add(const Number &a, const Number &b, bool subtract, Rounding rounding) {
    bool b_sign = b.sign != subtract;
    if (a.cls == ZERO || b.cls == ZERO) {
        if (a.cls != ZERO) return exact_of(a);
        if (b.cls != ZERO) return {b_sign, b.exp, {b.mant, 0}};
        return {a.sign == b_sign ? a.sign : rounding == DOWN, 0, {0, 0}};
    }
    Exact x = exact_of(a), y = {b_sign, b.exp, {b.mant, 0}};
    if (x.exp < y.exp || (x.exp == y.exp && x.m < y.m)) {
        Exact t = x;
        x = y;
        y = t;
    }
    // One bit of head room, so that a carry is not lost.
    U128 big = x.m >> 1, small = shift_sticky(y.m >> 1, unsigned(x.exp - y.exp > 200 ? 200 : x.exp - y.exp));
    U128 sum = x.sign == y.sign ? big + small : big - small;
    if (!sum.hi && !sum.lo) return {rounding == DOWN, 0, {0, 0}};
    return normalised(x.sign, x.exp + 1, sum);
}
Exact multiply(const Number &a, const Number &b) { return normalised(a.sign != b.sign, a.exp + b.exp + 1, multiply(a.mant, b.mant)); }
Exact divide(const Number &a, const Number &b) {
    U128 q{0, 0};
    u64 rest = a.mant;
    bool carry = false;
    for (unsigned i = 0; i < 70; i++) {  // rest (with its carry) is less than 2 * b.mant
        q = q << 1;
        if (carry || rest >= b.mant) {
            rest -= b.mant;
            q.lo |= 1;
        }
        carry = rest >> 63;
        rest <<= 1;
    }
    Exact e = normalised(a.sign != b.sign, a.exp - b.exp + 58, q);
    if (rest || carry) e.m.lo |= 1;
    return e;
}
Exact square_root(const Number &a) {
    // Digit by digit: root^2 <= value; value = mant * 2^(odd exponents doubled), two bits at a time.
    U128 value = {a.mant, 0};
    i32 exp = a.exp;
    if (exp & 1) exp--;  // then value lies in [2, 4) instead of [1, 2): nothing is shifted out below
    else value = value >> 1;
    U128 rest{0, 0}, root{0, 0};
    for (unsigned i = 0; i < 70; i++) {
        rest = rest << 2 | U128{0, value.hi >> 62};
        value = value << 2;
        U128 trial = root << 2 | U128{0, 1};
        root = root << 1;
        if (!(rest < trial)) {
            rest = rest - trial;
            root.lo |= 1;
        }
    }
    Exact e = normalised(false, exp / 2 + 58, root);
    if (rest.hi || rest.lo) e.m.lo |= 1;
    return e;
}

u64 to_integer(Env &env, const Number &n, unsigned bits, Rounding rounding) {
    const u64 indefinite = u64(1) << (bits - 1);
    if (n.cls == ZERO) return 0;
    if (n.cls != FINITE || n.exp > 64) {
        env.flags |= IE;
        return indefinite;
    }
    // mant : zeros is value * 2^127 / 2^exp; move the binary point to the middle of the 128 bits.
    U128 m = n.exp >= 63 ? U128{n.mant, 0} : shift_sticky(U128{n.mant, 0}, unsigned(63 - n.exp));
    u64 whole = m.hi, rest = m.lo;
    bool overflow = n.exp >= 64, up = false;
    if (rest) {
        switch (rounding) {
        case NEAREST: up = rest > u64(1) << 63 || (rest == u64(1) << 63 && (whole & 1)); break;
        case DOWN: up = n.sign; break;
        case UP: up = !n.sign; break;
        default: break;
        }
        if (up && ++whole == 0) overflow = true;
    }
    if (overflow || whole > (n.sign ? indefinite : indefinite - 1)) {
        env.flags |= IE;
        return indefinite;
    }
    if (rest) env.flags |= PE;
    env.up = up;
    return n.sign ? 0 - whole : whole;
}
Number from_integer(i64 v) {
    Number n{};
    if (!v) return n;
    n.cls = FINITE;
    n.sign = v < 0;
    u64 magnitude = v < 0 ? 0 - u64(v) : u64(v);
    unsigned shift = leading_zeros(magnitude);
    n.mant = magnitude << shift;
    n.exp = 63 - i32(shift);
    return n;
}
int order(const Number &a, const Number &b) {
    auto key = [](const Number &n) { return n.cls == ZERO ? 0 : n.sign ? -1 : 1; };
    if (key(a) != key(b)) return key(a) < key(b) ? -1 : 1;
    if (a.cls == ZERO) return 0;
    int magnitude;
    if (a.cls == INFINITE || b.cls == INFINITE) magnitude = a.cls == b.cls ? 0 : a.cls == INFINITE ? 1 : -1;
    else if (a.exp != b.exp) magnitude = a.exp < b.exp ? -1 : 1;
    else magnitude = a.mant < b.mant ? -1 : a.mant > b.mant;
    return a.sign ? -magnitude : magnitude;
}

}  // namespace soft
