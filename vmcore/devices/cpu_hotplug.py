"""Places for vCPUs, as the guest's ACPI code sees them: which are taken, what was plugged, what is to go.

Source: QEMU's specification "QEMU<->ACPI BIOS CPU hotplug interface" (docs/specs/acpi_cpu_hotplug).  The port block
begins in its legacy form, a bitmap of APIC IDs that only tells of vCPUs that came; a double word of zero written to
its beginning turns it to the modern one for good: a selector, a status byte, commands and their data.  Accesses of
other widths than the specification's go to the bytes of these registers; what is reserved reads as zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, final

from attrs import define, evolve, field, frozen

from vmcore.hardware import Device, Register

__all__ = ["LEGACY_PORTS", "MODERN_PORTS", "CpuHotplug", "CpuHotplugState", "CpuSlot"]

LEGACY_PORTS: Final = 32
MODERN_PORTS: Final = 12

ENABLED, INSERTING, REMOVING, EJECT, BY_FIRMWARE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
NEXT_WITH_EVENT, SET_OST_EVENT, SET_OST_STATUS, ARCHITECTURAL_ID = range(4)

BOOT_SLOT: Final = 0
"""Its vCPU cannot go."""


@frozen
class CpuSlot:
    """One place.

    present: a vCPU is in it; inserting, removing: the guest has not yet noted that it came, or was asked to go;
    by_firmware: the guest left its removal to firmware; ost_event, ost_status: what the guest last said (_OST).
    """

    present: bool = False
    inserting: bool = False
    removing: bool = False
    by_firmware: bool = False
    ost_event: int = 0
    ost_status: int = 0


@frozen
class CpuHotplugState:
    """legacy: the block still is the bitmap; selector, command: as last written."""

    slots: tuple[CpuSlot, ...]
    legacy: bool
    selector: int
    command: int


@final
@define(eq=False)
class CpuHotplug(Device[CpuHotplugState]):
    """The port block.  What it holds outlives resets: a vCPU that was to go still is."""

    apic_ids: Sequence[int]
    """APIC ID of each place."""
    event: Callable[[], None]
    """Raises the general-purpose event that lets the guest look here."""
    on_eject: Callable[[int], None]
    """The guest lets go of the vCPU in a place."""
    on_status: Callable[[int], None]
    """The guest has said something about a place (_OST)."""
    begin: int = 1
    """The places that are taken at the beginning, as a bit mask."""

    _slots: list[CpuSlot] = field(init=False)
    _legacy: bool = field(init=False, default=True)
    _selector: int = field(init=False, default=0)
    _command: int = field(init=False, default=0)

    SELECTOR = Register(
        offset=0, width=32, doc="The place that the other registers are about; reads the upper half of its ID."
    )
    STATUS = Register(
        offset=4,
        width=8,
        bits={"ENABLED": 0, "INSERTING": 1, "REMOVING": 2, "EJECT": 3, "BY_FIRMWARE": 4},
        doc="State of the place; ones written clear INSERTING or REMOVING, eject, or leave it to firmware.",
    )
    COMMAND = Register(
        offset=5,
        width=8,
        doc="0: select a place with an event; 1, 2: DATA is _OST's event, status; 3: DATA is the ID.",
    )
    RESERVED = Register(offset=6, width=16, writable=0, doc="Reads as zero.")
    DATA = Register(offset=8, width=32, doc="Data of the command.")

    def __attrs_post_init__(self) -> None:
        self._slots = [CpuSlot(present=bool(self.begin >> index & 1)) for index in range(len(self.apic_ids))]

    # --- the host's side

    @property
    def slots(self) -> tuple[CpuSlot, ...]:
        """All places."""
        return tuple(self._slots)

    @property
    def legacy(self) -> bool:
        """Whether the guest uses the block in its legacy form, by which nothing can be unplugged."""
        return self._legacy

    @property
    def present(self) -> int:
        """The places that are taken, as a bit mask."""
        return sum(1 << index for index, slot in enumerate(self._slots) if slot.present)

    def plug(self, index: int) -> None:
        """A vCPU has come into an empty place: tell the guest."""
        self._change(index, present=True, inserting=not self._legacy)
        self.event()

    def ask_to_go(self, index: int) -> None:
        """Ask the guest to let go of the vCPU in a place."""
        self._change(index, removing=True)
        self.event()

    def _change(self, index: int, **fields: Any) -> None:
        self._slots[index] = evolve(self._slots[index], **fields)

    # --- the guest's side

    def port_read(self, offset: int, size: int) -> int:
        """The bitmap or the registers: reading changes nothing."""
        if self._legacy:
            bits = sum(1 << self.apic_ids[index] for index, slot in enumerate(self._slots) if slot.present)
            view = bits.to_bytes(LEGACY_PORTS, "little")
        else:
            status, data = 0, 0
            if self._selector < len(self._slots):
                slot = self._slots[self._selector]
                status |= ENABLED * slot.present | INSERTING * slot.inserting
                status |= REMOVING * slot.removing | BY_FIRMWARE * slot.by_firmware
                if self._command == NEXT_WITH_EVENT:
                    data = self._selector
                elif self._command == ARCHITECTURAL_ID:
                    data = self.apic_ids[self._selector]
            # APIC IDs fit in the lower half: the upper one, at the beginning, is zero as is what is reserved.
            view = bytes([0, 0, 0, 0, status, 0, 0, 0]) + data.to_bytes(4, "little")
        part = view[offset : offset + size]
        return int.from_bytes(part + b"\xff" * (size - len(part)), "little")

    def port_write(self, offset: int, value: int, size: int) -> None:
        """The switch to the modern form, or its registers."""
        if not self._legacy:
            Device.port_write(self, offset, value, size)
        elif offset == 0 and value == 0 and size == 4:
            self._legacy = False

    @SELECTOR.on_write
    def _select(self, value: int) -> None:
        self.SELECTOR = self._selector = value

    @STATUS.on_write
    def _control(self, value: int) -> None:
        index = self._selector
        if index >= len(self._slots):
            return
        there = self._slots[index].present and index != BOOT_SLOT
        if value & INSERTING:
            self._change(index, inserting=False)
        elif value & REMOVING:
            self._change(index, removing=False)
        elif value & EJECT:
            if there:
                self._change(index, present=False, inserting=False, removing=False, by_firmware=False)
                self.on_eject(index)
        elif value & BY_FIRMWARE and there:
            self._change(index, by_firmware=not self._slots[index].by_firmware)

    @COMMAND.on_write
    def _do(self, value: int) -> None:
        if self._selector >= len(self._slots):
            return
        self._command = value
        if value == NEXT_WITH_EVENT:
            count = len(self._slots)
            for step in range(count):
                index = (self._selector + step) % count
                slot = self._slots[index]
                if slot.inserting or slot.removing or slot.by_firmware:
                    self.SELECTOR = self._selector = index
                    return

    @DATA.on_write
    def _take(self, value: int) -> None:
        if self._selector >= len(self._slots):
            return
        if self._command == SET_OST_EVENT:
            self._change(self._selector, ost_event=value)
        elif self._command == SET_OST_STATUS:
            self._change(self._selector, ost_status=value)
            self.on_status(self._selector)

    # --- state

    def reset(self) -> None:
        """Nothing changes, the selector included."""

    def save(self) -> CpuHotplugState:
        """All places and registers."""
        return CpuHotplugState(tuple(self._slots), self._legacy, self._selector, self._command)

    def restore(self, state: CpuHotplugState) -> None:
        """Take a saved state."""
        if len(state.slots) != len(self._slots):
            raise ValueError(f"{len(state.slots)} places for vCPUs: expected {len(self._slots)}")
        self._slots = list(state.slots)
        self._legacy = state.legacy
        self.SELECTOR = self._selector = state.selector
        self._command = state.command
