// The outer loop: what happens between blocks, and the handlers that call slow functions.
#include "cpu.h"
#include "system.h"
#include "native.h"
#include "translate.h"
#include <cstdlib>

// ------------------------------------------------------------------------------------------- handlers that leave or call

HANDLER(h_leave) {
    sync_op(cpu, op, budget);
    LEAVE();
}

HANDLER(h_refused) {
    const Block *b = block_of_first(op);
    cpu->rip = (cpu->gpr[REG_PAGE_RIP] + b->off) & rip_mask(*cpu);
    cpu->budget = budget + b->n;
    LEAVE();
}

HANDLER(h_slow) {
    sync_op(cpu, op, budget);
    slow_function(op->id)(*cpu, *op);
    if (UNLIKELY(cpu->floor.load(std::memory_order_relaxed) != 0)) TAIL(h_leave, op + 1, budget);
    NEXT();
}

HANDLER(h_slow_string) {
    sync_op(cpu, op, budget);
    slow_function(op->id)(*cpu, *op);
    if (UNLIKELY(cpu->next == cpu->rip)) LEAVE();  // to be executed again, not counted yet
    if (UNLIKELY(cpu->floor.load(std::memory_order_relaxed) != 0)) TAIL(h_leave, op + 1, budget);
    NEXT();
}

// Goes on at cpu->rip, wherever that is and whatever mode it is in; needs cpu->budget.
#define DISPATCH()                                                                                                           \
    do {                                                                                                                     \
        if (UNLIKELY(cpu->floor.load(std::memory_order_relaxed) != 0 || cpu->shadow || cpu->activity != Activity::ACTIVE)) LEAVE(); \
        if (cpu->mode & MODE_CSFLAT) {                                                                                       \
            const JumpEntry &e_ = jump_entry(*cpu->jumps, cpu->rip);                                                         \
            if (e_.rip == cpu->rip && e_.key == jump_key(*cpu)) {                                                            \
                cpu->gpr[REG_PAGE_RIP] = e_.page_rip;                                                                        \
                budget = cpu->budget;                                                                                        \
                ENTER(e_.block);                                                                                             \
            }                                                                                                                \
        }                                                                                                                    \
        LEAVE();                                                                                                             \
    } while (0)

HANDLER(h_slow_end) {
    sync_op(cpu, op, budget);
    slow_function(op->id)(*cpu, *op);
    cpu->rip = cpu->next;
    cpu->budget--;
    DISPATCH();
}

HANDLER(h_heat) {
    Block *b = block_of_first(op);
    if (UNLIKELY(++b->heat >= native_threshold)) {
        emit_native(*cpu, b);
        b->ops()->fn = b->first;
    }
    TAIL(b->first, op, budget);
}

HANDLER(h_link) {
    // A taken jump: op->left is 1.  An end op: left is 0 and len, disp are 0.
    i64 in_page = i64(op->off) + op->len + op->disp;
    u64 rip = (cpu->gpr[REG_PAGE_RIP] + u64(in_page)) & rip_mask(*cpu);
    if (in_page >= 0 && in_page < 4096) {
        cpu->link = op;
    } else {
        const JumpEntry &e = jump_entry(*cpu->jumps, rip);
        if (LIKELY(e.rip == rip && e.key == jump_key(*cpu))) {
            cpu->gpr[REG_PAGE_RIP] = e.page_rip;
            ENTER(e.block);
        }
    }
    cpu->rip = rip;
    cpu->budget = budget;
    LEAVE();
}

HANDLER(h_through) { JUMP_LINK(op); }

HANDLER(h_through_page) {
    u64 rip = (cpu->gpr[REG_PAGE_RIP] + 4096) & rip_mask(*cpu);
    const JumpEntry &e = jump_entry(*cpu->jumps, rip);
    if (LIKELY(e.rip == rip && e.key == jump_key(*cpu))) {
        cpu->gpr[REG_PAGE_RIP] = e.page_rip;
        ENTER(e.block);
    }
    TAIL(h_leave, op, budget);
}

namespace {

enum class Fill : u8 { RETRY, SLOW, FAULT };
// A fast handler's memory access missed.  Fills the TLB and has the handler try again; if the access cannot be a plain load or store
// of host memory (device, page crossing, code page, not canonical), the slow function does it all.  A page fault is delivered here:
// it is too frequent for a C++ exception.
ALWAYS_INLINE Fill fill_tlb(Cpu *cpu, const Op *op, i64 budget, Access access) {
    u64 lin = cpu->ea;
    sync_op(cpu, op, budget);
    if (in_64bit(*cpu) && !canonical(*cpu, lin)) return Fill::SLOW;
    // An op with two accesses (PUSH m, CALL m) misses twice if both pages want the same entry, and would do so for ever.
    if (UNLIKELY(cpu->miss_op == op && cpu->miss_budget == budget)) return Fill::SLOW;
    cpu->miss_op = op;
    cpu->miss_budget = budget;
    GuestFault fault;
    if (UNLIKELY(!translate_quietly(*cpu, lin, access, data_set(*cpu), &fault))) {
        deliver_fault(*cpu, fault);
        return Fill::FAULT;
    }
    const TlbEntry &e = cpu->tlb[tlb_index(lin)];
    u64 page = lin & ~u64(0xfff);
    return cpu->ea_tag != page || (access == ACCESS_WRITE ? e.write : e.read) != page ? Fill::SLOW : Fill::RETRY;
}

}  // namespace

HANDLER(h_miss_read) {
    switch (fill_tlb(cpu, op, budget, ACCESS_READ)) {
    case Fill::RETRY: TAIL(op->fn, op, budget);
    case Fill::SLOW: TAIL(slow_handler(*op), op, budget);
    case Fill::FAULT: break;
    }
    LEAVE();  // not DISPATCH: this may have been the one instruction of a single step
}
HANDLER(h_miss_write) {
    switch (fill_tlb(cpu, op, budget, ACCESS_WRITE)) {
    case Fill::RETRY: TAIL(op->fn, op, budget);
    case Fill::SLOW: TAIL(slow_handler(*op), op, budget);
    case Fill::FAULT: break;
    }
    LEAVE();  // not DISPATCH: this may have been the one instruction of a single step
}

// ------------------------------------------------------------------------------------------- the outer loop

#if VMCORE_NATIVE
extern "C" void vmcore_enter_handlers(Cpu *cpu, const Op *op, i64 budget);  // native.cpp
#endif

namespace {

inline void enter(Cpu &c, const Op *op, i64 budget) {
#if VMCORE_CALL_LOOP
    Cpu *cpu = &c;
    cpu->loop_fn = op->fn;
    cpu->loop_op = op;
    cpu->loop_budget = budget;
    while (Handler f = cpu->loop_fn) f(cpu, cpu->loop_op, cpu->loop_budget);
#elif VMCORE_NATIVE
    vmcore_enter_handlers(&c, op, budget);
#else
    op->fn(&c, op, budget);
#endif
}

inline u64 linear_rip(const Cpu &cpu) { return in_64bit(cpu) ? cpu.rip : (cpu.seg[CS].base + cpu.rip) & 0xffffffffu; }

// Whether the vCPU, halted or not, has something to take now.
bool wakes(const Cpu &cpu, u32 pending) {
    if (pending & (PEND_INIT | PEND_MCE | PEND_DEBUG)) return true;
    if ((pending & PEND_NMI) && !cpu.nmi_blocked) return true;
    return (pending & PEND_INTR) && (cpu.flags & FL_IF);
}

// Where control goes next: the fetch checks that no block makes (SDM Vol. 3A 5.3, 3.3.7.1).
void check_fetch(Cpu &cpu, unsigned bytes) {
    if (in_64bit(cpu)) {
        if (UNLIKELY(!canonical(cpu, cpu.rip))) raise_gp(cpu);
    } else if (UNLIKELY(cpu.rip + bytes - 1 > cpu.seg[CS].limit)) {
        raise_gp(cpu);
    }
}

// Runs up to `k` instructions from a block made for the purpose.  Used for exact stops, single-stepping, interrupt shadows and for code
// that is not cached.  Returns with cpu.budget exact.
void run_scratch(Cpu &cpu, unsigned k) {
    u64 lin = linear_rip(cpu);
    check_fetch(cpu, 1);
    const u8 *host = fetch_host(cpu, lin);
    Block &b = cpu.jumps->scratch;
    Op *ops = cpu.jumps->scratch_ops;
    unsigned bytes;
    bool crossing;
    b.off = u16(lin & 0xfff);
    cpu.gpr[REG_PAGE_RIP] = cpu.rip - b.off;
    unsigned n = translate_block(cpu, host, lin, k < BLOCK_MAX ? k : BLOCK_MAX, false, ops, &bytes, &crossing);
    if (!in_64bit(cpu) && cpu.rip + bytes - 1 > cpu.seg[CS].limit) {
        // The limit lies in this block: one by one, so that the instruction that reaches over it is the one that faults.
        n = translate_block(cpu, host, lin, 1, false, ops, &bytes, &crossing);
        check_fetch(cpu, bytes);
    }
    b.n = n;
    b.host = nullptr;
    // Leave when the block is through, whatever follows: the budget of the handlers ends here.
    i64 rest = cpu.budget - i64(n);
    u64 end = cpu.run_end;
    cpu.run_end -= u64(rest);
    cpu.budget = n;
    struct Restore {
        Cpu &cpu;
        i64 rest;
        u64 end;
        ~Restore() {
            cpu.budget += rest;
            cpu.run_end = end;
        }
    } restore{cpu, rest, end};
    cpu.budget = n;
    enter(cpu, ops, 0);
    cpu.link = nullptr;
}

// Runs cached blocks until something wants the outer loop.
void run_blocks(Cpu &cpu) {
    const Op *slot = cpu.link;
    cpu.link = nullptr;
    check_fetch(cpu, 1);
    u64 lin = linear_rip(cpu);
    const u8 *host = fetch_host(cpu, lin);
    if (UNLIKELY(!host)) return run_scratch(cpu, 1);
    cpu.stats.lookups++;
    u64 epoch = cpu.blocks->epoch;
    Block *b = find_block(cpu, host, lin);
    if (UNLIKELY(!b)) return run_scratch(cpu, 1);
    u64 page_rip = cpu.rip - (lin & 0xfff);
    if (cpu.mode & MODE_CSFLAT) {
        if (!b->crossing) {
            if (slot && epoch == cpu.blocks->epoch) const_cast<Op *>(slot)->target = b;
            jump_entry(*cpu.jumps, cpu.rip) = {cpu.rip, jump_key(cpu), b, page_rip};
        }
    } else if (UNLIKELY(cpu.rip + b->bytes - 1 > cpu.seg[CS].limit)) {
        return run_scratch(cpu, 1);
    }
    if (UNLIKELY(cpu.budget < b->n)) return run_scratch(cpu, unsigned(cpu.budget));
    cpu.gpr[REG_PAGE_RIP] = page_rip;
    enter(cpu, b->ops(), cpu.budget - b->n);
}

bool at_breakpoint(const Cpu &cpu) {
    if (retired(cpu) == cpu.breakpoint_exempt) return false;
    u64 lin = linear_rip(cpu);
    for (u32 i = 0; i < cpu.breakpoint_count; i++)
        if (cpu.breakpoints[i] == lin) return true;
    return false;
}

// Software interrupts do not trap to the single-step handler when they are through: they cleared TF (SDM Vol. 3B 18.3.1.4).
bool clears_trap(const Op &op) {
    const char *text = row_of(op.id).text;
    return !std::strncmp(text, "int", 3) || !std::strncmp(text, "sys", 3);
}

// Takes what is pending before the next instruction, in the order of SDM Vol. 3A table 6-2.  Returns false if there is nothing.
bool deliver_pending(Cpu &cpu, u32 pending) {
    if (pending & PEND_INIT) {
        cpu.pending.fetch_and(~u32(PEND_INIT));
        reset_cpu(cpu, true);
        return true;
    }
    if (pending & PEND_MCE) {
        cpu.pending.fetch_and(~u32(PEND_MCE));
        deliver_machine_check(cpu);
        return true;
    }
    if ((pending & PEND_DEBUG) && cpu.shadow < 2) {
        cpu.pending.fetch_and(~u32(PEND_DEBUG));
        deliver_debug_trap(cpu, 0);
        return true;
    }
    if ((pending & PEND_NMI) && !cpu.nmi_blocked && cpu.shadow < 2) {
        cpu.pending.fetch_and(~u32(PEND_NMI));
        cpu.shadow = 0;
        deliver_nmi(cpu);
        return true;
    }
    if ((pending & PEND_INTR) && (cpu.flags & FL_IF) && !cpu.shadow) {
        int vector = acknowledge_interrupt(cpu);
        if (vector < 0) {
            cpu.pending.fetch_and(~u32(PEND_INTR));
            return true;
        }
        deliver_external(cpu, u8(vector));
        return true;
    }
    return false;
}

constexpr u32 STOPPING = PEND_STOP | PEND_BREAK | PEND_ERROR | PEND_WATCH;

RunExit stop_reason(Cpu &cpu, u32 pending) {
    u32 bit = pending & PEND_ERROR ? PEND_ERROR : pending & PEND_WATCH ? PEND_WATCH : pending & PEND_BREAK ? PEND_BREAK : PEND_STOP;
    cpu.pending.fetch_and(~bit);
    return bit == PEND_ERROR ? RunExit::ERROR : bit == PEND_WATCH ? RunExit::WATCHPOINT : bit == PEND_BREAK ? RunExit::BREAK
                                                                                                            : RunExit::STOP;
}

// One turn of the outer loop.  Returns true when the run ends, with *exit set.
bool turn(Cpu &cpu, RunExit *exit) {
    cpu.floor.store(0, std::memory_order_seq_cst);
    u32 pending = cpu.pending.load();
    if (UNLIKELY(pending)) {
        if (pending & STOPPING) {
            *exit = stop_reason(cpu, pending);
            return true;
        }
        cpu.pending.fetch_and(~u32(PEND_FLUSH));
    }
    if (UNLIKELY(cpu.blocks->stale)) {
        flush_blocks(cpu);
        cpu.link = nullptr;
    }
    if (UNLIKELY(cpu.activity != Activity::ACTIVE)) {
        cpu.link = nullptr;
        if (cpu.activity == Activity::SHUTDOWN) return *exit = RunExit::SHUTDOWN, true;
        if (cpu.activity == Activity::STUCK) return *exit = RunExit::STUCK, true;
        if (cpu.activity == Activity::WAIT_SIPI) {
            if (pending & PEND_INIT) {
                deliver_pending(cpu, PEND_INIT);
                return false;
            }
            return *exit = RunExit::WAIT, true;
        }
        if (!wakes(cpu, pending)) return *exit = RunExit::HALT, true;
        cpu.activity = Activity::ACTIVE;
    }
    if (UNLIKELY(cpu.exit_reason == RunExit::YIELD)) {
        cpu.exit_reason = RunExit::BUDGET;
        return *exit = RunExit::YIELD, true;
    }
    if (UNLIKELY(cpu.budget <= 0)) return *exit = RunExit::BUDGET, true;
    if (UNLIKELY(pending & ~u32(PEND_FLUSH)) && deliver_pending(cpu, pending)) {
        cpu.link = nullptr;
        return false;
    }
    const bool trap = cpu.flags & FL_TF;
    if (LIKELY(!trap && !cpu.shadow && !cpu.code_breakpoints && !cpu.breakpoint_count)) {
        run_blocks(cpu);
        return false;
    }
    // One instruction.
    cpu.link = nullptr;
    if (cpu.breakpoint_count && at_breakpoint(cpu)) return *exit = RunExit::BREAKPOINT, true;
    if (cpu.code_breakpoints && check_instruction_breakpoints(cpu)) {
        deliver_fault(cpu, GuestFault{EXC_DB, false, 0, 0});
        return false;
    }
    if (cpu.shadow && !pending && !trap) {
        // Nothing is held back: the shadow passes unseen.
        cpu.shadow = 0;
        if (!cpu.code_breakpoints && !cpu.breakpoint_count) {
            run_blocks(cpu);
            return false;
        }
    }
    cpu.shadow = 0;
    i64 before = cpu.budget;
    run_scratch(cpu, 1);
    if (trap && cpu.shadow < 2 && !(cpu.pending.load() & (PEND_ERROR))) {
        // A repeated string instruction traps after every iteration, retired or not.
        bool moved = cpu.budget != before || row_of(cpu.jumps->scratch_ops[0].id).attrs & ATTR_STRING;
        if (moved && !((cpu.flags & FL_TF) == 0 && clears_trap(cpu.jumps->scratch_ops[0]))) deliver_debug_trap(cpu, DR6_BS);
    }
    return false;
}

}  // namespace

RunExit run(Cpu &cpu, u64 instructions) {
    constexpr unsigned kFruitless = 4096;
    cpu.run_end = retired(cpu) + instructions;
    cpu.budget = i64(instructions);
    cpu.link = nullptr;
    cpu.gpr[REG_ZERO] = 0;
    RunExit exit = RunExit::BUDGET;
    cpu.exit_reason = exit;
    struct Floating {
        Cpu &cpu;
        explicit Floating(Cpu &c) : cpu(c) { fp_enter(cpu); }
        ~Floating() { fp_leave(cpu); }
    } floating(cpu);
    i64 last = cpu.budget;
    unsigned fruitless = 0;
    for (;;) {
        try {
            while (!turn(cpu, &exit)) {
                // A handler that faults on its first instruction, over and over, retires nothing: let such a run end all the same.
                if (LIKELY(cpu.budget != last)) {
                    last = cpu.budget;
                    fruitless = 0;
                } else if (UNLIKELY(++fruitless > kFruitless) && cpu.budget > 0) {
                    last = --cpu.budget;
                }
            }
            break;
        } catch (const GuestFault &fault) {
            cpu.link = nullptr;
            if (fault.vector != EXC_RETRY) {
                deliver_fault(cpu, fault);
            }
        }
        // A handler that faults on its first instruction, over and over, retires nothing: let such a run end all the same.
        if (cpu.budget != last) {
            last = cpu.budget;
            fruitless = 0;
        } else if (++fruitless > kFruitless && cpu.budget > 0) {
            last = --cpu.budget;
        }
    }
    cpu.exit_reason = exit;
    return exit;
}
