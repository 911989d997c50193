// The decoder proper.  See decode.h.
#include "decode.h"

void x_ud(Cpu &cpu, const Op &) { raise_ud(cpu); }
void x_nm(Cpu &cpu, const Op &) { raise_fault(cpu, EXC_NM); }
// MMX and SSE instructions while CR0 or CR4 forbid them (SDM Vol. 3A tables 2-2 and 13-1).
void x_no_mmx(Cpu &cpu, const Op &) { raise_fault(cpu, cpu.cr0 & CR0_EM ? EXC_UD : EXC_NM); }
void x_no_sse(Cpu &cpu, const Op &) {
    raise_fault(cpu, (cpu.cr0 & CR0_EM) || !(cpu.cr4 & CR4_OSFXSR) ? EXC_UD : EXC_NM);
}
void x_too_long(Cpu &cpu, const Op &) { raise_gp(cpu); }
// Only reached if run() let an instruction run whose bytes could not be fetched.
void x_fetch_fault(Cpu &cpu, const Op &) { raise_ud(cpu); }

namespace {

struct Candidates {
    u16 first;
    u16 count;
};

// A translation rule that does not exist leaves the form to its slow function.
#if defined(__GNUC__)
#define VMCORE_OPTIONAL __attribute__((weak, visibility("hidden")))
#else
#define VMCORE_OPTIONAL
#endif

}  // namespace

#include "tables.inc"

const Row &row_of(u16 id) { return rows[id]; }
SlowFn slow_function(u16 id) { return slow_functions[id]; }
RuleFn rule_function(u16 id) { return rule_functions[id]; }
unsigned table_rows() { return row_count; }

namespace {

enum : u8 { P_OPSIZE = 1, P_ADSIZE = 2, P_LOCK = 4 };

// 16-bit addressing forms (SDM Vol. 2 table 2-1).
constexpr u8 base16[8] = {RBX, RBX, RBP, RBP, REG_ZERO, REG_ZERO, RBP, RBX};
constexpr u8 index16[8] = {RSI, RDI, RSI, RDI, RSI, RDI, REG_ZERO, REG_ZERO};

bool features_present(const Cpu &cpu, const Row &row) {
    bool any = false, all = true;
    for (unsigned i = 0; i < row.feature_count; i++) {
        bool present = has(cpu, Feature(row.features[i]));
        any |= present;
        all &= present;
    }
    return row.feature_any ? any : all;
}

// Byte registers: offset into gpr. Without REX 4-7 are AH CH DH BH.
inline u8 byte_register(u8 index, bool rex) { return !rex && index >= 4 && index < 8 ? u8((index - 4) * 8 + 1) : u8(index * 8); }

}  // namespace

Decoded decode(const Cpu &cpu, u32 mode, const u8 *bytes, unsigned available, unsigned off, Op &op) {
    unsigned pos = 0;
    const unsigned limit = available < 15 ? available : 15;
    const bool mode64 = (mode & MODE_SIZE) == MODE_64;
    std::memset(&op, 0, sizeof op);
    op.base = op.index = REG_ZERO;
    op.off = u16(off);

#define RUN_OUT()                                                                                                            \
    do {                                                                                                                     \
        if (available < 15) return Decoded::TRUNCATED;                                                                       \
        op.id = ROW_TOO_LONG;                                                                                                \
        op.len = 15;                                                                                                         \
        return Decoded::OK;                                                                                                  \
    } while (0)
#define NEED(n)                                                                                                              \
    do {                                                                                                                     \
        if (UNLIKELY(pos + (n) > limit)) RUN_OUT();                                                                          \
    } while (0)

    u8 prefixes = 0, rex = 0, mandatory = 0;
    u8 segment = SEG_COUNT;
    u8 b;
    for (;;) {
        NEED(1);
        b = bytes[pos++];
        switch (b) {
        case 0x66: prefixes |= P_OPSIZE; rex = 0; continue;
        case 0x67: prefixes |= P_ADSIZE; rex = 0; continue;
        case 0xf0: prefixes |= P_LOCK; rex = 0; continue;
        case 0xf2: op.rep = REP_NZ; rex = 0; continue;
        case 0xf3: op.rep = REP_Z; rex = 0; continue;
        // In 64-bit mode the overrides of ES, CS, SS and DS have no effect (SDM Vol. 1 3.4.2.1).
        case 0x26: if (!mode64) segment = ES; rex = 0; continue;
        case 0x2e: if (!mode64) segment = CS; rex = 0; continue;
        case 0x36: if (!mode64) segment = SS; rex = 0; continue;
        case 0x3e: if (!mode64) segment = DS; rex = 0; continue;
        case 0x64: segment = FS; rex = 0; continue;
        case 0x65: segment = GS; rex = 0; continue;
        case 0x40: case 0x41: case 0x42: case 0x43: case 0x44: case 0x45: case 0x46: case 0x47:
        case 0x48: case 0x49: case 0x4a: case 0x4b: case 0x4c: case 0x4d: case 0x4e: case 0x4f:
            if (mode64) {
                rex = b;
                continue;
            }
            break;
        default: break;
        }
        break;
    }
    op.rex = rex != 0;
    op.lock = (prefixes & P_LOCK) != 0;
    mandatory = op.rep == REP_NZ ? 8 : op.rep == REP_Z ? 4 : prefixes & P_OPSIZE ? 2 : 1;

    unsigned map = 0;
    u8 vvvv = 0, vex_l = 0;
    bool vex = false;
    if (UNLIKELY((b & 0xfe) == 0xc4) && (mode & MODE_PROT)) {
        if (!mode64) NEED(1);
        vex = mode64 || bytes[pos] >= 0xc0;
    }
    if (UNLIKELY(vex)) {  // SDM Vol. 2 2.3.5
        bool refused = rex || mandatory != 1 || op.lock;
        u8 w = 0;
        NEED(1);
        u8 first = bytes[pos++], last = first;
        map = 4;
        if (b == 0xc4) {
            NEED(1);
            last = bytes[pos++];
            map = (first & 31) + 3;
            refused |= map < 4 || map > 6;
            w = last >> 7;
        }
        // The extension bits are inverted; outside 64-bit mode they are ignored, and so is W.
        rex = mode64 ? u8(0x40 | w << 3 | (~first >> 7 & 1) << 2 | (b == 0xc4 ? ~first >> 5 & 3 : 0)) : 0;
        vvvv = ~last >> 3 & (mode64 ? 15 : 7);
        vex_l = last >> 2 & 1;
        static const u8 pp[4] = {1, 2, 4, 8};
        mandatory = pp[last & 3];
        NEED(1);
        b = bytes[pos++];
        if (refused) {
            op.id = ROW_UD;
            op.len = u8(pos);
            return Decoded::OK;
        }
    } else if (b == 0x0f) {
        NEED(1);
        b = bytes[pos++];
        map = 1;
        if (b == 0x38 || b == 0x3a) {
            map = b == 0x38 ? 2 : 3;
            NEED(1);
            b = bytes[pos++];
        }
    }
    if (UNLIKELY(b == 0x90) && map == 0 && (rex & 1)) mandatory = 1;  // F3 with REX.B: XCHG R8, not PAUSE
    const Candidates &cell = opcode_maps[map][b];
    const u8 mode_bit = mode64 ? 2 : 1;
    const Row *row = nullptr;
    u8 modrm = 0;
    bool have_modrm = false;
    for (unsigned i = 0; i < cell.count; i++) {
        const Row &r = rows[candidate_rows[cell.first + i]];
        if (!(r.modes & mode_bit) || !(r.prefixes & mandatory)) continue;
        if (r.has_modrm && !have_modrm) {
            NEED(1);
            modrm = bytes[pos];
            have_modrm = true;
        }
        if ((modrm & r.modrm_mask) != r.modrm_value) continue;
        if (r.mod && r.mod != 3 && (r.mod == 2) != (modrm >= 0xc0)) continue;
        if (r.feature_count && !features_present(cpu, r)) continue;
        if (vex && ((r.vex_l && r.vex_l != vex_l + 1) || (r.vex_w && r.vex_w != (rex >> 3 & 1) + 1) || (!r.vvvv && vvvv))) continue;
        row = &r;
        op.id = candidate_rows[cell.first + i];
        break;
    }
    if (!row) {
        op.id = ROW_UD;
        op.len = u8(pos);
        return Decoded::OK;
    }

    // Operand and address size (SDM Vol. 1 3.6).
    unsigned code_size = mode & MODE_SIZE;
    unsigned opsize;  // log2 of bytes
    bool w = rex & 8;
    if (mode64) opsize = row->attrs & ATTR_F64 ? 3 : w ? 3 : prefixes & P_OPSIZE ? 1 : row->attrs & ATTR_D64 ? 3 : 2;
    else opsize = (code_size == MODE_16) != bool(prefixes & P_OPSIZE) ? 1 : 2;
    unsigned adsize = mode64 ? (prefixes & P_ADSIZE ? 1 : 2) : ((code_size == MODE_16) != bool(prefixes & P_ADSIZE) ? 0 : 1);
    op.adsize = u8(adsize);
    switch (row->size) {
    case SIZE_B: op.width = 0; break;
    case SIZE_W: op.width = 1; break;
    case SIZE_D: op.width = 2; break;
    case SIZE_Q: op.width = 3; break;
    case SIZE_V: op.width = u8(opsize); break;
    case SIZE_Y: op.width = w ? 3 : 2; break;
    case SIZE_Z: op.width = opsize > 2 ? 2 : u8(opsize); break;
    }

    u8 default_segment = DS;
    bool rip_relative = false;
    if (row->has_modrm) {
        pos++;
        unsigned mod = modrm >> 6, rm = modrm & 7;
        u8 reg_index = u8((modrm >> 3 & 7) | (rex & 4) << 1);
        switch (row->reg_kind) {
        case KIND_GPR8: op.r = byte_register(reg_index, op.rex); break;
        case KIND_MMX: case KIND_SEGMENT: op.r = reg_index & 7; break;
        default: op.r = reg_index;
        }
        if (mod == 3 || row->mod == 3) {
            op.is_reg = 1;
            u8 rm_index = u8(rm | (rex & 1) << 3);
            switch (row->rm_kind) {
            case KIND_GPR8: op.m = byte_register(rm_index, op.rex); break;
            case KIND_MMX: op.m = u8(rm); break;
            case KIND_NONE: op.m = row->attrs & ATTR_X87 ? u8(rm) : rm_index; break;
            default: op.m = rm_index;
            }
        } else if (adsize == 0) {
            op.base = base16[rm];
            op.index = index16[rm];
            if (mod == 0 && rm == 6) {
                NEED(2);
                op.base = REG_ZERO;
                op.disp = load_host<u16>(bytes + pos);
                pos += 2;
            } else {
                if (mod == 1) {
                    NEED(1);
                    op.disp = i8(bytes[pos++]);
                } else if (mod == 2) {
                    NEED(2);
                    op.disp = load_host<i16>(bytes + pos);
                    pos += 2;
                }
                if (op.base == RBP) default_segment = SS;
            }
        } else {
            bool has_disp32 = mod == 2;
            if (rm == 4) {
                NEED(1);
                u8 sib = bytes[pos++];
                op.scale = sib >> 6;
                u8 index = u8((sib >> 3 & 7) | (rex & 2) << 2);
                op.index = index == 4 ? u8(REG_ZERO) : index;
                if (op.index == REG_ZERO) op.scale = 0;
                u8 base = sib & 7;
                if (base == 5 && mod == 0) {
                    has_disp32 = true;
                } else {
                    op.base = u8(base | (rex & 1) << 3);
                    if (base == 4 || base == 5) default_segment = rex & 1 ? u8(DS) : u8(SS);
                }
            } else if (rm == 5 && mod == 0) {
                has_disp32 = true;
                rip_relative = mode64;
            } else {
                op.base = u8(rm | (rex & 1) << 3);
                if (rm == 5 && !(rex & 1)) default_segment = SS;
            }
            if (mod == 1) {
                NEED(1);
                op.disp = i8(bytes[pos++]);
            } else if (has_disp32) {
                NEED(4);
                op.disp = load_host<i32>(bytes + pos);
                pos += 4;
            }
        }
    }
    if (row->opcode_reg != KIND_NONE) {
        u8 index = u8((b & 7) | (rex & 1) << 3);
        op.r = row->opcode_reg == KIND_GPR8 ? byte_register(index, op.rex) : index;
    }
    op.seg = segment == SEG_COUNT ? default_segment : segment;

    if (!row->immediates[0] && map == 1) op.imm = b;  // SETcc, CMOVcc: the condition is in its low nibble
    if (row->attrs & ATTR_X87) op.imm = (b & 7u) << 8 | modrm;  // FOP
    if (vex) op.imm = u64(vvvv) << 8;
    unsigned filled = 0;  // bits of imm in use
    for (u8 kind : row->immediates) {
        if (kind == I_NONE) break;
        switch (kind) {
        case I_IMM8:
            NEED(1);
            op.imm |= u64(bytes[pos++]) << filled;
            filled += 8;
            break;
        case I_IMM8S:
            NEED(1);
            op.imm = u64(i64(i8(bytes[pos++])));
            break;
        case I_IMM16:
            NEED(2);
            op.imm |= u64(load_host<u16>(bytes + pos)) << filled;
            pos += 2;
            filled += 16;
            break;
        case I_IMMV:
            if (opsize == 3) {
                NEED(8);
                op.imm = load_host<u64>(bytes + pos);
                pos += 8;
                break;
            }
            [[fallthrough]];
        case I_IMMZ:
            if (opsize == 1) {
                NEED(2);
                op.imm = u64(i64(load_host<i16>(bytes + pos)));
                pos += 2;
                break;
            }
            [[fallthrough]];
        case I_IMM32:
            NEED(4);
            op.imm = u64(i64(load_host<i32>(bytes + pos)));
            pos += 4;
            break;
        case I_REL8:
            NEED(1);
            op.disp = i8(bytes[pos++]);
            op.r = b & 15;  // the condition
            break;
        case I_RELZ:
            op.r = b & 15;
            if (opsize == 1) {
                NEED(2);
                op.disp = load_host<i16>(bytes + pos);
                pos += 2;
            } else {
                NEED(4);
                op.disp = load_host<i32>(bytes + pos);
                pos += 4;
            }
            break;
        case I_FAR:  // offset, selector in bits 32-47
            if (opsize == 1) {
                NEED(4);
                op.imm = load_host<u16>(bytes + pos) | u64(load_host<u16>(bytes + pos + 2)) << 32;
                pos += 4;
            } else {
                NEED(6);
                op.imm = load_host<u32>(bytes + pos) | u64(load_host<u16>(bytes + pos + 4)) << 32;
                pos += 6;
            }
            break;
        case I_MOFFS:
            if (adsize == 2) {
                NEED(8);
                op.imm = load_host<u64>(bytes + pos);
                pos += 8;
            } else if (adsize == 1) {
                NEED(4);
                op.imm = load_host<u32>(bytes + pos);
                pos += 4;
            } else {
                NEED(2);
                op.imm = load_host<u16>(bytes + pos);
                pos += 2;
            }
            break;
        }
    }
#undef NEED
#undef RUN_OUT
    op.len = u8(pos);
    if (rip_relative) {
        i64 relative = i64(op.disp) + off + pos;
        op.base = REG_PAGE_RIP;
        if (relative == i32(relative)) op.disp = i32(relative);
        else op.ripx = 1;
    }

    if (UNLIKELY(op.lock) && (!(row->attrs & ATTR_LOCK) || op.is_reg)) op.id = ROW_UD;
    else if (UNLIKELY((row->attrs & ATTR_PROT) && !(mode & MODE_PROT))) op.id = ROW_UD;
    else if (UNLIKELY(mode & (MODE_NOX87 | MODE_NOMMX | MODE_NOSSE))) {
        if ((row->attrs & ATTR_SSE) && (mode & MODE_NOSSE)) op.id = ROW_NO_SSE;
        else if ((row->attrs & ATTR_MMX) && (mode & MODE_NOMMX)) op.id = ROW_NO_MMX;
        else if ((row->attrs & ATTR_X87) && (mode & MODE_NOX87)) op.id = ROW_NM;
    }
    if (!slow_functions[op.id] && !rule_functions[op.id]) op.id = ROW_UD;
    return Decoded::OK;
}
