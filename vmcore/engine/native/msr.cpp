// Model-specific registers and guest time.  SDM Vol. 4 chapter 2; AMD: APM Vol. 2 appendix A.
#include "cpu.h"

// ---------------------------------------------------------------------------------------------------------------- time

u64 mul_shift(u64 a, u64 b, unsigned shift) {
#if defined(__SIZEOF_INT128__)
    return u64((u128(a) * b) >> shift);
#else
    u64 al = u32(a), ah = a >> 32, bl = u32(b), bh = b >> 32;
    u64 low = al * bl, m1 = ah * bl, m2 = al * bh, high = ah * bh;
    u64 middle = (low >> 32) + u32(m1) + u32(m2);
    low = (middle << 32) | u32(low);
    high += (m1 >> 32) + (m2 >> 32) + (middle >> 32);
    return shift == 0 ? low : shift == 64 ? high : (low >> shift) | (high << (64 - shift));
#endif
}

u64 guest_ns(Cpu &cpu) {
    return cpu.time_base_ns + mul_shift(retired(cpu) - cpu.time_base_insns, cpu.ns_mul, cpu.ns_shift);
}

u64 tsc_now(Cpu &cpu) { return mul_shift(guest_ns(cpu), cpu.tsc_mul, cpu.tsc_shift) + cpu.tsc_offset; }

// -------------------------------------------------------------------------------------------------------------- numbers

namespace {

enum Msr : u32 {
    MSR_P5_MC_ADDR = 0x0, MSR_P5_MC_TYPE = 0x1, MSR_TSC = 0x10, MSR_PLATFORM_ID = 0x17, MSR_APIC_BASE = 0x1b,
    MSR_EBL_CR_POWERON = 0x2a, MSR_SMI_COUNT = 0x34, MSR_CORE_THREAD_COUNT = 0x35, MSR_FEATURE_CONTROL = 0x3a,
    MSR_TSC_ADJUST = 0x3b, MSR_BIOS_UPDT_TRIG = 0x79, MSR_BIOS_SIGN_ID = 0x8b, MSR_PLATFORM_INFO = 0xce, MSR_MTRR_CAP = 0xfe,
    MSR_ARCH_CAPABILITIES = 0x10a, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176,
    MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_MCG_CTL = 0x17b, MSR_PERF_STATUS = 0x198, MSR_MISC_ENABLE = 0x1a0,
    MSR_DEBUGCTL = 0x1d9, MSR_LAST_BRANCH_FROM = 0x1db, MSR_LAST_INT_TO = 0x1de, MSR_MTRR_PHYS_BASE0 = 0x200,
    MSR_MTRR_FIX_64K = 0x250, MSR_MTRR_FIX_16K = 0x258, MSR_MTRR_FIX_4K = 0x268, MSR_PAT = 0x277, MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_MC0_CTL = 0x400, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800, MSR_XSS = 0xda0,
    MSR_EFER = 0xc0000080, MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_FMASK,
    MSR_FS_BASE = 0xc0000100, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_TSC_AUX,
    MSR_AMD_SYSCFG = 0xc0010010, MSR_AMD_HWCR = 0xc0010015, MSR_AMD_TOP_MEM = 0xc001001a, MSR_AMD_TOP_MEM2 = 0xc001001d,
    MSR_AMD_NB_CFG = 0xc001001f, MSR_AMD_PATCH_LOADER = 0xc0010020, MSR_AMD_INT_PENDING = 0xc0010055,
    MSR_AMD_MMIO_CONF = 0xc0010058, MSR_AMD_VM_CR = 0xc0010114, MSR_AMD_DE_CFG = 0xc0011029,
};

constexpr u64 kNoMicrocode = u64(1) << 32;  // revision 1, in the upper half

[[noreturn]] void bad(Cpu &cpu) { raise_gp(cpu); }
void need(Cpu &cpu, bool condition) {
    if (UNLIKELY(!condition)) bad(cpu);
}
u64 need_canonical(Cpu &cpu, u64 value) {
    need(cpu, canonical(cpu, value));
    return value;
}
u32 leaf1_eax(const Cpu &cpu) {
    for (u32 i = 0; i < cpu.cpuid_count; i++)
        if (cpu.cpuid[i].leaf == 1) return cpu.cpuid[i].eax;
    return 0;
}
bool amd(const Cpu &cpu) { return has(cpu, F_VENDOR_AMD); }
bool p6(const Cpu &cpu) { return !amd(cpu) && (leaf1_eax(cpu) >> 8 & 15) >= 6; }
u64 physical_mask(const Cpu &cpu) { return (u64(1) << cpu.phys_bits) - 1; }

bool memory_type(u64 t, bool pat) { return t == 0 || t == 1 || t == 4 || t == 5 || t == 6 || (pat && t == 7); }
bool memory_types(u64 v, bool pat) {
    for (unsigned i = 0; i < 8; i++)
        if (!memory_type(v >> (8 * i) & 0xff, pat)) return false;
    return true;
}

// Index into mtrr_fixed, or -1.
int fixed_mtrr(u32 index) {
    if (index == MSR_MTRR_FIX_64K) return 0;
    if (index == MSR_MTRR_FIX_16K || index == MSR_MTRR_FIX_16K + 1) return int(1 + index - MSR_MTRR_FIX_16K);
    if (index >= MSR_MTRR_FIX_4K && index < MSR_MTRR_FIX_4K + 8) return int(3 + index - MSR_MTRR_FIX_4K);
    return -1;
}
bool variable_mtrr(u32 index) { return index >= MSR_MTRR_PHYS_BASE0 && index < MSR_MTRR_PHYS_BASE0 + 16; }
bool machine_check_bank(const Cpu &cpu, u32 index) {
    return index >= MSR_MC0_CTL && index < MSR_MC0_CTL + 4 * (cpu.mcg_cap & 0xff);
}

// SDM Vol. 3A 11.12.1, 11.12.5.
void write_apic_base(Cpu &cpu, u64 value) {
    constexpr u64 kEnable = 1 << 11, kExtended = 1 << 10, kBsp = 1 << 8;
    u64 allowed = (physical_mask(cpu) & ~u64(0xfff)) | kEnable | kBsp | (has(cpu, F_X2APIC) ? kExtended : 0);
    need(cpu, !(value & ~allowed));
    const u64 from = cpu.apic_base & (kEnable | kExtended), to = value & (kEnable | kExtended);
    need(cpu, to != kExtended);                                          // no such state
    need(cpu, !(from == (kEnable | kExtended) && to == kEnable));        // x2APIC is left by disabling alone
    need(cpu, !(from == 0 && to == (kEnable | kExtended)));              // and entered from xAPIC alone
    msr_write_hook(cpu, MSR_APIC_BASE, value);
    cpu.apic_base = value;
}

void write_tsc(Cpu &cpu, u64 value) {
    u64 delta = value - tsc_now(cpu);
    cpu.tsc_offset += delta;
    cpu.tsc_adjust += delta;
}

u64 read_amd(Cpu &cpu, u32 index) {
    switch (index) {
    case MSR_AMD_SYSCFG: return cpu.syscfg;
    case MSR_AMD_HWCR: return cpu.hwcr;
    case MSR_AMD_TOP_MEM: return cpu.top_mem;
    case MSR_AMD_TOP_MEM2: return cpu.top_mem2;
    case MSR_AMD_NB_CFG:
    case MSR_AMD_INT_PENDING:
    case MSR_AMD_MMIO_CONF: return 0;
    case MSR_AMD_VM_CR: return 0x18;    // SVM is disabled and locked
    case MSR_AMD_DE_CFG: return 2;      // LFENCE serialises
    default: bad(cpu);
    }
}

void write_amd(Cpu &cpu, u32 index, u64 value) {
    const u64 memory_top = physical_mask(cpu) & ~u64(0x7fffff);
    switch (index) {
    case MSR_AMD_SYSCFG: cpu.syscfg = value & 0x7c0000; break;  // MTRR controls
    case MSR_AMD_HWCR: cpu.hwcr = (value & 0x40018) | u64(1) << 24; break;
    case MSR_AMD_TOP_MEM: cpu.top_mem = value & memory_top; break;
    case MSR_AMD_TOP_MEM2: cpu.top_mem2 = value & memory_top; break;
    case MSR_AMD_PATCH_LOADER:          // no microcode to load
    case MSR_AMD_NB_CFG:
    case MSR_AMD_INT_PENDING:
    case MSR_AMD_MMIO_CONF:
    case MSR_AMD_VM_CR:
    case MSR_AMD_DE_CFG: break;         // their bits are fixed here
    default: bad(cpu);
    }
}

}  // namespace

// ----------------------------------------------------------------------------------------------------------------- read

u64 read_msr(Cpu &cpu, u32 index) {
    u64 hooked;
    if (UNLIKELY(msr_read_hook(cpu, index, &hooked))) return hooked;
    switch (index) {
    case MSR_EFER:
        need(cpu, has(cpu, F_SYSCALL) || has(cpu, F_NX) || has(cpu, F_LM));
        return cpu.efer;
    case MSR_STAR: need(cpu, has(cpu, F_SYSCALL)); return cpu.star;
    case MSR_LSTAR: need(cpu, has(cpu, F_LM)); return cpu.lstar;
    case MSR_CSTAR: need(cpu, has(cpu, F_LM)); return cpu.cstar;
    case MSR_FMASK: need(cpu, has(cpu, F_LM)); return cpu.fmask;
    case MSR_FS_BASE: need(cpu, has(cpu, F_LM)); return cpu.seg[FS].base;
    case MSR_GS_BASE: need(cpu, has(cpu, F_LM)); return cpu.seg[GS].base;
    case MSR_KERNEL_GS_BASE: need(cpu, has(cpu, F_LM)); return cpu.kernel_gs_base;
    case MSR_TSC_AUX: need(cpu, has(cpu, F_RDTSCP) || has(cpu, F_RDPID)); return cpu.tsc_aux;
    case MSR_TSC: need(cpu, has(cpu, F_TSC)); return tsc_now(cpu);
    case MSR_TSC_ADJUST: need(cpu, has(cpu, F_TSC_ADJUST)); return cpu.tsc_adjust;
    case MSR_TSC_DEADLINE: need(cpu, has(cpu, F_TSC_DEADLINE)); return cpu.tsc_deadline;
    case MSR_APIC_BASE: need(cpu, has(cpu, F_APIC)); return cpu.apic_base;
    case MSR_SYSENTER_CS: need(cpu, has(cpu, F_SEP)); return cpu.sysenter_cs;
    case MSR_SYSENTER_ESP: need(cpu, has(cpu, F_SEP)); return cpu.sysenter_esp;
    case MSR_SYSENTER_EIP: need(cpu, has(cpu, F_SEP)); return cpu.sysenter_eip;
    case MSR_PAT: need(cpu, has(cpu, F_PAT)); return cpu.pat;
    case MSR_MTRR_CAP: need(cpu, has(cpu, F_MTRR)); return 0x508;  // 8 variable ranges, fixed ranges, write combining
    case MSR_MTRR_DEF_TYPE: need(cpu, has(cpu, F_MTRR)); return cpu.mtrr_def;
    case MSR_P5_MC_ADDR: need(cpu, has(cpu, F_MCE)); return cpu.mcg_cap ? cpu.mc_bank[2] : 0;
    case MSR_P5_MC_TYPE: need(cpu, has(cpu, F_MCE)); return cpu.mcg_cap ? cpu.mc_bank[1] : 0;
    case MSR_MCG_CAP: need(cpu, cpu.mcg_cap); return cpu.mcg_cap;
    case MSR_MCG_STATUS: need(cpu, cpu.mcg_cap); return cpu.mcg_status;
    case MSR_MCG_CTL: need(cpu, cpu.mcg_cap & 0x100); return cpu.mcg_ctl;
    case MSR_BIOS_SIGN_ID: return cpu.microcode ? cpu.microcode : amd(cpu) ? 0x01000065 : kNoMicrocode;
    // The processor is not vulnerable to any of what these bits name, because it does not speculate: RDCL_NO, SKIP_L1DFL, SSB_NO,
    // MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO.
    case MSR_ARCH_CAPABILITIES: need(cpu, has(cpu, F_ARCH_CAPABILITIES)); return 0x400000000d10e179u;
    case MSR_XSS: need(cpu, has(cpu, F_XSAVES)); return 0;
    default: break;
    }
    if (variable_mtrr(index) && has(cpu, F_MTRR)) {
        unsigned n = (index - MSR_MTRR_PHYS_BASE0) / 2;
        return index & 1 ? cpu.mtrr_mask[n] : cpu.mtrr_base[n];
    }
    if (int n = fixed_mtrr(index); n >= 0 && has(cpu, F_MTRR)) return cpu.mtrr_fixed[n];
    if (machine_check_bank(cpu, index)) return cpu.mc_bank[index - MSR_MC0_CTL];
    if (amd(cpu)) return read_amd(cpu, index);
    if (!p6(cpu)) bad(cpu);
    switch (index) {
    case MSR_PLATFORM_ID:
    case MSR_EBL_CR_POWERON:
    case MSR_SMI_COUNT: return 0;
    case MSR_CORE_THREAD_COUNT: {
        u32 threads = 1;
        for (u32 i = 0; i < cpu.cpuid_count; i++)
            if (cpu.cpuid[i].leaf == 1 && has(cpu, F_HTT)) threads = cpu.cpuid[i].ebx >> 16 & 0xff;
        return threads << 16 | threads;
    }
    case MSR_FEATURE_CONTROL: return cpu.feature_control;
    case MSR_PLATFORM_INFO: return (cpu.tsc_hz / 100000000 & 0xff) << 8;  // maximum ratio to a bus clock of 100 MHz
    case MSR_PERF_STATUS: return 1000 | u64(4) << 40;
    case MSR_MISC_ENABLE: return cpu.misc_enable;
    case MSR_DEBUGCTL: return cpu.debugctl;
    default: break;
    }
    if (index >= MSR_LAST_BRANCH_FROM && index <= MSR_LAST_INT_TO) return 0;  // DEBUGCTL.LBR cannot be set
    bad(cpu);
}

// ---------------------------------------------------------------------------------------------------------------- write

void write_msr(Cpu &cpu, u32 index, u64 value) {
    if (index == MSR_APIC_BASE && has(cpu, F_APIC)) {
        write_apic_base(cpu, value);
        return;
    }
    if (UNLIKELY(msr_write_hook(cpu, index, value))) {
        if (index == MSR_TSC_DEADLINE) cpu.tsc_deadline = value;
        return;
    }
    switch (index) {
    case MSR_EFER:
        need(cpu, has(cpu, F_SYSCALL) || has(cpu, F_NX) || has(cpu, F_LM));
        set_efer(cpu, value);
        return;
    case MSR_STAR: need(cpu, has(cpu, F_SYSCALL)); cpu.star = value; return;
    case MSR_LSTAR: need(cpu, has(cpu, F_LM)); cpu.lstar = need_canonical(cpu, value); return;
    case MSR_CSTAR: need(cpu, has(cpu, F_LM)); cpu.cstar = need_canonical(cpu, value); return;
    case MSR_FMASK: need(cpu, has(cpu, F_LM) && !(value >> 32)); cpu.fmask = value; return;
    case MSR_FS_BASE:
    case MSR_GS_BASE: {
        need(cpu, has(cpu, F_LM));
        SegIndex seg = index == MSR_FS_BASE ? FS : GS;
        cpu.seg[seg].base = need_canonical(cpu, value);
        cpu.lin_base[seg] = value;
        return;
    }
    case MSR_KERNEL_GS_BASE: need(cpu, has(cpu, F_LM)); cpu.kernel_gs_base = need_canonical(cpu, value); return;
    case MSR_TSC_AUX: need(cpu, (has(cpu, F_RDTSCP) || has(cpu, F_RDPID)) && !(value >> 32)); cpu.tsc_aux = value; return;
    case MSR_TSC: need(cpu, has(cpu, F_TSC)); write_tsc(cpu, value); return;
    case MSR_TSC_ADJUST:
        need(cpu, has(cpu, F_TSC_ADJUST));
        cpu.tsc_offset += value - cpu.tsc_adjust;
        cpu.tsc_adjust = value;
        return;
    case MSR_TSC_DEADLINE: need(cpu, has(cpu, F_TSC_DEADLINE)); cpu.tsc_deadline = value; return;
    case MSR_SYSENTER_CS: need(cpu, has(cpu, F_SEP)); cpu.sysenter_cs = u32(value); return;
    case MSR_SYSENTER_ESP: need(cpu, has(cpu, F_SEP)); cpu.sysenter_esp = need_canonical(cpu, value); return;
    case MSR_SYSENTER_EIP: need(cpu, has(cpu, F_SEP)); cpu.sysenter_eip = need_canonical(cpu, value); return;
    case MSR_PAT: need(cpu, has(cpu, F_PAT) && memory_types(value, true)); cpu.pat = value; return;
    case MSR_MTRR_DEF_TYPE:
        need(cpu, has(cpu, F_MTRR) && !(value & ~u64(0xcff)) && memory_type(value & 0xff, false));
        cpu.mtrr_def = value;
        return;
    case MSR_P5_MC_ADDR:
    case MSR_P5_MC_TYPE: need(cpu, has(cpu, F_MCE)); return;
    case MSR_MCG_STATUS: need(cpu, cpu.mcg_cap); cpu.mcg_status = value & 7; return;
    case MSR_MCG_CTL: need(cpu, (cpu.mcg_cap & 0x100) && (value == 0 || value == ~u64(0))); cpu.mcg_ctl = value; return;
    case MSR_BIOS_SIGN_ID: return;  // reads give the revision in any case
    case MSR_XSS: need(cpu, has(cpu, F_XSAVES) && value == 0); return;
    default: break;
    }
    if (variable_mtrr(index) && has(cpu, F_MTRR)) {
        unsigned n = (index - MSR_MTRR_PHYS_BASE0) / 2;
        if (index & 1) {
            need(cpu, !(value & ~(physical_mask(cpu) & ~u64(0x7ff))));
            cpu.mtrr_mask[n] = value;
        } else {
            need(cpu, !(value & ~((physical_mask(cpu) & ~u64(0xfff)) | 0xff)) && memory_type(value & 0xff, false));
            cpu.mtrr_base[n] = value;
        }
        return;
    }
    if (int n = fixed_mtrr(index); n >= 0 && has(cpu, F_MTRR)) {
        need(cpu, memory_types(value, false));
        cpu.mtrr_fixed[n] = value;
        return;
    }
    if (machine_check_bank(cpu, index)) {
        // Controls take all ones or zeros; the other registers only zero, unless HWCR.McStatusWrEn of AMD says so (SDM Vol. 3B 16.3.2).
        u64 &r = cpu.mc_bank[index - MSR_MC0_CTL];
        bool control = (index & 3) == 0;
        bool free_write = amd(cpu) && (control || (cpu.hwcr >> 18 & 1));
        need(cpu, value == 0 || (control && value == ~u64(0)) || free_write);
        r = value;
        return;
    }
    if (amd(cpu)) {
        write_amd(cpu, index, value);
        return;
    }
    if (!p6(cpu)) bad(cpu);
    switch (index) {
    case MSR_BIOS_UPDT_TRIG: return;  // no update is newer than what is there
    case MSR_FEATURE_CONTROL:
        need(cpu, !(cpu.feature_control & 1));
        cpu.feature_control = value & 1;
        return;
    case MSR_MISC_ENABLE: {
        // Fast strings, MONITOR (if there is one), CPUID limit, XD disable (if there is NX).
        u64 mask = 1 | u64(1) << 22;
        if (has(cpu, F_MONITOR)) mask |= 1 << 18;
        if (has(cpu, F_NX)) mask |= u64(1) << 34;
        cpu.misc_enable = value & mask;
        return;
    }
    case MSR_DEBUGCTL: need(cpu, !(value & ~u64(0xffff))); return;  // no branch records, no branch stepping: bits stay 0
    case MSR_EBL_CR_POWERON: return;
    default: bad(cpu);
    }
}

// --------------------------------------------------------------------------------------------------------- instructions

void x_rdmsr(Cpu &cpu, const Op &) {
    need_cpl0(cpu);
    u64 v = read_msr(cpu, u32(cpu.gpr[RCX]));
    cpu.gpr[RAX] = u32(v);
    cpu.gpr[RDX] = v >> 32;
}

void x_wrmsr(Cpu &cpu, const Op &) {
    need_cpl0(cpu);
    write_msr(cpu, u32(cpu.gpr[RCX]), cpu.gpr[RDX] << 32 | u32(cpu.gpr[RAX]));
    attention_if_pending(cpu);
}
