// Far JMP, CALL, RET and IRET in every mode; SYSCALL and its kin.  SDM Vol. 2 per instruction, Vol. 3A 5.8 (privilege levels),
// 7.3 (tasks), 20.2 (virtual-8086 mode).
#include "cpu.h"

namespace {

struct FarPointer {
    u16 selector;
    u64 offset;
};

// The immediate of a direct far transfer: the offset in the low 32 bits, the selector above.
FarPointer direct_pointer(const Op &op) { return {u16(op.imm >> 32), op.imm & 0xffffffffu}; }

FarPointer pointer_in_memory(Cpu &cpu, const Op &op) {
    unsigned size = 1u << op.width;
    u64 lin = operand_linear(cpu, op, size + 2, false);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, size);
    u64 offset = op.width == 1 ? read_lin<u16>(cpu, lin) : op.width == 2 ? read_lin<u32>(cpu, lin) : read_lin<u64>(cpu, lin);
    return {read_lin<u16>(cpu, lin + size), offset};
}

// A target must lie in its code segment; in 64-bit mode it must be canonical.
void check_target(Cpu &cpu, const Descriptor &d, u64 offset) {
    if (long_mode(cpu) && (d.attr() & ATTR_L)) {
        if (!canonical(cpu, offset)) raise_gp(cpu);
    } else if (offset > d.limit()) {
        raise_gp(cpu);
    }
}

void check_code_size(Cpu &cpu, u16 selector, const Descriptor &d) {
    if (long_mode(cpu) && (d.attr() & (ATTR_L | ATTR_DB)) == (ATTR_L | ATTR_DB)) raise_gp(cpu, selector_error(selector));
}

void enter_code(Cpu &cpu, u16 selector, Descriptor d, u64 offset) {
    set_accessed(cpu, &d);
    cpu.seg[CS] = segment_from(u16((selector & ~3) | cpu.cpl), d);
    cpu.next = offset;
    update_mode(cpu);
}

void real_transfer(Cpu &cpu, u16 selector, u64 offset) {
    if (offset > cpu.seg[CS].limit) raise_gp(cpu);
    cpu.seg[CS] = v86_mode(cpu) ? v86_segment(selector) : real_segment(cpu.seg[CS], selector);
    cpu.next = offset;
    update_mode(cpu);
}

// Direct transfer to a code segment (JMP and CALL share the rules).
void check_direct(Cpu &cpu, u16 selector, const Descriptor &d) {
    bool ok = d.is_conforming() ? d.dpl() <= cpu.cpl : (selector & 3u) <= cpu.cpl && d.dpl() == cpu.cpl;
    if (!ok) raise_gp(cpu, selector_error(selector));
    check_code_size(cpu, selector, d);
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
}

struct Gate {
    u16 selector;
    u64 offset;
    Descriptor target;
    unsigned width;  // log2 of the size of what is pushed
    unsigned parameters;
};

Gate read_call_gate(Cpu &cpu, u16 selector, const Descriptor &d) {
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    Gate g;
    g.selector = u16(d.raw >> 16);
    g.offset = d.raw & 0xffff;
    g.parameters = d.raw >> 32 & 31;
    g.width = 1;
    if (long_mode(cpu)) {
        g.offset |= (d.raw >> 32 & 0xffff0000u) | need_upper_half(cpu, selector, d, EXC_GP) << 32;
        g.width = 3;
        g.parameters = 0;
    } else if (d.type() & 8) {
        g.offset |= d.raw >> 32 & 0xffff0000u;
        g.width = 2;
    }
    if (is_null(g.selector)) raise_gp(cpu);
    g.target = need_descriptor(cpu, g.selector, EXC_GP);
    u32 error = selector_error(g.selector);
    if (!g.target.is_code() || g.target.dpl() > cpu.cpl) raise_gp(cpu, error);
    if (long_mode(cpu) && (g.target.attr() & (ATTR_L | ATTR_DB)) != ATTR_L) raise_gp(cpu, error);
    if (!g.target.present()) raise_fault(cpu, EXC_NP, error);
    return g;
}

void far_task(Cpu &cpu, u16 selector, const Descriptor &d, TaskSwitch why) {
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    if (d.type() == TYPE_TASK_GATE) {
        u16 tss = u16(d.raw >> 16);
        switch_task(cpu, tss, task_gate_target(cpu, tss), why, cpu.next);
    } else {
        if (selector & 4) raise_gp(cpu, selector_error(selector));
        switch_task(cpu, selector, d, why, cpu.next);
    }
}

bool is_task(Cpu &cpu, const Descriptor &d) {
    return !long_mode(cpu) && (d.type() == TYPE_TSS16 || d.type() == TYPE_TSS32 || d.type() == TYPE_TASK_GATE);
}
bool is_call_gate(Cpu &cpu, const Descriptor &d) {
    return d.type() == TYPE_CALL32 || (d.type() == TYPE_CALL16 && !long_mode(cpu));
}

// A system descriptor as the target of JMP or CALL: its privilege.
void check_system(Cpu &cpu, u16 selector, const Descriptor &d) {
    if (!is_task(cpu, d) && !is_call_gate(cpu, d)) raise_gp(cpu, selector_error(selector));
    if (d.dpl() < cpu.cpl || d.dpl() < (selector & 3u)) raise_gp(cpu, selector_error(selector));
}

void far_jump(Cpu &cpu, FarPointer p) {
    if (!protected_mode(cpu)) {
        real_transfer(cpu, p.selector, p.offset);
        return;
    }
    if (is_null(p.selector)) raise_gp(cpu);
    Descriptor d = need_descriptor(cpu, p.selector, EXC_GP);
    if (d.is_segment()) {
        if (!d.is_code()) raise_gp(cpu, selector_error(p.selector));
        check_direct(cpu, p.selector, d);
        check_target(cpu, d, p.offset);
        enter_code(cpu, p.selector, d, p.offset);
        return;
    }
    check_system(cpu, p.selector, d);
    if (is_task(cpu, d)) {
        far_task(cpu, p.selector, d, TaskSwitch::JUMP);
        return;
    }
    Gate g = read_call_gate(cpu, p.selector, d);
    if (!g.target.is_conforming() && g.target.dpl() != cpu.cpl) raise_gp(cpu, selector_error(g.selector));
    check_target(cpu, g.target, g.offset);
    enter_code(cpu, g.selector, g.target, g.offset);
}

void call_gate_inner(Cpu &cpu, const Gate &g) {
    const u8 new_cpl = u8(g.target.dpl());
    Stack old = current_stack(cpu);
    if (g.width == 3) {
        Stack s{cpu, null_stack(new_cpl), inner_rsp(cpu, new_cpl, 0), true, set_for(cpu, new_cpl), 0};
        s.push<u64>(cpu.seg[SS].selector);
        s.push<u64>(cpu.gpr[RSP]);
        s.push<u64>(cpu.seg[CS].selector);
        s.push<u64>(cpu.next);
        check_target(cpu, g.target, g.offset);
        cpu.seg[SS] = s.ss;
        cpu.gpr[RSP] = s.sp;
    } else {
        Stack s = inner_stack(cpu, new_cpl);
        s.push_sized(cpu.seg[SS].selector, g.width);
        s.push_sized(cpu.gpr[RSP], g.width);
        u32 words[32];
        for (unsigned i = 0; i < g.parameters; i++) words[i] = u32(old.pop_sized(g.width));
        for (unsigned i = g.parameters; i-- > 0;) s.push_sized(words[i], g.width);
        s.push_sized(cpu.seg[CS].selector, g.width);
        s.push_sized(cpu.next, g.width);
        check_target(cpu, g.target, g.offset);
        cpu.seg[SS] = s.ss;
        s.commit_sp();
    }
    cpu.cpl = new_cpl;
    enter_code(cpu, g.selector, g.target, g.offset);
}

void far_call(Cpu &cpu, FarPointer p, unsigned width) {
    Stack s = current_stack(cpu);
    auto push_return = [&](unsigned w) {
        s.push_sized(cpu.seg[CS].selector, w);
        s.push_sized(cpu.next, w);
    };
    if (!protected_mode(cpu)) {
        push_return(width);
        real_transfer(cpu, p.selector, p.offset);
        s.commit_sp();
        return;
    }
    if (is_null(p.selector)) raise_gp(cpu);
    Descriptor d = need_descriptor(cpu, p.selector, EXC_GP);
    if (d.is_segment()) {
        if (!d.is_code()) raise_gp(cpu, selector_error(p.selector));
        check_direct(cpu, p.selector, d);
        push_return(width);
        check_target(cpu, d, p.offset);
        s.commit_sp();
        enter_code(cpu, p.selector, d, p.offset);
        return;
    }
    check_system(cpu, p.selector, d);
    if (is_task(cpu, d)) {
        far_task(cpu, p.selector, d, TaskSwitch::CALL);
        return;
    }
    Gate g = read_call_gate(cpu, p.selector, d);
    if (!g.target.is_conforming() && g.target.dpl() < cpu.cpl) {
        call_gate_inner(cpu, g);
        return;
    }
    if (g.width == 3) s.wide = true;  // from compatibility mode, too, the frame is of 64-bit words
    push_return(g.width);
    check_target(cpu, g.target, g.offset);
    cpu.gpr[RSP] = s.mask() == 0xffff ? (cpu.gpr[RSP] & ~u64(0xffff)) | s.sp : s.sp;
    enter_code(cpu, g.selector, g.target, g.offset);
}

// Code segment that a return goes to; RPL is the new CPL.
Descriptor return_code(Cpu &cpu, u16 selector) {
    if (UNLIKELY(is_null(selector))) raise_gp(cpu);
    Descriptor d = need_descriptor(cpu, selector, EXC_GP);
    const u32 rpl = selector & 3, error = selector_error(selector);
    if (UNLIKELY(!d.is_code() || rpl < cpu.cpl)) raise_gp(cpu, error);
    if (UNLIKELY(d.is_conforming() ? d.dpl() > rpl : d.dpl() != rpl)) raise_gp(cpu, error);
    check_code_size(cpu, selector, d);
    if (UNLIKELY(!d.present())) raise_fault(cpu, EXC_NP, error);
    return d;
}

Segment return_stack(Cpu &cpu, u16 selector, u8 new_cpl, bool to_64bit) {
    if (is_null(selector) && to_64bit && new_cpl != 3) {
        if ((selector & 3) != new_cpl) raise_gp(cpu);
        return null_stack(new_cpl);
    }
    return checked_stack(cpu, selector, new_cpl, EXC_GP);
}

void set_stack_pointer(Cpu &cpu, u64 sp) {  // after update_mode()
    u64 mask = stack_mask(cpu);
    cpu.gpr[RSP] = mask == 0xffff ? (cpu.gpr[RSP] & ~mask) | (sp & mask) : sp & mask;
}

void far_return(Cpu &cpu, unsigned width, unsigned extra) {
    Stack s = current_stack(cpu);
    u64 ip = s.pop_sized(width);
    u16 selector = u16(s.pop_sized(width));
    if (!protected_mode(cpu)) {
        real_transfer(cpu, selector, ip);
        s.sp = (s.sp + extra) & s.mask();
        s.commit_sp();
        return;
    }
    Descriptor d = return_code(cpu, selector);
    const u8 new_cpl = selector & 3;
    if (new_cpl == cpu.cpl) {
        check_target(cpu, d, ip);
        s.sp = (s.sp + extra) & s.mask();
        s.commit_sp();
        enter_code(cpu, selector, d, ip);
        return;
    }
    s.sp = (s.sp + extra) & s.mask();
    u64 sp = s.pop_sized(width);
    u16 ss_selector = u16(s.pop_sized(width));
    Segment ss = return_stack(cpu, ss_selector, new_cpl, long_mode(cpu) && (d.attr() & ATTR_L));
    check_target(cpu, d, ip);
    cpu.seg[SS] = ss;
    cpu.cpl = new_cpl;
    enter_code(cpu, selector, d, ip);
    set_stack_pointer(cpu, sp + extra);
    drop_inner_segments(cpu);
    update_mode(cpu);
}

// ---------------------------------------------------------------------------------------------------------------- IRET

constexpr u32 kUserFlags = FL_ARITH | FL_TF | FL_DF | FL_NT;

void write_flags(Cpu &cpu, u32 value, u32 mask) {
    set_eflags(cpu, (get_eflags(cpu) & ~mask) | (value & mask));
}

// Flags that IRET may change at the privilege level that executes it.
u32 iret_mask(const Cpu &cpu, unsigned width) {
    u32 mask = kUserFlags;
    if (width >= 2) mask |= FL_RF | FL_AC | FL_ID;
    if (cpu.cpl <= iopl(cpu)) mask |= FL_IF;
    if (cpu.cpl == 0) mask |= FL_IOPL | (width >= 2 ? FL_VIF | FL_VIP : 0u);
    return mask;
}

void iret_real(Cpu &cpu, unsigned width) {
    Stack s = current_stack(cpu);
    u64 ip = s.pop_sized(width);
    u16 selector = u16(s.pop_sized(width));
    u32 flags = u32(s.pop_sized(width));
    u32 mask = kUserFlags | FL_IF | FL_IOPL | (width == 2 ? FL_RF | FL_AC | FL_ID : 0u);
    u32 also = 0;
    if (v86_mode(cpu)) {
        mask &= ~u32(FL_IOPL);
        if (iopl(cpu) < 3) {
            if (!(cpu.cr4 & CR4_VME) || width != 1) raise_gp(cpu);
            if ((flags & FL_TF) || ((cpu.flags & FL_VIP) && (flags & FL_IF))) raise_gp(cpu);
            mask = (mask & ~u32(FL_IF)) | FL_VIF;
            also = flags & FL_IF ? u32(FL_VIF) : 0;
        }
    }
    real_transfer(cpu, selector, ip);
    s.commit_sp();
    write_flags(cpu, flags | also, mask);
    flags_changed(cpu);
}

void iret_to_v86(Cpu &cpu, Stack &s, u32 ip, u16 cs, u32 flags) {
    u32 sp = u32(s.pop_sized(2));
    u16 selectors[5];
    for (u16 &v : selectors) v = u16(s.pop_sized(2));
    if (ip > 0xffff) raise_gp(cpu);
    constexpr u32 mask = kUserFlags | FL_IF | FL_IOPL | FL_RF | FL_VM | FL_AC | FL_VIF | FL_VIP | FL_ID;
    write_flags(cpu, flags, mask);
    cpu.seg[CS] = v86_segment(cs);
    constexpr SegIndex order[] = {SS, ES, DS, FS, GS};
    for (unsigned i = 0; i < 5; i++) cpu.seg[order[i]] = v86_segment(selectors[i]);
    cpu.gpr[RSP] = sp;
    cpu.cpl = 3;
    cpu.next = ip & 0xffff;
    update_mode(cpu);
    attention_if_pending(cpu);
}

void iret_from_task(Cpu &cpu) {
    u16 selector = read_sys<u16>(cpu, cpu.seg[TR].base);
    Descriptor d;
    bool ok = !is_null(selector) && !(selector & 4) && fetch_descriptor(cpu, selector, &d) && !d.is_segment() &&
              (d.type() == TYPE_TSS16_BUSY || d.type() == TYPE_TSS32_BUSY);
    if (!ok) raise_fault(cpu, EXC_TS, selector_error(selector));
    if (!d.present()) raise_fault(cpu, EXC_NP, selector_error(selector));
    switch_task(cpu, selector, d, TaskSwitch::IRET, cpu.next);
}

void iret_protected(Cpu &cpu, unsigned width) {
    if (cpu.flags & FL_NT) {
        if (long_mode(cpu)) raise_gp(cpu);
        iret_from_task(cpu);
        return;
    }
    const bool from_64bit = in_64bit(cpu);
    Stack s = current_stack(cpu);
    u64 ip, cs_word, flags_word, sp = 0, ss_word = 0;
    const TlbEntry &t = cpu.tlb[tlb_index(s.sp)];
    if (LIKELY(width == 3 && (s.sp & ~u64(0xfff)) == t.read && ((s.sp + 39) & ~u64(0xfff)) == t.read && !(cpu.mode & MODE_AC))) {
        const u8 *p = reinterpret_cast<const u8 *>(std::uintptr_t(s.sp + t.addend));
        ip = load_host<u64>(p);
        cs_word = load_host<u64>(p + 8);
        flags_word = load_host<u64>(p + 16);
        sp = load_host<u64>(p + 24);
        ss_word = load_host<u64>(p + 32);
    } else {
        ip = s.pop_sized(width);
        cs_word = s.pop_sized(width);
        flags_word = s.pop_sized(width);
        if (!long_mode(cpu) && width == 2 && (flags_word & FL_VM) && cpu.cpl == 0) {
            iret_to_v86(cpu, s, u32(ip), u16(cs_word), u32(flags_word));
            return;
        }
        bool outer = (cs_word & 3) > cpu.cpl;
        if (from_64bit || outer) {
            if (outer && !from_64bit) return_code(cpu, u16(cs_word));  // its faults come before those of the stack
            sp = s.pop_sized(width);
            ss_word = s.pop_sized(width);
        }
    }
    const u16 selector = u16(cs_word);
    Descriptor d = return_code(cpu, selector);
    const u8 new_cpl = selector & 3;
    const bool to_64bit = long_mode(cpu) && (d.attr() & ATTR_L);
    const bool stack_too = from_64bit || new_cpl != cpu.cpl;
    Segment ss = cpu.seg[SS];
    if (stack_too) ss = return_stack(cpu, u16(ss_word), new_cpl, to_64bit);
    check_target(cpu, d, ip);
    set_accessed(cpu, &d);

    const u32 mask = iret_mask(cpu, width);
    write_flags(cpu, u32(flags_word), mask);
    cpu.seg[CS] = segment_from(selector, d);
    cpu.next = ip;
    const bool outer = new_cpl != cpu.cpl;
    cpu.cpl = new_cpl;
    if (!stack_too) s.commit_sp();
    else cpu.seg[SS] = ss;
    if (outer) drop_inner_segments(cpu);
    if (LIKELY(from_64bit && to_64bit)) {
        cpu.gpr[RSP] = sp;
        if (outer) {
            cpu.lin_base[FS] = cpu.seg[FS].base;
            cpu.lin_base[GS] = cpu.seg[GS].base;
        }
        flags_changed(cpu);
        return;
    }
    update_mode(cpu);
    if (stack_too) set_stack_pointer(cpu, sp);
    attention_if_pending(cpu);
}

// Flat segments of SYSCALL, SYSENTER and their returns (SDM Vol. 2).
Segment flat_code(u16 selector, u8 dpl, bool wide) {
    return {0, 0xffffffffu, ATTR_P | ATTR_S | 11 | u32(dpl) << 5 | ATTR_G | (wide ? u32(ATTR_L) : u32(ATTR_DB)), selector};
}
Segment flat_stack(u16 selector, u8 dpl) {
    return {0, 0xffffffffu, ATTR_P | ATTR_S | 3 | u32(dpl) << 5 | ATTR_G | ATTR_DB, selector};
}

}  // namespace

void x_jmp_far(Cpu &cpu, const Op &op) { far_jump(cpu, direct_pointer(op)); }
void x_jmp_far_mem(Cpu &cpu, const Op &op) { far_jump(cpu, pointer_in_memory(cpu, op)); }
void x_call_far(Cpu &cpu, const Op &op) { far_call(cpu, direct_pointer(op), op.width); }
void x_call_far_mem(Cpu &cpu, const Op &op) { far_call(cpu, pointer_in_memory(cpu, op), op.width); }
void x_retf(Cpu &cpu, const Op &op) { far_return(cpu, op.width, unsigned(op.imm & 0xffff)); }

void x_iret(Cpu &cpu, const Op &op) {
    cpu.nmi_blocked = 0;
    if (LIKELY(protected_mode(cpu))) iret_protected(cpu, op.width);
    else iret_real(cpu, op.width);
    if (UNLIKELY(cpu.flags & FL_RF) && !cpu.code_breakpoints) cpu.flags &= ~u32(FL_RF);  // nothing to hold back
}

// --------------------------------------------------------------------------------------------------- SYSCALL, SYSENTER

void x_syscall(Cpu &cpu, const Op &) {
    if (!(cpu.efer & EFER_SCE)) raise_ud(cpu);
    const u16 selector = u16(cpu.star >> 32) & 0xfffc;
    if (LIKELY(in_64bit(cpu) || (long_mode(cpu) && has(cpu, F_VENDOR_AMD)))) {
        const bool from_64bit = in_64bit(cpu);
        const u32 flags = get_eflags(cpu);
        cpu.gpr[RCX] = cpu.next;
        cpu.gpr[R11] = flags & ~u32(FL_RF);
        cpu.next = from_64bit ? cpu.lstar : cpu.cstar;
        set_eflags(cpu, flags & ~u32(cpu.fmask) & ~u32(FL_RF));
        cpu.seg[CS] = flat_code(selector, 0, true);
        cpu.seg[SS] = flat_stack(u16(selector + 8), 0);
        cpu.cpl = 0;
        if (LIKELY(from_64bit)) update_rights(cpu);
        else update_mode(cpu);
        return;
    }
    if (!has(cpu, F_VENDOR_AMD)) raise_ud(cpu);  // Intel has it in 64-bit mode only
    cpu.gpr[RCX] = u32(cpu.next);
    cpu.next = u32(cpu.star);
    cpu.flags &= ~u32(FL_IF | FL_VM | FL_RF);
    cpu.seg[CS] = flat_code(selector, 0, false);
    cpu.seg[SS] = flat_stack(u16(selector + 8), 0);
    cpu.cpl = 0;
    update_mode(cpu);
}

void x_sysret(Cpu &cpu, const Op &op) {
    const bool from_64bit = in_64bit(cpu), amd = has(cpu, F_VENDOR_AMD);
    if (!(cpu.efer & EFER_SCE) || (!from_64bit && !amd)) raise_ud(cpu);
    need_cpl0(cpu);
    const u16 base = u16(cpu.star >> 48);
    const bool wide = from_64bit && op.width == 3;
    if (wide && !amd && !canonical(cpu, cpu.gpr[RCX])) raise_gp(cpu);  // AMD: the fetch at the target faults
    if (long_mode(cpu)) {
        set_eflags(cpu, u32(cpu.gpr[R11]) & (FL_ARITH | FL_TF | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_AC | FL_VIF | FL_VIP | FL_ID));
    } else {
        cpu.flags |= FL_IF;
    }
    cpu.next = wide ? cpu.gpr[RCX] : u32(cpu.gpr[RCX]);
    cpu.seg[CS] = flat_code(u16((wide ? base + 16 : base) | 3), 3, wide);
    cpu.seg[SS] = flat_stack(u16((base + 8) | 3), 3);
    cpu.cpl = 3;
    if (LIKELY(wide)) update_rights(cpu);
    else update_mode(cpu);
    attention_if_pending(cpu);
}

void x_sysenter(Cpu &cpu, const Op &) {
    if (has(cpu, F_VENDOR_AMD) && long_mode(cpu)) raise_ud(cpu);
    if (!(cpu.cr0 & CR0_PE) || is_null(u16(cpu.sysenter_cs))) raise_gp(cpu);
    const bool wide = long_mode(cpu);
    const u16 selector = u16(cpu.sysenter_cs) & 0xfffc;
    cpu.flags &= ~u32(FL_VM | FL_IF | FL_RF);
    cpu.gpr[RSP] = wide ? cpu.sysenter_esp : u32(cpu.sysenter_esp);
    cpu.next = wide ? cpu.sysenter_eip : u32(cpu.sysenter_eip);
    cpu.seg[CS] = flat_code(selector, 0, wide);
    cpu.seg[SS] = flat_stack(u16(selector + 8), 0);
    cpu.cpl = 0;
    update_mode(cpu);
}

void x_sysexit(Cpu &cpu, const Op &op) {
    if (has(cpu, F_VENDOR_AMD) && long_mode(cpu)) raise_ud(cpu);
    if (!protected_mode(cpu) || is_null(u16(cpu.sysenter_cs))) raise_gp(cpu);
    need_cpl0(cpu);
    const bool wide = in_64bit(cpu) && op.width == 3;
    if (wide && (!canonical(cpu, cpu.gpr[RCX]) || !canonical(cpu, cpu.gpr[RDX]))) raise_gp(cpu);
    const u16 base = u16(cpu.sysenter_cs);
    cpu.gpr[RSP] = wide ? cpu.gpr[RCX] : u32(cpu.gpr[RCX]);
    cpu.next = wide ? cpu.gpr[RDX] : u32(cpu.gpr[RDX]);
    cpu.seg[CS] = flat_code(u16((base + (wide ? 32 : 16)) | 3), 3, wide);
    cpu.seg[SS] = flat_stack(u16((base + (wide ? 40 : 24)) | 3), 3);
    cpu.cpl = 3;
    update_mode(cpu);
    attention_if_pending(cpu);
}
