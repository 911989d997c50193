// Fast handlers of the extensions after SSE2, where the host has them: one host instruction each.  Whether it has is asked once; without, the portable slow
// functions do the work.
#include "sse_rules.h"

#if HOST_SSE2
#include <cpuid.h>

namespace {

struct Host {
    bool ssse3 = false, sse4_1 = false, sse4_2 = false, aes = false, pclmulqdq = false, sha = false;
    Host() {
        unsigned a, b, c, d;
        if (__get_cpuid(1, &a, &b, &c, &d)) {
            ssse3 = c >> 9 & 1;
            sse4_1 = c >> 19 & 1;
            sse4_2 = c >> 20 & 1;
            aes = c >> 25 & 1;
            pclmulqdq = c >> 1 & 1;
        }
        if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) sha = b >> 29 & 1;
    }
};
const Host &host() {
    static const Host h;
    return h;
}

}  // namespace

#define HOST_INSTRUCTION(name, feature)                                                                                      \
    static ALWAYS_INLINE Xmm i_##name(const Xmm &a, const Xmm &b) {                                                          \
        Xmm r = a;                                                                                                           \
        asm(#name " %1, %0" : "+x"(r.m) : "x"(b.m));                                                                         \
        return r;                                                                                                            \
    }                                                                                                                        \
    RULE(name) { return host().feature ? sse_rule<i_##name>(t, op) : nullptr; }
HOST_INSTRUCTION(pshufb, ssse3)
HOST_INSTRUCTION(phaddw, ssse3)
HOST_INSTRUCTION(phaddd, ssse3)
HOST_INSTRUCTION(phaddsw, ssse3)
HOST_INSTRUCTION(phsubw, ssse3)
HOST_INSTRUCTION(phsubd, ssse3)
HOST_INSTRUCTION(phsubsw, ssse3)
HOST_INSTRUCTION(pmaddubsw, ssse3)
HOST_INSTRUCTION(psignb, ssse3)
HOST_INSTRUCTION(psignw, ssse3)
HOST_INSTRUCTION(psignd, ssse3)
HOST_INSTRUCTION(pmulhrsw, ssse3)
HOST_INSTRUCTION(pabsb, ssse3)
HOST_INSTRUCTION(pabsw, ssse3)
HOST_INSTRUCTION(pabsd, ssse3)
HOST_INSTRUCTION(pcmpeqq, sse4_1)
HOST_INSTRUCTION(packusdw, sse4_1)
HOST_INSTRUCTION(pminsb, sse4_1)
HOST_INSTRUCTION(pminsd, sse4_1)
HOST_INSTRUCTION(pminuw, sse4_1)
HOST_INSTRUCTION(pminud, sse4_1)
HOST_INSTRUCTION(pmaxsb, sse4_1)
HOST_INSTRUCTION(pmaxsd, sse4_1)
HOST_INSTRUCTION(pmaxuw, sse4_1)
HOST_INSTRUCTION(pmaxud, sse4_1)
HOST_INSTRUCTION(pmulld, sse4_1)
HOST_INSTRUCTION(pmuldq, sse4_1)
HOST_INSTRUCTION(pcmpgtq, sse4_2)
HOST_INSTRUCTION(aesenc, aes)
HOST_INSTRUCTION(aesenclast, aes)
HOST_INSTRUCTION(aesdec, aes)
HOST_INSTRUCTION(aesdeclast, aes)
HOST_INSTRUCTION(aesimc, aes)
HOST_INSTRUCTION(sha1nexte, sha)
HOST_INSTRUCTION(sha1msg1, sha)
HOST_INSTRUCTION(sha1msg2, sha)
HOST_INSTRUCTION(sha256msg1, sha)
HOST_INSTRUCTION(sha256msg2, sha)

// With an immediate, of which these have four that differ.
#define HOST_IMMEDIATE(name, feature, selected, v0, v1, v2, v3)                                                              \
    template <unsigned I> static ALWAYS_INLINE Xmm i_##name(const Xmm &a, const Xmm &b) {                                    \
        Xmm r = a;                                                                                                           \
        asm(#name " %2, %1, %0" : "+x"(r.m) : "x"(b.m), "n"(I));                                                             \
        return r;                                                                                                            \
    }                                                                                                                        \
    RULE(name) {                                                                                                             \
        if (!host().feature) return nullptr;                                                                                 \
        switch (op.imm & (selected)) {                                                                                       \
        case v0: return sse_rule<i_##name<v0>>(t, op);                                                                       \
        case v1: return sse_rule<i_##name<v1>>(t, op);                                                                       \
        case v2: return sse_rule<i_##name<v2>>(t, op);                                                                       \
        default: return sse_rule<i_##name<v3>>(t, op);                                                                       \
        }                                                                                                                    \
    }
HOST_IMMEDIATE(pclmulqdq, pclmulqdq, 0x11, 0x00, 0x01, 0x10, 0x11)
HOST_IMMEDIATE(sha1rnds4, sha, 3, 0, 1, 2, 3)

// The third operand is XMM0.
namespace {
HANDLER(sha256rnds2_rr) {
    Xmm &d = xmm(*cpu, op->r);
    register __m128i words asm("xmm0") = xmm(*cpu, 0).m;
    __m128i r = d.m;
    asm("sha256rnds2 %1, %0" : "+x"(r) : "x"(xmm(*cpu, op->m).m), "x"(words));
    d.m = r;
    NEXT();
}
}  // namespace
RULE(sha256rnds2) { return host().sha && op.is_reg ? sha256rnds2_rr : nullptr; }
#endif
