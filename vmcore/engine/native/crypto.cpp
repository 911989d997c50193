// AES, carry-less multiplication, SHA.  SDM Vol. 2; FIPS 197, FIPS 180-4.
#include "sse.h"

namespace {
u32 rotate_right(u32 v, unsigned n) { return v >> n | v << (32 - n); }
u32 rotate_left(u32 v, unsigned n) { return v << n | v >> (32 - n); }

// ---- AES.  Tables are computed: GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197 4.2), the S-box from inverses (5.1.1).
constexpr u8 times2(u8 v) { return u8(v << 1 ^ (v & 0x80 ? 0x1b : 0)); }
constexpr u8 times(u8 a, u8 b) {
    u8 r = 0;
    for (; b; b >>= 1, a = times2(a))
        if (b & 1) r ^= a;
    return r;
}
struct AesTables {
    u8 box[256], inverse[256];
    u32 mix[256], unmix[256];  // one column's contribution of a byte to MixColumns, InvMixColumns
    constexpr AesTables() : box(), inverse(), mix(), unmix() {
        u8 p = 1, q = 1;  // p runs through the powers of 3, q through their inverses
        do {
            p = u8(p ^ times2(p));
            q ^= u8(q << 1);
            q ^= u8(q << 2);
            q ^= u8(q << 4);
            if (q & 0x80) q ^= 0x09;
            u8 r = 0;
            for (unsigned n = 0; n < 5; n++) r ^= u8(q << n | q >> (8 - n));
            box[p] = r ^ 0x63;
        } while (p != 1);
        box[0] = 0x63;
        for (unsigned i = 0; i < 256; i++) inverse[box[i]] = u8(i);
        for (unsigned i = 0; i < 256; i++) {
            u8 v = u8(i);
            mix[i] = times(v, 2) | u32(v) << 8 | u32(v) << 16 | u32(times(v, 3)) << 24;
            unmix[i] = times(v, 14) | u32(times(v, 9)) << 8 | u32(times(v, 13)) << 16 | u32(times(v, 11)) << 24;
        }
    }
};
constexpr AesTables aes;

Xmm substitute_and_shift(const Xmm &s) {  // SubBytes, ShiftRows
    Xmm r;
    for (unsigned i = 0; i < 16; i++) r.ub[i] = aes.box[s.ub[(i + 4 * (i & 3)) & 15]];
    return r;
}
Xmm inverse_shift_and_substitute(const Xmm &s) {
    Xmm r;
    for (unsigned i = 0; i < 16; i++) r.ub[i] = aes.inverse[s.ub[(i - 4 * (i & 3)) & 15]];
    return r;
}
Xmm columns(const Xmm &s, const u32 *table) {
    Xmm r;
    for (unsigned i = 0; i < 4; i++)
        r.ud[i] = table[s.ub[4 * i]] ^ rotate_left(table[s.ub[4 * i + 1]], 8) ^ rotate_left(table[s.ub[4 * i + 2]], 16) ^
                  rotate_left(table[s.ub[4 * i + 3]], 24);
    return r;
}
Xmm exclusive_or(const Xmm &a, const Xmm &b) { return xmm_of(a.uq[0] ^ b.uq[0], a.uq[1] ^ b.uq[1]); }
u32 substitute_word(u32 v) {
    return aes.box[v & 255] | u32(aes.box[v >> 8 & 255]) << 8 | u32(aes.box[v >> 16 & 255]) << 16 | u32(aes.box[v >> 24]) << 24;
}

// ---- 64 by 64 bits without carries
void multiply_carryless(u64 a, u64 b, u64 *low, u64 *high) {
    u64 l = 0, h = 0;
    for (unsigned i = 0; i < 64; i++)
        if (b >> i & 1) {
            l ^= a << i;
            if (i) h ^= a >> (64 - i);
        }
    *low = l;
    *high = h;
}
}  // namespace

void x_aesenc(Cpu &cpu, const Op &op) {
    sse_binary(cpu, op, [](const Xmm &a, const Xmm &b) { return exclusive_or(columns(substitute_and_shift(a), aes.mix), b); });
}
void x_aesenclast(Cpu &cpu, const Op &op) {
    sse_binary(cpu, op, [](const Xmm &a, const Xmm &b) { return exclusive_or(substitute_and_shift(a), b); });
}
void x_aesdec(Cpu &cpu, const Op &op) {
    sse_binary(cpu, op, [](const Xmm &a, const Xmm &b) { return exclusive_or(columns(inverse_shift_and_substitute(a), aes.unmix), b); });
}
void x_aesdeclast(Cpu &cpu, const Op &op) {
    sse_binary(cpu, op, [](const Xmm &a, const Xmm &b) { return exclusive_or(inverse_shift_and_substitute(a), b); });
}
void x_aesimc(Cpu &cpu, const Op &op) {
    sse_binary(cpu, op, [](const Xmm &, const Xmm &b) { return columns(b, aes.unmix); });
}
void x_aeskeygenassist(Cpu &cpu, const Op &op) {
    sse_binary(cpu, op, [&](const Xmm &, const Xmm &b) {
        u32 x1 = substitute_word(b.ud[1]), x3 = substitute_word(b.ud[3]), rcon = u8(op.imm);
        Xmm r;
        r.ud[0] = x1;
        r.ud[1] = rotate_right(x1, 8) ^ rcon;
        r.ud[2] = x3;
        r.ud[3] = rotate_right(x3, 8) ^ rcon;
        return r;
    });
}
void x_pclmulqdq(Cpu &cpu, const Op &op) {
    sse_binary(cpu, op, [&](const Xmm &a, const Xmm &b) {
        Xmm r;
        multiply_carryless(a.uq[op.imm & 1], b.uq[op.imm >> 4 & 1], &r.uq[0], &r.uq[1]);
        return r;
    });
}

// ---- SHA-1 (FIPS 180-4 6.1).  In a register the first word of the state or schedule is the highest lane.
namespace {
// A misaligned operand faults by Intel's manual (exceptions type 4); processors of AMD take it.
template <class K> ALWAYS_INLINE void sha(Cpu &cpu, const Op &op, K kernel) {
    Xmm b = op.is_reg ? xmm(cpu, op.m) : has(cpu, F_VENDOR_AMD) ? read_unaligned(cpu, op) : read_aligned(cpu, op);
    Xmm &d = xmm(cpu, op.r);
    d = kernel(d, b);
}
u32 sha1_f(unsigned round, u32 b, u32 c, u32 d) {
    switch (round) {
    case 0: return (b & c) ^ (~b & d);
    case 2: return (b & c) ^ (b & d) ^ (c & d);
    default: return b ^ c ^ d;
    }
}
}  // namespace
void x_sha1rnds4(Cpu &cpu, const Op &op) {
    static const u32 constants[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    unsigned group = op.imm & 3;
    sha(cpu, op, [&](const Xmm &x, const Xmm &y) {
        u32 a = x.ud[3], b = x.ud[2], c = x.ud[1], d = x.ud[0], e = 0;
        for (unsigned i = 0; i < 4; i++) {
            u32 t = sha1_f(group, b, c, d) + rotate_left(a, 5) + y.ud[3 - i] + e + constants[group];
            e = d;
            d = c;
            c = rotate_left(b, 30);
            b = a;
            a = t;
        }
        Xmm r;
        r.ud[3] = a;
        r.ud[2] = b;
        r.ud[1] = c;
        r.ud[0] = d;
        return r;
    });
}
void x_sha1nexte(Cpu &cpu, const Op &op) {
    sha(cpu, op, [](const Xmm &a, const Xmm &b) {
        Xmm r = b;
        r.ud[3] += rotate_left(a.ud[3], 30);
        return r;
    });
}
void x_sha1msg1(Cpu &cpu, const Op &op) {
    sha(cpu, op, [](const Xmm &a, const Xmm &b) {
        Xmm r;
        r.ud[3] = a.ud[1] ^ a.ud[3];
        r.ud[2] = a.ud[0] ^ a.ud[2];
        r.ud[1] = b.ud[3] ^ a.ud[1];
        r.ud[0] = b.ud[2] ^ a.ud[0];
        return r;
    });
}
void x_sha1msg2(Cpu &cpu, const Op &op) {
    sha(cpu, op, [](const Xmm &a, const Xmm &b) {
        Xmm r;
        r.ud[3] = rotate_left(a.ud[3] ^ b.ud[2], 1);
        r.ud[2] = rotate_left(a.ud[2] ^ b.ud[1], 1);
        r.ud[1] = rotate_left(a.ud[1] ^ b.ud[0], 1);
        r.ud[0] = rotate_left(a.ud[0] ^ r.ud[3], 1);
        return r;
    });
}

// ---- SHA-256 (FIPS 180-4 6.2)
void x_sha256rnds2(Cpu &cpu, const Op &op) {  // state CDGH in the destination, ABEF in the operand, message words in XMM0
    Xmm words = xmm(cpu, 0);
    sha(cpu, op, [&](const Xmm &x, const Xmm &y) {
        u32 a = y.ud[3], b = y.ud[2], c = x.ud[3], d = x.ud[2], e = y.ud[1], f = y.ud[0], g = x.ud[1], h = x.ud[0];
        for (unsigned i = 0; i < 2; i++) {
            u32 s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
            u32 s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
            u32 t1 = h + s1 + ((e & f) ^ (~e & g)) + words.ud[i];
            u32 t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
            h = g;
            g = f;
            f = e;
            e = d + t1;
            d = c;
            c = b;
            b = a;
            a = t1 + t2;
        }
        Xmm r;
        r.ud[3] = a;
        r.ud[2] = b;
        r.ud[1] = e;
        r.ud[0] = f;
        return r;
    });
}
void x_sha256msg1(Cpu &cpu, const Op &op) {
    sha(cpu, op, [](const Xmm &a, const Xmm &b) {
        auto s0 = [](u32 v) { return rotate_right(v, 7) ^ rotate_right(v, 18) ^ v >> 3; };
        Xmm r;
        for (unsigned i = 0; i < 4; i++) r.ud[i] = a.ud[i] + s0(i < 3 ? a.ud[i + 1] : b.ud[0]);
        return r;
    });
}
void x_sha256msg2(Cpu &cpu, const Op &op) {
    sha(cpu, op, [](const Xmm &a, const Xmm &b) {
        auto s1 = [](u32 v) { return rotate_right(v, 17) ^ rotate_right(v, 19) ^ v >> 10; };
        Xmm r;
        r.ud[0] = a.ud[0] + s1(b.ud[2]);
        r.ud[1] = a.ud[1] + s1(b.ud[3]);
        r.ud[2] = a.ud[2] + s1(r.ud[0]);
        r.ud[3] = a.ud[3] + s1(r.ud[1]);
        return r;
    });
}
