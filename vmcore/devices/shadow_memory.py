"""What shows between 640 KiB and 1 MiB on chip sets that shadow it: ROM, RAM, or what is on the bus behind.

Sources: Intel 82441FX (440FX) data sheet 290549, sections 3.2.17 (PAM) and 3.2.19 (SMRAM); the MCH of the Q35 has the
same registers at other places (316966, 5.1.20 to 5.1.27).

Each of thirteen segments has a read and a write enable: with one the access goes to RAM, without it to the bus, where
the ROM answers and writes are lost.  A segment that reads from one and writes to the other is how a BIOS copies itself
to RAM in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from vmcore.hardware.decoding import Accessors, Claim, HiddenMemory, MemoryDecoder

__all__ = ["SHADOWED", "ShadowMemory"]

KIB: Final = 1024
SMRAM: Final = 0xA0000
SHADOWED: Final = 0x60000
"""Bytes of RAM under the upper memory area."""
SEGMENTS: Final = (*((0xC0000 + 0x4000 * index, 0x4000) for index in range(12)), (0xF0000, 0x10000))
"""First address and size, in the order of their bits: PAM1 to PAM6, low half first, then the upper half of PAM0."""
ORDER: Final = 10
"""Before whatever is on the bus."""
READ, WRITE = 1, 2


@final
class ShadowMemory:
    """Shows the upper memory area as the chip set's registers say.

    ram: `SHADOWED` bytes; roms: (first address, memory) of what answers on the bus.
    """

    def __init__(self, decoder: MemoryDecoder, ram: HiddenMemory, roms: Sequence[tuple[int, HiddenMemory]]) -> None:
        self._decoder = decoder
        self._ram = ram
        self._roms = tuple(roms)
        self._shown: dict[tuple[int, int], Claim] = {}

    def show(self, pam: Sequence[int], smram_open: bool) -> None:
        """pam: the seven registers; smram_open: the RAM under the video window shows."""
        enables = [pam[1 + index // 2] >> 4 * (index % 2) & 3 for index in range(12)] + [pam[0] >> 4 & 3]
        wanted = {(start, enable) for (start, _), enable in zip(SEGMENTS, enables, strict=True)}
        if smram_open:
            wanted.add((SMRAM, READ | WRITE))
        remove = [self._shown.pop(key) for key in self._shown.keys() - wanted]
        sizes = dict((*SEGMENTS, (SMRAM, 0x20000)))
        add = []
        for start, enable in sorted(wanted - self._shown.keys()):
            claim = self._claim(start, sizes[start], enable)
            if claim is not None:
                self._shown[start, enable] = claim
                add.append(claim)
        if remove or add:
            self._decoder.change(remove=remove, add=add)

    def _claim(self, start: int, size: int, enable: int) -> Claim | None:
        ram = self._ram.part(start - SMRAM, size)
        rom = next(
            (memory.part(start - base, size) for base, memory in self._roms if 0 <= start - base < memory.size), None
        )
        order = ORDER, start
        if enable == READ | WRITE:
            return Claim(start, size, ram, order, "shadow RAM")
        if enable == READ:
            return Claim(start, size, ram.part(0, size, read_only=True), order, "shadow RAM, read only")
        if enable == WRITE:
            return Claim(start, size, self._divided(ram, rom), order, "ROM, writes to shadow RAM")
        return None if rom is None else Claim(start, size, rom, order, "ROM")

    def _divided(self, ram: HiddenMemory, rom: HiddenMemory | None) -> Accessors:
        memory = self._decoder.memory

        def read(offset: int, size: int) -> int:
            if rom is None:
                return (1 << 8 * size) - 1
            return int.from_bytes(memory.read(rom.home + offset, size), "little")

        def write(offset: int, value: int, size: int) -> None:
            memory.write(ram.home + offset, value.to_bytes(size, "little"))

        return Accessors(read, write)
