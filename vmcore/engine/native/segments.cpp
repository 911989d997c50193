// Segment registers, descriptor tables, the processor's mode, reset.  SDM Vol. 3A chapters 3, 5 and 9; Vol. 2 per instruction.
#include "cpu.h"

// ---------------------------------------------------------------------------------------------------- descriptor tables

bool fetch_descriptor(Cpu &cpu, u16 selector, Descriptor *out) {
    u64 base = cpu.gdtr.base;
    u32 limit = cpu.gdtr.limit;
    if (selector & 4) {
        if (is_null(cpu.seg[LDTR].selector)) return false;
        base = cpu.seg[LDTR].base;
        limit = cpu.seg[LDTR].limit;
    }
    if (UNLIKELY((selector | 7u) > limit)) return false;
    out->lin = base + (selector & ~7u);
    if (!long_mode(cpu)) out->lin &= 0xffffffffu;
    out->raw = read_sys<u64>(cpu, out->lin);
    return true;
}

Descriptor need_descriptor(Cpu &cpu, u16 selector, u8 vector) {
    Descriptor d;
    if (UNLIKELY(!fetch_descriptor(cpu, selector, &d))) raise_fault(cpu, vector, selector_error(selector));
    return d;
}

u64 need_upper_half(Cpu &cpu, u16 selector, const Descriptor &low, u8 vector) {
    u32 limit = selector & 4 ? cpu.seg[LDTR].limit : cpu.gdtr.limit;
    if ((selector | 7u) + 8 > limit) raise_fault(cpu, vector, selector_error(selector));
    u64 upper = read_sys<u64>(cpu, low.lin + 8);
    if (upper >> 40 & 0x1f) raise_fault(cpu, vector, selector_error(selector));
    return upper;
}

void set_accessed(Cpu &cpu, Descriptor *d) {
    if (LIKELY(d->raw >> 40 & 1)) return;
    d->raw |= u64(1) << 40;
    write_sys<u8>(cpu, d->lin + 5, u8(d->raw >> 40));
}

// ------------------------------------------------------------------------------------------------------------- loads

Segment checked_stack(Cpu &cpu, u16 selector, u8 cpl, u8 vector) {
    if (is_null(selector)) raise_fault(cpu, vector, vector == EXC_TS ? selector_error(selector) : 0);
    Descriptor d = need_descriptor(cpu, selector, vector);
    if ((selector & 3) != cpl || !d.is_writable() || d.dpl() != cpl) raise_fault(cpu, vector, selector_error(selector));
    if (!d.present()) raise_fault(cpu, EXC_SS, selector_error(selector));
    set_accessed(cpu, &d);
    return segment_from(selector, d);
}

void load_segment(Cpu &cpu, SegIndex seg, u16 selector) {
    if (!protected_mode(cpu)) {
        cpu.seg[seg] = v86_mode(cpu) ? v86_segment(selector) : real_segment(cpu.seg[seg], selector);
        update_mode(cpu);
        return;
    }
    if (seg == SS) {
        if (is_null(selector) && in_64bit(cpu) && cpu.cpl != 3 && (selector & 3) == cpu.cpl) {
            cpu.seg[SS] = null_stack(cpu.cpl);
            cpu.seg[SS].selector = selector;
        } else {
            cpu.seg[SS] = checked_stack(cpu, selector, cpu.cpl, EXC_GP);
        }
        update_mode(cpu);
        return;
    }
    if (is_null(selector)) {
        // FS and GS keep a base of 0 like the others (Intel); software that wants another base writes the MSR afterwards.
        cpu.seg[seg] = null_segment(selector);
    } else {
        Descriptor d = need_descriptor(cpu, selector, EXC_GP);
        bool too_low = !d.is_conforming() && (d.dpl() < (selector & 3u) || d.dpl() < cpu.cpl);
        if (!d.is_readable() || too_low) raise_gp(cpu, selector_error(selector));
        if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
        set_accessed(cpu, &d);
        cpu.seg[seg] = segment_from(selector, d);
    }
    if (in_64bit(cpu)) {
        if (seg >= FS) cpu.lin_base[seg] = cpu.seg[seg].base;
    } else {
        update_mode(cpu);
    }
}

void drop_inner_segments(Cpu &cpu) {
    for (SegIndex i : {ES, DS, FS, GS}) {
        Segment &s = cpu.seg[i];
        if (s.attr & ATTR_NULL) continue;
        bool conforming = (s.attr & 0x1c) == 0x1c;  // S, code, conforming
        if (!conforming && s.dpl() < cpu.cpl) s = null_segment(0);
    }
}

// -------------------------------------------------------------------------------------------------------------- mode

void update_mode(Cpu &cpu) {
    const Segment *s = cpu.seg;
    u32 m = 0;
    if (cpu.cr0 & CR0_PE) m |= cpu.flags & FL_VM ? MODE_V86 : MODE_PROT;
    if (cpu.efer & EFER_LMA) m |= MODE_LONG;
    if ((cpu.efer & EFER_LMA) && (s[CS].attr & ATTR_L)) {
        m |= MODE_64 | MODE_FLAT | MODE_CSFLAT;
        for (unsigned i = ES; i <= DS; i++) cpu.lin_base[i] = 0;
        cpu.lin_base[FS] = s[FS].base;
        cpu.lin_base[GS] = s[GS].base;
    } else {
        if (s[CS].attr & ATTR_DB) m |= MODE_32;
        if (s[SS].attr & ATTR_DB) m |= MODE_SS32;
        for (unsigned i = ES; i <= GS; i++) cpu.lin_base[i] = s[i].base;
        if (s[CS].base == 0 && s[CS].limit == 0xffffffffu) m |= MODE_CSFLAT;
        // Flat: expand-up, present, writable data with base 0 and 4 GiB, or (CS) readable code.
        auto flat = [&](const Segment &g, u32 mask, u32 want) {
            return g.base == 0 && g.limit == 0xffffffffu && (g.attr & mask) == want;
        };
        constexpr u32 kData = ATTR_NULL | ATTR_P | ATTR_S | 0xe, kCode = ATTR_NULL | ATTR_P | ATTR_S | 0xa;
        constexpr u32 kWritable = ATTR_P | ATTR_S | 2, kReadable = ATTR_P | ATTR_S | 0xa;
        bool cs = flat(s[CS], kCode, kReadable) || flat(s[CS], kData, kWritable);
        if (cs && flat(s[ES], kData, kWritable) && flat(s[SS], kData, kWritable) && flat(s[DS], kData, kWritable)) m |= MODE_FLAT;
    }
    if (cpu.cr0 & (CR0_EM | CR0_TS)) m |= MODE_NOX87 | MODE_NOMMX | MODE_NOSSE;
    if (!(cpu.cr4 & CR4_OSFXSR)) m |= MODE_NOSSE;
    cpu.mode = m;
    update_rights(cpu);
}

void reset_cpu(Cpu &cpu, bool init) {
    std::memset(cpu.gpr, 0, sizeof cpu.gpr);
    cpu.gpr[RDX] = 0x600;  // family 6, unless the table says
    for (u32 i = 0; i < cpu.cpuid_count; i++)
        if (cpu.cpuid[i].leaf == 1) cpu.gpr[RDX] = cpu.cpuid[i].eax;
    cpu.rip = 0xfff0;
    cpu.next = 0xfff0;
    set_eflags(cpu, FL_1);
    for (Segment &s : cpu.seg) s = {0, 0xffff, 0x93, 0};
    cpu.seg[CS] = {0xffff0000u, 0xffff, 0x93, 0xf000};
    cpu.seg[LDTR] = {0, 0xffff, ATTR_P | TYPE_LDT, 0};
    cpu.seg[TR] = {0, 0xffff, ATTR_P | TYPE_TSS32_BUSY, 0};
    cpu.gdtr = {0, 0xffff};
    cpu.idtr = {0, 0xffff};
    cpu.cpl = 0;
    cpu.cr0 = init ? (cpu.cr0 & (CR0_CD | CR0_NW)) | CR0_ET : CR0_CD | CR0_NW | CR0_ET;
    cpu.cr2 = cpu.cr3 = cpu.cr4 = cpu.cr8 = cpu.efer = 0;
    std::memset(cpu.pdpte, 0, sizeof cpu.pdpte);
    std::memset(cpu.dr, 0, sizeof cpu.dr);
    set_dr6(cpu, 0);
    set_dr7(cpu, 0);
    cpu.dr6_pending = 0;
    cpu.shadow = 0;
    cpu.nmi_blocked = 0;
    cpu.in_delivery = cpu.delivery_vector = cpu.delivery_ext = 0;
    cpu.monitor_armed = 0;
    cpu.star = cpu.lstar = cpu.cstar = cpu.fmask = cpu.kernel_gs_base = cpu.tsc_aux = 0;
    cpu.sysenter_cs = cpu.sysenter_esp = cpu.sysenter_eip = 0;
    if (init) {
        cpu.pending.fetch_and(~u32(PEND_INIT | PEND_DEBUG));
    } else {
        cpu.pending.fetch_and(~u32(PEND_INIT | PEND_DEBUG | PEND_NMI | PEND_SMI | PEND_MCE));
        std::memset(cpu.vec, 0, sizeof cpu.vec);
        reset_fpu(cpu);
        cpu.xcr0 = 1;
        cpu.pat = 0x0007040600070406u;
        cpu.apic_base = 0xfee00000u | (has(cpu, F_APIC) ? 1u << 11 : 0) | (cpu.index == 0 ? 1u << 8 : 0);
        cpu.misc_enable = 1 | (has(cpu, F_MONITOR) ? 1u << 18 : 0);
        cpu.feature_control = 1;  // locked: nothing that it would enable exists
        cpu.debugctl = cpu.syscfg = cpu.top_mem = cpu.top_mem2 = 0;
        cpu.hwcr = u64(1) << 24;  // the TSC counts at the frequency of P0
        cpu.tsc_deadline = cpu.tsc_adjust = 0;
        cpu.tsc_offset = 0;
        cpu.tsc_offset = 0 - tsc_now(cpu);
        cpu.mtrr_def = 0;
        std::memset(cpu.mtrr_fixed, 0, sizeof cpu.mtrr_fixed);
        std::memset(cpu.mtrr_base, 0, sizeof cpu.mtrr_base);
        std::memset(cpu.mtrr_mask, 0, sizeof cpu.mtrr_mask);
        // Ten banks, MCG_CTL present, software error recovery (as on a Nehalem and later); families before 6 have none.
        bool banks = has(cpu, F_MCE) && has(cpu, F_MCA) && (cpu.gpr[RDX] >> 8 & 15) >= 6;
        cpu.mcg_cap = banks ? 0x0100010a : 0;
        cpu.mcg_status = 0;
        cpu.mcg_ctl = banks ? ~u64(0) : 0;
        for (unsigned i = 0; i < 32; i++) {
            cpu.mc_bank[4 * i] = banks && i < 10 ? ~u64(0) : 0;
            cpu.mc_bank[4 * i + 1] = cpu.mc_bank[4 * i + 2] = cpu.mc_bank[4 * i + 3] = 0;
        }
    }
    cpu.activity = cpu.apic_base & (1 << 8) ? Activity::ACTIVE : Activity::WAIT_SIPI;
    update_mode(cpu);
    if (!init) cpu.filled_count = ~u32(0);  // a new vCPU: the tags are not valid yet, all of them are to be flushed
    tlb_flush(cpu);
    attention(cpu);
}

void start_at_sipi(Cpu &cpu, u8 vector) {
    if (cpu.activity != Activity::WAIT_SIPI) return;
    cpu.seg[CS] = {u64(vector) << 12, 0xffff, 0x93, u16(vector << 8)};
    cpu.rip = cpu.next = 0;
    cpu.activity = Activity::ACTIVE;
    update_mode(cpu);
    attention(cpu);
}

// ------------------------------------------------------------------------------------------------ MOV, PUSH, POP, LxS

namespace {

SegIndex sreg_of(Cpu &cpu, u8 r) {
    unsigned index = r & 7;
    if (index > GS) raise_ud(cpu);
    return SegIndex(index);
}

void push_sreg(Cpu &cpu, const Op &op, SegIndex seg) {
    u16 selector = cpu.seg[seg].selector;
    if (op.width == 3) {
        push<u64>(cpu, selector);
    } else if (op.width == 1) {
        push<u16>(cpu, selector);
    } else {
        push<u32>(cpu, selector);  // zero-extended; some processors leave the upper half of the slot alone (SDM Vol. 2, PUSH)
    }
}

void pop_sreg(Cpu &cpu, const Op &op, SegIndex seg) {
    unsigned size = 1u << op.width;
    u16 selector = peek<u16>(cpu);
    u64 mask = stack_mask(cpu), sp = cpu.gpr[RSP] + size;
    load_segment(cpu, seg, selector);
    // By the stack size from before: POP SS changes it.
    cpu.gpr[RSP] = mask == 0xffff ? (cpu.gpr[RSP] & ~mask) | (sp & mask) : sp & mask;
    if (seg == SS) cpu.shadow = 2;
}

void load_far_pointer(Cpu &cpu, const Op &op, SegIndex seg) {
    unsigned size = 1u << op.width;
    u64 lin = operand_linear(cpu, op, size + 2, false);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, size);
    u64 offset = op.width == 1 ? read_lin<u16>(cpu, lin) : op.width == 2 ? read_lin<u32>(cpu, lin) : read_lin<u64>(cpu, lin);
    u16 selector = read_lin<u16>(cpu, lin + size);
    load_segment(cpu, seg, selector);
    set_reg_sized(cpu, op.r, offset, op.width);
}

}  // namespace

void x_push_es(Cpu &cpu, const Op &op) { push_sreg(cpu, op, ES); }
void x_push_cs(Cpu &cpu, const Op &op) { push_sreg(cpu, op, CS); }
void x_push_ss(Cpu &cpu, const Op &op) { push_sreg(cpu, op, SS); }
void x_push_ds(Cpu &cpu, const Op &op) { push_sreg(cpu, op, DS); }
void x_push_fs(Cpu &cpu, const Op &op) { push_sreg(cpu, op, FS); }
void x_push_gs(Cpu &cpu, const Op &op) { push_sreg(cpu, op, GS); }
void x_pop_es(Cpu &cpu, const Op &op) { pop_sreg(cpu, op, ES); }
void x_pop_ss(Cpu &cpu, const Op &op) { pop_sreg(cpu, op, SS); }
void x_pop_ds(Cpu &cpu, const Op &op) { pop_sreg(cpu, op, DS); }
void x_pop_fs(Cpu &cpu, const Op &op) { pop_sreg(cpu, op, FS); }
void x_pop_gs(Cpu &cpu, const Op &op) { pop_sreg(cpu, op, GS); }
void x_les(Cpu &cpu, const Op &op) { load_far_pointer(cpu, op, ES); }
void x_lds(Cpu &cpu, const Op &op) { load_far_pointer(cpu, op, DS); }
void x_lss(Cpu &cpu, const Op &op) { load_far_pointer(cpu, op, SS); }
void x_lfs(Cpu &cpu, const Op &op) { load_far_pointer(cpu, op, FS); }
void x_lgs(Cpu &cpu, const Op &op) { load_far_pointer(cpu, op, GS); }

void x_mov_from_sreg(Cpu &cpu, const Op &op) {
    u16 selector = cpu.seg[sreg_of(cpu, op.r)].selector;
    if (op.is_reg) set_reg_sized(cpu, op.m, selector, op.width);  // zero-extended (P6 and later)
    else write_mem<u16>(cpu, op, selector);
}

void x_mov_to_sreg(Cpu &cpu, const Op &op) {
    SegIndex seg = sreg_of(cpu, op.r);
    if (seg == CS) raise_ud(cpu);
    load_segment(cpu, seg, read_rm<u16>(cpu, op));
    if (seg == SS) cpu.shadow = 2;
}

// ----------------------------------------------------------------------------------------------------- FS and GS base

void x_swapgs(Cpu &cpu, const Op &) {
    need_cpl0(cpu);
    u64 base = cpu.seg[GS].base;
    cpu.seg[GS].base = cpu.lin_base[GS] = cpu.kernel_gs_base;
    cpu.kernel_gs_base = base;
}

namespace {
void read_base(Cpu &cpu, const Op &op, SegIndex seg) {
    if (!(cpu.cr4 & CR4_FSGSBASE)) raise_ud(cpu);
    set_reg_sized(cpu, op.m, cpu.seg[seg].base, op.width);
}
void write_base(Cpu &cpu, const Op &op, SegIndex seg) {
    if (!(cpu.cr4 & CR4_FSGSBASE)) raise_ud(cpu);
    u64 base = reg_sized(cpu, op.m, op.width);
    if (!canonical(cpu, base)) raise_gp(cpu);
    cpu.seg[seg].base = cpu.lin_base[seg] = base;
}
}  // namespace

void x_rdfsbase(Cpu &cpu, const Op &op) { read_base(cpu, op, FS); }
void x_rdgsbase(Cpu &cpu, const Op &op) { read_base(cpu, op, GS); }
void x_wrfsbase(Cpu &cpu, const Op &op) { write_base(cpu, op, FS); }
void x_wrgsbase(Cpu &cpu, const Op &op) { write_base(cpu, op, GS); }

// -------------------------------------------------------------------------------------------- descriptor-table registers

namespace {

void check_umip(Cpu &cpu) {
    if ((cpu.cr4 & CR4_UMIP) && cpu.cpl) raise_gp(cpu);
}

void store_selector(Cpu &cpu, const Op &op, u16 selector) {
    check_umip(cpu);
    if (op.is_reg) set_reg_sized(cpu, op.m, selector, op.width);
    else write_mem<u16>(cpu, op, selector);
}

void store_table(Cpu &cpu, const Op &op, const TableRegister &table) {
    check_umip(cpu);
    bool wide = in_64bit(cpu);
    u64 lin = operand_linear(cpu, op, wide ? 10 : 6, true);
    probe_write(cpu, lin, wide ? 10 : 6, data_set(cpu));
    write_lin<u16>(cpu, lin, u16(table.limit));
    if (wide) write_lin<u64>(cpu, lin + 2, table.base);
    else write_lin<u32>(cpu, lin + 2, op.width == 1 ? u32(table.base) & 0xffffff : u32(table.base));
}

void load_table(Cpu &cpu, const Op &op, TableRegister *table) {
    need_cpl0(cpu);
    bool wide = in_64bit(cpu);
    u64 lin = operand_linear(cpu, op, wide ? 10 : 6, false);
    u16 limit = read_lin<u16>(cpu, lin);
    u64 base = wide ? read_lin<u64>(cpu, lin + 2) : read_lin<u32>(cpu, lin + 2);
    if (wide && !canonical(cpu, base)) raise_gp(cpu);
    if (!wide && op.width == 1) base &= 0xffffff;
    *table = {base, limit};
}

// A system segment for LLDT and LTR with its 64-bit base.
Segment system_segment(Cpu &cpu, u16 selector, const Descriptor &d) {
    Segment s = segment_from(selector, d);
    if (long_mode(cpu)) {
        u64 upper = need_upper_half(cpu, selector, d, EXC_GP);
        s.base |= upper << 32;
        if (!canonical(cpu, s.base)) raise_gp(cpu, selector_error(selector));
    }
    return s;
}

}  // namespace

void x_sldt(Cpu &cpu, const Op &op) { store_selector(cpu, op, cpu.seg[LDTR].selector); }
void x_str(Cpu &cpu, const Op &op) { store_selector(cpu, op, cpu.seg[TR].selector); }
void x_sgdt(Cpu &cpu, const Op &op) { store_table(cpu, op, cpu.gdtr); }
void x_sidt(Cpu &cpu, const Op &op) { store_table(cpu, op, cpu.idtr); }
void x_lgdt(Cpu &cpu, const Op &op) { load_table(cpu, op, &cpu.gdtr); }
void x_lidt(Cpu &cpu, const Op &op) { load_table(cpu, op, &cpu.idtr); }

void x_lldt(Cpu &cpu, const Op &op) {
    need_cpl0(cpu);
    u16 selector = read_rm<u16>(cpu, op);
    if (is_null(selector)) {
        cpu.seg[LDTR] = null_segment(selector);
        return;
    }
    if (selector & 4) raise_gp(cpu, selector_error(selector));
    Descriptor d = need_descriptor(cpu, selector, EXC_GP);
    if (d.is_segment() || d.type() != TYPE_LDT) raise_gp(cpu, selector_error(selector));
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    cpu.seg[LDTR] = system_segment(cpu, selector, d);
}

void x_ltr(Cpu &cpu, const Op &op) {
    need_cpl0(cpu);
    u16 selector = read_rm<u16>(cpu, op);
    if (is_null(selector)) raise_gp(cpu);
    if (selector & 4) raise_gp(cpu, selector_error(selector));
    Descriptor d = need_descriptor(cpu, selector, EXC_GP);
    bool available = !d.is_segment() && (d.type() == TYPE_TSS32 || (d.type() == TYPE_TSS16 && !long_mode(cpu)));
    if (!available) raise_gp(cpu, selector_error(selector));
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    Segment s = system_segment(cpu, selector, d);
    write_sys<u8>(cpu, d.lin + 5, u8(d.raw >> 40) | 2);
    s.attr |= 2;  // busy
    cpu.seg[TR] = s;
}

// ------------------------------------------------------------------------------------------- looking at descriptors

namespace {

// Descriptor of a selector that may be looked at from here (LAR, LSL, VERR, VERW); false otherwise.
bool visible(Cpu &cpu, u16 selector, Descriptor *d) {
    if (is_null(selector) || !fetch_descriptor(cpu, selector, d)) return false;
    if (d->is_conforming()) return true;
    return d->dpl() >= cpu.cpl && d->dpl() >= (selector & 3u);
}

void set_zf(Cpu &cpu, bool zf) {
    u32 f = arith_flags(cpu);
    set_arith_flags(cpu, zf ? f | FL_ZF : f & ~u32(FL_ZF));
}

}  // namespace

void x_lar(Cpu &cpu, const Op &op) {
    u16 selector = read_rm<u16>(cpu, op);
    Descriptor d;
    bool ok = visible(cpu, selector, &d);
    if (ok && !d.is_segment()) {
        // TSSs, LDT, call gates and task gates; of the 16-bit kinds none in long mode.
        u32 types = long_mode(cpu) ? 1 << TYPE_LDT | 1 << TYPE_TSS32 | 1 << TYPE_TSS32_BUSY | 1 << TYPE_CALL32
                                   : 1 << TYPE_TSS16 | 1 << TYPE_LDT | 1 << TYPE_TSS16_BUSY | 1 << TYPE_CALL16 | 1 << TYPE_TASK_GATE |
                                         1 << TYPE_TSS32 | 1 << TYPE_TSS32_BUSY | 1 << TYPE_CALL32;
        ok = types >> d.type() & 1;
    }
    set_zf(cpu, ok);
    if (ok) set_reg_sized(cpu, op.r, (d.raw >> 32) & (op.width == 1 ? 0xff00 : 0x00f0ff00), op.width);
}

void x_lsl(Cpu &cpu, const Op &op) {
    u16 selector = read_rm<u16>(cpu, op);
    Descriptor d;
    bool ok = visible(cpu, selector, &d);
    if (ok && !d.is_segment()) {
        u32 types = long_mode(cpu) ? 1 << TYPE_LDT | 1 << TYPE_TSS32 | 1 << TYPE_TSS32_BUSY
                                   : 1 << TYPE_TSS16 | 1 << TYPE_LDT | 1 << TYPE_TSS16_BUSY | 1 << TYPE_TSS32 | 1 << TYPE_TSS32_BUSY;
        ok = types >> d.type() & 1;
    }
    set_zf(cpu, ok);
    if (ok) set_reg_sized(cpu, op.r, d.limit(), op.width);
}

void x_verr(Cpu &cpu, const Op &op) {
    Descriptor d;
    set_zf(cpu, visible(cpu, read_rm<u16>(cpu, op), &d) && d.is_readable());
}

void x_verw(Cpu &cpu, const Op &op) {
    Descriptor d;
    set_zf(cpu, visible(cpu, read_rm<u16>(cpu, op), &d) && d.is_writable());
}

void x_arpl(Cpu &cpu, const Op &op) {
    u64 lin = 0;
    u16 rpl = u16(cpu.gpr[op.r]) & 3;
    // Memory is written only where the selector changes: a page that cannot be written matters only then.
    u16 selector;
    if (op.is_reg) {
        selector = reg<u16>(cpu, op.m);
    } else {
        lin = operand_linear(cpu, op, 2, false);
        if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, 2);
        selector = read_lin<u16>(cpu, lin);
    }
    bool adjust = (selector & 3) < rpl;
    if (adjust) {
        u16 v = u16((selector & ~3) | rpl);
        if (op.is_reg) set_reg<u16>(cpu, op.m, v);
        else write_lin<u16>(cpu, operand_linear(cpu, op, 2, true), v);
    }
    set_zf(cpu, adjust);
}
