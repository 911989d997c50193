// Moves of MMX, SSE, SSE2, SSE3 and SSE4 registers; masks; fences.
#include "sse.h"

// ---- whole registers: a = aligned memory operand, u = any alignment
void x_mov128a(Cpu &cpu, const Op &op) { xmm(cpu, op.r) = read_wx(cpu, op); }
void x_mov128u(Cpu &cpu, const Op &op) { xmm(cpu, op.r) = op.is_reg ? xmm(cpu, op.m) : read_unaligned(cpu, op); }
void x_mov128a_store(Cpu &cpu, const Op &op) {
    if (op.is_reg) xmm(cpu, op.m) = xmm(cpu, op.r);
    else store128(cpu, linear128(cpu, op, true, true), xmm(cpu, op.r));
}
void x_mov128u_store(Cpu &cpu, const Op &op) {
    if (op.is_reg) xmm(cpu, op.m) = xmm(cpu, op.r);
    else store128(cpu, linear128(cpu, op, true, false), xmm(cpu, op.r));
}

// ---- scalars: a load clears the rest of the register, a register move merges
void x_movss(Cpu &cpu, const Op &op) {
    if (op.is_reg) xmm(cpu, op.r).ud[0] = xmm(cpu, op.m).ud[0];
    else xmm(cpu, op.r) = low64(read_mem<u32>(cpu, op));
}
void x_movss_store(Cpu &cpu, const Op &op) {
    if (op.is_reg) xmm(cpu, op.m).ud[0] = xmm(cpu, op.r).ud[0];
    else write_mem<u32>(cpu, op, xmm(cpu, op.r).ud[0]);
}
void x_movsd_xmm(Cpu &cpu, const Op &op) {
    if (op.is_reg) xmm(cpu, op.r).uq[0] = xmm(cpu, op.m).uq[0];
    else xmm(cpu, op.r) = low64(read_mem<u64>(cpu, op));
}
void x_movsd_xmm_store(Cpu &cpu, const Op &op) {
    if (op.is_reg) xmm(cpu, op.m).uq[0] = xmm(cpu, op.r).uq[0];
    else write_mem<u64>(cpu, op, xmm(cpu, op.r).uq[0]);
}

// ---- halves
void x_movlp(Cpu &cpu, const Op &op) { xmm(cpu, op.r).uq[0] = read_mem<u64>(cpu, op); }
void x_movlp_store(Cpu &cpu, const Op &op) { write_mem<u64>(cpu, op, xmm(cpu, op.r).uq[0]); }
void x_movhp(Cpu &cpu, const Op &op) { xmm(cpu, op.r).uq[1] = read_mem<u64>(cpu, op); }
void x_movhp_store(Cpu &cpu, const Op &op) { write_mem<u64>(cpu, op, xmm(cpu, op.r).uq[1]); }
void x_movhlps(Cpu &cpu, const Op &op) { xmm(cpu, op.r).uq[0] = xmm(cpu, op.m).uq[1]; }
void x_movlhps(Cpu &cpu, const Op &op) { xmm(cpu, op.r).uq[1] = xmm(cpu, op.m).uq[0]; }

// ---- general registers and quadwords
void x_movd_to_xmm(Cpu &cpu, const Op &op) {
    xmm(cpu, op.r) = low64(op.width == 3 ? read_rm<u64>(cpu, op) : read_rm<u32>(cpu, op));
}
void x_movd_from_xmm(Cpu &cpu, const Op &op) {
    if (op.width == 3) write_rm<u64>(cpu, op, xmm(cpu, op.r).uq[0]);
    else write_rm<u32>(cpu, op, xmm(cpu, op.r).ud[0]);
}
void x_movq_xmm(Cpu &cpu, const Op &op) { xmm(cpu, op.r) = low64(read_wq(cpu, op).uq[0]); }
void x_movq_xmm_store(Cpu &cpu, const Op &op) {
    if (op.is_reg) xmm(cpu, op.m) = low64(xmm(cpu, op.r).uq[0]);
    else write_mem<u64>(cpu, op, xmm(cpu, op.r).uq[0]);
}
void x_movd_to_mm(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    set_mm(cpu, op.r, op.width == 3 ? read_rm<u64>(cpu, op) : read_rm<u32>(cpu, op));
}
void x_movd_from_mm(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    if (op.width == 3) write_rm<u64>(cpu, op, mm(cpu, op.r));
    else write_rm<u32>(cpu, op, u32(mm(cpu, op.r)));
    mmx_touch(cpu);
}
void x_movq_mm(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    set_mm(cpu, op.r, read_qq(cpu, op));
}
void x_movq_mm_store(Cpu &cpu, const Op &op) {  // MOVNTQ too
    mmx_begin(cpu);
    if (op.is_reg) {
        set_mm(cpu, op.m, mm(cpu, op.r));
    } else {
        write_mem<u64>(cpu, op, mm(cpu, op.r));
        mmx_touch(cpu);
    }
}
void x_movq2dq(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    mmx_touch(cpu);
    xmm(cpu, op.r) = low64(mm(cpu, op.m));
}
void x_movdq2q(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    set_mm(cpu, op.r, xmm(cpu, op.m).uq[0]);
}
void x_movnti(Cpu &cpu, const Op &op) {
    if (op.width == 3) write_mem<u64>(cpu, op, cpu.gpr[op.r]);
    else write_mem<u32>(cpu, op, u32(cpu.gpr[op.r]));
}
void x_emms(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    cpu.fpu.valid = 0;
    cpu.fpu.top = 0;
}

// ---- sign masks to a general register
void x_pmovmskb(Cpu &cpu, const Op &op) {
    const Xmm &v = xmm(cpu, op.m);
#if HOST_SSE2
    cpu.gpr[op.r] = u32(_mm_movemask_epi8(v.m));
#else
    u32 mask = 0;
    for (unsigned i = 0; i < 16; i++) mask |= u32(v.ub[i] >> 7) << i;
    cpu.gpr[op.r] = mask;
#endif
}
void x_pmovmskb_mm(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    mmx_touch(cpu);
    Xmm v = low64(mm(cpu, op.m));
    u32 mask = 0;
    for (unsigned i = 0; i < 8; i++) mask |= u32(v.ub[i] >> 7) << i;
    cpu.gpr[op.r] = mask;
}
void x_movmskps(Cpu &cpu, const Op &op) {
    const Xmm &v = xmm(cpu, op.m);
    cpu.gpr[op.r] = v.ud[0] >> 31 | (v.ud[1] >> 31) << 1 | (v.ud[2] >> 31) << 2 | (v.ud[3] >> 31) << 3;
}
void x_movmskpd(Cpu &cpu, const Op &op) {
    const Xmm &v = xmm(cpu, op.m);
    cpu.gpr[op.r] = (v.uq[0] >> 63) | (v.uq[1] >> 63) << 1;
}

// ---- MASKMOVQ, MASKMOVDQU: bytes of `reg` chosen by the sign bits of `rm` to DS:rDI (segment override honoured).  Whether an all-zero
// mask can fault depends on the processor; here the whole destination is checked like any store, as the manual allows.
namespace {
void masked_store(Cpu &cpu, const Op &op, const u8 *data, const u8 *mask, unsigned size) {
    u64 lin = checked_linear(cpu, op.seg, cpu.gpr[RDI] & address_mask(op.adsize), size, true);
    if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, 8);  // of both forms: the stores are of quadwords
    probe_write(cpu, lin, size, data_set(cpu));
    for (unsigned i = 0; i < size;) {
        if (!(mask[i] & 0x80)) {
            i++;
            continue;
        }
        unsigned from = i;
        while (i < size && mask[i] & 0x80) i++;
        write_bytes(cpu, lin + from, data + from, i - from, data_set(cpu));
    }
}
}  // namespace
void x_maskmovdqu(Cpu &cpu, const Op &op) {
    masked_store(cpu, op, xmm(cpu, op.r).ub, xmm(cpu, op.m).ub, 16);
}
void x_maskmovq(Cpu &cpu, const Op &op) {
    mmx_begin(cpu);
    Xmm data = low64(mm(cpu, op.r)), mask = low64(mm(cpu, op.m));
    masked_store(cpu, op, data.ub, mask.ub, 8);
    mmx_touch(cpu);
}

// Memory accesses of one vCPU are in program order and vCPUs take turns, so a fence orders nothing.
void x_fence(Cpu &cpu, const Op &op) {}
