// SSE4.2 string comparison: PCMPxSTRx.  SDM Vol. 2B 4.1, "Imm8 control byte operation".
#include "sse.h"

namespace {
// Elements of one operand, widened with or without sign.
struct Elements {
    i32 v[16];
    unsigned valid;  // how many of them count
};
Elements elements(const Xmm &x, unsigned format) {
    Elements e{};
    for (unsigned i = 0; i < (format & 1 ? 8u : 16u); i++) {
        switch (format) {
        case 0: e.v[i] = x.ub[i]; break;
        case 1: e.v[i] = x.uw[i]; break;
        case 2: e.v[i] = x.sb[i]; break;
        default: e.v[i] = x.sw[i];
        }
    }
    return e;
}
unsigned implicit_length(const Elements &e, unsigned count) {  // up to the first null element
    unsigned n = 0;
    while (n < count && e.v[n]) n++;
    return n;
}
unsigned explicit_length(Cpu &cpu, unsigned reg, bool wide, unsigned count) {  // absolute value, saturated
    i64 v = wide ? i64(cpu.gpr[reg]) : i64(i32(cpu.gpr[reg]));
    u64 n = v < 0 ? 0 - u64(v) : u64(v);
    return n > count ? count : unsigned(n);
}

struct Outcome {
    u32 mask;  // IntRes2
    unsigned count;
};
Outcome compare(Cpu &cpu, const Op &op, bool explicit_lengths) {
    const unsigned control = unsigned(op.imm), count = control & 1 ? 8 : 16;
    Xmm second = op.is_reg ? xmm(cpu, op.m) : read_unaligned(cpu, op);
    Elements a = elements(xmm(cpu, op.r), control & 3), b = elements(second, control & 3);
    if (explicit_lengths) {
        a.valid = explicit_length(cpu, RAX, op.width == 3, count);
        b.valid = explicit_length(cpu, RDX, op.width == 3, count);
    } else {
        a.valid = implicit_length(a, count);
        b.valid = implicit_length(b, count);
    }
    u32 result = 0;
    switch (control >> 2 & 3) {
    case 0:  // equal any: b's element is one of the set a
        for (unsigned i = 0; i < b.valid; i++)
            for (unsigned k = 0; k < a.valid; k++)
                if (b.v[i] == a.v[k]) result |= 1u << i;
        break;
    case 1:  // ranges: a holds pairs of bounds
        for (unsigned i = 0; i < b.valid; i++)
            for (unsigned k = 0; k + 1 < a.valid; k += 2)
                if (b.v[i] >= a.v[k] && b.v[i] <= a.v[k + 1]) result |= 1u << i;
        break;
    case 2:  // equal each: both beyond their ends counts as equal
        for (unsigned i = 0; i < count; i++) {
            bool equal = i < a.valid && i < b.valid ? a.v[i] == b.v[i] : i >= a.valid && i >= b.valid;
            if (equal) result |= 1u << i;
        }
        break;
    default:  // equal ordered: a occurs in b at i (as far as b reaches in the register)
        for (unsigned i = 0; i < count; i++) {
            bool found = true;
            for (unsigned k = 0; k < a.valid && i + k < count; k++)
                if (i + k >= b.valid || a.v[k] != b.v[i + k]) found = false;
            if (found) result |= 1u << i;
        }
    }
    const u32 all = count == 8 ? 0xff : 0xffff;
    if (control & 0x10) {
        if (control & 0x20) result ^= (1u << b.valid) - 1;  // only where b is valid
        else result ^= all;
    }
    u32 flags = 0;
    if (result) flags |= FL_CF;
    if (b.valid < count) flags |= FL_ZF;
    if (a.valid < count) flags |= FL_SF;
    if (result & 1) flags |= FL_OF;
    set_arith_flags(cpu, flags);
    return {result, count};
}
void index_result(Cpu &cpu, const Op &op, const Outcome &o) {
    unsigned at = o.count;
    for (unsigned i = 0; i < o.count; i++)
        if (o.mask >> i & 1) {
            at = i;
            if (!(op.imm & 0x40)) break;  // least significant, else most significant
        }
    cpu.gpr[RCX] = at;
}
void mask_result(Cpu &cpu, const Op &op, const Outcome &o) {
    Xmm r = low64(o.mask);
    if (op.imm & 0x40) {
        if (o.count == 8)
            for (unsigned i = 0; i < 8; i++) r.uw[i] = o.mask >> i & 1 ? 0xffff : 0;
        else
            for (unsigned i = 0; i < 16; i++) r.ub[i] = o.mask >> i & 1 ? 0xff : 0;
    }
    xmm(cpu, 0) = r;
}
}  // namespace
void x_pcmpestrm(Cpu &cpu, const Op &op) { mask_result(cpu, op, compare(cpu, op, true)); }
void x_pcmpestri(Cpu &cpu, const Op &op) { index_result(cpu, op, compare(cpu, op, true)); }
void x_pcmpistrm(Cpu &cpu, const Op &op) { mask_result(cpu, op, compare(cpu, op, false)); }
void x_pcmpistri(Cpu &cpu, const Op &op) { index_result(cpu, op, compare(cpu, op, false)); }
