"""An IDE channel: two drives behind one set of ports and one interrupt.

Source: T13 1410D (ATA/ATAPI-6), section 7 (registers), 9.2 (software reset), 9.16 (one device alone on the cable).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final

from attrs import define, field, frozen

from vmcore.devices.ata_unit import AtaStatus, AtaUnit, AtaUnitState, Phase
from vmcore.hardware import RO, WO, Clock, Device, IrqLine, Register, Timer

__all__ = ["CONTROL", "BusMaster", "IdeChannel", "IdeChannelState"]

CONTROL: Final = 8
"""Offset of the control block's one register, behind those of the command block."""

NIEN: Final = 0x02
SRST: Final = 0x04
HOB: Final = 0x80
SECOND: Final = 0x10
"""Bit of the device register: the second drive is meant."""


class BusMaster(Protocol):
    """What moves a channel's data by DMA."""

    def drive_ready(self) -> None:
        """The selected drive can be moved data of."""

    def drive_interrupt(self) -> None:
        """The interrupt line went up."""


class NoBusMaster:
    """A channel without DMA."""

    def drive_ready(self) -> None:
        pass

    def drive_interrupt(self) -> None:
        pass


@frozen
class IdeChannelState:
    """selected: which drive; control: the control register; pending: the drive whose interrupt waits, by number;
    due: when each drive goes on; level: of the interrupt line; units: the drives.
    """

    selected: int
    control: int
    pending: tuple[bool, bool]
    due: tuple[int | None, int | None]
    level: bool
    units: tuple[AtaUnitState | None, AtaUnitState | None]


@final
@define(eq=False)
class _Place:
    """Where a drive is plugged in: the adapter as that drive sees it."""

    channel: IdeChannel
    number: int
    timer: Timer

    def interrupt(self) -> None:
        self.channel.interrupt(self.number)

    def schedule(self, delay_ns: int) -> None:
        self.timer.arm(self.channel.clock.now + delay_ns)

    def cancel(self) -> None:
        self.timer.cancel()

    def dma_request(self) -> None:
        if self.channel.selected == self.number:
            self.channel.bus_master.drive_ready()


@final
@define(eq=False)
class IdeChannel(Device[IdeChannelState]):
    """Registers 0 to 7 are the command block, register 8 is the control block's.

    irq: the channel's interrupt; first, second: the drives.  The host sees the registers of the drive that it has
    selected; what it writes, both get.
    """

    irq: IrqLine
    clock: Clock
    first: AtaUnit | None = None
    second: AtaUnit | None = None
    bus_master: BusMaster = field(factory=NoBusMaster, init=False, repr=False)
    selected: int = field(default=0, init=False)
    pending: list[bool] = field(factory=lambda: [False, False], init=False)
    units: tuple[AtaUnit | None, AtaUnit | None] = field(init=False, repr=False)
    _places: tuple[_Place, _Place] = field(init=False, repr=False)

    DATA = Register(0, 8, doc="The data of PIO transfers.  Read and written by words or doublewords.")
    ERROR = Register(1, 8, access=RO, bits={"ABRT": 2, "IDNF": 4, "UNC": 6}, doc="What went wrong; after a reset 1.")
    FEATURES = Register(1, 8, access=WO, doc="Parameter of a command.")
    COUNT = Register(2, 8, doc="Sectors; interrupt reason of packet devices.")
    LBA_LOW = Register(3, 8, doc="Sector number, or the lowest part of the block number.")
    LBA_MID = Register(4, 8, doc="Cylinder, low; the middle part; byte count of packet devices, low.")
    LBA_HIGH = Register(5, 8, doc="Cylinder, high; the high part; byte count of packet devices, high.")
    DEVICE = Register(6, 8, bits={"HEAD": (0, 3), "DEV": 4, "LBA": 6}, doc="The drive, and the rest of the address.")
    STATUS = Register(
        7,
        8,
        access=RO,
        bits={"ERR": 0, "DRQ": 3, "DSC": 4, "DF": 5, "DRDY": 6, "BSY": 7},
        doc="What the drive does.  Reading it takes its interrupt back.",
    )
    COMMAND = Register(7, 8, access=WO, doc="The command to carry out.")
    ALTERNATE_STATUS = Register(8, 8, access=RO, doc="The status, without an effect on the interrupt.")
    DEVICE_CONTROL = Register(
        8, 8, access=WO, bits={"nIEN": 1, "SRST": 2, "HOB": 7}, doc="Interrupt off, software reset, older values."
    )

    def __attrs_post_init__(self) -> None:
        self.units = (self.first, self.second)
        self._places = (self._place(0), self._place(1))
        for unit, place in zip(self.units, self._places, strict=True):
            if unit is not None:
                unit.port = place

    def _place(self, number: int) -> _Place:
        unit = self.units[number]

        def go_on() -> None:
            if unit is not None:
                unit.proceed()

        return _Place(self, number, self.clock.timer(go_on, f"{self.irq.name} drive {number}"))

    @property
    def unit(self) -> AtaUnit | None:
        """The selected drive."""
        return self.units[self.selected]

    # --- reset and state

    def reset(self) -> None:
        super().reset()
        self.selected = 0
        self.pending = [False, False]
        for unit in self.units:
            if unit is not None:
                unit.reset()
        self._drive_line()

    def save(self) -> IdeChannelState:
        first, second = (None if unit is None else unit.save() for unit in self.units)
        return IdeChannelState(
            selected=self.selected,
            control=self.DEVICE_CONTROL,
            pending=(self.pending[0], self.pending[1]),
            due=(self._places[0].timer.deadline, self._places[1].timer.deadline),
            level=self.irq.level,
            units=(first, second),
        )

    def restore(self, state: IdeChannelState) -> None:
        self.selected = state.selected
        self.DEVICE_CONTROL = state.control
        self.pending = list(state.pending)
        for unit, place, due, saved in zip(self.units, self._places, state.due, state.units, strict=True):
            if unit is not None and saved is not None:
                unit.restore(saved)
            place.timer.restore(due)
        self.irq.assume(state.level)

    # --- interrupts

    def interrupt(self, number: int) -> None:
        """A drive wants attention."""
        self.pending[number] = True
        self._drive_line()

    def _acknowledge(self) -> None:
        self.pending[self.selected] = False
        self._drive_line()

    def _drive_line(self) -> None:
        level = self.pending[self.selected] and not self.DEVICE_CONTROL & NIEN
        rising = level and not self.irq.level
        self.irq.set(level)
        if rising:
            self.bus_master.drive_interrupt()

    # --- registers

    def port_read(self, offset: int, size: int) -> int:
        if offset == 0 and size in (2, 4):
            return int.from_bytes(self.read_bulk(0, size, 1), "little")
        return super().port_read(offset, size)

    def port_write(self, offset: int, value: int, size: int) -> None:
        if offset == 0 and size in (2, 4):
            self.write_bulk(0, size, value.to_bytes(size, "little"))
            return
        super().port_write(offset, value, size)

    def read_bulk(self, offset: int, size: int, count: int) -> bytes:
        """REP INS: `count` reads of `size` bytes.  From the data register they run on from block to block only as far
        as the drive has data; behind that there are ones.
        """
        if offset:
            return b"".join(self.port_read(offset, size).to_bytes(size, "little") for _ in range(count))
        unit, length = self.unit, size * count
        data = unit.take(length) if unit is not None and unit.phase is Phase.DATA_IN else b""
        return data.ljust(length, b"\xff")

    def write_bulk(self, offset: int, size: int, data: bytes) -> None:
        """REP OUTS: the writes that make up `data`, each of `size` bytes.  What the drive does not want is lost."""
        if offset:
            for at in range(0, len(data), size):
                self.port_write(offset, int.from_bytes(data[at : at + size], "little"), size)
            return
        unit = self.unit
        if unit is not None and unit.phase is Phase.DATA_OUT:
            unit.give(data)

    @DATA.on_read
    def _read_data(self) -> int:
        return self.read_bulk(0, 1, 1)[0]

    @DATA.on_write
    def _write_data(self, value: int) -> None:
        self.write_bulk(0, 1, bytes((value,)))

    def _read_task(self, number: int) -> int:
        # A first drive that is alone on the cable answers for the second.
        unit = self.unit or self.units[0] or self.units[1]
        if unit is None:
            return 0
        return unit.read_register(number, bool(self.DEVICE_CONTROL & HOB))

    def _write_task(self, number: int, value: int) -> None:
        self.DEVICE_CONTROL &= ~HOB
        selected = self.unit
        if selected is not None and selected.status & AtaStatus.BSY:
            return
        for unit in self.units:
            if unit is not None:
                unit.write_register(number, value)

    @ERROR.on_read
    def _read_error(self) -> int:
        return self._read_task(1)

    @FEATURES.on_write
    def _write_features(self, value: int) -> None:
        self._write_task(1, value)

    @COUNT.on_read
    def _read_count(self) -> int:
        return self._read_task(2)

    @COUNT.on_write
    def _write_count(self, value: int) -> None:
        self._write_task(2, value)

    @LBA_LOW.on_read
    def _read_low(self) -> int:
        return self._read_task(3)

    @LBA_LOW.on_write
    def _write_low(self, value: int) -> None:
        self._write_task(3, value)

    @LBA_MID.on_read
    def _read_mid(self) -> int:
        return self._read_task(4)

    @LBA_MID.on_write
    def _write_mid(self, value: int) -> None:
        self._write_task(4, value)

    @LBA_HIGH.on_read
    def _read_high(self) -> int:
        return self._read_task(5)

    @LBA_HIGH.on_write
    def _write_high(self, value: int) -> None:
        self._write_task(5, value)

    @DEVICE.on_read
    def _read_device(self) -> int:
        return self._read_task(6)

    @DEVICE.on_write
    def _write_device(self, value: int) -> None:
        self._write_task(6, value)
        unit = self.unit
        if unit is None or not unit.status & AtaStatus.BSY:
            self.selected = 1 if value & SECOND else 0
            self._drive_line()

    def _status(self) -> int:
        return self.unit.status if self.unit is not None else 0

    @STATUS.on_read
    def _read_status(self) -> int:
        status = self._status()
        self._acknowledge()
        return status

    @ALTERNATE_STATUS.on_read
    def _read_alternate_status(self) -> int:
        return self._status()

    @COMMAND.on_write
    def _write_command(self, value: int) -> None:
        self.DEVICE_CONTROL &= ~HOB
        self._acknowledge()
        if value == 0x90:
            self._diagnose()
            return
        unit = self.unit
        if unit is None:
            return
        if unit.status & (AtaStatus.BSY | AtaStatus.DRQ) and not (value == 0x08 and unit.ATAPI_SIGNATURE):
            return  # Only a device reset reaches a drive that is at work.
        unit.command(value)

    def _diagnose(self) -> None:
        """EXECUTE DEVICE DIAGNOSTIC is for both drives; the first tells the result (8.11)."""
        self._write_task(6, 0)
        self.selected = 0
        for unit in self.units:
            if unit is not None:
                unit.abandon()
                unit.sign()
        if self.units[0] is not None:
            self.interrupt(0)

    @DEVICE_CONTROL.on_write
    def _write_control(self, value: int) -> None:
        before = self.DEVICE_CONTROL
        self.DEVICE_CONTROL = value
        if value & SRST and not before & SRST:
            self.pending = [False, False]
            for unit in self.units:
                if unit is not None:
                    unit.abandon()
                    unit.status = int(AtaStatus.BSY)
        elif before & SRST and not value & SRST:
            self.selected = 0
            self._each(AtaUnit.soft_reset)
        self._drive_line()

    def _each(self, what: Callable[[AtaUnit], object]) -> None:
        for unit in self.units:
            if unit is not None:
                what(unit)
