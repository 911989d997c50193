// x87 kernels on x86-64 hosts: the same instruction on the host, in 80-bit precision.
//
// While run() is active the host's control word holds the guest's precision and rounding with every exception masked; its sticky flags are always among the
// guest's (they are cleared together), so the status after an operation can simply be merged.  When the guest unmasks an exception, the operation runs with
// the guest's masks: the host does what the guest would see (scaled results included), and the pending exception is cleared before anything waits for it.
#pragma once
#include "fpu.h"

// Runs `code`, which ends in the instruction proper; `sw` receives the status, `left` (preset to what remains without exceptions) the number of
// values on the host's stack.  The compiler keeps nothing there: the engine has no long double.  AX is written before the last operand is read: early clobber.
#define X87_HOST(cpu, sw, left, code, ...)                                                                                   \
    if (LIKELY(((cpu).fpu.cw & SW_EXCEPTIONS) == SW_EXCEPTIONS)) {                                                           \
        asm volatile(code "\n\tfnstsw %%ax" : "=a"(sw) : __VA_ARGS__ : "memory");                                            \
    } else {                                                                                                                 \
        u16 guest_cw = (cpu).fpu.cw, masked_cw = (guest_cw & 0x0f00) | 0x7f, before;                                         \
        asm volatile("fnstsw %%ax" : "=a"(before));                                                                          \
        asm volatile("fnclex\n\tfldcw %[guest_cw]\n\t" code "\n\tfnstsw %%ax\n\tfnclex\n\tfldcw %[masked_cw]"                \
                     : "=&a"(sw)                                                                                             \
                     : [guest_cw] "m"(guest_cw), [masked_cw] "m"(masked_cw), __VA_ARGS__                                     \
                     : "memory");                                                                                            \
        left = unsigned((before >> 11) - (sw >> 11)) & 7;                                                                    \
        (void)left;                                                                                                          \
    }

struct X87Result {
    F80 v;
    u16 sw;
};
ALWAYS_INLINE F80 host_pop() {
    F80 v;
    asm volatile("fstpt %0" : "=m"(v));
    return v;
}
ALWAYS_INLINE void host_drop(unsigned n) {
    for (; n; n--) asm volatile("fstp %%st(0)" :);
}

// a OP b; the operand order of reversed forms is in the instruction.
#define HOST87_BINARY(name)                                                                                                  \
    ALWAYS_INLINE X87Result h_##name(Cpu &cpu, const F80 &a, const F80 &b) {                                                 \
        u16 sw;                                                                                                              \
        unsigned left = 2;                                                                                                   \
        X87_HOST(cpu, sw, left, "fldt %[b]\n\tfldt %[a]\n\t" #name " %%st(1), %%st", [a] "m"(a), [b] "m"(b))                 \
        F80 v = host_pop();                                                                                                  \
        host_drop(1);                                                                                                        \
        return {v, sw};                                                                                                      \
    }
#define HOST87_MEMORY(name, suffix, T, instruction)                                                                          \
    ALWAYS_INLINE X87Result h_##name##suffix(Cpu &cpu, const F80 &a, T b) {                                                  \
        u16 sw;                                                                                                              \
        unsigned left = 1;                                                                                                   \
        X87_HOST(cpu, sw, left, "fldt %[a]\n\t" instruction " %[b]", [a] "m"(a), [b] "m"(b))                                 \
        return {host_pop(), sw};                                                                                             \
    }
#define HOST87_ARITHMETIC(name)                                                                                              \
    HOST87_BINARY(f##name)                                                                                                   \
    HOST87_MEMORY(f##name, _m32, u32, "f" #name "s")                                                                         \
    HOST87_MEMORY(f##name, _m64, u64, "f" #name "l")                                                                         \
    HOST87_MEMORY(fi##name, _m16, u16, "fi" #name "s")                                                                       \
    HOST87_MEMORY(fi##name, _m32, u32, "fi" #name "l")
HOST87_ARITHMETIC(add)
HOST87_ARITHMETIC(mul)
HOST87_ARITHMETIC(sub)
HOST87_ARITHMETIC(subr)
HOST87_ARITHMETIC(div)
HOST87_ARITHMETIC(divr)

// Comparisons: the status only.
#define HOST87_COMPARE(name)                                                                                                 \
    ALWAYS_INLINE u16 h_##name(Cpu &cpu, const F80 &a, const F80 &b) {                                                       \
        u16 sw;                                                                                                              \
        unsigned left = 2;                                                                                                   \
        X87_HOST(cpu, sw, left, "fldt %[b]\n\tfldt %[a]\n\t" #name " %%st(1)", [a] "m"(a), [b] "m"(b))                       \
        host_drop(2);                                                                                                        \
        return sw;                                                                                                           \
    }
#define HOST87_COMPARE_MEMORY(name, T, instruction)                                                                          \
    ALWAYS_INLINE u16 h_##name(Cpu &cpu, const F80 &a, T b) {                                                                \
        u16 sw;                                                                                                              \
        unsigned left = 1;                                                                                                   \
        X87_HOST(cpu, sw, left, "fldt %[a]\n\t" instruction " %[b]", [a] "m"(a), [b] "m"(b))                                 \
        host_drop(1);                                                                                                        \
        return sw;                                                                                                           \
    }
HOST87_COMPARE(fcom)
HOST87_COMPARE(fucom)
HOST87_COMPARE_MEMORY(fcom_m32, u32, "fcoms")
HOST87_COMPARE_MEMORY(fcom_m64, u64, "fcoml")
HOST87_COMPARE_MEMORY(ficom_m16, u16, "ficoms")
HOST87_COMPARE_MEMORY(ficom_m32, u32, "ficoml")

// One operand, result in place.
#define HOST87_UNARY(name)                                                                                                   \
    ALWAYS_INLINE X87Result h_##name(Cpu &cpu, const F80 &a) {                                                               \
        u16 sw;                                                                                                              \
        unsigned left = 1;                                                                                                   \
        X87_HOST(cpu, sw, left, "fldt %[a]\n\t" #name, [a] "m"(a))                                                           \
        return {host_pop(), sw};                                                                                             \
    }
HOST87_UNARY(fsqrt)
HOST87_UNARY(frndint)
HOST87_UNARY(f2xm1)
HOST87_UNARY(fsin)
HOST87_UNARY(fcos)
ALWAYS_INLINE u16 h_ftst(Cpu &cpu, const F80 &a) {
    u16 sw;
    unsigned left = 1;
    X87_HOST(cpu, sw, left, "fldt %[a]\n\tftst", [a] "m"(a))
    host_drop(1);
    return sw;
}

// ST and ST(1), result in ST, ST(1) kept; or popped.
#define HOST87_TWO(name)                                                                                                     \
    ALWAYS_INLINE X87Result h_##name(Cpu &cpu, const F80 &st0, const F80 &st1) {                                             \
        u16 sw;                                                                                                              \
        unsigned left = 2;                                                                                                   \
        X87_HOST(cpu, sw, left, "fldt %[b]\n\tfldt %[a]\n\t" #name, [a] "m"(st0), [b] "m"(st1))                              \
        F80 v = host_pop();                                                                                                  \
        host_drop(1);                                                                                                        \
        return {v, sw};                                                                                                      \
    }
#define HOST87_TWO_POP(name)                                                                                                 \
    ALWAYS_INLINE X87Result h_##name(Cpu &cpu, const F80 &st0, const F80 &st1) {                                             \
        u16 sw;                                                                                                              \
        unsigned left = 1;                                                                                                   \
        X87_HOST(cpu, sw, left, "fldt %[b]\n\tfldt %[a]\n\t" #name, [a] "m"(st0), [b] "m"(st1))                              \
        F80 v = host_pop();                                                                                                  \
        host_drop(left - 1);                                                                                                 \
        return {v, sw};                                                                                                      \
    }
HOST87_TWO(fprem)
HOST87_TWO(fprem1)
HOST87_TWO(fscale)
HOST87_TWO_POP(fyl2x)
HOST87_TWO_POP(fyl2xp1)
HOST87_TWO_POP(fpatan)

// One operand, two results: `first` replaces the operand, `second` is pushed; `pushed` tells whether there is a second one.
struct X87Pair {
    F80 first, second;
    u16 sw;
    bool pushed;
};
#define HOST87_PUSH(name, out_of_range)                                                                                      \
    ALWAYS_INLINE X87Pair h_##name(Cpu &cpu, const F80 &a) {                                                                 \
        X87Pair r;                                                                                                           \
        unsigned left = 8;                                                                                                   \
        X87_HOST(cpu, r.sw, left, "fldt %[a]\n\t" #name, [a] "m"(a))                                                         \
        if (left == 8) left = r.sw & out_of_range ? 1 : 2;                                                                   \
        r.pushed = left == 2;                                                                                                \
        r.second = r.pushed ? host_pop() : F80{0, 0};                                                                        \
        r.first = host_pop();                                                                                                \
        return r;                                                                                                            \
    }
HOST87_PUSH(fxtract, 0)
HOST87_PUSH(fptan, SW_C2)
HOST87_PUSH(fsincos, SW_C2)

// Stores: the value in the format of memory, and the status.
#define HOST87_STORE(name, T, instruction, remains)                                                                          \
    ALWAYS_INLINE u16 h_##name(Cpu &cpu, const F80 &a, T *out) {                                                             \
        u16 sw;                                                                                                              \
        unsigned left = remains;                                                                                             \
        X87_HOST(cpu, sw, left, "fldt %[a]\n\t" instruction " %[m]", [a] "m"(a), [m] "m"(*out))                              \
        host_drop(left);                                                                                                     \
        return sw;                                                                                                           \
    }
HOST87_STORE(fst_m32, u32, "fsts", 1)
HOST87_STORE(fst_m64, u64, "fstl", 1)
HOST87_STORE(fist_m16, u16, "fists", 1)
HOST87_STORE(fist_m32, u32, "fistl", 1)
HOST87_STORE(fist_m64, u64, "fistpll", 0)
HOST87_STORE(fisttp_m16, u16, "fisttps", 0)
HOST87_STORE(fisttp_m32, u32, "fisttpl", 0)
HOST87_STORE(fisttp_m64, u64, "fisttpll", 0)
HOST87_STORE(fbst, F80, "fbstp", 0)
