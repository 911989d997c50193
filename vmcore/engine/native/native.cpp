// Native code for hot blocks.  See native.h.
#include "native.h"
#include "alu.h"
#include "assembler_x86.h"
#include "ops_jump.h"
#include "translate.h"
#include <cstddef>
#include <cstdlib>
#include <string_view>
#include <vector>

#if VMCORE_NATIVE
#include <sys/mman.h>

namespace {

constexpr std::size_t ARENA = 32u << 20;
constexpr std::size_t BLOCK_ROOM = 24u << 10;  // more than any block needs

enum What : u8 {
    W_NONE, W_NOP, W_MOV, W_MOVX, W_LEA, W_ALU, W_TEST, W_STEP, W_NEG, W_NOT, W_SHIFT, W_ROTATE, W_IMUL, W_IMULI, W_CMOV, W_SETCC, W_JCC, W_JMP,
    W_CALL, W_PUSH, W_POP, W_XCHG, W_CBW, W_CWD,
};
// Operand form of moves and arithmetic.
enum Form : u8 { F_EG, F_GE, F_EI, F_AI, F_ZI };
struct Kind {
    What what = W_NONE;
    Form form = F_EG;
    u8 f = 0;        // number of the operation: of the eight, of the shift, DEC, sign-extending
    u8 source = 0;   // MOVX: log2 of the source's size
};

Kind kind_of(const char *text) {
    std::string_view all(text), name = all.substr(0, all.find(' ')), operands = all.size() > name.size() ? all.substr(name.size() + 1) : "";
    auto form = [&](Form *out) {
        if (operands == "Eb,Gb" || operands == "Ev,Gv") *out = F_EG;
        else if (operands == "Gb,Eb" || operands == "Gv,Ev") *out = F_GE;
        else if (operands == "Eb,Ib" || operands == "Ev,Iz" || operands == "Ev,Ibs") *out = F_EI;
        else if (operands == "AL,Ib" || operands == "rAX,Iz") *out = F_AI;
        else if (operands == "Zb,Ib" || operands == "Zv,Iv") *out = F_ZI;
        else return false;
        return true;
    };
    Kind k;
    static const char *const alus[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
    for (u8 i = 0; i < 8; i++)
        if (name == alus[i] && i != 2 && i != 3 && form(&k.form)) {
            k.what = W_ALU;
            k.f = i;
            return k;
        }
    if (name == "test" && form(&k.form)) k.what = W_TEST;
    else if (name == "mov" && form(&k.form) && k.form != F_AI) k.what = W_MOV;
    else if (name == "nop") k.what = W_NOP;
    else if (name == "movzx" || name == "movsx" || name == "movsxd") {
        k.what = W_MOVX;
        k.f = name != "movzx";
        k.source = operands == "Gv,Eb" ? 0 : operands == "Gv,Ew" ? 1 : 2;
    } else if (name == "lea") k.what = W_LEA;
    else if ((name == "inc" || name == "dec") && operands[0] == 'E') k.what = W_STEP, k.f = name == "dec";
    else if (name == "neg") k.what = W_NEG;
    else if (name == "not") k.what = W_NOT;
    else if (name == "shl" || name == "shr" || name == "sar" || name == "rol" || name == "ror") {
        if (operands.substr(operands.size() - 2) == "CL") return k;
        k.what = name[0] == 'r' ? W_ROTATE : W_SHIFT;
        k.f = name == "shl" ? 4 : name == "shr" ? 5 : name == "sar" ? 7 : name == "rol" ? 0 : 1;
    } else if (all == "imul Gv,Ev") k.what = W_IMUL;
    else if (name == "imul" && operands.size() > 5) k.what = W_IMULI;
    else if (name.substr(0, 4) == "cmov") k.what = W_CMOV;
    else if (name.substr(0, 3) == "set" && operands == "Eb") k.what = W_SETCC;
    else if (name == "jmp" && operands[0] == 'J') k.what = W_JMP;
    else if (name == "jcxz" || name == "jmp") k.what = W_NONE;
    else if (name[0] == 'j' && operands[0] == 'J') k.what = W_JCC;
    else if (name == "call" && operands == "Jz") k.what = W_CALL;
    else if (name == "push" && (operands == "Zv" || operands == "Iz" || operands == "Ibs")) k.what = W_PUSH, k.f = operands != "Zv";
    else if (name == "pop" && operands == "Zv") k.what = W_POP;
    else if (all == "xchg Ev,Gv") k.what = W_XCHG;
    else if (name == "cbw") k.what = W_CBW;
    else if (name == "cwd") k.what = W_CWD;
    return k;
}
const std::vector<Kind> &kinds() {
    static const std::vector<Kind> table = [] {
        std::vector<Kind> t;
        for (unsigned i = 0; i < table_rows(); i++) t.push_back(kind_of(row_of(u16(i)).text));
        return t;
    }();
    return table;
}

constexpr i32 OFF_DST = offsetof(Cpu, cc_dst), OFF_SRC = offsetof(Cpu, cc_src), OFF_CC = offsetof(Cpu, cc_op), OFF_TLB = offsetof(Cpu, tlb),
              OFF_FLOOR = offsetof(Cpu, floor), OFF_EA = offsetof(Cpu, ea), OFF_EA_TAG = offsetof(Cpu, ea_tag);
constexpr i32 gpr_at(unsigned g) { return i32(offsetof(Cpu, gpr) + g * 8); }

constexpr u8 POOL[] = {H_R10, H_R11, H_RBX, H_R12, H_R13, H_R14, H_R15};
constexpr unsigned POOL_SIZE = sizeof POOL;

class Emitter {
  public:
    Emitter(const Block *b, CodeArena &arena) : ops(b->ops()), n(b->count), first(b->first), self(b), arena(arena), a{arena.next} {
        flags_in_block(ops, n, first, wanted, known);
    }
    u8 *end() const { return a.p; }

    // Whether the op can be part of a run.
    bool can(unsigned i) const {
        const Op &op = ops[i];
        const Kind &k = kinds()[op.id];
        if (k.what == W_NONE || handler(i) == slow_handler(op)) return false;
        const bool memory = row_of(op.id).has_modrm && !op.is_reg;
        if (memory && k.what != W_NOP && k.what != W_LEA && !address_known(op)) return false;
        switch (k.what) {
        case W_NOP: case W_MOVX: case W_ALU: case W_TEST: case W_MOV: case W_JMP: return true;
        case W_LEA: return op.width >= 2 && (op.adsize == 2 || op.adsize == 1) && !op.ripx;
        case W_STEP: return op.is_reg && op.width >= 2 && (!(wanted[i] & 1) || carry_known(i));
        case W_NEG: case W_NOT: return op.is_reg && op.width >= 2;
        case W_SHIFT: return op.is_reg && op.width >= 2;
        case W_ROTATE: return op.is_reg && op.width >= 2 && !wanted[i];
        case W_IMUL: return op.width >= 2;
        case W_IMULI: return op.is_reg && op.width >= 2;
        case W_CMOV: return op.is_reg && op.width >= 2 && condition_known_at(i, op.imm & 15);
        case W_SETCC: return op.is_reg && condition_known_at(i, op.imm & 15);
        case W_JCC: return op.width == 3 && condition_known_at(i, op.r);
        case W_CALL: case W_PUSH: case W_POP: return op.width == 3;
        case W_XCHG: return op.is_reg && op.width >= 2;
        case W_CBW: case W_CWD: return op.width >= 2;
        default: return false;
        }
    }

    // Emits ops [from, to); to may be n, which is the end op.
    void run(unsigned from, unsigned to) {
        start = from;
        begin = a.p;
        forget();
        host_flags = false;
        bool open = true;
        for (unsigned i = from; i < to; i++) open = emit(i);
        if (open) {
            if (to == n && ops[n].fn == h_through) take(n);
            else {
                store_dirty();
                set_op(to);
                a.jmp_mem(H_RSI);
            }
        }
        for (const Stub &s : stubs) {
            a.bind(s.place);
            u8 *missed = nullptr;
            if (s.kind == Stub::PAGE) {
                missed = look_up(s.size, s.write);
                a.rm(3, 0x0b, H_R9, H_RDI, i32(offsetof(Cpu, site_bits)));
                a.store(3, H_R9, H_RDI, site_tag(s.site));
                a.store(3, H_R8, H_RDI, site_tag(s.site) + 8);
                a.byte(0xe9);
                a.dword(u32(s.back - (a.p + 4)));
                a.bind(missed);
            }
            for (unsigned i = 0; i < POOL_SIZE; i++)
                if (s.dirty >> (4 * i) & 8) a.store(3, POOL[i], H_RDI, gpr_at((s.dirty >> (4 * i) & 7) + (s.high >> i & 1) * 8));
            switch (s.kind) {
            case Stub::PAGE:
                a.store(3, H_RAX, H_RDI, OFF_EA);
                a.store(3, H_R9, H_RDI, OFF_EA_TAG);
                break;
            case Stub::REFUSED: a.rm(3, 0x8d, H_RSI, H_RAX, sizeof(Block)); break;
            case Stub::LINK: break;
            }
            if (s.kind != Stub::REFUSED) set_op(s.op);
            a.jmp_abs(s.target);
        }
        stubs.clear();
    }

  private:
    struct Stub {
        enum { PAGE, REFUSED, LINK } kind;
        u8 *place;
        unsigned op;
        const void *target;
        u32 dirty, high;
        u8 *back;       // PAGE: where to go on
        unsigned size;
        bool write;
        unsigned site;
    };
    const Op *ops;
    unsigned n;
    Handler first;
    const Block *self;
    CodeArena &arena;
    Assembler a;
    u8 wanted[BLOCK_MAX + 1];
    u32 known[BLOCK_MAX + 1];
    unsigned start = 0;         // of the run
    const u8 *begin = nullptr;  // its code
    bool host_flags = false;  // the host's flags are the guest's
    std::vector<Stub> stubs;
    // Cache of guest registers.
    i8 guest_of[POOL_SIZE];
    bool dirty[POOL_SIZE];  // newer than memory
    unsigned used[POOL_SIZE];
    unsigned tick = 0;

    Handler handler(unsigned i) const { return i ? ops[i].fn : first; }
    bool address_known(const Op &op) const { return !op.ripx && (op.adsize == 2 || op.adsize == 1); }
    // Conditions that can be had from cc_dst and cc_src.
    bool condition_known_at(unsigned i, unsigned c) const {
        if (known[i] == CC_UNKNOWN) return false;
        switch (known[i] >> 2) {
        case CC_SUB: case CC_LOGIC: case CC_ADD: return true;
        case CC_INC: case CC_DEC: return c >> 1 != 1 && c >> 1 != 3;
        default: return false;
        }
    }
    // INC and DEC must keep CF in cc_src.
    bool carry_known(unsigned i) const {
        if (known[i] == CC_UNKNOWN) return i == start_candidate ? false : true;  // decided at run time; not in the first place of a run
        switch (known[i] >> 2) {
        case CC_SUB: case CC_LOGIC: case CC_ADD: case CC_INC: case CC_DEC: return true;
        default: return false;
        }
    }

  public:
    unsigned start_candidate = ~0u;  // the op that would begin a run

  private:
    // ---- register cache
    void forget() {
        for (unsigned i = 0; i < POOL_SIZE; i++) guest_of[i] = -1, used[i] = 0, dirty[i] = false;
    }
    void write_back(unsigned slot) { a.store(3, POOL[slot], H_RDI, gpr_at(unsigned(guest_of[slot]))); }
    // Memory has guest register g as it is, and no copy of it is kept.
    void release(unsigned g) {
        for (unsigned i = 0; i < POOL_SIZE; i++)
            if (guest_of[i] == i8(g)) {
                if (dirty[i]) write_back(i);
                dirty[i] = false;
                guest_of[i] = -1;
            }
    }
    // Stores everything that is newer than memory, on this path only.
    void store_dirty() {
        for (unsigned i = 0; i < POOL_SIZE; i++)
            if (dirty[i]) write_back(i);
    }
    u32 dirty_set() const {  // to be stored by a stub: slot and register, packed
        u32 set = 0;
        for (unsigned i = 0; i < POOL_SIZE; i++)
            if (dirty[i]) set |= (8u | unsigned(guest_of[i] & 7)) << (4 * i);
        return set;
    }
    u32 dirty_high() const {
        u32 set = 0;
        for (unsigned i = 0; i < POOL_SIZE; i++)
            if (dirty[i] && guest_of[i] >= 8) set |= 1u << i;
        return set;
    }
    unsigned slot_for(unsigned g) {
        unsigned best = 0;
        for (unsigned i = 0; i < POOL_SIZE; i++) {
            if (guest_of[i] == i8(g)) {
                used[i] = ++tick;
                return i;
            }
            if (guest_of[i] < 0) {
                if (guest_of[best] >= 0) best = i;
            } else if (guest_of[best] >= 0 && used[i] < used[best]) {
                best = i;
            }
        }
        // Not cached.
        if (dirty[best]) write_back(best);
        dirty[best] = false;
        guest_of[best] = -1;
        used[best] = ++tick;
        return best;
    }
    // Host register with the value of guest register g.
    unsigned get(unsigned g) {
        unsigned s = slot_for(g);
        if (guest_of[s] != i8(g)) {
            guest_of[s] = i8(g);
            a.load(3, POOL[s], H_RDI, gpr_at(g));
        }
        return POOL[s];
    }
    // Host register that is about to get a new value of g; its old one is not loaded.
    unsigned def(unsigned g) {
        unsigned s = slot_for(g);
        guest_of[s] = i8(g);
        return POOL[s];
    }
    // h, which get() or def() gave for g, has its new value.
    void put(unsigned g, unsigned h) {
        for (unsigned i = 0; i < POOL_SIZE; i++)
            if (guest_of[i] == i8(g) && POOL[i] == h) dirty[i] = true;
    }

    // Operand `code` of width w as a value in a register: cached for 32 and 64 bits, else zero-extended in `scratch`.
    unsigned operand(unsigned code, unsigned w, unsigned scratch) {
        if (w >= 2) return get(code);
        if (w == 0 && (code & 7)) {  // AH and its kin
            release(code >> 3);
            a.rm(2, 0x0fb6, scratch, H_RDI, i32(offsetof(Cpu, gpr) + code));
            return scratch;
        }
        a.rr(2, w ? 0x0fb7 : 0x0fb6, scratch, get(w ? code : code >> 3), true);
        return scratch;
    }
    void put_small(unsigned code, unsigned w, unsigned h) {
        if (w == 0 && (code & 7)) {
            release(code >> 3);
            a.store(0, h, H_RDI, i32(offsetof(Cpu, gpr) + code));
            return;
        }
        const unsigned g = w ? code : code >> 3, d = get(g);
        a.rr(w, w ? 0x8b : 0x8a, d, h);
        put(g, d);
    }

    // ---- leaving
    void set_op(unsigned i) {
        if (i != start) a.rm(3, 0x8d, H_RSI, H_RSI, i32((i - start) * sizeof(Op)));
    }
    void take(unsigned i) {
        store_dirty();
        if (start == 0 && ops[i].target == self) {
            // A loop of one block: its own code again, debited again.
            a.alu_ri(3, 5, H_RDX, i32(n) - (ops[i].left ? i32(ops[i].left) - 1 : 0));
            a.rm(3, 0x3b, H_RDX, H_RDI, OFF_FLOOR);
            stubs.push_back({Stub::LINK, a.jcc(0xc), start, reinterpret_cast<const void *>(h_refused), 0, 0, nullptr, 0, false, 0});
            a.byte(0xe9);
            a.dword(u32(begin - (a.p + 4)));
            return;
        }
        const i32 at = i32((i - start) * sizeof(Op));
        if (ops[i].left > 1) a.alu_ri(3, 0, H_RDX, ops[i].left - 1);
        a.load(3, H_RAX, H_RSI, at + i32(offsetof(Op, imm)));
        a.rr(3, 0x85, H_RAX, H_RAX);
        stubs.push_back({Stub::LINK, a.jcc(4), i, reinterpret_cast<const void *>(h_link), 0, 0, nullptr, 0, false, 0});
        a.rm(3, 0x2b, H_RDX, H_RAX, i32(offsetof(Block, n)));
        a.rm(3, 0x3b, H_RDX, H_RDI, OFF_FLOOR);
        stubs.push_back({Stub::REFUSED, a.jcc(0xc), i, reinterpret_cast<const void *>(h_refused), 0, 0, nullptr, 0, false, 0});
        a.rm(3, 0x8d, H_RSI, H_RAX, sizeof(Block));
        a.jmp_mem(H_RSI);
    }

    // ---- memory: leaves the linear address in RAX and the addend of its page in R8
    void address(const Op &op) {
        const unsigned w = op.adsize == 2 ? 3 : 2;
        if (op.base == REG_ZERO && op.index == REG_ZERO) {
            a.mov_imm(H_RAX, op.adsize == 2 ? u64(i64(op.disp)) : u32(op.disp));
        } else if (op.base == REG_PAGE_RIP) {
            a.load(3, H_RAX, H_RDI, gpr_at(REG_PAGE_RIP));
            if (op.disp) a.rm(w, 0x8d, H_RAX, H_RAX, op.disp);
            else if (w == 2) a.mov(2, H_RAX, H_RAX);
        } else if (op.index == REG_ZERO) {
            a.rm(w, 0x8d, H_RAX, get(op.base), op.disp);
        } else if (op.base == REG_ZERO) {
            // index * scale + disp32 without base: mod 0, base 5
            unsigned x = get(op.index);
            a.head(w, 0x8d, H_RAX, x, 0, false);
            a.byte(0x04);
            a.byte(op.scale << 6 | (x & 7) << 3 | 5);
            a.dword(u32(op.disp));
        } else {
            unsigned b = get(op.base), x = get(op.index);
            a.rx(w, 0x8d, H_RAX, b, x, op.scale, op.disp);
        }
        if (op.seg >= FS) a.rm(3, 0x03, H_RAX, H_RDI, i32(offsetof(Cpu, lin_base) + op.seg * 8));
    }
    void page_of_last_byte(unsigned to, unsigned size) {
        if (size > 1) a.rm(3, 0x8d, to, H_RAX, i32(size - 1));
        else a.mov(3, to, H_RAX);
        a.alu_ri(3, 4, to, -4096);
    }
    // The TLB look-up; returns the place of the jump taken when it misses.
    u8 *look_up(unsigned size, bool write) {
        a.mov(3, H_R8, H_RAX);
        a.mov(3, H_RCX, H_RAX);
        // tlb_index(), times the 32 bytes of an entry.
        static_assert(sizeof(TlbEntry) == 32, "see the shift below");
        a.shift_ri(3, 5, H_R8, 12);
        a.shift_ri(3, 5, H_RCX, 21);
        a.rr(2, 0x03, H_R8, H_RCX);
        a.alu_ri(2, 4, H_R8, i32(TLB_SIZE - 1));
        a.shift_ri(3, 4, H_R8, 5);
        a.rm(3, 0x03, H_R8, H_RDI, OFF_TLB);
        page_of_last_byte(H_R9, size);
        a.rm(3, 0x3b, H_R9, H_R8, i32(write ? offsetof(TlbEntry, write) : offsetof(TlbEntry, read)));
        u8 *missed = a.jcc(5);
        a.load(3, H_R8, H_R8, i32(offsetof(TlbEntry, addend)));
        return missed;
    }
    void translate(unsigned i, unsigned size, bool write) {
        const unsigned site = write ? SITES_READ + arena.sites_write++ % SITES_WRITE : arena.sites_read++ % SITES_READ;
        // An access that is not aligned takes the look-up: it might run over the page.
        a.mov(3, H_R9, H_RAX);
        a.alu_ri(3, 4, H_R9, i32(-4096 | i32(size - 1)));
        a.rm(3, 0x0b, H_R9, H_RDI, i32(offsetof(Cpu, site_bits)));
        a.rm(3, 0x3b, H_R9, H_RDI, site_tag(site));
        u8 *other = a.jcc(5);
        a.load(3, H_R8, H_RDI, site_tag(site) + 8);
        stubs.push_back({Stub::PAGE, other, i, reinterpret_cast<const void *>(write ? h_miss_write : h_miss_read), dirty_set(), dirty_high(),
                         a.p, size, write, site});
        host_flags = false;
    }
    static i32 site_tag(unsigned site) { return i32(offsetof(Cpu, sites) + site * sizeof(Cpu::Site)); }
    void memory(unsigned i, unsigned size, bool write) {
        address(ops[i]);
        translate(i, size, write);
    }
    void load_host(unsigned w, unsigned reg) { a.rx(w, w ? 0x8b : 0x8a, reg, H_R8, H_RAX, 0, 0); }
    void store_host(unsigned w, unsigned reg) { a.rx(w, w ? 0x89 : 0x88, reg, H_R8, H_RAX, 0, 0); }

    // ---- flags
    void flags_set(CcGroup g, unsigned w) { a.store_imm32(H_RDI, OFF_CC, cc(g, w)); }
    // Brings the host's flags to what the guest's are, for a condition.
    void want_flags(unsigned i) {
        if (host_flags) return;
        const u32 k = known[i];
        const unsigned w = k & 3;
        a.load(3, H_RAX, H_RDI, OFF_DST);
        switch (k >> 2) {
        case CC_SUB:
            a.load(3, H_RCX, H_RDI, OFF_SRC);
            a.alu_rr(w, 0, H_RAX, H_RCX);
            a.alu_rr(w, 7, H_RAX, H_RCX);
            break;
        case CC_ADD:
            a.load(3, H_RCX, H_RDI, OFF_SRC);
            a.alu_rr(w, 5, H_RAX, H_RCX);
            a.alu_rr(w, 0, H_RAX, H_RCX);
            break;
        case CC_LOGIC: a.rr(w, w ? 0x85 : 0x84, H_RAX, H_RAX); break;
        case CC_INC:
            a.alu_ri(w, 5, H_RAX, 1);
            a.alu_ri(w, 0, H_RAX, 1);
            break;
        default:
            a.alu_ri(w, 0, H_RAX, 1);
            a.alu_ri(w, 5, H_RAX, 1);
            break;
        }
        host_flags = true;
    }
    // CF into cc_src, for INC and DEC.
    void keep_carry(unsigned i) {
        const u32 k = known[i];
        if (k == CC_UNKNOWN) {
            // After INC or DEC it is there; else the handler knows what to do.
            a.load(2, H_RAX, H_RDI, OFF_CC);
            a.alu_ri(2, 5, H_RAX, CC_INC * 4);
            a.alu_ri(2, 7, H_RAX, 8);
            static_assert(CC_DEC == CC_INC + 1, "one range");
            stubs.push_back({Stub::LINK, a.jcc(3), i, reinterpret_cast<const void *>(handler(i)), dirty_set(), dirty_high(), nullptr, 0, false, 0});
            return;
        }
        const unsigned w = k & 3;
        switch (k >> 2) {
        case CC_INC: case CC_DEC: return;
        case CC_LOGIC: a.store_imm64(H_RDI, OFF_SRC, 0); return;
        default: break;
        }
        if (host_flags) {
            a.rr(0, 0x0f92, 0, H_RAX);
            a.rr(2, 0x0fb6, H_RAX, H_RAX);
        } else {
            a.load(3, H_RAX, H_RDI, OFF_DST);
            a.load(3, H_RCX, H_RDI, OFF_SRC);
            if (k >> 2 == CC_SUB) a.alu_rr(w, 0, H_RAX, H_RCX);
            a.alu_rr(w, 7, H_RAX, H_RCX);
            a.rr(0, 0x0f92, 0, H_RAX);
            a.rr(2, 0x0fb6, H_RAX, H_RAX);
        }
        a.store(3, H_RAX, H_RDI, OFF_SRC);
    }

    // ---- one op; false if control does not go on behind it
    bool emit(unsigned i) {
        const Op &op = ops[i];
        const Kind &k = kinds()[op.id];
        const unsigned w = op.width;
        const bool live = wanted[i] != 0;
        switch (k.what) {
        case W_NOP: return true;
        case W_MOV: emit_mov(i, k, w); return true;
        case W_MOVX: emit_movx(i, k, w); return true;
        case W_LEA: {
            const unsigned aw = op.adsize == 2 ? 3 : 2;
            if (op.base < 16 && op.index == REG_ZERO && op.disp == 0 && aw == 3) {
                unsigned s = get(op.base), d = def(op.r);
                if (d != s || w == 2) a.mov(w, d, s);
                put(op.r, d);
                return true;
            }
            bool flags = host_flags;  // LEA and MOV leave them
            Op plain = op;
            plain.seg = DS;
            address(plain);
            unsigned d = def(op.r);
            a.mov(w == 2 ? 2 : 3, d, H_RAX);
            put(op.r, d);
            host_flags = flags;
            return true;
        }
        case W_ALU: emit_alu(i, k, w, live); return true;
        case W_TEST: emit_test(i, k, w); return true;
        case W_STEP: {
            if (wanted[i] & 1) keep_carry(i);
            unsigned d = get(op.m);
            a.rr(w, 0xff, k.f, d);
            put(op.m, d);
            if (live) {
                a.store(3, d, H_RDI, OFF_DST);
                flags_set(k.f ? CC_DEC : CC_INC, w);
            }
            host_flags = live;  // CF is not the guest's; conditions that need it are not taken from here
            return true;
        }
        case W_NEG: {
            unsigned d = get(op.m);
            if (live) a.store(3, d, H_RDI, OFF_SRC);
            a.rr(w, 0xf7, 3, d);
            put(op.m, d);
            if (live) {
                a.store(3, d, H_RDI, OFF_DST);
                flags_set(CC_SUB, w);
            }
            host_flags = live;
            return true;
        }
        case W_NOT: {
            unsigned d = get(op.m);
            a.rr(w, 0xf7, 2, d);
            put(op.m, d);
            return true;
        }
        case W_SHIFT: {
            unsigned d = get(op.m), count = u8(op.imm);
            if (live) {
                unsigned from = d;
                if (count > 1) {
                    a.mov(w, H_RCX, d);
                    a.shift_ri(w, k.f, H_RCX, count - 1);
                    from = H_RCX;
                }
                a.store(3, from, H_RDI, OFF_SRC);
            }
            a.shift_ri(w, k.f, d, count);
            put(op.m, d);
            if (live) {
                a.store(3, d, H_RDI, OFF_DST);
                flags_set(k.f == 4 ? CC_SHL : CC_SHR, w);
            }
            host_flags = false;
            return true;
        }
        case W_ROTATE: {
            unsigned d = get(op.m);
            a.shift_ri(w, k.f, d, u8(op.imm));
            put(op.m, d);
            host_flags = false;
            return true;
        }
        case W_IMUL: case W_IMULI: {
            unsigned s;
            if (op.is_reg) s = get(op.m);
            else {
                memory(i, 1u << w, false);
                load_host(w, H_RCX);
                s = H_RCX;
            }
            unsigned d;
            if (k.what == W_IMUL) {
                d = get(op.r);
                a.rr(w, 0x0faf, d, s);
            } else {
                d = def(op.r);
                a.rr(w, 0x69, d, s);
                a.dword(u32(op.imm));
            }
            put(op.r, d);
            if (live) {
                a.rr(0, 0x0f90, 0, H_RCX);
                a.rr(2, 0x0fb6, H_RCX, H_RCX);
                a.store(3, H_RCX, H_RDI, OFF_SRC);
                a.store(3, d, H_RDI, OFF_DST);
                flags_set(CC_MUL, w);
            }
            host_flags = false;
            return true;
        }
        case W_CMOV: {
            want_flags(i);
            unsigned s = get(op.m), d = get(op.r);
            a.rr(w, 0x0f40 | (op.imm & 15), d, s);
            put(op.r, d);
            return true;
        }
        case W_SETCC:
            want_flags(i);
            a.rr(0, 0x0f90 | (op.imm & 15), 0, H_RAX);
            put_small(op.m, 0, H_RAX);
            return true;
        case W_JCC: {
            want_flags(i);
            u8 *past = a.jcc(op.r ^ 1);
            take(i);
            a.bind(past);
            // On this way the flags of the condition are still there.
            return true;
        }
        case W_JMP: take(i); return false;
        case W_CALL: {
            stack_push(i);
            a.load(3, H_RCX, H_RDI, gpr_at(REG_PAGE_RIP));
            a.rm(3, 0x8d, H_RCX, H_RCX, op.off + op.len);
            store_host(3, H_RCX);
            unsigned sp = def(RSP);
            a.mov(3, sp, H_RAX);
            put(RSP, sp);
            take(i);
            return false;
        }
        case W_PUSH: {
            unsigned s = k.f ? 0 : get(op.r);
            stack_push(i);
            if (k.f) {
                a.rx(3, 0xc7, 0, H_R8, H_RAX, 0, 0);
                a.dword(u32(op.imm));
            } else {
                store_host(3, s);
            }
            unsigned sp = def(RSP);
            a.mov(3, sp, H_RAX);
            put(RSP, sp);
            return true;
        }
        case W_POP: {
            a.mov(3, H_RAX, get(RSP));
            translate(i, 8, false);
            load_host(3, H_RCX);
            unsigned sp = def(RSP);
            a.rm(3, 0x8d, sp, H_RAX, 8);
            put(RSP, sp);
            unsigned d = def(op.r);
            a.mov(3, d, H_RCX);
            put(op.r, d);
            return true;
        }
        case W_XCHG: {
            unsigned x = get(op.m), y = get(op.r);
            a.mov(w, H_RAX, x);
            a.mov(w, x, y);
            a.mov(w, y, H_RAX);
            put(op.m, x);
            put(op.r, y);
            return true;
        }
        case W_CBW: {
            unsigned d = get(RAX);
            if (w == 2) a.rr(2, 0x0fbf, d, d);
            else a.rr(3, 0x63, d, d);
            put(RAX, d);
            return true;
        }
        case W_CWD: {
            unsigned s = get(RAX), d = def(RDX);
            a.mov(w, d, s);
            a.shift_ri(w, 7, d, w == 3 ? 63 : 31);
            put(RDX, d);
            host_flags = false;
            return true;
        }
        default: return true;
        }
    }

    void stack_push(unsigned i) {
        a.rm(3, 0x8d, H_RAX, get(RSP), -8);
        translate(i, 8, true);
    }

    void emit_mov(unsigned i, const Kind &k, unsigned w) {
        const Op &op = ops[i];
        if (k.form == F_ZI || (k.form == F_EI && op.is_reg)) {
            const unsigned code = k.form == F_ZI ? op.r : op.m;
            if (w >= 2) {
                unsigned d = def(code);
                a.mov_imm(d, w == 2 ? u32(op.imm) : op.imm);
                put(code, d);
            } else {
                a.mov_imm(H_RCX, w ? u16(op.imm) : u8(op.imm));
                put_small(code, w, H_RCX);
            }
            return;
        }
        if (k.form == F_EI) {
            memory(i, 1u << w, true);
            a.rx(w, w ? 0xc7 : 0xc6, 0, H_R8, H_RAX, 0, 0);
            if (w == 0) a.byte(unsigned(op.imm));
            else if (w == 1) a.byte(unsigned(op.imm)), a.byte(unsigned(op.imm >> 8));
            else a.dword(u32(op.imm));
            return;
        }
        const bool to_rm = k.form == F_EG;
        if (op.is_reg) {
            const unsigned from = to_rm ? op.r : op.m, to = to_rm ? op.m : op.r;
            if (w >= 2) {
                unsigned s = get(from), d = def(to);
                if (d != s || w == 2) a.mov(w, d, s);
                put(to, d);
            } else {
                unsigned s = operand(from, w, H_RCX);
                put_small(to, w, s);
            }
            return;
        }
        if (to_rm) {
            if (w >= 2) {
                unsigned s = get(op.r);
                memory(i, 1u << w, true);
                store_host(w, s);
            } else {
                memory(i, 1u << w, true);
                unsigned s = operand(op.r, w, H_RCX);
                store_host(w, s);
            }
            return;
        }
        memory(i, 1u << w, false);
        if (w >= 2) {
            unsigned d = def(op.r);
            load_host(w, d);
            put(op.r, d);
        } else {
            load_host(w, H_RCX);
            put_small(op.r, w, H_RCX);
        }
    }

    void emit_movx(unsigned i, const Kind &k, unsigned w) {
        const Op &op = ops[i];
        const unsigned opcode = k.source == 0 ? (k.f ? 0x0fbe : 0x0fb6) : k.source == 1 ? (k.f ? 0x0fbf : 0x0fb7) : 0x63;
        // MOVZX to 64 bits is the 32-bit form.
        const unsigned ow = w == 3 && k.f ? 3 : w == 1 ? 1 : 2;
        if (op.is_reg) {
            if (k.source == 0) {
                unsigned s = operand(op.m, 0, H_RCX);
                if (w == 1) {
                    a.rr(2, opcode, H_RCX, s, true);
                    put_small(op.r, 1, H_RCX);
                } else {
                    unsigned d = def(op.r);
                    a.rr(ow, opcode, d, s, true);
                    put(op.r, d);
                }
                return;
            }
            unsigned s = get(op.m);
            if (w == 1) {
                put_small(op.r, 1, s);
            } else if (k.source == 2 && w == 2) {
                unsigned d = def(op.r);
                a.mov(2, d, s);
                put(op.r, d);
            } else {
                unsigned d = def(op.r);
                a.rr(ow, opcode, d, s);
                put(op.r, d);
            }
            return;
        }
        memory(i, 1u << k.source, false);
        if (k.source == 2 && w == 2) {
            unsigned d = def(op.r);
            load_host(2, d);
            put(op.r, d);
        } else if (w == 1) {
            if (k.source == 1) load_host(1, H_RCX);
            else a.rx(2, opcode, H_RCX, H_R8, H_RAX, 0, 0);
            put_small(op.r, 1, H_RCX);
        } else {
            unsigned d = def(op.r);
            a.rx(ow, opcode, d, H_R8, H_RAX, 0, 0);
            put(op.r, d);
        }
    }

    static CcGroup group_of(unsigned f) { return f == 0 ? CC_ADD : f == 5 || f == 7 ? CC_SUB : CC_LOGIC; }

    void emit_alu(unsigned i, const Kind &k, unsigned w, bool live) {
        const Op &op = ops[i];
        const unsigned f = k.f;
        const CcGroup g = group_of(f);
        const bool keep_source = live && g != CC_LOGIC;
        const bool imm = k.form == F_EI || k.form == F_AI;
        const unsigned target = k.form == F_AI ? unsigned(RAX) : k.form == F_GE ? op.r : op.m;  // unless it is memory
        auto finish = [&](unsigned result) {
            if (live) {
                a.store(3, result, H_RDI, OFF_DST);
                flags_set(g, w);
            }
            host_flags = live;
        };
        if (op.is_reg || k.form == F_AI) {
            const unsigned source = k.form == F_GE ? op.m : op.r;
            if (f == 6 && !imm && source == target && w >= 2) {  // XOR r,r
                unsigned d = def(target);
                a.rr(2, 0x33, d, d);
                put(target, d);
                finish(d);
                return;
            }
            unsigned s = imm ? 0 : operand(source, w, H_RCX);
            if (keep_source) {
                if (imm) a.store_imm64(H_RDI, OFF_SRC, i32(op.imm));
                else a.store(3, s, H_RDI, OFF_SRC);
            }
            unsigned d;
            if (w >= 2 && f != 7) {
                d = get(target);
            } else if (w >= 2) {
                unsigned from = get(target);
                a.mov(w, H_RAX, from);
                d = H_RAX;
            } else {
                d = operand(target, w, H_RAX);
            }
            const unsigned fn = f == 7 ? 5 : f;  // CMP: the difference is kept in cc_dst
            if (imm) a.alu_ri(w, fn, d, i32(op.imm));
            else a.alu_rr(w, fn, d, s);
            if (f != 7) {
                if (w >= 2) put(target, d);
                else put_small(target, w, d);
            }
            finish(d);
            return;
        }
        if (k.form == F_GE) {  // register with memory
            memory(i, 1u << w, false);
            if (w >= 2) load_host(w, H_RCX);
            else a.rx(2, w ? 0x0fb7 : 0x0fb6, H_RCX, H_R8, H_RAX, 0, 0);
            if (keep_source) a.store(3, H_RCX, H_RDI, OFF_SRC);
            unsigned d;
            if (w >= 2 && f != 7) {
                d = get(op.r);
            } else if (w >= 2) {
                unsigned from = get(op.r);
                a.mov(w, H_RAX, from);
                d = H_RAX;
            } else {
                d = operand(op.r, w, H_RAX);
            }
            a.alu_rr(w, f == 7 ? 5 : f, d, H_RCX);
            if (f != 7) {
                if (w >= 2) put(op.r, d);
                else put_small(op.r, w, d);
            }
            finish(d);
            return;
        }
        // Memory with register or immediate.
        unsigned s = 0;
        if (!imm && w >= 2) s = get(op.r);
        memory(i, 1u << w, f != 7);
        if (!imm && w < 2) s = operand(op.r, w, H_R9);
        if (w >= 2) load_host(w, H_RCX);
        else a.rx(2, w ? 0x0fb7 : 0x0fb6, H_RCX, H_R8, H_RAX, 0, 0);
        if (keep_source) {
            if (imm) a.store_imm64(H_RDI, OFF_SRC, i32(op.imm));
            else a.store(3, s, H_RDI, OFF_SRC);
        }
        const unsigned fn = f == 7 ? 5 : f;
        if (imm) a.alu_ri(w, fn, H_RCX, i32(op.imm));
        else a.alu_rr(w, fn, H_RCX, s);
        if (f != 7) store_host(w, H_RCX);
        finish(H_RCX);
    }

    void emit_test(unsigned i, const Kind &k, unsigned w) {
        const Op &op = ops[i];
        const bool imm = k.form == F_EI || k.form == F_AI;
        unsigned s = 0;
        if (op.is_reg || k.form == F_AI) {
            unsigned from = operand(k.form == F_AI ? unsigned(RAX) : op.m, w, H_RAX);
            if (!imm) s = operand(op.r, w, H_RCX);
            if (w >= 2) a.mov(w, H_RAX, from);
        } else {
            if (!imm && w >= 2) s = get(op.r);
            memory(i, 1u << w, false);
            if (w >= 2) load_host(w, H_RCX);
            else a.rx(2, w ? 0x0fb7 : 0x0fb6, H_RCX, H_R8, H_RAX, 0, 0);
            if (!imm && w < 2) s = operand(op.r, w, H_R9);
            a.mov(2 + (w == 3), H_RAX, H_RCX);
        }
        if (imm) a.alu_ri(w, 4, H_RAX, i32(op.imm));
        else a.alu_rr(w, 4, H_RAX, s);
        a.store(3, H_RAX, H_RDI, OFF_DST);
        flags_set(CC_LOGIC, w);
        host_flags = true;
    }
};

}  // namespace

CodeArena::~CodeArena() {
    if (begin) munmap(begin, ARENA);
}

const u32 native_threshold = [] {
    const char *v = std::getenv("VMCORE_NATIVE");
    return v ? u32(std::strtoul(v, nullptr, 10)) : 50u;
}();

void emit_native(Cpu &cpu, Block *b) {
    CodeArena &arena = cpu.blocks->code;
    if (arena.refused) return;
    if (!arena.begin) {
        void *p = mmap(nullptr, ARENA, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
            arena.refused = true;
            return;
        }
        arena.begin = arena.next = static_cast<u8 *>(p);
        arena.end = arena.begin + ARENA;
    }
    if (std::size_t(arena.end - arena.next) < BLOCK_ROOM) {
        // Full: everything goes at the next safe point.
        cpu.blocks->stale = true;
        pend(cpu, PEND_FLUSH);
        return;
    }
    Op *ops = b->ops();
    const unsigned n = b->count;
    Emitter e(b, arena);
    unsigned i = 0;
    while (i < n) {
        e.start_candidate = i;
        unsigned to = i;
        while (to < n && e.can(to)) {
            to++;
            e.start_candidate = ~0u;
        }
        // A run of one op gains nothing.
        if (to - i >= 2) {
            u8 *code = e.end();
            e.run(i, to);
            const Handler h = reinterpret_cast<Handler>(code);
            if (i) ops[i].fn = h;
            else b->first = h;
        }
        i = to > i ? to : i + 1;
    }
    arena.next = reinterpret_cast<u8 *>((reinterpret_cast<std::uintptr_t>(e.end()) + 15) & ~std::uintptr_t(15));
    cpu.stats.blocks_native++;
}

// Calls a handler with every register that native code uses saved.  (The unwinder passes through it.)
asm(R"(
        .text
        .globl  vmcore_enter_handlers
        .hidden vmcore_enter_handlers
        .type   vmcore_enter_handlers, @function
        .p2align 4
vmcore_enter_handlers:
        .cfi_startproc
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        call    *(%rsi)
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        ret
        .cfi_endproc
        .size   vmcore_enter_handlers, .-vmcore_enter_handlers
)");

#else

CodeArena::~CodeArena() {}
const u32 native_threshold = 0;
void emit_native(Cpu &, Block *) {}

#endif
