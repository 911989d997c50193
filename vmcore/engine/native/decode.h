// From bytes to a decoded instruction by the generated tables (tables/*.ops, FORMAT.md).  SDM Vol. 2 chapter 2.
#pragma once
#include "cpu.h"

enum Kind : u8 { KIND_NONE, KIND_GPR, KIND_GPR8, KIND_MMX, KIND_XMM, KIND_SEGMENT };
enum SizeRule : u8 { SIZE_B, SIZE_W, SIZE_D, SIZE_Q, SIZE_V, SIZE_Y, SIZE_Z };
enum Immediate : u8 { I_NONE, I_IMM8, I_IMM8S, I_IMM16, I_IMM32, I_IMMZ, I_IMMV, I_REL8, I_RELZ, I_FAR, I_MOFFS };
enum : u16 {
    ATTR_LOCK = 1 << 0, ATTR_END = 1 << 1, ATTR_D64 = 1 << 2, ATTR_F64 = 1 << 3, ATTR_X87 = 1 << 4, ATTR_MMX = 1 << 5,
    ATTR_SSE = 1 << 6, ATTR_PROT = 1 << 7, ATTR_IO = 1 << 8, ATTR_STRING = 1 << 9,
};

// One line of the tables.
struct Row {
    u8 prefixes;                   // mandatory prefixes that it accepts: 1 none, 2 66, 4 F3, 8 F2
    u8 modrm_mask, modrm_value;    // of the ModRM byte
    u8 mod;                        // 0 any, 1 memory only, 2 register only, 3 register whatever ModRM.mod says
    u8 modes;                      // 1 legal outside 64-bit mode, 2 in 64-bit mode
    u8 has_modrm;
    Kind reg_kind, rm_kind, opcode_reg;
    SizeRule size;                 // of Op::width
    u8 immediates[2];              // Immediate
    u16 attrs;
    u8 features[3], feature_count, feature_any;
    u8 vex_l, vex_w;               // of VEX forms: 0 any, 1 must be clear, 2 must be set
    u8 vvvv;                       // VEX.vvvv names an operand; otherwise it must be 1111b
    const char *text;              // mnemonic and operands as in the table
};

// Rows that no encoding leads to.
enum : u16 { ROW_UD, ROW_NM, ROW_NO_MMX, ROW_NO_SSE, ROW_TOO_LONG, ROW_FETCH_FAULT };

const Row &row_of(u16 id);
SlowFn slow_function(u16 id);      // nullptr where none is linked
unsigned table_rows();

enum class Decoded : u8 {
    OK,         // also for undefined instructions: op.id is then a row whose function raises
    TRUNCATED,  // more bytes are needed than were given
};

// Decodes one instruction from `bytes`, which lies at offset `off` of its page.  Fills everything of `op` but fn and left.  The jump
// displacement of near jumps and calls is in op.disp (op.imm is 0).
Decoded decode(const Cpu &cpu, u32 mode, const u8 *bytes, unsigned available, unsigned off, Op &op);

// What a translation rule is told; it returns the fast handler for the op, or nullptr for the slow function of its row.
constexpr u32 CC_UNKNOWN = ~u32(0);
struct Translation_ {
    u32 mode;
    u32 cc;           // value of cc_op before the instruction, where the block shows it, else CC_UNKNOWN
    bool flags_dead;  // the arithmetic flags that this instruction writes are not seen by anybody
    bool carry_dead;  // nobody sees the carry flag after this instruction
};
using RuleFn = Handler (*)(const Translation_ &, Op &);
RuleFn rule_function(u16 id);
