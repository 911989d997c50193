"""The bus master of one IDE channel: moves data between a drive and memory by a table of regions.

Source: SFF-8038i (Bus Master Programming Interface for IDE ATA Controllers), revision 1.0; Intel 82371SB (PIIX3)
data sheet 290550, section 2.6 (the same registers).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final

from attrs import define, field, frozen

from vmcore.devices.ata_unit import Phase
from vmcore.devices.ide_channel import IdeChannel
from vmcore.hardware import Device, Register, Timer

__all__ = ["BusMasterState", "DmaMemory", "IdeBusMaster"]

START: Final = 0x01
TO_MEMORY: Final = 0x08
ACTIVE: Final = 0x01
ERROR: Final = 0x02
INTERRUPT: Final = 0x04
CAPABLE: Final = 0x60
LAST: Final = 1 << 31
"""Bit of a table's entry: there are no more."""
START_NS: Final = 1_000
"""Guest time from the start bit to the transfer, where the drive is ready."""


class DmaMemory(Protocol):
    """Memory as a bus master sees it; what is not there reads as ones and swallows writes."""

    def read(self, address: int, size: int, /) -> bytes: ...
    def write(self, address: int, data: bytes, /) -> None: ...


@frozen
class BusMasterState:
    """Registers by name; next: address of the next entry of the table; address, left, last: of the region at hand; due:
    when a transfer begins.
    """

    registers: tuple[tuple[str, int], ...]
    next: int
    address: int
    left: int
    last: bool
    due: int | None


@final
@define(eq=False)
class IdeBusMaster(Device[BusMasterState]):
    """Eight ports of a function's sixteen."""

    channel: IdeChannel
    memory: DmaMemory
    enabled: Callable[[], bool] = lambda: True
    """Whether the function may master the bus."""
    next: int = field(default=0, init=False)
    address: int = field(default=0, init=False)
    left: int = field(default=0, init=False)
    last: bool = field(default=False, init=False)
    _timer: Timer = field(init=False, repr=False)

    COMMAND = Register(
        0,
        8,
        writable=START | TO_MEMORY,
        bits={"START": 0, "TO_MEMORY": 3},
        doc="Start and stop; the direction, from the memory's point of view.",
    )
    STATUS = Register(
        2,
        8,
        writable=CAPABLE,
        clears=ERROR | INTERRUPT,
        bits={"ACTIVE": 0, "ERROR": 1, "INTERRUPT": 2, "DRIVE0": 5, "DRIVE1": 6, "SIMPLEX": 7},
        doc="Under way; failed; the drive has interrupted; what the firmware says the drives can.",
    )
    TABLE = Register(4, 32, writable=0xFFFF_FFFC, doc="Address of the table of regions.")

    def __attrs_post_init__(self) -> None:
        self.channel.bus_master = self
        self._timer = self.channel.clock.timer(self._move, f"{self.channel.irq.name} bus master")

    def reset(self) -> None:
        super().reset()
        self.next = self.address = self.left = 0
        self.last = False
        self._timer.cancel()

    def save(self) -> BusMasterState:
        return BusMasterState(
            registers=tuple(sorted(self.register_values.items())),
            next=self.next,
            address=self.address,
            left=self.left,
            last=self.last,
            due=self._timer.deadline,
        )

    def restore(self, state: BusMasterState) -> None:
        self.register_values.update(state.registers)
        self.next, self.address, self.left, self.last = state.next, state.address, state.left, state.last
        self._timer.restore(state.due)

    @COMMAND.on_write
    def _command(self, value: int) -> None:
        before = self.COMMAND
        type(self).COMMAND.store(self, value)
        if value & START and not before & START:
            self.STATUS |= ACTIVE
            self.next, self.left, self.last = self.TABLE, 0, False
            if self._ready():
                self._timer.arm(self.channel.clock.now + START_NS)
        elif before & START and not value & START:
            self.STATUS &= ~ACTIVE
            self._timer.cancel()

    # --- what the channel says

    def drive_ready(self) -> None:
        """The drive has data or wants some."""
        if self.STATUS & ACTIVE:
            self._move()

    def drive_interrupt(self) -> None:
        """The drive is done: all its data is in memory by then."""
        self.STATUS |= INTERRUPT

    # --- the transfer

    def _ready(self) -> bool:
        unit = self.channel.unit
        wanted = Phase.DMA_IN if self.COMMAND & TO_MEMORY else Phase.DMA_OUT
        return unit is not None and unit.phase is wanted

    def _move(self) -> None:
        unit = self.channel.unit
        while unit is not None and self.STATUS & ACTIVE and self._ready():
            if not self.left and not self._next_region():
                return
            length = min(self.left, unit.dma_length)
            address = self.address
            self.address += length
            self.left -= length
            if not self.left and self.last:
                # The table is done, whatever the drive says next.
                self.STATUS &= ~ACTIVE
            if self.COMMAND & TO_MEMORY:
                # The last byte taken may end the command, and with it come the interrupt and even another transfer.
                self._to_memory(address, length)
            else:
                unit.give(self.memory.read(address, length))

    def _to_memory(self, address: int, length: int) -> None:
        unit = self.channel.unit
        assert unit is not None
        whole = unit.dma_length == length
        if not whole:
            self.memory.write(address, unit.take(length))
            return
        # Memory first: with the interrupt the guest may look.
        self.memory.write(address, bytes(unit.data[unit.position :]))
        unit.take(length)

    def _next_region(self) -> bool:
        """Read an entry of the table; False where there is none."""
        if self.last or not self.enabled():
            self.STATUS = self.STATUS & ~ACTIVE | ERROR
            return False
        entry = self.memory.read(self.next, 8)
        self.next += 8
        self.address = int.from_bytes(entry[:4], "little") & ~1
        count = int.from_bytes(entry[4:], "little")
        self.left = count & 0xFFFE or 0x1_0000
        self.last = bool(count & LAST)
        return True
