// Operand access for slow functions: registers, memory operands with every check, the stack.  Included at the end of cpu.h.
#pragma once

// ---- registers.  `code` is Op::r or Op::m: an index, or for 8-bit operands a byte offset into gpr.
template <class T> inline T reg(const Cpu &c, u8 code) {
    if constexpr (sizeof(T) == 1) return reinterpret_cast<const u8 *>(c.gpr)[code];
    else return T(c.gpr[code]);
}
template <class T> inline void set_reg(Cpu &c, u8 code, T v) {
    if constexpr (sizeof(T) == 1) reinterpret_cast<u8 *>(c.gpr)[code] = u8(v);
    else if constexpr (sizeof(T) == 2) store_host<u16>(&c.gpr[code], u16(v));
    else c.gpr[code] = v;  // 32-bit results are zero-extended
}
// Register by index with a size known at run time only (0-3 = log2); never 8-bit high registers.
inline u64 reg_sized(const Cpu &c, u8 index, unsigned width) {
    switch (width) {
    case 0: return u8(c.gpr[index]);
    case 1: return u16(c.gpr[index]);
    case 2: return u32(c.gpr[index]);
    default: return c.gpr[index];
    }
}
inline void set_reg_sized(Cpu &c, u8 index, u64 v, unsigned width) {
    switch (width) {
    case 0: store_host<u8>(&c.gpr[index], u8(v)); break;
    case 1: store_host<u16>(&c.gpr[index], u16(v)); break;
    case 2: c.gpr[index] = u32(v); break;
    default: c.gpr[index] = v;
    }
}

// Runs `body` with T bound to the operand type of op.width.
#define WITH_WIDTH(op, ...)                                                                                                  \
    switch ((op).width) {                                                                                                    \
    case 0: { using T = u8; __VA_ARGS__ } break;                                                                             \
    case 1: { using T = u16; __VA_ARGS__ } break;                                                                            \
    case 2: { using T = u32; __VA_ARGS__ } break;                                                                            \
    default: { using T = u64; __VA_ARGS__ } break;                                                                           \
    }

// ---- addresses
inline bool in_64bit(const Cpu &c) { return (c.mode & MODE_SIZE) == MODE_64; }
inline u64 address_mask(unsigned adsize) { return adsize == 2 ? ~u64(0) : adsize == 1 ? 0xffffffffu : 0xffffu; }
// Offset (effective address) of the memory operand.
inline u64 effective_address(const Cpu &c, const Op &op) {
    u64 a = c.gpr[op.base] + (c.gpr[op.index] << op.scale) + u64(i64(op.disp));
    if (UNLIKELY(op.ripx)) a += op.off + op.len;
    return a & address_mask(op.adsize);
}
inline bool canonical(const Cpu &c, u64 lin) {
    unsigned shift = 64 - c.lin_bits;
    return u64(i64(lin << shift) >> shift) == lin;
}
// Segment checks for [offset, offset + size): limit, type, null; canonicality in 64-bit mode.  Raises #GP or #SS.  Returns the linear address.
u64 checked_linear(Cpu &cpu, u8 seg, u64 offset, unsigned size, bool write);
// #AC where MODE_AC is set and the address is not a multiple of `align`.
void check_alignment(Cpu &cpu, u64 lin, unsigned align);

// Wraps of the pieces of one access at the end of a 16- or 32-bit segment are not modelled: the limit check has caught them.
inline u64 operand_linear(Cpu &cpu, const Op &op, unsigned size, bool write) {
    return checked_linear(cpu, op.seg, effective_address(cpu, op), size, write);
}

// ---- memory operand
template <class T> inline T read_mem(Cpu &cpu, const Op &op) {
    u64 lin = operand_linear(cpu, op, sizeof(T), false);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, sizeof(T));
    return read_lin<T>(cpu, lin);
}
template <class T> inline void write_mem(Cpu &cpu, const Op &op, T v) {
    u64 lin = operand_linear(cpu, op, sizeof(T), true);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, sizeof(T));
    write_lin<T>(cpu, lin, v);
}
// Read-modify-write: checks writability first, then reads; finish with write_lin(cpu, *lin, v).
template <class T> inline T read_mem_rmw(Cpu &cpu, const Op &op, u64 *lin) {
    *lin = operand_linear(cpu, op, sizeof(T), true);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, *lin, sizeof(T));
    TlbEntry &e = cpu.tlb[tlb_index(*lin)];
    if (((*lin + sizeof(T) - 1) & ~u64(0xfff)) != e.write) probe_write(cpu, *lin, sizeof(T), data_set(cpu));
    return read_lin<T>(cpu, *lin);
}

// ---- ModRM.rm operand, register or memory
template <class T> inline T read_rm(Cpu &cpu, const Op &op) { return op.is_reg ? reg<T>(cpu, op.m) : read_mem<T>(cpu, op); }
template <class T> inline void write_rm(Cpu &cpu, const Op &op, T v) {
    if (op.is_reg) set_reg<T>(cpu, op.m, v);
    else write_mem<T>(cpu, op, v);
}

// ---- stack.  The pointer is RSP, ESP or SP by mode and SS.B.
inline u64 stack_mask(const Cpu &c) { return in_64bit(c) ? ~u64(0) : (c.mode & MODE_SS32) ? 0xffffffffu : 0xffffu; }
inline void set_sp(Cpu &c, u64 v) {
    u64 mask = stack_mask(c);
    c.gpr[RSP] = mask == 0xffff ? ((c.gpr[RSP] & ~mask) | (v & mask)) : (v & mask);
}
template <class T> inline void push(Cpu &cpu, T v) {  // RSP moves only after the store succeeded
    u64 sp = (cpu.gpr[RSP] - sizeof(T)) & stack_mask(cpu);
    u64 lin = checked_linear(cpu, SS, sp, sizeof(T), true);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, sizeof(T));
    write_lin<T>(cpu, lin, v);
    set_sp(cpu, sp);
}
template <class T> inline T peek(Cpu &cpu, unsigned offset = 0) {
    u64 sp = (cpu.gpr[RSP] + offset) & stack_mask(cpu);
    u64 lin = checked_linear(cpu, SS, sp, sizeof(T), false);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, sizeof(T));
    return read_lin<T>(cpu, lin);
}
template <class T> inline T pop(Cpu &cpu) {
    T v = peek<T>(cpu);
    set_sp(cpu, cpu.gpr[RSP] + sizeof(T));
    return v;
}
