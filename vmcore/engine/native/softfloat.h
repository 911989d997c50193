// IEEE 754 arithmetic in integers, for hosts whose floating point is not that of an x86: single, double and 80-bit formats, every rounding
// mode, x86's exceptions (SDM Vol. 1 4.8, 4.9).  Exact and slow.
#pragma once
#include "cpu.h"

namespace soft {

// ---- 128-bit unsigned integers (compilers without __int128 are among those that need this file)
struct U128 {
    u64 hi, lo;
};
inline bool operator<(const U128 &a, const U128 &b) { return a.hi != b.hi ? a.hi < b.hi : a.lo < b.lo; }
inline U128 operator+(const U128 &a, const U128 &b) {
    u64 lo = a.lo + b.lo;
    return {a.hi + b.hi + (lo < a.lo), lo};
}
inline U128 operator-(const U128 &a, const U128 &b) { return {a.hi - b.hi - (a.lo < b.lo), a.lo - b.lo}; }
inline U128 operator|(const U128 &a, const U128 &b) { return {a.hi | b.hi, a.lo | b.lo}; }
inline U128 operator<<(const U128 &a, unsigned n) {
    if (n == 0) return a;
    if (n >= 128) return {0, 0};
    if (n >= 64) return {a.lo << (n - 64), 0};
    return {a.hi << n | a.lo >> (64 - n), a.lo << n};
}
inline U128 operator>>(const U128 &a, unsigned n) {
    if (n == 0) return a;
    if (n >= 128) return {0, 0};
    if (n >= 64) return {0, a.hi >> (n - 64)};
    return {a.hi >> n, a.lo >> n | a.hi << (64 - n)};
}
// Right shift that keeps in the lowest bit whether ones were lost.
inline U128 shift_sticky(const U128 &a, unsigned n) {
    if (n == 0) return a;
    if (n >= 128) return {0, a.hi || a.lo ? u64(1) : 0};
    U128 r = a >> n, back = r << n;
    if (back.hi != a.hi || back.lo != a.lo) r.lo |= 1;
    return r;
}
inline U128 multiply(u64 a, u64 b) {
    u64 al = u32(a), ah = a >> 32, bl = u32(b), bh = b >> 32;
    u64 low = al * bl, m1 = ah * bl + (low >> 32), m2 = al * bh + u32(m1);
    return {ah * bh + (m1 >> 32) + (m2 >> 32), m2 << 32 | u32(low)};
}
inline unsigned leading_zeros(u64 v) {
    if (!v) return 64;
    unsigned n = 0;
    for (unsigned step = 32; step; step >>= 1)
        if (!(v >> (64 - step))) {
            n += step;
            v <<= step;
        }
    return n;
}
inline unsigned leading_zeros(const U128 &v) { return v.hi ? leading_zeros(v.hi) : 64 + leading_zeros(v.lo); }

// ---- numbers
enum Class : u8 { ZERO, FINITE, INFINITE, QUIET, SIGNALLING, UNSUPPORTED };
struct Number {
    Class cls;
    bool sign;
    bool denormal;  // as it was encoded
    i32 exp;        // FINITE: value = mant / 2^63 * 2^exp, the top bit of mant set
    u64 mant;       // NaN: the significand of the 80-bit format
    bool nan() const { return cls == QUIET || cls == SIGNALLING; }
};
// A result before rounding: (m / 2^127) * 2^exp; m is normalised unless zero, and its lowest bit is sticky.
struct Exact {
    bool sign;
    i32 exp;
    U128 m;
};
struct Format {
    unsigned precision;
    i32 emin, emax;
};
constexpr Format kSingle = {24, -126, 127}, kDouble = {53, -1022, 1023}, kExtended = {64, -16382, 16383};

enum : u32 { IE = 1, DE = 2, ZE = 4, OE = 8, UE = 16, PE = 32 };  // as in MXCSR and the x87 status word
enum Rounding : u8 { NEAREST, DOWN, UP, CHOP };
struct Env {
    Rounding rounding;
    bool daz, ftz;     // MXCSR
    u32 unmasked;      // of OE and UE: how overflow and underflow are reported
    bool scaled;       // x87: an unmasked overflow or underflow gives a result with an exponent moved by 24576
    u32 flags;         // raised
    bool up;           // the result was rounded away from zero
};

inline Exact exact_of(const Number &n) { return {n.sign, n.exp, {n.mant, 0}}; }
inline Exact normalised(bool sign, i32 exp, U128 m) {
    unsigned n = leading_zeros(m);
    return {sign, exp - i32(n), m << n};
}

// Rounds to the format.  The result's mant has its top bit clear where it is denormal (or zero); cls tells INFINITE.
struct Rounded {
    bool sign, infinite;
    i32 exp;
    u64 mant;
};
Rounded round(Env &env, const Exact &e, const Format &f);

// ---- encodings
Number unpack32(Env &env, u32 v);
Number unpack64(Env &env, u64 v);
Number unpack80(const F80 &v);
u32 pack32(const Rounded &r);
u64 pack64(const Rounded &r);
F80 pack80(const Rounded &r);
u32 nan32(const Number &n);  // quiet
u64 nan64(const Number &n);
F80 nan80(const Number &n);

// ---- arithmetic on finite, nonzero numbers (add: also zeros)
Exact add(const Number &a, const Number &b, bool subtract, Rounding rounding);  // m is zero where the sum is
Exact multiply(const Number &a, const Number &b);
Exact divide(const Number &a, const Number &b);
Exact square_root(const Number &a);

// Rounds to an integer of `bits` bits, or raises IE and returns the indefinite.
u64 to_integer(Env &env, const Number &n, unsigned bits, Rounding rounding);
Number from_integer(i64 v);

// Order of two numbers, neither NaN: -1, 0, 1.
int order(const Number &a, const Number &b);

}  // namespace soft
