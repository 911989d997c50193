// Control of the x87: initialisation, control and status words, environment, save and restore, pending exceptions.
// SDM Vol. 1 8.1, 8.6, 8.7; Vol. 2 FSTENV, FSAVE (formats: Vol. 1 figures 8-9 to 8-12).
#include "fpu.h"

u16 fpu_sw(const Cpu &cpu) {
    u16 sw = u16((cpu.fpu.sw & (SW_EXCEPTIONS | SW_SF | SW_CC)) | cpu.fpu.top << 11);
    return x87_error(cpu) ? sw | SW_ES | SW_B : sw;
}
void fninit(Cpu &cpu) {
    cpu.fpu.cw = kCwInit;
    cpu.fpu.sw = 0;
    cpu.fpu.top = 0;
    cpu.fpu.valid = 0;
    cpu.fpu.op = 0;
    cpu.fpu.ip = cpu.fpu.dp = 0;
    cpu.fpu.cs = cpu.fpu.ds = 0;
    x87_controls_changed(cpu);
    ferr_lower(cpu);
}
void reset_fpu(Cpu &cpu) {
    fninit(cpu);
    cpu.fpu.cw = 0x40;        // after RESET, unlike FNINIT (SDM Vol. 3A table 10-1)
    cpu.fpu.valid = 0xff;     // tags 01b: zero
    for (F80 &r : cpu.fpu.st) r = F80{0, 0};
    for (Vector &v : cpu.vec) std::memset(&v, 0, sizeof v);
    cpu.ignne = 0;
    write_mxcsr(cpu, 0x1f80);
    x87_controls_changed(cpu);
}

// ---- pending exceptions
void ferr_lower(Cpu &cpu) {
    if (!cpu.ferr || x87_error(cpu)) return;
    cpu.ferr = cpu.ignne = 0;
    ferr_hook(cpu);
}
void x87_pending(Cpu &cpu) {
    if (cpu.cr0 & CR0_NE) raise_fault(cpu, EXC_MF);
    // The PC's way (SDM Vol. 1 8.7.2): FERR# reaches IRQ 13, which is taken before this instruction; its handler writes port F0h (IGNNE#) to get at
    // the state.  Where no interrupt can come a processor would wait for ever; here the instruction is executed.
    if (!cpu.ferr) {
        cpu.ferr = 1;
        ferr_hook(cpu);
    }
    if (!cpu.ignne && (cpu.pending.load() & PEND_INTR) && (cpu.flags & FL_IF) && !cpu.shadow) throw GuestFault{EXC_RETRY, false, 0, 0};
}
void x_fwait(Cpu &cpu, const Op &) {
    if ((cpu.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)) raise_fault(cpu, EXC_NM);
    x87_begin(cpu);
}

// ---- words
void x_fninit(Cpu &cpu, const Op &) { fninit(cpu); }
void x_fnclex(Cpu &cpu, const Op &) {
    cpu.fpu.sw &= SW_CC;
    x87_controls_changed(cpu);
    ferr_lower(cpu);
}
void x_fldcw(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    set_fpu_cw(cpu, read_mem<u16>(cpu, op));
}
void x_fnstcw(Cpu &cpu, const Op &op) { write_mem<u16>(cpu, op, cpu.fpu.cw); }
void x_fnstsw(Cpu &cpu, const Op &op) { write_mem<u16>(cpu, op, fpu_sw(cpu)); }
void x_fnstsw_ax(Cpu &cpu, const Op &) { set_reg<u16>(cpu, RAX, fpu_sw(cpu)); }
void x_fnop(Cpu &cpu, const Op &op) {
    x87_begin(cpu);
    x87_record(cpu, op);
}
void x_fnop87(Cpu &, const Op &) {}  // FNENI, FNDISI (8087) and FNSETPM (80287) do nothing since the 80387

// ---- tags
u16 full_tag_word(const Cpu &cpu) {
    u16 tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        const F80 &r = cpu.fpu.st[i];
        unsigned exponent = r.se & 0x7fff, tag;
        if (!(cpu.fpu.valid >> i & 1)) tag = 3;
        else if (exponent == 0 && r.mant == 0) tag = 1;
        else if (exponent == 0 || exponent == 0x7fff || !(r.mant >> 63)) tag = 2;
        else tag = 0;
        tags |= u16(tag << (2 * i));
    }
    return tags;
}
void set_full_tag_word(Cpu &cpu, u16 tags) {
    cpu.fpu.valid = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> (2 * i) & 3) != 3) cpu.fpu.valid |= u8(1 << i);
}
bool x87_initial(const Cpu &cpu) {
    const Fpu &f = cpu.fpu;
    if (f.cw != kCwInit || f.sw || f.top || f.valid || f.op || f.ip || f.dp || f.cs || f.ds) return false;
    for (const F80 &r : f.st)
        if (r.mant || r.se) return false;
    return true;
}

// ---- environment: 14 bytes with a 16-bit operand size, else 28; the layout of the pointers depends on protected mode
namespace {
unsigned environment_size(const Op &op) { return op.width == 1 ? 14 : 28; }

unsigned make_environment(Cpu &cpu, const Op &op, u8 *out) {
    const Fpu &f = cpu.fpu;
    bool protected_mode = cpu.mode & MODE_PROT;
    u32 ip = u32(f.ip), dp = u32(f.dp);
    u16 cs = f.cs, ds = f.ds;
    if (has(cpu, F_FDP_CS_DS)) cs = ds = 0;
    if (!protected_mode) {  // linear addresses
        ip += u32(cs) << 4;
        dp += u32(ds) << 4;
    }
    auto word = [&](unsigned i, u32 v) { store_host<u16>(out + 2 * i, u16(v)); };
    auto dword = [&](unsigned i, u32 v) { store_host<u32>(out + 4 * i, v); };
    if (op.width == 1) {
        word(0, f.cw);
        word(1, fpu_sw(cpu));
        word(2, full_tag_word(cpu));
        word(3, ip);
        word(4, protected_mode ? cs : (ip >> 16 & 15) << 12 | f.op);
        word(5, dp);
        word(6, protected_mode ? ds : (dp >> 16 & 15) << 12);
        return 14;
    }
    dword(0, 0xffff0000 | f.cw);
    dword(1, 0xffff0000 | fpu_sw(cpu));
    dword(2, 0xffff0000 | full_tag_word(cpu));
    if (protected_mode) {
        dword(3, ip);
        dword(4, u32(f.op) << 16 | cs);
        dword(5, dp);
        dword(6, 0xffff0000 | ds);
    } else {
        dword(3, 0xffff0000 | (ip & 0xffff));
        dword(4, (ip >> 16 & 0xffff) << 12 | f.op);
        dword(5, 0xffff0000 | (dp & 0xffff));
        dword(6, (dp >> 16 & 0xffff) << 12);
    }
    return 28;
}

void take_environment(Cpu &cpu, const Op &op, const u8 *in) {
    Fpu &f = cpu.fpu;
    bool protected_mode = cpu.mode & MODE_PROT;
    unsigned step = op.width == 1 ? 2 : 4;
    auto field = [&](unsigned i) { return step == 2 ? load_host<u16>(in + 2 * i) : load_host<u32>(in + 4 * i); };
    set_fpu_sw(cpu, u16(field(1)));
    set_full_tag_word(cpu, u16(field(2)));
    u32 a = field(3), b = field(4), c = field(5), d = field(6);
    if (protected_mode) {
        f.ip = a;
        f.cs = u16(b);
        f.op = step == 2 ? 0 : b >> 16 & 0x7ff;
        f.dp = c;
        f.ds = u16(d);
    } else {
        f.op = b & 0x7ff;
        f.ip = (a & 0xffff) | (b >> 12 & (step == 2 ? 0xf : 0xffff)) << 16;
        f.dp = (c & 0xffff) | (d >> 12 & (step == 2 ? 0xf : 0xffff)) << 16;
        f.cs = f.ds = 0;
    }
    set_fpu_cw(cpu, u16(field(0)));
    ferr_lower(cpu);
}
}  // namespace

void x_fnstenv(Cpu &cpu, const Op &op) {
    u8 image[28];
    unsigned size = make_environment(cpu, op, image);
    u64 lin = operand_linear(cpu, op, size, true);
    write_bytes(cpu, lin, image, size, data_set(cpu));
    cpu.fpu.cw |= SW_EXCEPTIONS;  // all masked afterwards
    x87_controls_changed(cpu);
    ferr_lower(cpu);
}
void x_fldenv(Cpu &cpu, const Op &op) {
    u8 image[28];
    x87_begin(cpu);
    unsigned size = environment_size(op);
    u64 lin = operand_linear(cpu, op, size, false);
    read_bytes(cpu, lin, image, size, data_set(cpu));
    take_environment(cpu, op, image);
}
void x_fnsave(Cpu &cpu, const Op &op) {
    u8 image[108];
    unsigned size = make_environment(cpu, op, image);
    for (unsigned i = 0; i < 8; i++, size += 10) {
        store_host(image + size, st(cpu, i).mant);
        store_host(image + size + 8, st(cpu, i).se);
    }
    u64 lin = operand_linear(cpu, op, size, true);
    write_bytes(cpu, lin, image, size, data_set(cpu));
    fninit(cpu);
}
void x_frstor(Cpu &cpu, const Op &op) {
    u8 image[108];
    x87_begin(cpu);
    unsigned at = environment_size(op);
    u64 lin = operand_linear(cpu, op, at + 80, false);
    read_bytes(cpu, lin, image, at + 80, data_set(cpu));
    take_environment(cpu, op, image);
    for (unsigned i = 0; i < 8; i++, at += 10) st(cpu, i) = F80{load_host<u64>(image + at), load_host<u16>(image + at + 8)};
}
