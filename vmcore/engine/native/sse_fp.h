// Floating-point kernels of SSE, and their execution under the guest's MXCSR (SDM Vol. 1 10.2.3, 11.5).
//
// While run() is active the host's MXCSR holds the guest's rounding mode, DAZ and FZ with every exception masked; the sticky flags gather there.  As
// long as the guest masks every exception (practically always) an instruction is one host instruction.  When it does not, the
// kernel runs with clear flags first and its result is dropped if an unmasked flag comes up.
#pragma once
#include "sse.h"

enum : u32 {
    MX_IE = 1, MX_DE = 2, MX_ZE = 4, MX_OE = 8, MX_UE = 16, MX_PE = 32, MX_FLAGS = 0x3f, MX_DAZ = 1 << 6, MX_MASKS = 0x1f80, MX_UM = 1 << 11,
    MX_RC = 3 << 13, MX_FZ = 1 << 15, MX_ALL = 0xffff,
};

#if HOST_SSE2
#include "sse_host.h"
#else
#include "sse_soft.h"
#endif

// Which lanes of the result an unmasked underflow exception looks at: it is raised for tiny results even when they are exact (SDM Vol. 1
// 4.9.1.5), which the host does not tell while it masks the exception.
enum Tiny : u8 { TINY_NONE, TINY_SS, TINY_PS, TINY_SD, TINY_PD };

u32 unmasked_begin(Cpu &cpu);                                               // fpenv.cpp
void unmasked_end(Cpu &cpu, u32 saved, Tiny tiny, const Xmm *result);       // raises #XM or #UD

template <class K> ALWAYS_INLINE auto fp_run(Cpu &cpu, Tiny tiny, K kernel) {
    if (LIKELY((cpu.mxcsr & MX_MASKS) == MX_MASKS)) return kernel();
    u32 saved = unmasked_begin(cpu);
    auto result = kernel();
    if constexpr (sizeof(result) == sizeof(Xmm)) unmasked_end(cpu, saved, tiny, &result);
    else unmasked_end(cpu, saved, TINY_NONE, nullptr);
    return result;
}
