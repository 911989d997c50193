// Hardware task switching.  SDM Vol. 3A chapter 7.
#include "cpu.h"

Descriptor task_gate_target(Cpu &cpu, u16 selector) {
    if (selector & 4) raise_gp(cpu, selector_error(selector));
    Descriptor d = need_descriptor(cpu, selector, EXC_GP);
    if (d.is_segment() || (d.type() != TYPE_TSS16 && d.type() != TYPE_TSS32)) raise_gp(cpu, selector_error(selector));
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    return d;
}

namespace {

constexpr SegIndex kOrder[] = {ES, CS, SS, DS, FS, GS};  // as they lie in the TSS

struct TaskState {
    u32 cr3, eip, eflags, gpr[8];
    u16 selector[6], ldt;
    bool trap;
};

TaskState read_state(Cpu &cpu, u64 base, bool wide) {
    TaskState t{};
    if (wide) {
        t.cr3 = read_sys<u32>(cpu, base + 0x1c);
        t.eip = read_sys<u32>(cpu, base + 0x20);
        t.eflags = read_sys<u32>(cpu, base + 0x24);
        for (unsigned i = 0; i < 8; i++) t.gpr[i] = read_sys<u32>(cpu, base + 0x28 + 4 * i);
        for (unsigned i = 0; i < 6; i++) t.selector[i] = read_sys<u16>(cpu, base + 0x48 + 4 * i);
        t.ldt = read_sys<u16>(cpu, base + 0x60);
        t.trap = read_sys<u16>(cpu, base + 0x64) & 1;
    } else {
        t.eip = read_sys<u16>(cpu, base + 0x0e);
        t.eflags = read_sys<u16>(cpu, base + 0x10);
        for (unsigned i = 0; i < 8; i++) t.gpr[i] = read_sys<u16>(cpu, base + 0x12 + 2 * i);
        for (unsigned i = 0; i < 4; i++) t.selector[i] = read_sys<u16>(cpu, base + 0x22 + 2 * i);
        t.ldt = read_sys<u16>(cpu, base + 0x2a);
    }
    return t;
}

void save_state(Cpu &cpu, u64 base, bool wide, u32 eflags, u32 eip) {
    if (wide) {
        write_sys<u32>(cpu, base + 0x20, eip);
        write_sys<u32>(cpu, base + 0x24, eflags);
        for (unsigned i = 0; i < 8; i++) write_sys<u32>(cpu, base + 0x28 + 4 * i, u32(cpu.gpr[i]));
        for (unsigned i = 0; i < 6; i++) write_sys<u16>(cpu, base + 0x48 + 4 * i, cpu.seg[kOrder[i]].selector);
    } else {
        write_sys<u16>(cpu, base + 0x0e, u16(eip));
        write_sys<u16>(cpu, base + 0x10, u16(eflags));
        for (unsigned i = 0; i < 8; i++) write_sys<u16>(cpu, base + 0x12 + 2 * i, u16(cpu.gpr[i]));
        for (unsigned i = 0; i < 4; i++) write_sys<u16>(cpu, base + 0x22 + 2 * i, cpu.seg[kOrder[i]].selector);
    }
}

void load_ldt(Cpu &cpu, u16 selector) {
    cpu.seg[LDTR] = null_segment(selector);
    if (is_null(selector)) return;
    Descriptor d;
    if ((selector & 4) || !fetch_descriptor(cpu, selector, &d) || d.is_segment() || d.type() != TYPE_LDT || !d.present()) {
        cpu.seg[LDTR] = null_segment(0);
        raise_fault(cpu, EXC_TS, selector_error(selector));
    }
    cpu.seg[LDTR] = segment_from(selector, d);
}

void load_code(Cpu &cpu, u16 selector) {
    if (is_null(selector)) raise_fault(cpu, EXC_TS, 0);
    Descriptor d = need_descriptor(cpu, selector, EXC_TS);
    bool level = d.is_conforming() ? d.dpl() <= (selector & 3u) : d.dpl() == (selector & 3u);
    if (!d.is_code() || !level) raise_fault(cpu, EXC_TS, selector_error(selector));
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    set_accessed(cpu, &d);
    cpu.seg[CS] = segment_from(selector, d);
}

void load_data(Cpu &cpu, SegIndex seg, u16 selector) {
    if (is_null(selector)) return;
    Descriptor d = need_descriptor(cpu, selector, EXC_TS);
    bool too_low = !d.is_conforming() && (d.dpl() < (selector & 3u) || d.dpl() < cpu.cpl);
    if (!d.is_readable() || too_low) raise_fault(cpu, EXC_TS, selector_error(selector));
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    set_accessed(cpu, &d);
    cpu.seg[seg] = segment_from(selector, d);
}

// What can still go wrong happens in the new task.
void enter_task(Cpu &cpu, const TaskState &t) {
    load_ldt(cpu, t.ldt);
    if (t.eflags & FL_VM) {
        for (unsigned i = 0; i < 6; i++) cpu.seg[kOrder[i]] = v86_segment(t.selector[i]);
    } else {
        load_code(cpu, t.selector[1]);
        const u8 cpl = t.selector[1] & 3;
        cpu.seg[SS] = checked_stack(cpu, t.selector[2], cpl, EXC_TS);
        cpu.cpl = cpl;
        load_data(cpu, ES, t.selector[0]);
        load_data(cpu, DS, t.selector[3]);
        load_data(cpu, FS, t.selector[4]);
        load_data(cpu, GS, t.selector[5]);
    }
    if (t.eip > cpu.seg[CS].limit) raise_gp(cpu);
}

}  // namespace

void switch_task(Cpu &cpu, u16 selector, const Descriptor &d, TaskSwitch why, u64 rip) {
    const bool wide = d.type() & 8, old_wide = cpu.seg[TR].attr & 8;
    if (d.limit() < (wide ? 0x67u : 0x2bu)) raise_fault(cpu, EXC_TS, selector_error(selector));
    // Everything that may fault in the old task comes first.
    const u64 base = d.base(), old_base = cpu.seg[TR].base;
    const TaskState t = read_state(cpu, base, wide);
    if (old_wide) probe_write(cpu, old_base + 0x20, 0x40, TLB_KERNEL);
    else probe_write(cpu, old_base + 0x0e, 0x1c, TLB_KERNEL);
    if (why == TaskSwitch::CALL) probe_write(cpu, base, 2, TLB_KERNEL);
    const u64 old_descriptor = cpu.gdtr.base + (cpu.seg[TR].selector & ~7u);

    if (why != TaskSwitch::CALL) write_sys<u8>(cpu, old_descriptor + 5, read_sys<u8>(cpu, old_descriptor + 5) & ~2);
    u32 old_flags = get_eflags(cpu);
    if (why == TaskSwitch::IRET) old_flags &= ~u32(FL_NT);
    save_state(cpu, old_base, old_wide, old_flags, u32(rip));
    u32 flags = t.eflags;
    if (why == TaskSwitch::CALL) {
        write_sys<u16>(cpu, base, cpu.seg[TR].selector);
        flags |= FL_NT;
    }
    if (why != TaskSwitch::IRET) write_sys<u8>(cpu, d.lin + 5, u8(d.raw >> 40) | 2);

    // The new task: registers as they are in the TSS, segments not valid yet.
    cpu.seg[TR] = segment_from(selector, d);
    cpu.seg[TR].attr |= 2;
    cpu.cr0 |= CR0_TS;
    for (unsigned i = 0; i < 8; i++) cpu.gpr[i] = t.gpr[i];
    constexpr u32 kKnown = FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID;
    set_eflags(cpu, flags & kKnown);
    cpu.rip = cpu.next = t.eip;
    for (unsigned i = 0; i < 6; i++) cpu.seg[kOrder[i]] = null_segment(t.selector[i]);
    cpu.cpl = 3;  // until CS and SS are good: a fault before that is handled on the new task's inner stack
    set_dr7(cpu, cpu.dr[7] & ~u64(0x155));  // local breakpoints are the old task's
    try {
        if (wide && (cpu.cr0 & CR0_PG)) set_cr3(cpu, t.cr3);
        enter_task(cpu, t);
    } catch (const GuestFault &) {
        update_mode(cpu);
        throw;
    }
    update_mode(cpu);
    if (t.trap) {
        cpu.dr6_pending |= DR6_BT;
        pend(cpu, PEND_DEBUG);
    }
    attention_if_pending(cpu);
}
