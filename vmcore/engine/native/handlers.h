// How handlers go on to one another.  Under GCC and Clang with optimisation they tail-call; with VMCORE_CALL_LOOP (sanitizers,
// other compilers, unoptimised builds) the same bodies note the next op and return to a loop.
//
// A handler takes no address of a local and makes no call but tail calls, so that it needs no stack frame.  Those that do call (h_slow
// and its kin) are marked by being in run.cpp.
#pragma once
#include "blocks.h"

#if !defined(VMCORE_CALL_LOOP) && (!defined(__GNUC__) || !defined(__OPTIMIZE__))
#define VMCORE_CALL_LOOP 1
#endif

#define HANDLER(name) void name(Cpu *cpu, const Op *op, i64 budget)

#if VMCORE_CALL_LOOP
#define TAIL(f, o, b)                                                                                                        \
    do {                                                                                                                     \
        cpu->loop_fn = (f);                                                                                                  \
        cpu->loop_op = (o);                                                                                                  \
        cpu->loop_budget = (b);                                                                                              \
        return;                                                                                                              \
    } while (0)
#define LEAVE()                                                                                                              \
    do {                                                                                                                     \
        cpu->loop_fn = nullptr;                                                                                              \
        return;                                                                                                              \
    } while (0)
#else
#if defined(__clang__)
#define TAIL(f, o, b) __attribute__((musttail)) return (f)(cpu, (o), (b))
#else
#define TAIL(f, o, b) return (f)(cpu, (o), (b))
#endif
#define LEAVE() return
#endif

// Binds the three values that every handler passes on to the registers of the calling convention.  Left alone, GCC keeps them elsewhere and
// moves them at the end.
#if !VMCORE_CALL_LOOP && defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && !defined(_WIN32)
#define PIN(op_) asm volatile("" : "+S"(op_), "+d"(budget) : "D"(cpu))
#else
#define PIN(op_) (void)0
#endif

// The instruction `n` places on in the block.
#define SKIP(n)                                                                                                              \
    do {                                                                                                                     \
        op += (n);                                                                                                           \
        PIN(op);                                                                                                             \
        TAIL(op->fn, op, budget);                                                                                            \
    } while (0)
// The next instruction of the block.
#define NEXT() SKIP(1)

// Enters a block: it is debited as a whole.  One test covers the end of the budget and everything that is pending.
#define ENTER(block_)                                                                                                        \
    do {                                                                                                                     \
        Block *b_ = (block_);                                                                                                \
        budget -= b_->n;                                                                                                     \
        if (UNLIKELY(budget < cpu->floor.load(std::memory_order_relaxed))) TAIL(h_refused, b_->ops(), budget);               \
        const Op *first_ = b_->ops();                                                                                        \
        PIN(first_);                                                                                                         \
        TAIL(first_->fn, first_, budget);                                                                                    \
    } while (0)

// A jump within the page through the link of `slot` (the jump's own op, or the end op).
#define JUMP_LINK(slot)                                                                                                      \
    do {                                                                                                                     \
        const Op *slot_ = (slot);                                                                                            \
        if (UNLIKELY(!slot_->target)) TAIL(h_link, slot_, budget);                                                           \
        ENTER(slot_->target);                                                                                                \
    } while (0)

// run.cpp
HANDLER(h_slow);         // the slow function of the row, then the next op
HANDLER(h_slow_end);     // the same for a block-ending one
HANDLER(h_slow_string);  // the same for a string instruction, which may have to be executed again
HANDLER(h_refused);      // op is the first of a block that was debited but may not run
HANDLER(h_leave);        // leaves before op
HANDLER(h_heat);         // first op of a block that has no native code yet
HANDLER(h_link);         // op is a jump whose target is not linked (taken), or an end op
HANDLER(h_through);      // end op in the middle of a page
HANDLER(h_through_page); // end op at the end of the page
HANDLER(h_miss_read);    // a fast handler missed the TLB at cpu->ea: fills it and retries op, or takes the slow function
HANDLER(h_miss_write);

ALWAYS_INLINE u64 rip_mask(const Cpu &cpu) { return cpu.mode & MODE_64 ? ~u64(0) : 0xffffffffu; }
// Stores what slow code needs to know.
ALWAYS_INLINE void sync_op(Cpu *cpu, const Op *op, i64 budget) {
    u64 mask = rip_mask(*cpu), rip = cpu->gpr[REG_PAGE_RIP] + op->off;
    cpu->rip = rip & mask;
    cpu->next = (rip + op->len) & mask;
    cpu->budget = budget + op->left;
}
