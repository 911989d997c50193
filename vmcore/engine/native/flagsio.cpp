// The flags register as a whole, the interrupt flag, port I/O.  SDM Vol. 2 per instruction; Vol. 1 chapter 19; Vol. 3A 20.3, 20.4.
#include "cpu.h"

// ------------------------------------------------------------------------------------------------------ PUSHF and POPF

void x_pushf(Cpu &cpu, const Op &op) {
    u32 f = get_eflags(cpu) & ~u32(FL_RF | FL_VM);
    if (UNLIKELY(v86_mode(cpu)) && iopl(cpu) < 3) {
        if (!(cpu.cr4 & CR4_VME) || op.width != 1) raise_gp(cpu);
        f = (f & ~u32(FL_IF)) | FL_IOPL | (f & FL_VIF ? u32(FL_IF) : 0);
    }
    if (op.width == 3) push<u64>(cpu, f);
    else if (op.width == 2) push<u32>(cpu, f);
    else push<u16>(cpu, u16(f));
}

void x_popf(Cpu &cpu, const Op &op) {
    u32 mask = FL_ARITH | FL_TF | FL_DF | FL_NT;
    if (op.width != 1) mask |= FL_AC | FL_ID;
    u32 f = op.width == 3 ? u32(peek<u64>(cpu)) : op.width == 2 ? peek<u32>(cpu) : peek<u16>(cpu);
    if (UNLIKELY(v86_mode(cpu))) {
        if (iopl(cpu) == 3) {
            mask |= FL_IF;
        } else {
            if (!(cpu.cr4 & CR4_VME) || op.width != 1) raise_gp(cpu);
            if ((f & FL_TF) || ((cpu.flags & FL_VIP) && (f & FL_IF))) raise_gp(cpu);
            mask |= FL_VIF;
            if (f & FL_IF) f |= FL_VIF;
        }
    } else {
        if (cpu.cpl <= iopl(cpu)) mask |= FL_IF;
        if (cpu.cpl == 0) mask |= FL_IOPL;
    }
    set_sp(cpu, cpu.gpr[RSP] + (u64(1) << op.width));
    const u32 old = cpu.flags;
    cpu.flags = ((old & ~mask & ~u32(FL_RF)) | (f & mask & ~u32(FL_ARITH))) | FL_1;
    set_arith_flags(cpu, f);
    if ((old ^ cpu.flags) & FL_AC) update_rights(cpu);
    attention_if_pending(cpu);
}

// ---------------------------------------------------------------------------------------------------------- CLI and STI

void x_cli(Cpu &cpu, const Op &) {
    if (LIKELY(cpu.cpl <= iopl(cpu))) {
        cpu.flags &= ~u32(FL_IF);
    } else if (v86_mode(cpu) ? bool(cpu.cr4 & CR4_VME) : cpu.cpl == 3 && (cpu.cr4 & CR4_PVI)) {
        cpu.flags &= ~u32(FL_VIF);
    } else {
        raise_gp(cpu);
    }
}

void x_sti(Cpu &cpu, const Op &) {
    if (LIKELY(cpu.cpl <= iopl(cpu))) {
        if (!(cpu.flags & FL_IF)) {
            cpu.flags |= FL_IF;
            cpu.shadow = 1;
            attention_if_pending(cpu);
        }
    } else if (v86_mode(cpu) ? bool(cpu.cr4 & CR4_VME) : cpu.cpl == 3 && (cpu.cr4 & CR4_PVI)) {
        if (cpu.flags & FL_VIP) raise_gp(cpu);
        cpu.flags |= FL_VIF;
    } else {
        raise_gp(cpu);
    }
}

void x_clac(Cpu &cpu, const Op &) {
    if (cpu.cpl) raise_ud(cpu);
    cpu.flags &= ~u32(FL_AC);
    update_rights(cpu);
}

void x_stac(Cpu &cpu, const Op &) {
    if (cpu.cpl) raise_ud(cpu);
    cpu.flags |= FL_AC;
    update_rights(cpu);
}

// ------------------------------------------------------------------------------------------------------------ port I/O

// SDM Vol. 1 19.5.2: the I/O permission bitmap of a 32-bit or 64-bit TSS.
static void check_bitmap(Cpu &cpu, u16 port, unsigned size) {
    const Segment &tr = cpu.seg[TR];
    if (!(tr.attr & 8) || (tr.attr & ATTR_NULL) || tr.limit < 0x67) raise_gp(cpu);
    u32 at = read_sys<u16>(cpu, tr.base + 0x66) + port / 8u;
    if (at + 1 > tr.limit) raise_gp(cpu);  // two bytes are always read
    u32 bits = read_sys<u16>(cpu, tr.base + at) >> (port & 7);
    if (bits & ((1u << size) - 1)) raise_gp(cpu);
}

void check_io(Cpu &cpu, u16 port, unsigned size) {
    if (UNLIKELY((cpu.cr0 & CR0_PE) && (cpu.cpl > iopl(cpu) || v86_mode(cpu)))) check_bitmap(cpu, port, size);
    if (UNLIKELY(cpu.io_breakpoints)) check_io_breakpoint(cpu, port, size);
}

static void in_port(Cpu &cpu, const Op &op, u16 port) {
    unsigned size = 1u << op.width;
    check_io(cpu, port, size);
    set_reg_sized(cpu, RAX, port_read(cpu, port, size), op.width);
}

static void out_port(Cpu &cpu, const Op &op, u16 port) {
    unsigned size = 1u << op.width;
    check_io(cpu, port, size);
    port_write(cpu, port, u32(reg_sized(cpu, RAX, op.width)), size);
}

void x_in_imm(Cpu &cpu, const Op &op) { in_port(cpu, op, u8(op.imm)); }
void x_in_dx(Cpu &cpu, const Op &op) { in_port(cpu, op, u16(cpu.gpr[RDX])); }
void x_out_imm(Cpu &cpu, const Op &op) { out_port(cpu, op, u8(op.imm)); }
void x_out_dx(Cpu &cpu, const Op &op) { out_port(cpu, op, u16(cpu.gpr[RDX])); }
