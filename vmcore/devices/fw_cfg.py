"""The firmware configuration device: by it firmware learns what the machine has, and gets files from the host.

Source: the interface that QEMU documents in docs/specs/fw_cfg.rst; SeaBIOS and OVMF use it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final, final

from attrs import define, field, frozen

from vmcore.engine.memory import PhysicalMemory
from vmcore.hardware import RO, WO, Device, Register

__all__ = ["FwCfg", "FwCfgState"]

WRITE_CHANNEL: Final = 0x4000
"""Bit of a selector that once asked for writing; it is ignored."""
DMA_SIGNATURE: Final = int.from_bytes(b"QEMU CFG", "big")
DMA_ERROR, DMA_READ, DMA_SKIP, DMA_SELECT, DMA_WRITE = 1, 2, 4, 8, 16
MOST: Final = 1 << 30
"""Zeros behind the end of an item that one request writes at most: nobody needs more, and the host has to do it."""
PIECE: Final = 1 << 20
REACH: Final = 1 << 51
"""Addresses that there are."""


@frozen
class FwCfgState:
    """key: the item selected; offset: of the next byte; dma: the upper half of a DMA address."""

    key: int
    offset: int
    dma: int


@final
@define(eq=False)
class FwCfg(Device[FwCfgState]):
    """Ports 0x510 (selector), 0x511 (data, which overlaps the selector's upper byte) and 0x514 (DMA address)."""

    memory: PhysicalMemory
    items: MutableMapping[int, bytes] = field(factory=dict, repr=False)
    """Contents by selector.  Whoever owns the mapping may change it: guests see what is there when they read."""

    _key: int = field(init=False, default=0)
    _offset: int = field(init=False, default=0)
    _dma: int = field(init=False, default=0)

    SELECTOR = Register(offset=0, width=16, access=WO, doc="Selects an item; reading begins at its first byte.")
    DATA = Register(offset=1, width=8, access=RO, doc="The next byte of the item; zeros behind it.")
    DMA = Register(offset=4, width=64, doc="Address of a DMA request, big endian; reads give a signature.")

    def port_read(self, offset: int, size: int) -> int:
        """Data, or the signature of the DMA interface."""
        if offset == 1 and size == 1:
            return self._take(1)[0]
        if offset >= 4 and offset + size <= 12:
            whole = DMA_SIGNATURE.to_bytes(8, "big")
            return int.from_bytes(whole[offset - 4 : offset - 4 + size], "little")
        if size == 1:
            return 0 if offset == 0 else 0xFF
        return sum(self.port_read(offset + lane, 1) << 8 * lane for lane in range(size))

    def port_write(self, offset: int, value: int, size: int) -> None:
        """Selector, or a DMA address: its lower half begins the transfer."""
        if offset == 0 and size == 2:
            self._select(value)
        elif offset == 4 and size == 4:
            self._dma = int.from_bytes(value.to_bytes(4, "little"), "big") << 32
        elif offset == 8 and size == 4:
            address = self._dma | int.from_bytes(value.to_bytes(4, "little"), "big")
            self._dma = 0
            self._transfer(address)

    def read_bulk(self, offset: int, size: int, count: int) -> bytes:
        """String input of the data."""
        if offset == 1 and size == 1:
            return self._take(count)
        return b"".join(self.port_read(offset, size).to_bytes(size, "little") for _ in range(count))

    def write_bulk(self, offset: int, size: int, data: bytes) -> None:
        """String output: one write after the other."""
        for start in range(0, len(data), size):
            self.port_write(offset, int.from_bytes(data[start : start + size], "little"), size)

    def reset(self) -> None:
        """The signature is selected."""
        super().reset()
        self._key = self._offset = self._dma = 0

    def save(self) -> FwCfgState:
        """Selection and position."""
        return FwCfgState(self._key, self._offset, self._dma)

    def restore(self, state: FwCfgState) -> None:
        """Take a saved state."""
        self._key, self._offset, self._dma = state.key, state.offset, state.dma

    def _select(self, key: int) -> None:
        self._key = key & ~WRITE_CHANNEL
        self._offset = 0

    def _take(self, count: int) -> bytes:
        data = self.items.get(self._key, b"")[self._offset : self._offset + count]
        self._offset = min(self._offset + count, 1 << 32)
        return data.ljust(count, b"\0")

    def _transfer(self, address: int) -> None:
        if address > REACH - 16:
            return
        request = self.memory.read(address, 16)
        control = int.from_bytes(request[:4], "big")
        length = int.from_bytes(request[4:8], "big")
        where = int.from_bytes(request[8:], "big")
        if control & DMA_SELECT:
            self._select(control >> 16)
        result = 0
        if control & DMA_READ:
            if where + length > REACH:
                result = DMA_ERROR
            else:
                self._read(where, length)
        elif control & DMA_WRITE:
            result = DMA_ERROR  # No item can be written.
        elif control & DMA_SKIP:
            self._offset = min(self._offset + length, 1 << 32)
        self.memory.write(address, result.to_bytes(4, "big"))

    def _read(self, where: int, length: int) -> None:
        """Move bytes to memory: zeros behind the end, and where there is no such item."""
        known = min(length, max(len(self.items.get(self._key, b"")) - self._offset, 0))
        self.memory.write(where, self._take(known))
        rest = min(length - known, MOST)
        for start in range(0, rest, PIECE):
            self.memory.write(where + known + start, bytes(min(PIECE, rest - start)))
        self._offset = min(self._offset + length - known, 1 << 32)
