// Conversions between integers, single and double precision.
#include "sse_rules.h"

#define CONVERT(name, read)                                                                                                  \
    void x_##name(Cpu &cpu, const Op &op) {                                                                                  \
        Xmm b = read(cpu, op);                                                                                               \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        d = FP_RUN(name, cpu, d, b);                                                                                        \
    }                                                                                                                        \
    FLOAT_RULE(name, sizeof_##read)
constexpr unsigned sizeof_read_wx = 16, sizeof_read_wq = 8, sizeof_read_wd = 4;
CONVERT(cvtdq2ps, read_wx)
CONVERT(cvtps2dq, read_wx)
CONVERT(cvttps2dq, read_wx)
CONVERT(cvtdq2pd, read_wq)
CONVERT(cvtpd2dq, read_wx)
CONVERT(cvttpd2dq, read_wx)
CONVERT(cvtps2pd, read_wq)
CONVERT(cvtpd2ps, read_wx)
CONVERT(cvtss2sd, read_wd)
CONVERT(cvtsd2ss, read_wq)

#define FROM_INTEGER(name)                                                                                                   \
    void x_##name(Cpu &cpu, const Op &op) {                                                                                  \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        if (op.width == 3) {                                                                                                 \
            u64 v = read_rm<u64>(cpu, op);                                                                                   \
            d = FP_RUN(name##64, cpu, d, v);                                             \
        } else {                                                                                                             \
            u32 v = read_rm<u32>(cpu, op);                                                                                   \
            d = FP_RUN(name##32, cpu, d, v);                                             \
        }                                                                                                                    \
    }
FROM_INTEGER(cvtsi2ss)
FROM_INTEGER(cvtsi2sd)

#define TO_INTEGER(name, read)                                                                                               \
    void x_##name(Cpu &cpu, const Op &op) {                                                                                  \
        Xmm b = read(cpu, op);                                                                                               \
        if (op.width == 3) cpu.gpr[op.r] = FP_RUN(name##64, cpu, b);                     \
        else cpu.gpr[op.r] = FP_RUN(name##32, cpu, b);                                   \
    }
TO_INTEGER(cvtss2si, read_wd)
TO_INTEGER(cvttss2si, read_wd)
TO_INTEGER(cvtsd2si, read_wq)
TO_INTEGER(cvttsd2si, read_wq)

// ---- between MMX and XMM registers
void x_cvtpi2ps(Cpu &cpu, const Op &op) {
    if (op.is_reg) mmx_begin(cpu);
    Xmm b = low64(read_qq(cpu, op));
    if (op.is_reg) mmx_touch(cpu);  // a memory operand leaves the x87 state alone
    Xmm r = FP_RUN(cvtdq2ps, cpu, b, b);
    xmm(cpu, op.r).uq[0] = r.uq[0];
}
void x_cvtpi2pd(Cpu &cpu, const Op &op) {
    if (op.is_reg) mmx_begin(cpu);
    Xmm b = low64(read_qq(cpu, op));
    if (op.is_reg) mmx_touch(cpu);
    xmm(cpu, op.r) = h_cvtdq2pd(cpu, b, b);
}
#define TO_MMX(name, kernel, read)                                                                                           \
    void x_##name(Cpu &cpu, const Op &op) {                                                                                  \
        mmx_begin(cpu);                                                                                                      \
        Xmm b = read(cpu, op);                                                                                               \
        mmx_touch(cpu); /* even if the conversion raises #XM */                                                              \
        b = FP_RUN(kernel, cpu, b, b);                                                       \
        set_mm(cpu, op.r, b.uq[0]);                                                                                          \
    }
namespace {
Xmm low_singles(Cpu &cpu, const Op &op) { return low64(read_wq(cpu, op).uq[0]); }  // the upper lanes must not raise flags
}  // namespace
TO_MMX(cvtps2pi, cvtps2dq, low_singles)
TO_MMX(cvttps2pi, cvttps2dq, low_singles)
TO_MMX(cvtpd2pi, cvtpd2dq, read_wx)
TO_MMX(cvttpd2pi, cvttpd2dq, read_wx)
