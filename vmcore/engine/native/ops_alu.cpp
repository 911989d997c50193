// Fast handlers: arithmetic and logic on registers.  SDM Vol. 2.
#include "ops_alu.h"

namespace {

template <Alu A, class T, bool F> HANDLER(alu_rr) {  // destination m, source r
    T b = reg<T>(*cpu, op->r);
    ALU_BODY(A, T, F, reg<T>(*cpu, op->m), b, set_reg<T>(*cpu, op->m, result_));
    NEXT();
}
template <Alu A, class T, bool F> HANDLER(alu_rr_ge) {  // destination r, source m
    T b = reg<T>(*cpu, op->m);
    ALU_BODY(A, T, F, reg<T>(*cpu, op->r), b, set_reg<T>(*cpu, op->r, result_));
    NEXT();
}
template <Alu A, class T, bool F> HANDLER(alu_ri) {
    T b = T(op->imm);
    ALU_BODY(A, T, F, reg<T>(*cpu, op->m), b, set_reg<T>(*cpu, op->m, result_));
    NEXT();
}
template <class T> HANDLER(zero_idiom) {  // XOR r,r and SUB r,r
    set_reg<T>(*cpu, op->m, T(0));
    cpu->cc_op = cc(CC_LOGIC, kLog2<T>);
    cpu->cc_dst = 0;
    NEXT();
}
template <class T> HANDLER(zero_idiom_nf) {
    set_reg<T>(*cpu, op->m, T(0));
    NEXT();
}

// INC and DEC keep the carry flag.
template <class T, bool DEC> HANDLER(step) {
    T v = T(reg<T>(*cpu, op->m) + (DEC ? T(-1) : T(1)));
    KEEP_CARRY();
    cpu->cc_op = cc(DEC ? CC_DEC : CC_INC, kLog2<T>);
    cpu->cc_dst = v;
    set_reg<T>(*cpu, op->m, v);
    NEXT();
}
template <class T, bool DEC> HANDLER(step_nc) {  // nobody wants the carry flag
    T v = T(reg<T>(*cpu, op->m) + (DEC ? T(-1) : T(1)));
    cpu->cc_op = cc(DEC ? CC_DEC : CC_INC, kLog2<T>);
    cpu->cc_dst = v;
    set_reg<T>(*cpu, op->m, v);
    NEXT();
}
template <class T, bool DEC> HANDLER(step_nf) {
    set_reg<T>(*cpu, op->m, T(reg<T>(*cpu, op->m) + (DEC ? T(-1) : T(1))));
    NEXT();
}
template <class T> HANDLER(not_r) {
    set_reg<T>(*cpu, op->m, T(~reg<T>(*cpu, op->m)));
    NEXT();
}
template <class T, bool F> HANDLER(neg_r) {
    T a = reg<T>(*cpu, op->m), r = T(0 - a);
    if (F) set_lazy(*cpu, cc(CC_SUB, kLog2<T>), r, a);
    set_reg<T>(*cpu, op->m, r);
    NEXT();
}

#define ALU_TABLE(h, A, F) {h<A, u8, F>, h<A, u16, F>, h<A, u32, F>, h<A, u64, F>}
#define ALU_TABLES(h, A) {ALU_TABLE(h, A, true), ALU_TABLE(h, A, false)}

}  // namespace

#define ALU_RULES(name, A)                                                                                                   \
    namespace {                                                                                                              \
    const Handler name##_rr[2][4] = ALU_TABLES(alu_rr, A);                                                                   \
    const Handler name##_rr_ge[2][4] = ALU_TABLES(alu_rr_ge, A);                                                             \
    const Handler name##_ri[2][4] = ALU_TABLES(alu_ri, A);                                                                   \
    }                                                                                                                        \
    RULE(name##_eg) {                                                                                                        \
        if (!op.is_reg) return memory_eg(A, t, op);                                                                          \
        if (Handler h = zero(A, t, op)) return h;                                                                            \
        return name##_rr[t.flags_dead][op.width];                                                                            \
    }                                                                                                                        \
    RULE(name##_ge) {                                                                                                        \
        if (!op.is_reg) return memory_ge(A, t, op);                                                                          \
        if (Handler h = zero(A, t, op)) return h;                                                                            \
        return name##_rr_ge[t.flags_dead][op.width];                                                                         \
    }                                                                                                                        \
    RULE(name##_ei) { return op.is_reg ? name##_ri[t.flags_dead][op.width] : memory_ei(A, t, op); }                          \
    RULE(name##_ai) {                                                                                                        \
        op.m = RAX;                                                                                                          \
        return name##_ri[t.flags_dead][op.width];                                                                            \
    }

namespace {
// XOR and SUB of a register with itself.
Handler zero(Alu a, const Translation_ &t, const Op &op) {
    static const Handler live[] = BY_WIDTH(zero_idiom), dead[] = BY_WIDTH(zero_idiom_nf);
    if (a != Alu::XOR || op.r != op.m) return nullptr;
    return (t.flags_dead ? dead : live)[op.width];
}
}  // namespace
ALU_RULES(add, Alu::ADD)
ALU_RULES(or, Alu::OR)
ALU_RULES(adc, Alu::ADC)
ALU_RULES(sbb, Alu::SBB)
ALU_RULES(and, Alu::AND)
ALU_RULES(sub, Alu::SUB)
ALU_RULES(xor, Alu::XOR)
ALU_RULES(cmp, Alu::CMP)

namespace {
const Handler test_rr[4] = ALU_TABLE(alu_rr, Alu::TEST, true);
const Handler test_ri[4] = ALU_TABLE(alu_ri, Alu::TEST, true);
}  // namespace
RULE(test_eg) { return op.is_reg ? test_rr[op.width] : memory_eg(Alu::TEST, t, op); }
RULE(test_ei) { return op.is_reg ? test_ri[op.width] : memory_ei(Alu::TEST, t, op); }
RULE(test_ai) {
    op.m = RAX;
    return test_ri[op.width];
}

namespace {
#define STEP_TABLE(h) {{h<u8, false>, h<u16, false>, h<u32, false>, h<u64, false>}, {h<u8, true>, h<u16, true>, h<u32, true>, h<u64, true>}}
Handler step_rule(const Translation_ &t, Op &op, bool dec) {
    static const Handler full[2][4] = STEP_TABLE(step), no_carry[2][4] = STEP_TABLE(step_nc), none[2][4] = STEP_TABLE(step_nf);
    return (t.flags_dead ? none : t.carry_dead ? no_carry : full)[dec][op.width];
}
}  // namespace
RULE(inc) { return op.is_reg ? step_rule(t, op, false) : memory_step(t, op, false); }
RULE(dec) { return op.is_reg ? step_rule(t, op, true) : memory_step(t, op, true); }
RULE(inc_r) {
    op.m = op.r;
    return step_rule(t, op, false);
}
RULE(dec_r) {
    op.m = op.r;
    return step_rule(t, op, true);
}
RULE(not) {
    static const Handler h[] = BY_WIDTH(not_r);
    return op.is_reg ? h[op.width] : nullptr;
}
RULE(neg) {
    static const Handler h[2][4] = {{neg_r<u8, true>, neg_r<u16, true>, neg_r<u32, true>, neg_r<u64, true>},
                                    {neg_r<u8, false>, neg_r<u16, false>, neg_r<u32, false>, neg_r<u64, false>}};
    return op.is_reg ? h[t.flags_dead][op.width] : nullptr;
}
