// SSE kernels on x86-64 hosts: the same instruction on the host.  Volatile assembly keeps them in order with changes of MXCSR, which compilers
// do not model for intrinsics.
#pragma once

ALWAYS_INLINE u32 host_mxcsr() {
    u32 v;
    asm volatile("stmxcsr %0" : "=m"(v));
    return v;
}
ALWAYS_INLINE void set_host_mxcsr(u32 v) { asm volatile("ldmxcsr %0" : : "m"(v)); }

#define HOST_BINARY(name)                                                                                                    \
    ALWAYS_INLINE Xmm h_##name(Cpu &, Xmm a, const Xmm &b) {                                                                 \
        asm volatile(#name " %1, %0" : "+x"(a.m) : "x"(b.m));                                                                \
        return a;                                                                                                            \
    }
#define HOST_ARITHMETIC(name) HOST_BINARY(name##ps) HOST_BINARY(name##pd) HOST_BINARY(name##ss) HOST_BINARY(name##sd)
HOST_ARITHMETIC(add)
HOST_ARITHMETIC(sub)
HOST_ARITHMETIC(mul)
HOST_ARITHMETIC(div)
HOST_ARITHMETIC(min)
HOST_ARITHMETIC(max)
HOST_ARITHMETIC(sqrt)
// Conversions; scalar ones merge into `a`.
HOST_BINARY(cvtdq2ps)
HOST_BINARY(cvtps2dq)
HOST_BINARY(cvttps2dq)
HOST_BINARY(cvtdq2pd)
HOST_BINARY(cvtpd2dq)
HOST_BINARY(cvttpd2dq)
HOST_BINARY(cvtps2pd)
HOST_BINARY(cvtpd2ps)
HOST_BINARY(cvtss2sd)
HOST_BINARY(cvtsd2ss)
#undef HOST_ARITHMETIC
#undef HOST_BINARY

// Comparison by predicate 0-7.
#define HOST_COMPARE(type)                                                                                                   \
    ALWAYS_INLINE Xmm h_cmp##type(Cpu &, Xmm a, const Xmm &b, unsigned predicate) {                                          \
        switch (predicate & 7) {                                                                                             \
        case 0: asm volatile("cmpeq" #type " %1, %0" : "+x"(a.m) : "x"(b.m)); break;                                         \
        case 1: asm volatile("cmplt" #type " %1, %0" : "+x"(a.m) : "x"(b.m)); break;                                         \
        case 2: asm volatile("cmple" #type " %1, %0" : "+x"(a.m) : "x"(b.m)); break;                                         \
        case 3: asm volatile("cmpunord" #type " %1, %0" : "+x"(a.m) : "x"(b.m)); break;                                      \
        case 4: asm volatile("cmpneq" #type " %1, %0" : "+x"(a.m) : "x"(b.m)); break;                                        \
        case 5: asm volatile("cmpnlt" #type " %1, %0" : "+x"(a.m) : "x"(b.m)); break;                                        \
        case 6: asm volatile("cmpnle" #type " %1, %0" : "+x"(a.m) : "x"(b.m)); break;                                        \
        default: asm volatile("cmpord" #type " %1, %0" : "+x"(a.m) : "x"(b.m)); break;                                       \
        }                                                                                                                    \
        return a;                                                                                                            \
    }
HOST_COMPARE(ps)
HOST_COMPARE(pd)
HOST_COMPARE(ss)
HOST_COMPARE(sd)
#undef HOST_COMPARE

// Ordered comparison of the lowest lanes; the result is ZF PF CF.
#define HOST_ORDER(name)                                                                                                     \
    ALWAYS_INLINE u32 h_##name(Cpu &, const Xmm &a, const Xmm &b) {                                                          \
        bool z, p, c;                                                                                                        \
        asm volatile(#name " %4, %3" : "=@ccz"(z), "=@ccp"(p), "=@ccc"(c) : "x"(a.m), "x"(b.m));                             \
        return u32(z) << 6 | u32(p) << 2 | u32(c);                                                                          \
    }
HOST_ORDER(comiss)
HOST_ORDER(comisd)
HOST_ORDER(ucomiss)
HOST_ORDER(ucomisd)
#undef HOST_ORDER

#define HOST_FROM_INT(name, suffix, T, instruction)                                                                          \
    ALWAYS_INLINE Xmm h_##name##suffix(Cpu &, Xmm a, T v) {                                                                  \
        asm volatile(instruction " %1, %0" : "+x"(a.m) : "r"(v));                                                            \
        return a;                                                                                                            \
    }
HOST_FROM_INT(cvtsi2ss, 32, u32, "cvtsi2ssl")
HOST_FROM_INT(cvtsi2ss, 64, u64, "cvtsi2ssq")
HOST_FROM_INT(cvtsi2sd, 32, u32, "cvtsi2sdl")
HOST_FROM_INT(cvtsi2sd, 64, u64, "cvtsi2sdq")
#undef HOST_FROM_INT
#define HOST_TO_INT(name)                                                                                                    \
    ALWAYS_INLINE u32 h_##name##32(Cpu &, const Xmm &b) {                                                                    \
        u32 v;                                                                                                               \
        asm volatile(#name " %1, %0" : "=r"(v) : "x"(b.m));                                                                  \
        return v;                                                                                                            \
    }                                                                                                                        \
    ALWAYS_INLINE u64 h_##name##64(Cpu &, const Xmm &b) {                                                                    \
        u64 v;                                                                                                               \
        asm volatile(#name " %1, %0" : "=r"(v) : "x"(b.m));                                                                  \
        return v;                                                                                                            \
    }
HOST_TO_INT(cvtss2si)
HOST_TO_INT(cvtsd2si)
HOST_TO_INT(cvttss2si)
HOST_TO_INT(cvttsd2si)
#undef HOST_TO_INT
