"""Message signalled interrupts: the MSI and MSI-X capabilities.

Source: PCI Local Bus Specification 3.0, section 6.8.1 (MSI) and 6.8.2 (MSI-X).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, field, frozen

from vmcore.buses.pci_config import ConfigSpace
from vmcore.hardware.device import Device

__all__ = ["Msi", "MsixTable", "MsixTableState"]

MSI_KIND: Final = 0x05
MSIX_KIND: Final = 0x11

MSI_ENABLE: Final = 1 << 0
MSI_WIDE: Final = 1 << 7
MSI_MASKING: Final = 1 << 8

MSIX_ENABLE: Final = 1 << 15
MSIX_ALL_MASKED: Final = 1 << 14
ENTRY: Final = 16
ENTRY_MASKED: Final = 1


@final
class Msi:
    """The MSI capability, with 64-bit addresses and a mask for each vector.  Its state is in configuration space."""

    __slots__ = ("_config", "_send", "at", "vectors")

    def __init__(
        self, config: ConfigSpace, vectors: int, send: Callable[[int, int], None], offset: int | None = None
    ) -> None:
        """vectors: 1, 2, 4, 8, 16 or 32; send: takes the address and the data of a message."""
        self._config = config
        self._send = send
        self.vectors = vectors
        power = vectors.bit_length() - 1
        body = (MSI_WIDE | MSI_MASKING | power << 1).to_bytes(2, "little") + bytes(20)
        every = ((1 << vectors) - 1).to_bytes(4, "little")
        writable = b"\x71\0" + b"\xfc\xff\xff\xff" + b"\xff" * 4 + b"\xff\xff" + bytes(2) + every
        self.at = config.add_capability(MSI_KIND, body, offset, writable)

    @property
    def enabled(self) -> bool:
        """Whether the guest wants messages in place of INTx."""
        return bool(self._config.get(self.at + 2, 2) & MSI_ENABLE)

    def send(self, vector: int = 0) -> None:
        """Interrupt by `vector`; if it is masked, once it is not."""
        config, at = self._config, self.at
        control = config.get(at + 2, 2)
        if not control & MSI_ENABLE:
            return
        allocated = 1 << min(control >> 4 & 7, self.vectors.bit_length() - 1)
        vector %= allocated
        if config.get(at + 16, 4) >> vector & 1:
            config.put(at + 20, 4, config.get(at + 20, 4) | 1 << vector)
            return
        data = config.get(at + 12, 2) & ~(allocated - 1) | vector
        self._send(config.get(at + 4, 8), data)

    def written(self) -> None:
        """The guest wrote to the capability: what is not masked any more goes out."""
        config, at = self._config, self.at
        if not self.enabled:
            return
        ready = config.get(at + 20, 4) & ~config.get(at + 16, 4)
        if ready:
            config.put(at + 20, 4, config.get(at + 20, 4) & ~ready)
            for vector in range(self.vectors):
                if ready >> vector & 1:
                    self.send(vector)


@frozen
class MsixTableState:
    """table: entries of 16 bytes; pending: a bit for each vector that was masked when it came."""

    table: bytes
    pending: int


def _masked(vectors: int) -> bytearray:
    return bytearray((bytes(12) + ENTRY_MASKED.to_bytes(4, "little")) * vectors)


@final
@define(eq=False)
class MsixTable(Device[MsixTableState]):
    """The MSI-X table at offset 0, the pending bits at `pba`: what lies in the base address register."""

    vectors: int
    send_message: Callable[[int, int], None]
    pba: int
    control: Callable[[], int]
    """The message control register of the capability."""
    _table: bytearray = field(init=False)
    _pending: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        self._table = _masked(self.vectors)

    def send(self, vector: int) -> None:
        """Interrupt by `vector`; if it is masked, once it is not."""
        if not self.control() & MSIX_ENABLE or not 0 <= vector < self.vectors:
            return
        entry = self._table[ENTRY * vector : ENTRY * (vector + 1)]
        if self.control() & MSIX_ALL_MASKED or entry[12] & ENTRY_MASKED:
            self._pending |= 1 << vector
            return
        self.send_message(int.from_bytes(entry[:8], "little") & ~3, int.from_bytes(entry[8:12], "little"))

    def written(self) -> None:
        """A mask may have been lifted: what is pending and not masked goes out."""
        control = self.control()
        if not self._pending or not control & MSIX_ENABLE or control & MSIX_ALL_MASKED:
            return
        for vector in range(self.vectors):
            if self._pending >> vector & 1 and not self._table[ENTRY * vector + 12] & ENTRY_MASKED:
                self._pending &= ~(1 << vector)
                self.send(vector)

    def port_read(self, offset: int, size: int) -> int:
        """Table and pending bits; zeros elsewhere."""
        if offset + size <= len(self._table):
            return int.from_bytes(self._table[offset : offset + size], "little")
        if offset >= self.pba:
            return self._pending >> 8 * (offset - self.pba) & (1 << 8 * size) - 1
        return 0

    def port_write(self, offset: int, value: int, size: int) -> None:
        """Table entries.  Of the last doubleword of an entry only the mask is there."""
        if offset + size > len(self._table):
            return
        for at, byte in enumerate(value.to_bytes(size, "little"), offset):
            place = at % ENTRY
            if place < 12:
                self._table[at] = byte
            elif place == 12:
                self._table[at] = byte & ENTRY_MASKED
        self.written()

    def reset(self) -> None:
        """All masked, none pending."""
        self._table[:] = _masked(self.vectors)
        self._pending = 0

    def save(self) -> MsixTableState:
        """Table and pending bits."""
        return MsixTableState(bytes(self._table), self._pending)

    def restore(self, state: MsixTableState) -> None:
        """Take a saved state."""
        self._table[:] = state.table
        self._pending = state.pending
