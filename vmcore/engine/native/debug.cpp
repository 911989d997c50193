// Debug registers and breakpoints.  SDM Vol. 3B 18.2, 18.3.
#include "cpu.h"

namespace {

// DR7 fields of breakpoint i.
bool enabled(u64 dr7, unsigned i) { return dr7 >> (2 * i) & 3; }
unsigned kind(u64 dr7, unsigned i) { return dr7 >> (16 + 4 * i) & 3; }  // 0 execution, 1 write, 2 port, 3 read or write
unsigned length(u64 dr7, unsigned i) {
    constexpr unsigned sizes[] = {1, 2, 8, 4};
    return sizes[dr7 >> (18 + 4 * i) & 3];
}

bool overlaps(const Cpu &cpu, unsigned i, u64 address, unsigned size) {
    u64 len = length(cpu.dr[7], i), start = cpu.dr[i] & ~(len - 1);
    return address < start + len && start < address + size;
}

void match(Cpu &cpu, u32 bits) {
    if (!bits) return;
    cpu.dr6_pending |= bits;
    pend(cpu, PEND_DEBUG);
}

}  // namespace

void set_dr6(Cpu &cpu, u64 value) { cpu.dr[6] = (value & 0xe00f) | 0xffff0ff0u; }

void set_dr7(Cpu &cpu, u64 value) {
    cpu.dr[7] = (value & 0xffff23ffu) | 0x400;
    u8 data = 0, code = 0, io = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (!enabled(value, i)) continue;
        switch (kind(value, i)) {
        case 0: code |= u8(1 << i); break;
        case 2:
            if (cpu.cr4 & CR4_DE) io |= u8(1 << i);
            break;
        default: data |= u8(1 << i);
        }
    }
    if (data || cpu.data_breakpoints) tlb_flush(cpu);  // pages with breakpoints lose or regain their tags
    cpu.data_breakpoints = data;
    cpu.code_breakpoints = code;
    cpu.io_breakpoints = io;
    if (code) attention(cpu);
}

bool check_instruction_breakpoints(Cpu &cpu) {
    if (cpu.flags & FL_RF) {
        cpu.flags &= ~u32(FL_RF);
        return false;
    }
    u64 lin = in_64bit(cpu) ? cpu.rip : (cpu.rip + cpu.lin_base[CS]) & 0xffffffffu;
    u32 hits = 0;
    for (unsigned i = 0; i < 4; i++)
        if ((cpu.code_breakpoints >> i & 1) && cpu.dr[i] == lin) hits |= 1u << i;
    cpu.dr6_pending |= hits;
    return hits;
}

void check_data_breakpoint(Cpu &cpu, u64 lin, unsigned size, bool write) {
    u32 hits = 0;
    for (unsigned i = 0; i < 4; i++)
        if ((cpu.data_breakpoints >> i & 1) && (write || kind(cpu.dr[7], i) == 3) && overlaps(cpu, i, lin, size)) hits |= 1u << i;
    match(cpu, hits);
}

void check_io_breakpoint(Cpu &cpu, u16 port, unsigned size) {
    u32 hits = 0;
    for (unsigned i = 0; i < 4; i++)
        if ((cpu.io_breakpoints >> i & 1) && overlaps(cpu, i, port, size)) hits |= 1u << i;
    match(cpu, hits);
}

namespace {

// Which register a MOV DR means: DR4 and DR5 are DR6 and DR7 unless CR4.DE makes them undefined.
unsigned debug_register(Cpu &cpu, const Op &op) {
    unsigned n = op.r;
    if (n > 7) raise_ud(cpu);
    if (n == 4 || n == 5) {
        if (cpu.cr4 & CR4_DE) raise_ud(cpu);
        n += 2;
    }
    need_cpl0(cpu);
    if (cpu.dr[7] & DR7_GD) {
        cpu.dr6_pending |= DR6_BD;
        raise_fault(cpu, EXC_DB);
    }
    return n;
}

}  // namespace

void x_mov_from_dr(Cpu &cpu, const Op &op) {
    u64 v = cpu.dr[debug_register(cpu, op)];
    cpu.gpr[op.m] = in_64bit(cpu) ? v : u32(v);
}

void x_mov_to_dr(Cpu &cpu, const Op &op) {
    unsigned n = debug_register(cpu, op);
    u64 v = in_64bit(cpu) ? cpu.gpr[op.m] : u32(cpu.gpr[op.m]);
    if (n >= 6 && v >> 32) raise_gp(cpu);
    if (n == 6) {
        set_dr6(cpu, v);
    } else if (n == 7) {
        set_dr7(cpu, v);
    } else {
        cpu.dr[n] = v;
        if (cpu.data_breakpoints) tlb_flush(cpu);
    }
}
