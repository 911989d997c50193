// CPUID: the model's table and what changes while the processor runs.  SDM Vol. 2A CPUID; AMD APM Vol. 3 appendix E.
#include "cpu.h"

namespace {

const CpuidLeaf *find(const Cpu &cpu, u32 leaf, u32 subleaf) {
    u32 low = 0, high = cpu.cpuid_count;  // sorted by leaf, then subleaf
    while (low < high) {
        u32 middle = (low + high) / 2;
        const CpuidLeaf &l = cpu.cpuid[middle];
        if (l.leaf < leaf || (l.leaf == leaf && l.has_subleaf && l.subleaf < subleaf)) low = middle + 1;
        else high = middle;
    }
    if (low == cpu.cpuid_count) return nullptr;
    const CpuidLeaf &l = cpu.cpuid[low];
    return l.leaf == leaf && (!l.has_subleaf || l.subleaf == subleaf) ? &l : nullptr;
}

// Highest leaf of the class that `leaf` belongs to: basic, hypervisor or extended.
u32 highest(const Cpu &cpu, u32 leaf) {
    const CpuidLeaf *first = find(cpu, leaf & 0xf0000000u, 0);
    return first ? first->eax : 0;
}

// Size of the XSAVE area (standard form) for a set of components.  SDM Vol. 1 13.4.3.
u32 xsave_size(u64 components) { return components & 4 ? 832 : 576; }

}  // namespace

void x_cpuid(Cpu &cpu, const Op &) {
    u32 leaf = u32(cpu.gpr[RAX]), subleaf = u32(cpu.gpr[RCX]);
    const CpuidLeaf *row = nullptr;
    u32 top = highest(cpu, leaf);
    if (leaf <= top) {
        row = find(cpu, leaf, subleaf);
    } else if (!has(cpu, F_VENDOR_AMD)) {
        // Intel answers a leaf beyond the last with the last basic leaf, AMD with zeros.
        leaf = highest(cpu, 0);
        row = find(cpu, leaf, subleaf);
    }
    u32 a = 0, b = 0, c = 0, d = 0;
    if (row) a = row->eax, b = row->ebx, c = row->ecx, d = row->edx;
    switch (leaf) {
    case 0:
        if ((cpu.misc_enable >> 22 & 1) && a > 3) a = 3;
        break;
    case 1:
        b = (b & 0x00ffffff) | cpu.index << 24;
        if (!(cpu.apic_base >> 11 & 1)) d &= ~(1u << 9);
        if (has(cpu, F_MONITOR) && !(cpu.misc_enable >> 18 & 1)) c &= ~(1u << 3);
        c = (c & ~(1u << 27)) | (cpu.cr4 & CR4_OSXSAVE ? 1u << 27 : 0);
        break;
    case 0xb:
    case 0x1f:
        if (row) d = cpu.index;
        else c = subleaf & 0xff, d = cpu.index;  // beyond the last level: only the input level and the APIC ID
        break;
    case 0xd:
        if (subleaf == 0 && row) b = xsave_size(cpu.xcr0);
        else if (subleaf == 1 && (a & 2)) b = xsave_size(cpu.xcr0);
        break;
    case 0x80000001:
        if (!(cpu.apic_base >> 11 & 1) && has(cpu, F_VENDOR_AMD)) d &= ~(1u << 9);
        if (cpu.misc_enable >> 34 & 1) d &= ~(1u << 20);
        break;
    default: break;
    }
    cpu.gpr[RAX] = a;
    cpu.gpr[RBX] = b;
    cpu.gpr[RCX] = c;
    cpu.gpr[RDX] = d;
}
