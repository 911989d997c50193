// Linear address translation: page walk, TLB, and the slow memory accessors (SDM Vol. 3A chapter 4).
#include "cpu.h"
#include <algorithm>

namespace {

constexpr u64 PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_A = 1 << 5, PTE_D = 1 << 6, PTE_PS = 1 << 7, PTE_G = 1 << 8;
constexpr u64 PTE_NX = u64(1) << 63;
constexpr unsigned FILLED_MAX = sizeof(Cpu::filled) / sizeof(u16);

// One page-table entry in guest memory.
template <class T> struct Entry {
    const Region *region;
    u64 offset = 0;
    T value;

    Entry(Cpu &cpu, u64 pa) {
        region = cpu.memory->find(pa & cpu.memory->a20_mask);
        if (UNLIKELY(!region || region->kind == RegionKind::DEVICE)) {
            region = nullptr;  // page tables outside memory: an open bus reads all ones
            value = T(~T(0));
        } else {
            offset = (pa & cpu.memory->a20_mask) - region->start;
            value = load_host<T>(region->host + offset);
        }
    }
    void set(Cpu &cpu, T bits) {
        if ((value & bits) == bits) return;
        value |= bits;
        if (!region || region->kind != RegionKind::RAM) return;
        note_store(*cpu.memory, *region, offset, sizeof(T));
        store_host<T>(region->host + offset, value);
    }
};

// Rights of the finished path against the access (SDM Vol. 3A 4.6).  `implicit` SMAP rules are those of TLB_KERNEL.
bool allowed(const Cpu &cpu, Access access, TlbSet set, const Translation &t) {
    if (set == TLB_USER) {
        if (!t.user) return false;
        if (access == ACCESS_WRITE) return t.writable;
        return access == ACCESS_READ || !t.no_exec;
    }
    if (access == ACCESS_EXEC) return !t.no_exec && !(t.user && (cpu.cr4 & CR4_SMEP));
    if (t.user && set == TLB_KERNEL && (cpu.cr4 & CR4_SMAP)) return false;
    return access == ACCESS_READ || t.writable || !(cpu.cr0 & CR0_WP);
}

u32 fault_code(const Cpu &cpu, Access access, TlbSet set, u32 extra) {
    u32 code = extra;
    if (access == ACCESS_WRITE) code |= PF_W;
    if (set == TLB_USER) code |= PF_U;
    if (access == ACCESS_EXEC && ((cpu.cr4 & CR4_SMEP) || ((cpu.cr4 & CR4_PAE) && (cpu.efer & EFER_NXE)))) code |= PF_I;
    return code;
}

bool finish(Cpu &cpu, Access access, TlbSet set, const Translation &t, u32 *error, bool probe) {
    if (probe || allowed(cpu, access, set, t)) return true;
    *error = fault_code(cpu, access, set, PF_P);
    return false;
}

// 32-bit paging, 4.3.
bool walk32(Cpu &cpu, u64 lin, Access access, TlbSet set, Translation *out, u32 *error, bool probe) {
    Entry<u32> pde(cpu, (cpu.cr3 & 0xfffff000) + ((lin >> 22) & 0x3ff) * 4);
    if (!(pde.value & PTE_P)) return *error = fault_code(cpu, access, set, 0), false;
    bool user = pde.value & PTE_U, writable = pde.value & PTE_W;
    if ((pde.value & PTE_PS) && (cpu.cr4 & CR4_PSE)) {
        // PSE-36: bits 13-20 are physical address bits 32-39, what the processor lacks of them is reserved, bit 21 always.
        u32 reserved = 1u << 21;
        if (!has(cpu, F_PSE36)) reserved |= 0x001fe000;
        else if (cpu.phys_bits < 40) reserved |= (0x001fe000u << (cpu.phys_bits > 32 ? cpu.phys_bits - 32 : 0)) & 0x001fe000u;
        if (pde.value & reserved) return *error = fault_code(cpu, access, set, PF_P | PF_RSVD), false;
        u64 base = (pde.value & 0xffc00000u) | (u64((pde.value >> 13) & 0xff) << 32);
        *out = {base | (lin & 0x3fffff), u64(1) << 22, user, writable, false, bool(pde.value & PTE_G)};
        if (!finish(cpu, access, set, *out, error, probe)) return false;
        if (!probe) pde.set(cpu, u32(access == ACCESS_WRITE ? PTE_A | PTE_D : PTE_A));
        return true;
    }
    if (!probe) pde.set(cpu, u32(PTE_A));
    Entry<u32> pte(cpu, (pde.value & 0xfffff000) + ((lin >> 12) & 0x3ff) * 4);
    if (!(pte.value & PTE_P)) return *error = fault_code(cpu, access, set, 0), false;
    *out = {(pte.value & 0xfffff000) | (lin & 0xfff), 4096, user && (pte.value & PTE_U), writable && (pte.value & PTE_W), false,
            bool(pte.value & PTE_G)};
    if (!finish(cpu, access, set, *out, error, probe)) return false;
    if (!probe) pte.set(cpu, u32(access == ACCESS_WRITE ? PTE_A | PTE_D : PTE_A));
    return true;
}

// PAE paging (4.4) and 4-level paging (4.5).
bool walk64(Cpu &cpu, u64 lin, Access access, TlbSet set, Translation *out, u32 *error, bool probe) {
    const u64 address = ((u64(1) << cpu.phys_bits) - 1) & ~u64(0xfff);
    u64 reserved = ~((u64(1) << cpu.phys_bits) - 1) & 0x000fffffffffffffull;
    if (!(cpu.efer & EFER_NXE)) reserved |= PTE_NX;
    bool user = true, writable = true, no_exec = false;
    u64 table;
    int level;
    if (cpu.efer & EFER_LMA) {
        table = cpu.cr3 & address;
        level = 3;
    } else {
        u64 pdpte = cpu.pdpte[(lin >> 30) & 3];
        if (!(pdpte & PTE_P)) return *error = fault_code(cpu, access, set, 0), false;
        table = pdpte & address;
        level = 1;
        reserved |= 0x7ff0000000000000ull;  // in PAE paging bits 52-62 are reserved, too
    }
    for (;; level--) {
        unsigned shift = 12 + 9 * level;
        Entry<u64> e(cpu, table + ((lin >> shift) & 0x1ff) * 8);
        if (!(e.value & PTE_P)) return *error = fault_code(cpu, access, set, 0), false;
        u64 bad = reserved;
        bool leaf = level == 0;
        if (level == 3 || (level == 2 && !has(cpu, F_PDPE1GB))) bad |= PTE_PS;
        else if (level && (e.value & PTE_PS)) {
            leaf = true;
            bad |= ((u64(1) << shift) - 1) & ~u64(0x1fff);  // between PAT (bit 12) and the page frame
        }
        if (UNLIKELY(e.value & bad)) return *error = fault_code(cpu, access, set, PF_P | PF_RSVD), false;
        user &= bool(e.value & PTE_U);
        writable &= bool(e.value & PTE_W);
        no_exec |= bool(e.value & PTE_NX);
        if (!leaf) {
            if (!probe) e.set(cpu, PTE_A);
            table = e.value & address;
            continue;
        }
        u64 mask = (u64(1) << shift) - 1;
        *out = {(e.value & address & ~mask) | (lin & mask), u64(1) << shift, user, writable, no_exec, bool(e.value & PTE_G)};
        if (!finish(cpu, access, set, *out, error, probe)) return false;
        if (!probe) e.set(cpu, access == ACCESS_WRITE ? PTE_A | PTE_D : PTE_A);
        return true;
    }
}

bool page_observed(const Cpu &cpu, u64 page) {
    for (unsigned i = 0; i < 4; i++)
        if ((cpu.data_breakpoints >> i & 1) && (((cpu.dr[i] & ~u64(0xfff)) == page) || (((cpu.dr[i] + 7) & ~u64(0xfff)) == page)))
            return true;
    for (u32 i = 0; i < cpu.watch_count; i++) {
        const Watchpoint &w = cpu.watches[i];
        if (page + 4095 >= w.lin && page <= w.lin + w.size - 1) return true;
    }
    return false;
}

// What observers (debug registers, the embedder's watchpoints) make of an access that took the slow path.
COLD void observe(Cpu &cpu, u64 lin, unsigned size, bool write) {
    for (u32 i = 0; i < cpu.watch_count; i++) {
        const Watchpoint &w = cpu.watches[i];
        if ((write ? w.write : w.read) && lin + size - 1 >= w.lin && lin <= w.lin + w.size - 1) {
            cpu.watch_hit = lin;
            pend(cpu, PEND_WATCH);
        }
    }
    if (cpu.data_breakpoints) check_data_breakpoint(cpu, lin, size, write);
}
ALWAYS_INLINE void observed(Cpu &cpu, u64 lin, unsigned size, bool write) {
    if (UNLIKELY(cpu.data_breakpoints | cpu.watch_count)) observe(cpu, lin, size, write);
}

void fill(Cpu &cpu, u64 lin, u64 pa, Access access, TlbSet set, const Region *region) {
    u64 page = lin & ~u64(0xfff);
    if (!region || region->kind == RegionKind::DEVICE) return;
    u64 offset = pa - region->start;
    unsigned index = tlb_index(lin);
    TlbEntry &e = cpu.tlbs[set][index];
    u64 addend = u64(reinterpret_cast<std::uintptr_t>(region->host + offset)) - lin;
    if (e.addend != addend || (e.read != page && e.write != page && e.exec != page)) {
        e.read = e.write = e.exec = TLB_INVALID;
        e.addend = addend;
        if (cpu.filled_count < FILLED_MAX) cpu.filled[cpu.filled_count] = u16(set << TLB_BITS | index);
        cpu.filled_count++;
    }
    if (access == ACCESS_EXEC) {
        e.exec = page;
        return;
    }
    if (UNLIKELY(cpu.data_breakpoints | cpu.watch_count) && page_observed(cpu, page)) return;
    e.read = page;
    if (access == ACCESS_WRITE && region->kind == RegionKind::RAM) {
        u8 &flags = region->page_flags[offset >> 12];
        flags |= PAGE_WRITTEN;
        if (!(flags & PAGE_CODE)) e.write = page;
    }
}

// Translation of one address (no page crossing here) to physical address and region; false with *error on a page fault.
bool try_resolve(Cpu &cpu, u64 lin, Access access, TlbSet set, const Region **region, u64 *physical, u32 *error) {
    Translation t;
    cpu.stats.tlb_misses++;
    if (UNLIKELY(!walk(cpu, lin, access, set, &t, error))) return false;
    u64 pa = t.pa & cpu.memory->a20_mask;
    *region = cpu.memory->find(pa);
    fill(cpu, lin, pa, access, set, *region);
    if (t.page_size > 4096) {
        cpu.large_2m[(lin >> 27) & 63] |= u64(1) << ((lin >> 21) & 63);
        if (t.page_size > (u64(1) << 22)) cpu.large_1g[(lin >> 36) & 7] |= u64(1) << ((lin >> 30) & 63);
    }
    *physical = pa;
    return true;
}
u64 resolve(Cpu &cpu, u64 lin, Access access, TlbSet set, const Region **region) {
    u64 pa;
    u32 error;
    if (UNLIKELY(!try_resolve(cpu, lin, access, set, region, &pa, &error))) raise_page_fault(cpu, lin, error);
    return pa;
}

u64 read_resolved(Cpu &cpu, const Region *region, u64 pa, unsigned size) {
    if (LIKELY(region && region->kind != RegionKind::DEVICE)) {
        const u8 *p = region->host + (pa - region->start);
        switch (size) {
        case 1: return *p;
        case 2: return load_host<u16>(p);
        case 4: return load_host<u32>(p);
        default: return load_host<u64>(p);
        }
    }
    if (!region || pa - region->start + size > region->size) {
        if (size == 1) return 0xff;
        // Straddles the end of a device region (or nothing is there): byte by byte.
        u64 v = 0;
        for (unsigned i = 0; i < size; i++) v |= read_resolved(cpu, cpu.memory->find(pa + i), pa + i, 1) << (8 * i);
        return v;
    }
    cpu.stats.device_accesses++;
    return device_read(*cpu.memory, &cpu, *region, pa - region->start, size);
}

void write_resolved(Cpu &cpu, const Region *region, u64 pa, u64 value, unsigned size) {
    if (LIKELY(region && region->kind == RegionKind::RAM)) {
        u64 offset = pa - region->start;
        note_store(*cpu.memory, *region, offset, size);
        u8 *p = region->host + offset;
        switch (size) {
        case 1: *p = u8(value); break;
        case 2: store_host<u16>(p, u16(value)); break;
        case 4: store_host<u32>(p, u32(value)); break;
        default: store_host<u64>(p, value);
        }
        return;
    }
    if (region && region->kind == RegionKind::ROM) return;
    if (!region || pa - region->start + size > region->size) {
        if (size == 1) return;
        for (unsigned i = 0; i < size; i++) write_resolved(cpu, cpu.memory->find(pa + i), pa + i, (value >> (8 * i)) & 0xff, 1);
        return;
    }
    cpu.stats.device_accesses++;
    device_write(*cpu.memory, &cpu, *region, pa - region->start, value, size);
}

// Outside 64-bit mode an access that starts below 4 GiB wraps there; tables and inner stacks of compatibility mode may lie above.
inline u64 wrap(const Cpu &cpu, u64 lin) { return in_64bit(cpu) || lin >= 0x100001000u ? lin : lin & 0xffffffffu; }

}  // namespace

bool walk(Cpu &cpu, u64 lin, Access access, TlbSet set, Translation *out, u32 *error, bool probe) {
    if (!(cpu.cr0 & CR0_PG)) {
        *out = {lin & 0xffffffffu, 4096, true, true, false, false};
        return true;
    }
    cpu.stats.walks++;
    if (cpu.cr4 & CR4_PAE) return walk64(cpu, lin, access, set, out, error, probe);
    return walk32(cpu, lin, access, set, out, error, probe);
}

u64 translate(Cpu &cpu, u64 lin, Access access, TlbSet set) {
    const Region *region;
    return resolve(cpu, lin, access, set, &region);
}

bool translate_quietly(Cpu &cpu, u64 lin, Access access, TlbSet set, GuestFault *fault) {
    const Region *region;
    u64 pa;
    u32 error;
    if (LIKELY(try_resolve(cpu, lin, access, set, &region, &pa, &error))) return true;
    *fault = {EXC_PF, true, error, lin};
    return false;
}

void tlb_flush(Cpu &cpu) {
    cpu.tlb_generation++;
    forget_sites(cpu);
    if (cpu.filled_count <= FILLED_MAX) {
        for (u32 i = 0; i < cpu.filled_count; i++) {
            TlbEntry &e = (&cpu.tlbs[0][0])[cpu.filled[i]];
            e.read = e.write = e.exec = TLB_INVALID;
        }
    } else {
        std::memset(cpu.tlbs, 0xff, sizeof cpu.tlbs);
    }
    cpu.filled_count = 0;
    std::memset(cpu.large_2m, 0, sizeof cpu.large_2m);
    std::memset(cpu.large_1g, 0, sizeof cpu.large_1g);
}

void tlb_flush_page(Cpu &cpu, u64 lin) {
    if ((cpu.large_2m[(lin >> 27) & 63] >> ((lin >> 21) & 63) & 1) || (cpu.large_1g[(lin >> 36) & 7] >> ((lin >> 30) & 63) & 1)) {
        tlb_flush(cpu);
        return;
    }
    cpu.tlb_generation++;
    forget_sites(cpu);
    u64 page = lin & ~u64(0xfff);
    for (auto &set : cpu.tlbs) {
        TlbEntry &e = set[tlb_index(lin)];
        if (e.read == page || e.write == page || e.exec == page) e.read = e.write = e.exec = TLB_INVALID;
    }
}

void tlb_drop_write(Memory &memory, const u8 *host_page) {
    u64 page = u64(reinterpret_cast<std::uintptr_t>(host_page)) & ~u64(0xfff);
    auto drop = [page](TlbEntry &e) {
        if (e.write != TLB_INVALID && e.write + e.addend == page) e.write = TLB_INVALID;
    };
    for (Cpu *cpu : memory.cpus) {
        forget_sites(*cpu);
        if (cpu->filled_count <= FILLED_MAX)
            for (u32 i = 0; i < cpu->filled_count; i++) drop((&cpu->tlbs[0][0])[cpu->filled[i]]);
        else
            for (auto &set : cpu->tlbs)
                for (TlbEntry &e : set) drop(e);
    }
}

u8 *fetch_host(Cpu &cpu, u64 lin) {
    TlbEntry &e = cpu.tlb[tlb_index(lin)];
    if (LIKELY(e.exec == (lin & ~u64(0xfff)))) return reinterpret_cast<u8 *>(std::uintptr_t(lin + e.addend));
    const Region *region;
    u64 pa = resolve(cpu, lin, ACCESS_EXEC, data_set(cpu), &region);
    return region && region->kind != RegionKind::DEVICE ? region->host + (pa - region->start) : nullptr;
}

u8 fetch_byte(Cpu &cpu, u64 lin) {
    lin = wrap(cpu, lin);
    const Region *region;
    TlbEntry &e = cpu.tlb[tlb_index(lin)];
    if (e.exec == (lin & ~u64(0xfff))) return *reinterpret_cast<u8 *>(std::uintptr_t(lin + e.addend));
    u64 pa = resolve(cpu, lin, ACCESS_EXEC, data_set(cpu), &region);
    return u8(read_resolved(cpu, region, pa, 1));
}

u64 read_slow(Cpu &cpu, u64 lin, unsigned size, TlbSet set) {
    cpu.stats.slow_accesses++;
    if (UNLIKELY((lin & 0xfff) + size > 4096)) {
        u64 v = 0;
        read_bytes(cpu, lin, &v, size, set);
        return v;
    }
    const Region *region;
    u64 pa = resolve(cpu, lin, ACCESS_READ, set, &region);
    observed(cpu, lin, size, false);
    return read_resolved(cpu, region, pa, size);
}

void write_slow(Cpu &cpu, u64 lin, u64 value, unsigned size, TlbSet set) {
    cpu.stats.slow_accesses++;
    if (UNLIKELY((lin & 0xfff) + size > 4096)) {
        write_bytes(cpu, lin, &value, size, set);
        return;
    }
    const Region *region;
    u64 pa = resolve(cpu, lin, ACCESS_WRITE, set, &region);
    observed(cpu, lin, size, true);
    write_resolved(cpu, region, pa, value, size);
}

void read_bytes(Cpu &cpu, u64 lin, void *data, unsigned size, TlbSet set) {
    u8 *out = static_cast<u8 *>(data);
    unsigned first = std::min<unsigned>(size, 4096 - unsigned(lin & 0xfff));
    u64 second = wrap(cpu, lin + first);
    const Region *r1, *r2 = nullptr;
    u64 p1 = resolve(cpu, lin, ACCESS_READ, set, &r1), p2 = 0;
    if (first < size) p2 = resolve(cpu, second, ACCESS_READ, set, &r2);
    observed(cpu, lin, size, false);
    auto piece = [&](const Region *r, u64 pa, u8 *to, unsigned n) {
        if (r && r->kind != RegionKind::DEVICE && pa - r->start + n <= r->size) std::memcpy(to, r->host + (pa - r->start), n);
        else {
            unsigned i = 0;
            for (; i + 4 <= n && !((pa + i) & 3); i += 4) store_host<u32>(to + i, u32(read_resolved(cpu, cpu.memory->find(pa + i), pa + i, 4)));
            for (; i < n; i++) to[i] = u8(read_resolved(cpu, cpu.memory->find(pa + i), pa + i, 1));
        }
    };
    piece(r1, p1, out, first);
    if (first < size) piece(r2, p2, out + first, size - first);
}

void write_bytes(Cpu &cpu, u64 lin, const void *data, unsigned size, TlbSet set) {
    const u8 *in = static_cast<const u8 *>(data);
    unsigned first = std::min<unsigned>(size, 4096 - unsigned(lin & 0xfff));
    u64 second = wrap(cpu, lin + first);
    const Region *r1, *r2 = nullptr;
    u64 p1 = resolve(cpu, lin, ACCESS_WRITE, set, &r1), p2 = 0;
    if (first < size) p2 = resolve(cpu, second, ACCESS_WRITE, set, &r2);
    observed(cpu, lin, size, true);
    auto piece = [&](const Region *r, u64 pa, const u8 *from, unsigned n) {
        if (r && r->kind == RegionKind::RAM && pa - r->start + n <= r->size) {
            note_store(*cpu.memory, *r, pa - r->start, n);
            std::memcpy(r->host + (pa - r->start), from, n);
        } else {
            unsigned i = 0;
            for (; i + 4 <= n && !((pa + i) & 3); i += 4) write_resolved(cpu, cpu.memory->find(pa + i), pa + i, load_host<u32>(from + i), 4);
            for (; i < n; i++) write_resolved(cpu, cpu.memory->find(pa + i), pa + i, from[i], 1);
        }
    };
    piece(r1, p1, in, first);
    if (first < size) piece(r2, p2, in + first, size - first);
}

void probe_write(Cpu &cpu, u64 lin, unsigned size, TlbSet set) {
    const Region *region;
    resolve(cpu, lin, ACCESS_WRITE, set, &region);
    if ((lin & 0xfff) + size > 4096) resolve(cpu, wrap(cpu, (lin | 0xfff) + 1), ACCESS_WRITE, set, &region);
}

u8 *host_run(Cpu &cpu, u64 lin, Access access, TlbSet set, u64 *bytes) {
    u64 page = lin & ~u64(0xfff);
    *bytes = std::min<u64>(*bytes, 4096 - (lin & 0xfff));
    TlbEntry &e = cpu.tlbs[set][tlb_index(lin)];
    u64 tag = access == ACCESS_WRITE ? e.write : e.read;
    if (tag != page) {
        const Region *region;
        resolve(cpu, lin, access, set, &region);
        tag = access == ACCESS_WRITE ? e.write : e.read;
        if (tag != page) return nullptr;  // device, ROM, code, or observed
    }
    return reinterpret_cast<u8 *>(std::uintptr_t(lin + e.addend));
}

u64 checked_linear(Cpu &cpu, u8 seg, u64 offset, unsigned size, bool write) {
    if (in_64bit(cpu)) {
        u64 lin = offset + cpu.lin_base[seg];
        if (UNLIKELY(!canonical(cpu, lin) || !canonical(cpu, lin + size - 1))) raise_fault(cpu, seg == SS ? EXC_SS : EXC_GP, 0);
        return lin;
    }
    if ((cpu.mode & MODE_FLAT) && seg <= DS && !(write && seg == CS)) return offset & 0xffffffffu;
    const Segment &s = cpu.seg[seg];
    u8 vector = seg == SS ? EXC_SS : EXC_GP;
    if (UNLIKELY(s.attr & ATTR_NULL)) raise_fault(cpu, EXC_GP, 0);
    if (cpu.mode & MODE_PROT) {
        // Type checks (SDM Vol. 3A 5.5); real and virtual-8086 mode have none.
        bool code = s.attr & 8, rw = s.attr & 2;
        if (write ? code || !rw : code && !rw) raise_fault(cpu, vector, 0);
    }
    u64 last = offset + size - 1;
    bool expand_down = (s.attr & 0xc) == 4;
    if (expand_down) {
        u64 top = s.attr & ATTR_DB ? 0xffffffffu : 0xffffu;
        if (offset <= s.limit || last > top) raise_fault(cpu, vector, 0);
    } else if (last > s.limit && s.limit != 0xffffffffu) {  // with a 4 GiB limit the access wraps
        raise_fault(cpu, vector, 0);
    }
    return (s.base + offset) & 0xffffffffu;
}

void check_alignment(Cpu &cpu, u64 lin, unsigned align) {
    if (lin & (align - 1)) raise_fault(cpu, EXC_AC, 0);
}
