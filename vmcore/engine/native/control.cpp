// Control registers, caches and TLB, halting, time stamps, extended control registers.  SDM Vol. 3A 2.5, 4.1, 9.8; Vol. 2 per instruction.
#include "cpu.h"
#include "xsave.h"

// ---------------------------------------------------------------------------------------------------- control registers

bool load_pdptes(Cpu &cpu, u64 cr3) {
    // SDM Vol. 3A 4.4.1: bits 1-2, 5-8 and those above the physical address width are reserved.
    const u64 reserved = 0x1e6 | ~((u64(1) << cpu.phys_bits) - 1);
    u64 entries[4];
    cpu.memory->read((cr3 & 0xffffffe0u) & cpu.memory->a20_mask, entries, sizeof entries);
    for (u64 e : entries)
        if ((e & 1) && (e & reserved)) return false;
    std::memcpy(cpu.pdpte, entries, sizeof entries);
    return true;
}

static bool pae_paging(u64 cr0, u64 cr4, u64 efer) { return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA); }

void set_cr0(Cpu &cpu, u64 value) {
    constexpr u64 kBits = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;
    if (value >> 32) raise_gp(cpu);
    value = (value & kBits) | CR0_ET;  // reserved bits keep their 0
    if ((value & CR0_PG) && !(value & CR0_PE)) raise_gp(cpu);
    if ((value & CR0_NW) && !(value & CR0_CD)) raise_gp(cpu);
    const u64 changed = value ^ cpu.cr0;
    u64 efer = cpu.efer;
    if (changed & CR0_PG) {
        if (value & CR0_PG) {
            if (efer & EFER_LME) {
                bool tss16 = !(cpu.seg[TR].attr & 8);
                if (!(cpu.cr4 & CR4_PAE) || (cpu.seg[CS].attr & ATTR_L) || tss16) raise_gp(cpu);
                efer |= EFER_LMA;
            }
        } else {
            if (in_64bit(cpu) || (cpu.cr4 & CR4_PCIDE)) raise_gp(cpu);
            efer &= ~u64(EFER_LMA);
        }
    }
    if (pae_paging(value, cpu.cr4, efer) && (changed & (CR0_CD | CR0_NW | CR0_PG)) && !load_pdptes(cpu, cpu.cr3)) raise_gp(cpu);
    cpu.cr0 = value;
    cpu.efer = efer;
    if (changed & (CR0_PG | CR0_WP)) tlb_flush(cpu);  // PE changes only without paging: linear addresses stay what they are
    update_mode(cpu);
}

void set_cr3(Cpu &cpu, u64 value) {
    if (long_mode(cpu)) {
        u64 reserved = ~((u64(1) << cpu.phys_bits) - 1);
        if (cpu.cr4 & CR4_PCIDE) reserved &= ~(u64(1) << 63);
        if (value & reserved) raise_gp(cpu);
        value &= ~(u64(1) << 63);  // the entries of the other PCID are flushed all the same: the TLB has no tags
    } else {
        value &= 0xffffffffu;
        if (pae_paging(cpu.cr0, cpu.cr4, cpu.efer) && !load_pdptes(cpu, value)) raise_gp(cpu);
    }
    cpu.cr3 = value;
    tlb_flush(cpu);
}

static u64 cr4_bits(const Cpu &cpu) {
    u64 v = 0;
    auto add = [&](Feature f, u64 bits) {
        if (has(cpu, f)) v |= bits;
    };
    add(F_VME, CR4_VME | CR4_PVI);
    add(F_TSC, CR4_TSD);
    add(F_DE, CR4_DE);
    add(F_PSE, CR4_PSE);
    add(F_PAE, CR4_PAE);
    add(F_MCE, CR4_MCE);
    add(F_PGE, CR4_PGE);
    add(F_I686, CR4_PCE);
    add(F_FXSR, CR4_OSFXSR);
    add(F_SSE, CR4_OSXMMEXCPT);
    add(F_UMIP, CR4_UMIP);
    add(F_FSGSBASE, CR4_FSGSBASE);
    add(F_PCID, CR4_PCIDE);
    add(F_XSAVE, CR4_OSXSAVE);
    add(F_SMEP, CR4_SMEP);
    add(F_SMAP, CR4_SMAP);
    return v;
}

void set_cr4(Cpu &cpu, u64 value) {
    if (value & ~cr4_bits(cpu)) raise_gp(cpu);
    const u64 changed = value ^ cpu.cr4;
    if (long_mode(cpu) && !(value & CR4_PAE)) raise_gp(cpu);
    if ((changed & value & CR4_PCIDE) && (!long_mode(cpu) || (cpu.cr3 & 0xfff))) raise_gp(cpu);
    if (pae_paging(cpu.cr0, value, cpu.efer) && (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) && !load_pdptes(cpu, cpu.cr3))
        raise_gp(cpu);
    cpu.cr4 = value;
    if (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)) tlb_flush(cpu);
    if (changed & CR4_DE) set_dr7(cpu, cpu.dr[7]);
    update_mode(cpu);
}

void set_cr8(Cpu &cpu, u64 value) {
    if (value & ~u64(15)) raise_gp(cpu);
    cpu.cr8 = value;
    cr8_write_hook(cpu, value);
    attention_if_pending(cpu);
}

void set_efer(Cpu &cpu, u64 value) {
    u64 allowed = EFER_LMA;  // read-only: what is written there is ignored
    if (has(cpu, F_SYSCALL)) allowed |= EFER_SCE;
    if (has(cpu, F_LM)) allowed |= EFER_LME;
    if (has(cpu, F_NX) && !(cpu.misc_enable >> 34 & 1)) allowed |= EFER_NXE;
    if (has(cpu, F_FFXSR)) allowed |= EFER_FFXSR;
    if (value & ~allowed) raise_gp(cpu);
    value = (value & ~u64(EFER_LMA)) | (cpu.efer & EFER_LMA);
    const u64 changed = value ^ cpu.efer;
    if ((changed & EFER_LME) && (cpu.cr0 & CR0_PG)) raise_gp(cpu);
    cpu.efer = value;
    if (changed & EFER_NXE) tlb_flush(cpu);
}

// CR4 came with the features that it switches; before the Pentium some 486s had a few of them.
static bool has_cr4(const Cpu &cpu) { return has(cpu, F_I586) || cr4_bits(cpu); }

// MOV to and from CRn always have 64 bits in 64-bit mode and 32 outside.
void x_mov_from_cr(Cpu &cpu, const Op &op) {
    u64 v;
    switch (op.r) {
    case 0: v = cpu.cr0; break;
    case 2: v = cpu.cr2; break;
    case 3: v = cpu.cr3; break;
    case 4:
        if (!has_cr4(cpu)) raise_ud(cpu);
        v = cpu.cr4;
        break;
    case 8: v = cpu.cr8; break;
    default: raise_ud(cpu);
    }
    need_cpl0(cpu);
    cpu.gpr[op.m] = in_64bit(cpu) ? v : u32(v);
}

void x_mov_to_cr(Cpu &cpu, const Op &op) {
    u64 v = in_64bit(cpu) ? cpu.gpr[op.m] : u32(cpu.gpr[op.m]);
    if (op.r != 0 && op.r != 2 && op.r != 3 && op.r != 8 && (op.r != 4 || !has_cr4(cpu))) raise_ud(cpu);
    need_cpl0(cpu);
    switch (op.r) {
    case 0: set_cr0(cpu, v); break;
    case 2: cpu.cr2 = v; break;
    case 3: set_cr3(cpu, v); break;
    case 4: set_cr4(cpu, v); break;
    default: set_cr8(cpu, v);
    }
}

void x_smsw(Cpu &cpu, const Op &op) {
    if ((cpu.cr4 & CR4_UMIP) && cpu.cpl) raise_gp(cpu);
    if (op.is_reg) set_reg_sized(cpu, op.m, cpu.cr0, op.width);
    else write_mem<u16>(cpu, op, u16(cpu.cr0));
}

void x_lmsw(Cpu &cpu, const Op &op) {
    need_cpl0(cpu);
    u64 v = read_rm<u16>(cpu, op) & 15;
    set_cr0(cpu, (cpu.cr0 & ~u64(CR0_MP | CR0_EM | CR0_TS)) | v);  // PE can be set, not cleared
}

void x_clts(Cpu &cpu, const Op &) {
    need_cpl0(cpu);
    if (!(cpu.cr0 & CR0_TS)) return;
    cpu.cr0 &= ~u64(CR0_TS);
    update_mode(cpu);
}

// ----------------------------------------------------------------------------------------------------- TLB and caches

void x_invlpg(Cpu &cpu, const Op &op) {
    need_cpl0(cpu);
    u64 lin = effective_address(cpu, op) + cpu.lin_base[op.seg];
    if (!in_64bit(cpu)) lin &= 0xffffffffu;
    else if (!canonical(cpu, lin)) return;
    tlb_flush_page(cpu, lin);
}

void x_invpcid(Cpu &cpu, const Op &op) {
    need_cpl0(cpu);
    u64 type = in_64bit(cpu) ? cpu.gpr[op.r] : u32(cpu.gpr[op.r]);
    u64 lin = operand_linear(cpu, op, 16, false);
    u64 low = read_lin<u64>(cpu, lin), address = read_lin<u64>(cpu, lin + 8);
    if (type > 3) raise_gp(cpu);
    if (low >> 12) raise_gp(cpu);
    if (type < 2 && !(cpu.cr4 & CR4_PCIDE) && low) raise_gp(cpu);
    if (type == 0 && !canonical(cpu, address)) raise_gp(cpu);
    if (type == 0) {
        if (low == (cpu.cr3 & 0xfff) || !(cpu.cr4 & CR4_PCIDE)) tlb_flush_page(cpu, address);
    } else {
        tlb_flush(cpu);
    }
}

// INVD and WBINVD: memory is always coherent here.
void x_wbinvd(Cpu &cpu, const Op &) { need_cpl0(cpu); }

// CLFLUSH and its kin have the faults of a load of one byte and no effect on coherent memory.
void x_clflush(Cpu &cpu, const Op &op) {
    u64 lin = operand_linear(cpu, op, 1, false);
    if (cpu.tlb[tlb_index(lin)].read != (lin & ~u64(0xfff))) translate(cpu, lin, ACCESS_READ, data_set(cpu));
}

void x_hint(Cpu &, const Op &) {}

// ------------------------------------------------------------------------------------------------------------- halting

void x_hlt(Cpu &cpu, const Op &) {
    need_cpl0(cpu);
    cpu.activity = Activity::HALTED;
    attention(cpu);
}

void x_monitor(Cpu &cpu, const Op &op) {
    if (cpu.cpl || !(cpu.misc_enable >> 18 & 1)) raise_ud(cpu);
    u64 address = cpu.gpr[RAX] & address_mask(op.adsize);
    if (u32(cpu.gpr[RCX])) raise_gp(cpu);
    u64 lin = checked_linear(cpu, op.seg, address, 1, false);
    cpu.monitor_address = translate(cpu, lin, ACCESS_READ, data_set(cpu));
    cpu.monitor_armed = 1;
}

// With several vCPUs taking turns the one that spins gives its turn away.
void x_pause(Cpu &cpu, const Op &) {
    if (!cpu.yields) return;
    cpu.exit_reason = RunExit::YIELD;
    attention(cpu);
}

// MWAIT may end at any time for reasons of the implementation.  Alone, only an interrupt can end the wait; with others, which
// may write to the monitored line, it ends at once (as a turn given away).
void x_mwait(Cpu &cpu, const Op &op) {
    if (cpu.cpl || !(cpu.misc_enable >> 18 & 1)) raise_ud(cpu);
    if (u32(cpu.gpr[RCX]) & ~u32(1)) raise_gp(cpu);
    if (!cpu.monitor_armed) return;
    cpu.monitor_armed = 0;
    if (cpu.memory->cpus.size() > 1) {
        x_pause(cpu, op);
        return;
    }
    cpu.activity = Activity::HALTED;
    attention(cpu);
}

// ------------------------------------------------------------------------------------------------------- time, counters

static void set_edx_eax(Cpu &cpu, u64 v) {
    cpu.gpr[RAX] = u32(v);
    cpu.gpr[RDX] = v >> 32;
}

void x_rdtsc(Cpu &cpu, const Op &) {
    if ((cpu.cr4 & CR4_TSD) && cpu.cpl) raise_gp(cpu);
    set_edx_eax(cpu, tsc_now(cpu));
}

void x_rdtscp(Cpu &cpu, const Op &) {
    if ((cpu.cr4 & CR4_TSD) && cpu.cpl) raise_gp(cpu);
    set_edx_eax(cpu, tsc_now(cpu));
    cpu.gpr[RCX] = u32(cpu.tsc_aux);
}

void x_rdpid(Cpu &cpu, const Op &op) { cpu.gpr[op.m] = in_64bit(cpu) ? cpu.tsc_aux : u32(cpu.tsc_aux); }

// No model has performance counters: every counter number is out of range.
void x_rdpmc(Cpu &cpu, const Op &) { raise_gp(cpu); }

// ------------------------------------------------------------------------------------------ extended control registers

void x_xgetbv(Cpu &cpu, const Op &) {
    if (!(cpu.cr4 & CR4_OSXSAVE)) raise_ud(cpu);
    u32 index = u32(cpu.gpr[RCX]);
    if (index != 0 && !(index == 1 && has(cpu, F_XGETBV1))) raise_gp(cpu);
    set_edx_eax(cpu, index ? cpu.xcr0 & xinuse(cpu) : cpu.xcr0);
}

void x_xsetbv(Cpu &cpu, const Op &) {
    if (!(cpu.cr4 & CR4_OSXSAVE)) raise_ud(cpu);
    need_cpl0(cpu);
    if (u32(cpu.gpr[RCX]) != 0) raise_gp(cpu);
    u64 v = cpu.gpr[RDX] << 32 | u32(cpu.gpr[RAX]);
    u64 allowed = 3 | (has(cpu, F_AVX) ? 4u : 0u);
    if (!(v & 1) || (v & ~allowed) || ((v & 4) && !(v & 2))) raise_gp(cpu);
    cpu.xcr0 = v;
    update_mode(cpu);
}
