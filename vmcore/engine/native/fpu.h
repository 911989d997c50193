// What the x87 sources share: the register stack, the status word, pending exceptions (SDM Vol. 1 chapter 8).
#pragma once
#include "sse.h"

enum : u16 {
    SW_IE = 1, SW_DE = 2, SW_ZE = 4, SW_OE = 8, SW_UE = 16, SW_PE = 32, SW_SF = 1 << 6, SW_ES = 1 << 7, SW_C0 = 1 << 8, SW_C1 = 1 << 9,
    SW_C2 = 1 << 10, SW_C3 = 1 << 14, SW_B = 1 << 15, SW_EXCEPTIONS = 0x3f, SW_CC = SW_C0 | SW_C1 | SW_C2 | SW_C3,
};
constexpr u16 kCwInit = 0x37f;

void x87_controls_changed(Cpu &cpu);  // fpenv.cpp: the control word was written

ALWAYS_INLINE unsigned physical(const Cpu &cpu, unsigned i) { return (cpu.fpu.top + i) & 7; }
ALWAYS_INLINE F80 &st(Cpu &cpu, unsigned i) { return cpu.fpu.st[physical(cpu, i)]; }
ALWAYS_INLINE bool st_valid(const Cpu &cpu, unsigned i) { return cpu.fpu.valid >> physical(cpu, i) & 1; }

inline void set_fpu_sw(Cpu &cpu, u16 sw) {
    cpu.fpu.top = sw >> 11 & 7;
    cpu.fpu.sw = sw & (SW_EXCEPTIONS | SW_SF | SW_CC);
}
inline void set_fpu_cw(Cpu &cpu, u16 cw) {  // bit 6 reads as one, 7 and 13-15 as zero
    cpu.fpu.cw = (cw & 0x1f3f) | 0x40;
    x87_controls_changed(cpu);
}
inline bool x87_error(const Cpu &cpu) { return cpu.fpu.sw & ~cpu.fpu.cw & SW_EXCEPTIONS; }

// Start of every waiting x87 instruction but the control ones: pending exceptions, then the instruction pointer and opcode.
ALWAYS_INLINE void x87_begin(Cpu &cpu, const Op &op) {
    if (UNLIKELY(x87_error(cpu))) x87_pending(cpu);
    cpu.fpu.ip = cpu.rip;
    cpu.fpu.op = u16(op.imm) & 0x7ff;
    cpu.fpu.cs = cpu.seg[CS].selector;
}
// The same with a memory operand: its address becomes the data pointer.
ALWAYS_INLINE void x87_data(Cpu &cpu, const Op &op) {
    cpu.fpu.dp = effective_address(cpu, op);
    cpu.fpu.ds = cpu.seg[op.seg].selector;
}

void fninit(Cpu &cpu);
void ferr_lower(Cpu &cpu);                  // after exceptions were cleared
u16 full_tag_word(const Cpu &cpu);
void set_full_tag_word(Cpu &cpu, u16 tags);
bool x87_initial(const Cpu &cpu);           // FNINIT state with zeroed registers
