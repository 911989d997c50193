"""The PC's pair of 8259A interrupt controllers with the edge/level registers of the ISA bridge.

Sources: Intel 8259A data sheet (231468-003); Intel 82371AB (PIIX4) data sheet 290562, section 4.2.5 and 4.2.6 (the
slave on input 2 of the master, edge/level control at 0x4D0 and 0x4D1, LTIM without effect).

A choice where the sheets leave room: an edge is latched until it is acknowledged or the chip is initialised, even when
the line falls earlier, so no interrupt is lost to a short pulse.  Input 2 of the master is such an edge input: a slave
that loses its request (it is masked, or a level falls) after it has raised its output answers the acknowledge with a
spurious IRQ 15.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from attrs import asdict, define, field, frozen

from vmcore.hardware import KEEP, READ, Device, IrqLine, Register

CASCADE = 2
"""The master's input that the slave drives."""
SPURIOUS = 7
"""The level that an acknowledge without a request gets (data sheet, "Edge and level triggered modes")."""

READY, ICW1, ICW2, ICW3, ICW4 = range(5)
"""What a chip waits for.  It waits for ICW1 after power-on, and interrupts nobody until it is READY."""


@frozen
class ChipState:
    """One 8259A.  Bit n of a mask belongs to input n."""

    lines: int
    irr: int
    isr: int
    imr: int
    elcr: int
    base: int
    lowest: int
    step: int
    wants_icw4: bool
    single: bool
    auto_eoi: bool
    rotate_on_auto_eoi: bool
    fully_nested: bool
    special_mask: bool
    read_isr: bool
    poll: bool


@frozen
class Pic8259State:
    """Both chips, and the output to the processor."""

    master: ChipState
    slave: ChipState
    intr: bool


@final
@define(eq=False)
class _Chip:
    """The registers and the priority logic of one 8259A; who it is wired to is the pair's business."""

    elcr_writable: int
    cascade: int
    """Mask of the inputs that slaves drive."""

    lines: int = 0
    """Levels of the inputs."""
    irr: int = 0
    isr: int = 0
    imr: int = 0
    elcr: int = 0
    base: int = 0
    lowest: int = 7
    """The level of the lowest priority; the one behind it has the highest."""
    step: int = ICW1
    wants_icw4: bool = False
    single: bool = False
    auto_eoi: bool = False
    rotate_on_auto_eoi: bool = False
    fully_nested: bool = False
    """Special fully nested mode: a slave in service may interrupt again."""
    special_mask: bool = False
    read_isr: bool = False
    poll: bool = False

    def reset(self) -> None:
        """Power-on, but for the inputs: they are others' outputs."""
        self.initialise(0)
        self.elcr = self.irr = self.base = 0
        self.step = ICW1

    def save(self) -> ChipState:
        return ChipState(**{name: value for name, value in asdict(self).items() if name in _STATE})

    def restore(self, state: ChipState) -> None:
        for name in _STATE:
            setattr(self, name, getattr(state, name))

    def set_input(self, bit: int, level: bool) -> None:
        if level:
            if self.elcr & bit or not self.lines & bit:
                self.irr |= bit
            self.lines |= bit
        else:
            self.lines &= ~bit
            if self.elcr & bit:
                self.irr &= ~bit

    def set_elcr(self, value: int) -> None:
        self.elcr = value & self.elcr_writable
        self.irr = self.irr & ~self.elcr | self.lines & self.elcr

    def request(self) -> int:
        """The level that may interrupt now, or -1."""
        pending = self.irr & ~self.imr
        if not pending or self.step:
            return -1
        top = self.lowest + 1 & 7
        rotated = (pending << 8 | pending) >> top & 0xFF
        rank = (rotated & -rotated).bit_length() - 1
        level = rank + top & 7
        serving = self.isr & ~self.imr if self.special_mask else self.isr
        if serving:
            rotated = (serving << 8 | serving) >> top & 0xFF
            served = (rotated & -rotated).bit_length() - 1
            if rank > served or (rank == served and not (self.fully_nested and self.cascade >> level & 1)):
                return -1
        return level

    def acknowledge(self, level: int) -> None:
        """The INTA cycles for `level`: from request to service."""
        bit = 1 << level
        if not self.elcr & bit:
            self.irr &= ~bit
        if not self.auto_eoi:
            self.isr |= bit
        elif self.rotate_on_auto_eoi:
            self.lowest = level

    def initialise(self, icw1: int) -> None:
        """ICW1, "the following automatically occur": masks cleared, edges forgotten, priorities as at first."""
        self.irr = self.lines & self.elcr
        self.isr = self.imr = 0
        self.lowest = 7
        self.special_mask = self.read_isr = self.poll = False
        self.auto_eoi = self.rotate_on_auto_eoi = self.fully_nested = False
        self.single = bool(icw1 & 0x02)
        self.wants_icw4 = bool(icw1 & 0x01)
        self.step = ICW2

    def write_command(self, value: int) -> None:
        if value & 0x10:
            self.initialise(value)
        elif value & 0x08:
            self._ocw3(value)
        else:
            self._ocw2(value)

    def write_data(self, value: int) -> None:
        if self.step in (READY, ICW1):
            self.imr = value
        elif self.step == ICW2:
            self.base = value & 0xF8
            self.step = ICW3 if not self.single else ICW4 if self.wants_icw4 else READY
        elif self.step == ICW3:  # The wiring of the slave is fixed, as in the chip set.
            self.step = ICW4 if self.wants_icw4 else READY
        else:
            self.auto_eoi = bool(value & 0x02)
            self.fully_nested = bool(value & 0x10)
            self.step = READY

    def read(self, offset: int) -> int:
        """A read of the command (0) or data (1) port."""
        if self.poll:
            self.poll = False
            level = self.request()
            if level < 0:
                return 0
            self.acknowledge(level)
            return 0x80 | level
        if offset:
            return self.imr
        return self.isr if self.read_isr else self.irr

    def _ocw3(self, value: int) -> None:
        if value & 0x40:
            self.special_mask = bool(value & 0x20)
        if value & 0x04:
            self.poll = True
        elif value & 0x02:
            self.read_isr = bool(value & 0x01)

    def _ocw2(self, value: int) -> None:
        rotate, specific, eoi = value & 0x80, value & 0x40, value & 0x20
        level = value & 7
        if eoi:
            if not specific:
                level = self._highest_served()
            if level >= 0:
                self.isr &= ~(1 << level)
                if rotate:
                    self.lowest = level
        elif specific:
            if rotate:  # Set priority; without rotation it is "no operation".
                self.lowest = level
        else:
            self.rotate_on_auto_eoi = bool(rotate)

    def _highest_served(self) -> int:
        """The level that a non-specific EOI ends, or -1.  Masked ones are out of its reach in special mask mode."""
        serving = self.isr & ~self.imr if self.special_mask else self.isr
        if not serving:
            return -1
        top = self.lowest + 1 & 7
        rotated = (serving << 8 | serving) >> top & 0xFF
        return (rotated & -rotated).bit_length() - 1 + top & 7


_STATE = tuple(name for name in ChipState.__annotations__)


@final
@define(eq=False)
class Pic8259(Device[Pic8259State]):
    """Two 8259A in cascade: sixteen inputs, one output to the processor.

    Ports: 0 and 1 are the master's (0x20), 2 and 3 the slave's (0xA0), 4 and 5 the edge/level registers (0x4D0).
    """

    intr: IrqLine
    """The master's INT output.  It falls with every acknowledge, and rises again when there is another request."""

    _master: _Chip = field(init=False, factory=lambda: _Chip(elcr_writable=0xF8, cascade=1 << CASCADE))
    _slave: _Chip = field(init=False, factory=lambda: _Chip(elcr_writable=0xDE, cascade=0))

    COMMAND = Register(offset=0, doc="Master: ICW1, OCW2, OCW3 on write; IRR, ISR or poll word on read.")
    DATA = Register(offset=1, doc="Master: ICW2-4, then OCW1 (the interrupt mask).")
    SLAVE_COMMAND = Register(offset=2, doc="Slave: ICW1, OCW2, OCW3 on write; IRR, ISR or poll word on read.")
    SLAVE_DATA = Register(offset=3, doc="Slave: ICW2-4, then OCW1 (the interrupt mask).")
    ELCR1 = Register(offset=4, writable=0xF8, doc="One: input 3-7 is level triggered.  Inputs 0-2 never are.")
    ELCR2 = Register(offset=5, writable=0xDE, doc="One: input 8+n is level triggered.  Inputs 8 and 13 never are.")

    def reset(self) -> None:
        """Power-on: both chips wait for ICW1.  The inputs keep their levels."""
        self._master.reset()
        self._slave.reset()
        self._show_masks()
        self._update()

    def save(self) -> Pic8259State:
        """Both chips with the levels of their inputs."""
        return Pic8259State(self._master.save(), self._slave.save(), self.intr.level)

    def restore(self, state: Pic8259State) -> None:
        """Take a saved state."""
        self._master.restore(state.master)
        self._slave.restore(state.slave)
        self.intr.assume(state.intr)
        self._show_masks()

    def set_input(self, irq: int, level: bool) -> None:
        """Input `irq` (0-15, not 2) takes a level."""
        if irq & 8:
            self._slave.set_input(1 << (irq & 7), level)
        else:
            self._master.set_input(1 << irq, level)
        self._update()

    def input(self, irq: int) -> Callable[[bool], None]:
        """The handler of input `irq`, for the line that leads to it."""
        chip, bit = (self._slave, 1 << (irq & 7)) if irq & 8 else (self._master, 1 << irq)

        def handler(level: bool) -> None:
            chip.set_input(bit, level)
            self._update()

        return handler

    def acknowledge(self) -> int:
        """The processor's INTA cycles: the vector of the request of highest priority, now in service.

        Where there is none (any more) it is level 7 of the chip that was asked, which then is not in service.
        """
        master, slave = self._master, self._slave
        level = master.request()
        if level < 0:
            vector = master.base | SPURIOUS
        else:
            master.acknowledge(level)
            vector = master.base | level
            if level == CASCADE:
                level = slave.request()
                if level < 0:
                    vector = slave.base | SPURIOUS
                else:
                    slave.acknowledge(level)
                    vector = slave.base | level
                    master.set_input(1 << CASCADE, False)  # INT falls with INTA; another request makes a new edge.
        self.intr.lower()
        self._update()
        return vector

    def port_read(self, offset: int, size: int) -> int:
        """Master, slave, edge/level registers; wider accesses are cut into bytes."""
        if size != 1:
            return sum(self.port_read(offset + lane, 1) << 8 * lane for lane in range(size))
        chip = self._slave if offset & 2 else self._master
        if offset < 4:
            if chip.poll:
                value = chip.read(offset & 1)
                if offset & 2:
                    self._master.set_input(1 << CASCADE, False)
                else:
                    self.intr.lower()
                self._show_masks()
                self._update()
                return value
            return chip.read(offset & 1)
        return self._master.elcr if offset == 4 else self._slave.elcr if offset == 5 else 0xFF

    def port_write(self, offset: int, value: int, size: int) -> None:
        """Master, slave, edge/level registers; wider accesses are cut into bytes."""
        if size != 1:
            for lane in range(size):
                self.port_write(offset + lane, value >> 8 * lane & 0xFF, 1)
            return
        if offset < 4:
            chip = self._slave if offset & 2 else self._master
            if offset & 1:
                chip.write_data(value)
                self._show_masks()
            else:
                chip.write_command(value)
                if value & 0x18:  # OCW2, the end of every interrupt, changes nothing there.
                    self._show_masks()
        elif offset == 4:
            self._master.set_elcr(value)
        elif offset == 5:
            self._slave.set_elcr(value)
        self._update()

    def _show_masks(self) -> None:
        """Let the engine read the masks by itself, and drop writes that change nothing, where that is all there is to
        an access.
        """
        cells = self.cells
        for chip, offset in (self._master, 1), (self._slave, 3):
            cells.values[offset] = chip.imr
            cells.rules[offset] = 0 if chip.poll else READ | KEEP if chip.step in (READY, ICW1) else READ

    def _update(self) -> None:
        self._master.set_input(1 << CASCADE, self._slave.request() >= 0)
        self.intr.set(self._master.request() >= 0)
