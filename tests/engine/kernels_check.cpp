// Runs every floating-point kernel of the engine on random operands and prints a checksum of results and flags for each, so that the kernels
// in integers (VMCORE_SOFT_FP) can be compared with the host's.  Argument: how many operands.
#include "fpu_kernels.h"
#include "sse_fp.h"
#include <cstdio>
#include <cstdlib>

namespace {
Cpu cpu;
u64 state = 1;
u64 random64() {
    state += 0x9e3779b97f4a7c15;
    u64 z = state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
u32 single() {
    static const u32 edges[] = {0, 0x80000000, 0x3f800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7fa00000, 1, 0x807fffff, 0x800000, 0x7f7fffff, 0x4f000000, 0xcf000000};
    u64 r = random64();
    switch (r >> 60) {
    case 0: case 1: case 2: case 3: return edges[r % 13];
    case 4: case 5: return u32(r);
    default: return u32(r & 0x807fffff) | (127 - 20 + u32(r >> 32) % 60) << 23;
    }
}
u64 wide() {
    static const u64 edges[] = {0, u64(1) << 63, 0x3ff0000000000000, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff4000000000000, 1, 0x800fffffffffffff,
                                0x0010000000000000, 0x7fefffffffffffff, 0x41e0000000000000, 0xc3e0000000000000, 0x36a0000000000000, 0x47effffff0000000};
    u64 r = random64();
    switch (r >> 60) {
    case 0: case 1: case 2: case 3: return edges[r % 15];
    case 4: case 5: return random64();
    default: return (r & 0x800fffffffffffff) | (1023 - 40 + (r >> 20) % 110) << 52;
    }
}
F80 extended() {
    static const F80 edges[] = {{0, 0}, {0, 0x8000}, {u64(1) << 63, 0x7fff}, {u64(1) << 63, 0xffff}, {u64(3) << 62, 0x7fff}, {u64(5) << 61, 0xffff}, {1, 0},
                                {u64(1) << 63, 0}, {~u64(0), 0x7ffe}, {u64(1) << 62, 0x3fff}, {u64(1) << 63, 0x3fff}, {u64(1) << 63, 1}};
    u64 r = random64();
    switch (r >> 60) {
    case 0: case 1: case 2: return edges[r % 12];
    case 3: return {random64() | u64(1) << 63, u16(r % 0x7ffe + 1)};
    default: return {random64() | u64(1) << 63, u16((r & 0x8000) | (0x3fff - 30 + (r >> 20) % 100))};
    }
}
Xmm singles() { return xmm_of(single() | u64(single()) << 32, single() | u64(single()) << 32); }
Xmm doubles() {
    u64 low = wide();
    return xmm_of(low, wide());
}

u64 sum;
void mix(u64 v) { sum = (sum ^ v) * 0x100000001b3 + (sum >> 47); }
void mix(const Xmm &v) {
    mix(v.uq[0]);
    mix(v.uq[1]);
}
void mix(const F80 &v) {
    mix(v.mant);
    mix(u64(v.se));
}
void mix(const X87Result &r) {
    mix(r.v);
    mix(u64(r.sw & (SW_EXCEPTIONS | SW_C1)));
}

void controls() {
    u64 r = random64();
    cpu.mxcsr = 0x1f80 | u32(r & 3) << 13 | (r & 12 ? 0 : 0x40) | (r & 48 ? 0 : 0x8000);
    static const u16 precisions[] = {0, 0x200, 0x300, 0x300};
    cpu.fpu.cw = u16(0x7f | precisions[r >> 8 & 3] | (r >> 10 & 3) << 10);
#if HOST_SSE2
    set_host_mxcsr(cpu.mxcsr);
    u16 cw = cpu.fpu.cw;
    asm volatile("fldcw %0\n\tfnclex" : : "m"(cw));
#endif
}
void flags() {
#if HOST_SSE2
    mix(host_mxcsr() & 0x3f);
#else
    mix(cpu.mxcsr & 0x3f);
#endif
}
template <class F> void check(const char *name, unsigned rounds, F run) {
    sum = 0xcbf29ce484222325;
    state = 1;
    for (unsigned i = 0; i < rounds; i++) {
        controls();
        run();
        flags();
    }
    std::printf("%s %016llx\n", name, static_cast<unsigned long long>(sum));
}
}  // namespace

int main(int, char **argv) {
    const unsigned rounds = unsigned(std::atoi(argv[1]));
#define VECTOR(name, operand)                                                                                                \
    check(#name, rounds, [] {                                                                                                \
        Xmm a = operand(), b = operand();                                                                                    \
        mix(h_##name(cpu, a, b));                                                                                            \
    });
#define ALL_SHAPES(name) VECTOR(name##ps, singles) VECTOR(name##pd, doubles) VECTOR(name##ss, singles) VECTOR(name##sd, doubles)
    ALL_SHAPES(add) ALL_SHAPES(sub) ALL_SHAPES(mul) ALL_SHAPES(div) ALL_SHAPES(min) ALL_SHAPES(max) ALL_SHAPES(sqrt)
    VECTOR(cvtdq2ps, singles) VECTOR(cvtdq2pd, singles) VECTOR(cvtps2dq, singles) VECTOR(cvttps2dq, singles) VECTOR(cvtpd2dq, doubles)
    VECTOR(cvttpd2dq, doubles) VECTOR(cvtps2pd, singles) VECTOR(cvtpd2ps, doubles) VECTOR(cvtss2sd, singles) VECTOR(cvtsd2ss, doubles)
    VECTOR(comiss, singles) VECTOR(ucomiss, singles) VECTOR(comisd, doubles) VECTOR(ucomisd, doubles)
#define COMPARE(name, operand)                                                                                               \
    check(#name, rounds, [] {                                                                                                \
        Xmm a = operand(), b = operand();                                                                                    \
        mix(h_##name(cpu, a, b, unsigned(random64() & 7)));                                                                  \
    });
    COMPARE(cmpps, singles) COMPARE(cmppd, doubles) COMPARE(cmpss, singles) COMPARE(cmpsd, doubles)
#define SCALAR(format, operand)                                                                                              \
    check("cvtsi2" #format, rounds, [] {                                                                                     \
        mix(h_cvtsi2##format##32(cpu, operand(), u32(random64())));                                                          \
        mix(h_cvtsi2##format##64(cpu, operand(), random64()));                                                               \
    });                                                                                                                      \
    check("cvt" #format "2si", rounds, [] {                                                                                  \
        Xmm b = operand();                                                                                                   \
        mix(u64(h_cvt##format##2si32(cpu, b)));                                                                              \
        mix(h_cvt##format##2si64(cpu, b));                                                                                   \
        mix(u64(h_cvtt##format##2si32(cpu, b)));                                                                             \
        mix(h_cvtt##format##2si64(cpu, b));                                                                                  \
    });
    SCALAR(ss, singles) SCALAR(sd, doubles)

#define X87(name, ...) check("x87 " #name, rounds, [] { F80 a = extended(); mix(h_##name(cpu, a, __VA_ARGS__)); });
#define X87_ALL(name)                                                                                                        \
    X87(f##name, extended()) X87(f##name##_m32, single()) X87(f##name##_m64, wide()) X87(fi##name##_m16, u16(random64()))     \
    X87(fi##name##_m32, u32(random64()))
    X87_ALL(add) X87_ALL(mul) X87_ALL(sub) X87_ALL(subr) X87_ALL(div) X87_ALL(divr) X87(fscale, extended())
#define X87_ONE(name) check("x87 " #name, rounds, [] { mix(h_##name(cpu, extended())); });
    X87_ONE(fsqrt) X87_ONE(frndint)
#define X87_COMPARE(name, ...)                                                                                               \
    check("x87 " #name, rounds, [] {                                                                                         \
        F80 a = extended();                                                                                                  \
        mix(u64(h_##name(cpu, a, __VA_ARGS__) & (SW_EXCEPTIONS | SW_CC)));                                                   \
    });
    X87_COMPARE(fcom, extended()) X87_COMPARE(fucom, extended()) X87_COMPARE(fcom_m32, single()) X87_COMPARE(fcom_m64, wide())
#define X87_STORE(name, T)                                                                                                   \
    check("x87 " #name, rounds, [] {                                                                                         \
        T out{};                                                                                                             \
        mix(u64(h_##name(cpu, extended(), &out) & (SW_EXCEPTIONS | SW_C1)));                                                 \
        mix(out);                                                                                                            \
    });
    X87_STORE(fst_m32, u32) X87_STORE(fst_m64, u64) X87_STORE(fist_m16, u16) X87_STORE(fist_m32, u32) X87_STORE(fist_m64, u64)
    X87_STORE(fisttp_m16, u16) X87_STORE(fisttp_m32, u32) X87_STORE(fisttp_m64, u64) X87_STORE(fbst, F80)
    return 0;
}
