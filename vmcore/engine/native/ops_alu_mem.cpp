// Fast handlers: arithmetic and logic with a memory operand.  SDM Vol. 2.
#include "ops_alu.h"

namespace {

template <Alu A, class T, AddressKind K> HANDLER(alu_load) {  // register with memory
    HOST_READ(p, address<K>(cpu, op), sizeof(T));
    T b = load_host<T>(p);
    ALU_BODY(A, T, true, reg<T>(*cpu, op->r), b, set_reg<T>(*cpu, op->r, result_));
    NEXT();
}
template <Alu A, class T, AddressKind K> HANDLER(alu_store) {  // memory with register
    T b = reg<T>(*cpu, op->r);
    if constexpr (alu_writes(A)) {
        HOST_WRITE(p, address<K>(cpu, op), sizeof(T));
        ALU_BODY(A, T, true, load_host<T>(p), b, store_host<T>(p, result_));
    } else {
        HOST_READ(p, address<K>(cpu, op), sizeof(T));
        ALU_BODY(A, T, true, load_host<T>(p), b, (void)0);
    }
    NEXT();
}
template <Alu A, class T, AddressKind K> HANDLER(alu_store_i) {
    T b = T(op->imm);
    if constexpr (alu_writes(A)) {
        HOST_WRITE(p, address<K>(cpu, op), sizeof(T));
        ALU_BODY(A, T, true, load_host<T>(p), b, store_host<T>(p, result_));
    } else {
        HOST_READ(p, address<K>(cpu, op), sizeof(T));
        ALU_BODY(A, T, true, load_host<T>(p), b, (void)0);
    }
    NEXT();
}
template <class T, bool DEC, AddressKind K> HANDLER(step_mem) {
    HOST_WRITE(p, address<K>(cpu, op), sizeof(T));
    T v = T(load_host<T>(p) + (DEC ? T(-1) : T(1)));
    KEEP_CARRY();
    cpu->cc_op = cc(DEC ? CC_DEC : CC_INC, kLog2<T>);
    cpu->cc_dst = v;
    store_host<T>(p, v);
    NEXT();
}

#define KINDS(h, A, T) {h<A, T, A_BASE>, h<A, T, A_INDEX1>, h<A, T, A_INDEX2>, h<A, T, A_INDEX4>, h<A, T, A_INDEX8>, h<A, T, A_ANY>}
#define BASE_ANY(h, A, T) {h<A, T, A_BASE>, h<A, T, A_ANY>, h<A, T, A_ANY>, h<A, T, A_ANY>, h<A, T, A_ANY>, h<A, T, A_ANY>}
#define WIDTHS(h, A) {BASE_ANY(h, A, u8), BASE_ANY(h, A, u16), KINDS(h, A, u32), KINDS(h, A, u64)}
#define WIDTHS2(h, A) {BASE_ANY(h, A, u8), BASE_ANY(h, A, u16), BASE_ANY(h, A, u32), BASE_ANY(h, A, u64)}
#define ALUS(h, W)                                                                                                           \
    {W(h, Alu::ADD), W(h, Alu::OR),  W(h, Alu::ADC), W(h, Alu::SBB), W(h, Alu::AND),                                          \
     W(h, Alu::SUB), W(h, Alu::XOR), W(h, Alu::CMP), W(h, Alu::TEST)}

const Handler loads[9][4][A_KINDS] = ALUS(alu_load, WIDTHS);
const Handler stores[9][4][A_KINDS] = ALUS(alu_store, WIDTHS2);
const Handler stores_i[9][4][A_KINDS] = ALUS(alu_store_i, WIDTHS2);

Handler pick(const Handler (&table)[9][4][A_KINDS], Alu a, const Translation_ &t, const Op &op) {
    AddressKind k = address_kind(t, op);
    return k == A_NONE ? nullptr : table[unsigned(a)][op.width][k];
}

}  // namespace

Handler memory_ge(Alu a, const Translation_ &t, const Op &op) { return pick(loads, a, t, op); }
Handler memory_eg(Alu a, const Translation_ &t, const Op &op) { return pick(stores, a, t, op); }
Handler memory_ei(Alu a, const Translation_ &t, const Op &op) { return pick(stores_i, a, t, op); }

Handler memory_step(const Translation_ &t, const Op &op, bool dec) {
#define STEPS(D, K) {step_mem<u8, D, K>, step_mem<u16, D, K>, step_mem<u32, D, K>, step_mem<u64, D, K>}
    static const Handler table[2][2][4] = {{STEPS(false, A_BASE), STEPS(false, A_ANY)}, {STEPS(true, A_BASE), STEPS(true, A_ANY)}};
    AddressKind k = address_kind2(t, op);
    return k == A_NONE ? nullptr : table[dec][k == A_ANY][op.width];
}
