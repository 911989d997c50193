// Packs, unpacks, shuffles, blends, inserts and extracts of MMX, SSE, SSE2, SSE3, SSSE3, SSE4.1 and SSE4a.
#include "sse_rules.h"

// ---- packs: the low half of the result narrows `a`, the high half `b`
#define PACK(name, FROM, TO, intrinsic)                                                                                      \
    template <unsigned BYTES> static ALWAYS_INLINE Xmm k_##name(const Xmm &a, const Xmm &b) {                                \
        if constexpr (BYTES == 16) { intrinsic }                                                                             \
        constexpr unsigned half = BYTES / sizeof(FROM);                                                                      \
        Xmm r = low64(0);                                                                                                    \
        for (unsigned i = 0; i < half; i++) {                                                                                \
            lanes<TO>(r)[i] = clamp_to<TO>(lanes<FROM>(a)[i]);                                                               \
            lanes<TO>(r)[half + i] = clamp_to<TO>(lanes<FROM>(b)[i]);                                                        \
        }                                                                                                                    \
        return r;                                                                                                            \
    }                                                                                                                        \
    void x_##name(Cpu &cpu, const Op &op) { sse_binary(cpu, op, k_##name<16>); }
#define PACK_MM(name)                                                                                                        \
    void x_##name##_mm(Cpu &cpu, const Op &op) { mmx_binary(cpu, op, k_##name<8>); }
PACK(packsswb, i16, i8, HOST_KERNEL(_mm_packs_epi16))
PACK(packuswb, i16, u8, HOST_KERNEL(_mm_packus_epi16))
PACK(packssdw, i32, i16, HOST_KERNEL(_mm_packs_epi32))
PACK(packusdw, i32, u16, )
PACK_MM(packsswb)
PACK_MM(packuswb)
PACK_MM(packssdw)

SSE_RULE_16(packsswb)
SSE_RULE_16(packuswb)
SSE_RULE_16(packssdw)

// ---- unpacks: lanes of `a` and `b` in turn, from the low or high half
#define UNPACK(name, T, HIGH, intrinsic)                                                                                     \
    template <unsigned BYTES> static ALWAYS_INLINE Xmm k_##name(const Xmm &a, const Xmm &b) {                                \
        if constexpr (BYTES == 16) { HOST_KERNEL(intrinsic) }                                                                  \
        constexpr unsigned half = BYTES / sizeof(T) / 2;                                                                     \
        Xmm r = low64(0);                                                                                                    \
        for (unsigned i = 0; i < half; i++) {                                                                                \
            lanes<T>(r)[2 * i] = lanes<T>(a)[i + HIGH * half];                                                               \
            lanes<T>(r)[2 * i + 1] = lanes<T>(b)[i + HIGH * half];                                                           \
        }                                                                                                                    \
        return r;                                                                                                            \
    }                                                                                                                        \
    void x_##name(Cpu &cpu, const Op &op) { sse_binary(cpu, op, k_##name<16>); }                                             \
    SSE_RULE_16(name)
UNPACK(punpcklbw, u8, 0, _mm_unpacklo_epi8)
UNPACK(punpcklwd, u16, 0, _mm_unpacklo_epi16)
UNPACK(punpckldq, u32, 0, _mm_unpacklo_epi32)
UNPACK(punpcklqdq, u64, 0, _mm_unpacklo_epi64)
UNPACK(punpckhbw, u8, 1, _mm_unpackhi_epi8)
UNPACK(punpckhwd, u16, 1, _mm_unpackhi_epi16)
UNPACK(punpckhdq, u32, 1, _mm_unpackhi_epi32)
UNPACK(punpckhqdq, u64, 1, _mm_unpackhi_epi64)
#define UNPACK_HIGH_MM(name)                                                                                                 \
    void x_##name##_mm(Cpu &cpu, const Op &op) { mmx_binary(cpu, op, k_##name<8>); }
// The low forms read 32 bits of memory only.
#define UNPACK_LOW_MM(name)                                                                                                  \
    void x_##name##_mm(Cpu &cpu, const Op &op) {                                                                             \
        mmx_begin(cpu);                                                                                                      \
        u64 b = op.is_reg ? mm(cpu, op.m) : read_mem<u32>(cpu, op);                                                          \
        set_mm(cpu, op.r, k_##name<8>(low64(mm(cpu, op.r)), low64(b)).uq[0]);                                                \
    }
UNPACK_HIGH_MM(punpckhbw)
UNPACK_HIGH_MM(punpckhwd)
UNPACK_HIGH_MM(punpckhdq)
UNPACK_LOW_MM(punpcklbw)
UNPACK_LOW_MM(punpcklwd)
UNPACK_LOW_MM(punpckldq)

// ---- shuffles by an immediate
void x_pshufd(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    Xmm &d = xmm(cpu, op.r);
    for (unsigned i = 0; i < 4; i++) d.ud[i] = b.ud[op.imm >> (2 * i) & 3];
}
namespace {
ALWAYS_INLINE u64 shuffle_words(u64 v, u64 order) {
    u64 r = 0;
    for (unsigned i = 0; i < 4; i++) r |= (v >> (16 * (order >> (2 * i) & 3)) & 0xffff) << (16 * i);
    return r;
}
}  // namespace
void x_pshuflw(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    xmm(cpu, op.r) = xmm_of(shuffle_words(b.uq[0], op.imm), b.uq[1]);
}
void x_pshufhw(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    xmm(cpu, op.r) = xmm_of(b.uq[0], shuffle_words(b.uq[1], op.imm));
}
void x_pshufw(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    set_mm(cpu, op.r, shuffle_words(read_qq(cpu, op), op.imm));
}
void x_shufps(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op), a = xmm(cpu, op.r);
    Xmm &d = xmm(cpu, op.r);
    d.ud[0] = a.ud[op.imm & 3];
    d.ud[1] = a.ud[op.imm >> 2 & 3];
    d.ud[2] = b.ud[op.imm >> 4 & 3];
    d.ud[3] = b.ud[op.imm >> 6 & 3];
}
void x_shufpd(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    Xmm &d = xmm(cpu, op.r);
    d = xmm_of(d.uq[op.imm & 1], b.uq[op.imm >> 1 & 1]);
}

// ---- SSSE3
namespace {
template <unsigned BYTES> ALWAYS_INLINE Xmm k_pshufb(const Xmm &a, const Xmm &b) {
    Xmm r = low64(0);
    for (unsigned i = 0; i < BYTES; i++) r.ub[i] = b.ub[i] & 0x80 ? 0 : a.ub[b.ub[i] & (BYTES - 1)];
    return r;
}
// Bytes n.. of b:a, zeros beyond.
template <unsigned BYTES> ALWAYS_INLINE Xmm align_right(const Xmm &a, const Xmm &b, unsigned n) {
    u8 both[4 * BYTES] = {};
    std::memcpy(both, &b, BYTES);
    std::memcpy(both + BYTES, &a, BYTES);
    Xmm r = low64(0);
    if (n < 2 * BYTES) std::memcpy(&r, both + n, BYTES);
    return r;
}
}  // namespace
void x_pshufb(Cpu &cpu, const Op &op) { sse_binary(cpu, op, k_pshufb<16>); }
void x_pshufb_mm(Cpu &cpu, const Op &op) { mmx_binary(cpu, op, k_pshufb<8>); }
void x_palignr(Cpu &cpu, const Op &op) {
    sse_binary(cpu, op, [&](const Xmm &a, const Xmm &b) { return align_right<16>(a, b, u8(op.imm)); });
}
void x_palignr_mm(Cpu &cpu, const Op &op) {
    mmx_binary(cpu, op, [&](const Xmm &a, const Xmm &b) { return align_right<8>(a, b, u8(op.imm)); });
}

// ---- SSE3 duplicates
void x_movddup(Cpu &cpu, const Op &op) {
    u64 v = read_wq(cpu, op).uq[0];
    xmm(cpu, op.r) = xmm_of(v, v);
}
void x_movsldup(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    xmm(cpu, op.r) = xmm_of(u64(b.ud[0]) << 32 | b.ud[0], u64(b.ud[2]) << 32 | b.ud[2]);
}
void x_movshdup(Cpu &cpu, const Op &op) {
    Xmm b = read_wx(cpu, op);
    xmm(cpu, op.r) = xmm_of(u64(b.ud[1]) << 32 | b.ud[1], u64(b.ud[3]) << 32 | b.ud[3]);
}

// ---- SSE4.1 blends: T lanes chosen by bits of the immediate, or by the sign bits of XMM0's lanes
#define BLEND(name, T, chosen)                                                                                               \
    void x_##name(Cpu &cpu, const Op &op) {                                                                                  \
        Xmm b = read_wx(cpu, op), mask = xmm(cpu, 0);                                                                        \
        (void)mask;                                                                                                          \
        Xmm &d = xmm(cpu, op.r);                                                                                             \
        for (unsigned i = 0; i < kLanes<T>; i++)                                                                             \
            if (chosen) lanes<T>(d)[i] = lanes<T>(b)[i];                                                                     \
    }
BLEND(pblendw, u16, op.imm >> i & 1)
BLEND(blendps, u32, op.imm >> i & 1)
BLEND(blendpd, u64, op.imm >> i & 1)
BLEND(pblendvb, u8, mask.sb[i] < 0)
BLEND(blendvps, u32, mask.sd[i] < 0)
BLEND(blendvpd, u64, mask.sq[i] < 0)

// ---- inserts and extracts of integers
void x_pinsrb(Cpu &cpu, const Op &op) {
    u8 v = op.is_reg ? u8(cpu.gpr[op.m]) : read_mem<u8>(cpu, op);
    xmm(cpu, op.r).ub[op.imm & 15] = v;
}
void x_pinsrw(Cpu &cpu, const Op &op) {
    u16 v = op.is_reg ? u16(cpu.gpr[op.m]) : read_mem<u16>(cpu, op);
    xmm(cpu, op.r).uw[op.imm & 7] = v;
}
void x_pinsrw_mm(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    u16 v = op.is_reg ? u16(cpu.gpr[op.m]) : read_mem<u16>(cpu, op);
    unsigned shift = (op.imm & 3) * 16;
    set_mm(cpu, op.r, (mm(cpu, op.r) & ~(u64(0xffff) << shift)) | u64(v) << shift);
}
void x_pinsrdq(Cpu &cpu, const Op &op) {
    if (op.width == 3) {
        u64 v = read_rm<u64>(cpu, op);
        xmm(cpu, op.r).uq[op.imm & 1] = v;
    } else {
        u32 v = read_rm<u32>(cpu, op);
        xmm(cpu, op.r).ud[op.imm & 3] = v;
    }
}
void x_pextrb(Cpu &cpu, const Op &op) {
    u8 v = xmm(cpu, op.r).ub[op.imm & 15];
    if (op.is_reg) cpu.gpr[op.m] = v;
    else write_mem<u8>(cpu, op, v);
}
void x_pextrw_store(Cpu &cpu, const Op &op) {  // 0F 3A 15: to ModRM.rm
    u16 v = xmm(cpu, op.r).uw[op.imm & 7];
    if (op.is_reg) cpu.gpr[op.m] = v;
    else write_mem<u16>(cpu, op, v);
}
void x_pextrw(Cpu &cpu, const Op &op) { cpu.gpr[op.r] = xmm(cpu, op.m).uw[op.imm & 7]; }  // 0F C5: to ModRM.reg
void x_pextrw_mm(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    mmx_touch(cpu);
    cpu.gpr[op.r] = u16(mm(cpu, op.m) >> ((op.imm & 3) * 16));
}
void x_pextrdq(Cpu &cpu, const Op &op) {
    if (op.width == 3) write_rm<u64>(cpu, op, xmm(cpu, op.r).uq[op.imm & 1]);
    else write_rm<u32>(cpu, op, xmm(cpu, op.r).ud[op.imm & 3]);
}
void x_extractps(Cpu &cpu, const Op &op) { write_rm<u32>(cpu, op, xmm(cpu, op.r).ud[op.imm & 3]); }
void x_insertps(Cpu &cpu, const Op &op) {
    u32 v = op.is_reg ? xmm(cpu, op.m).ud[op.imm >> 6 & 3] : read_mem<u32>(cpu, op);
    Xmm &d = xmm(cpu, op.r);
    d.ud[op.imm >> 4 & 3] = v;
    for (unsigned i = 0; i < 4; i++)
        if (op.imm >> i & 1) d.ud[i] = 0;
}

// ---- SSE4a bit fields in the low quadword (AMD APM Vol. 4, EXTRQ, INSERTQ); a length of 0 means 64.  The manual leaves the high quadword of the
// result undefined; processors clear it.
namespace {
u64 field_mask(unsigned length) { return length ? (u64(1) << length) - 1 : ~u64(0); }
void extract_field(Xmm &d, unsigned length, unsigned index) { d = low64(d.uq[0] >> index & field_mask(length)); }
void insert_field(Xmm &d, u64 v, unsigned length, unsigned index) {
    u64 mask = field_mask(length);
    d = low64((d.uq[0] & ~(mask << index)) | (v & mask) << index);
}
}  // namespace
// The immediate forms carry two bytes: length, then index (imm holds both, length lowest).
void x_extrq_imm(Cpu &cpu, const Op &op) { extract_field(xmm(cpu, op.m), op.imm & 63, op.imm >> 8 & 63); }
void x_extrq(Cpu &cpu, const Op &op) {
    u64 control = xmm(cpu, op.m).uq[0];
    extract_field(xmm(cpu, op.r), control & 63, control >> 8 & 63);
}
void x_insertq_imm(Cpu &cpu, const Op &op) {
    insert_field(xmm(cpu, op.r), xmm(cpu, op.m).uq[0], op.imm & 63, op.imm >> 8 & 63);
}
void x_insertq(Cpu &cpu, const Op &op) {
    Xmm b = xmm(cpu, op.m);
    insert_field(xmm(cpu, op.r), b.uq[0], b.uq[1] & 63, b.uq[1] >> 8 & 63);
}
