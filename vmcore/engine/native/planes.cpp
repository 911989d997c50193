// A VGA's planes, latches and write modes.  See planes.h.
#include "module.h"
#include "planes.h"

namespace {

enum Graphics : unsigned {
    SET_RESET,
    ENABLE_SET_RESET,
    COLOR_COMPARE,
    ROTATE,
    READ_MAP,
    MODE,
    MISCELLANEOUS,
    COLOR_DONT_CARE,
    BIT_MASK
};
enum Sequencer : unsigned { MAP_MASK = 2, MEMORY_MODE = 4 };
constexpr u8 CHAIN_4 = 8, ODD_EVEN = 0x10, READ_COMPARE = 8;

// One bit for each plane, to all bits of its byte.
constexpr u32 spread(unsigned planes) {
    return (planes & 1 ? 0xffu : 0) | (planes & 2 ? 0xff00u : 0) | (planes & 4 ? 0xff0000u : 0) | (planes & 8 ? 0xff000000u : 0);
}
constexpr u32 four(u8 value) { return value * 0x01010101u; }
constexpr u8 rotate(u8 value, unsigned count) { return u8(value >> count | value << (8 - count)); }
// Chained pairs of planes: even addresses are in planes 0 and 2, odd ones in 1 and 3.
constexpr u64 pair(u64 address) { return (address & ~u64(1)) << 1 | (address & 1); }

}  // namespace

void Planes::store(Memory &memory, u64 offset, u32 value, u32 mask) {
    u8 &flags = block->flags[offset >> 12];
    if (UNLIKELY(flags & PAGE_CODE)) invalidate_code(memory, block->host + offset, 4);
    flags |= PAGE_DIRTY;
    u8 *p = block->host + offset;
    store_host<u32>(p, (load_host<u32>(p) & ~mask) | (value & mask));
}

u8 Planes::read_byte(u64 address) {
    u8 *r = registers();
    const u8 *vram = block->host;
    if (r[SEQUENCER + MEMORY_MODE] & CHAIN_4) return address < block->size ? vram[address] : 0xff;
    const bool chained = r[GRAPHICS + MODE] & ODD_EVEN;
    const u64 at = chained ? pair(address & ~u64(1)) : address * 4;
    if (at + 4 > block->size) return 0xff;
    const u32 planes = load_host<u32>(vram + at);
    store_host<u32>(r + LATCH, planes);
    if (chained) return u8(planes >> 8 * ((r[GRAPHICS + READ_MAP] & 2) | (address & 1)));
    if (!(r[GRAPHICS + MODE] & READ_COMPARE)) return u8(planes >> 8 * (r[GRAPHICS + READ_MAP] & 3));
    u32 unlike = (planes ^ spread(r[GRAPHICS + COLOR_COMPARE])) & spread(r[GRAPHICS + COLOR_DONT_CARE]);
    unlike |= unlike >> 16;
    return u8(~(unlike | unlike >> 8));
}

void Planes::write_byte(Memory &memory, u64 address, u8 value) {
    const u8 *r = registers(), *g = r + GRAPHICS;
    const u8 map = r[SEQUENCER + MAP_MASK];
    if (r[SEQUENCER + MEMORY_MODE] & CHAIN_4) {
        if (address < block->size && map >> (address & 3) & 1) store(memory, address & ~u64(3), four(value), 0xffu << 8 * (address & 3));
        return;
    }
    if (g[MODE] & ODD_EVEN) {
        const u64 at = pair(address & ~u64(1));
        if (at + 4 <= block->size && map >> (address & 1) & 1) store(memory, at, four(value), 0xffu << 8 * (address & 1));
        return;
    }
    const u64 at = address * 4;
    if (at + 4 > block->size) return;
    const u32 latch = load_host<u32>(r + LATCH);
    const unsigned mode = g[MODE] & 3;
    u32 data, bits = four(g[BIT_MASK]);
    if (mode == 1) {
        store(memory, at, latch, spread(map));
        return;
    }
    if (mode == 2) {
        data = spread(value);
    } else {
        const u8 rotated = rotate(value, g[ROTATE] & 7);
        const u32 fill = spread(g[SET_RESET]), enabled = mode == 3 ? ~u32(0) : spread(g[ENABLE_SET_RESET]);
        data = (four(rotated) & ~enabled) | (fill & enabled);
        if (mode == 3) bits &= four(rotated);
    }
    switch (g[ROTATE] >> 3 & 3) {
    case 1: data &= latch; break;
    case 2: data |= latch; break;
    case 3: data ^= latch; break;
    default: break;
    }
    store(memory, at, (data & bits) | (latch & ~bits), spread(map));
}

u64 Planes::read(u64 offset, unsigned size) {
    u64 value = 0;
    offset = place(offset);
    for (unsigned i = 0; i < size; i++) value |= u64(read_byte(offset + i)) << 8 * i;
    return value;
}

void Planes::write(Memory &memory, u64 offset, u64 value, unsigned size) {
    offset = place(offset);
    for (unsigned i = 0; i < size; i++) write_byte(memory, offset + i, u8(value >> 8 * i));
}
