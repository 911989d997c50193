// Fused pairs: a comparison and the conditional jump behind it run as one handler.  The jump keeps its own op and handler, so
// that a block can also be entered there after a fault.
#include "ops_jump.h"

namespace {

template <unsigned C, class T> HANDLER(cmp_rr_jcc) {
    const T a = reg<T>(*cpu, op->m), b = reg<T>(*cpu, op->r), d = T(a - b);
    set_lazy(*cpu, cc(CC_SUB, kLog2<T>), d, b);
    if (condition_known<C, CC_SUB, T>(d, b)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T> HANDLER(cmp_ri_jcc) {
    const T a = reg<T>(*cpu, op->m), b = T(op->imm), d = T(a - b);
    set_lazy(*cpu, cc(CC_SUB, kLog2<T>), d, b);
    if (condition_known<C, CC_SUB, T>(d, b)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T> HANDLER(test_rr_jcc) {
    const T d = T(reg<T>(*cpu, op->m) & reg<T>(*cpu, op->r));
    cpu->cc_op = cc(CC_LOGIC, kLog2<T>);
    cpu->cc_dst = d;
    if (condition_known<C, CC_LOGIC, T>(d, 0)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T> HANDLER(test_self_jcc) {  // TEST r,r
    const T d = reg<T>(*cpu, op->m);
    cpu->cc_op = cc(CC_LOGIC, kLog2<T>);
    cpu->cc_dst = d;
    if (condition_known<C, CC_LOGIC, T>(d, 0)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T> HANDLER(test_ri_jcc) {
    const T d = T(reg<T>(*cpu, op->m) & T(op->imm));
    cpu->cc_op = cc(CC_LOGIC, kLog2<T>);
    cpu->cc_dst = d;
    if (condition_known<C, CC_LOGIC, T>(d, 0)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T, AddressKind K> HANDLER(cmp_load_jcc) {  // register with memory
    HOST_READ(p, address<K>(cpu, op), sizeof(T));
    const T a = reg<T>(*cpu, op->r), b = load_host<T>(p), d = T(a - b);
    set_lazy(*cpu, cc(CC_SUB, kLog2<T>), d, b);
    if (condition_known<C, CC_SUB, T>(d, b)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T, AddressKind K> HANDLER(cmp_mr_jcc) {  // memory with register
    HOST_READ(p, address<K>(cpu, op), sizeof(T));
    const T a = load_host<T>(p), b = reg<T>(*cpu, op->r), d = T(a - b);
    set_lazy(*cpu, cc(CC_SUB, kLog2<T>), d, b);
    if (condition_known<C, CC_SUB, T>(d, b)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T, AddressKind K> HANDLER(cmp_mi_jcc) {
    HOST_READ(p, address<K>(cpu, op), sizeof(T));
    const T a = load_host<T>(p), b = T(op->imm), d = T(a - b);
    set_lazy(*cpu, cc(CC_SUB, kLog2<T>), d, b);
    if (condition_known<C, CC_SUB, T>(d, b)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T, AddressKind K> HANDLER(test_mi_jcc) {
    HOST_READ(p, address<K>(cpu, op), sizeof(T));
    const T d = T(load_host<T>(p) & T(op->imm));
    cpu->cc_op = cc(CC_LOGIC, kLog2<T>);
    cpu->cc_dst = d;
    if (condition_known<C, CC_LOGIC, T>(d, 0)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T, bool DEC> HANDLER(step_jcc) {
    const T d = T(reg<T>(*cpu, op->m) + (DEC ? T(-1) : T(1)));
    KEEP_CARRY();
    cpu->cc_op = cc(DEC ? CC_DEC : CC_INC, kLog2<T>);
    cpu->cc_dst = d;
    set_reg<T>(*cpu, op->m, d);
    if (condition_known<C, DEC ? CC_DEC : CC_INC, T>(d, 0)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T> HANDLER(sub_ri_jcc) {
    const T a = reg<T>(*cpu, op->m), b = T(op->imm), d = T(a - b);
    set_lazy(*cpu, cc(CC_SUB, kLog2<T>), d, b);
    set_reg<T>(*cpu, op->m, d);
    if (condition_known<C, CC_SUB, T>(d, b)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T> HANDLER(add_ri_jcc) {
    const T b = T(op->imm), d = T(reg<T>(*cpu, op->m) + b);
    set_lazy(*cpu, cc(CC_ADD, kLog2<T>), d, b);
    set_reg<T>(*cpu, op->m, d);
    if (condition_known<C, CC_ADD, T>(d, b)) TAKE(op + 1);
    SKIP(2);
}
template <unsigned C, class T> HANDLER(and_ri_jcc) {
    const T d = T(reg<T>(*cpu, op->m) & T(op->imm));
    cpu->cc_op = cc(CC_LOGIC, kLog2<T>);
    cpu->cc_dst = d;
    set_reg<T>(*cpu, op->m, d);
    if (condition_known<C, CC_LOGIC, T>(d, 0)) TAKE(op + 1);
    SKIP(2);
}

#define W4(h, C) {h<C, u8>, h<C, u16>, h<C, u32>, h<C, u64>}
#define W4K(h, C) {{h<C, u8, A_BASE>, h<C, u16, A_BASE>, h<C, u32, A_BASE>, h<C, u64, A_BASE>}, {h<C, u8, A_ANY>, h<C, u16, A_ANY>, h<C, u32, A_ANY>, h<C, u64, A_ANY>}}
#define CMP_RR(C) W4(cmp_rr_jcc, C)
#define CMP_RI(C) W4(cmp_ri_jcc, C)
#define TEST_RR(C) W4(test_rr_jcc, C)
#define TEST_SELF(C) W4(test_self_jcc, C)
#define TEST_RI(C) W4(test_ri_jcc, C)
#define SUB_RI(C) W4(sub_ri_jcc, C)
#define ADD_RI(C) W4(add_ri_jcc, C)
#define AND_RI(C) W4(and_ri_jcc, C)
#define CMP_LOAD(C) W4K(cmp_load_jcc, C)
#define CMP_MR(C) W4K(cmp_mr_jcc, C)
#define CMP_MI(C) W4K(cmp_mi_jcc, C)
#define TEST_MI(C) W4K(test_mi_jcc, C)
const Handler cmp_rr[16][4] = CONDITIONS(CMP_RR), cmp_ri[16][4] = CONDITIONS(CMP_RI), test_rr[16][4] = CONDITIONS(TEST_RR),
              test_self[16][4] = CONDITIONS(TEST_SELF), test_ri[16][4] = CONDITIONS(TEST_RI), sub_ri[16][4] = CONDITIONS(SUB_RI),
              add_ri[16][4] = CONDITIONS(ADD_RI), and_ri[16][4] = CONDITIONS(AND_RI);
const Handler cmp_load[16][2][4] = CONDITIONS(CMP_LOAD), cmp_mr[16][2][4] = CONDITIONS(CMP_MR), cmp_mi[16][2][4] = CONDITIONS(CMP_MI),
              test_mi[16][2][4] = CONDITIONS(TEST_MI);
// Conditions that the carry flag does not take part in: 4 Z, 5 NZ, 8 S, 9 NS, 12-15 signed comparisons.
#define STEPS(C) {{step_jcc<C, u32, false>, step_jcc<C, u64, false>}, {step_jcc<C, u32, true>, step_jcc<C, u64, true>}}
const Handler steps[8][2][2] = {STEPS(4), STEPS(5), STEPS(8), STEPS(9), STEPS(12), STEPS(13), STEPS(14), STEPS(15)};
int step_condition(unsigned c) { return c == 4 ? 0 : c == 5 ? 1 : c == 8 ? 2 : c == 9 ? 3 : c >= 12 ? int(c - 8) : -1; }

bool begins(const char *text, const char *word) { return !std::strncmp(text, word, std::strlen(word)); }

}  // namespace

Handler fuse(const Translation_ &t, const Op &first, const Op &second, Handler first_handler) {
    const char *jump = row_of(second.id).text;
    if (jump[0] != 'j' || !(t.mode & MODE_CSFLAT) || second.width < 2 || begins(jump, "jmp") || begins(jump, "jcxz")) return nullptr;
    const unsigned c = second.r, w = first.width;
    const char *text = row_of(first.id).text;
    const bool imm = std::strchr(text, 'I') != nullptr;
    AddressKind kind = first.is_reg ? A_NONE : address_kind2(t, first);
    const bool memory = row_of(first.id).has_modrm && !first.is_reg;
    if (memory && kind == A_NONE) return nullptr;
    const bool any = kind == A_ANY;
    // The accumulator forms have no ModRM; their rule has put RAX into m.
    if (begins(text, "cmp ")) {
        if (memory) {
            if (imm) return cmp_mi[c][any][w];
            return (text[4] == 'G' ? cmp_load : cmp_mr)[c][any][w];
        }
        if (imm) return cmp_ri[c][w];
        return text[4] == 'G' ? nullptr : cmp_rr[c][w];
    }
    if (begins(text, "test ")) {
        if (memory) return imm ? test_mi[c][any][w] : nullptr;
        if (imm) return test_ri[c][w];
        return (first.r == first.m ? test_self : test_rr)[c][w];
    }
    if (memory) return nullptr;
    if (begins(text, "sub ") && imm) return sub_ri[c][w];
    if (begins(text, "add ") && imm) return add_ri[c][w];
    if (begins(text, "and ") && imm) return and_ri[c][w];
    if ((begins(text, "dec ") || begins(text, "inc ")) && w >= 2 && step_condition(c) >= 0)
        return steps[step_condition(c)][text[0] == 'd'][w - 2];
    return nullptr;
}
