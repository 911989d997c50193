"""Debug console: what is written to a port goes to the host, and a read says that it is there.

QEMU's `isa-debugcon`, which took it from Bochs' port 0xE9; the value to be read (0xE9) tells guests of its presence.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field, frozen

from vmcore.hardware import Device, Register

READBACK = 0xE9

_BYTES = tuple(bytes([value]) for value in range(256))


@frozen
class DebugconState:
    """A debug console has no state."""


@define(eq=False)
class Debugcon(Device[DebugconState]):
    """One port for bytes."""

    sink: Callable[[bytes], None]
    """Gets what the guest writes, in order, one byte or more at a time."""
    readback: int = field(default=READBACK)
    """What a read gives."""

    DATA = Register(0, reset=READBACK, doc="Writes go to the host; reads give a constant.")

    def __attrs_post_init__(self) -> None:
        self.DATA = self.readback

    @DATA.on_write
    def _write(self, value: int) -> None:
        self.sink(_BYTES[value])

    def read_bulk(self, offset: int, size: int, count: int) -> bytes:
        """String input gives the constant again and again."""
        return self.port_read(offset, size).to_bytes(size, "little") * count

    def write_bulk(self, offset: int, size: int, data: bytes) -> None:
        """String output reaches the host in one piece."""
        if size == 1 and offset == 0:
            self.sink(data)
            return
        for start in range(0, len(data), size):
            self.port_write(offset, int.from_bytes(data[start : start + size], "little"), size)

    def reset(self) -> None:
        """Nothing to do: no state."""

    def save(self) -> DebugconState:
        return DebugconState()

    def restore(self, state: DebugconState) -> None:
        pass
