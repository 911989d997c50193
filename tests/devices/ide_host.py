"""A host on an IDE channel, for tests: it does by ports what a driver does."""

from __future__ import annotations

from attrs import define, field
from workbench import GuestTime

from vmcore.block.drive import Drive, DriveKind
from vmcore.block.node import BlockNode
from vmcore.devices.ata_disk import AtaDisk
from vmcore.devices.ata_unit import AtaUnit
from vmcore.devices.atapi_cdrom import AtapiCdrom
from vmcore.devices.ide_bus_master import IdeBusMaster
from vmcore.devices.ide_channel import IdeChannel
from vmcore.hardware import IrqLine

BSY, DRDY, DRQ, ERR = 0x80, 0x40, 0x08, 0x01
TABLE = 0x1000


@define
class Ram:
    """Memory for a bus master."""

    data: bytearray = field(factory=lambda: bytearray(1 << 20))

    def read(self, address: int, size: int, /) -> bytes:
        return bytes(self.data[address : address + size]).ljust(size, b"\xff")

    def write(self, address: int, data: bytes, /) -> None:
        self.data[address : address + len(data)] = data


class Host:
    """A channel with drives, and the driver's side of it."""

    def __init__(self, first: AtaUnit | None, second: AtaUnit | None = None) -> None:
        self.time = GuestTime()
        self.edges: list[bool] = []
        self.channel = IdeChannel(IrqLine(self.edges.append, "irq14"), self.time.clock, first, second)
        self.ram = Ram()
        self.master = IdeBusMaster(self.channel, self.ram)

    # --- registers

    def read(self, register: int) -> int:
        return self.channel.port_read(register, 1)

    def write(self, register: int, value: int) -> None:
        self.channel.port_write(register, value, 1)

    @property
    def status(self) -> int:
        return self.read(8)

    @property
    def interrupts(self) -> int:
        """Edges so far; they are forgotten by that."""
        count = self.edges.count(True)
        self.edges.clear()
        return count

    def wait(self) -> int:
        """Until the drive is not busy; the status, read as an interrupt handler reads it."""
        for _ in range(1000):
            if not self.status & BSY:
                return self.read(7)
            self.time.advance(10_000)
        raise AssertionError("busy for ever")

    def task(self, lba: int, count: int, *, features: int = 0, device: int = 0xE0, wide: bool = False) -> None:
        if wide:
            for register, value in ((1, 0), (2, count >> 8), (3, lba >> 24), (4, lba >> 32), (5, lba >> 40)):
                self.write(register, value & 0xFF)
        else:
            device |= lba >> 24 & 0x0F
        for register, value in ((6, device), (1, features), (2, count), (3, lba), (4, lba >> 8), (5, lba >> 16)):
            self.write(register, value & 0xFF)

    def command(self, code: int, lba: int = 0, count: int = 0, **more: int) -> int:
        """Without data: the status at its end."""
        self.task(lba, count, **more)  # type: ignore[arg-type]
        self.write(7, code)
        return self.wait()

    # --- transfers

    def pio_in(self, code: int, lba: int = 0, count: int = 1, size: int = 512, **more: int) -> bytes:
        """Read by the data register, block by block, until the drive has no more."""
        status = self.command(code, lba, count, **more)
        data = b""
        while status & DRQ:
            data += self.channel.read_bulk(0, 2, size // 2)
            status = self.wait()
        return data

    def pio_out(self, code: int, data: bytes, lba: int = 0, count: int = 1, size: int = 512, **more: int) -> int:
        status = self.command(code, lba, count, **more)
        while status & DRQ:
            part, data = data[:size], data[size:]
            self.channel.write_bulk(0, 2, part)
            status = self.wait()
        assert not data or status & ERR
        return status

    def regions(self, *regions: tuple[int, int]) -> None:
        """The table of the bus master: (address, length)."""
        for index, (address, length) in enumerate(regions):
            last = 1 << 31 if index == len(regions) - 1 else 0
            entry = address.to_bytes(4, "little") + (length & 0xFFFF | last).to_bytes(4, "little")
            self.ram.write(TABLE + 8 * index, entry)
        self.master.port_write(4, TABLE, 4)

    def dma(
        self, code: int, lba: int, count: int, *regions: tuple[int, int], to_memory: bool = True, **more: int
    ) -> int:
        """By the bus master; the status at the end of it."""
        self.regions(*regions)
        self.master.port_write(2, 0x06, 1)
        self.master.port_write(0, 0x08 if to_memory else 0, 1)
        self.task(lba, count, **more)  # type: ignore[arg-type]
        self.write(7, code)
        self.master.port_write(0, 0x09 if to_memory else 1, 1)
        self.time.advance(1_000_000)
        self.master_status = self.master.port_read(2, 1)
        self.master.port_write(0, 0, 1)
        return self.read(7)

    # --- packets

    def packet(self, *packet: int, limit: int = 0xFFFE, device: int = 0xA0) -> bytes:
        """A packet command with data by PIO; `error` says how it went."""
        self.task(limit << 8, 0, device=device)
        self.write(7, 0xA0)
        assert self.status & DRQ
        assert self.read(2) == 1, "the drive does not want a command"
        self.channel.write_bulk(0, 2, bytes(packet).ljust(12, b"\0"))
        data = b""
        while (status := self.wait()) & DRQ:
            assert self.read(2) == 2, "the drive does not send data"
            size = self.read(4) | self.read(5) << 8
            assert size <= limit
            data += self.channel.read_bulk(0, 2, (size + 1) // 2)[:size]
        self.error = self.read(1) if status & ERR else 0
        assert self.read(2) == 3, "the drive has not ended the command"
        return data

    def sense(self) -> tuple[int, int, int]:
        data = self.packet(0x03, 0, 0, 0, 18)
        return data[2], data[12], data[13]


def disk(medium: BlockNode, **more: object) -> AtaDisk:
    return AtaDisk(Drive("hd0", medium=medium, **more))  # type: ignore[arg-type]


def cdrom(medium: BlockNode | None, **more: object) -> AtapiCdrom:
    return AtapiCdrom(Drive("cd0", DriveKind.CDROM, medium, qdev="ide1-cd0", **more))  # type: ignore[arg-type]
