// Integer instructions in their general form: every operand size, segment check and fault.  They run what the fast handlers
// (ops_*.cpp) do not: memory operands that miss the TLB, code that is not flat, rare instructions.  SDM Vol. 2.
#include "alu.h"

#define SLOW(name) void x_##name(Cpu &cpu, const Op &op)

// ------------------------------------------------------------------------------------------- arithmetic and logic
namespace {

template <class T> void alu_rm(Cpu &cpu, const Op &op, Alu f, T b) {
    if (op.is_reg) {
        T r = alu<T>(cpu, f, reg<T>(cpu, op.m), b);
        if (alu_writes(f)) set_reg<T>(cpu, op.m, r);
    } else if (alu_writes(f)) {
        u64 lin;
        T a = read_mem_rmw<T>(cpu, op, &lin);
        bool carry = alu_reads_carry(f) ? carry_flag(cpu) : false;
        T r = alu_result<T>(f, a, b, carry);
        write_lin<T>(cpu, lin, r);
        alu_flags<T>(cpu, f, r, b, carry);
    } else {
        alu<T>(cpu, f, read_mem<T>(cpu, op), b);
    }
}
void alu_eg(Cpu &cpu, const Op &op, Alu f) { WITH_WIDTH(op, alu_rm<T>(cpu, op, f, reg<T>(cpu, op.r));) }
void alu_ei(Cpu &cpu, const Op &op, Alu f) { WITH_WIDTH(op, alu_rm<T>(cpu, op, f, T(op.imm));) }
void alu_ge(Cpu &cpu, const Op &op, Alu f) {
    WITH_WIDTH(op, T b = read_rm<T>(cpu, op); T r = alu<T>(cpu, f, reg<T>(cpu, op.r), b);
               if (alu_writes(f)) set_reg<T>(cpu, op.r, r);)
}
void alu_ai(Cpu &cpu, const Op &op, Alu f) {
    WITH_WIDTH(op, T r = alu<T>(cpu, f, reg<T>(cpu, RAX), T(op.imm)); if (alu_writes(f)) set_reg<T>(cpu, RAX, r);)
}

// Read-modify-write of ModRM.rm; `f` gives the new value and may set flags only after the store is known to succeed: the store is
// probed first.
template <class T, class F> void modify(Cpu &cpu, const Op &op, F f) {
    if (op.is_reg) {
        set_reg<T>(cpu, op.m, f(reg<T>(cpu, op.m)));
    } else {
        u64 lin;
        T a = read_mem_rmw<T>(cpu, op, &lin);
        write_lin<T>(cpu, lin, f(a));
    }
}

}  // namespace

#define ALU_FORMS(name, f)                                                                                                   \
    SLOW(name##_eg) { alu_eg(cpu, op, f); }                                                                                  \
    SLOW(name##_ge) { alu_ge(cpu, op, f); }                                                                                  \
    SLOW(name##_ei) { alu_ei(cpu, op, f); }                                                                                  \
    SLOW(name##_ai) { alu_ai(cpu, op, f); }
ALU_FORMS(add, Alu::ADD)
ALU_FORMS(or, Alu::OR)
ALU_FORMS(adc, Alu::ADC)
ALU_FORMS(sbb, Alu::SBB)
ALU_FORMS(and, Alu::AND)
ALU_FORMS(sub, Alu::SUB)
ALU_FORMS(xor, Alu::XOR)
ALU_FORMS(cmp, Alu::CMP)
SLOW(test_eg) { alu_eg(cpu, op, Alu::TEST); }
SLOW(test_ei) { alu_ei(cpu, op, Alu::TEST); }
SLOW(test_ai) { alu_ai(cpu, op, Alu::TEST); }

SLOW(inc) { WITH_WIDTH(op, modify<T>(cpu, op, [&](T a) { return increment<T>(cpu, a); });) }
SLOW(dec) { WITH_WIDTH(op, modify<T>(cpu, op, [&](T a) { return decrement<T>(cpu, a); });) }
SLOW(inc_r) { WITH_WIDTH(op, set_reg<T>(cpu, op.r, increment<T>(cpu, reg<T>(cpu, op.r)));) }
SLOW(dec_r) { WITH_WIDTH(op, set_reg<T>(cpu, op.r, decrement<T>(cpu, reg<T>(cpu, op.r)));) }
SLOW(not) { WITH_WIDTH(op, modify<T>(cpu, op, [](T a) { return T(~a); });) }
SLOW(neg) {
    WITH_WIDTH(op, modify<T>(cpu, op, [&](T a) {
                   set_lazy(cpu, cc(CC_SUB, kLog2<T>), T(0 - a), a);
                   return T(0 - a);
               });)
}

// ------------------------------------------------------------------------------------------- multiplication, division
namespace {

// The double-width accumulator: AX for bytes, else rDX:rAX.
template <class T> void set_wide(Cpu &cpu, T low, T high) {
    if constexpr (sizeof(T) == 1) {
        set_reg<u16>(cpu, RAX, u16(low | high << 8));
    } else {
        set_reg<T>(cpu, RAX, low);
        set_reg<T>(cpu, RDX, high);
    }
}
template <class T> T wide_high(const Cpu &cpu) {
    if constexpr (sizeof(T) == 1) return T(cpu.gpr[RAX] >> 8);
    else return reg<T>(cpu, RDX);
}
template <class T> void divide_unsigned(Cpu &cpu, T divisor) {
    using U = typename Wider<T>::U;
    T high = wide_high<T>(cpu);
    if (divisor <= high) raise_fault(cpu, EXC_DE);  // zero included
    U n = U(U(high) << kBits<T>) | U(reg<T>(cpu, RAX));
    set_wide<T>(cpu, T(n / divisor), T(n % divisor));
}
template <class T> void divide_signed(Cpu &cpu, T divisor_bits) {
    using U = typename Wider<T>::U;
    using W = typename Wider<T>::S;
    using S = typename SignedOf<T>::S;
    W n = W(U(U(wide_high<T>(cpu)) << kBits<T>) | U(reg<T>(cpu, RAX)));
    W d = W(S(divisor_bits));
    if (d == 0) raise_fault(cpu, EXC_DE);
    if (d == -1 && n == W(U(1) << (2 * kBits<T> - 1))) raise_fault(cpu, EXC_DE);
    W q = W(n / d);
    if (q != W(S(q))) raise_fault(cpu, EXC_DE);
    set_wide<T>(cpu, T(q), T(n % d));
}

}  // namespace

SLOW(mul) {
    WITH_WIDTH(op, T high; T low = multiply_unsigned<T>(reg<T>(cpu, RAX), read_rm<T>(cpu, op), &high); set_wide<T>(cpu, low, high);
               set_lazy(cpu, cc(CC_MUL, kLog2<T>), low, high != 0);)
}
SLOW(imul) {
    WITH_WIDTH(op, T high; T low = multiply_signed<T>(reg<T>(cpu, RAX), read_rm<T>(cpu, op), &high); set_wide<T>(cpu, low, high);
               set_lazy(cpu, cc(CC_MUL, kLog2<T>), low, signed_product_overflows<T>(low, high));)
}
SLOW(div) { WITH_WIDTH(op, divide_unsigned<T>(cpu, read_rm<T>(cpu, op));) }
SLOW(idiv) { WITH_WIDTH(op, divide_signed<T>(cpu, read_rm<T>(cpu, op));) }
SLOW(imul_ge) {
    WITH_WIDTH(op, T b = read_rm<T>(cpu, op); set_reg<T>(cpu, op.r, imul_truncating<T>(cpu, reg<T>(cpu, op.r), b));)
}
SLOW(imul_gei) { WITH_WIDTH(op, T b = read_rm<T>(cpu, op); set_reg<T>(cpu, op.r, imul_truncating<T>(cpu, b, T(op.imm)));) }

// ------------------------------------------------------------------------------------------- shifts
#define SHIFT_FORMS(name, f)                                                                                                 \
    SLOW(name##_i) { WITH_WIDTH(op, modify<T>(cpu, op, [&](T a) { return shift<T>(cpu, f, a, u8(op.imm)); });) }              \
    SLOW(name##_1) { WITH_WIDTH(op, modify<T>(cpu, op, [&](T a) { return shift<T>(cpu, f, a, 1); });) }                      \
    SLOW(name##_c) { WITH_WIDTH(op, modify<T>(cpu, op, [&](T a) { return shift<T>(cpu, f, a, u8(cpu.gpr[RCX])); });) }
SHIFT_FORMS(rol, Shift::ROL)
SHIFT_FORMS(ror, Shift::ROR)
SHIFT_FORMS(rcl, Shift::RCL)
SHIFT_FORMS(rcr, Shift::RCR)
SHIFT_FORMS(shl, Shift::SHL)
SHIFT_FORMS(shr, Shift::SHR)
SHIFT_FORMS(sar, Shift::SAR)

namespace {
void modify_double(Cpu &cpu, const Op &op, bool left, unsigned count) {
    WITH_WIDTH(op, if constexpr (sizeof(T) > 1) modify<T>(cpu, op, [&](T a) {
                   return shift_double<T>(cpu, left, a, reg<T>(cpu, op.r), count);
               });)
}
}  // namespace
SLOW(shld_i) { modify_double(cpu, op, true, u8(op.imm)); }
SLOW(shld_c) { modify_double(cpu, op, true, u8(cpu.gpr[RCX])); }
SLOW(shrd_i) { modify_double(cpu, op, false, u8(op.imm)); }
SLOW(shrd_c) { modify_double(cpu, op, false, u8(cpu.gpr[RCX])); }

// ------------------------------------------------------------------------------------------- moves
SLOW(mov_eg) { WITH_WIDTH(op, write_rm<T>(cpu, op, reg<T>(cpu, op.r));) }
SLOW(mov_ge) { WITH_WIDTH(op, set_reg<T>(cpu, op.r, read_rm<T>(cpu, op));) }
SLOW(mov_ei) { WITH_WIDTH(op, write_rm<T>(cpu, op, T(op.imm));) }
SLOW(mov_zi) { WITH_WIDTH(op, set_reg<T>(cpu, op.r, T(op.imm));) }
namespace {
u64 moffs_linear(Cpu &cpu, const Op &op, unsigned size, bool write) {
    u64 lin = checked_linear(cpu, op.seg, op.imm, size, write);
    if (cpu.mode & MODE_AC) check_alignment(cpu, lin, size);
    return lin;
}
}  // namespace
SLOW(mov_ao) { WITH_WIDTH(op, set_reg<T>(cpu, RAX, read_lin<T>(cpu, moffs_linear(cpu, op, sizeof(T), false)));) }
SLOW(mov_oa) { WITH_WIDTH(op, write_lin<T>(cpu, moffs_linear(cpu, op, sizeof(T), true), reg<T>(cpu, RAX));) }
SLOW(movzx_b) { u8 v = read_rm<u8>(cpu, op); set_reg_sized(cpu, op.r, v, op.width); }
SLOW(movzx_w) { u16 v = read_rm<u16>(cpu, op); set_reg_sized(cpu, op.r, v, op.width); }
SLOW(movsx_b) { i8 v = i8(read_rm<u8>(cpu, op)); set_reg_sized(cpu, op.r, u64(i64(v)), op.width); }
SLOW(movsx_w) { i16 v = i16(read_rm<u16>(cpu, op)); set_reg_sized(cpu, op.r, u64(i64(v)), op.width); }
SLOW(movsx_d) {
    if (op.width == 1) set_reg<u16>(cpu, op.r, read_rm<u16>(cpu, op));  // 66 63: reads only a word
    else set_reg_sized(cpu, op.r, u64(i64(i32(read_rm<u32>(cpu, op)))), op.width);
}
SLOW(lea) { set_reg_sized(cpu, op.r, effective_address(cpu, op), op.width); }
SLOW(xchg) {
    WITH_WIDTH(op, T v = reg<T>(cpu, op.r); if (op.is_reg) {
        set_reg<T>(cpu, op.r, reg<T>(cpu, op.m));
        set_reg<T>(cpu, op.m, v);
    } else {
        u64 lin;
        T old = read_mem_rmw<T>(cpu, op, &lin);
        write_lin<T>(cpu, lin, v);
        set_reg<T>(cpu, op.r, old);
    })
}
SLOW(xchg_za) {  // 90 without REX.B is NOP: it does not zero-extend EAX
    if (op.r == RAX) return;
    WITH_WIDTH(op, T v = reg<T>(cpu, op.r); set_reg<T>(cpu, op.r, reg<T>(cpu, RAX)); set_reg<T>(cpu, RAX, v);)
}
SLOW(bswap) {
    if (op.width == 3) {
        u64 v = cpu.gpr[op.r], r = 0;
        for (int i = 0; i < 8; i++) r |= (v >> (8 * i) & 0xff) << (56 - 8 * i);
        cpu.gpr[op.r] = r;
    } else if (op.width == 2) {
        u32 v = u32(cpu.gpr[op.r]);
        cpu.gpr[op.r] = u32(v << 24 | (v & 0xff00) << 8 | (v >> 8 & 0xff00) | v >> 24);
    } else {
        set_reg<u16>(cpu, op.r, 0);  // undefined; processors clear the word
    }
}
SLOW(cmpxchg) {
    WITH_WIDTH(op, T acc = reg<T>(cpu, RAX); T v = reg<T>(cpu, op.r); u64 lin = 0;
               T old = op.is_reg ? reg<T>(cpu, op.m) : read_mem_rmw<T>(cpu, op, &lin);
               // Memory gets a write cycle in any case; a register that differs is not touched, not even its upper half.
               if (!op.is_reg) write_lin<T>(cpu, lin, acc == old ? v : old);
               else if (acc == old) set_reg<T>(cpu, op.m, v);
               if (acc != old) set_reg<T>(cpu, RAX, old);
               alu_flags<T>(cpu, Alu::CMP, T(acc - old), old, false);)
}
SLOW(cmpxchg8b) {
    u32 f;
    if (op.width == 3) {
        if (!has(cpu, F_CX16)) raise_ud(cpu);
        u64 lin = operand_linear(cpu, op, 16, true);
        if (lin & 15) raise_gp(cpu);
        probe_write(cpu, lin, 16, data_set(cpu));
        u64 low = read_lin<u64>(cpu, lin), high = read_lin<u64>(cpu, lin + 8);
        f = arith_flags(cpu) & ~u32(FL_ZF);
        if (low == cpu.gpr[RAX] && high == cpu.gpr[RDX]) {
            f |= FL_ZF;
            write_lin<u64>(cpu, lin, cpu.gpr[RBX]);
            write_lin<u64>(cpu, lin + 8, cpu.gpr[RCX]);
        } else {
            write_lin<u64>(cpu, lin, low);
            write_lin<u64>(cpu, lin + 8, high);
            cpu.gpr[RAX] = low;
            cpu.gpr[RDX] = high;
        }
    } else {
        u64 lin;
        u64 old = read_mem_rmw<u64>(cpu, op, &lin);
        u64 expected = u32(cpu.gpr[RAX]) | u64(u32(cpu.gpr[RDX])) << 32;
        f = arith_flags(cpu) & ~u32(FL_ZF);
        if (old == expected) {
            f |= FL_ZF;
            write_lin<u64>(cpu, lin, u32(cpu.gpr[RBX]) | u64(u32(cpu.gpr[RCX])) << 32);
        } else {
            write_lin<u64>(cpu, lin, old);
            cpu.gpr[RAX] = u32(old);
            cpu.gpr[RDX] = old >> 32;
        }
    }
    set_arith_flags(cpu, f);
}
SLOW(xadd) {
    WITH_WIDTH(op, T b = reg<T>(cpu, op.r); if (op.is_reg) {
        T a = reg<T>(cpu, op.m);
        T r = alu<T>(cpu, Alu::ADD, a, b);
        set_reg<T>(cpu, op.r, a);
        set_reg<T>(cpu, op.m, r);
    } else {
        u64 lin;
        T a = read_mem_rmw<T>(cpu, op, &lin);
        write_lin<T>(cpu, lin, T(a + b));
        alu_flags<T>(cpu, Alu::ADD, T(a + b), b, false);
        set_reg<T>(cpu, op.r, a);
    })
}
SLOW(cbw) {  // CBW CWDE CDQE
    if (op.width == 1) set_reg<u16>(cpu, RAX, u16(i16(i8(cpu.gpr[RAX]))));
    else if (op.width == 2) cpu.gpr[RAX] = u32(i32(i16(cpu.gpr[RAX])));
    else cpu.gpr[RAX] = u64(i64(i32(cpu.gpr[RAX])));
}
SLOW(cwd) {  // CWD CDQ CQO
    if (op.width == 1) set_reg<u16>(cpu, RDX, u16(i16(cpu.gpr[RAX]) >> 15));
    else if (op.width == 2) cpu.gpr[RDX] = u32(i32(cpu.gpr[RAX]) >> 31);
    else cpu.gpr[RDX] = u64(i64(cpu.gpr[RAX]) >> 63);
}
SLOW(xlat) {
    u64 offset = (cpu.gpr[RBX] + u8(cpu.gpr[RAX])) & address_mask(op.adsize);
    set_reg<u8>(cpu, RAX, read_lin<u8>(cpu, checked_linear(cpu, op.seg, offset, 1, false)));
}
SLOW(cmov) {
    bool take = condition(cpu, op.imm & 15);
    WITH_WIDTH(op, T v = read_rm<T>(cpu, op); if (take) set_reg<T>(cpu, op.r, v);
               else if (sizeof(T) == 4) set_reg<u32>(cpu, op.r, u32(cpu.gpr[op.r]));)
}
SLOW(setcc) { write_rm<u8>(cpu, op, condition(cpu, op.imm & 15)); }

// ------------------------------------------------------------------------------------------- bits
namespace {

void set_carry(Cpu &cpu, bool carry) { set_arith_flags(cpu, (arith_flags(cpu) & ~u32(FL_CF)) | carry); }

// A register bit offset is signed and reaches outside the operand in memory (SDM Vol. 2, BT).
template <class T> void bit_g(Cpu &cpu, const Op &op, Bit f) {
    using S = typename SignedOf<T>::S;
    T offset = reg<T>(cpu, op.r);
    unsigned bit = offset & (kBits<T> - 1);
    if (op.is_reg) {
        T v = reg<T>(cpu, op.m);
        if (f != Bit::TEST) set_reg<T>(cpu, op.m, bit_result<T>(f, v, bit));
        set_carry(cpu, v >> bit & 1);
        return;
    }
    i64 units = i64(S(offset)) >> (kLog2<T> + 3);
    u64 address = (effective_address(cpu, op) + u64(units) * sizeof(T)) & address_mask(op.adsize);
    u64 lin = checked_linear(cpu, op.seg, address, sizeof(T), f != Bit::TEST);
    if (cpu.mode & MODE_AC) check_alignment(cpu, lin, sizeof(T));
    if (f != Bit::TEST) probe_write(cpu, lin, sizeof(T), data_set(cpu));
    T v = read_lin<T>(cpu, lin);
    if (f != Bit::TEST) write_lin<T>(cpu, lin, bit_result<T>(f, v, bit));
    set_carry(cpu, v >> bit & 1);
}
template <class T> void bit_i(Cpu &cpu, const Op &op, Bit f) {
    unsigned bit = op.imm & (kBits<T> - 1);
    T v;
    if (f == Bit::TEST) v = read_rm<T>(cpu, op);
    else modify<T>(cpu, op, [&](T a) { v = a; return bit_result<T>(f, a, bit); });
    set_carry(cpu, v >> bit & 1);
}

}  // namespace
#define BIT_FORMS(name, f)                                                                                                   \
    SLOW(name##_g) { WITH_WIDTH(op, bit_g<T>(cpu, op, f);) }                                                                 \
    SLOW(name##_i) { WITH_WIDTH(op, bit_i<T>(cpu, op, f);) }
BIT_FORMS(bt, Bit::TEST)
BIT_FORMS(bts, Bit::SET)
BIT_FORMS(btr, Bit::RESET)
BIT_FORMS(btc, Bit::COMPLEMENT)

namespace {
// With a zero source the destination stays (documented by AMD, done by Intel); flags other than ZF are undefined.
template <class T> void bit_scan(Cpu &cpu, const Op &op, bool reverse) {
    T v = read_rm<T>(cpu, op);
    set_lazy(cpu, cc(CC_LOGIC, kLog2<T>), v, 0);
    if (!v) return;
    unsigned i = 0;
    if (reverse) for (i = kBits<T> - 1; !(v >> i & 1); i--) {}
    else for (; !(v >> i & 1); i++) {}
    set_reg<T>(cpu, op.r, T(i));
}
}  // namespace
SLOW(bsf) { WITH_WIDTH(op, bit_scan<T>(cpu, op, false);) }
SLOW(bsr) { WITH_WIDTH(op, bit_scan<T>(cpu, op, true);) }

// ------------------------------------------------------------------------------------------- stack
namespace {
void push_sized(Cpu &cpu, u64 v, unsigned width) {
    if (width == 1) push<u16>(cpu, u16(v));
    else if (width == 2) push<u32>(cpu, u32(v));
    else push<u64>(cpu, v);
}
u64 read_sized(Cpu &cpu, u64 lin, unsigned width) {
    return width == 1 ? read_lin<u16>(cpu, lin) : width == 2 ? read_lin<u32>(cpu, lin) : read_lin<u64>(cpu, lin);
}
void write_sized(Cpu &cpu, u64 lin, u64 v, unsigned width) {
    if (width == 1) write_lin<u16>(cpu, lin, u16(v));
    else if (width == 2) write_lin<u32>(cpu, lin, u32(v));
    else write_lin<u64>(cpu, lin, v);
}
u64 stack_linear(Cpu &cpu, u64 sp, unsigned width, bool write) {
    u64 lin = checked_linear(cpu, SS, sp & stack_mask(cpu), 1u << width, write);
    if (cpu.mode & MODE_AC) check_alignment(cpu, lin, 1u << width);
    return lin;
}
}  // namespace
SLOW(push) { push_sized(cpu, cpu.gpr[op.r], op.width); }
SLOW(push_i) { push_sized(cpu, op.imm, op.width); }
SLOW(push_e) { WITH_WIDTH(op, push_sized(cpu, read_rm<T>(cpu, op), op.width);) }
SLOW(pop) { WITH_WIDTH(op, T v = pop<T>(cpu); set_reg<T>(cpu, op.r, v);) }
SLOW(pop_e) {
    WITH_WIDTH(op, T v = peek<T>(cpu); u64 old = cpu.gpr[RSP]; set_sp(cpu, old + sizeof(T));
               if (op.is_reg) set_reg<T>(cpu, op.m, v);
               else try { write_mem<T>(cpu, op, v); }  // the address uses the incremented stack pointer
               catch (const GuestFault &) {
                   cpu.gpr[RSP] = old;
                   throw;
               })
}
SLOW(pusha) {
    unsigned size = 1u << op.width;
    u64 sp = cpu.gpr[RSP];
    for (unsigned i = 0; i < 8; i++) {
        sp = (sp - size) & stack_mask(cpu);
        write_sized(cpu, stack_linear(cpu, sp, op.width, true), cpu.gpr[i], op.width);
    }
    set_sp(cpu, sp);
}
SLOW(popa) {
    unsigned size = 1u << op.width;
    u64 v[8];
    for (unsigned i = 0; i < 8; i++) v[7 - i] = read_sized(cpu, stack_linear(cpu, cpu.gpr[RSP] + i * size, op.width, false), op.width);
    set_sp(cpu, cpu.gpr[RSP] + 8 * size);
    for (unsigned i = 0; i < 8; i++)
        if (i != RSP) set_reg_sized(cpu, u8(i), v[i], op.width);
}
SLOW(enter) {
    unsigned size = 1u << op.width, level = op.imm >> 16 & 31;
    u64 mask = stack_mask(cpu), sp = (cpu.gpr[RSP] - size) & mask, bp = cpu.gpr[RBP];
    write_sized(cpu, stack_linear(cpu, sp, op.width, true), bp, op.width);
    u64 frame = sp;
    if (level) {
        for (unsigned i = 1; i < level; i++) {
            bp = (bp - size) & mask;
            u64 v = read_sized(cpu, stack_linear(cpu, bp, op.width, false), op.width);
            sp = (sp - size) & mask;
            write_sized(cpu, stack_linear(cpu, sp, op.width, true), v, op.width);
        }
        sp = (sp - size) & mask;
        write_sized(cpu, stack_linear(cpu, sp, op.width, true), frame, op.width);
    }
    sp = (sp - u16(op.imm)) & mask;
    probe_write(cpu, stack_linear(cpu, sp, op.width, true), size, data_set(cpu));  // SDM: a write to the new top is checked
    set_reg_sized(cpu, RBP, frame, op.width);
    set_sp(cpu, sp);
}
SLOW(leave) {
    u64 bp = cpu.gpr[RBP] & stack_mask(cpu);
    u64 v = read_sized(cpu, stack_linear(cpu, bp, op.width, false), op.width);
    set_sp(cpu, bp + (1u << op.width));
    set_reg_sized(cpu, RBP, v, op.width);
}
SLOW(bound) {
    WITH_WIDTH(op, if constexpr (sizeof(T) == 2 || sizeof(T) == 4) {
        using S = SignedOf<T>::S;
        u64 offset = effective_address(cpu, op);
        u64 lin = checked_linear(cpu, op.seg, offset, 2 * sizeof(T), false);
        if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, sizeof(T));
        S low = S(read_lin<T>(cpu, lin));
        S high = S(read_lin<T>(cpu, lin + sizeof(T)));
        S v = S(reg<T>(cpu, op.r));
        if (v < low || v > high) raise_fault(cpu, EXC_BR);
    })
}

// ------------------------------------------------------------------------------------------- near jumps
namespace {

u64 truncate(u64 rip, unsigned width) { return width == 1 ? rip & 0xffff : width == 2 ? rip & 0xffffffffu : rip; }
void jump_relative(Cpu &cpu, const Op &op) {
    u64 target = truncate(cpu.next + u64(i64(op.disp)), op.width);
    check_target(cpu, target);
    cpu.next = target;
}
u64 read_target(Cpu &cpu, const Op &op) {
    WITH_WIDTH(op, return read_rm<T>(cpu, op);)
}

}  // namespace
SLOW(jmp) { jump_relative(cpu, op); }
SLOW(jcc) {
    if (condition(cpu, op.r)) jump_relative(cpu, op);
}
SLOW(call) {
    u64 target = truncate(cpu.next + u64(i64(op.disp)), op.width);
    check_target(cpu, target);
    push_sized(cpu, cpu.next, op.width);
    cpu.next = target;
}
SLOW(call_e) {
    u64 target = read_target(cpu, op);
    check_target(cpu, target);
    push_sized(cpu, cpu.next, op.width);
    cpu.next = target;
}
SLOW(jmp_e) {
    u64 target = read_target(cpu, op);
    check_target(cpu, target);
    cpu.next = target;
}
SLOW(ret) {
    WITH_WIDTH(op, u64 target = peek<T>(cpu); check_target(cpu, target); set_sp(cpu, cpu.gpr[RSP] + sizeof(T)); cpu.next = target;)
}
SLOW(ret_i) {
    WITH_WIDTH(op, u64 target = peek<T>(cpu); check_target(cpu, target); set_sp(cpu, cpu.gpr[RSP] + sizeof(T) + op.imm);
               cpu.next = target;)
}
namespace {
void loop(Cpu &cpu, const Op &op, bool also) {
    unsigned width = op.adsize + 1;
    u64 count = (reg_sized(cpu, RCX, width) - 1) & address_mask(op.adsize);
    if (count && also) jump_relative(cpu, op);
    set_reg_sized(cpu, RCX, count, width);
}
}  // namespace
SLOW(loop) { loop(cpu, op, true); }
SLOW(loope) { loop(cpu, op, arith_flags(cpu) & FL_ZF); }
SLOW(loopne) { loop(cpu, op, !(arith_flags(cpu) & FL_ZF)); }
SLOW(jcxz) {
    if (!(cpu.gpr[RCX] & address_mask(op.adsize))) jump_relative(cpu, op);
}

// ------------------------------------------------------------------------------------------- flags, decimal, nothing
SLOW(cmc) { set_carry(cpu, !carry_flag(cpu)); }
SLOW(clc) { set_carry(cpu, false); }
SLOW(stc) { set_carry(cpu, true); }
SLOW(cld) { cpu.flags &= ~u32(FL_DF); }
SLOW(std) { cpu.flags |= FL_DF; }
SLOW(sahf) { set_arith_flags(cpu, (arith_flags(cpu) & FL_OF) | (u32(cpu.gpr[RAX] >> 8) & (FL_ARITH & ~FL_OF))); }
SLOW(lahf) { reinterpret_cast<u8 *>(cpu.gpr)[RAX * 8 + 1] = u8((arith_flags(cpu) & 0xff) | FL_1); }
SLOW(nop) {}
SLOW(salc) { set_reg<u8>(cpu, RAX, carry_flag(cpu) ? 0xff : 0); }

namespace {
u32 szp(u8 v) { return (v ? 0u : FL_ZF) | (v & 0x80 ? u32(FL_SF) : 0u) | (parity_even(v) ? u32(FL_PF) : 0u); }
void decimal_adjust(Cpu &cpu, bool subtract) {
    u8 old = u8(cpu.gpr[RAX]), al = old;
    u32 f = arith_flags(cpu), out = 0;
    bool old_carry = f & FL_CF;
    if ((al & 15) > 9 || (f & FL_AF)) {
        out |= FL_AF;
        if (subtract) {
            if (old_carry || al < 6) out |= FL_CF;
            al -= 6;
        } else {
            if (old_carry || al > 0xf9) out |= FL_CF;
            al += 6;
        }
    }
    if (old > 0x99 || old_carry) {
        al = subtract ? al - 0x60 : al + 0x60;
        out |= FL_CF;
    }
    set_reg<u8>(cpu, RAX, al);
    set_arith_flags(cpu, out | szp(al));
}
void ascii_adjust(Cpu &cpu, bool subtract) {
    u16 ax = u16(cpu.gpr[RAX]);
    u32 out = 0;
    if ((ax & 15) > 9 || (arith_flags(cpu) & FL_AF)) {
        ax = subtract ? u16(ax - 0x106) : u16(ax + 0x106);
        out = FL_AF | FL_CF;
    }
    ax &= 0xff0f;
    set_reg<u16>(cpu, RAX, ax);
    set_arith_flags(cpu, out | szp(u8(ax)));
}
}  // namespace
SLOW(daa) { decimal_adjust(cpu, false); }
SLOW(das) { decimal_adjust(cpu, true); }
SLOW(aaa) { ascii_adjust(cpu, false); }
SLOW(aas) { ascii_adjust(cpu, true); }
SLOW(aam) {
    u8 base = u8(op.imm), al = u8(cpu.gpr[RAX]);
    if (!base) raise_fault(cpu, EXC_DE);
    set_reg<u16>(cpu, RAX, u16((al / base) << 8 | al % base));
    set_arith_flags(cpu, szp(u8(cpu.gpr[RAX])));
}
SLOW(aad) {
    u16 ax = u16(cpu.gpr[RAX]);
    u8 al = u8((ax & 0xff) + (ax >> 8) * u8(op.imm));
    set_reg<u16>(cpu, RAX, al);
    set_arith_flags(cpu, szp(al));
}
