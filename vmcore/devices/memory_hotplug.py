"""Slots for memory modules as the guest's ACPI code sees them: where a module is, that it came, that it is to go.

Source: QEMU's specification "QEMU<->ACPI BIOS memory hotplug interface" (docs/specs/acpi_mem_hotplug).  A write to the
first double word selects a slot; what the other registers read and take is about that.  Of a slot that there is not
everything reads as zero, as in QEMU 7.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from attrs import define, evolve, field, frozen

from vmcore.hardware import Device, Register

__all__ = ["PORTS", "MemoryHotplug", "MemoryHotplugState", "MemorySlot"]

PORTS: Final = 24
ENABLED, INSERTING, REMOVING, EJECT = 1 << 0, 1 << 1, 1 << 2, 1 << 3


@frozen
class MemorySlot:
    """One slot.

    address, size: of the module in guest memory, in bytes; a size of zero is none; node: its proximity domain;
    inserting, removing: the guest has not yet noted that it came, or was asked to go; ost_event, ost_status: what the
    guest last said (_OST).
    """

    address: int = 0
    size: int = 0
    node: int = 0
    inserting: bool = False
    removing: bool = False
    ost_event: int = 0
    ost_status: int = 0


@frozen
class MemoryHotplugState:
    """selector: as last written."""

    slots: tuple[MemorySlot, ...]
    selector: int


@final
@define(eq=False)
class MemoryHotplug(Device[MemoryHotplugState]):
    """The registers.  What they hold outlives resets: a module that was to go still is."""

    count: int
    """How many slots there are."""
    event: Callable[[], None]
    """Raises the general-purpose event that lets the guest look here."""
    on_eject: Callable[[int], None]
    """The guest lets go of the module in a slot."""
    on_status: Callable[[int], None]
    """The guest has said something about a slot (_OST)."""

    _slots: list[MemorySlot] = field(init=False)
    _selector: int = field(init=False, default=0)

    ADDRESS_LOW = Register(offset=0x00, width=32, doc="Reads the lower half of the address; a write selects a slot.")
    ADDRESS_HIGH = Register(offset=0x04, width=32, doc="Upper half of the address; a write is _OST's event.")
    SIZE_LOW = Register(offset=0x08, width=32, doc="Lower half of the size in bytes; a write is _OST's status.")
    SIZE_HIGH = Register(offset=0x0C, width=32, writable=0, doc="Upper half of the size.")
    NODE = Register(offset=0x10, width=32, writable=0, doc="Proximity domain.")
    STATUS = Register(
        offset=0x14,
        width=8,
        bits={"ENABLED": 0, "INSERTING": 1, "REMOVING": 2, "EJECT": 3},
        doc="State of the slot; ones written clear INSERTING and REMOVING, or eject.",
    )

    def __attrs_post_init__(self) -> None:
        self._slots = [MemorySlot() for _ in range(self.count)]

    # --- the host's side

    @property
    def slots(self) -> tuple[MemorySlot, ...]:
        """All slots."""
        return tuple(self._slots)

    def place(self, index: int, address: int, size: int, node: int) -> None:
        """A module is in a slot from the beginning."""
        self._slots[index] = MemorySlot(address, size, node)

    def plug(self, index: int, address: int, size: int, node: int) -> None:
        """A module has come into an empty slot: tell the guest."""
        self._slots[index] = MemorySlot(address, size, node, inserting=True)
        self.event()

    def ask_to_go(self, index: int) -> None:
        """Ask the guest to let go of the module in a slot."""
        self._change(index, removing=True)
        self.event()

    def _change(self, index: int, **fields: Any) -> None:
        self._slots[index] = evolve(self._slots[index], **fields)

    @property
    def _selected(self) -> MemorySlot:
        return self._slots[self._selector] if self._selector < self.count else MemorySlot()

    # --- the guest's side

    @ADDRESS_LOW.on_read
    def _address_low(self) -> int:
        return self._selected.address & 0xFFFF_FFFF

    @ADDRESS_HIGH.on_read
    def _address_high(self) -> int:
        return self._selected.address >> 32

    @SIZE_LOW.on_read
    def _size_low(self) -> int:
        return self._selected.size & 0xFFFF_FFFF

    @SIZE_HIGH.on_read
    def _size_high(self) -> int:
        return self._selected.size >> 32

    @NODE.on_read
    def _node(self) -> int:
        return self._selected.node

    @STATUS.on_read
    def _status(self) -> int:
        slot = self._selected
        return ENABLED * bool(slot.size) | INSERTING * slot.inserting | REMOVING * slot.removing

    @ADDRESS_LOW.on_write
    def _select(self, value: int) -> None:
        self.ADDRESS_LOW = self._selector = value

    @ADDRESS_HIGH.on_write
    def _said_event(self, value: int) -> None:
        if self._selector < self.count:
            self._change(self._selector, ost_event=value)

    @SIZE_LOW.on_write
    def _said_status(self, value: int) -> None:
        if self._selector < self.count:
            self._change(self._selector, ost_status=value)
            self.on_status(self._selector)

    @STATUS.on_write
    def _control(self, value: int) -> None:
        index = self._selector
        if index >= self.count:
            return
        if value & INSERTING:
            self._change(index, inserting=False)
        elif value & REMOVING:
            self._change(index, removing=False)
        elif value & EJECT and self._slots[index].size:
            slot = self._slots[index]
            self._slots[index] = MemorySlot(ost_event=slot.ost_event, ost_status=slot.ost_status)
            self.on_eject(index)

    # --- state

    def reset(self) -> None:
        """Nothing changes, the selector included."""

    def save(self) -> MemoryHotplugState:
        """All slots and the selector."""
        return MemoryHotplugState(tuple(self._slots), self._selector)

    def restore(self, state: MemoryHotplugState) -> None:
        """Take a saved state."""
        if len(state.slots) != self.count:
            raise ValueError(f"{len(state.slots)} slots for memory: expected {self.count}")
        self._slots = list(state.slots)
        self.ADDRESS_LOW = self._selector = state.selector
