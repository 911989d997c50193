// The block cache.  See blocks.h.
#include "native.h"
#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

constexpr u64 CHUNK = 256 * 1024;
constexpr u64 CHUNKS_MAX = 256;  // 64 MiB, then everything is dropped and decoded again

u64 hash_of(const u8 *host, u32 mode) {
    u64 h = u64(reinterpret_cast<std::uintptr_t>(host)) ^ (u64(mode) << 48);
    h *= 0x9e3779b97f4a7c15ull;
    return h >> 24;
}
u64 page_number(const u8 *host) { return u64(reinterpret_cast<std::uintptr_t>(host)) >> 12; }
const u8 *page_address(u64 page) { return reinterpret_cast<const u8 *>(std::uintptr_t(page << 12)); }

CodePage *find_page(Blocks &blocks, u64 page) {
    if (blocks.pages.empty()) return nullptr;
    u64 mask = blocks.pages.size() - 1;
    for (u64 i = page * 0x9e3779b97f4a7c15ull >> 32;; i++) {
        CodePage &p = blocks.pages[i & mask];
        if (p.page == page) return &p;
        if (!p.page) return nullptr;
    }
}
CodePage *make_page(Blocks &blocks, u64 page) {
    if (CodePage *p = find_page(blocks, page)) return p;
    if (blocks.page_count * 2 >= blocks.pages.size()) {
        std::vector<CodePage> old(blocks.pages.empty() ? 64 : blocks.pages.size() * 2);
        old.swap(blocks.pages);
        u64 mask = blocks.pages.size() - 1;
        for (CodePage &p : old) {
            if (!p.page) continue;
            u64 i = p.page * 0x9e3779b97f4a7c15ull >> 32;
            while (blocks.pages[i & mask].page) i++;
            blocks.pages[i & mask] = p;
        }
    }
    u64 mask = blocks.pages.size() - 1, i = page * 0x9e3779b97f4a7c15ull >> 32;
    while (blocks.pages[i & mask].page) i++;
    CodePage &p = blocks.pages[i & mask];
    p = CodePage{};
    p.page = page;
    blocks.page_count++;
    return &p;
}

void set_code_flag(Memory &memory, u64 page, bool on) {
    const u8 *host = page_address(page);
    const Region *region = memory.find_host(host);
    if (!region) return;
    u8 &flags = region->page_flags[u64(host - region->host) >> 12];
    if (on && !(flags & PAGE_CODE)) {
        flags |= PAGE_CODE;
        tlb_drop_write(memory, host);
    } else if (!on) {
        flags &= u8(~PAGE_CODE);
    }
}

void mark_granules(CodePage &page, unsigned from, unsigned to) {  // byte offsets [from, to)
    for (unsigned g = from >> 3; g <= (to - 1) >> 3; g++) page.granules[g >> 6] |= u64(1) << (g & 63);
}
constexpr unsigned LINE = 7;  // log2 of CodePage's lines
unsigned first_part(const Block &b) { return b.crossing ? 4096u - b.off : b.bytes; }

void enter_in_pages(Cpu &cpu, Blocks &blocks, Block *b) {
    CodePage *page = make_page(blocks, page_number(b->host));
    Block *&line = page->lines[b->off >> LINE];
    b->page_next = line;
    line = b;
    page->live++;
    page->longest = std::max<u32>(page->longest, first_part(*b));
    mark_granules(*page, b->off, b->off + first_part(*b));
    set_code_flag(*cpu.memory, page->page, true);
    if (b->crossing) {
        page = make_page(blocks, page_number(b->host2));
        b->page2_next = page->blocks2;
        page->blocks2 = b;
        mark_granules(*page, 0, b->bytes - first_part(*b));
        set_code_flag(*cpu.memory, page->page, true);
    }
}

// Takes a block out of the lists of its pages and kills it.
void kill(Blocks &blocks, Block *b) {
    if (CodePage *page = find_page(blocks, page_number(b->host)))
        for (Block **p = &page->lines[b->off >> LINE]; *p; p = &(*p)->page_next)
            if (*p == b) {
                *p = b->page_next;
                page->live--;
                break;
            }
    if (b->crossing)
        if (CodePage *page = find_page(blocks, page_number(b->host2)))
            for (Block **p = &page->blocks2; *p; p = &(*p)->page2_next)
                if (*p == b) {
                    *p = b->page2_next;
                    break;
                }
    b->n = BLOCK_DEAD;
}

Block *allocate(Blocks &blocks, unsigned ops) {
    ops = (ops + 3) & ~3u;
    u64 size = sizeof(Block) + ops * sizeof(Op);
    if (blocks.chunks.empty() || blocks.chunk_used + size > CHUNK) {
        if (blocks.chunks.size() >= CHUNKS_MAX) return nullptr;
        void *p = std::aligned_alloc(64, CHUNK);
        if (!p) throw std::bad_alloc();
        blocks.chunks.push_back(static_cast<u8 *>(p));
        blocks.chunk_used = 0;
    }
    Block *b = reinterpret_cast<Block *>(blocks.chunks.back() + blocks.chunk_used);
    blocks.chunk_used += size;
    std::memset(static_cast<void *>(b), 0, sizeof *b);
    b->capacity = u16(ops);
    return b;
}

void rehash(Blocks &blocks) {
    std::vector<Block *> old(blocks.table.empty() ? 1024 : blocks.table.size() * 2);
    old.swap(blocks.table);
    u64 mask = blocks.table.size() - 1;
    for (Block *b : old)
        while (b) {
            Block *next = b->hash_next;
            Block *&cell = blocks.table[hash_of(b->host, b->mode) & mask];
            b->hash_next = cell;
            cell = b;
            b = next;
        }
}

void drop_everything(Memory &memory) {
    Blocks &blocks = *memory.blocks;
    for (CodePage &p : blocks.pages)
        if (p.page) set_code_flag(memory, p.page, false);
    for (u8 *chunk : blocks.chunks) std::free(chunk);
    blocks.chunks.clear();
    blocks.chunk_used = 0;
    blocks.pages.clear();
    blocks.pages.shrink_to_fit();
    blocks.page_count = 0;
    blocks.table.clear();
    blocks.table.shrink_to_fit();
    blocks.blocks = 0;
    blocks.epoch++;
    blocks.code.next = blocks.code.begin;
    blocks.stale = false;
    for (Cpu *c : memory.cpus) c->tlb_generation++;
}

}  // namespace

void blocks_attach(Cpu &cpu) {
    Memory &memory = *cpu.memory;
    if (!memory.blocks) memory.blocks = new Blocks;
    memory.blocks->users++;
    cpu.blocks = memory.blocks;
    void *p = std::aligned_alloc(64, (sizeof(JumpCache) + 63) & ~u64(63));
    if (!p) throw std::bad_alloc();
    std::memset(p, 0, sizeof(JumpCache));
    cpu.jumps = static_cast<JumpCache *>(p);
    cpu.gpr[REG_ZERO] = 0;
    std::memset(cpu.sites, 0xff, sizeof cpu.sites);
    forget_sites(cpu);
    if (!cpu.tlb_generation) cpu.tlb_generation = 1;  // an empty entry never matches
}

void blocks_detach(Cpu &cpu) {
    std::free(cpu.jumps);
    cpu.jumps = nullptr;
    if (Blocks *blocks = cpu.blocks) {
        cpu.blocks = nullptr;
        if (!--blocks->users) {
            drop_everything(*cpu.memory);
            cpu.memory->blocks = nullptr;
            delete blocks;
        }
    }
}

void flush_blocks(Cpu &cpu) { drop_everything(*cpu.memory); }

void forget_code(Memory &memory) {
    if (!memory.blocks) return;
    memory.blocks->stale = true;
    for (Cpu *cpu : memory.cpus) pend(*cpu, PEND_FLUSH);
}

Block *find_block(Cpu &cpu, const u8 *host, u64 lin) {
    Blocks &blocks = *cpu.blocks;
    if (UNLIKELY(blocks.table.empty())) rehash(blocks);
    u32 mode = cpu.mode;
    Block *b = blocks.table[hash_of(host, mode) & (blocks.table.size() - 1)];
    while (b && (b->host != host || b->mode != mode)) b = b->hash_next;
    if (LIKELY(b && b->n != BLOCK_DEAD)) {
        if (LIKELY(!b->crossing)) return b;
        if (fetch_host(cpu, rip_mask_linear(cpu, (lin | 0xfff) + 1)) == b->host2) return b;
        kill(blocks, b);
    }
    bool crossing = false;
    unsigned bytes;
    unsigned n = translate_block(cpu, host, lin, BLOCK_MAX, cpu.mode & MODE_CSFLAT, blocks.scratch, &bytes, &crossing);
    cpu.stats.blocks_decoded++;
    const u8 *host2 = nullptr;
    if (crossing && !(host2 = fetch_host(cpu, rip_mask_linear(cpu, (lin | 0xfff) + 1)))) return nullptr;
    bool fresh = !b || b->capacity < n + 1;
    if (fresh) {
        // A dead block that is too small stays in the table, dead, behind its successor.
        b = allocate(blocks, n + 1);
        if (!b) {
            flush_blocks(cpu);
            rehash(blocks);
            b = allocate(blocks, n + 1);
        }
        b->host = host;
        b->mode = mode;
        b->off = u16(lin & 0xfff);
    }
    b->n = b->count = u16(n);
    b->bytes = u16(bytes);
    b->crossing = crossing;
    b->host2 = host2;
    std::memcpy(static_cast<void *>(b->ops()), blocks.scratch, (n + 1) * sizeof(Op));
    b->heat = 0;
    b->first = b->ops()->fn;
    if (native_threshold && !crossing && (mode & MODE_SIZE) == MODE_64) b->ops()->fn = h_heat;
    if (fresh) {
        if (++blocks.blocks > blocks.table.size()) rehash(blocks);
        Block *&cell = blocks.table[hash_of(host, mode) & (blocks.table.size() - 1)];
        b->hash_next = cell;
        cell = b;
    }
    enter_in_pages(cpu, blocks, b);
    return b;
}

void invalidate_code(Memory &memory, const u8 *host, u64 size) {
    if (!memory.blocks || !size) return;
    for (u64 room; size > (room = 4096 - (reinterpret_cast<std::uintptr_t>(host) & 0xfff)); host += room, size -= room)
        invalidate_code(memory, host, room);
    Blocks &blocks = *memory.blocks;
    u64 number = page_number(host);
    CodePage *page = find_page(blocks, number);
    if (!page) {
        set_code_flag(memory, number, false);
        return;
    }
    unsigned from = unsigned(reinterpret_cast<std::uintptr_t>(host) & 0xfff), to = unsigned(from + size);
    bool hit = false;
    for (unsigned g = from >> 3; g <= (to - 1) >> 3; g++) hit |= page->granules[g >> 6] >> (g & 63) & 1;
    if (!hit) {
        // A page without code that keeps being written is data again; one whose code is rewritten all the time stays marked, because
        // taking the mark away and setting it again costs more than some slow stores.
        if (!page->live && !page->blocks2 && ++page->idle_stores > (page->deaths < 8 ? 4u << page->deaths : 1024u))
            set_code_flag(memory, number, false);
        return;
    }
    bool any = false, near = false;
    // Blocks that have a part of the marks that the store has hit.
    const unsigned low = from & ~7u, high = (to + 7) & ~7u;
    const unsigned first = low > page->longest ? (low - page->longest) >> LINE : 0, last = (high - 1) >> LINE;
    for (unsigned line = first; line <= last; line++)
        for (Block *b = page->lines[line], *next; b; b = next) {
            next = b->page_next;
            unsigned end = b->off + first_part(*b);
            if (b->off < to && from < end) {
                kill(blocks, b);
                any = true;
            } else {
                near |= b->off < high && low < end;
            }
        }
    for (Block *b = page->blocks2, *next; b; b = next) {
        next = b->page2_next;
        const unsigned end = b->bytes - first_part(*b);
        if (from < end) {
            kill(blocks, b);
            any = true;
        } else {
            near |= low < end;
        }
    }
    // Marks outlive their blocks, most of which are decoded again.  Those that were in vain go when a store finds nothing.
    if (!any) {
        if (!near)
            for (unsigned g = low >> 3; g < high >> 3; g++) page->granules[g >> 6] &= ~(u64(1) << (g & 63));
        return;
    }
    for (Cpu *cpu : memory.cpus) {
        cpu->stats.blocks_invalidated++;
        pend(*cpu, PEND_FLUSH);
    }
    if (!page->live && !page->blocks2) {
        std::memset(page->granules, 0, sizeof page->granules);
        page->longest = 0;
        page->idle_stores = 0;
        if (page->deaths++ < 2) set_code_flag(memory, number, false);
    }
}
