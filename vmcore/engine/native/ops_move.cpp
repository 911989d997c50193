// Fast handlers: moves, addresses, the stack.  SDM Vol. 2.
#include "ops.h"

namespace {

// ------------------------------------------------------------------------------------------- MOV
template <class T> HANDLER(mov_rr) {
    set_reg<T>(*cpu, op->m, reg<T>(*cpu, op->r));
    NEXT();
}
template <class T> HANDLER(mov_rr_ge) {
    set_reg<T>(*cpu, op->r, reg<T>(*cpu, op->m));
    NEXT();
}
template <class T> HANDLER(mov_ri) {
    set_reg<T>(*cpu, op->r, T(op->imm));
    NEXT();
}
template <class T, AddressKind K> HANDLER(mov_load) {
    HOST_READ(p, address<K>(cpu, op), sizeof(T));
    set_reg<T>(*cpu, op->r, load_host<T>(p));
    NEXT();
}
template <class T, AddressKind K> HANDLER(mov_store) {
    HOST_WRITE(p, address<K>(cpu, op), sizeof(T));
    store_host<T>(p, reg<T>(*cpu, op->r));
    NEXT();
}
template <class T, AddressKind K> HANDLER(mov_store_i) {
    HOST_WRITE(p, address<K>(cpu, op), sizeof(T));
    store_host<T>(p, T(op->imm));
    NEXT();
}

// D: destination, S: source as read (signed for MOVSX).
template <class D, class S> ALWAYS_INLINE D widened(S v) { return D(i64(v)); }
template <class D, class S, AddressKind K> HANDLER(extend_load) {
    HOST_READ(p, address<K>(cpu, op), sizeof(S));
    set_reg<D>(*cpu, op->r, D(load_host<S>(p)));
    NEXT();
}
template <class D, class S> HANDLER(extend_rr) {
    if constexpr (sizeof(S) == 1) set_reg<D>(*cpu, op->r, D(S(reg<u8>(*cpu, op->m))));
    else set_reg<D>(*cpu, op->r, D(S(cpu->gpr[op->m])));
    NEXT();
}

// ------------------------------------------------------------------------------------------- LEA
template <class T, AddressKind K> HANDLER(lea) {
    u64 a;
    if constexpr (K == A_ANY) {
        a = cpu->gpr[op->base] + u64(i64(op->disp)) + (cpu->gpr[op->index] << op->scale);
        a &= ~u64(0) >> (op->adsize == 2 ? 0 : op->adsize == 1 ? 32 : 48);
    } else {
        a = address<K>(cpu, op);
    }
    set_reg<T>(*cpu, op->r, T(a));
    NEXT();
}
template <class T> HANDLER(lea_imm) {  // no register at all
    set_reg<T>(*cpu, op->r, T(i64(op->disp)));
    NEXT();
}

// ------------------------------------------------------------------------------------------- exchange and the like
template <class T> HANDLER(xchg_rr) {
    T a = reg<T>(*cpu, op->r), b = reg<T>(*cpu, op->m);
    set_reg<T>(*cpu, op->r, b);
    set_reg<T>(*cpu, op->m, a);
    NEXT();
}
template <class T, AddressKind K> HANDLER(xchg_mem) {
    HOST_WRITE(p, address<K>(cpu, op), sizeof(T));
    T a = reg<T>(*cpu, op->r), b = load_host<T>(p);
    store_host<T>(p, a);
    set_reg<T>(*cpu, op->r, b);
    NEXT();
}
template <class T> HANDLER(xchg_za) {
    T a = reg<T>(*cpu, op->r), b = reg<T>(*cpu, RAX);
    set_reg<T>(*cpu, op->r, b);
    set_reg<T>(*cpu, RAX, a);
    NEXT();
}
HANDLER(nop) { NEXT(); }
HANDLER(bswap32) {
    u32 v = u32(cpu->gpr[op->r]);
    cpu->gpr[op->r] = u32(v << 24 | (v & 0xff00) << 8 | (v >> 8 & 0xff00) | v >> 24);
    NEXT();
}
HANDLER(bswap64) {
    u64 v = cpu->gpr[op->r];
    v = (v & 0x00ff00ff00ff00ffull) << 8 | (v >> 8 & 0x00ff00ff00ff00ffull);
    v = (v & 0x0000ffff0000ffffull) << 16 | (v >> 16 & 0x0000ffff0000ffffull);
    cpu->gpr[op->r] = v << 32 | v >> 32;
    NEXT();
}
HANDLER(cbw) {
    store_host<u16>(&cpu->gpr[RAX], u16(i16(i8(cpu->gpr[RAX]))));
    NEXT();
}
HANDLER(cwde) {
    cpu->gpr[RAX] = u32(i32(i16(cpu->gpr[RAX])));
    NEXT();
}
HANDLER(cdqe) {
    cpu->gpr[RAX] = u64(i64(i32(cpu->gpr[RAX])));
    NEXT();
}
HANDLER(cdq) {
    cpu->gpr[RDX] = u32(i32(cpu->gpr[RAX]) >> 31);
    NEXT();
}
HANDLER(cqo) {
    cpu->gpr[RDX] = u64(i64(cpu->gpr[RAX]) >> 63);
    NEXT();
}

// ------------------------------------------------------------------------------------------- stack
template <class T, bool M64> HANDLER(push_r) {
    u64 sp = stack_below<M64>(cpu, sizeof(T));
    HOST_WRITE(p, sp, sizeof(T));
    store_host<T>(p, T(cpu->gpr[op->r]));
    cpu->gpr[RSP] = sp;
    NEXT();
}
template <class T, bool M64> HANDLER(push_i) {
    u64 sp = stack_below<M64>(cpu, sizeof(T));
    HOST_WRITE(p, sp, sizeof(T));
    store_host<T>(p, T(op->imm));
    cpu->gpr[RSP] = sp;
    NEXT();
}
template <class T, bool M64> HANDLER(pop_r) {
    HOST_READ(p, stack_pointer<M64>(cpu), sizeof(T));
    T v = load_host<T>(p);
    cpu->gpr[RSP] = stack_above<M64>(cpu, sizeof(T));
    set_reg<T>(*cpu, op->r, v);
    NEXT();
}
template <class T, bool M64> HANDLER(leave) {
    u64 bp = M64 ? cpu->gpr[RBP] : u32(cpu->gpr[RBP]);
    HOST_READ(p, bp, sizeof(T));
    bp += sizeof(T);
    cpu->gpr[RSP] = M64 ? bp : u32(bp);
    set_reg<T>(*cpu, RBP, load_host<T>(p));
    NEXT();
}

#define KINDS(h, T) {h<T, A_BASE>, h<T, A_INDEX1>, h<T, A_INDEX2>, h<T, A_INDEX4>, h<T, A_INDEX8>, h<T, A_ANY>}
#define WIDTHS_KINDS(h) {KINDS(h, u8), KINDS(h, u16), KINDS(h, u32), KINDS(h, u64)}
#define KINDS2(h, D, S) {h<D, S, A_BASE>, h<D, S, A_INDEX1>, h<D, S, A_INDEX2>, h<D, S, A_INDEX4>, h<D, S, A_INDEX8>, h<D, S, A_ANY>}

const Handler loads[4][A_KINDS] = WIDTHS_KINDS(mov_load);
const Handler stores[4][A_KINDS] = WIDTHS_KINDS(mov_store);
const Handler stores_i[4][A_KINDS] = WIDTHS_KINDS(mov_store_i);
const Handler leas[4][A_KINDS] = WIDTHS_KINDS(lea);
// [destination width - 1]
const Handler zx8[3][A_KINDS] = {KINDS2(extend_load, u16, u8), KINDS2(extend_load, u32, u8), KINDS2(extend_load, u64, u8)};
const Handler sx8[3][A_KINDS] = {KINDS2(extend_load, u16, i8), KINDS2(extend_load, u32, i8), KINDS2(extend_load, u64, i8)};
const Handler zx16[3][A_KINDS] = {KINDS(mov_load, u16), KINDS2(extend_load, u32, u16), KINDS2(extend_load, u64, u16)};
const Handler sx16[3][A_KINDS] = {KINDS(mov_load, u16), KINDS2(extend_load, u32, i16), KINDS2(extend_load, u64, i16)};
const Handler sx32[2][A_KINDS] = {KINDS(mov_load, u32), KINDS2(extend_load, u64, i32)};

Handler by_kind(const Handler (&row)[A_KINDS], const Translation_ &t, const Op &op) {
    AddressKind k = address_kind(t, op);
    return k == A_NONE ? nullptr : row[k];
}

}  // namespace

RULE(mov_eg) {
    static const Handler rr[] = BY_WIDTH(mov_rr);
    return op.is_reg ? rr[op.width] : by_kind(stores[op.width], t, op);
}
RULE(mov_ge) {
    static const Handler rr[] = BY_WIDTH(mov_rr_ge);
    return op.is_reg ? rr[op.width] : by_kind(loads[op.width], t, op);
}
RULE(mov_zi) {
    static const Handler ri[] = BY_WIDTH(mov_ri);
    return ri[op.width];
}
RULE(mov_ei) {
    static const Handler ri[] = BY_WIDTH(mov_ri);
    if (!op.is_reg) return by_kind(stores_i[op.width], t, op);
    op.r = op.m;
    return ri[op.width];
}
RULE(movzx_b) {
    static const Handler rr[] = {extend_rr<u16, u8>, extend_rr<u32, u8>, extend_rr<u64, u8>};
    return op.is_reg ? rr[op.width - 1] : by_kind(zx8[op.width - 1], t, op);
}
RULE(movsx_b) {
    static const Handler rr[] = {extend_rr<u16, i8>, extend_rr<u32, i8>, extend_rr<u64, i8>};
    return op.is_reg ? rr[op.width - 1] : by_kind(sx8[op.width - 1], t, op);
}
RULE(movzx_w) {
    static const Handler rr[] = {mov_rr_ge<u16>, extend_rr<u32, u16>, extend_rr<u64, u16>};
    return op.is_reg ? rr[op.width - 1] : by_kind(zx16[op.width - 1], t, op);
}
RULE(movsx_w) {
    static const Handler rr[] = {mov_rr_ge<u16>, extend_rr<u32, i16>, extend_rr<u64, i16>};
    return op.is_reg ? rr[op.width - 1] : by_kind(sx16[op.width - 1], t, op);
}
RULE(movsx_d) {
    static const Handler rr[] = {mov_rr_ge<u32>, extend_rr<u64, i32>};
    if (op.width < 2) return nullptr;
    return op.is_reg ? rr[op.width - 2] : by_kind(sx32[op.width - 2], t, op);
}
RULE(lea) {
    static const Handler imm[] = BY_WIDTH(lea_imm);
    if (op.ripx) return nullptr;
    if (op.adsize != 2) return leas[op.width][A_ANY];
    if (op.index != REG_ZERO) return leas[op.width][A_INDEX1 + op.scale];
    return op.base == REG_ZERO ? imm[op.width] : leas[op.width][A_BASE];
}
RULE(xchg) {
    static const Handler rr[] = BY_WIDTH(xchg_rr);
    static const Handler mem[4][A_KINDS] = WIDTHS_KINDS(xchg_mem);
    return op.is_reg ? rr[op.width] : by_kind(mem[op.width], t, op);
}
RULE(xchg_za) {
    static const Handler rr[] = BY_WIDTH(xchg_za);
    return op.r == RAX ? nop : rr[op.width];
}
RULE(nop) { return nop; }
RULE(bswap) { return op.width == 3 ? bswap64 : op.width == 2 ? bswap32 : nullptr; }
RULE(cbw) { return op.width == 3 ? cdqe : op.width == 2 ? cwde : cbw; }
RULE(cwd) { return op.width == 3 ? cqo : op.width == 2 ? cdq : nullptr; }

#define STACK_RULE(h)                                                                                                        \
    static const Handler table[2][4] = {{nullptr, h<u16, false>, h<u32, false>, nullptr}, {nullptr, h<u16, true>, nullptr, h<u64, true>}}; \
    unsigned f = flat_stack(t);                                                                                              \
    return f ? table[f - 1][op.width] : nullptr
RULE(push) { STACK_RULE(push_r); }
RULE(push_i) { STACK_RULE(push_i); }
RULE(push_e) {
    if (!op.is_reg) return nullptr;
    op.r = op.m;
    STACK_RULE(push_r);
}
RULE(pop) { STACK_RULE(pop_r); }
RULE(leave) { STACK_RULE(leave); }
