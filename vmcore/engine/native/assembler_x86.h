// A few x86-64 encodings, for the run-time translator (native.cpp).  SDM Vol. 2 chapter 2.
#pragma once
#include "types.h"

enum HostReg : u8 { H_RAX, H_RCX, H_RDX, H_RBX, H_RSP, H_RBP, H_RSI, H_RDI, H_R8, H_R9, H_R10, H_R11, H_R12, H_R13, H_R14, H_R15 };

// Widths are log2 of bytes.  Opcodes above 0xff are two-byte ones (0F xx as 0x0fxx).  For width 0 the opcode is given as its byte form.
struct Assembler {
    u8 *p;

    void byte(unsigned v) { *p++ = u8(v); }
    void dword(u32 v) {
        store_host<u32>(p, v);
        p += 4;
    }
    void qword(u64 v) {
        store_host<u64>(p, v);
        p += 8;
    }
    void head(unsigned width, unsigned opcode, unsigned reg, unsigned index, unsigned base, bool byte_regs) {
        if (width == 1) byte(0x66);
        unsigned rex = (width == 3 ? 8 : 0) | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if (rex || byte_regs) byte(0x40 | rex);
        if (opcode > 0xff) byte(opcode >> 8);
        byte(opcode);
    }
    // reg, rm both registers.  SPL BPL SIL DIL need a REX prefix when they are byte operands.
    void rr(unsigned width, unsigned opcode, unsigned reg, unsigned rm, bool byte_regs = false) {
        head(width, opcode, reg, 0, rm, byte_regs || width == 0);
        byte(0xc0 | (reg & 7) << 3 | (rm & 7));
    }
    void rm(unsigned width, unsigned opcode, unsigned reg, unsigned base, i32 disp) {
        head(width, opcode, reg, 0, base, width == 0);
        bool small = disp == i8(disp);
        byte((small ? 0x40 : 0x80) | (reg & 7) << 3 | (base & 7));
        if ((base & 7) == 4) byte(0x24);
        if (small) byte(unsigned(disp));
        else dword(u32(disp));
    }
    void rx(unsigned width, unsigned opcode, unsigned reg, unsigned base, unsigned index, unsigned scale, i32 disp) {
        head(width, opcode, reg, index, base, width == 0);
        byte(0x84 | (reg & 7) << 3);
        byte(scale << 6 | (index & 7) << 3 | (base & 7));
        dword(u32(disp));
    }

    void load(unsigned width, unsigned reg, unsigned base, i32 disp) { rm(width, width ? 0x8b : 0x8a, reg, base, disp); }
    void store(unsigned width, unsigned reg, unsigned base, i32 disp) { rm(width, width ? 0x89 : 0x88, reg, base, disp); }
    void store_imm32(unsigned base, i32 disp, u32 v) {  // dword
        rm(2, 0xc7, 0, base, disp);
        dword(v);
    }
    void store_imm64(unsigned base, i32 disp, i32 v) {  // qword, sign-extended
        rm(3, 0xc7, 0, base, disp);
        dword(u32(v));
    }
    void mov(unsigned width, unsigned to, unsigned from) { rr(width, 0x8b, to, from); }
    void mov_imm(unsigned reg, u64 v) {
        if (v <= 0xffffffffu) {
            head(2, 0xb8 + (reg & 7), 0, 0, reg, false);
            dword(u32(v));
        } else if (i64(v) == i32(v)) {
            rr(3, 0xc7, 0, reg);
            dword(u32(v));
        } else {
            head(3, 0xb8 + (reg & 7), 0, 0, reg, false);
            qword(v);
        }
    }
    // The eight operations ADD OR ADC SBB AND SUB XOR CMP by number.
    void alu_rr(unsigned width, unsigned f, unsigned to, unsigned from) { rr(width, f * 8 + (width ? 3 : 2), to, from); }
    void alu_rm(unsigned width, unsigned f, unsigned to, unsigned base, i32 disp) { rm(width, f * 8 + (width ? 3 : 2), to, base, disp); }
    void alu_ri(unsigned width, unsigned f, unsigned to, i32 v) {
        if (width == 0) {
            rr(0, 0x80, f, to);
            byte(unsigned(v));
        } else if (v == i8(v)) {
            rr(width, 0x83, f, to);
            byte(unsigned(v));
        } else {
            rr(width, 0x81, f, to);
            if (width == 1) byte(unsigned(v)), byte(unsigned(v) >> 8);
            else dword(u32(v));
        }
    }
    void shift_ri(unsigned width, unsigned f, unsigned reg, unsigned count) {  // f as in ModRM.reg of C1
        rr(width, width ? 0xc1 : 0xc0, f, reg);
        byte(count);
    }
    u8 *jcc(unsigned condition) {  // forward; returns the place of its displacement
        byte(0x0f);
        byte(0x80 | condition);
        dword(0);
        return p - 4;
    }
    void bind(u8 *place) const { store_host<u32>(place, u32(p - (place + 4))); }
    void jmp_mem(unsigned base) { rm(2, 0xff, 4, base, 0); }
    void jmp_abs(const void *target) {  // through RAX
        mov_imm(H_RAX, u64(reinterpret_cast<std::uintptr_t>(target)));
        byte(0xff);
        byte(0xe0);
    }
};
