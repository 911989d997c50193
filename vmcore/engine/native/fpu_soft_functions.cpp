// Transcendental x87 functions in integers: series in 128-bit precision, rounded once.  SDM Vol. 1 8.3.7-8.3.10; the special cases are those of the tables in
// Vol. 2 (FYL2X, FPATAN, ...).
#include "fpu_soft_common.h"

#if !HOST_SSE2
using namespace soft;

namespace {

// ---- numbers with 128 bits of significand: Exact, normalised or zero
using Real = Exact;

bool is_zero(const Real &a) { return !a.m.hi && !a.m.lo; }
Real real(const Number &n) { return n.cls == ZERO ? Real{n.sign, 0, {0, 0}} : exact_of(n); }
Real integer(i64 v) { return real(from_integer(v)); }
Real negated(Real a) {
    a.sign = !a.sign;
    return a;
}
Real scaled(Real a, i32 by) {
    a.exp += by;
    return a;
}
Real operator+(const Real &a, const Real &b) {
    if (is_zero(a)) return b;
    if (is_zero(b)) return a;
    const Real *x = &a, *y = &b;
    if (x->exp < y->exp || (x->exp == y->exp && x->m < y->m)) {
        x = &b;
        y = &a;
    }
    i32 distance = x->exp - y->exp;
    U128 big = x->m >> 1, small = (y->m >> 1) >> unsigned(distance > 200 ? 200 : distance);
    U128 sum = x->sign == y->sign ? big + small : big - small;
    if (!sum.hi && !sum.lo) return {false, 0, {0, 0}};
    return normalised(x->sign, x->exp + 1, sum);
}
Real operator-(const Real &a, const Real &b) { return a + negated(b); }
Real operator*(const Real &a, const Real &b) {
    if (is_zero(a) || is_zero(b)) return {a.sign != b.sign, 0, {0, 0}};
    // The upper 128 of 256 bits; the product of the low halves only matters by its carry.
    U128 high = multiply(a.m.hi, b.m.hi), m1 = multiply(a.m.hi, b.m.lo), m2 = multiply(a.m.lo, b.m.hi), low = multiply(a.m.lo, b.m.lo);
    U128 middle = U128{0, m1.lo} + U128{0, m2.lo} + U128{0, low.hi};
    U128 m = high + U128{0, m1.hi} + U128{0, m2.hi} + U128{0, middle.hi};
    return normalised(a.sign != b.sign, a.exp + b.exp + 1, m);
}
Real operator/(const Real &a, const Real &b) {
    if (is_zero(a)) return {a.sign != b.sign, 0, {0, 0}};
    U128 rest = a.m, q{0, 0};
    bool carry = false;
    for (unsigned i = 0; i < 128; i++) {
        q = q << 1;
        if (carry || !(rest < b.m)) {
            rest = rest - b.m;
            q.lo |= 1;
        }
        carry = rest.hi >> 63;
        rest = rest << 1;
    }
    return normalised(a.sign != b.sign, a.exp - b.exp, q);
}

const Real kLn2 = {false, -1, {0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af}};
const Real kPi = {false, 1, {0xc90fdaa22168c234, 0xc4c6628b80dc1cd1}};
// pi/2 as trigonometric reduction uses it: 66 bits (SDM Vol. 1 8.3.8).
const Real kHalfPi66 = {false, 0, {0xc90fdaa22168c234, u64(3) << 62}};
constexpr i32 kNegligible = 130;

// Sum of t, t * s / 3, t * s^2 / 5 ... : atanh with s = t^2, atan with s = -t^2.
Real odd_series(const Real &t, const Real &s) {
    Real sum = t, power = t;
    for (i64 k = 3;; k += 2) {
        power = power * s;
        Real term = power / integer(k);
        if (is_zero(term) || term.exp < sum.exp - kNegligible) return sum;
        sum = sum + term;
    }
}
// log2((1 + t) / (1 - t))
Real log2_ratio(const Real &t) {
    if (is_zero(t)) return t;
    return scaled(odd_series(t, t * t), 1) / kLn2;
}
// log2 of a positive number; *exact if it is an integer.
Real log2_of(const Real &n, bool *exact) {
    i32 e = n.exp;
    Real m = {false, 0, n.m};
    *exact = n.m.hi == u64(1) << 63 && !n.m.lo;
    if (*exact) return integer(e);
    if (n.m.hi > 0xb504f333f9de6484) {  // above the square root of 2: halve it
        m.exp = -1;
        e++;
    }
    Real one = integer(1);
    return integer(e) + log2_ratio((m - one) / (m + one));
}
Real exp_minus_1(const Real &y) {
    Real sum = y, term = y;
    for (i64 k = 2;; k++) {
        term = term * y / integer(k);
        if (is_zero(term) || term.exp < sum.exp - kNegligible) return sum;
        sum = sum + term;
    }
}
// Sine or cosine of |r| <= pi/4.
Real sine_series(const Real &r, bool cosine) {
    Real square = negated(r * r), sum = cosine ? integer(1) : r, term = sum;
    if (is_zero(r)) return sum;
    for (i64 k = cosine ? 1 : 2;; k += 2) {
        term = term * square / integer(k * (k + 1));
        if (is_zero(term) || term.exp < sum.exp - kNegligible) return sum;
        sum = sum + term;
    }
}
// |x| = quadrant * pi/2 + rest.
Real reduce(const Number &n, unsigned *quadrant) {
    Real x = {false, n.exp, {n.mant, 0}};
    *quadrant = 0;
    i32 distance = x.exp - kHalfPi66.exp;
    if (distance < 0) return x;
    U128 rest = x.m;
    bool carry = false;
    for (i32 i = 0; i <= distance; i++) {
        *quadrant <<= 1;
        if (carry || !(rest < kHalfPi66.m)) {
            rest = rest - kHalfPi66.m;
            *quadrant |= 1;
            carry = false;
        }
        if (i < distance) {
            carry = rest.hi >> 63;
            rest = rest << 1;
        }
    }
    *quadrant &= 3;
    if (!rest.hi && !rest.lo) return {false, 0, {0, 0}};
    return normalised(false, kHalfPi66.exp, rest);
}
void sine_and_cosine(const Number &n, Real *sine, Real *cosine) {
    unsigned quadrant;
    Real r = reduce(n, &quadrant);
    // Above pi/4 the complement is the smaller angle.
    bool complement = r.exp > -1 || (r.exp == -1 && !(r.m < kHalfPi66.m));
    if (complement) r = kHalfPi66 - r;
    Real s = sine_series(r, false), c = sine_series(r, true);
    if (complement) {
        Real t = s;
        s = c;
        c = t;
    }
    switch (quadrant) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = negated(s); break;
    case 2: *sine = negated(s), *cosine = negated(c); break;
    default: *sine = negated(c), *cosine = s;
    }
    if (n.sign) *sine = negated(*sine);
}
// atan(z) for 0 <= z <= 1
Real arctangent(const Real &z) {
    if (is_zero(z)) return z;
    Real one = integer(1);
    if (z.exp < -2 || (z.exp == -2 && z.m.hi < 0xd413cccfe7799211)) return odd_series(z, negated(z * z));  // below tan(pi/8)
    Real t = (z - one) / (z + one), quarter = scaled(kPi, -2);
    return is_zero(t) ? quarter : quarter + odd_series(t, negated(t * t));
}

F80 rounded(Env &env, Real r, bool exact = false) {
    if (is_zero(r)) return x87_zero(r.sign);
    if (!exact) r.m.lo |= 1;  // never exact
    return pack80(round(env, r, kExtended));
}
}  // namespace

X87Result h_f2xm1(Cpu &cpu, const F80 &a) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    X87Result r;
    if (x87_nan(env, n, &r)) return r;
    note_denormal(env, n);
    if (n.cls == ZERO) return x87_result(env, a);
    if (n.cls == INFINITE) return x87_result(env, n.sign ? F80{u64(1) << 63, 0xbfff} : a);
    if (n.exp >= 0) {  // only -1 and 1 are defined
        if (n.exp == 0 && n.mant == u64(1) << 63) return x87_result(env, F80{u64(1) << 63, n.sign ? u16(0xbffe) : u16(0x3fff)});
        env.flags |= PE;
        return x87_result(env, a);
    }
    return x87_result(env, rounded(env, exp_minus_1(real(n) * kLn2)));
}

// ---- logarithms: ST(1) * log2(ST), ST(1) * log2(ST + 1)
X87Result h_fyl2x(Cpu &cpu, const F80 &st0, const F80 &st1) {
    Env env = x87_env(cpu);
    Number x = unpack80(st0), y = unpack80(st1);
    X87Result r;
    if (x87_nan(env, x, y, &r)) return r;
    if (x.sign && x.cls != ZERO) return x87_invalid(env);
    bool one = x.cls == FINITE && x.exp == 0 && x.mant == u64(1) << 63;
    if (x.cls == ZERO) {
        if (y.cls == ZERO) return x87_invalid(env);
        if (y.cls == FINITE) env.flags |= ZE;
        return x87_result(env, x87_infinity(!y.sign));
    }
    if ((x.cls == INFINITE && y.cls == ZERO) || (one && y.cls == INFINITE)) return x87_invalid(env);
    note_denormal(env, x);
    note_denormal(env, y);
    bool negative = x.cls == FINITE && x.exp < 0;  // the logarithm is
    if (x.cls == INFINITE || y.cls == INFINITE) return x87_result(env, x87_infinity(y.sign != negative));
    if (y.cls == ZERO || one) return x87_result(env, x87_zero(y.sign != negative));
    bool exact;
    Real log = log2_of(real(x), &exact);
    Real product = log * real(y);
    return x87_result(env, rounded(env, product, exact));
}
X87Result h_fyl2xp1(Cpu &cpu, const F80 &st0, const F80 &st1) {
    Env env = x87_env(cpu);
    Number x = unpack80(st0), y = unpack80(st1);
    X87Result r;
    if (x87_nan(env, x, y, &r)) return r;
    if (x.cls == INFINITE) {
        if (x.sign || y.cls == ZERO) return x87_invalid(env);
        note_denormal(env, y);
        return x87_result(env, x87_infinity(y.sign));
    }
    if (x.cls == ZERO) {
        if (y.cls == INFINITE) return x87_invalid(env);
        note_denormal(env, y);
        return x87_result(env, x87_zero(x.sign != y.sign));
    }
    if (x.sign && x.exp >= 0 && !(x.exp == 0 && x.mant == u64(1) << 63)) return x87_invalid(env);  // below -1
    note_denormal(env, x);
    note_denormal(env, y);
    if (y.cls == INFINITE) return x87_result(env, x87_infinity(x.sign != y.sign));
    if (y.cls == ZERO) return x87_result(env, x87_zero(x.sign != y.sign));
    if (x.sign && x.exp == 0) {  // log2(0)
        env.flags |= ZE;
        return x87_result(env, x87_infinity(!y.sign));
    }
    // Away from zero the sum 1 + x keeps every bit that matters; near it the series takes x itself.
    Real v = real(x);
    bool exact = false;
    Real log = x.exp >= -2 ? log2_of(v + integer(1), &exact) : log2_ratio(v / (v + integer(2)));
    return x87_result(env, rounded(env, log * real(y), exact));
}

// ---- arc tangent of ST(1) / ST, with the quadrant
X87Result h_fpatan(Cpu &cpu, const F80 &st0, const F80 &st1) {
    Env env = x87_env(cpu);
    Number x = unpack80(st0), y = unpack80(st1);
    X87Result r;
    if (x87_nan(env, x, y, &r)) return r;
    note_denormal(env, x);
    note_denormal(env, y);
    auto angle = [&](Real a) {
        a.sign = y.sign;
        return x87_result(env, rounded(env, a));
    };
    const Real half = scaled(kPi, -1), quarter = scaled(kPi, -2);
    if (y.cls == INFINITE) {
        if (x.cls != INFINITE) return angle(half);
        return angle(x.sign ? quarter + half : quarter);
    }
    if (x.cls == INFINITE || y.cls == ZERO) {
        if (!x.sign) return x87_result(env, x87_zero(y.sign));
        return angle(kPi);
    }
    if (x.cls == ZERO) return angle(half);
    Real p = real(y), q = real(x);
    p.sign = q.sign = false;
    bool steep = p.exp > q.exp || (p.exp == q.exp && q.m < p.m);
    Real a = arctangent(steep ? q / p : p / q);
    if (steep) a = half - a;
    if (x.sign) a = kPi - a;
    return angle(a);
}

// ---- trigonometry: C2 for magnitudes of 2^63 and more, which are left alone
namespace {
// Whether the result is known without computing.
bool trigonometric_special(Env &env, const Number &n, X87Result *r) {
    if (x87_nan(env, n, r)) return true;
    if (n.cls == INFINITE) {
        *r = x87_invalid(env);
        return true;
    }
    return false;
}
}  // namespace
X87Result h_fsin(Cpu &cpu, const F80 &a) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    X87Result r;
    if (trigonometric_special(env, n, &r)) return r;
    if (n.cls == FINITE && n.exp >= 63) return {a, SW_C2};
    note_denormal(env, n);
    if (n.cls == ZERO) return x87_result(env, a);
    Real sine, cosine;
    sine_and_cosine(n, &sine, &cosine);
    return x87_result(env, rounded(env, sine));
}
X87Result h_fcos(Cpu &cpu, const F80 &a) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    X87Result r;
    if (trigonometric_special(env, n, &r)) return r;
    if (n.cls == FINITE && n.exp >= 63) return {a, SW_C2};
    note_denormal(env, n);
    if (n.cls == ZERO) return x87_result(env, F80{u64(1) << 63, 0x3fff});
    Real sine, cosine;
    sine_and_cosine(n, &sine, &cosine);
    return x87_result(env, rounded(env, cosine));
}
X87Pair h_fsincos(Cpu &cpu, const F80 &a) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    X87Result r;
    if (trigonometric_special(env, n, &r)) return {r.v, r.v, r.sw, !(r.sw & ~cpu.fpu.cw & SW_IE)};
    if (n.cls == FINITE && n.exp >= 63) return {a, a, SW_C2, false};
    note_denormal(env, n);
    if (n.cls == ZERO) return {a, F80{u64(1) << 63, 0x3fff}, x87_status(env), true};
    Real sine, cosine;
    sine_and_cosine(n, &sine, &cosine);
    F80 first = rounded(env, sine), second = rounded(env, cosine);
    return {first, second, x87_status(env), true};
}
X87Pair h_fptan(Cpu &cpu, const F80 &a) {
    Env env = x87_env(cpu);
    Number n = unpack80(a);
    X87Result r;
    const F80 one = {u64(1) << 63, 0x3fff};
    if (trigonometric_special(env, n, &r)) return {r.v, r.v, r.sw, !(r.sw & ~cpu.fpu.cw & SW_IE)};
    if (n.cls == FINITE && n.exp >= 63) return {a, a, SW_C2, false};
    note_denormal(env, n);
    if (n.cls == ZERO) return {a, one, x87_status(env), true};
    Real sine, cosine;
    sine_and_cosine(n, &sine, &cosine);
    F80 first = rounded(env, sine / cosine);
    return {first, one, x87_status(env), true};
}
#endif
