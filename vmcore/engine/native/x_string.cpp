// String instructions (SDM Vol. 2, MOVS CMPS STOS LODS SCAS INS OUTS and REP).
//
// A repeated instruction runs in chunks within a page; registers are up to date before every access, so a fault in the
// middle leaves the completed iterations done.  Between chunks it looks whether run() wants to know of something; then, or when
// single-stepping, it stops with cpu.next == cpu.rip: the caller leaves without counting it, and it is executed again.
#include "cpu.h"
#include "system.h"
#include "alu.h"

#define SLOW(name) void x_##name(Cpu &cpu, const Op &op)

namespace {

struct Strings {
    Cpu &cpu;
    const Op &op;
    u64 mask;       // of the address size
    unsigned size;  // of an element
    bool down;      // DF

    Strings(Cpu &c, const Op &o) : cpu(c), op(o), mask(address_mask(o.adsize)), size(1u << o.width), down(c.flags & FL_DF) {}

    u64 si() const { return cpu.gpr[RSI] & mask; }
    u64 di() const { return cpu.gpr[RDI] & mask; }
    u64 count() const { return op.rep ? cpu.gpr[RCX] & mask : 1; }
    void move(u8 index, u64 elements) {
        u64 bytes = elements * size;
        set_reg_sized(cpu, index, (cpu.gpr[index] + (down ? u64(0) - bytes : bytes)) & mask, op.adsize + 1);
    }
    void done(u64 elements) {
        if (op.rep) set_reg_sized(cpu, RCX, ((cpu.gpr[RCX] & mask) - elements) & mask, op.adsize + 1);
    }
    u64 linear(u8 seg, u64 offset, bool write) {
        u64 lin = checked_linear(cpu, seg, offset, size, write);
        if (UNLIKELY(cpu.mode & MODE_AC)) check_alignment(cpu, lin, size);
        return lin;
    }
    bool single() const { return !op.rep || (cpu.flags & FL_TF); }
    // Elements from `offset` on (downwards with DF) that lie in one page and need no further check than that of the first one.
    u64 elements_in_reach(u8 seg, u64 offset, u64 lin, u64 wanted) const {
        u64 page_offset = lin & 0xfff, room;
        if (down) {
            if (page_offset + size > 4096) return 0;
            room = page_offset / size + 1;
            if (offset / size + 1 < room) room = offset / size + 1;
        } else {
            room = (4096 - page_offset) / size;
            u64 to_wrap = mask - offset;
            if (to_wrap != ~u64(0) && (to_wrap + 1) / size < room) room = (to_wrap + 1) / size;
        }
        if (!in_64bit(cpu) && !(cpu.mode & MODE_FLAT && seg <= DS)) {
            const Segment &s = cpu.seg[seg];
            if ((s.attr & 0xc) == 4) return 1;  // expand-down
            if (!down && (u64(s.limit) + 1 - offset) / size < room) room = (u64(s.limit) + 1 - offset) / size;
        }
        return room < wanted ? room : wanted;
    }
    // Whether to go on with a repeated instruction; if not, it has been arranged to be executed again.
    bool again() {
        if (!count()) return false;
        if (UNLIKELY((cpu.flags & FL_TF) || cpu.floor.load(std::memory_order_relaxed) != 0)) {
            cpu.next = cpu.rip;
            return false;
        }
        return true;
    }
};

template <class T> T *host(u8 *p) { return reinterpret_cast<T *>(p); }

template <class T> void movs(Cpu &cpu, const Op &op) {
    constexpr unsigned ADSIZE_32 = 1;
    if (!op.rep && (cpu.mode & (MODE_FLAT | MODE_AC)) == MODE_FLAT && op.adsize == ADSIZE_32 && op.seg <= DS && !in_64bit(cpu)) {
        // One element, nothing to check: loops of these are how programs for size copy.
        const u32 from = u32(cpu.gpr[RSI]), to = u32(cpu.gpr[RDI]), step = cpu.flags & FL_DF ? 0u - u32(sizeof(T)) : u32(sizeof(T));
        write_lin<T>(cpu, to, read_lin<T>(cpu, from));
        cpu.gpr[RSI] = from + step;
        cpu.gpr[RDI] = to + step;
        return;
    }
    Strings s(cpu, op);
    if (!s.count()) return;
    do {
        u64 from = s.linear(op.seg, s.si(), false);
        u64 n = s.single() ? 1 : s.elements_in_reach(op.seg, s.si(), from, s.count());
        u64 to = 0;
        if (n > 1) {
            to = s.linear(ES, s.di(), true);
            n = s.elements_in_reach(ES, s.di(), to, n);
        }
        if (n > 1) {
            u64 bytes = n * sizeof(T), got = bytes;
            u64 low = s.down ? bytes - sizeof(T) : 0;  // distance from the lowest address to the first element
            // Translated at the first element, so that a fault is reported there; all lie in its page.
            u8 *src = host_run(cpu, from, ACCESS_READ, data_set(cpu), &got);
            u8 *dst = src ? host_run(cpu, to, ACCESS_WRITE, data_set(cpu), &got) : nullptr;
            if (src && dst) {
                src -= low;
                dst -= low;
                bool overlap = s.down ? dst < src && dst + bytes > src : dst > src && dst < src + bytes;
                if (!overlap) std::memmove(dst, src, bytes);
                else if (s.down) for (u64 i = n; i--;) store_host<T>(dst + i * sizeof(T), load_host<T>(src + i * sizeof(T)));
                else for (u64 i = 0; i < n; i++) store_host<T>(dst + i * sizeof(T), load_host<T>(src + i * sizeof(T)));
                s.move(RSI, n);
                s.move(RDI, n);
                s.done(n);
                continue;
            }
        }
        T v = read_lin<T>(cpu, from);
        write_lin<T>(cpu, s.linear(ES, s.di(), true), v);
        s.move(RSI, 1);
        s.move(RDI, 1);
        s.done(1);
    } while (op.rep && s.again());
}

template <class T> void fill(u8 *dst, T v, u64 n) {
    u8 first = u8(v);
    bool uniform = true;
    for (unsigned i = 1; i < sizeof(T); i++) uniform &= u8(u64(v) >> (8 * i)) == first;
    if (uniform) std::memset(dst, first, n * sizeof(T));
    else for (u64 i = 0; i < n; i++) store_host<T>(dst + i * sizeof(T), v);
}

template <class T> void stos(Cpu &cpu, const Op &op) {
    Strings s(cpu, op);
    if (!s.count()) return;
    const T v = reg<T>(cpu, RAX);
    do {
        u64 to = s.linear(ES, s.di(), true);
        u64 n = s.single() ? 1 : s.elements_in_reach(ES, s.di(), to, s.count());
        if (n > 1) {
            u64 bytes = n * sizeof(T), low = s.down ? bytes - sizeof(T) : 0;
            if (u8 *dst = host_run(cpu, to, ACCESS_WRITE, data_set(cpu), &bytes)) {
                fill<T>(dst - low, v, n);
                s.move(RDI, n);
                s.done(n);
                continue;
            }
        }
        write_lin<T>(cpu, to, v);
        s.move(RDI, 1);
        s.done(1);
    } while (op.rep && s.again());
}

template <class T> void lods(Cpu &cpu, const Op &op) {
    Strings s(cpu, op);
    if (!s.count()) return;
    do {
        T v = read_lin<T>(cpu, s.linear(op.seg, s.si(), false));
        set_reg<T>(cpu, RAX, v);
        s.move(RSI, 1);
        s.done(1);
    } while (op.rep && s.again());
}

// CMPS and SCAS: runs until the condition of REPE/REPNE fails, looking from time to time whether to stop.
template <class T> void scas(Cpu &cpu, const Op &op) {
    Strings s(cpu, op);
    if (!s.count()) return;
    const T a = reg<T>(cpu, RAX);
    const bool until_equal = op.rep == REP_NZ;
    for (;;) {
        u64 at = s.linear(ES, s.di(), false);
        u64 n = s.single() ? 1 : s.elements_in_reach(ES, s.di(), at, s.count());
        T b;
        if (n > 1 && !s.down) {
            u64 bytes = n * sizeof(T);
            if (const u8 *p = host_run(cpu, at, ACCESS_READ, data_set(cpu), &bytes)) {
                u64 i = 0;
                for (;; i++) {
                    b = load_host<T>(p + i * sizeof(T));
                    if ((a == b) == until_equal || i + 1 == n) break;
                }
                n = i + 1;
            } else {
                n = 1;
                b = read_lin<T>(cpu, at);
            }
        } else {
            n = 1;
            b = read_lin<T>(cpu, at);
        }
        s.move(RDI, n);
        s.done(n);
        alu<T>(cpu, Alu::CMP, a, b);
        if (!op.rep || (a == b) == until_equal || !s.again()) return;
    }
}

template <class T> void cmps(Cpu &cpu, const Op &op) {
    Strings s(cpu, op);
    if (!s.count()) return;
    const bool until_equal = op.rep == REP_NZ;
    for (;;) {
        u64 from = s.linear(op.seg, s.si(), false);
        u64 n = s.single() ? 1 : s.elements_in_reach(op.seg, s.si(), from, s.count());
        T a, b;
        bool fast = false;
        if (n > 1 && !s.down) {
            u64 other = s.linear(ES, s.di(), false);
            n = s.elements_in_reach(ES, s.di(), other, n);
            u64 bytes = n * sizeof(T);
            const u8 *p = n ? host_run(cpu, from, ACCESS_READ, data_set(cpu), &bytes) : nullptr;
            const u8 *q = p ? host_run(cpu, other, ACCESS_READ, data_set(cpu), &bytes) : nullptr;
            if (q) {
                fast = true;
                u64 i = 0;
                for (;; i++) {
                    a = load_host<T>(p + i * sizeof(T));
                    b = load_host<T>(q + i * sizeof(T));
                    if ((a == b) == until_equal || i + 1 == n) break;
                }
                n = i + 1;
            }
        }
        if (!fast) {
            n = 1;
            a = read_lin<T>(cpu, from);
            b = read_lin<T>(cpu, s.linear(ES, s.di(), false));
        }
        s.move(RSI, n);
        s.move(RDI, n);
        s.done(n);
        alu<T>(cpu, Alu::CMP, a, b);
        if (!op.rep || (a == b) == until_equal || !s.again()) return;
    }
}

template <class T> void ins(Cpu &cpu, const Op &op) {
    Strings s(cpu, op);
    const u16 port = u16(cpu.gpr[RDX]);
    check_io(cpu, port, sizeof(T));
    if (!s.count()) return;
    do {
        u64 to = s.linear(ES, s.di(), true);
        u64 n = s.single() || s.down ? 1 : s.elements_in_reach(ES, s.di(), to, s.count());
        if (n > 1) {
            u64 bytes = n * sizeof(T);
            u8 *dst = host_run(cpu, to, ACCESS_WRITE, data_set(cpu), &bytes);
            if (dst && port_read_bulk(cpu, port, sizeof(T), dst, u32(n))) {
                s.move(RDI, n);
                s.done(n);
                continue;
            }
        }
        probe_write(cpu, to, sizeof(T), data_set(cpu));  // what the port gave must not be lost in a page fault
        write_lin<T>(cpu, to, T(port_read(cpu, port, sizeof(T))));
        s.move(RDI, 1);
        s.done(1);
    } while (op.rep && s.again());
}

template <class T> void outs(Cpu &cpu, const Op &op) {
    Strings s(cpu, op);
    const u16 port = u16(cpu.gpr[RDX]);
    check_io(cpu, port, sizeof(T));
    if (!s.count()) return;
    do {
        u64 from = s.linear(op.seg, s.si(), false);
        u64 n = s.single() || s.down ? 1 : s.elements_in_reach(op.seg, s.si(), from, s.count());
        if (n > 1) {
            u64 bytes = n * sizeof(T);
            const u8 *src = host_run(cpu, from, ACCESS_READ, data_set(cpu), &bytes);
            if (src && port_write_bulk(cpu, port, sizeof(T), src, u32(n))) {
                s.move(RSI, n);
                s.done(n);
                continue;
            }
        }
        T v = read_lin<T>(cpu, from);
        port_write(cpu, port, v, sizeof(T));
        s.move(RSI, 1);
        s.done(1);
    } while (op.rep && s.again());
}

}  // namespace

SLOW(movs) { WITH_WIDTH(op, movs<T>(cpu, op);) }
SLOW(stos) { WITH_WIDTH(op, stos<T>(cpu, op);) }
SLOW(lods) { WITH_WIDTH(op, lods<T>(cpu, op);) }
SLOW(scas) { WITH_WIDTH(op, scas<T>(cpu, op);) }
SLOW(cmps) { WITH_WIDTH(op, cmps<T>(cpu, op);) }
SLOW(ins) { WITH_WIDTH(op, if constexpr (sizeof(T) < 8) ins<T>(cpu, op);) }
SLOW(outs) { WITH_WIDTH(op, if constexpr (sizeof(T) < 8) outs<T>(cpu, op);) }
