"""The disk device of the built-in BIOS: INT 13h's way to the disks.

A device of our own, as small as can be.  The guest selects a unit (its BIOS drive number), sets block and count, gives
a command and moves the sectors through the data port, best with REP INSW and REP OUTSW.  There is no interrupt: a
command has its result when the access that gave it is over.  Numbers of commands are our own, those of `STATUS` are
INT 13h's (IBM PC AT Technical Reference, "Fixed disk BIOS interface").
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from attrs import define, field, frozen

from vmcore.block.geometry import Geometry, floppy, hard_disk
from vmcore.block.raw import SECTOR, DiskBackend, RawDiskState
from vmcore.hardware.device import Device
from vmcore.hardware.registers import RO, Register

__all__ = ["HARD_DISKS", "PORTS", "BiosDisk", "BiosDiskState", "DiskCommand", "DiskStatus", "UnitKind"]

PORTS = 0x20
"""Ports that the device takes."""

HARD_DISKS = 0x80
MOST_SECTORS = 255
NO_DATA = 0xFFFF


class DiskCommand(IntEnum):
    """What is written to COMMAND."""

    RESET = 0
    READ = 1
    WRITE = 2
    VERIFY = 3


class DiskStatus(IntEnum):
    """What is read from COMMAND."""

    OK = 0x00
    BAD_COMMAND = 0x01
    WRITE_PROTECTED = 0x03
    NOT_FOUND = 0x04
    FAILED = 0x20
    NOT_READY = 0x80


class UnitKind(IntEnum):
    """What is read from KIND; bit 7 is set if the unit is read only."""

    NONE = 0
    FLOPPY = 1
    HARD_DISK = 2


@frozen
class BiosDiskState:
    """Registers by name, the sectors under way and how far the guest has moved them, and its changes to each unit."""

    registers: tuple[tuple[str, int], ...]
    data: bytes
    position: int
    writing: bool
    disks: tuple[tuple[int, RawDiskState], ...]


NOTHING = Geometry(0, 0, 0)


@define(eq=False)
class BiosDisk(Device[BiosDiskState]):
    """Disks by BIOS drive number: 0x00 and up for floppies, 0x80 and up for hard disks."""

    units: Mapping[int, DiskBackend]
    _data: bytearray = field(init=False, factory=bytearray)
    _position: int = field(init=False, default=0)
    _writing: bool = field(init=False, default=False)

    UNIT = Register(0x00, 8, doc="The unit that everything else is about.")
    COMMAND = Register(0x01, 8, doc="Write: a command, carried out at once.  Read: the status of the last one.")
    COUNT = Register(0x02, 16, doc="Sectors to move, 1 to 255.")
    LBA_LOW = Register(0x04, 32, doc="First block, low half.")
    LBA_HIGH = Register(0x08, 32, doc="First block, high half.")
    DATA = Register(0x0C, 16, doc="The sectors, word by word.  Writes reach the disk with the last word.")
    SECTORS_LOW = Register(0x10, 32, access=RO, doc="Size of the unit in sectors, low half.")
    SECTORS_HIGH = Register(0x14, 32, access=RO, doc="Size of the unit in sectors, high half.")
    CYLINDERS = Register(0x18, 16, access=RO, doc="Cylinders, at most 1024.")
    HEADS = Register(0x1A, 16, access=RO, doc="Heads.")
    TRACK = Register(0x1C, 16, access=RO, doc="Sectors on a track, at most 63.")
    KIND = Register(0x1E, 8, access=RO, bits={"KIND": (0, 6), "READ_ONLY": 7}, doc="0: no such unit.")

    def reset(self) -> None:
        super().reset()
        self._drop()

    def save(self) -> BiosDiskState:
        registers = tuple(sorted(self.register_values.items()))
        disks = tuple((unit, disk.save()) for unit, disk in sorted(self.units.items()))
        return BiosDiskState(registers, bytes(self._data), self._position, self._writing, disks)

    def restore(self, state: BiosDiskState) -> None:
        self.register_values.update(state.registers)
        self._data = bytearray(state.data)
        self._position = state.position
        self._writing = state.writing
        for unit, changes in state.disks:
            self.units[unit].restore(changes)

    def _drop(self) -> None:
        """Forgets the transfer under way."""
        self._data = bytearray()
        self._position = 0
        self._writing = False

    # Commands

    @COMMAND.on_write
    def _command(self, value: int) -> None:
        self._drop()
        self.COMMAND = self._execute(value)

    def _execute(self, command: int) -> DiskStatus:
        disk = self.units.get(self.UNIT)
        if disk is None:
            return DiskStatus.NOT_READY
        if command == DiskCommand.RESET:
            return DiskStatus.OK
        count = self.COUNT
        if command not in (DiskCommand.READ, DiskCommand.WRITE, DiskCommand.VERIFY) or not 1 <= count <= MOST_SECTORS:
            return DiskStatus.BAD_COMMAND
        if self._block() + count > disk.sectors:
            return DiskStatus.NOT_FOUND
        if command == DiskCommand.WRITE:
            if disk.read_only:
                return DiskStatus.WRITE_PROTECTED
            self._data = bytearray(count * SECTOR)
            self._writing = True
        elif command == DiskCommand.READ:
            try:
                self._data = bytearray(disk.read(self._block(), count))
            except OSError:
                return DiskStatus.FAILED
        return DiskStatus.OK

    def _block(self) -> int:
        return self.LBA_HIGH << 32 | self.LBA_LOW

    # Data

    @DATA.on_read
    def _read_data(self) -> int:
        return int.from_bytes(self._take(2), "little")

    @DATA.on_write
    def _write_data(self, value: int) -> None:
        self._give(value.to_bytes(2, "little"))

    def read_bulk(self, offset: int, size: int, count: int) -> bytes:
        """REP INS: `count` reads of `size` bytes at one port."""
        if (offset, size) == (0x0C, 2):
            return self._take(2 * count)
        return b"".join(self.port_read(offset, size).to_bytes(size, "little") for _ in range(count))

    def write_bulk(self, offset: int, size: int, data: bytes) -> None:
        """REP OUTS: the writes that make up `data`, each of `size` bytes."""
        if (offset, size) == (0x0C, 2):
            self._give(data)
            return
        for at in range(0, len(data), size):
            self.port_write(offset, int.from_bytes(data[at : at + size], "little"), size)

    def _take(self, size: int) -> bytes:
        """The next bytes for the guest; ones when there are none."""
        if self._writing:
            return b"\xff" * size
        part = bytes(self._data[self._position : self._position + size])
        self._position += len(part)
        return part.ljust(size, b"\xff")

    def _give(self, data: bytes) -> None:
        """The next bytes from the guest; those behind the last sector are lost."""
        if not self._writing:
            return
        part = data[: len(self._data) - self._position]
        self._data[self._position : self._position + len(part)] = part
        self._position += len(part)
        if self._position == len(self._data):
            whole = bytes(self._data)
            self._drop()
            self.COMMAND = self._commit(whole)

    def _commit(self, data: bytes) -> DiskStatus:
        """Writes to the disk.  The guest may have changed unit and block meanwhile, so they are checked again."""
        disk = self.units.get(self.UNIT)
        if disk is None:
            return DiskStatus.NOT_READY
        if disk.read_only:
            return DiskStatus.WRITE_PROTECTED
        if self._block() + len(data) // SECTOR > disk.sectors:
            return DiskStatus.NOT_FOUND
        try:
            disk.write(self._block(), data)
        except OSError:
            return DiskStatus.FAILED
        return DiskStatus.OK

    # The unit

    @SECTORS_LOW.on_read
    def _sectors_low(self) -> int:
        return self._sectors() & 0xFFFF_FFFF

    @SECTORS_HIGH.on_read
    def _sectors_high(self) -> int:
        return self._sectors() >> 32

    def _geometry(self) -> Geometry:
        """Of the disk that is there now: floppies change."""
        disk = self.units.get(self.UNIT)
        if disk is None or not disk.sectors:
            return NOTHING
        return hard_disk(disk.sectors) if self.UNIT >= HARD_DISKS else floppy(disk.sectors)

    def _sectors(self) -> int:
        disk = self.units.get(self.UNIT)
        return disk.sectors if disk is not None else 0

    @CYLINDERS.on_read
    def _cylinders(self) -> int:
        return self._geometry().cylinders

    @HEADS.on_read
    def _heads(self) -> int:
        return self._geometry().heads

    @TRACK.on_read
    def _track(self) -> int:
        return self._geometry().sectors

    @KIND.on_read
    def _kind(self) -> int:
        disk = self.units.get(self.UNIT)
        if disk is None:
            return UnitKind.NONE
        kind = UnitKind.HARD_DISK if self.UNIT >= HARD_DISKS else UnitKind.FLOPPY
        return kind | (0x80 if disk.read_only else 0)
