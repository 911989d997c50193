// Shared between the sources of the system architecture: descriptors, privilege, control registers, events.
// Included at the end of cpu.h, so that every source sees the services.
#pragma once

// ---- descriptors (SDM Vol. 3A 3.4.5, 3.5)

// The 8 bytes of a descriptor table entry and where they lie.
struct Descriptor {
    u64 raw;
    u64 lin;
    u32 attr() const { return u32(raw >> 40) & 0xf0ff; }
    u32 type() const { return u32(raw >> 40) & 15; }
    bool is_segment() const { return raw >> 44 & 1; }
    u32 dpl() const { return u32(raw >> 45) & 3; }
    bool present() const { return raw >> 47 & 1; }
    bool is_code() const { return (raw >> 43 & 3) == 3; }        // S and executable
    bool is_conforming() const { return (raw >> 42 & 7) == 7; }  // code and conforming
    bool is_readable() const { return is_segment() && (!is_code() || (raw >> 41 & 1)); }
    bool is_writable() const { return (raw >> 41 & 13) == 9; }   // S, not executable, writable; expand-down does not matter
    u32 base() const { return u32(raw >> 16 & 0xffffff) | u32(raw >> 56) << 24; }
    u32 limit() const {
        u32 v = u32(raw & 0xffff) | u32(raw >> 32 & 0xf0000);
        return raw >> 55 & 1 ? v << 12 | 0xfff : v;
    }
};
enum SystemType : u8 {
    TYPE_TSS16 = 1, TYPE_LDT = 2, TYPE_TSS16_BUSY = 3, TYPE_CALL16 = 4, TYPE_TASK_GATE = 5, TYPE_INT16 = 6, TYPE_TRAP16 = 7,
    TYPE_TSS32 = 9, TYPE_TSS32_BUSY = 11, TYPE_CALL32 = 12, TYPE_INT32 = 14, TYPE_TRAP32 = 15,
};

inline bool is_null(u16 selector) { return !(selector & ~3); }
inline u32 selector_error(u16 selector) { return selector & ~3u; }

// Reads an entry; false if the selector lies outside its table.
bool fetch_descriptor(Cpu &cpu, u16 selector, Descriptor *out);
// The same, raising `vector` with the selector as error code.
Descriptor need_descriptor(Cpu &cpu, u16 selector, u8 vector);
// Upper half of a 16-byte system descriptor (long mode); raises `vector` outside the table or if the type field of the upper half is not 0.
u64 need_upper_half(Cpu &cpu, u16 selector, const Descriptor &low, u8 vector);
void set_accessed(Cpu &cpu, Descriptor *d);

inline Segment segment_from(u16 selector, const Descriptor &d) {
    return {d.base(), d.limit(), d.attr(), selector};
}
inline Segment real_segment(const Segment &old, u16 selector) {  // limit and D/B stay as they were
    return {u64(selector) << 4, old.limit, (old.attr & (ATTR_G | ATTR_DB)) | 0x93, selector};
}
inline Segment v86_segment(u16 selector) { return {u64(selector) << 4, 0xffff, 0xf3, selector}; }
inline Segment null_segment(u16 selector) { return {0, 0, ATTR_NULL, selector}; }
// A data segment of 64-bit mode with a null selector: SS after an interrupt with a change of privilege.
inline Segment null_stack(u8 cpl) { return {0, 0xffffffff, ATTR_NULL | u32(cpl) << 5 | ATTR_S | 3 | ATTR_DB | ATTR_G, cpl}; }

// Full load with every check, by MOV, POP, LxS; `seg` is not CS.
void load_segment(Cpu &cpu, SegIndex seg, u16 selector);
// Checks a stack segment for `cpl`: raises `vector` (#GP, #TS) or #SS if not present. The accessed bit is set.
Segment checked_stack(Cpu &cpu, u16 selector, u8 cpl, u8 vector);
// Data segments that a less privileged level must not keep (return to an outer level).
void drop_inner_segments(Cpu &cpu);

inline bool protected_mode(const Cpu &cpu) { return cpu.mode & MODE_PROT; }
inline bool v86_mode(const Cpu &cpu) { return cpu.flags & FL_VM; }
inline bool long_mode(const Cpu &cpu) { return cpu.efer & EFER_LMA; }
inline unsigned iopl(const Cpu &cpu) { return cpu.flags >> 12 & 3; }
inline void need_cpl0(Cpu &cpu) {
    if (UNLIKELY(cpu.cpl)) raise_gp(cpu);
}

// The TLB set and MODE_AC follow CPL and EFLAGS.AC alone while the segments stay what they are: cheaper than update_mode().
inline void update_rights(Cpu &cpu) {
    bool ac = cpu.flags & FL_AC;
    TlbSet set = cpu.cpl == 3 ? TLB_USER : ac && (cpu.cr4 & CR4_SMAP) ? TLB_KERNEL_AC : TLB_KERNEL;
    cpu.tlb = cpu.tlbs[set];
    cpu.site_bits = (cpu.site_bits & ~u64(0x18)) | u64(set) << 3;
    u32 mode = cpu.mode & ~u32(MODE_AC | MODE_USER);
    if (cpu.cpl == 3) mode |= MODE_USER;
    if (UNLIKELY(ac) && cpu.cpl == 3 && (cpu.cr0 & CR0_AM)) mode |= MODE_AC;
    cpu.mode = mode;
}
// The outer loop is to look again before the next block: IF, TF, breakpoints or the like changed.
inline void attention(Cpu &cpu) { cpu.floor.store(INT64_MAX, std::memory_order_release); }
inline void attention_if_pending(Cpu &cpu) {
    if (UNLIKELY((cpu.flags & FL_TF) || cpu.code_breakpoints || cpu.pending.load(std::memory_order_relaxed))) attention(cpu);
}
// What a write to (E|R)FLAGS as a whole needs afterwards.
inline void flags_changed(Cpu &cpu) {
    update_rights(cpu);
    attention_if_pending(cpu);
}

// The stack of a transition that has not been committed yet.
struct Stack {
    Cpu &cpu;
    Segment ss;
    u64 sp;
    bool wide;      // 64-bit: no segment
    TlbSet set;
    u32 error;      // error code of #SS on a limit violation
    u64 mask() const { return wide ? ~u64(0) : ss.attr & ATTR_DB ? 0xffffffffu : 0xffffu; }
    u64 linear(u64 offset, unsigned size, bool write) const;
    template <class T> void push(T v) {
        sp = (sp - sizeof(T)) & mask();
        write_lin<T>(cpu, linear(sp, sizeof(T), true), v, set);
    }
    template <class T> T pop() {
        T v = read_lin<T>(cpu, linear(sp, sizeof(T), false), set);
        sp = (sp + sizeof(T)) & mask();
        return v;
    }
    void push_sized(u64 v, unsigned width) {
        if (width == 1) push<u16>(u16(v));
        else if (width == 2) push<u32>(u32(v));
        else push<u64>(v);
    }
    u64 pop_sized(unsigned width) { return width == 1 ? pop<u16>() : width == 2 ? pop<u32>() : pop<u64>(); }
    void commit_sp() const {
        cpu.gpr[RSP] = mask() == 0xffff ? (cpu.gpr[RSP] & ~u64(0xffff)) | sp : sp;
    }
};
inline Stack current_stack(Cpu &cpu) {
    return {cpu, cpu.seg[SS], cpu.gpr[RSP] & stack_mask(cpu), in_64bit(cpu), data_set(cpu), 0};
}
inline TlbSet set_for(const Cpu &cpu, u8 cpl) {
    return cpl == 3 ? TLB_USER : (cpu.cr4 & CR4_SMAP) && (cpu.flags & FL_AC) ? TLB_KERNEL_AC : TLB_KERNEL;
}

// interrupts.cpp: stack of an inner level from the TSS; raises #TS.  In long mode `ist` may replace the level's stack.
Stack inner_stack(Cpu &cpu, u8 new_cpl);
u64 inner_rsp(Cpu &cpu, u8 new_cpl, unsigned ist);

// tasks.cpp
enum class TaskSwitch : u8 { JUMP, CALL, IRET };  // CALL also stands for gates in the IDT
// Switches to the TSS `selector` names; `d` is its descriptor, checked by the caller.  Return address of the old task is `rip`.
void switch_task(Cpu &cpu, u16 selector, const Descriptor &d, TaskSwitch why, u64 rip);
// Checks the TSS selector of a task gate: raises #GP, #NP.
Descriptor task_gate_target(Cpu &cpu, u16 selector);

// control.cpp: with every check and consequence; raise #GP(0).  Also the right way to set them from outside.
void set_cr0(Cpu &cpu, u64 value);
void set_cr3(Cpu &cpu, u64 value);
void set_cr4(Cpu &cpu, u64 value);
void set_cr8(Cpu &cpu, u64 value);
void set_efer(Cpu &cpu, u64 value);
bool load_pdptes(Cpu &cpu, u64 cr3);  // PAE paging; false if a reserved bit is set

// flagsio.cpp: #GP(0) if the port may not be used; also notes I/O breakpoints.
void check_io(Cpu &cpu, u16 port, unsigned size);

// debug.cpp (SDM Vol. 3B chapter 18)
enum : u32 { DR6_BD = 1 << 13, DR6_BS = 1 << 14, DR6_BT = 1 << 15, DR7_GD = 1 << 13 };
void set_dr6(Cpu &cpu, u64 value);
void set_dr7(Cpu &cpu, u64 value);  // also updates data_breakpoints and code_breakpoints and flushes TLBs where needed
// Before the instruction at cpu.rip, while code_breakpoints is set: true if #DB is due as a fault (deliver_fault with
// EXC_DB).  Consumes EFLAGS.RF, which holds breakpoints back for one instruction.
bool check_instruction_breakpoints(Cpu &cpu);
// A data access; pends the trap.  Called by the slow accessors while data_breakpoints is set.
void check_data_breakpoint(Cpu &cpu, u64 lin, unsigned size, bool write);
void check_io_breakpoint(Cpu &cpu, u16 port, unsigned size);

// interrupts.cpp
void start_at_sipi(Cpu &cpu, u8 vector);  // leaves WAIT_SIPI (SDM Vol. 3A 9.4.4)
// Machine check: stores an error record and, for an uncorrected error, pends #MC.
void inject_machine_check(Cpu &cpu, unsigned bank, u64 status, u64 address, u64 misc, u64 mcg_status);

u64 mul_shift(u64 a, u64 b, unsigned shift);  // (a * b) >> shift over 128 bits
