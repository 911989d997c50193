// Basic blocks from bytes.  See translate.h and blocks.h.
#include "translate.h"

Handler slow_handler(const Op &op) {
    u16 attrs = row_of(op.id).attrs;
    return attrs & ATTR_END ? h_slow_end : attrs & ATTR_STRING ? h_slow_string : h_slow;
}

namespace {

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

}  // namespace

unsigned translate_block(Cpu &cpu, const u8 *host, u64 lin, unsigned max, bool chained, Op *ops, unsigned *bytes, bool *crossing) {
    unsigned off = unsigned(lin & 0xfff), start = off, n = 0;
    u32 mode = cpu.mode;
    bool ended = false;
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
        ended = row_of(op.id).attrs & ATTR_END;
        if (ended || *crossing || !host) break;
    }
    Translation_ t{mode, false};
    for (unsigned i = 0; i < n; i++) {
        Op &op = ops[i];
        op.left = u8(n - i);
        RuleFn rule = rule_function(op.id);
        Handler fast = rule ? rule(t, op) : nullptr;
        op.fn = fast ? fast : slow_handler(op);
    }
    Op &end = ops[n];
    std::memset(&end, 0, sizeof end);
    end.base = end.index = REG_ZERO;
    end.off = u16(off);
    end.fn = !chained || *crossing ? h_leave : off < 4096 ? h_through : h_through_page;
    *bytes = off - start;
    return n;
}
