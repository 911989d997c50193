// Bit manipulation on general registers: MOVBE, POPCNT, LZCNT, TZCNT, BMI1, BMI2, ADX, CRC32, RDRAND, RDSEED.  SDM Vol. 2.
#include "cpu.h"

void x_bsf(Cpu &, const Op &);
void x_bsr(Cpu &, const Op &);

namespace {
template <class T> T swap_bytes(T v) {
    T r = 0;
    for (unsigned i = 0; i < sizeof(T); i++) r = T(r | T(u8(v >> (8 * i))) << (8 * (sizeof(T) - 1 - i)));
    return r;
}
template <class T> unsigned count_ones(T v) {
    u64 x = v;
    x -= x >> 1 & 0x5555555555555555;
    x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
    x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
    return unsigned(x * 0x0101010101010101 >> 56);
}
template <class T> unsigned trailing_zeros(T v) { return v ? count_ones<T>(T(T(v & T(0 - v)) - 1)) : kBits<T>; }
template <class T> unsigned leading_zeros(T v) {
    for (unsigned shift = 1; shift < kBits<T>; shift *= 2) v = T(v | v >> shift);
    return kBits<T> - count_ones<T>(v);
}
template <class T> void set_logic(Cpu &cpu, T result) {
    cpu.cc_op = cc(CC_LOGIC, sizeof(T) == 4 ? 2 : 3);
    cpu.cc_dst = result;
}
template <class T> void set_bls(Cpu &cpu, T result, bool carry) {
    cpu.cc_op = cc(CC_BLS, sizeof(T) == 4 ? 2 : 3);
    cpu.cc_dst = result;
    cpu.cc_src = carry;
}
// VEX.vvvv lies above the immediate (FORMAT.md).
u8 vvvv(const Op &op) { return op.imm >> 8 & 15; }
}  // namespace

// Runs the body with T = u32 or u64.
#define WITH_WORD(op, ...)                                                                                                   \
    if ((op).width == 3) {                                                                                                   \
        using T = u64;                                                                                                       \
        __VA_ARGS__                                                                                                          \
    } else {                                                                                                                 \
        using T = u32;                                                                                                       \
        __VA_ARGS__                                                                                                          \
    }

void x_movbe(Cpu &cpu, const Op &op) {
    WITH_WIDTH(op, set_reg<T>(cpu, op.r, swap_bytes<T>(read_mem<T>(cpu, op)));)
}
void x_movbe_store(Cpu &cpu, const Op &op) {
    WITH_WIDTH(op, write_mem<T>(cpu, op, swap_bytes<T>(reg<T>(cpu, op.r)));)
}

// ---- counts
void x_popcnt(Cpu &cpu, const Op &op) {
    WITH_WIDTH(op, {
        T v = read_rm<T>(cpu, op);
        set_reg<T>(cpu, op.r, T(count_ones<T>(v)));
        set_arith_flags(cpu, v ? 0u : u32(FL_ZF));
    })
}
// Processors without the feature ignore the prefix: BSF, BSR.
void x_tzcnt(Cpu &cpu, const Op &op) {
    if (!has(cpu, F_BMI1)) return x_bsf(cpu, op);
    WITH_WIDTH(op, {
        T v = read_rm<T>(cpu, op);
        unsigned n = trailing_zeros<T>(v);
        set_reg<T>(cpu, op.r, T(n));
        set_arith_flags(cpu, (v ? 0u : u32(FL_CF)) | (n ? 0u : u32(FL_ZF)));
    })
}
void x_lzcnt(Cpu &cpu, const Op &op) {
    if (!has(cpu, F_ABM)) return x_bsr(cpu, op);
    WITH_WIDTH(op, {
        T v = read_rm<T>(cpu, op);
        unsigned n = leading_zeros<T>(v);
        set_reg<T>(cpu, op.r, T(n));
        set_arith_flags(cpu, (v ? 0u : u32(FL_CF)) | (n ? 0u : u32(FL_ZF)));
    })
}

// ---- BMI1
void x_andn(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T r = T(~reg<T>(cpu, vvvv(op)) & read_rm<T>(cpu, op));
        set_reg<T>(cpu, op.r, r);
        set_logic<T>(cpu, r);
    })
}
void x_bextr(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T v = read_rm<T>(cpu, op);
        T control = reg<T>(cpu, vvvv(op));
        unsigned start = control & 0xff;
        unsigned length = control >> 8 & 0xff;
        T r = start < kBits<T> ? T(v >> start) : 0;
        if (length < kBits<T>) r &= T((T(1) << length) - 1);
        set_reg<T>(cpu, op.r, r);
        set_arith_flags(cpu, r ? 0u : u32(FL_ZF));
    })
}
void x_blsr(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T v = read_rm<T>(cpu, op);
        set_reg<T>(cpu, vvvv(op), T(v & (v - 1)));
        set_bls<T>(cpu, T(v & (v - 1)), v == 0);
    })
}
void x_blsmsk(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T v = read_rm<T>(cpu, op);
        set_reg<T>(cpu, vvvv(op), T(v ^ (v - 1)));
        set_bls<T>(cpu, T(v ^ (v - 1)), v == 0);
    })
}
void x_blsi(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T v = read_rm<T>(cpu, op);
        set_reg<T>(cpu, vvvv(op), T(v & (0 - v)));
        set_bls<T>(cpu, T(v & (0 - v)), v != 0);
    })
}

// ---- BMI2
void x_bzhi(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T v = read_rm<T>(cpu, op);
        unsigned n = u8(cpu.gpr[vvvv(op)]);
        if (n < kBits<T>) v &= T((T(1) << n) - 1);
        set_reg<T>(cpu, op.r, v);
        set_bls<T>(cpu, v, n >= kBits<T>);
    })
}
void x_pdep(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T mask = read_rm<T>(cpu, op);
        T source = reg<T>(cpu, vvvv(op));
        T r = 0;
        for (; mask; mask &= T(mask - 1)) {
            if (source & 1) r |= mask & T(0 - mask);
            source >>= 1;
        }
        set_reg<T>(cpu, op.r, r);
    })
}
void x_pext(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T mask = read_rm<T>(cpu, op);
        T source = reg<T>(cpu, vvvv(op));
        T r = 0;
        T bit = 1;
        for (; mask; mask &= T(mask - 1)) {
            if (source & mask & T(0 - mask)) r |= bit;
            bit <<= 1;
        }
        set_reg<T>(cpu, op.r, r);
    })
}
void x_mulx(Cpu &cpu, const Op &op) {  // the high half is written last: it wins if both are the same register
    if (op.width == 3) {
        u64 a = cpu.gpr[RDX], b = read_rm<u64>(cpu, op);
        u64 al = u32(a), ah = a >> 32, bl = u32(b), bh = b >> 32;
        u64 middle = ah * bl + (al * bl >> 32), other = al * bh + u32(middle);
        cpu.gpr[vvvv(op)] = a * b;
        cpu.gpr[op.r] = ah * bh + (middle >> 32) + (other >> 32);
    } else {
        u64 p = u64(u32(cpu.gpr[RDX])) * read_rm<u32>(cpu, op);
        cpu.gpr[vvvv(op)] = u32(p);
        cpu.gpr[op.r] = p >> 32;
    }
}
void x_rorx(Cpu &cpu, const Op &op) {
    WITH_WORD(op, {
        T v = read_rm<T>(cpu, op);
        unsigned n = op.imm & (kBits<T> - 1);
        set_reg<T>(cpu, op.r, n ? T(v >> n | v << (kBits<T> - n)) : v);
    })
}
void x_sarx(Cpu &cpu, const Op &op) {
    WITH_WORD(op, set_reg<T>(cpu, op.r, T(typename SignedOf<T>::S(read_rm<T>(cpu, op)) >> (cpu.gpr[vvvv(op)] & (kBits<T> - 1))));)
}
void x_shlx(Cpu &cpu, const Op &op) {
    WITH_WORD(op, set_reg<T>(cpu, op.r, T(read_rm<T>(cpu, op) << (cpu.gpr[vvvv(op)] & (kBits<T> - 1))));)
}
void x_shrx(Cpu &cpu, const Op &op) {
    WITH_WORD(op, set_reg<T>(cpu, op.r, T(read_rm<T>(cpu, op) >> (cpu.gpr[vvvv(op)] & (kBits<T> - 1))));)
}

// ---- ADX: one carry chain in CF, one in OF; every other flag stays
namespace {
void add_chain(Cpu &cpu, const Op &op, u32 flag) {
    WITH_WORD(op, {
        T b = read_rm<T>(cpu, op);
        T a = reg<T>(cpu, op.r);
        u32 flags = arith_flags(cpu);
        T carry = flags & flag ? 1 : 0;
        T r = T(a + b + carry);
        bool out = carry ? r <= a : r < a;
        set_reg<T>(cpu, op.r, r);
        set_arith_flags(cpu, (flags & ~flag) | (out ? flag : 0));
    })
}
}  // namespace
void x_adcx(Cpu &cpu, const Op &op) { add_chain(cpu, op, FL_CF); }
void x_adox(Cpu &cpu, const Op &op) { add_chain(cpu, op, FL_OF); }

// ---- CRC32 over the polynomial 11EDC6F41h, bits reflected
namespace {
struct CrcTable {
    u32 of[256];
    constexpr CrcTable() : of() {
        for (u32 i = 0; i < 256; i++) {
            u32 v = i;
            for (int k = 0; k < 8; k++) v = v & 1 ? v >> 1 ^ 0x82f63b78 : v >> 1;
            of[i] = v;
        }
    }
};
constexpr CrcTable crc_table;
template <class T> u32 crc_step(u32 crc, T v) {
    for (unsigned i = 0; i < sizeof(T); i++) {
        crc = crc >> 8 ^ crc_table.of[(crc ^ u8(v)) & 0xff];
        if constexpr (sizeof(T) > 1) v = T(v >> 8);
    }
    return crc;
}
}  // namespace
void x_crc32_byte(Cpu &cpu, const Op &op) { cpu.gpr[op.r] = crc_step<u8>(u32(cpu.gpr[op.r]), read_rm<u8>(cpu, op)); }
void x_crc32(Cpu &cpu, const Op &op) {
    WITH_WIDTH(op, cpu.gpr[op.r] = crc_step<T>(u32(cpu.gpr[op.r]), read_rm<T>(cpu, op));)
}

// ---- RDRAND, RDSEED: a counter through a mixing function (splitmix64), so that a seed gives a run
namespace {
void random_word(Cpu &cpu, const Op &op) {
    cpu.rng_state += 0x9e3779b97f4a7c15;
    u64 z = cpu.rng_state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    z ^= z >> 31;
    set_reg_sized(cpu, op.m, z, op.width);
    set_arith_flags(cpu, FL_CF);
}
}  // namespace
void x_rdrand(Cpu &cpu, const Op &op) { random_word(cpu, op); }
void x_rdseed(Cpu &cpu, const Op &op) { random_word(cpu, op); }
