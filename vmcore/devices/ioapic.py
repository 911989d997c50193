"""82093AA I/O advanced programmable interrupt controller, with the EOI register of version 0x20.

Sources: Intel 82093AA data sheet 290566, section 3 (registers); for the EOI register (version 0x20), Intel 82801EB
(ICH5) data sheet 252516, section 9.5.

Inputs are taken as asserted or not: the wiring of a board is assumed to agree with the polarity that the guest chooses,
which is kept but changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from attrs import define, field, frozen

from vmcore.devices.apic_bus import ApicBus, Delivery
from vmcore.hardware import WO, Device, Register

PINS = 24
VERSION = 0x20

LOGICAL = 1 << 11
DELIVERY_STATUS = 1 << 12
REMOTE_IRR = 1 << 14
LEVEL = 1 << 15
MASKED = 1 << 16
WRITABLE_LOW = 0x0001_FFFF & ~(DELIVERY_STATUS | REMOTE_IRR)
WRITABLE_HIGH = 0xFF00_0000


@frozen
class IoApicState:
    """ID, selected register, levels of the inputs and the redirection table."""

    apic_id: int
    index: int
    lines: int
    table: tuple[int, ...]


@final
@define(eq=False)
class IoApic(Device[IoApicState]):
    """24 inputs; each has a redirection entry that says what message its assertion sends, and to whom."""

    bus: ApicBus
    apic_id: int = 0
    """What the ID register reads as after reset."""

    _id: int = field(init=False)
    _index: int = field(init=False, default=0)
    _lines: int = field(init=False, default=0)
    _table: list[int] = field(init=False, factory=lambda: [MASKED] * PINS)

    SELECT = Register(offset=0x00, width=32, writable=0xFF, doc="Index of the register that the window shows.")
    WINDOW = Register(offset=0x10, width=32, doc="The selected register.")
    EOI = Register(offset=0x40, width=32, access=WO, doc="Ends the interrupts of a vector, whatever processor had it.")

    def __attrs_post_init__(self) -> None:
        self._id = self.apic_id & 15
        self.bus.attach_io(self)

    # Inputs

    def set_input(self, pin: int, level: bool) -> None:
        """Input `pin` is asserted or released."""
        bit = 1 << pin
        if not level:
            self._lines &= ~bit
        elif not self._lines & bit:
            self._lines |= bit
            if not self._table[pin] & MASKED:  # Edges at a masked input are lost (3.2.4, bit 16).
                self._deliver(pin)

    def input(self, pin: int) -> Callable[[bool], None]:
        """The handler of input `pin`, for the line that leads to it."""

        def handler(level: bool) -> None:
            self.set_input(pin, level)

        return handler

    def end_of_interrupt(self, vector: int) -> None:
        """A processor, or the EOI register, ends `vector`: inputs that are still asserted send it again."""
        for pin, entry in enumerate(self._table):
            if entry & REMOTE_IRR and entry & 0xFF == vector:
                self._table[pin] = entry & ~REMOTE_IRR
                self._resend(pin)

    # Registers

    @SELECT.on_write
    def _select(self, value: int) -> None:
        self._index = value & 0xFF

    @SELECT.on_read
    def _selected(self) -> int:
        return self._index

    @WINDOW.on_read
    def _read(self) -> int:
        index = self._index
        if index >= 0x10:
            pin, half = divmod(index - 0x10, 2)
            if pin >= PINS:
                return 0
            return self._table[pin] >> 32 if half else self._table[pin] & 0xFFFF_FFFF
        if index == 1:
            return PINS - 1 << 16 | VERSION
        return self._id << 24 if index in (0, 2) else 0

    @WINDOW.on_write
    def _write(self, value: int) -> None:
        index = self._index
        if index == 0:
            self._id = value >> 24 & 15
        elif index >= 0x10:
            pin, half = divmod(index - 0x10, 2)
            if pin >= PINS:
                return
            entry = self._table[pin]
            if half:
                self._table[pin] = (value & WRITABLE_HIGH) << 32 | entry & 0xFFFF_FFFF
                return
            entry = entry & ~WRITABLE_LOW | value & WRITABLE_LOW
            if not entry & LEVEL:
                entry &= ~REMOTE_IRR
            self._table[pin] = entry
            self._resend(pin)

    @EOI.on_write
    def _write_eoi(self, value: int) -> None:
        self.end_of_interrupt(value & 0xFF)

    # State

    def reset(self) -> None:
        """All inputs masked.  They keep their levels: those are others' outputs."""
        self._id = self.apic_id & 15
        self._index = 0
        self._table[:] = [MASKED] * PINS

    def save(self) -> IoApicState:
        """Registers and input levels."""
        return IoApicState(self._id, self._index, self._lines, tuple(self._table))

    def restore(self, state: IoApicState) -> None:
        """Take a saved state."""
        self._id = state.apic_id
        self._index = state.index
        self._lines = state.lines
        self._table[:] = state.table

    def _resend(self, pin: int) -> None:
        entry = self._table[pin]
        if entry & LEVEL and self._lines >> pin & 1 and not entry & MASKED:
            self._deliver(pin)

    def _deliver(self, pin: int) -> None:
        entry = self._table[pin]
        if entry & REMOTE_IRR:
            return
        mode = entry >> 8 & 7
        # Only fixed and lowest priority interrupts have a level that a processor ends (3.2.4, bits 8-10).
        level = bool(entry & LEVEL) and mode <= Delivery.LOWEST_PRIORITY
        if level:
            self._table[pin] |= REMOTE_IRR  # Before sending: what the message sets off may write to us.
        accepted = self.bus.send(entry >> 56, bool(entry & LOGICAL), mode, entry & 0xFF, level)
        if level and not accepted:
            self._table[pin] &= ~REMOTE_IRR
