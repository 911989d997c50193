// The state of one vCPU, the decoded operation, and the contract between the engine's sources.
//
// How the pieces fit:
//
//   generate.py + tables/*.ops  ->  decode.cpp      bytes -> Insn (every operand field, table entry)
//                                   translate.cpp   Insn  -> Op[] of one basic block (handler choice, fusion, dead flags)
//                                   blocks.cpp      block cache, jump cache, invalidation (self-modifying code)
//                                   run.cpp         outer loop: pending events, look-up, enter a block, leave
//                                   ops_*.cpp       fast handlers, tail-calling one another
//                                   x_*.cpp         "slow" instructions: plain C++ functions void x_NAME(Cpu&, const Op&)
//                                   mmu.cpp         page walk, TLB fill, slow memory accessors
//                                   memory.cpp      guest-physical memory: RAM, ROM, devices
//                                   segments.cpp interrupts.cpp tasks.cpp msr.cpp cpuid.cpp debug.cpp ...
//
// Precision: a handler changes no guest state before its last memory check.  `rip` is not kept while handlers run: the
// RIP of an op is page_rip + op->off.  Slow functions and the slow variants of fast handlers run after sync(), which
// stores rip, next and budget, so faults (C++ exception GuestFault) are precise.
#pragma once
#include "types.h"
#include <atomic>

struct Cpu;
struct Op;
struct Block;
struct Memory;

// ---------------------------------------------------------------------------------------------------------------- ops

// Handlers tail-call one another; `budget` is the number of instructions that may still retire *after the current block*
// (a block is debited as a whole when it is entered).
using Handler = void (*)(Cpu *cpu, const Op *op, i64 budget);
using SlowFn = void (*)(Cpu &cpu, const Op &op);

enum : u8 { REG_ZERO = 16, REG_PAGE_RIP = 17 };  // pseudo registers usable as base or index

enum Rep : u8 { REP_NONE = 0, REP_Z = 1 /* F3 */, REP_NZ = 2 /* F2 */ };

struct Op {
    Handler fn;  // what to run (the first op of a fused pair runs both; the second keeps its own)
    union {
        u64 imm;        // immediate, sign- or zero-extended as the instruction wants; or page-relative jump target
        Block *target;  // direct successor once chained
    };
    i32 disp;        // displacement; for RIP-relative operands relative to page_rip, with base = REG_PAGE_RIP
    u8 r;            // ModRM.reg (or the opcode's register): index 0-15, for 8-bit operands byte offset index*8 + high
    u8 m;            // ModRM.rm when is_reg: the same encoding
    u8 base, index;  // of the memory operand; REG_ZERO where there is none
    u16 off;         // offset of the instruction in its page
    u8 left;         // instructions from this one to the end of the block, this one included
    u8 len;          // instruction length in bytes, prefixes included
    u16 id;          // row of the instruction tables
    u8 width : 3;    // log2 of the operand size in bytes (first operand with a variable size)
    u8 adsize : 2;   // address size: 0 = 16, 1 = 32, 2 = 64 bits
    u8 rep : 2;      // Rep
    u8 lock : 1;
    u8 scale : 2;    // of the index
    u8 seg : 3;      // segment of the memory operand (Segment index), defaults applied
    u8 is_reg : 1;   // ModRM.mod == 3
    u8 rex : 1;      // any REX prefix present
    u8 ripx : 1;     // RIP-relative whose page-relative displacement does not fit: disp is the raw disp32
};
#if INTPTR_MAX == INT64_MAX
static_assert(sizeof(Op) == 32, "an op is half a cache line");
#endif

// --------------------------------------------------------------------------------------------------------- registers

enum Gpr : u8 { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum SegIndex : u8 { ES, CS, SS, DS, FS, GS, LDTR, TR, SEG_COUNT };

// attr is laid out as a descriptor's bits 40-55 (SDM Vol. 3A 3.4.5): type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15.
enum : u32 { ATTR_S = 1 << 4, ATTR_P = 1 << 7, ATTR_AVL = 1 << 12, ATTR_L = 1 << 13, ATTR_DB = 1 << 14, ATTR_G = 1 << 15,
             ATTR_NULL = 1 << 16 /* loaded with a null selector: any use faults */ };
struct Segment {
    u64 base;
    u32 limit;  // in bytes, granularity applied
    u32 attr;
    u16 selector;
    u8 type() const { return attr & 15; }
    u8 dpl() const { return (attr >> 5) & 3; }
};
struct TableRegister {
    u64 base;
    u32 limit;
};

enum : u32 {
    FL_CF = 1 << 0, FL_1 = 1 << 1, FL_PF = 1 << 2, FL_AF = 1 << 4, FL_ZF = 1 << 6, FL_SF = 1 << 7, FL_TF = 1 << 8,
    FL_IF = 1 << 9, FL_DF = 1 << 10, FL_OF = 1 << 11, FL_IOPL = 3 << 12, FL_NT = 1 << 14, FL_RF = 1 << 16,
    FL_VM = 1 << 17, FL_AC = 1 << 18, FL_VIF = 1 << 19, FL_VIP = 1 << 20, FL_ID = 1 << 21,
    FL_ARITH = FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF,
};
enum : u64 {
    CR0_PE = 1u << 0, CR0_MP = 1u << 1, CR0_EM = 1u << 2, CR0_TS = 1u << 3, CR0_ET = 1u << 4, CR0_NE = 1u << 5,
    CR0_WP = 1u << 16, CR0_AM = 1u << 18, CR0_NW = 1u << 29, CR0_CD = 1u << 30, CR0_PG = 1u << 31,
    CR4_VME = 1u << 0, CR4_PVI = 1u << 1, CR4_TSD = 1u << 2, CR4_DE = 1u << 3, CR4_PSE = 1u << 4, CR4_PAE = 1u << 5,
    CR4_MCE = 1u << 6, CR4_PGE = 1u << 7, CR4_PCE = 1u << 8, CR4_OSFXSR = 1u << 9, CR4_OSXMMEXCPT = 1u << 10,
    CR4_UMIP = 1u << 11, CR4_FSGSBASE = 1u << 16, CR4_PCIDE = 1u << 17, CR4_OSXSAVE = 1u << 18, CR4_SMEP = 1u << 20,
    CR4_SMAP = 1u << 21,
    EFER_SCE = 1u << 0, EFER_LME = 1u << 8, EFER_LMA = 1u << 10, EFER_NXE = 1u << 11, EFER_SVME = 1u << 12,
    EFER_FFXSR = 1u << 14,
};

// Everything that decoding depends on; part of the key of a block.  Kept up to date by update_mode().
enum : u32 {
    MODE_16 = 0, MODE_32 = 1, MODE_64 = 2, MODE_SIZE = 3,  // default code size
    MODE_SS32 = 1 << 2,      // SS.B: the stack pointer is ESP (outside 64-bit mode)
    MODE_FLAT = 1 << 3,      // ES, CS, SS, DS: base 0, limit 4 GiB, present, readable/writable: no segment checks needed. Always in 64-bit mode
    MODE_CSFLAT = 1 << 4,    // CS base 0 and limit 4 GiB (or 64-bit mode): blocks may be chained without limit checks
    MODE_AC = 1 << 5,        // alignment is checked (CR0.AM, EFLAGS.AC, CPL 3): fast memory handlers are not used
    MODE_PROT = 1 << 6,      // protected mode and not virtual-8086 (long mode included)
    MODE_LONG = 1 << 7,      // EFER.LMA: long mode, 64-bit or compatibility
    MODE_NOX87 = 1 << 8,     // CR0.EM or CR0.TS: x87 raises #NM
    MODE_NOMMX = 1 << 9,     // CR0.EM (#UD) or CR0.TS (#NM): MMX
    MODE_NOSSE = 1 << 10,    // CR0.EM or not CR4.OSFXSR (#UD), or CR0.TS (#NM): SSE
    MODE_V86 = 1 << 11,
    MODE_USER = 1 << 12,     // CPL 3: what may be fetched differs
};

// Lazily evaluated arithmetic flags.  cc_dst is the result, cc_src what the comment says, both truncated to the operand
// size by whoever evaluates them (upper bits are unspecified).  Numbering: group * 4 + log2(size), see cc().
enum CcGroup : u32 {
    CC_EFLAGS,  // cc_src holds the six arithmetic flags in their EFLAGS positions
    CC_ADD,     // cc_src: second operand
    CC_ADC,     // add with carry-in 1 (with carry-in 0 it is CC_ADD); cc_src: second operand
    CC_SUB,     // cc_src: second operand
    CC_SBB,     // subtract with borrow-in 1; cc_src: second operand
    CC_LOGIC,   // CF = OF = AF = 0
    CC_INC,     // cc_src: the carry flag to keep, 0 or 1
    CC_DEC,     // same
    CC_SHL,     // cc_src: the operand shifted by count - 1 (CF is its top bit)
    CC_SHR,     // SHR and SAR; cc_src: the operand shifted by count - 1 (CF is its bit 0)
    CC_MUL,     // CF = OF = cc_src (0 or 1); SF ZF PF from cc_dst
    CC_BLS,     // BLSR/BLSI/BLSMSK/BZHI: CF = cc_src (0 or 1); SF ZF from cc_dst; OF 0; AF PF cleared
    CC_GROUPS,
};
constexpr u32 cc(CcGroup group, unsigned log2size) { return group * 4 + log2size; }

struct alignas(64) Vector {  // room for ZMM; XMM is the low 16 bytes
    union {
        u8 u8_[64]; i8 i8_[64]; u16 u16_[32]; i16 i16_[32]; u32 u32_[16]; i32 i32_[16]; u64 u64_[8]; i64 i64_[8];
        float f32[16]; double f64[8];
    };
};
struct F80 {  // an x87 register as it lies in memory: significand, then sign and exponent
    u64 mant;
    u16 se;
};
struct Fpu {
    F80 st[8];       // physical registers R0-R7 (ST(i) is st[(top + i) & 7]); MMi is st[i].mant
    u16 cw, sw;      // sw without TOP (TOP is in `top`); see fpu_sw()
    u8 top;
    u8 valid;        // bit i: physical register i is not empty (abridged tag word as FXSAVE stores it)
    u16 op;          // last opcode, 11 bits
    u64 ip, dp;      // last instruction and data pointers (offsets)
    u16 cs, ds;
};

// ---------------------------------------------------------------------------------------------------------------- TLB

// Tags are linear page addresses, or TLB_INVALID.  Compare ((address + size - 1) & ~0xfff) with the tag of the entry of
// `address`: an access that crosses a page then misses by itself.  A tag is only set where plain loads/stores of host memory
// are right: no device, no code in the page (write), dirty bits set (write), no data breakpoint.
struct TlbEntry {
    u64 read, write, exec;
    u64 addend;  // host address = linear address + addend
};
constexpr u64 TLB_INVALID = ~u64(0);  // never equals a page address
constexpr unsigned TLB_BITS = 10;
constexpr unsigned TLB_SIZE = 1u << TLB_BITS;
enum TlbSet : u8 { TLB_USER, TLB_KERNEL, TLB_KERNEL_AC /* EFLAGS.AC set: SMAP lifted */, TLB_SETS };
// Bits of page number folded in, so that arrays a power of two apart do not share one entry.  Added and not XORed: two pages next to each
// other must never share an entry, or an access across them would hit the tag of the second with the address of the first.
ALWAYS_INLINE unsigned tlb_index(u64 lin) { return unsigned((lin >> 12) + (lin >> 21)) & (TLB_SIZE - 1); }

constexpr unsigned SITES_READ = 256, SITES_WRITE = 128;

// -------------------------------------------------------------------------------------------------------- run control

// Why the handlers must return to the outer loop; bits of Cpu::pending.
enum : u32 {
    PEND_STOP = 1 << 0,       // another thread asks run() to return
    PEND_BREAK = 1 << 1,      // a callback asks run() to return at the next instruction boundary
    PEND_INTR = 1 << 2,       // level of the INTR pin
    PEND_NMI = 1 << 3,
    PEND_SMI = 1 << 4,
    PEND_INIT = 1 << 5,
    PEND_MCE = 1 << 6,
    PEND_DEBUG = 1 << 7,      // a #DB trap is due after this instruction (dr6_pending)
    PEND_FLUSH = 1 << 8,      // code of the running block was invalidated: do not run on in it
    PEND_ERROR = 1 << 9,      // a callback raised a Python exception
    PEND_WATCH = 1 << 10,     // an access hit a watchpoint (watch_hit): leave at the next instruction boundary
};
enum class RunExit : u8 {
    BUDGET, STOP, HALT, SHUTDOWN /* triple fault */, YIELD /* PAUSE with several vCPUs */, WAIT /* waits for SIPI */,
    BREAK, BREAKPOINT, WATCHPOINT, ERROR, INTERNAL, STUCK /* exceptions without end */,
};
enum class Activity : u8 { ACTIVE, HALTED, WAIT_SIPI, SHUTDOWN, STUCK };

enum Vectors : u8 {
    EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF, EXC_CSO, EXC_TS, EXC_NP, EXC_SS, EXC_GP,
    EXC_PF, EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM,
    EXC_RETRY = 0xff,  // no exception: the instruction is executed again after what is pending was taken
};
struct GuestFault {  // thrown by slow code; the outer loop delivers it at Cpu::rip
    u8 vector;
    bool has_error;
    u32 error;
    u64 address;  // #PF: CR2
};

struct Watchpoint {  // of the embedder, not of the guest: [lin, lin + size) linear, reads and/or writes
    u64 lin, size;
    bool read, write;
};

struct Statistics {
    u64 blocks_decoded, blocks_invalidated, tlb_misses, walks, lookups, slow_accesses, device_accesses, exceptions, interrupts;
    u64 blocks_native;  // for which host code was emitted
};

struct Cpu {
    // --- touched by every handler: first cache lines
    u64 gpr[18];     // RAX..R15, the zero register, page_rip
    u64 cc_dst, cc_src;
    u32 cc_op;
    alignas(8) u32 mode;     // MODE_*
    u32 tlb_generation;      // grows with every flush; with mode the tag of the jump cache
    TlbEntry *tlb;   // the set of the current privilege
    std::atomic<i64> floor;  // a block is entered only if budget - block.n >= floor; 0, or INT64_MAX when something is pending
    u64 ea;          // linear address that a fast handler missed on
    u64 ea_tag;      // and the page of its last byte
    const Op *miss_op;   // the op whose access missed last, and the budget then
    i64 miss_budget;
    u64 lin_base[8]; // segment bases as address generation uses them (0 for ES CS SS DS in 64-bit mode)
    u32 flags;       // EFLAGS without the arithmetic flags (those are lazy), bit 1 set; DF IF TF ... live here
    u8 cpl;
    Activity activity;
    u8 shadow;       // 1: interrupts are held back for one instruction (STI, MOV SS); 2: debug traps too (MOV/POP SS)
    u8 yields;       // PAUSE leaves the run (several vCPUs take turns)

    // --- valid after sync()
    u64 rip;         // the instruction that runs, or runs next when parked
    u64 next;        // RIP after it; a block-ending slow function writes its jump target here
    i64 budget;      // instructions that may still retire, this one not yet counted
    u64 run_end;     // instructions retired when budget reaches 0: retired = run_end - budget
    std::atomic<u32> pending;
    RunExit exit_reason;
    const Op *link;  // a jump whose target the outer loop is asked to link
    Handler loop_fn; // the next op, where handlers return to a loop instead of calling one another (VMCORE_CALL_LOOP)
    const Op *loop_op;
    i64 loop_budget;

    // --- system registers
    Segment seg[SEG_COUNT];
    TableRegister gdtr, idtr;
    u64 cr0, cr2, cr3, cr4, cr8, efer, xcr0;
    u64 dr[8];
    u32 dr6_pending;
    u64 pdpte[4];    // PAE page-directory-pointer entries, loaded with CR3
    u64 star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
    u64 sysenter_cs, sysenter_esp, sysenter_eip, pat, apic_base, misc_enable, tsc_deadline, tsc_adjust;
    u64 mtrr_def, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    u64 mcg_cap, mcg_status, mcg_ctl, mc_bank[4 * 32];
    u64 feature_control, debugctl, syscfg, hwcr, top_mem, top_mem2;  // the last four: AMD
    u64 microcode;            // what IA32_BIOS_SIGN_ID reads
    u64 tsc_hz;               // nominal frequency of the TSC
    u64 tsc_offset;           // TSC = scaled guest time + tsc_offset (see tsc_now())
    u64 time_base_ns;         // guest ns at instruction count time_base_insns
    u64 time_base_insns;
    u64 ns_mul; u32 ns_shift; // ns = base + ((retired - base_insns) * ns_mul >> ns_shift)
    u64 tsc_mul; u32 tsc_shift;
    u8 nmi_blocked;           // until IRET
    u8 in_delivery;           // an exception or interrupt is being delivered (double-fault bookkeeping)
    u8 delivery_vector, delivery_ext;
    u64 rng_state;            // RDRAND/RDSEED, seeded
    u32 monitor_armed; u64 monitor_address;
    u64 features[8];          // bit set over the generated Feature enum
    u8 phys_bits, lin_bits;

    Fpu fpu;
    u32 mxcsr;                // while fp_loaded, sticky flags still in the host's MXCSR are missing here
    u8 fp_loaded;             // between fp_enter() and fp_leave()
    u8 ferr;                  // level of FERR#: an unmasked x87 error is pending with CR0.NE clear (boards wire it to IRQ 13)
    u8 ignne;                 // level of IGNNE#: such errors are ignored (PC: set by a write to port F0h, cleared when FERR# falls)
    Vector vec[32];

    Memory *memory;
    void *owner;              // the Python object
    u32 index;
    u32 cpuid_count;
    struct CpuidLeaf *cpuid;  // sorted table given by the model
    struct Blocks *blocks;    // shared with the other vCPUs of the machine
    struct JumpCache *jumps;
    Statistics stats;
    // Which 2 MiB and 1 GiB regions may have TLB entries made from large pages (INVLPG must then flush more than one entry).
    u64 large_2m[64], large_1g[8];
    u8 data_breakpoints;      // bit i: DR7 enables DRi for data; its page gets no TLB tags (set when DR0-3 or DR7 change, then tlb_flush)
    u8 code_breakpoints;      // bit i: DR7 enables DRi for instructions: run one at a time, see check_instruction_breakpoints()
    u8 io_breakpoints;        // bit i: DR7 and CR4.DE enable DRi for ports
    u32 filled_count;         // TLB entries filled since the last flush; the first of them in `filled`: set << TLB_BITS | index
    u16 filled[128];
    // The embedder's breakpoints: linear addresses, sorted.  While there are any, run() looks before each instruction and returns
    // BREAKPOINT with rip on it, unless retired() == breakpoint_exempt (so that one can go on from it).  Owned by module_cpu.cpp.
    const u64 *breakpoints;
    u64 breakpoint_exempt;
    u32 breakpoint_count;
    // The embedder's watchpoints: their pages get no TLB tags; the slow accessors compare, set watch_hit and pend PEND_WATCH.
    u32 watch_count;
    const Watchpoint *watches;
    u64 watch_hit;            // linear address of the access that hit
    TlbEntry tlbs[TLB_SETS][TLB_SIZE];
    // Native code remembers the page of each place in it that accesses memory: linear page address | site_bits, and the addend.  site_bits
    // (bits 3-11) hold the TLB set and a generation that every flush changes.
    u64 site_bits;
    struct Site {
        u64 tag, addend;
    } sites[SITES_READ + SITES_WRITE];
};

struct CpuidLeaf {
    u32 leaf, subleaf;
    u32 eax, ebx, ecx, edx;
    u8 has_subleaf;
};

// ------------------------------------------------------------------------------------------- services between sources

[[noreturn]] void raise_fault(Cpu &cpu, u8 vector);                 // without error code (#UD, #NM, #DE, #MF, #XM ...)
[[noreturn]] void raise_fault(Cpu &cpu, u8 vector, u32 error);      // with error code (#GP, #SS, #NP, #TS, #AC)
[[noreturn]] void raise_page_fault(Cpu &cpu, u64 lin, u32 error);
[[noreturn]] inline void raise_gp(Cpu &cpu, u32 error = 0) { raise_fault(cpu, EXC_GP, error); }
[[noreturn]] inline void raise_ud(Cpu &cpu) { raise_fault(cpu, EXC_UD); }

// interrupts.cpp: deliver at cpu.rip (return address cpu.rip for faults and external interrupts, cpu.next for software ones).
// They never throw: nested faults become #DF, then Activity::SHUTDOWN.
void deliver_fault(Cpu &cpu, const GuestFault &fault);
void deliver_external(Cpu &cpu, u8 vector);  // INTR after acknowledge
void deliver_nmi(Cpu &cpu);
void deliver_debug_trap(Cpu &cpu, u32 dr6_bits);  // #DB as a trap: cpu.rip already points after the instruction
void deliver_machine_check(Cpu &cpu);

// segments.cpp
void update_mode(Cpu &cpu);        // recompute mode, lin_base, tlb set after a change of CR0/CR4/EFER/EFLAGS.(AC|VM)/CPL/segments
void reset_cpu(Cpu &cpu, bool init);  // power-on / RESET, or INIT (keeps what INIT keeps, SDM Vol. 3A table 10-1)

// msr.cpp
u64 read_msr(Cpu &cpu, u32 index);             // raises #GP
void write_msr(Cpu &cpu, u32 index, u64 value);
u64 guest_ns(Cpu &cpu);
u64 tsc_now(Cpu &cpu);
u64 guest_ns(Cpu &cpu);
inline u64 retired(const Cpu &cpu) { return cpu.run_end - u64(cpu.budget); }

// run control: make the handlers return to the outer loop at the next block (or, from slow code, instruction) boundary.
inline void pend(Cpu &cpu, u32 bits) {
    cpu.pending.fetch_or(bits);
    cpu.floor.store(INT64_MAX, std::memory_order_release);
}

// Callbacks into the embedder (module.cpp); they may pend PEND_ERROR.  Called after sync() only.
u32 port_read(Cpu &cpu, u16 port, unsigned size);
void port_write(Cpu &cpu, u16 port, u32 value, unsigned size);
// Bulk string I/O: whole transfer through one call; returns false if the device has no bulk path (then go one by one).
bool port_read_bulk(Cpu &cpu, u16 port, unsigned size, u8 *data, u32 count);
bool port_write_bulk(Cpu &cpu, u16 port, unsigned size, const u8 *data, u32 count);
int acknowledge_interrupt(Cpu &cpu);                       // vector, or -1 when there is none after all
bool msr_read_hook(Cpu &cpu, u32 index, u64 *value);       // true: the embedder answered
bool msr_write_hook(Cpu &cpu, u32 index, u64 value);
void cr8_write_hook(Cpu &cpu, u64 value);
void ferr_hook(Cpu &cpu);  // cpu.ferr changed

// fpenv.cpp: the host's floating-point environment.  Between fp_enter() and fp_leave() the host's MXCSR and x87 control word hold the
// guest's rounding controls with every exception masked.  run() enters and leaves; callbacks into the embedder leave and enter again.
void fp_enter(Cpu &cpu);
void fp_leave(Cpu &cpu);
void reset_fpu(Cpu &cpu);             // as after RESET: FNINIT state with zeroed registers, MXCSR 1F80h
u32 read_mxcsr(const Cpu &cpu);       // with the sticky flags
void write_mxcsr(Cpu &cpu, u32 value);
u16 fpu_sw(const Cpu &cpu);           // status word with TOP, ES and B

// blocks.cpp: life of the caches of decoded code.  cpu.memory is set.
void blocks_attach(Cpu &cpu);  // gives the vCPU its jump cache and the machine's block cache (memory.blocks, made for the first vCPU)
void blocks_detach(Cpu &cpu);  // frees the jump cache; the machine's block cache goes with the last vCPU

// debug.cpp: a data access of [lin, lin + size): notes matches of DR0-3 (pends PEND_DEBUG; a trap after the instruction).
void check_data_breakpoint(Cpu &cpu, u64 lin, unsigned size, bool write);

// run.cpp
RunExit run(Cpu &cpu, u64 instructions);

// Feature gating.
#include "features.inc"  // generated: enum Feature { F_..., }
inline bool has(const Cpu &cpu, Feature f) { return cpu.features[f >> 6] >> (f & 63) & 1; }

// What native code remembers of translations is void: after every change of a TLB that takes something away.
inline void forget_sites(Cpu &cpu) {
    u64 generation = (cpu.site_bits >> 5) + 1;
    if (generation > 127) {
        std::memset(cpu.sites, 0xff, sizeof cpu.sites);
        generation = 1;
    }
    cpu.site_bits = (cpu.site_bits & 0x18) | generation << 5;
}

#include "flags.h"
#include "mmu.h"
#include "operands.h"
#include "system.h"
