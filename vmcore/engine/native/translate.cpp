// Basic blocks from bytes.  See translate.h and blocks.h.
#include "translate.h"
#include "ops_jump.h"
#include <string_view>
#include <vector>

Handler slow_handler(const Op &op) {
    u16 attrs = row_of(op.id).attrs;
    return attrs & ATTR_END ? h_slow_end : attrs & ATTR_STRING ? h_slow_string : h_slow;
}

namespace {

// What an instruction does with the arithmetic flags, for the analysis inside a block.  CF is followed apart from the others.
enum : u8 { FLAG_C = 1, FLAG_O = 2, FLAG_ALL = 3 };
struct Effects {
    u8 reads;      // needs their values
    u8 writes;     // changes them (if `writes` is dead after it, it need not)
    u8 kills;      // what was there before is gone for certain
    bool known;    // one of the instructions that this analysis knows; others may look at everything
    bool neutral;  // leaves cc_op as it is
    u8 group;      // CcGroup that it leaves in cc_op, or CC_GROUPS: not known
};

u8 condition_reads(unsigned code) {
    switch (code >> 1) {
    case 1: return FLAG_C;
    case 3: return FLAG_ALL;
    default: return FLAG_O;
    }
}

Effects effects_of(const char *text) {
    std::string_view name(text);
    name = name.substr(0, name.find(' '));
    auto is = [&](std::initializer_list<const char *> names) {
        for (const char *n : names)
            if (name == n) return true;
        return false;
    };
    auto full = [](CcGroup g) { return Effects{0, FLAG_ALL, FLAG_ALL, true, false, u8(g)}; };
    if (is({"add"})) return full(CC_ADD);
    if (is({"sub", "cmp", "neg"})) return full(CC_SUB);
    if (is({"and", "or", "xor", "test", "bsf", "bsr"})) return full(CC_LOGIC);
    if (is({"mul", "imul"})) return full(CC_MUL);
    if (is({"adc", "sbb"})) return {FLAG_C, FLAG_ALL, FLAG_ALL, true, false, CC_GROUPS};
    if (is({"inc"})) return {0, FLAG_ALL, FLAG_O, true, false, CC_INC};
    if (is({"dec"})) return {0, FLAG_ALL, FLAG_O, true, false, CC_DEC};
    if (is({"shl", "shr", "sar", "shld", "shrd"})) return {0, FLAG_ALL, FLAG_ALL, true, false, CC_GROUPS};  // by a constant
    if (is({"rol", "ror"})) return {0, FLAG_ALL, 0, true, false, CC_GROUPS};
    if (is({"bt", "bts", "btr", "btc"})) return {0, FLAG_C, 0, true, false, CC_GROUPS};
    if (is({"mov", "movzx", "movsx", "movsxd", "lea", "push", "pop", "xchg", "bswap", "nop", "cbw", "cwd", "not", "leave", "jmp", "call", "ret"}))
        return {0, 0, 0, true, true, CC_GROUPS};
    if (is({"div", "idiv"})) return {FLAG_ALL, 0, 0, true, true, CC_GROUPS};  // may fault
    if (is({"loop"})) return {0, 0, 0, true, true, CC_GROUPS};
    if (name.substr(0, 3) == "set" || name.substr(0, 4) == "cmov") return {FLAG_ALL, 0, 0, true, true, CC_GROUPS};  // refined by the opcode
    if (name[0] == 'j') return {FLAG_ALL, 0, 0, true, true, CC_GROUPS};
    return {FLAG_ALL, 0, 0, false, false, CC_GROUPS};
}

const std::vector<Effects> &effects_table() {
    static const std::vector<Effects> table = [] {
        std::vector<Effects> t;
        for (unsigned i = 0; i < table_rows(); i++) {
            Effects e = effects_of(row_of(u16(i)).text);
            std::string_view text(row_of(u16(i)).text);
            // Shifts by CL may leave the flags as they were.
            if (text.size() > 2 && text.substr(text.size() - 2) == "CL") e.kills = 0;
            t.push_back(e);
        }
        return t;
    }();
    return table;
}

// One instruction that crosses the page, or lies outside of memory: its bytes are collected one by one.
void decode_bytewise(Cpu &cpu, const u8 *host, u64 lin, unsigned off, Op &op) {
    u8 bytes[16];
    unsigned have = 0;
    if (host)
        for (; have < 4096 - off && have < 15; have++) bytes[have] = host[have];
    while (decode(cpu, cpu.mode, bytes, have, off, op) == Decoded::TRUNCATED) {
        bytes[have] = fetch_byte(cpu, lin + have);
        have++;
    }
}

bool touches_memory(const Op &op) {
    const Row &row = row_of(op.id);
    if (row.has_modrm && !op.is_reg && row.text[0] != 'n' && std::strncmp(row.text, "lea", 3)) return true;
    const char *t = row.text;
    return !std::strncmp(t, "push", 4) || !std::strncmp(t, "pop", 3) || !std::strncmp(t, "leave", 5) || !std::strncmp(t, "call", 4) ||
           !std::strncmp(t, "ret", 3) || row.immediates[0] == I_MOFFS;
}

constexpr unsigned BRANCHES_MAX = 3;  // conditional jumps inside a block

}  // namespace

bool is_conditional_jump(const Op &op) {
    const char *t = row_of(op.id).text;
    return (t[0] == 'j' && t[1] != 'm') || !std::strncmp(t, "loop", 4);
}

namespace {
// What is wanted before `op`, given what is wanted after it.
u8 wanted_before(const Op &op, bool slow, u8 live) {
    const Effects &e = effects_table()[op.id];
    if (slow || !e.known || is_conditional_jump(op)) return FLAG_ALL;
    const bool dead = e.writes && !(live & e.writes);
    u8 reads = e.reads;
    if (dead) reads &= u8(~FLAG_C) | (e.group == CC_GROUPS ? FLAG_C : 0);
    const char *text = row_of(op.id).text;
    if (reads && (text[0] == 's' || text[0] == 'c') && !e.writes) reads = condition_reads(op.imm & 15);
    return touches_memory(op) ? u8(FLAG_ALL) : u8((live & ~e.kills) | reads);
}
u32 known_after(const Op &op, u32 before) {
    const Effects &e = effects_table()[op.id];
    if (e.neutral) return before;
    return e.group == CC_GROUPS ? CC_UNKNOWN : cc(CcGroup(e.group), op.width);
}
}  // namespace

void flags_in_block(const Op *ops, unsigned n, Handler first, u8 *wanted, u32 *known) {
    u32 now = CC_UNKNOWN;
    for (unsigned i = 0; i < n; i++) {
        known[i] = now;
        now = known_after(ops[i], now);
    }
    u8 live = FLAG_ALL;
    for (unsigned i = n; i--;) {
        wanted[i] = live;
        live = wanted_before(ops[i], (i ? ops[i].fn : first) == slow_handler(ops[i]), live);
    }
}

unsigned translate_block(Cpu &cpu, const u8 *host, u64 lin, unsigned max, bool chained, Op *ops, unsigned *bytes, bool *crossing) {
    unsigned off = unsigned(lin & 0xfff), start = off, n = 0, branches = 0;
    u32 mode = cpu.mode;
    *crossing = false;
    while (n < max && off < 4096) {
        Op &op = ops[n];
        if (!host || decode(cpu, mode, host + (off - start), 4096 - off, off, op) == Decoded::TRUNCATED) {
            if (n) break;
            decode_bytewise(cpu, host, lin, off, op);
            *crossing = off + op.len > 4096;
        }
        n++;
        off += op.len;
        if (*crossing || !host) break;
        if (row_of(op.id).attrs & ATTR_END) {
            // A conditional jump that is not taken goes on within the block.
            if (!(mode & MODE_CSFLAT) || !is_conditional_jump(op) || ++branches > BRANCHES_MAX) break;
        }
    }
    Op &end = ops[n];
    std::memset(&end, 0, sizeof end);
    end.base = end.index = REG_ZERO;
    end.off = u16(off);
    end.fn = !chained || *crossing ? h_leave : off < 4096 ? h_through : h_through_page;
    *bytes = off - start;

    // Forwards: handlers as if every flag were wanted, and what the block knows of cc_op.
    const std::vector<Effects> &table = effects_table();
    Translation_ t{mode, CC_UNKNOWN, false, false};
    u32 known[BLOCK_MAX];
    for (unsigned i = 0; i < n; i++) {
        Op &op = ops[i];
        known[i] = t.cc;
        op.left = u8(n - i);
        RuleFn rule = rule_function(op.id);
        op.fn = rule ? rule(t, op) : nullptr;
        t.cc = known_after(op, t.cc);
    }
    // Backwards: who sees the flags.
    u8 live = FLAG_ALL;
    for (unsigned i = n; i--;) {
        Op &op = ops[i];
        const Effects &e = table[op.id];
        const bool slow = !op.fn;
        if (slow) {
            op.fn = slow_handler(op);
        } else if (e.known && e.writes) {
            t.cc = known[i];
            t.flags_dead = !(live & e.writes);
            t.carry_dead = !(live & FLAG_C);
            if (t.flags_dead || t.carry_dead) op.fn = rule_function(op.id)(t, op);
        }
        live = wanted_before(op, slow, live);
    }
    // Pairs.
    t.flags_dead = t.carry_dead = false;
    for (unsigned i = 0; i + 1 < n; i++)
        if (is_conditional_jump(ops[i + 1]) && ops[i].fn != slow_handler(ops[i]))
            if (Handler pair = fuse(t, ops[i], ops[i + 1], ops[i].fn)) ops[i].fn = pair;
    return n;
}
