// Delivery of exceptions and interrupts.  SDM Vol. 3A chapters 6 and 20 (virtual-8086 mode), Vol. 2 INT n.
#include "cpu.h"

u64 Stack::linear(u64 offset, unsigned size, bool) const {
    if (wide) {
        if (UNLIKELY(!canonical(cpu, offset) || !canonical(cpu, offset + size - 1))) raise_fault(cpu, EXC_SS, error);
    } else {
        u64 last = offset + size - 1;
        if ((ss.attr & 0xc) == 4) {  // expand-down
            if (offset <= ss.limit || last > mask()) raise_fault(cpu, EXC_SS, error);
        } else if (last > ss.limit && ss.limit != 0xffffffffu) {
            raise_fault(cpu, EXC_SS, error);
        }
        offset = (ss.base + offset) & 0xffffffffu;
    }
    if (UNLIKELY(cpu.mode & MODE_AC) && set == TLB_USER) check_alignment(cpu, offset, size);
    return offset;
}

Stack inner_stack(Cpu &cpu, u8 new_cpl) {
    const Segment &tr = cpu.seg[TR];
    bool wide = tr.attr & 8;
    u32 at = wide ? 4 + 8 * new_cpl : 2 + 4 * new_cpl;
    if (at + (wide ? 5 : 3) > tr.limit) raise_fault(cpu, EXC_TS, selector_error(tr.selector));
    u64 lin = tr.base + at;
    u32 sp = wide ? read_sys<u32>(cpu, lin) : read_sys<u16>(cpu, lin);
    u16 selector = read_sys<u16>(cpu, lin + (wide ? 4 : 2));
    Segment ss = checked_stack(cpu, selector, new_cpl, EXC_TS);
    Stack s{cpu, ss, sp, false, set_for(cpu, new_cpl), selector_error(selector)};
    s.sp &= s.mask();
    return s;
}

u64 inner_rsp(Cpu &cpu, u8 new_cpl, unsigned ist) {
    const Segment &tr = cpu.seg[TR];
    u32 at = ist ? 28 + 8 * ist : 4 + 8 * new_cpl;
    if (UNLIKELY(at + 7 > tr.limit)) raise_fault(cpu, EXC_TS, selector_error(tr.selector));
    return read_sys<u64>(cpu, tr.base + at);
}

namespace {

struct Event {
    u8 vector;
    bool software;   // INT n, INT3, INTO: the gate's DPL is checked
    bool has_error;
    bool resume;     // faults: RF is set in the pushed flags, so that an instruction breakpoint does not hit twice
    u32 error;
    u64 rip;         // to return to
};

// Flags after the delivery; the lazily kept arithmetic flags stay what they are.
void enter_handler(Cpu &cpu, bool clear_if, u32 also) {
    cpu.flags &= ~(FL_TF | FL_NT | FL_RF | FL_VM | also | (clear_if ? u32(FL_IF) : 0));
    cpu.shadow = 0;
}

void deliver_real(Cpu &cpu, const Event &e) {
    u32 at = e.vector * 4u;
    if (at + 3 > cpu.idtr.limit) raise_gp(cpu);
    u32 entry = read_sys<u32>(cpu, cpu.idtr.base + at);
    u16 ip = u16(entry), cs = u16(entry >> 16);
    Stack s = current_stack(cpu);
    s.push<u16>(u16(get_eflags(cpu)));
    s.push<u16>(cpu.seg[CS].selector);
    s.push<u16>(u16(e.rip));
    if (ip > cpu.seg[CS].limit) raise_gp(cpu);
    s.commit_sp();
    cpu.seg[CS] = real_segment(cpu.seg[CS], cs);
    cpu.next = ip;
    enter_handler(cpu, true, FL_AC);
    update_mode(cpu);
}

// 64-bit gates (SDM Vol. 3A 6.14): the way that matters for speed.
void deliver_long(Cpu &cpu, const Event &e) {
    const u32 at = e.vector * 16u, gate_error = e.vector * 8u + 2;
    if (UNLIKELY(at + 15 > cpu.idtr.limit)) raise_gp(cpu, gate_error);
    const u64 low = read_sys<u64>(cpu, cpu.idtr.base + at), high = read_sys<u64>(cpu, cpu.idtr.base + at + 8);
    const unsigned type = low >> 40 & 0x1f;
    if (UNLIKELY((type | 1) != TYPE_TRAP32)) raise_gp(cpu, gate_error);
    if (UNLIKELY(e.software && (low >> 45 & 3) < cpu.cpl)) raise_gp(cpu, gate_error);
    if (UNLIKELY(!(low >> 47 & 1))) raise_fault(cpu, EXC_NP, gate_error);
    const u16 selector = u16(low >> 16);
    if (UNLIKELY(is_null(selector))) raise_gp(cpu);
    Descriptor d = need_descriptor(cpu, selector, EXC_GP);
    if (UNLIKELY(!d.is_code() || d.dpl() > cpu.cpl)) raise_gp(cpu, selector_error(selector));
    if (UNLIKELY(!d.present())) raise_fault(cpu, EXC_NP, selector_error(selector));
    if (UNLIKELY((d.attr() & (ATTR_L | ATTR_DB)) != ATTR_L)) raise_gp(cpu, selector_error(selector));
    const u64 target = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32;
    if (UNLIKELY(!canonical(cpu, target))) raise_gp(cpu);
    const u8 new_cpl = d.is_conforming() ? cpu.cpl : u8(d.dpl());
    const unsigned ist = low >> 32 & 7;
    u64 rsp = cpu.gpr[RSP];
    if (ist || new_cpl < cpu.cpl) rsp = inner_rsp(cpu, new_cpl, ist);
    rsp &= ~u64(15);

    const unsigned size = e.has_error ? 48 : 40;
    const u64 bottom = rsp - size;
    const TlbSet set = set_for(cpu, new_cpl);
    u64 frame[6];
    u64 *p = frame;
    if (e.has_error) *p++ = e.error;
    p[0] = e.rip;
    p[1] = cpu.seg[CS].selector;
    p[2] = get_eflags(cpu) | (e.resume ? u32(FL_RF) : 0);
    p[3] = cpu.gpr[RSP];
    p[4] = cpu.seg[SS].selector;
    const TlbEntry &t = cpu.tlbs[set][tlb_index(bottom)];
    if (LIKELY((bottom & ~u64(0xfff)) == t.write && ((rsp - 1) & ~u64(0xfff)) == t.write)) {
        u8 *host = reinterpret_cast<u8 *>(std::uintptr_t(bottom + t.addend));
        std::memcpy(host, frame, 40);
        if (e.has_error) store_host<u64>(host + 40, frame[5]);
    } else {
        if (!canonical(cpu, bottom) || !canonical(cpu, rsp - 1)) raise_fault(cpu, EXC_SS, 0);
        for (int i = int(size / 8) - 1; i >= 0; i--) write_lin<u64>(cpu, bottom + 8u * unsigned(i), frame[i], set);
    }
    set_accessed(cpu, &d);
    cpu.gpr[RSP] = bottom;
    cpu.seg[CS] = segment_from(u16((selector & ~3) | new_cpl), d);
    if (new_cpl != cpu.cpl) {
        cpu.seg[SS] = null_stack(new_cpl);
        cpu.cpl = new_cpl;
    }
    cpu.next = target;
    enter_handler(cpu, !(type & 1), 0);
    if (LIKELY(in_64bit(cpu))) update_rights(cpu);
    else update_mode(cpu);
}

void deliver_protected(Cpu &cpu, const Event &e) {
    const u32 at = e.vector * 8u, gate_error = at + 2;
    if (at + 7 > cpu.idtr.limit) raise_gp(cpu, gate_error);
    const u64 gate = read_sys<u64>(cpu, cpu.idtr.base + at);
    const unsigned type = gate >> 40 & 0x1f;
    if (type != TYPE_TASK_GATE && (type & ~9u) != TYPE_INT16) raise_gp(cpu, gate_error);
    if (e.software && (gate >> 45 & 3) < cpu.cpl) raise_gp(cpu, gate_error);
    if (!(gate >> 47 & 1)) raise_fault(cpu, EXC_NP, gate_error);
    const u16 selector = u16(gate >> 16);
    if (type == TYPE_TASK_GATE) {
        Descriptor d = task_gate_target(cpu, selector);
        if (e.resume) cpu.flags |= FL_RF;
        switch_task(cpu, selector, d, TaskSwitch::CALL, e.rip);
        if (e.has_error) {
            // On the stack of the new task; a fault there is the new task's.
            Stack s = current_stack(cpu);
            s.push_sized(e.error, d.type() & 8 ? 2 : 1);
            s.commit_sp();
        }
        cpu.shadow = 0;
        return;
    }
    if (is_null(selector)) raise_gp(cpu);
    Descriptor d = need_descriptor(cpu, selector, EXC_GP);
    if (!d.is_code() || d.dpl() > cpu.cpl) raise_gp(cpu, selector_error(selector));
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    const u8 new_cpl = d.is_conforming() ? cpu.cpl : u8(d.dpl());
    const bool v86 = v86_mode(cpu);
    if (v86 && new_cpl) raise_gp(cpu, selector_error(selector));
    const unsigned width = type & 8 ? 2 : 1;
    const u32 target = u32(gate & 0xffff) | (width == 2 ? u32(gate >> 32) & 0xffff0000u : 0);
    const bool inner = new_cpl < cpu.cpl;
    Stack s = inner ? inner_stack(cpu, new_cpl) : current_stack(cpu);
    if (v86)
        for (SegIndex i : {GS, FS, DS, ES}) s.push_sized(cpu.seg[i].selector, width);
    if (inner) {
        s.push_sized(cpu.seg[SS].selector, width);
        s.push_sized(cpu.gpr[RSP], width);
    }
    s.push_sized(get_eflags(cpu) | (e.resume ? u32(FL_RF) : 0), width);
    s.push_sized(cpu.seg[CS].selector, width);
    s.push_sized(e.rip, width);
    if (e.has_error) s.push_sized(e.error, width);
    if (target > d.limit()) raise_gp(cpu);
    set_accessed(cpu, &d);

    if (inner) cpu.seg[SS] = s.ss;
    s.commit_sp();
    cpu.seg[CS] = segment_from(u16((selector & ~3) | new_cpl), d);
    cpu.cpl = new_cpl;
    if (v86)
        for (SegIndex i : {GS, FS, DS, ES}) cpu.seg[i] = null_segment(0);
    cpu.next = target;
    enter_handler(cpu, !(type & 1), 0);
    update_mode(cpu);
}

// One attempt; raises what goes wrong on the way.
void deliver(Cpu &cpu, const Event &e) {
    if (cpu.efer & EFER_LMA) deliver_long(cpu, e);
    else if (cpu.cr0 & CR0_PE) deliver_protected(cpu, e);
    else deliver_real(cpu, e);
}

bool contributory(u8 vector) { return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP); }

bool makes_double_fault(u8 first, u8 second) {  // SDM Vol. 3A table 6-5
    if (contributory(first)) return contributory(second);
    if (first == EXC_PF) return contributory(second) || second == EXC_PF;
    return false;
}

// Delivers, and what goes wrong on the way instead: serially, as a double fault, or by shutting down.
void deliver_all(Cpu &cpu, Event e) {
    bool event_is_exception = e.resume || e.has_error;  // NMI, INTR, traps and #MC are benign
    if (cpu.activity != Activity::ACTIVE) cpu.activity = Activity::ACTIVE;
    cpu.in_delivery = 1;
    cpu.delivery_vector = e.vector;
    cpu.delivery_ext = 1;
    // #AC within #AC is no double fault: it is delivered in turn, and again (a processor never leaves that, not even for an NMI).
    constexpr unsigned kHopeless = 64;
    for (unsigned nested = 0;; nested++) {
        try {
            deliver(cpu, e);
            break;
        } catch (const GuestFault &f) {
            if (f.vector == EXC_PF) cpu.cr2 = f.address;
            u8 first = event_is_exception ? e.vector : u8(EXC_NMI);
            if (first == EXC_DF || nested == kHopeless) {
                cpu.activity = first == EXC_DF ? Activity::SHUTDOWN : Activity::STUCK;
                cpu.in_delivery = cpu.delivery_ext = 0;
                attention(cpu);
                return;
            }
            bool selector_code = f.vector >= EXC_TS && f.vector <= EXC_GP;
            if (makes_double_fault(first, f.vector)) e = {EXC_DF, false, true, false, 0, cpu.rip};
            else e = {f.vector, false, f.has_error, true, selector_code ? f.error | 1 : f.error, cpu.rip};
            event_is_exception = true;
            cpu.delivery_vector = e.vector;
        }
    }
    cpu.in_delivery = cpu.delivery_ext = 0;
    cpu.rip = cpu.next;
}

// INT n in virtual-8086 mode with VME: through the task's own vector table where the TSS' redirection bitmap says so
// (SDM Vol. 3A 20.3.3).  Returns false if the interrupt goes the protected-mode way.
bool redirect_v86(Cpu &cpu, u8 vector) {
    const Segment &tr = cpu.seg[TR];
    if (!(tr.attr & 8) || tr.limit < 0x67) raise_gp(cpu);
    u32 map = read_sys<u16>(cpu, tr.base + 0x66);
    u32 at = map - 32 + vector / 8;
    if (map < 32 || at > tr.limit) raise_gp(cpu);
    if (read_sys<u8>(cpu, tr.base + at) >> (vector & 7) & 1) return false;
    bool direct = iopl(cpu) == 3;
    u32 image = get_eflags(cpu);
    if (!direct) image = (image & ~u32(FL_IF)) | FL_IOPL | (image & FL_VIF ? u32(FL_IF) : 0);
    u32 entry = read_lin<u32>(cpu, vector * 4u, TLB_USER);
    Stack s = current_stack(cpu);
    s.push<u16>(u16(image));
    s.push<u16>(cpu.seg[CS].selector);
    s.push<u16>(u16(cpu.next));
    s.commit_sp();
    cpu.seg[CS] = v86_segment(u16(entry >> 16));
    cpu.next = u16(entry);
    cpu.flags &= ~(FL_TF | FL_RF | FL_NT | u32(direct ? FL_IF : FL_VIF));
    update_mode(cpu);
    return true;
}

}  // namespace

void deliver_fault(Cpu &cpu, const GuestFault &fault) {
    cpu.stats.exceptions++;
    if (fault.vector == EXC_PF) cpu.cr2 = fault.address;
    if (UNLIKELY(fault.vector == EXC_DB)) {
        u32 bits = cpu.dr6_pending;
        cpu.dr6_pending = 0;
        cpu.pending.fetch_and(~u32(PEND_DEBUG));
        set_dr6(cpu, (cpu.dr[6] & ~u64(15)) | bits);
        set_dr7(cpu, cpu.dr[7] & ~u64(DR7_GD));
    }
    bool resume = fault.vector != EXC_DB && fault.vector != EXC_DF;
    deliver_all(cpu, {fault.vector, false, fault.has_error, resume, fault.error, cpu.rip});
}

void deliver_external(Cpu &cpu, u8 vector) {
    cpu.stats.interrupts++;
    deliver_all(cpu, {vector, false, false, false, 0, cpu.rip});
}

void deliver_nmi(Cpu &cpu) {
    cpu.stats.interrupts++;
    cpu.pending.fetch_and(~u32(PEND_NMI));
    cpu.nmi_blocked = 1;
    deliver_all(cpu, {EXC_NMI, false, false, false, 0, cpu.rip});
}

void deliver_debug_trap(Cpu &cpu, u32 dr6_bits) {
    cpu.stats.exceptions++;
    dr6_bits |= cpu.dr6_pending;
    cpu.dr6_pending = 0;
    cpu.pending.fetch_and(~u32(PEND_DEBUG));
    set_dr6(cpu, (cpu.dr[6] & ~u64(15)) | dr6_bits);
    if (cpu.dr[7] & DR7_GD) set_dr7(cpu, cpu.dr[7] & ~u64(DR7_GD));
    deliver_all(cpu, {EXC_DB, false, false, false, 0, cpu.rip});
}

// ------------------------------------------------------------------------------- machine check (SDM Vol. 3B chapter 16)

namespace {
constexpr u64 MCG_MCIP = 4;
constexpr u64 MCI_VALID = u64(1) << 63, MCI_OVER = u64(1) << 62, MCI_UC = u64(1) << 61;
}  // namespace

void deliver_machine_check(Cpu &cpu) {
    cpu.pending.fetch_and(~u32(PEND_MCE));
    if ((cpu.mcg_status & MCG_MCIP) || !(cpu.cr4 & CR4_MCE)) {
        cpu.activity = Activity::SHUTDOWN;
        attention(cpu);
        return;
    }
    cpu.stats.exceptions++;
    cpu.mcg_status |= MCG_MCIP;
    deliver_all(cpu, {EXC_MC, false, false, false, 0, cpu.rip});
}

void inject_machine_check(Cpu &cpu, unsigned bank, u64 status, u64 address, u64 misc, u64 mcg_status) {
    if (bank >= (cpu.mcg_cap & 0xff)) return;
    u64 *record = &cpu.mc_bank[4 * bank];
    bool fatal = status & MCI_UC;
    if (fatal && (!(cpu.mcg_ctl & (u64(1) << bank)) || !record[0])) return;  // reporting is off
    bool occupied = record[1] & MCI_VALID;
    if (occupied && (!fatal || (record[1] & MCI_UC))) {
        record[1] |= MCI_OVER;  // the record that is there stays
    } else {
        record[1] = status | MCI_VALID | (occupied ? MCI_OVER : 0);
        record[2] = address;
        record[3] = misc;
    }
    if (!fatal) return;
    cpu.mcg_status = (cpu.mcg_status & MCG_MCIP) | (mcg_status & ~MCG_MCIP);
    pend(cpu, PEND_MCE);
}

// ------------------------------------------------------------------------------------------------------ instructions

void x_int(Cpu &cpu, const Op &op) {
    u8 vector = u8(op.imm);
    if (UNLIKELY(v86_mode(cpu))) {
        if ((cpu.cr4 & CR4_VME) && redirect_v86(cpu, vector)) return;
        if (iopl(cpu) < 3) raise_gp(cpu);
    }
    deliver(cpu, {vector, true, false, false, 0, cpu.next});
}

void x_int3(Cpu &cpu, const Op &) { deliver(cpu, {EXC_BP, true, false, false, 0, cpu.next}); }

void x_into(Cpu &cpu, const Op &) {
    if (arith_flags(cpu) & FL_OF) deliver(cpu, {EXC_OF, true, false, false, 0, cpu.next});
}

// INT1 (ICEBP): like a hardware event, no DPL check; DR6 stays as it is (SDM Vol. 2, INT n).
void x_int1(Cpu &cpu, const Op &) {
    try {
        deliver(cpu, {EXC_DB, false, false, false, 0, cpu.next});
    } catch (GuestFault &f) {
        if (f.vector >= EXC_TS && f.vector <= EXC_GP) f.error |= 1;  // EXT
        throw;
    }
}
