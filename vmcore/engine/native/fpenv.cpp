// The floating-point environment: MXCSR, and the host's controls while guest code runs.  SDM Vol. 1 10.2.3, 11.5.
#include "sse_fp.h"

namespace {
// What the C library and Python expect.
constexpr u32 kHostDefault = MX_MASKS;
[[maybe_unused]] constexpr u16 kHostCw = 0x37f;
}

#if HOST_SSE2
namespace {
u32 guest_in_host(u32 mxcsr) { return (mxcsr & (MX_RC | MX_DAZ | MX_FZ | MX_FLAGS)) | MX_MASKS; }
void set_host_cw(u16 cw) { asm volatile("fldcw %0" : : "m"(cw)); }
}  // namespace

void fp_enter(Cpu &cpu) {
    set_host_mxcsr(guest_in_host(cpu.mxcsr));
    u16 control = (cpu.fpu.cw & 0x0f00) | 0x7f, sw;
    if (control != kHostCw) set_host_cw(control);
    asm volatile("fnstsw %%ax" : "=a"(sw));
    if (sw & ~cpu.fpu.sw & 0x3f) asm volatile("fnclex");  // flags of the host are always among those of the guest
    cpu.fp_loaded = 1;
}
void fp_leave(Cpu &cpu) {
    cpu.mxcsr |= host_mxcsr() & MX_FLAGS;
    if (cpu.mxcsr & (MX_RC | MX_DAZ | MX_FZ)) set_host_mxcsr(kHostDefault);
    if (((cpu.fpu.cw & 0x0f00) | 0x7f) != kHostCw) set_host_cw(kHostCw);
    cpu.fp_loaded = 0;
}
u32 read_mxcsr(const Cpu &cpu) { return cpu.fp_loaded ? cpu.mxcsr | (host_mxcsr() & MX_FLAGS) : cpu.mxcsr; }
void write_mxcsr(Cpu &cpu, u32 value) {
    cpu.mxcsr = value;
    if (cpu.fp_loaded) set_host_mxcsr(guest_in_host(value));
}
void x87_controls_changed(Cpu &cpu) {
    if (!cpu.fp_loaded) return;
    set_host_cw((cpu.fpu.cw & 0x0f00) | 0x7f);
    asm volatile("fnclex");
}
#else
void fp_enter(Cpu &cpu) { cpu.fp_loaded = 1; }
void fp_leave(Cpu &cpu) { cpu.fp_loaded = 0; }
u32 read_mxcsr(const Cpu &cpu) { return cpu.mxcsr; }
void write_mxcsr(Cpu &cpu, u32 value) { cpu.mxcsr = value; }
void x87_controls_changed(Cpu &) {}
#endif

// With clear flags, so that those of the one instruction are seen; soft kernels set them in Cpu::mxcsr.
u32 unmasked_begin(Cpu &cpu, bool soft) {
    u32 saved = read_mxcsr(cpu);
    cpu.mxcsr = saved & ~u32(MX_FLAGS);
#if HOST_SSE2
    if (!soft) set_host_mxcsr(guest_in_host(cpu.mxcsr));
#endif
    return saved;
}
void unmasked_end(Cpu &cpu, u32 saved, bool soft) {
    u32 flags = (soft ? cpu.mxcsr : read_mxcsr(cpu)) & MX_FLAGS;
    u32 unmasked = ~(saved >> 7) & MX_FLAGS;
    // An unmasked exception of the operands (I, D, Z) comes before the operation, so none of the result is seen (SDM Vol. 1 11.5.3).
    constexpr u32 before = MX_IE | MX_DE | MX_ZE;
    if (flags & unmasked & before) flags &= before;
    write_mxcsr(cpu, saved | flags);
    if (flags & unmasked) raise_fault(cpu, cpu.cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
}

void x_ldmxcsr(Cpu &cpu, const Op &op) {
    u32 v = read_mem<u32>(cpu, op);
    if (v & ~u32(MX_ALL)) raise_gp(cpu);
    write_mxcsr(cpu, v);
}
void x_stmxcsr(Cpu &cpu, const Op &op) { write_mem<u32>(cpu, op, read_mxcsr(cpu)); }
