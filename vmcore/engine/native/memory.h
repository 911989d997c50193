// Guest-physical memory: disjoint regions of RAM, ROM and device space, shared by the vCPUs of one machine.
#pragma once
#include "types.h"
#include <vector>

struct Cpu;

enum class RegionKind : u8 { RAM, ROM, DEVICE };
enum : u8 {
    PAGE_CODE = 1,     // decoded blocks lie in it
    PAGE_DIRTY = 2,    // written since reader 0 of dirty_pages last cleared the bits
    PAGE_TOUCHED = 4,  // set when a dirty bit is cleared: pages without any of them were never written and are zero
    PAGE_DIRTY_1 = 8,  // written since reader 1 last cleared the bits
    PAGE_WRITTEN = PAGE_DIRTY | PAGE_DIRTY_1,
};

struct Region {
    u64 start, size;      // guest-physical, bytes; RAM and ROM are whole pages
    u8 *host;             // RAM, ROM: first byte
    u8 *page_flags;       // RAM, ROM: one byte a page, PAGE_*
    RegionKind kind;
    u32 id;               // DEVICE: index of the callbacks in module.cpp
};

struct Memory {
    std::vector<Region> regions;  // sorted by start, disjoint
    u64 a20_mask = ~u64(0);       // bit 20 clear while A20 is held low
    std::vector<Cpu *> cpus;      // whose TLBs must hear of changes
    void *owner = nullptr;        // the Python object
    mutable std::size_t last = 0; // region of the last look-up that found host memory
    struct Blocks *blocks = nullptr;

    const Region *find(u64 pa) const;                 // nullptr: nothing there (reads are all ones, writes are lost)
    const Region *find_host(const u8 *host) const;    // RAM/ROM region that contains the host address
    u8 *ram(u64 pa) const {                           // host address of a RAM or ROM byte, else nullptr
        const Region *r = find(pa);
        return r && r->kind != RegionKind::DEVICE ? r->host + (pa - r->start) : nullptr;
    }
    // Bytes as a DMA master sees them; device regions are skipped (all ones). Writes invalidate decoded code and set dirty bits.
    void read(u64 pa, void *data, u64 size) const;
    void write(u64 pa, const void *data, u64 size);
    void changed();  // regions were mapped or unmapped: flush every TLB
};

// A store into RAM at a host address that may hold code, or is not dirty yet.  Returns whether the page may have a write tag now.
bool note_store(Memory &memory, const Region &region, u64 offset, u64 size);

// blocks.cpp: drop blocks that overlap [host, host + size); pends PEND_FLUSH if one of them is running.
void invalidate_code(Memory &memory, const u8 *host, u64 size);
// blocks.cpp: regions were mapped or unmapped: drop all decoded code before the next block runs.
void forget_code(Memory &memory);
// mmu.cpp: the page got code (or its dirty bit was cleared): stores to it must take the slow path from now on.
void tlb_drop_write(Memory &memory, const u8 *host_page);

// module.cpp: device accesses, naturally sized 1, 2, 4 or 8 bytes, after sync().
u64 device_read(Memory &memory, Cpu *cpu, const Region &region, u64 offset, unsigned size);
void device_write(Memory &memory, Cpu *cpu, const Region &region, u64 offset, u64 value, unsigned size);
