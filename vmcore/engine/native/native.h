// Native code for hot blocks on x86-64 hosts.
//
// The ops of a block stay the reference.  For every run of consecutive ops that it knows, the translator emits one piece of host code
// that does what their handlers do, and makes it the handler of the first of them: a superinstruction made to measure.  It has the
// signature and the obligations of every handler: guest registers and flags are in memory before anything that can fault or leave, a memory
// access that misses the TLB goes to the miss handler of that op (which goes on with the ops' own handlers), jumps go through the
// links of the ops and debit the target block.  So faults, budgets, invalidation and chaining need nothing of their own, and a block
// runs the same with and without it.
//
// Host registers: RDI = Cpu, RSI = first op of the run, RDX = budget; RAX, RCX, R8, R9 scratch; the others hold guest registers within
// a run, which is why vmcore_enter_handlers() saves them all.  They are written back where the run can be left.
#pragma once
#include "handlers.h"

#if !defined(VMCORE_CALL_LOOP) && defined(__GNUC__) && defined(__OPTIMIZE__) && defined(__x86_64__) && defined(__linux__)
#define VMCORE_NATIVE 1
#else
#define VMCORE_NATIVE 0
#endif

// Emits code for the runs of a block.  Does nothing if there is no memory for it.
void emit_native(Cpu &cpu, Block *b);
// Executions before a block is worth it; 0: never (VMCORE_NATIVE=0 in the environment).
extern const u32 native_threshold;
