// Floating-point kernels of SSE, and their execution under the guest's MXCSR (SDM Vol. 1 10.2.3, 11.5).
//
// While run() is active the host's MXCSR holds the guest's rounding mode, DAZ and FZ with every exception masked; the sticky flags gather there.  As
// long as the guest masks every exception (practically always) an instruction is one host instruction.  When it does not, the
// kernel runs with clear flags first and its result is dropped if an unmasked flag comes up.
#pragma once
#include "sse.h"

enum : u32 {
    MX_IE = 1, MX_DE = 2, MX_ZE = 4, MX_OE = 8, MX_UE = 16, MX_PE = 32, MX_FLAGS = 0x3f, MX_DAZ = 1 << 6, MX_MASKS = 0x1f80, MX_OM = 1 << 10, MX_UM = 1 << 11,
    MX_RC = 3 << 13, MX_FZ = 1 << 15, MX_ALL = 0xffff,
};

#include "sse_soft.h"
#if HOST_SSE2
#include "sse_host.h"
#endif

// fpenv.cpp: around a kernel while an exception is unmasked.  The end raises #XM or #UD.
u32 unmasked_begin(Cpu &cpu, bool soft);
void unmasked_end(Cpu &cpu, u32 saved, bool soft);

// Runs `host`, or `soft` where the host cannot tell what the guest must see.
template <class H, class S> ALWAYS_INLINE auto fp_run(Cpu &cpu, H host, S soft) {
    if (LIKELY((cpu.mxcsr & MX_MASKS) == MX_MASKS)) return host();
    const bool in_soft = !HOST_SSE2 || (~cpu.mxcsr & (MX_OM | MX_UM));
    u32 saved = unmasked_begin(cpu, in_soft);
    auto result = in_soft ? soft() : host();
    unmasked_end(cpu, saved, in_soft);
    return result;
}
// One kernel.
#define FP_RUN(kernel, ...)                                                                                                  \
    fp_run(cpu, [&] { return h_##kernel(__VA_ARGS__); }, [&] { return s_##kernel(__VA_ARGS__); })
