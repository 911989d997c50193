// What the fast handlers share: addresses, memory access through the TLB, choice by operand form.
#pragma once
#include "alu.h"
#include "handlers.h"

// How a fast handler forms the address of its memory operand.  A general one does everything but segment limits.
enum AddressKind : u8 {
    A_BASE,      // 64-bit: base + displacement
    A_INDEX1,    // 64-bit: base + index * 1 + displacement
    A_INDEX2,
    A_INDEX4,
    A_INDEX8,
    A_ANY,       // any address size, any segment without limit check
    A_KINDS,
    A_NONE = 0xff,  // the slow function
};

template <AddressKind K> ALWAYS_INLINE u64 address(const Cpu *cpu, const Op *op) {
    u64 a = cpu->gpr[op->base] + u64(i64(op->disp));
    if constexpr (K == A_BASE) return a;
    else if constexpr (K == A_INDEX1) return a + cpu->gpr[op->index];
    else if constexpr (K == A_INDEX2) return a + (cpu->gpr[op->index] << 1);
    else if constexpr (K == A_INDEX4) return a + (cpu->gpr[op->index] << 2);
    else if constexpr (K == A_INDEX8) return a + (cpu->gpr[op->index] << 3);
    else {
        a += cpu->gpr[op->index] << op->scale;
        return (a & (~u64(0) >> (op->adsize == 2 ? 0 : op->adsize == 1 ? 32 : 48))) + cpu->lin_base[op->seg];
    }
}

// The fast kind for the memory operand of `op`, or A_NONE: segments with limits, alignment checks, odd RIP-relative forms.
inline AddressKind address_kind(const Translation_ &t, const Op &op) {
    if (!(t.mode & MODE_FLAT) || (t.mode & MODE_AC) || op.ripx) return A_NONE;
    bool mode64 = (t.mode & MODE_SIZE) == MODE_64;
    if (op.seg >= FS) return mode64 ? A_ANY : A_NONE;
    if (!mode64 && op.seg == CS) return A_NONE;  // not writable in protected mode
    if (op.adsize != 2) return A_ANY;
    if (op.index == REG_ZERO) return A_BASE;
    return AddressKind(A_INDEX1 + op.scale);
}
// The same where only two kinds of handlers are made.
inline AddressKind address_kind2(const Translation_ &t, const Op &op) {
    AddressKind k = address_kind(t, op);
    return k == A_NONE || k == A_BASE ? k : A_ANY;
}

// The TLB entry of an address.
ALWAYS_INLINE const TlbEntry &tlb_at(const Cpu *cpu, u64 lin) { return cpu->tlb[tlb_index(lin)]; }
// Host address of [lin, lin + size), or leaves through the miss handler, which tries `at` again.
#define HOST_READ_AT(host_, lin_, size_, at)                                                                                 \
    u8 *host_;                                                                                                               \
    {                                                                                                                        \
        const u64 l_ = (lin_);                                                                                               \
        const TlbEntry &e_ = tlb_at(cpu, l_);                                                                                     \
        const u64 tag_ = (l_ + (size_)-1) & ~u64(0xfff);                                                                     \
        if (UNLIKELY(tag_ != e_.read)) {                                                                                     \
            cpu->ea = l_;                                                                                                    \
            cpu->ea_tag = tag_;                                                                                              \
            TAIL(h_miss_read, at, budget);                                                                                   \
        }                                                                                                                    \
        host_ = reinterpret_cast<u8 *>(std::uintptr_t(l_ + e_.addend));                                                      \
    }
#define HOST_WRITE_AT(host_, lin_, size_, at)                                                                                \
    u8 *host_;                                                                                                               \
    {                                                                                                                        \
        const u64 l_ = (lin_);                                                                                               \
        const TlbEntry &e_ = tlb_at(cpu, l_);                                                                                     \
        const u64 tag_ = (l_ + (size_)-1) & ~u64(0xfff);                                                                     \
        if (UNLIKELY(tag_ != e_.write)) {                                                                                    \
            cpu->ea = l_;                                                                                                    \
            cpu->ea_tag = tag_;                                                                                              \
            TAIL(h_miss_write, at, budget);                                                                                  \
        }                                                                                                                    \
        host_ = reinterpret_cast<u8 *>(std::uintptr_t(l_ + e_.addend));                                                      \
    }
#define HOST_READ(host_, lin_, size_) HOST_READ_AT(host_, lin_, size_, op)
#define HOST_WRITE(host_, lin_, size_) HOST_WRITE_AT(host_, lin_, size_, op)

// Stack pointer of flat code: RSP in 64-bit mode, else ESP.
template <bool M64> ALWAYS_INLINE u64 stack_pointer(const Cpu *cpu) { return M64 ? cpu->gpr[RSP] : u32(cpu->gpr[RSP]); }
template <bool M64> ALWAYS_INLINE u64 stack_below(const Cpu *cpu, unsigned bytes) {
    u64 sp = cpu->gpr[RSP] - bytes;
    return M64 ? sp : u32(sp);
}
template <bool M64> ALWAYS_INLINE u64 stack_above(const Cpu *cpu, u64 bytes) {
    u64 sp = cpu->gpr[RSP] + bytes;
    return M64 ? sp : u32(sp);
}
// Whether the stack is flat and what handlers need: 0 no, 1 ESP, 2 RSP.
inline unsigned flat_stack(const Translation_ &t) {
    if (!(t.mode & MODE_FLAT) || (t.mode & MODE_AC)) return 0;
    if ((t.mode & MODE_SIZE) == MODE_64) return 2;
    return t.mode & MODE_SS32 ? 1 : 0;
}

// Table of one handler template over the operand widths.
#define BY_WIDTH(h) {h<u8>, h<u16>, h<u32>, h<u64>}
#define RULE(name) Handler rule_##name(const Translation_ &t, Op &op)
