// The guest's view of a VGA's memory where it is not plain bytes: four planes behind latches, a bit mask and write modes.
//
// The registers that decide what an access does lie in a buffer that the device shares with the engine, so drawing takes no Python.
// Video memory keeps the four planes side by side: byte 4 * n + p is byte n of plane p.
// Sources: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem" (sequencer, graphics controller).
#pragma once
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "memory.h"
#include <memory>

struct HostBlock;

struct Planes {
    // Places in the shared buffer (vmcore/devices/vga_memory.py names the same).
    enum : unsigned { GRAPHICS = 0, SEQUENCER = 16, LATCH = 24, BANK = 28, SHARED = 32 };
    Py_buffer shared{};
    std::shared_ptr<HostBlock> block;
    u64 skip = 0;  // offset of the first byte

    ~Planes() {
        if (shared.obj) PyBuffer_Release(&shared);
    }
    u64 read(u64 offset, unsigned size);
    void write(Memory &memory, u64 offset, u64 value, unsigned size);

  private:
    u8 *registers() const { return static_cast<u8 *>(shared.buf); }
    u64 place(u64 offset) const { return offset + skip + load_host<u32>(registers() + BANK); }
    u8 read_byte(u64 address);
    void write_byte(Memory &memory, u64 address, u8 value);
    void store(Memory &memory, u64 offset, u32 value, u32 mask);
};
