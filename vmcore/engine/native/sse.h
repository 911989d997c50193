// What the SSE and MMX sources share: register views, memory operands, and the execution of floating-point kernels under the
// guest's MXCSR.  SDM Vol. 1 chapters 9-12.
#pragma once
#include "cpu.h"

// VMCORE_SOFT_FP selects the portable code on a host that could do without (tests).
#if defined(__x86_64__) && defined(__GNUC__) && !defined(VMCORE_SOFT_FP)
#define HOST_SSE2 1
#include <emmintrin.h>
#else
#define HOST_SSE2 0
#endif

// ---- registers
union alignas(16) Xmm {
    u8 ub[16];
    i8 sb[16];
    u16 uw[8];
    i16 sw[8];
    u32 ud[4];
    i32 sd[4];
    u64 uq[2];
    i64 sq[2];
#if HOST_SSE2
    __m128i m;
    __m128 s;
    __m128d d;
#endif
};
template <class T> ALWAYS_INLINE T *lanes(Xmm &v) { return reinterpret_cast<T *>(&v); }
template <class T> ALWAYS_INLINE const T *lanes(const Xmm &v) { return reinterpret_cast<const T *>(&v); }
template <class T> constexpr unsigned kLanes = 16 / sizeof(T);

ALWAYS_INLINE Xmm &xmm(Cpu &cpu, unsigned index) { return reinterpret_cast<Xmm &>(cpu.vec[index]); }
ALWAYS_INLINE const Xmm &xmm(const Cpu &cpu, unsigned index) { return reinterpret_cast<const Xmm &>(cpu.vec[index]); }
ALWAYS_INLINE Xmm low64(u64 v) {
    Xmm x;
    x.uq[0] = v;
    x.uq[1] = 0;
    return x;
}
ALWAYS_INLINE Xmm xmm_of(u64 low, u64 high) {
    Xmm x;
    x.uq[0] = low;
    x.uq[1] = high;
    return x;
}

// ---- 128-bit memory operands
ALWAYS_INLINE Xmm load128(Cpu &cpu, u64 lin) {
    Xmm v;
    TlbEntry &e = cpu.tlb[tlb_index(lin)];
    if (LIKELY(((lin + 15) & ~u64(0xfff)) == e.read)) std::memcpy(&v, reinterpret_cast<const u8 *>(lin + e.addend), 16);
    else read_bytes(cpu, lin, &v, 16, data_set(cpu));
    return v;
}
ALWAYS_INLINE void store128(Cpu &cpu, u64 lin, const Xmm &v) {
    TlbEntry &e = cpu.tlb[tlb_index(lin)];
    if (LIKELY(((lin + 15) & ~u64(0xfff)) == e.write)) std::memcpy(reinterpret_cast<u8 *>(lin + e.addend), &v, 16);
    else write_bytes(cpu, lin, &v, 16, data_set(cpu));
}
ALWAYS_INLINE u64 linear128(Cpu &cpu, const Op &op, bool write, bool aligned) {
    u64 lin = operand_linear(cpu, op, 16, write);
    if (aligned) {
        if (UNLIKELY(lin & 15)) raise_gp(cpu);
    } else if (UNLIKELY(cpu.mode & MODE_AC)) {
        check_alignment(cpu, lin, 16);
    }
    return lin;
}
ALWAYS_INLINE Xmm read_aligned(Cpu &cpu, const Op &op) { return load128(cpu, linear128(cpu, op, false, true)); }
ALWAYS_INLINE Xmm read_unaligned(Cpu &cpu, const Op &op) { return load128(cpu, linear128(cpu, op, false, false)); }
// Wx: a register or 16 aligned bytes; and its low quadword, doubleword, word from a register or so many bytes of memory.
ALWAYS_INLINE Xmm read_wx(Cpu &cpu, const Op &op) { return op.is_reg ? xmm(cpu, op.m) : read_aligned(cpu, op); }
ALWAYS_INLINE Xmm read_wq(Cpu &cpu, const Op &op) { return op.is_reg ? xmm(cpu, op.m) : low64(read_mem<u64>(cpu, op)); }
ALWAYS_INLINE Xmm read_wd(Cpu &cpu, const Op &op) { return op.is_reg ? xmm(cpu, op.m) : low64(read_mem<u32>(cpu, op)); }
ALWAYS_INLINE Xmm read_ww(Cpu &cpu, const Op &op) { return op.is_reg ? xmm(cpu, op.m) : low64(read_mem<u16>(cpu, op)); }

template <class K> ALWAYS_INLINE void sse_binary(Cpu &cpu, const Op &op, K kernel) {
    Xmm b = read_wx(cpu, op);
    Xmm &d = xmm(cpu, op.r);
    d = kernel(d, b);
}

// ---- MMX registers: the significands of the x87 registers, by physical number (SDM Vol. 3A 12.2)
void x87_pending(Cpu &cpu);  // fpu.cpp: an unmasked exception is pending; raises #MF or drives FERR#
ALWAYS_INLINE void mmx_begin(Cpu &cpu) {
    if (UNLIKELY(cpu.fpu.sw & ~cpu.fpu.cw & 0x3f)) x87_pending(cpu);
}
ALWAYS_INLINE u64 mm(const Cpu &cpu, unsigned index) { return cpu.fpu.st[index & 7].mant; }
// Every MMX instruction but EMMS marks all registers valid and sets TOP to 0; to be called when nothing can fault any more.
ALWAYS_INLINE void mmx_touch(Cpu &cpu) {
    cpu.fpu.top = 0;
    cpu.fpu.valid = 0xff;
}
ALWAYS_INLINE void set_mm(Cpu &cpu, unsigned index, u64 v) {
    cpu.fpu.st[index & 7] = F80{v, 0xffff};
    mmx_touch(cpu);
}
ALWAYS_INLINE u64 read_qq(Cpu &cpu, const Op &op) { return op.is_reg ? mm(cpu, op.m) : read_mem<u64>(cpu, op); }
template <class K> ALWAYS_INLINE void mmx_binary(Cpu &cpu, const Op &op, K kernel) {
    mmx_begin(cpu);
    u64 b = read_qq(cpu, op);
    set_mm(cpu, op.r, kernel(low64(mm(cpu, op.r)), low64(b)).uq[0]);
}

// ---- kernels on packed integers.  LANEWISE(name, T, host intrinsic, expression of x and y) defines k_name(a, b).
#if HOST_SSE2
#define HOST_KERNEL(intrinsic)                                                                                               \
    {                                                                                                                        \
        Xmm host_result;                                                                                                     \
        host_result.m = intrinsic(a.m, b.m);                                                                                 \
        return host_result;                                                                                                  \
    }
#else
#define HOST_KERNEL(intrinsic)
#endif
#define LANEWISE_BODY(T, ...)                                                                                                \
    Xmm r;                                                                                                                   \
    for (unsigned i = 0; i < kLanes<T>; i++) {                                                                               \
        T x = lanes<T>(a)[i], y = lanes<T>(b)[i];                                                                            \
        (void)x, (void)y;                                                                                                    \
        lanes<T>(r)[i] = T(__VA_ARGS__);                                                                                     \
    }                                                                                                                        \
    return r;
#define LANEWISE_HOST(name, T, intrinsic, ...)                                                                               \
    [[maybe_unused]] static ALWAYS_INLINE Xmm k_##name(const Xmm &a, const Xmm &b) {                                         \
        HOST_KERNEL(intrinsic)                                                                                               \
        LANEWISE_BODY(T, __VA_ARGS__)                                                                                        \
    }
#define LANEWISE(name, T, ...)                                                                                               \
    [[maybe_unused]] static ALWAYS_INLINE Xmm k_##name(const Xmm &a, const Xmm &b) { LANEWISE_BODY(T, __VA_ARGS__) }
#define XMM_FORM(name)                                                                                                       \
    void x_##name(Cpu &cpu, const Op &op) { sse_binary(cpu, op, k_##name); }
#define MMX_FORM(name)                                                                                                       \
    void x_##name##_mm(Cpu &cpu, const Op &op) { mmx_binary(cpu, op, k_##name); }
// Both register files; XMM only.  The H variants have a host intrinsic of the SSE2 baseline, and with it a rule (sse_rules.h).
#define PACKED_H(name, T, intrinsic, ...) LANEWISE_HOST(name, T, intrinsic, __VA_ARGS__) XMM_FORM(name) MMX_FORM(name) SSE_RULE(name)
#define PACKED(name, T, ...) LANEWISE(name, T, __VA_ARGS__) XMM_FORM(name) MMX_FORM(name)
#define PACKED_X(name, T, ...) LANEWISE(name, T, __VA_ARGS__) XMM_FORM(name)

template <class T> ALWAYS_INLINE T clamp_to(i32 v) {
    constexpr i32 low = T(-1) < T(0) ? -(1 << (kBits<T> - 1)) : 0;
    constexpr i32 high = T(-1) < T(0) ? (1 << (kBits<T> - 1)) - 1 : (1 << kBits<T>)-1;
    return T(v < low ? low : v > high ? high : v);
}
