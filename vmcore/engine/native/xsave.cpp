// FXSAVE, FXRSTOR and the XSAVE family.  SDM Vol. 1 10.5 and chapter 13; Vol. 2 per instruction.
#include "fpu.h"
#include "xsave.h"

namespace {
constexpr unsigned kLegacySize = 512, kHeaderSize = 64, kAvxOffset = 576, kAvxSize = 256;
constexpr u32 kMxcsrMask = 0xffff;

// ---- pieces of the legacy area (table 10-2)
void put_x87(const Cpu &cpu, bool wide, u8 *area) {
    const Fpu &f = cpu.fpu;
    std::memset(area, 0, 24);
    store_host<u16>(area, f.cw);
    store_host<u16>(area + 2, fpu_sw(cpu));
    area[4] = f.valid;
    store_host<u16>(area + 6, f.op);
    if (wide) {
        store_host<u64>(area + 8, f.ip);
        store_host<u64>(area + 16, f.dp);
    } else {
        bool selectors = !has(cpu, F_FDP_CS_DS);
        store_host<u32>(area + 8, u32(f.ip));
        store_host<u16>(area + 12, selectors ? f.cs : 0);
        store_host<u32>(area + 16, u32(f.dp));
        store_host<u16>(area + 20, selectors ? f.ds : 0);
    }
    std::memset(area + 32, 0, 128);
    for (unsigned i = 0; i < 8; i++) {
        const F80 &r = f.st[physical(cpu, i)];
        store_host<u64>(area + 32 + 16 * i, r.mant);
        store_host<u16>(area + 40 + 16 * i, r.se);
    }
}
void take_x87(Cpu &cpu, bool wide, const u8 *area) {
    Fpu &f = cpu.fpu;
    set_fpu_sw(cpu, load_host<u16>(area + 2));
    f.valid = area[4];
    f.op = load_host<u16>(area + 6) & 0x7ff;
    if (wide) {
        f.ip = load_host<u64>(area + 8);
        f.dp = load_host<u64>(area + 16);
        f.cs = f.ds = 0;
    } else {
        f.ip = load_host<u32>(area + 8);
        f.cs = load_host<u16>(area + 12);
        f.dp = load_host<u32>(area + 16);
        f.ds = load_host<u16>(area + 20);
    }
    for (unsigned i = 0; i < 8; i++)
        st(cpu, i) = F80{load_host<u64>(area + 32 + 16 * i), load_host<u16>(area + 40 + 16 * i)};
    set_fpu_cw(cpu, load_host<u16>(area));
    ferr_lower(cpu);
}
void init_x87(Cpu &cpu) {
    fninit(cpu);
    for (F80 &r : cpu.fpu.st) r = F80{0, 0};
}
unsigned xmm_count(const Cpu &cpu) { return in_64bit(cpu) ? 16 : 8; }
void put_xmm(const Cpu &cpu, u8 *area) {
    for (unsigned i = 0; i < xmm_count(cpu); i++) std::memcpy(area + 160 + 16 * i, &cpu.vec[i], 16);
}
void take_xmm(Cpu &cpu, const u8 *area) {
    for (unsigned i = 0; i < xmm_count(cpu); i++) std::memcpy(&cpu.vec[i], area + 160 + 16 * i, 16);
}
void init_xmm(Cpu &cpu) {
    for (unsigned i = 0; i < xmm_count(cpu); i++) std::memset(&cpu.vec[i], 0, 16);
}
// The upper halves of YMM: component 2.
void put_avx(const Cpu &cpu, u8 *area) {
    for (unsigned i = 0; i < xmm_count(cpu); i++) std::memcpy(area + 16 * i, &cpu.vec[i].u8_[16], 16);
}
void take_avx(Cpu &cpu, const u8 *area) {
    for (unsigned i = 0; i < xmm_count(cpu); i++) std::memcpy(&cpu.vec[i].u8_[16], area + 16 * i, 16);
}
void init_avx(Cpu &cpu) {
    for (unsigned i = 0; i < xmm_count(cpu); i++) std::memset(&cpu.vec[i].u8_[16], 0, 16);
}
bool all_zero(const Cpu &cpu, unsigned from, unsigned to) {
    for (unsigned i = 0; i < xmm_count(cpu); i++)
        for (unsigned k = from; k < to; k += 8)
            if (cpu.vec[i].u64_[k / 8]) return false;
    return true;
}

u64 operand_area(Cpu &cpu, const Op &op, unsigned size, unsigned align, bool write) {
    u64 lin = operand_linear(cpu, op, size, write);
    if (lin & (align - 1)) raise_gp(cpu);
    return lin;
}
void check_fx(Cpu &cpu) {
    if (cpu.cr0 & (CR0_EM | CR0_TS)) raise_fault(cpu, EXC_NM);
}
void check_xsave(Cpu &cpu) {
    if (!(cpu.cr4 & CR4_OSXSAVE)) raise_ud(cpu);
    if (cpu.cr0 & CR0_TS) raise_fault(cpu, EXC_NM);
}
bool fast_fx(const Cpu &cpu) { return (cpu.efer & EFER_FFXSR) && cpu.cpl == 0 && in_64bit(cpu); }
u64 requested(const Cpu &cpu) { return (cpu.gpr[RDX] << 32 | u32(cpu.gpr[RAX])) & cpu.xcr0; }
}  // namespace

u64 xinuse(const Cpu &cpu) {
    u64 bits = 0;
    if (!x87_initial(cpu)) bits |= XCR0_X87;
    if (!all_zero(cpu, 0, 16)) bits |= XCR0_SSE;
    if (cpu.xcr0 & XCR0_AVX && !all_zero(cpu, 16, 32)) bits |= XCR0_AVX;
    return bits;
}

// ---- FXSAVE, FXRSTOR
void x_fxsave(Cpu &cpu, const Op &op) {
    check_fx(cpu);
    u8 area[kLegacySize];
    u64 lin = operand_area(cpu, op, kLegacySize, 16, true);
    probe_write(cpu, lin, kLegacySize, data_set(cpu));
    put_x87(cpu, op.width == 3, area);
    store_host<u32>(area + 24, read_mxcsr(cpu));
    store_host<u32>(area + 28, kMxcsrMask);
    unsigned size = 160;
    if (!fast_fx(cpu)) {
        put_xmm(cpu, area);
        size += 16 * xmm_count(cpu);
    }
    write_bytes(cpu, lin, area, size, data_set(cpu));
}
void x_fxrstor(Cpu &cpu, const Op &op) {
    check_fx(cpu);
    u8 area[kLegacySize];
    u64 lin = operand_area(cpu, op, kLegacySize, 16, false);
    read_bytes(cpu, lin, area, kLegacySize, data_set(cpu));
    u32 mxcsr = load_host<u32>(area + 24);
    if (mxcsr & ~kMxcsrMask) raise_gp(cpu);
    take_x87(cpu, op.width == 3, area);
    write_mxcsr(cpu, mxcsr);
    if (!fast_fx(cpu)) take_xmm(cpu, area);
}

// ---- XSAVE, XSAVEOPT (standard form), XSAVEC (compacted form)
namespace {
void save_standard(Cpu &cpu, const Op &op, bool optimised) {
    check_xsave(cpu);
    u64 want = requested(cpu), used = xinuse(cpu), write = want;
    unsigned size = cpu.xcr0 & XCR0_AVX ? kAvxOffset + kAvxSize : kLegacySize + kHeaderSize;
    u64 lin = operand_area(cpu, op, size, 64, true);
    TlbSet set = data_set(cpu);
    probe_write(cpu, lin, size, set);
    if (optimised) write &= used;  // components in their initial state are not written
    u8 area[kLegacySize];
    if (write & XCR0_X87) {
        put_x87(cpu, op.width == 3, area);
        write_bytes(cpu, lin, area, 24, set);
        write_bytes(cpu, lin + 32, area + 32, 128, set);
    }
    if (want & (XCR0_SSE | XCR0_AVX)) {
        u32 words[2] = {read_mxcsr(cpu), kMxcsrMask};
        write_bytes(cpu, lin + 24, words, 8, set);
    }
    if (write & XCR0_SSE) {
        put_xmm(cpu, area);
        write_bytes(cpu, lin + 160, area + 160, 16 * xmm_count(cpu), set);
    }
    if (write & XCR0_AVX) {
        put_avx(cpu, area);
        write_bytes(cpu, lin + kAvxOffset, area, 16 * xmm_count(cpu), set);
    }
    u64 old = read_lin<u64>(cpu, lin + kLegacySize, set);
    write_lin<u64>(cpu, lin + kLegacySize, (old & ~want) | (used & want), set);
}
}  // namespace
void x_xsave(Cpu &cpu, const Op &op) { save_standard(cpu, op, false); }
void x_xsaveopt(Cpu &cpu, const Op &op) { save_standard(cpu, op, true); }
void x_xsavec(Cpu &cpu, const Op &op) {
    check_xsave(cpu);
    u64 want = requested(cpu), write = want & xinuse(cpu);
    u32 mxcsr = read_mxcsr(cpu);
    if (want & XCR0_SSE && mxcsr != 0x1f80) write |= XCR0_SSE;
    unsigned size = kLegacySize + kHeaderSize + (want & XCR0_AVX ? kAvxSize : 0);
    u64 lin = operand_area(cpu, op, size, 64, true);
    TlbSet set = data_set(cpu);
    probe_write(cpu, lin, size, set);
    u8 area[kLegacySize];
    if (write & XCR0_X87) {
        put_x87(cpu, op.width == 3, area);
        write_bytes(cpu, lin, area, 24, set);
        write_bytes(cpu, lin + 32, area + 32, 128, set);
    }
    if (write & XCR0_SSE) {
        put_xmm(cpu, area);
        store_host<u32>(area + 24, mxcsr);
        store_host<u32>(area + 28, kMxcsrMask);
        write_bytes(cpu, lin + 24, area + 24, 8, set);
        write_bytes(cpu, lin + 160, area + 160, 16 * xmm_count(cpu), set);
    }
    if (write & XCR0_AVX) {  // the first extended component of the compacted form
        put_avx(cpu, area);
        write_bytes(cpu, lin + kLegacySize + kHeaderSize, area, 16 * xmm_count(cpu), set);
    }
    u64 header[2] = {write, want | u64(1) << 63};
    write_bytes(cpu, lin + kLegacySize, header, 16, set);
}

// ---- XRSTOR, both forms
void x_xrstor(Cpu &cpu, const Op &op) {
    check_xsave(cpu);
    u64 want = requested(cpu);
    u8 area[kAvxOffset + kAvxSize];
    u64 lin = operand_area(cpu, op, kLegacySize + kHeaderSize, 64, false);
    read_bytes(cpu, lin, area, kLegacySize + kHeaderSize, data_set(cpu));
    u64 header[8];
    std::memcpy(header, area + kLegacySize, kHeaderSize);
    u64 state = header[0], layout = header[1];
    bool compacted = layout >> 63;
    if (compacted) {
        if (!has(cpu, F_XSAVEC) || (layout << 1 >> 1 & ~cpu.xcr0) || (state & ~(layout << 1 >> 1))) raise_gp(cpu);
        for (unsigned i = 2; i < 8; i++)
            if (header[i]) raise_gp(cpu);
    } else if ((state & ~cpu.xcr0) || layout || header[2]) {
        raise_gp(cpu);
    }
    u64 load = want & state, init = want & ~state;
    u32 mxcsr = load_host<u32>(area + 24);
    bool load_mxcsr = compacted ? load & XCR0_SSE : want & (XCR0_SSE | XCR0_AVX);
    if (load_mxcsr && mxcsr & ~kMxcsrMask) raise_gp(cpu);
    const unsigned avx = compacted ? kLegacySize + kHeaderSize : kAvxOffset;
    if (load & XCR0_AVX) {
        u64 at = operand_linear(cpu, op, avx + kAvxSize, false) + avx;
        read_bytes(cpu, at, area + kAvxOffset, 16 * xmm_count(cpu), data_set(cpu));
    }
    if (load & XCR0_X87) take_x87(cpu, op.width == 3, area);
    else if (init & XCR0_X87) init_x87(cpu);
    if (load & XCR0_SSE) take_xmm(cpu, area);
    else if (init & XCR0_SSE) init_xmm(cpu);
    if (load & XCR0_AVX) take_avx(cpu, area + kAvxOffset);
    else if (init & XCR0_AVX) init_avx(cpu);
    if (load_mxcsr) write_mxcsr(cpu, mxcsr);
    else if (compacted && init & XCR0_SSE) write_mxcsr(cpu, 0x1f80);
}
