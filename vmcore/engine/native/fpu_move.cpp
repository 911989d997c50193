// x87 loads, stores, constants, exchanges, conditional moves, signs and classification.  SDM Vol. 1 8.3.1-8.3.4.
#include "fpu_kernels.h"

namespace {
unsigned leading_zeros(u64 v) {
    unsigned n = 0;
    for (unsigned step = 32; step; step >>= 1)
        if (!(v >> (64 - step))) {
            n += step;
            v <<= step;
        }
    return n;
}
F80 from_integer(i64 v) {
    if (v == 0) return {0, 0};
    u64 magnitude = v < 0 ? 0 - u64(v) : u64(v);
    unsigned shift = leading_zeros(magnitude);
    return {magnitude << shift, u16((v < 0 ? 0x8000 : 0) | (16383 + 63 - shift))};
}
// Exact; a denormal raises DE, a signalling NaN IE and is made quiet.
template <class T, unsigned FRACTION> ALWAYS_INLINE F80 from_float(T v, u16 *flags) {
    constexpr unsigned exponent_mask = (1u << (kBits<T> - 1 - FRACTION)) - 1, bias = exponent_mask >> 1;
    u16 sign = v >> (kBits<T> - 1) ? 0x8000 : 0;
    unsigned exponent = unsigned(v >> FRACTION) & exponent_mask;
    u64 fraction = u64(v & ((T(1) << FRACTION) - 1)) << (63 - FRACTION);
    *flags = 0;
    if (LIKELY(exponent != 0 && exponent != exponent_mask)) return {fraction | u64(1) << 63, u16(sign | (exponent - bias + 16383))};
    if (exponent == exponent_mask) {
        if (fraction && !(fraction >> 62)) {
            *flags = SW_IE;
            fraction |= u64(1) << 62;
        }
        return {fraction | u64(1) << 63, u16(sign | 0x7fff)};
    }
    if (!fraction) return {0, sign};
    *flags = SW_DE;
    unsigned shift = leading_zeros(fraction);
    return {fraction << shift, u16(sign | (1 - bias + 16383 - shift))};
}
ALWAYS_INLINE void push_checked(Cpu &cpu, const F80 &v) {
    if (UNLIKELY(st_valid(cpu, 7))) {
        if (stack_fault(cpu, true)) x87_push(cpu, kIndefinite);
        return;
    }
    clear_c1(cpu);
    x87_push(cpu, v);
}
template <class T, unsigned FRACTION> ALWAYS_INLINE void load_float(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    T b = read_mem<T>(cpu, op);
    x87_record_mem(cpu, op);
    u16 flags;
    F80 v = from_float<T, FRACTION>(b, &flags);
    if (UNLIKELY(flags && !st_valid(cpu, 7))) {
        cpu.fpu.sw |= flags;
        if (flags & SW_IE & ~cpu.fpu.cw) {  // unmasked: nothing is loaded (a denormal is)
            clear_c1(cpu);
            return;
        }
    }
    push_checked(cpu, v);
}
template <class T> ALWAYS_INLINE void load_integer(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    i64 v = typename SignedOf<T>::S(read_mem<T>(cpu, op));
    x87_record_mem(cpu, op);
    push_checked(cpu, from_integer(v));
}
// A store: the memory operand is checked before the status changes.
template <class T, class K> ALWAYS_INLINE void store(Cpu &cpu, const Op &op, bool pop, T indefinite, K kernel) {
    x87_begin(cpu);
    u64 lin = operand_linear(cpu, op, sizeof(T), true);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, sizeof(T));
    if (UNLIKELY(((lin + sizeof(T) - 1) & ~u64(0xfff)) != cpu.tlb[tlb_index(lin)].write)) probe_write(cpu, lin, sizeof(T), data_set(cpu));
    x87_record_mem(cpu, op);
    T v = indefinite;
    if (UNLIKELY(!st_valid(cpu, 0))) {
        if (!stack_fault(cpu, false)) return;
    } else {
        u16 sw = kernel(cpu, st(cpu, 0), &v);
        x87_finish(cpu, sw);
        if ((cpu.fpu.cw & SW_EXCEPTIONS) != SW_EXCEPTIONS && sw & ~cpu.fpu.cw & (SW_IE | SW_OE | SW_UE)) return;
    }
    write_lin<T>(cpu, lin, v);
    if (pop) x87_pop(cpu);
}
// Alignment is checked to eight bytes (SDM Vol. 3A table 6-7).
u64 linear_80(Cpu &cpu, const Op &op, bool write) {
    u64 lin = operand_linear(cpu, op, 10, write);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, 8);
    return lin;
}
void write_80(Cpu &cpu, const Op &op, const F80 &v) {
    u64 lin = linear_80(cpu, op, true);
    u8 image[10];
    store_host(image, v.mant);
    store_host(image + 8, v.se);
    write_bytes(cpu, lin, image, 10, data_set(cpu));
}
F80 read_80(Cpu &cpu, const Op &op) {
    u64 lin = linear_80(cpu, op, false);
    u64 mant = read_lin<u64>(cpu, lin);
    return {mant, read_lin<u16>(cpu, lin + 8)};
}
}  // namespace

// ---- loads
void x_fld_m32(Cpu &cpu, const Op &op) { load_float<u32, 23>(cpu, op); }
void x_fld_m64(Cpu &cpu, const Op &op) { load_float<u64, 52>(cpu, op); }
void x_fild_m16(Cpu &cpu, const Op &op) { load_integer<u16>(cpu, op); }
void x_fild_m32(Cpu &cpu, const Op &op) { load_integer<u32>(cpu, op); }
void x_fild_m64(Cpu &cpu, const Op &op) { load_integer<u64>(cpu, op); }
void x_fld_m80(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    F80 v = read_80(cpu, op);
    x87_record_mem(cpu, op);
    push_checked(cpu, v);
}
void x_fld_sti(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (UNLIKELY(!st_valid(cpu, sti(op)))) {
        if (stack_fault(cpu, false)) x87_push(cpu, kIndefinite);
        return;
    }
    push_checked(cpu, F80(st(cpu, sti(op))));
}
void x_fbld(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    F80 packed = read_80(cpu, op);
    x87_record_mem(cpu, op);
    u64 v = packed.se >> 4 & 15;  // 18 digits, the sign in the topmost bit
    v = v * 10 + (packed.se & 15);
    for (int i = 15; i >= 0; i--) v = v * 10 + (packed.mant >> (4 * i) & 15);
    F80 r = from_integer(i64(v));
    if (packed.se & 0x8000) r.se |= 0x8000;
    push_checked(cpu, r);
}

// ---- stores
#define STORES(name, T, indefinite)                                                                                          \
    void x_##name(Cpu &cpu, const Op &op) { store<T>(cpu, op, false, indefinite, h_##name); }
#define STORES_POP(name, T, indefinite, kernel)                                                                              \
    void x_##name(Cpu &cpu, const Op &op) { store<T>(cpu, op, true, indefinite, kernel); }
STORES(fst_m32, u32, 0xffc00000)
STORES(fst_m64, u64, 0xfff8000000000000)
STORES(fist_m16, u16, 0x8000)
STORES(fist_m32, u32, 0x80000000)
STORES_POP(fstp_m32, u32, 0xffc00000, h_fst_m32)
STORES_POP(fstp_m64, u64, 0xfff8000000000000, h_fst_m64)
STORES_POP(fistp_m16, u16, 0x8000, h_fist_m16)
STORES_POP(fistp_m32, u32, 0x80000000, h_fist_m32)
STORES_POP(fistp_m64, u64, 0x8000000000000000, h_fist_m64)
STORES_POP(fisttp_m16, u16, 0x8000, h_fisttp_m16)
STORES_POP(fisttp_m32, u32, 0x80000000, h_fisttp_m32)
STORES_POP(fisttp_m64, u64, 0x8000000000000000, h_fisttp_m64)

void x_fstp_m80(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    bool valid = st_valid(cpu, 0);
    if (valid || cpu.fpu.cw & SW_IE) write_80(cpu, op, valid ? st(cpu, 0) : kIndefinite);
    else probe_write(cpu, linear_80(cpu, op, true), 10, data_set(cpu));
    x87_record_mem(cpu, op);
    if (!valid && !stack_fault(cpu, false)) return;
    if (valid) clear_c1(cpu);
    x87_pop(cpu);
}
void x_fbstp(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    probe_write(cpu, linear_80(cpu, op, true), 10, data_set(cpu));
    x87_record_mem(cpu, op);
    F80 v = kIndefinite;  // the packed-decimal indefinite has the same bytes
    if (!st_valid(cpu, 0)) {
        if (!stack_fault(cpu, false)) return;
    } else {
        u16 sw = h_fbst(cpu, st(cpu, 0), &v);
        if (!x87_finish(cpu, sw)) return;
    }
    write_80(cpu, op, v);
    x87_pop(cpu);
}
namespace {
void store_register(Cpu &cpu, const Op &op, bool pop) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (UNLIKELY(!st_valid(cpu, 0))) {
        if (!stack_fault(cpu, false)) return;
        set_st(cpu, sti(op), kIndefinite);
    } else {
        clear_c1(cpu);
        set_st(cpu, sti(op), F80(st(cpu, 0)));
    }
    if (pop) x87_pop(cpu);
}
}  // namespace
void x_fst_sti(Cpu &cpu, const Op &op) { store_register(cpu, op, false); }
void x_fstp_sti(Cpu &cpu, const Op &op) { store_register(cpu, op, true); }
void x_fstpnce(Cpu &cpu, const Op &op) {  // D9 D8+i: an empty ST is no error, it is only popped
    x87_begin(cpu);
    x87_record(cpu, op);
    clear_c1(cpu);
    if (st_valid(cpu, 0)) set_st(cpu, sti(op), F80(st(cpu, 0)));
    x87_pop(cpu);
}

// ---- exchanges and conditional moves
void x_fxch(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
    unsigned i = sti(op);
    if (UNLIKELY(!st_valid(cpu, 0) || !st_valid(cpu, i))) {
        if (!stack_fault(cpu, false)) return;
        if (!st_valid(cpu, 0)) set_st(cpu, 0, kIndefinite);
        if (!st_valid(cpu, i)) set_st(cpu, i, kIndefinite);
    } else {
        clear_c1(cpu);
    }
    F80 t = st(cpu, 0);
    st(cpu, 0) = st(cpu, i);
    st(cpu, i) = t;
}
void x_fcmov(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (UNLIKELY(!st_valid(cpu, 0) || !st_valid(cpu, sti(op)))) {
        if (stack_fault(cpu, false)) set_st(cpu, 0, kIndefinite);
        return;
    }
    static const u8 codes[4] = {2, 4, 6, 10};  // below, equal, below or equal, parity; DBh negates
    unsigned code = codes[op.imm >> 3 & 3] | (op.imm >> 8 & 1);
    if (condition(cpu, code)) st(cpu, 0) = F80(st(cpu, sti(op)));
}

// ---- constants, rounded as RC says (the manual's tables give the nearest): significands to nearest, down, up
namespace {
void load_constant(Cpu &cpu, const Op &op, u16 se, u64 nearest, u64 down, u64 up) {
    x87_begin(cpu);
    x87_record(cpu, op);
    unsigned rc = cpu.fpu.cw >> 10 & 3;
    push_checked(cpu, F80{rc == 0 ? nearest : rc == 2 ? up : down, se});
}
}  // namespace
void x_fld1(Cpu &cpu, const Op &op) { load_constant(cpu, op, 0x3fff, u64(1) << 63, u64(1) << 63, u64(1) << 63); }
void x_fldz(Cpu &cpu, const Op &op) { load_constant(cpu, op, 0, 0, 0, 0); }
void x_fldl2t(Cpu &cpu, const Op &op) { load_constant(cpu, op, 0x4000, 0xd49a784bcd1b8afe, 0xd49a784bcd1b8afe, 0xd49a784bcd1b8aff); }
void x_fldl2e(Cpu &cpu, const Op &op) { load_constant(cpu, op, 0x3fff, 0xb8aa3b295c17f0bc, 0xb8aa3b295c17f0bb, 0xb8aa3b295c17f0bc); }
void x_fldpi(Cpu &cpu, const Op &op) { load_constant(cpu, op, 0x4000, 0xc90fdaa22168c235, 0xc90fdaa22168c234, 0xc90fdaa22168c235); }
void x_fldlg2(Cpu &cpu, const Op &op) { load_constant(cpu, op, 0x3ffd, 0x9a209a84fbcff799, 0x9a209a84fbcff798, 0x9a209a84fbcff799); }
void x_fldln2(Cpu &cpu, const Op &op) { load_constant(cpu, op, 0x3ffe, 0xb17217f7d1cf79ac, 0xb17217f7d1cf79ab, 0xb17217f7d1cf79ac); }

// ---- signs and classification
namespace {
template <class F> ALWAYS_INLINE void sign(Cpu &cpu, const Op &op, F change) {
    x87_begin(cpu);
    x87_record(cpu, op);
    if (UNLIKELY(!st_valid(cpu, 0))) {
        if (stack_fault(cpu, false)) set_st(cpu, 0, kIndefinite);
        return;
    }
    clear_c1(cpu);
    st(cpu, 0).se = change(st(cpu, 0).se);
}
}  // namespace
void x_fchs(Cpu &cpu, const Op &op) {
    sign(cpu, op, [](u16 se) { return u16(se ^ 0x8000); });
}
void x_fabs(Cpu &cpu, const Op &op) {
    sign(cpu, op, [](u16 se) { return u16(se & 0x7fff); });
}
void x_fxam(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
    const F80 &v = st(cpu, 0);
    unsigned exponent = v.se & 0x7fff;
    u16 codes;
    if (!st_valid(cpu, 0)) codes = SW_C3 | SW_C0;                        // empty
    else if (exponent == 0) codes = v.mant ? SW_C3 | SW_C2 : SW_C3;      // denormal, zero
    else if (!(v.mant >> 63)) codes = 0;                                 // unsupported
    else if (exponent != 0x7fff) codes = SW_C2;                          // normal
    else codes = v.mant << 1 ? SW_C0 : SW_C2 | SW_C0;                    // NaN, infinity
    if (v.se & 0x8000) codes |= SW_C1;
    cpu.fpu.sw = u16((cpu.fpu.sw & ~SW_CC) | codes);
}

// ---- the stack pointer and tags
void x_ffree(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
    clear_c1(cpu);
    cpu.fpu.valid &= u8(~(1 << physical(cpu, sti(op))));
}
void x_ffreep(Cpu &cpu, const Op &op) {
    x_ffree(cpu, op);
    x87_pop(cpu);
}
void x_fincstp(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
    clear_c1(cpu);
    cpu.fpu.top = (cpu.fpu.top + 1) & 7;
}
void x_fdecstp(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
    clear_c1(cpu);
    cpu.fpu.top = (cpu.fpu.top - 1) & 7;
}
