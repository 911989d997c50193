// Packed integer arithmetic, logic, comparison and shifts of MMX, SSE, SSE2, SSSE3 and SSE4 (SDM Vol. 2B, instructions P...).
#include "sse_rules.h"

// ---- addition, subtraction
PACKED_H(paddb, u8, _mm_add_epi8, x + y)
PACKED_H(paddw, u16, _mm_add_epi16, x + y)
PACKED_H(paddd, u32, _mm_add_epi32, x + y)
PACKED_H(paddq, u64, _mm_add_epi64, x + y)
PACKED_H(psubb, u8, _mm_sub_epi8, x - y)
PACKED_H(psubw, u16, _mm_sub_epi16, x - y)
PACKED_H(psubd, u32, _mm_sub_epi32, x - y)
PACKED_H(psubq, u64, _mm_sub_epi64, x - y)
PACKED_H(paddsb, i8, _mm_adds_epi8, clamp_to<i8>(x + y))
PACKED_H(paddsw, i16, _mm_adds_epi16, clamp_to<i16>(x + y))
PACKED_H(paddusb, u8, _mm_adds_epu8, clamp_to<u8>(x + y))
PACKED_H(paddusw, u16, _mm_adds_epu16, clamp_to<u16>(x + y))
PACKED_H(psubsb, i8, _mm_subs_epi8, clamp_to<i8>(x - y))
PACKED_H(psubsw, i16, _mm_subs_epi16, clamp_to<i16>(x - y))
PACKED_H(psubusb, u8, _mm_subs_epu8, clamp_to<u8>(x - y))
PACKED_H(psubusw, u16, _mm_subs_epu16, clamp_to<u16>(x - y))

// ---- logic
PACKED_H(pand, u64, _mm_and_si128, x &y)
PACKED_H(pandn, u64, _mm_andnot_si128, ~x &y)
PACKED_H(por, u64, _mm_or_si128, x | y)
PACKED_H(pxor, u64, _mm_xor_si128, x ^ y)

// ---- comparison, extremes, averages
PACKED_H(pcmpeqb, u8, _mm_cmpeq_epi8, x == y ? 0xff : 0)
PACKED_H(pcmpeqw, u16, _mm_cmpeq_epi16, x == y ? 0xffff : 0)
PACKED_H(pcmpeqd, u32, _mm_cmpeq_epi32, x == y ? 0xffffffff : 0)
PACKED_X(pcmpeqq, u64, x == y ? ~u64(0) : 0)
PACKED_H(pcmpgtb, i8, _mm_cmpgt_epi8, x > y ? -1 : 0)
PACKED_H(pcmpgtw, i16, _mm_cmpgt_epi16, x > y ? -1 : 0)
PACKED_H(pcmpgtd, i32, _mm_cmpgt_epi32, x > y ? -1 : 0)
PACKED_X(pcmpgtq, i64, x > y ? -1 : 0)
PACKED_H(pminub, u8, _mm_min_epu8, x < y ? x : y)
PACKED_H(pmaxub, u8, _mm_max_epu8, x > y ? x : y)
PACKED_H(pminsw, i16, _mm_min_epi16, x < y ? x : y)
PACKED_H(pmaxsw, i16, _mm_max_epi16, x > y ? x : y)
PACKED_X(pminsb, i8, x < y ? x : y)
PACKED_X(pmaxsb, i8, x > y ? x : y)
PACKED_X(pminuw, u16, x < y ? x : y)
PACKED_X(pmaxuw, u16, x > y ? x : y)
PACKED_X(pminsd, i32, x < y ? x : y)
PACKED_X(pmaxsd, i32, x > y ? x : y)
PACKED_X(pminud, u32, x < y ? x : y)
PACKED_X(pmaxud, u32, x > y ? x : y)
PACKED_H(pavgb, u8, _mm_avg_epu8, (x + y + 1) >> 1)
PACKED_H(pavgw, u16, _mm_avg_epu16, (x + y + 1) >> 1)

// ---- multiplication
PACKED_H(pmullw, u16, _mm_mullo_epi16, u32(x) * y)
PACKED_H(pmulhw, i16, _mm_mulhi_epi16, (i32(x) * y) >> 16)
PACKED_H(pmulhuw, u16, _mm_mulhi_epu16, (u32(x) * y) >> 16)
PACKED_H(pmuludq, u64, _mm_mul_epu32, u64(u32(x)) * u32(y))
PACKED_X(pmuldq, i64, i64(i32(x)) * i32(y))
PACKED_X(pmulld, u32, x *y)
PACKED(pmulhrsw, i16, ((i32(x) * y >> 14) + 1) >> 1)

namespace {
// Adjacent products or sums: lane i of the result from lanes 2i and 2i + 1 of the operands.
ALWAYS_INLINE Xmm k_pmaddwd(const Xmm &a, const Xmm &b) {
    HOST_KERNEL(_mm_madd_epi16)
    Xmm r;
    for (unsigned i = 0; i < 4; i++)
        r.ud[i] = u32(i32(a.sw[2 * i]) * b.sw[2 * i]) + u32(i32(a.sw[2 * i + 1]) * b.sw[2 * i + 1]);
    return r;
}
ALWAYS_INLINE Xmm k_pmaddubsw(const Xmm &a, const Xmm &b) {
    Xmm r;
    for (unsigned i = 0; i < 8; i++)
        r.sw[i] = clamp_to<i16>(i32(a.ub[2 * i]) * b.sb[2 * i] + i32(a.ub[2 * i + 1]) * b.sb[2 * i + 1]);
    return r;
}
ALWAYS_INLINE Xmm k_psadbw(const Xmm &a, const Xmm &b) {
    HOST_KERNEL(_mm_sad_epu8)
    Xmm r;
    for (unsigned half = 0; half < 2; half++) {
        u32 sum = 0;
        for (unsigned i = half * 8; i < half * 8 + 8; i++) sum += u32(a.ub[i] > b.ub[i] ? a.ub[i] - b.ub[i] : b.ub[i] - a.ub[i]);
        r.uq[half] = sum;
    }
    return r;
}
}  // namespace
XMM_FORM(pmaddwd)
MMX_FORM(pmaddwd)
SSE_RULE(pmaddwd)
XMM_FORM(pmaddubsw)
MMX_FORM(pmaddubsw)
XMM_FORM(psadbw)
MMX_FORM(psadbw)
SSE_RULE(psadbw)

// ---- SSSE3: signs, absolute values, horizontal sums
PACKED(psignb, i8, y < 0 ? -x : y ? x : 0)
PACKED(psignw, i16, y < 0 ? -x : y ? x : 0)
PACKED(psignd, i32, y < 0 ? i32(0 - u32(x)) : y ? x : 0)
PACKED(pabsb, i8, y < 0 ? -y : y)
PACKED(pabsw, i16, y < 0 ? -y : y)
PACKED(pabsd, i32, y < 0 ? i32(0 - u32(y)) : y)

// The low half of the result comes from `a`, the high half from `b`; N is the number of lanes (of 8 or 16 bytes).
#define HORIZONTAL(name, T, ...)                                                                                             \
    template <unsigned BYTES> static ALWAYS_INLINE Xmm k_##name(const Xmm &a, const Xmm &b) {                                \
        constexpr unsigned half = BYTES / sizeof(T) / 2;                                                                     \
        Xmm r = low64(0);                                                                                                    \
        for (unsigned i = 0; i < 2 * half; i++) {                                                                            \
            const T *p = i < half ? lanes<T>(a) + 2 * i : lanes<T>(b) + 2 * (i - half);                                      \
            T x = p[0], y = p[1];                                                                                            \
            lanes<T>(r)[i] = T(__VA_ARGS__);                                                                                 \
        }                                                                                                                    \
        return r;                                                                                                            \
    }                                                                                                                        \
    void x_##name(Cpu &cpu, const Op &op) { sse_binary(cpu, op, k_##name<16>); }                                             \
    void x_##name##_mm(Cpu &cpu, const Op &op) { mmx_binary(cpu, op, k_##name<8>); }
HORIZONTAL(phaddw, u16, x + y)
HORIZONTAL(phaddd, u32, x + y)
HORIZONTAL(phaddsw, i16, clamp_to<i16>(x + y))
HORIZONTAL(phsubw, u16, x - y)
HORIZONTAL(phsubd, u32, x - y)
HORIZONTAL(phsubsw, i16, clamp_to<i16>(x - y))

// ---- shifts: by the low quadword of the operand, or by an immediate (then ModRM.rm is the destination)
#define SHIFT(name, T, intrinsic, ...)                                                                                       \
    static ALWAYS_INLINE Xmm k_##name(const Xmm &a, u64 n) {                                                                 \
        SHIFT_HOST(intrinsic)                                                                                                \
        Xmm r;                                                                                                               \
        for (unsigned i = 0; i < kLanes<T>; i++) {                                                                           \
            T x = lanes<T>(a)[i];                                                                                            \
            lanes<T>(r)[i] = T(__VA_ARGS__);                                                                                 \
        }                                                                                                                    \
        return r;                                                                                                            \
    }                                                                                                                        \
    void x_##name(Cpu &cpu, const Op &op) {                                                                                  \
        u64 n = read_wx(cpu, op).uq[0];                                                                                      \
        xmm(cpu, op.r) = k_##name(xmm(cpu, op.r), n);                                                                        \
    }                                                                                                                        \
    void x_##name##_imm(Cpu &cpu, const Op &op) { xmm(cpu, op.m) = k_##name(xmm(cpu, op.m), u8(op.imm)); }                   \
    void x_##name##_mm(Cpu &cpu, const Op &op) {                                                                             \
        mmx_begin(cpu);                                                                                                      \
        u64 n = read_qq(cpu, op);                                                                                            \
        set_mm(cpu, op.r, k_##name(low64(mm(cpu, op.r)), n).uq[0]);                                                          \
    }                                                                                                                        \
    void x_##name##_mm_imm(Cpu &cpu, const Op &op) {                                                                         \
        mmx_begin(cpu);                                                                                                      \
        set_mm(cpu, op.m, k_##name(low64(mm(cpu, op.m)), u8(op.imm)).uq[0]);                                                 \
    }                                                                                                                        \
    SHIFT_RULE(name)
#if HOST_SSE2
#define SHIFT_HOST(intrinsic)                                                                                                \
    {                                                                                                                        \
        Xmm host_result;                                                                                                     \
        host_result.m = intrinsic(a.m, _mm_cvtsi64_si128(i64(n)));                                                           \
        return host_result;                                                                                                  \
    }
#else
#define SHIFT_HOST(intrinsic)
#endif
#if HOST_SSE2
namespace {
template <Xmm (*K)(const Xmm &, u64)> HANDLER(shift_imm) {
    Xmm &d = xmm(*cpu, op->m);
    d = K(d, u8(op->imm));
    NEXT();
}
}  // namespace
#define SHIFT_RULE(name)                                                                                                     \
    RULE(name##_imm) { return shift_imm<k_##name>; }
#else
#define SHIFT_RULE(name)
#endif
SHIFT(psllw, u16, _mm_sll_epi16, n > 15 ? 0 : u32(x) << n)
SHIFT(pslld, u32, _mm_sll_epi32, n > 31 ? 0 : x << n)
SHIFT(psllq, u64, _mm_sll_epi64, n > 63 ? 0 : x << n)
SHIFT(psrlw, u16, _mm_srl_epi16, n > 15 ? 0 : x >> n)
SHIFT(psrld, u32, _mm_srl_epi32, n > 31 ? 0 : x >> n)
SHIFT(psrlq, u64, _mm_srl_epi64, n > 63 ? 0 : x >> n)
SHIFT(psraw, i16, _mm_sra_epi16, x >> (n > 15 ? 15 : n))
SHIFT(psrad, i32, _mm_sra_epi32, x >> (n > 31 ? 31 : n))

void x_pslldq_imm(Cpu &cpu, const Op &op) {
    unsigned n = u8(op.imm);
    Xmm &d = xmm(cpu, op.m), r = low64(0);
    for (unsigned i = n; i < 16; i++) r.ub[i] = d.ub[i - n];
    d = r;
}
void x_psrldq_imm(Cpu &cpu, const Op &op) {
    unsigned n = u8(op.imm);
    Xmm &d = xmm(cpu, op.m), r = low64(0);
    for (unsigned i = n; i < 16; i++) r.ub[i - n] = d.ub[i];
    d = r;
}

// ---- SSE4.1
void x_ptest(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    const Xmm &a = xmm(cpu, op.r);
    u32 f = 0;
    if (!((a.uq[0] & b.uq[0]) | (a.uq[1] & b.uq[1]))) f |= FL_ZF;
    if (!((~a.uq[0] & b.uq[0]) | (~a.uq[1] & b.uq[1]))) f |= FL_CF;
    set_arith_flags(cpu, f);
}
void x_phminposuw(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    unsigned at = 0;
    for (unsigned i = 1; i < 8; i++)
        if (b.uw[i] < b.uw[at]) at = i;
    xmm(cpu, op.r) = low64(b.uw[at] | u64(at) << 16);
}
void x_mpsadbw(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op), r;
    const Xmm &a = xmm(cpu, op.r);
    unsigned from = (op.imm & 4), with = (op.imm & 3) * 4;
    for (unsigned i = 0; i < 8; i++) {
        u32 sum = 0;
        for (unsigned k = 0; k < 4; k++) {
            int diff = int(a.ub[from + i + k]) - b.ub[with + k];
            sum += u32(diff < 0 ? -diff : diff);
        }
        r.uw[i] = u16(sum);
    }
    xmm(cpu, op.r) = r;
}
#define WIDEN(name, read, FROM, TO)                                                                                          \
    void x_##name(Cpu &cpu, const Op &op) {                                                                                  \
        Xmm b = read(cpu, op), r;                                                                                            \
        for (unsigned i = 0; i < kLanes<TO>; i++) lanes<TO>(r)[i] = TO(lanes<FROM>(b)[i]);                                   \
        xmm(cpu, op.r) = r;                                                                                                  \
    }
WIDEN(pmovsxbw, read_wq, i8, i16)
WIDEN(pmovsxbd, read_wd, i8, i32)
WIDEN(pmovsxbq, read_ww, i8, i64)
WIDEN(pmovsxwd, read_wq, i16, i32)
WIDEN(pmovsxwq, read_wd, i16, i64)
WIDEN(pmovsxdq, read_wq, i32, i64)
WIDEN(pmovzxbw, read_wq, u8, u16)
WIDEN(pmovzxbd, read_wd, u8, u32)
WIDEN(pmovzxbq, read_ww, u8, u64)
WIDEN(pmovzxwd, read_wq, u16, u32)
WIDEN(pmovzxwq, read_wd, u16, u64)
WIDEN(pmovzxdq, read_wq, u32, u64)
