// Fast handlers: near jumps and calls, conditions.  Only for code segments without limit (MODE_CSFLAT).  SDM Vol. 2.
#include "ops_jump.h"

namespace {

// ------------------------------------------------------------------------------------------- conditional jumps
template <unsigned C, CcGroup G, class T> HANDLER(jcc) {
    if (condition_known<C, G, T>(cpu->cc_dst, cpu->cc_src)) TAKE(op);
    NEXT();
}
template <unsigned C> HANDLER(jcc_dynamic) {
    unsigned v = condition_dynamic<C>(cpu);
    if (UNLIKELY(v == 2)) TAIL(h_slow_end, op, budget);
    if (v) TAKE(op);
    NEXT();
}
#define WIDTHS(h, C, G) {h<C, G, u8>, h<C, G, u16>, h<C, G, u32>, h<C, G, u64>}
#define GROUPS5(h, C) {WIDTHS(h, C, CC_SUB), WIDTHS(h, C, CC_LOGIC), WIDTHS(h, C, CC_ADD), WIDTHS(h, C, CC_INC), WIDTHS(h, C, CC_DEC)}
#define JCC(C) GROUPS5(jcc, C)
const Handler jccs[16][5][4] = CONDITIONS(JCC);
#define JCC_D(C) jcc_dynamic<C>
const Handler jccs_dynamic[16] = CONDITIONS(JCC_D);

// ------------------------------------------------------------------------------------------- SETcc, CMOVcc
template <unsigned C, CcGroup G, class T> HANDLER(setcc) {
    set_reg<u8>(*cpu, op->m, condition_known<C, G, T>(cpu->cc_dst, cpu->cc_src));
    NEXT();
}
template <unsigned C> HANDLER(setcc_dynamic) {
    unsigned v = condition_dynamic<C>(cpu);
    if (UNLIKELY(v == 2)) TAIL(h_slow, op, budget);
    set_reg<u8>(*cpu, op->m, u8(v));
    NEXT();
}
#define SETCC(C) GROUPS5(setcc, C)
const Handler setccs[16][5][4] = CONDITIONS(SETCC);
#define SETCC_D(C) setcc_dynamic<C>
const Handler setccs_dynamic[16] = CONDITIONS(SETCC_D);

template <unsigned C, CcGroup G, class T, class D> HANDLER(cmov) {
    const D a = reg<D>(*cpu, op->r), b = reg<D>(*cpu, op->m);
    set_reg<D>(*cpu, op->r, condition_known<C, G, T>(cpu->cc_dst, cpu->cc_src) ? b : a);
    NEXT();
}
template <unsigned C, class D> HANDLER(cmov_dynamic) {
    unsigned v = condition_dynamic<C>(cpu);
    if (UNLIKELY(v == 2)) TAIL(h_slow, op, budget);
    const D a = reg<D>(*cpu, op->r), b = reg<D>(*cpu, op->m);
    set_reg<D>(*cpu, op->r, v ? b : a);
    NEXT();
}
#define CMOV_W(C, G, D) {cmov<C, G, u8, D>, cmov<C, G, u16, D>, cmov<C, G, u32, D>, cmov<C, G, u64, D>}
#define CMOV(C) {{CMOV_W(C, CC_SUB, u32), CMOV_W(C, CC_LOGIC, u32)}, {CMOV_W(C, CC_SUB, u64), CMOV_W(C, CC_LOGIC, u64)}}
const Handler cmovs[16][2][2][4] = CONDITIONS(CMOV);
#define CMOV_D(C) {cmov_dynamic<C, u32>, cmov_dynamic<C, u64>}
const Handler cmovs_dynamic[16][2] = CONDITIONS(CMOV_D);

// ------------------------------------------------------------------------------------------- jumps and calls
HANDLER(jmp) { JUMP_LINK(op); }

template <class T, bool M64> HANDLER(call) {
    const u64 sp = stack_below<M64>(cpu, sizeof(T));
    HOST_WRITE(p, sp, sizeof(T));
    store_host<T>(p, T(cpu->gpr[REG_PAGE_RIP] + op->off + op->len));
    cpu->gpr[RSP] = sp;
    JUMP_LINK(op);
}

// Enters the block at `rip` if the jump cache knows it, after `commit`; else the slow function does the whole instruction.
#define JUMP_CACHED(rip_, commit)                                                                                            \
    do {                                                                                                                     \
        const u64 r_ = (rip_);                                                                                               \
        const JumpEntry &e_ = jump_entry(*cpu->jumps, r_);                                                                   \
        if (UNLIKELY(e_.rip != r_ || e_.key != jump_key(*cpu))) TAIL(h_slow_end, op, budget);                                \
        commit;                                                                                                              \
        cpu->gpr[REG_PAGE_RIP] = e_.page_rip;                                                                                \
        ENTER(e_.block);                                                                                                     \
    } while (0)

template <class T, bool M64> HANDLER(ret) {
    HOST_READ(p, stack_pointer<M64>(cpu), sizeof(T));
    JUMP_CACHED(load_host<T>(p), cpu->gpr[RSP] = stack_above<M64>(cpu, sizeof(T)));
}
template <class T, bool M64> HANDLER(ret_i) {
    HOST_READ(p, stack_pointer<M64>(cpu), sizeof(T));
    JUMP_CACHED(load_host<T>(p), cpu->gpr[RSP] = stack_above<M64>(cpu, sizeof(T) + op->imm));
}
template <class T> HANDLER(jmp_r) { JUMP_CACHED(reg<T>(*cpu, op->m), (void)0); }
template <class T, AddressKind K> HANDLER(jmp_m) {
    HOST_READ(p, address<K>(cpu, op), sizeof(T));
    JUMP_CACHED(load_host<T>(p), (void)0);
}
template <class T, bool M64> HANDLER(call_r) {
    const u64 sp = stack_below<M64>(cpu, sizeof(T)), rip = reg<T>(*cpu, op->m);
    HOST_WRITE(p, sp, sizeof(T));
    JUMP_CACHED(rip, store_host<T>(p, T(cpu->gpr[REG_PAGE_RIP] + op->off + op->len)); cpu->gpr[RSP] = sp);
}
template <class T, bool M64, AddressKind K> HANDLER(call_m) {
    HOST_READ(q, address<K>(cpu, op), sizeof(T));
    const u64 sp = stack_below<M64>(cpu, sizeof(T)), rip = load_host<T>(q);
    HOST_WRITE(p, sp, sizeof(T));
    JUMP_CACHED(rip, store_host<T>(p, T(cpu->gpr[REG_PAGE_RIP] + op->off + op->len)); cpu->gpr[RSP] = sp);
}

template <class T> HANDLER(loop) {  // by the address size
    const T n = T(T(cpu->gpr[RCX]) - 1);
    cpu->gpr[RCX] = n;
    if (n) TAKE(op);
    NEXT();
}
template <class T> HANDLER(jcxz) {
    if (!T(cpu->gpr[RCX])) TAKE(op);
    NEXT();
}

bool direct(const Translation_ &t, const Op &op) { return (t.mode & MODE_CSFLAT) && op.width > 1; }

}  // namespace

RULE(jcc) {
    if (!direct(t, op)) return nullptr;
    int g = known_group(t.cc);
    return g < 0 ? jccs_dynamic[op.r] : jccs[op.r][g][t.cc & 3];
}
RULE(setcc) {
    if (!op.is_reg) return nullptr;
    int g = known_group(t.cc);
    return g < 0 ? setccs_dynamic[op.imm & 15] : setccs[op.imm & 15][g][t.cc & 3];
}
RULE(cmov) {
    if (!op.is_reg || op.width < 2) return nullptr;
    int g = known_group(t.cc);
    return g < 0 || g > 1 ? cmovs_dynamic[op.imm & 15][op.width - 2] : cmovs[op.imm & 15][op.width - 2][g][t.cc & 3];
}
RULE(jmp) { return direct(t, op) ? jmp : nullptr; }

#define FLOW_RULE(h)                                                                                                         \
    static const Handler table[] = {nullptr, h<u32, false>, h<u64, true>};                                                   \
    unsigned f = flat_stack(t);                                                                                              \
    return direct(t, op) && op.width == (f == 2 ? 3 : 2) ? table[f] : nullptr
RULE(call) { FLOW_RULE(call); }
RULE(ret) { FLOW_RULE(ret); }
RULE(ret_i) { FLOW_RULE(ret_i); }
RULE(call_e) {
    if (op.is_reg) { FLOW_RULE(call_r); }
    static const Handler table[2][2] = {{call_m<u32, false, A_BASE>, call_m<u32, false, A_ANY>}, {call_m<u64, true, A_BASE>, call_m<u64, true, A_ANY>}};
    unsigned f = flat_stack(t);
    AddressKind k = address_kind2(t, op);
    if (!direct(t, op) || !f || k == A_NONE || op.width != (f == 2 ? 3 : 2)) return nullptr;
    return table[f - 1][k == A_ANY];
}
RULE(jmp_e) {
    if (!direct(t, op)) return nullptr;
    bool wide = op.width == 3;
    if (op.is_reg) return wide ? jmp_r<u64> : jmp_r<u32>;
    static const Handler table[2][2] = {{jmp_m<u32, A_BASE>, jmp_m<u32, A_ANY>}, {jmp_m<u64, A_BASE>, jmp_m<u64, A_ANY>}};
    AddressKind k = address_kind2(t, op);
    return k == A_NONE ? nullptr : table[wide][k == A_ANY];
}
RULE(loop) { return !direct(t, op) ? nullptr : op.adsize == 2 ? loop<u64> : op.adsize == 1 ? loop<u32> : nullptr; }
RULE(jcxz) { return !direct(t, op) ? nullptr : op.adsize == 2 ? jcxz<u64> : op.adsize == 1 ? jcxz<u32> : nullptr; }
