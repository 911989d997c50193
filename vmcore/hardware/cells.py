"""Registers that need no model at the moment: bytes which a device shares with the engine.

A guest's access to such bytes costs a few nanoseconds and no Python.  Rules say, byte by byte, what the engine may do
with them; an access that has no rule in common for all its bytes goes to the device.  Registers that are declared
without handlers have their rules from the start.  Others get and lose them as the device sees fit: a status register
can be read freely for as long as reading it has no effect.

The device and the engine use the very same bytes, so there is nothing to keep in step: what the one has written, the
other reads.
"""

from __future__ import annotations

import struct
from typing import Final, final

from attrs import frozen

__all__ = ["COLLECT", "KEEP", "READ", "UNTIL", "WRITE", "Cells", "Counter", "IndexedRegisters"]

READ: Final = 1
"""A read gives the value, and that is all it does."""
WRITE: Final = 2
"""A write is stored: bits in `writable` are taken, ones in `clears` clear, all others stay."""
KEEP: Final = 4
"""A write of exactly the value that is there has no effect."""
COLLECT: Final = 8
"""Bytes written to this port (never to memory) are collected, and come by `write_bulk`: before Python sees anything
else of the machine, at the end of the run, and at the latest after 256 port accesses that need no Python."""
UNTIL: Final = 16
"""A read gives the value, and that is all it does, before guest time `Cells.until`; from then on the device is asked.
For what changes by itself, at times that the device can tell beforehand."""

_TIME: Final = struct.Struct("=Q")


@frozen(eq=False)
class IndexedRegisters:
    """Registers behind an index, such as those of display adapters: an index register (a cell) and, one byte on, data.

    offset: of the index register; values: the registers, number 0 at `first`; writable: bits that a write stores, by
    number; free: bits that may change without the device being asked.  A write that changes any other bit goes to the
    device, by its own dispatch, and so do reads.
    """

    offset: int
    values: bytearray
    first: int
    writable: bytes
    free: bytearray

    @property
    def buffers(self) -> tuple[int, bytearray, int, bytes, bytearray]:
        """What the engine is given.  It holds on to them: their sizes are fixed."""
        return self.offset, self.values, self.first, self.writable, self.free


@final
class Cells:
    """What the engine may do by itself with `count` bytes of a device's range.  Nothing, at first."""

    __slots__ = ("_until", "clears", "rules", "values", "writable")

    def __init__(self, count: int) -> None:
        self.values = bytearray(count)
        self.rules = bytearray(count)
        """READ, WRITE, KEEP, COLLECT and UNTIL, or 0: the device is asked."""
        self.writable = bytearray(count)
        self.clears = bytearray(count)
        self._until = bytearray(_TIME.size)

    def allow(self, offset: int, size: int, rules: int) -> None:
        """From now on the engine may do this, and only this, with `size` bytes from `offset` on."""
        self.rules[offset : offset + size] = bytes((rules,)) * size

    @property
    def until(self) -> int:
        """Guest time in ns before which values under the rule UNTIL hold: one for all of a device."""
        return int(_TIME.unpack(self._until)[0])

    @until.setter
    def until(self, ns: int) -> None:
        _TIME.pack_into(self._until, 0, ns)

    @property
    def buffers(self) -> tuple[bytearray, bytearray, bytearray, bytearray, bytearray]:
        """What the engine is given.  It holds on to them: their sizes are fixed."""
        return self.values, self.rules, self.writable, self.clears, self._until


_STATE: Final = struct.Struct("=5Q")


@final
class Counter:
    """A register that counts guest time, and which the engine reads without Python while it runs.

    `size` bytes at `offset`, counting up at `hz` in `bits` bits.  A read of the register by the device itself gives the
    same: `value + ticks_from_ns(now - since)`.
    """

    __slots__ = ("_hz", "_mask", "offset", "size", "state")

    def __init__(self, offset: int, size: int, hz: int, bits: int) -> None:
        self.offset = offset
        self.size = size
        self._hz = hz
        self._mask = (1 << bits) - 1
        self.state = bytearray(_STATE.size)
        """What the engine is given.  It holds on to it."""

    def run(self, value: int, since: int) -> None:
        """Count from `value`, which it had at guest time `since`."""
        _STATE.pack_into(self.state, 0, 1, value & self._mask, since, self._hz, self._mask)

    def stop(self) -> None:
        """Let the device be asked."""
        self.state[:] = bytes(_STATE.size)

    @property
    def description(self) -> tuple[int, int, bytearray]:
        """What `map_device` and `map_port` take."""
        return self.offset, self.size, self.state
