// Fast handlers of SSE: moves, comparisons to flags, conversions of scalars, shuffles.  Everything else with a register or plain memory operand comes from
// sse_rules.h.  SDM Vol. 2.
#include "sse_rules.h"

#if HOST_SSE2
namespace {

// ------------------------------------------------------------------------------------------- 16 bytes
HANDLER(mov128_rr) {  // to ModRM.reg
    xmm(*cpu, op->r) = xmm(*cpu, op->m);
    NEXT();
}
HANDLER(mov128_rr_back) {  // to ModRM.rm
    xmm(*cpu, op->m) = xmm(*cpu, op->r);
    NEXT();
}
template <AddressKind A> HANDLER(mov128a_load) {
    ALIGNED_READ(p, address<A>(cpu, op));
    xmm(*cpu, op->r) = load_low<16>(p);
    NEXT();
}
template <AddressKind A> HANDLER(mov128u_load) {
    HOST_READ(p, address<A>(cpu, op), 16);
    xmm(*cpu, op->r).m = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    NEXT();
}
template <AddressKind A, bool ALIGNED> HANDLER(mov128_store) {
    const u64 lin = address<A>(cpu, op);
    if (ALIGNED && UNLIKELY(lin & 15)) TAIL(h_slow, op, budget);
    HOST_WRITE(p, lin, 16);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), xmm(*cpu, op->r).m);
    NEXT();
}

// ------------------------------------------------------------------------------------------- 4 and 8 bytes
template <class T, unsigned LANE, bool CLEAR, AddressKind A> HANDLER(lane_load) {
    HOST_READ(p, address<A>(cpu, op), sizeof(T));
    Xmm &d = xmm(*cpu, op->r);
    if constexpr (CLEAR) d = load_low<sizeof(T)>(p);
    else if constexpr (LANE) d.m = _mm_unpacklo_epi64(d.m, load_low<8>(p).m);
    else d.d = _mm_move_sd(d.d, load_low<8>(p).d);
    NEXT();
}
template <class T, unsigned LANE, AddressKind A> HANDLER(lane_store) {
    HOST_WRITE(p, address<A>(cpu, op), sizeof(T));
    store_host<T>(p, lanes<T>(xmm(*cpu, op->r))[LANE]);
    NEXT();
}
// A register is always written as a whole, and so its next reader finds one store to forward from.
template <class T> ALWAYS_INLINE void merge_scalar(Xmm &d, const Xmm &s) {
    if constexpr (sizeof(T) == 8) d.d = _mm_move_sd(d.d, s.d);
    else d.s = _mm_move_ss(d.s, s.s);
}
template <class T> HANDLER(scalar_rr) {
    merge_scalar<T>(xmm(*cpu, op->r), xmm(*cpu, op->m));
    NEXT();
}
template <class T> HANDLER(scalar_rr_back) {
    merge_scalar<T>(xmm(*cpu, op->m), xmm(*cpu, op->r));
    NEXT();
}
HANDLER(movq_rr) {
    xmm(*cpu, op->r).m = _mm_move_epi64(xmm(*cpu, op->m).m);
    NEXT();
}
HANDLER(movq_rr_back) {
    xmm(*cpu, op->m).m = _mm_move_epi64(xmm(*cpu, op->r).m);
    NEXT();
}
template <class T> HANDLER(from_gpr) {
    xmm(*cpu, op->r).m = _mm_cvtsi64_si128(i64(T(cpu->gpr[op->m])));
    NEXT();
}
template <class T> HANDLER(to_gpr) {
    cpu->gpr[op->m] = lanes<T>(xmm(*cpu, op->r))[0];
    NEXT();
}
HANDLER(movhlps_rr) {
    Xmm &d = xmm(*cpu, op->r);
    d.m = _mm_unpackhi_epi64(xmm(*cpu, op->m).m, d.m);
    NEXT();
}
HANDLER(movlhps_rr) {
    Xmm &d = xmm(*cpu, op->r);
    d.m = _mm_unpacklo_epi64(d.m, xmm(*cpu, op->m).m);
    NEXT();
}
HANDLER(pmovmskb_rr) {
    cpu->gpr[op->r] = u32(_mm_movemask_epi8(xmm(*cpu, op->m).m));
    NEXT();
}

// ------------------------------------------------------------------------------------------- comparisons to flags
using OrderKernel = u32 (*)(Cpu &, const Xmm &, const Xmm &);
template <OrderKernel K> HANDLER(order_rr) {
    FLOAT_OR_SLOW();
    set_arith_flags(*cpu, K(*cpu, xmm(*cpu, op->r), xmm(*cpu, op->m)));
    NEXT();
}
template <OrderKernel K, unsigned BYTES, AddressKind A> HANDLER(order_rm) {
    FLOAT_OR_SLOW();
    HOST_READ(p, address<A>(cpu, op), BYTES);
    set_arith_flags(*cpu, K(*cpu, xmm(*cpu, op->r), load_low<BYTES>(p)));
    NEXT();
}

// ------------------------------------------------------------------------------------------- scalars and integers
template <Xmm (*K)(Cpu &, Xmm, u64)> HANDLER(from_integer64) {
    FLOAT_OR_SLOW();
    Xmm &d = xmm(*cpu, op->r);
    d = K(*cpu, d, cpu->gpr[op->m]);
    NEXT();
}
template <Xmm (*K)(Cpu &, Xmm, u32)> HANDLER(from_integer32) {
    FLOAT_OR_SLOW();
    Xmm &d = xmm(*cpu, op->r);
    d = K(*cpu, d, u32(cpu->gpr[op->m]));
    NEXT();
}
template <Xmm (*K)(Cpu &, Xmm, u64), AddressKind A> HANDLER(from_memory64) {
    FLOAT_OR_SLOW();
    HOST_READ(p, address<A>(cpu, op), 8);
    Xmm &d = xmm(*cpu, op->r);
    d = K(*cpu, d, load_host<u64>(p));
    NEXT();
}
template <Xmm (*K)(Cpu &, Xmm, u32), AddressKind A> HANDLER(from_memory32) {
    FLOAT_OR_SLOW();
    HOST_READ(p, address<A>(cpu, op), 4);
    Xmm &d = xmm(*cpu, op->r);
    d = K(*cpu, d, load_host<u32>(p));
    NEXT();
}
template <u64 (*K)(Cpu &, const Xmm &)> HANDLER(to_integer64) {
    FLOAT_OR_SLOW();
    cpu->gpr[op->r] = K(*cpu, xmm(*cpu, op->m));
    NEXT();
}
template <u32 (*K)(Cpu &, const Xmm &)> HANDLER(to_integer32) {
    FLOAT_OR_SLOW();
    cpu->gpr[op->r] = K(*cpu, xmm(*cpu, op->m));
    NEXT();
}

// ------------------------------------------------------------------------------------------- shuffles by an immediate
ALWAYS_INLINE __m128i from_words(u64 v0, u64 v1, u64 v2, u64 v3) {
    return _mm_unpacklo_epi64(_mm_cvtsi64_si128(i64(v0 | v1 << 32)), _mm_cvtsi64_si128(i64(v2 | v3 << 32)));
}
HANDLER(pshufd_rr) {
    const Xmm &b = xmm(*cpu, op->m);
    const unsigned i = unsigned(op->imm);
    xmm(*cpu, op->r).m = from_words(b.ud[i & 3], b.ud[i >> 2 & 3], b.ud[i >> 4 & 3], b.ud[i >> 6 & 3]);
    NEXT();
}
HANDLER(shufps_rr) {
    const Xmm &b = xmm(*cpu, op->m);
    Xmm &d = xmm(*cpu, op->r);
    const unsigned i = unsigned(op->imm);
    d.m = from_words(d.ud[i & 3], d.ud[i >> 2 & 3], b.ud[i >> 4 & 3], b.ud[i >> 6 & 3]);
    NEXT();
}
HANDLER(shufpd_rr) {
    const Xmm &b = xmm(*cpu, op->m);
    Xmm &d = xmm(*cpu, op->r);
    d.m = _mm_unpacklo_epi64(_mm_cvtsi64_si128(d.sq[op->imm & 1]), _mm_cvtsi64_si128(b.sq[op->imm >> 1 & 1]));
    NEXT();
}

// Byte shifts: two quadwords and the bits that cross.
HANDLER(pslldq_shift) {
    Xmm &d = xmm(*cpu, op->m);
    const unsigned n = u8(op->imm) * 8, k = n & 63;
    const u64 low = d.uq[0], high = d.uq[1];
    u64 l = 0, h = 0;
    if (n == 0) l = low, h = high;
    else if (n < 64) l = low << n, h = high << n | low >> (64 - n);
    else if (n < 128) h = low << k;
    d.m = _mm_unpacklo_epi64(_mm_cvtsi64_si128(i64(l)), _mm_cvtsi64_si128(i64(h)));
    NEXT();
}
HANDLER(psrldq_shift) {
    Xmm &d = xmm(*cpu, op->m);
    const unsigned n = u8(op->imm) * 8, k = n & 63;
    const u64 low = d.uq[0], high = d.uq[1];
    u64 l = 0, h = 0;
    if (n == 0) l = low, h = high;
    else if (n < 64) l = low >> n | high << (64 - n), h = high >> n;
    else if (n < 128) l = high >> k;
    d.m = _mm_unpacklo_epi64(_mm_cvtsi64_si128(i64(l)), _mm_cvtsi64_si128(i64(h)));
    NEXT();
}

// One of the address kinds of a handler template, or none.
#define BY_ADDRESS(...)                                                                                                      \
    switch (address_kind(t, op)) {                                                                                           \
    case A_BASE: { constexpr AddressKind A = A_BASE; return __VA_ARGS__; }                                                   \
    case A_INDEX1: { constexpr AddressKind A = A_INDEX1; return __VA_ARGS__; }                                               \
    case A_INDEX8: { constexpr AddressKind A = A_INDEX8; return __VA_ARGS__; }                                               \
    case A_NONE: return nullptr;                                                                                             \
    default: { constexpr AddressKind A = A_ANY; return __VA_ARGS__; }                                                        \
    }
#define BY_ADDRESS2(...)                                                                                                     \
    switch (address_kind2(t, op)) {                                                                                          \
    case A_BASE: { constexpr AddressKind A = A_BASE; return __VA_ARGS__; }                                                   \
    case A_ANY: { constexpr AddressKind A = A_ANY; return __VA_ARGS__; }                                                     \
    default: return nullptr;                                                                                                 \
    }

}  // namespace

RULE(mov128a) {
    if (op.is_reg) return mov128_rr;
    BY_ADDRESS(mov128a_load<A>)
}
RULE(mov128u) {
    if (op.is_reg) return mov128_rr;
    BY_ADDRESS(mov128u_load<A>)
}
RULE(mov128a_store) {
    if (op.is_reg) return mov128_rr_back;
    BY_ADDRESS(mov128_store<A, true>)
}
RULE(mov128u_store) {
    if (op.is_reg) return mov128_rr_back;
    BY_ADDRESS(mov128_store<A, false>)
}
RULE(movss) {
    if (op.is_reg) return scalar_rr<u32>;
    BY_ADDRESS(lane_load<u32, 0, true, A>)
}
RULE(movss_store) {
    if (op.is_reg) return scalar_rr_back<u32>;
    BY_ADDRESS(lane_store<u32, 0, A>)
}
RULE(movsd_xmm) {
    if (op.is_reg) return scalar_rr<u64>;
    BY_ADDRESS(lane_load<u64, 0, true, A>)
}
RULE(movsd_xmm_store) {
    if (op.is_reg) return scalar_rr_back<u64>;
    BY_ADDRESS(lane_store<u64, 0, A>)
}
RULE(movq_xmm) {
    if (op.is_reg) return movq_rr;
    BY_ADDRESS2(lane_load<u64, 0, true, A>)
}
RULE(movq_xmm_store) {
    if (op.is_reg) return movq_rr_back;
    BY_ADDRESS2(lane_store<u64, 0, A>)
}
RULE(movlp) { BY_ADDRESS2(lane_load<u64, 0, false, A>) }
RULE(movlp_store) { BY_ADDRESS2(lane_store<u64, 0, A>) }
RULE(movhp) { BY_ADDRESS2(lane_load<u64, 1, false, A>) }
RULE(movhp_store) { BY_ADDRESS2(lane_store<u64, 1, A>) }
RULE(movhlps) { return movhlps_rr; }
RULE(movlhps) { return movlhps_rr; }
RULE(movd_to_xmm) {
    if (op.width == 3) {
        if (op.is_reg) return from_gpr<u64>;
        BY_ADDRESS2(lane_load<u64, 0, true, A>)
    }
    if (op.is_reg) return from_gpr<u32>;
    BY_ADDRESS2(lane_load<u32, 0, true, A>)
}
RULE(movd_from_xmm) {
    if (op.width == 3) {
        if (op.is_reg) return to_gpr<u64>;
        BY_ADDRESS2(lane_store<u64, 0, A>)
    }
    if (op.is_reg) return to_gpr<u32>;
    BY_ADDRESS2(lane_store<u32, 0, A>)
}
RULE(pmovmskb) { return pmovmskb_rr; }

#define ORDER_RULE(name, bytes)                                                                                              \
    RULE(name) {                                                                                                             \
        if (op.is_reg) return order_rr<h_##name>;                                                                            \
        BY_ADDRESS2(order_rm<h_##name, bytes, A>)                                                                            \
    }
ORDER_RULE(comiss, 4)
ORDER_RULE(comisd, 8)
ORDER_RULE(ucomiss, 4)
ORDER_RULE(ucomisd, 8)

#define INTEGER_RULES(format)                                                                                                \
    RULE(cvtsi2##format) {                                                                                                   \
        if (op.is_reg) return op.width == 3 ? from_integer64<h_cvtsi2##format##64> : from_integer32<h_cvtsi2##format##32>;   \
        if (op.width == 3) BY_ADDRESS2(from_memory64<h_cvtsi2##format##64, A>)                                               \
        BY_ADDRESS2(from_memory32<h_cvtsi2##format##32, A>)                                                                  \
    }                                                                                                                        \
    RULE(cvtt##format##2si) {                                                                                                \
        if (!op.is_reg) return nullptr;                                                                                      \
        return op.width == 3 ? to_integer64<h_cvtt##format##2si64> : to_integer32<h_cvtt##format##2si32>;                    \
    }
INTEGER_RULES(ss)
INTEGER_RULES(sd)

RULE(pslldq_imm) { return pslldq_shift; }
RULE(psrldq_imm) { return psrldq_shift; }
RULE(pshufd) { return op.is_reg ? pshufd_rr : nullptr; }
RULE(shufps) { return op.is_reg ? shufps_rr : nullptr; }
RULE(shufpd) { return op.is_reg ? shufpd_rr : nullptr; }
#endif
