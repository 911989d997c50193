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

// Start of every waiting x87 instruction: pending exceptions come before anything else.
ALWAYS_INLINE void x87_begin(Cpu &cpu) {
    if (UNLIKELY(x87_error(cpu))) x87_pending(cpu);
}
// Instruction pointer and opcode of every instruction but the control ones, and the data pointer if it has a memory operand; to be called when
// nothing can fault any more.
ALWAYS_INLINE void x87_record(Cpu &cpu, const Op &op) {
    cpu.fpu.ip = cpu.rip;
    cpu.fpu.op = u16(op.imm) & 0x7ff;
    cpu.fpu.cs = cpu.seg[CS].selector;
}
ALWAYS_INLINE void x87_record_mem(Cpu &cpu, const Op &op) {
    x87_record(cpu, op);
    cpu.fpu.dp = effective_address(cpu, op);
    cpu.fpu.ds = cpu.seg[op.seg].selector;
}
// The register operand ST(i): the low bits of ModRM, which `imm` (the FOP) holds.
ALWAYS_INLINE unsigned sti(const Op &op) { return op.imm & 7; }

// ---- the stack
constexpr F80 kIndefinite = {0xc000000000000000, 0xffff};

ALWAYS_INLINE void set_st(Cpu &cpu, unsigned i, const F80 &v) {
    unsigned p = physical(cpu, i);
    cpu.fpu.st[p].mant = v.mant;
    cpu.fpu.st[p].se = v.se;
    cpu.fpu.valid |= u8(1 << p);
}
ALWAYS_INLINE void x87_push(Cpu &cpu, const F80 &v) {
    cpu.fpu.top = (cpu.fpu.top - 1) & 7;
    set_st(cpu, 0, v);
}
ALWAYS_INLINE void x87_pop(Cpu &cpu) {
    cpu.fpu.valid &= u8(~(1 << cpu.fpu.top));
    cpu.fpu.top = (cpu.fpu.top + 1) & 7;
}
inline void clear_c1(Cpu &cpu) { cpu.fpu.sw &= u16(~SW_C1); }
// Stack underflow or overflow: IE and SF, C1 tells which.  Returns whether the masked response (the indefinite) is due.
COLD inline bool stack_fault(Cpu &cpu, bool overflow) {
    cpu.fpu.sw = u16((cpu.fpu.sw & ~SW_C1) | SW_IE | SW_SF | (overflow ? SW_C1 : 0));
    return cpu.fpu.cw & SW_IE;
}
// Takes over exceptions, C1 and the condition codes in `codes` from the status of an operation.  Returns whether it took place: an unmasked
// exception of the operands leaves everything as it was (SDM Vol. 1 8.5).
ALWAYS_INLINE bool x87_finish(Cpu &cpu, u16 status, u16 codes = 0) {
    cpu.fpu.sw = u16((cpu.fpu.sw & ~(SW_C1 | codes)) | (status & (SW_EXCEPTIONS | SW_C1 | codes)));
    return LIKELY((cpu.fpu.cw & SW_EXCEPTIONS) == SW_EXCEPTIONS) || !(status & ~cpu.fpu.cw & (SW_IE | SW_DE | SW_ZE));
}

void fninit(Cpu &cpu);
void ferr_lower(Cpu &cpu);                  // after exceptions were cleared
u16 full_tag_word(const Cpu &cpu);
void set_full_tag_word(Cpu &cpu, u16 tags);
bool x87_initial(const Cpu &cpu);           // FNINIT state with zeroed registers
