// Guest-physical memory.  See memory.h.
#include "cpu.h"
#include <algorithm>

const Region *Memory::find(u64 pa) const {
    // Nearly every look-up hits the region of the one before: main memory.
    if (LIKELY(last < regions.size())) {
        const Region &r = regions[last];
        if (LIKELY(pa - r.start < r.size)) return &r;
    }
    auto it = std::upper_bound(regions.begin(), regions.end(), pa, [](u64 a, const Region &r) { return a < r.start; });
    if (it == regions.begin()) return nullptr;
    --it;
    if (pa - it->start >= it->size) return nullptr;
    if (it->kind != RegionKind::DEVICE) last = std::size_t(it - regions.begin());
    return &*it;
}

const Region *Memory::find_host(const u8 *host) const {
    for (const Region &r : regions)
        if (r.kind != RegionKind::DEVICE && u64(host - r.host) < r.size) return &r;
    return nullptr;
}

bool note_store(Memory &memory, const Region &region, u64 offset, u64 size) {
    bool fast = true;
    for (u64 page = offset >> 12; page <= (offset + size - 1) >> 12; page++) {
        u8 &flags = region.page_flags[page];
        if (UNLIKELY(flags & PAGE_CODE)) {
            u64 from = std::max(offset, page << 12), to = std::min(offset + size, (page + 1) << 12);
            invalidate_code(memory, region.host + from, to - from);
        }
        flags |= PAGE_WRITTEN;
        fast &= !(flags & PAGE_CODE);
    }
    return fast;
}

void Memory::read(u64 pa, void *data, u64 size) const {
    u8 *out = static_cast<u8 *>(data);
    while (size) {
        const Region *r = find(pa);
        u64 n;
        if (r) {
            n = std::min(size, r->start + r->size - pa);
            if (r->kind == RegionKind::DEVICE) std::memset(out, 0xff, n);
            else std::memcpy(out, r->host + (pa - r->start), n);
        } else {
            auto it = std::upper_bound(regions.begin(), regions.end(), pa, [](u64 a, const Region &x) { return a < x.start; });
            n = it == regions.end() ? size : std::min(size, it->start - pa);
            std::memset(out, 0xff, n);
        }
        out += n, pa += n, size -= n;
    }
}

void Memory::write(u64 pa, const void *data, u64 size) {
    const u8 *in = static_cast<const u8 *>(data);
    while (size) {
        const Region *r = find(pa);
        u64 n;
        if (r) {
            n = std::min(size, r->start + r->size - pa);
            if (r->kind == RegionKind::RAM) {
                note_store(*this, *r, pa - r->start, n);
                std::memcpy(r->host + (pa - r->start), in, n);
            }
        } else {
            auto it = std::upper_bound(regions.begin(), regions.end(), pa, [](u64 a, const Region &x) { return a < x.start; });
            n = it == regions.end() ? size : std::min(size, it->start - pa);
        }
        in += n, pa += n, size -= n;
    }
}

void Memory::changed() {
    last = 0;
    for (Cpu *cpu : cpus) tlb_flush(*cpu);
    forget_code(*this);
}
