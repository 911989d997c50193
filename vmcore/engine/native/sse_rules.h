// Fast handlers of SSE instructions with two operands, and the rules that choose them: the kernels are host intrinsics or single
// host instructions, so a handler needs neither a stack frame nor a call.  Hosts without SSE2 use the slow functions.
#pragma once
#include "ops.h"
#include "sse_fp.h"

#if HOST_SSE2
using Kernel = Xmm (*)(const Xmm &, const Xmm &);
using FloatKernel = Xmm (*)(Cpu &, Xmm, const Xmm &);

// Everything masked: flags gather in the host's MXCSR and nothing can be raised.
#define FLOAT_OR_SLOW()                                                                                                      \
    if (UNLIKELY((~cpu->mxcsr & MX_MASKS) != 0)) TAIL(h_slow, op, budget)
// 16 aligned bytes at `p_`; the slow function raises #GP for others.
#define ALIGNED_READ(p_, lin_)                                                                                               \
    const u64 lin_of_##p_ = (lin_);                                                                                          \
    if (UNLIKELY(lin_of_##p_ & 15)) TAIL(h_slow, op, budget);                                                                \
    HOST_READ(p_, lin_of_##p_, 16)

template <unsigned BYTES> ALWAYS_INLINE Xmm load_low(const u8 *p) {
    Xmm v;
    if constexpr (BYTES == 16) v.m = _mm_load_si128(reinterpret_cast<const __m128i *>(p));
    else if constexpr (BYTES == 8) v.m = _mm_loadl_epi64(reinterpret_cast<const __m128i *>(p));
    else v.m = _mm_cvtsi32_si128(load_host<i32>(p));
    return v;
}

template <Kernel K> HANDLER(sse_rr) {
    Xmm &d = xmm(*cpu, op->r);
    d = K(d, xmm(*cpu, op->m));
    NEXT();
}
template <Kernel K, AddressKind A> HANDLER(sse_rm) {
    ALIGNED_READ(p, address<A>(cpu, op));
    Xmm &d = xmm(*cpu, op->r);
    d = K(d, load_low<16>(p));
    NEXT();
}
template <FloatKernel K> HANDLER(float_rr) {
    FLOAT_OR_SLOW();
    Xmm &d = xmm(*cpu, op->r);
    d = K(*cpu, d, xmm(*cpu, op->m));
    NEXT();
}
template <FloatKernel K, unsigned BYTES, AddressKind A> HANDLER(float_rm) {
    FLOAT_OR_SLOW();
    if constexpr (BYTES == 16) {
        ALIGNED_READ(p, address<A>(cpu, op));
        Xmm &d = xmm(*cpu, op->r);
        d = K(*cpu, d, load_low<16>(p));
    } else {
        HOST_READ(p, address<A>(cpu, op), BYTES);
        Xmm &d = xmm(*cpu, op->r);
        d = K(*cpu, d, load_low<BYTES>(p));
    }
    NEXT();
}

template <Kernel K> Handler sse_rule(const Translation_ &t, const Op &op) {
    if (op.is_reg) return sse_rr<K>;
    switch (address_kind2(t, op)) {
    case A_BASE: return sse_rm<K, A_BASE>;
    case A_ANY: return sse_rm<K, A_ANY>;
    default: return nullptr;
    }
}
template <FloatKernel K, unsigned BYTES> Handler float_rule(const Translation_ &t, const Op &op) {
    if (op.is_reg) return float_rr<K>;
    switch (address_kind2(t, op)) {
    case A_BASE: return float_rm<K, BYTES, A_BASE>;
    case A_ANY: return float_rm<K, BYTES, A_ANY>;
    default: return nullptr;
    }
}
#define SSE_RULE(name)                                                                                                       \
    RULE(name) { return sse_rule<k_##name>(t, op); }
#define SSE_RULE_16(name)                                                                                                    \
    RULE(name) { return sse_rule<k_##name<16>>(t, op); }
#define FLOAT_RULE(name, bytes)                                                                                              \
    RULE(name) { return float_rule<h_##name, bytes>(t, op); }
#else
#define SSE_RULE(name)
#define SSE_RULE_16(name)
#define FLOAT_RULE(name, bytes)
#endif
