// Decoded basic blocks: their cache, the jump cache, their invalidation by stores.
#pragma once
#include "decode.h"
#include <vector>

// A straight run of at most BLOCK_MAX instructions within one page; ops[n] is an end op that leads on to the next instruction.
// Known by the host address of its first byte and the mode.  A dead block (its code was overwritten) stays where it is, with an `n` that no
// budget covers: whoever jumps to it leaves to the outer loop, which decodes it again in place, so that jumps to it stay linked.
struct alignas(32) Block {
    i64 n;              // instructions; BLOCK_DEAD when dead
    const u8 *host;     // of the first byte
    u32 mode;
    u16 off;            // of the first byte in its page
    u16 bytes;          // of code
    u16 capacity;       // ops there is room for, end op included
    u16 count;          // instructions, dead or not
    u8 crossing;        // one instruction that reaches into the next page: not to be chained
    const u8 *host2;    // crossing: where the second part was found
    Block *hash_next;
    Block *page_next;   // live blocks of the same line of the page of `host`
    Block *page2_next;  // live blocks that reach into a page
    Handler first;      // of ops()[0], while that counts executions
    u32 heat;           // executions so far
    Op *ops() { return reinterpret_cast<Op *>(this + 1); }
    const Op *ops() const { return reinterpret_cast<const Op *>(this + 1); }
};
static_assert(sizeof(Block) % alignof(Op) == 0, "ops follow the head");
constexpr i64 BLOCK_DEAD = i64(1) << 62;
constexpr unsigned BLOCK_MAX = 64;

inline Block *block_of_first(const Op *op) { return reinterpret_cast<Block *>(const_cast<Op *>(op)) - 1; }

// Where indirect jumps and jumps to other pages find their block: by RIP, mode and TLB generation.  Only used with MODE_CSFLAT.
struct JumpEntry {
    u64 rip;
    u64 key;       // mode and generation, as they lie in Cpu
    Block *block;
    u64 page_rip;
};
constexpr unsigned JUMP_BITS = 12;
struct JumpCache {
    JumpEntry entries[1u << JUMP_BITS];
    // A block of its own for instructions that run one at a time or in a number that no cached block has.
    alignas(32) Block scratch;
    Op scratch_ops[BLOCK_MAX + 1];
};
ALWAYS_INLINE JumpEntry &jump_entry(JumpCache &cache, u64 rip) {
    return cache.entries[(rip ^ (rip >> JUMP_BITS)) & ((1u << JUMP_BITS) - 1)];
}
ALWAYS_INLINE u64 jump_key(const Cpu &cpu) { return load_host<u64>(&cpu.mode); }

struct CodePage {       // a page that holds, or held, decoded code
    u64 page;           // host address >> 12; 0: free slot
    u64 granules[8];    // bit i: bytes [8 * i, 8 * i + 8) belong to a live block, or did until lately
    Block *lines[32];   // live blocks, by the 128 bytes that they begin in
    u32 live;           // how many those are
    u32 longest;        // bytes of the longest one so far
    Block *blocks2;     // live crossing blocks that end here
    u32 idle_stores;    // stores since the last block of the page died
    u32 deaths;         // times that the page lost all its blocks
};

struct CodeArena {    // host code, see native.h
    u8 *begin = nullptr, *end = nullptr, *next = nullptr;
    bool refused = false;  // the host gives no executable memory
    unsigned sites_read = 0, sites_write = 0;  // the next Cpu::sites to use
    ~CodeArena();
};

struct Blocks {
    CodeArena code;
    std::vector<Block *> table;     // hash of (host, mode)
    u64 blocks = 0;                 // in the table
    std::vector<u8 *> chunks;
    u64 chunk_used = 0;             // of the last chunk
    std::vector<CodePage> pages;    // hash
    u64 page_count = 0;
    u64 users = 0;                  // vCPUs
    bool stale = false;             // memory was mapped anew: drop everything before the next block runs
    Op scratch[BLOCK_MAX + 1];      // where blocks are translated
    u64 epoch = 0;                  // grows with every flush: pointers to blocks and ops from before are void
};

// The block of the instruction at host address `host`, decoded if need be; `lin` is its linear address.  Raises #PF for the
// second page of an instruction that crosses.  Only at safe points: no handler is running on this cache.
Block *find_block(Cpu &cpu, const u8 *host, u64 lin);
inline u64 rip_mask_linear(const Cpu &cpu, u64 lin) { return in_64bit(cpu) ? lin : lin & 0xffffffffu; }
// Drops every block of the machine at a safe point.
void flush_blocks(Cpu &cpu);

// translate.cpp: decodes up to `max` instructions at `host` (at `off` in its page, linear address `lin`) into ops[0..n], ops[n] being the
// end op; returns n >= 1.  *bytes is the length of the code.  If the first instruction crosses the page, n is 1 and *crossing is set.
// `host` may be null: the code is then fetched byte by byte, one instruction.
unsigned translate_block(Cpu &cpu, const u8 *host, u64 lin, unsigned max, bool chained, Op *ops, unsigned *bytes, bool *crossing);
