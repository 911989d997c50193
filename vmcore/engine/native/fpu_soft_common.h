// What the two sources of the soft x87 share.
#pragma once
#include "fpu_soft.h"
#include "softfloat.h"

namespace soft {

inline Env x87_env(const Cpu &cpu) {
    Env env{};
    env.rounding = Rounding(cpu.fpu.cw >> 10 & 3);
    env.unmasked = ~cpu.fpu.cw & (OE | UE);
    env.scaled = true;
    return env;
}
// Precision control: bits 8 and 9 of the control word; the range of exponents is always that of the 80-bit format.
inline Format x87_format(const Cpu &cpu) {
    static constexpr unsigned precision[4] = {24, 64, 53, 64};
    return {precision[cpu.fpu.cw >> 8 & 3], kExtended.emin, kExtended.emax};
}
inline u16 x87_status(const Env &env) { return u16(env.flags | (env.up ? u16(SW_C1) : 0)); }
inline X87Result x87_result(const Env &env, const F80 &v) { return {v, x87_status(env)}; }
inline X87Result x87_invalid(Env &env) {
    env.flags |= IE;
    return {kIndefinite, x87_status(env)};
}
// Where an operand is a NaN or unsupported: the result (SDM Vol. 1 table 4-7), true.
bool x87_nan(Env &env, const Number &a, const Number &b, X87Result *r);
bool x87_nan(Env &env, const Number &a, X87Result *r);
inline F80 x87_infinity(bool sign) { return {u64(1) << 63, u16(sign ? 0xffff : 0x7fff)}; }
inline F80 x87_zero(bool sign) { return {0, u16(sign ? 0x8000 : 0)}; }
inline void note_denormal(Env &env, const Number &n) {
    if (n.denormal) env.flags |= DE;
}

}  // namespace soft
