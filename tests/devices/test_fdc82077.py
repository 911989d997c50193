"""The floppy controller, as a driver uses it."""

from __future__ import annotations

import errno
from random import Random

import pytest
from attrs import define
from workbench import GuestTime, Wire

from vmcore.block.drive import Drive, DriveKind
from vmcore.block.filters import DebugNode, OverlayNode
from vmcore.block.node import Fault
from vmcore.block.protocols import MemoryNode
from vmcore.devices.dma8237 import Dma8237
from vmcore.devices.fdc82077 import Fdc82077
from vmcore.engine import PhysicalMemory
from vmcore.model.block import BlockdevOnError, BlockErrorAction, BlockIoError

SECTOR = 512
CONTENT = Random(1).randbytes(2880 * SECTOR)
BUFFER = 0x10000
ON = 0x1C  # Motor of drive 0, interrupts and DMA, no reset.


@define(eq=False)
class Bench:
    """A controller with a 1440 KiB medium in its first drive, and what a driver does with it."""

    time: GuestTime
    wire: Wire
    memory: PhysicalMemory
    dma: Dma8237
    drive: Drive
    fdc: Fdc82077
    events: list[object]

    def status(self) -> int:
        return self.fdc.port_read(4, 1)

    def send(self, *command: int) -> None:
        for byte in command:
            assert self.status() & 0xC0 == 0x80, f"status {self.status():#x} before byte {byte:#x} of {command}"
            self.fdc.port_write(5, byte, 1)

    def result(self) -> list[int]:
        found = []
        while self.status() & 0x50 == 0x50:
            found.append(self.fdc.port_read(5, 1))
        return found

    def wait(self, ns: int = 100_000_000) -> None:
        """Until the interrupt."""
        end = self.time.now + ns
        while not self.wire.high():
            assert self.time.now < end, "no interrupt came"
            self.time.advance(1_000)

    def run(self, *command: int) -> list[int]:
        """A command that ends with an interrupt and a result."""
        self.send(*command)
        self.wait()
        return self.result()

    def reset(self) -> None:
        """Reset, sense the four drives, specify DMA, 500 kbit/s."""
        self.fdc.port_write(2, 0, 1)
        self.fdc.port_write(2, ON, 1)
        self.wait()
        assert [self.sense() for _ in range(4)] == [[0xC0, 0], [0xC1, 0], [0xC2, 0], [0xC3, 0]]
        assert not self.wire.high()
        self.fdc.port_write(7, 0, 1)
        self.send(0x03, 0xAF, 0x02)

    def sense(self) -> list[int]:
        self.send(0x08)
        return self.result()

    def seek(self, track: int) -> None:
        self.send(0x0F, 0, track)
        self.wait()
        assert self.sense() == [0x20, track]

    def channel(self, mode: int, length: int) -> None:
        """Program DMA channel 2 for a transfer at BUFFER."""
        for register, value in (
            (10, 6), (12, 0), (11, mode), (4, 0), (4, 0), (5, length - 1 & 0xFF), (5, length - 1 >> 8), (10, 2)
        ):  # fmt: skip
            self.dma.port_write(register, value, 1)
        self.dma.port_write(0x11, BUFFER >> 16, 1)


TO_MEMORY, FROM_MEMORY = 0x46, 0x4A


def bench(*faults: Fault, policy: BlockdevOnError = BlockdevOnError.REPORT) -> Bench:
    time, wire, memory, events = GuestTime(), Wire(), PhysicalMemory(), list[object]()
    memory.map_ram(0, 0x40000)
    dma = Dma8237(memory)
    medium = DebugNode("faulty", OverlayNode("changes", MemoryNode("content", CONTENT)), faults=faults)
    drive = Drive("floppy0", DriveKind.FLOPPY, medium, policy, policy, emit=events.append)
    drive.stop = lambda: events.append("stop")
    fdc = Fdc82077(wire.line, dma.channel(2), time.clock, [drive, None])
    made = Bench(time, wire, memory, dma, drive, fdc, events)
    made.reset()
    return made


def content(bench: Bench, lba: int, count: int = 1) -> bytes:
    assert bench.drive.medium is not None
    return bench.drive.medium.read(lba * SECTOR, count * SECTOR)


def test_the_controller_says_what_it_is() -> None:
    it = bench()
    it.send(0x10)
    assert it.result() == [0x90]
    it.send(0x18)
    assert it.result() == [0x80]
    assert it.sense() == [0x80], "nothing is to be reported"
    it.send(0x13, 0, 0x17, 5)
    it.send(0x94)
    assert it.result() == [0x10]
    it.send(0x0E)
    assert it.result() == [0, 0, 0, 0, 0xAF, 0x02, 0, 0x80, 0x17, 5]
    it.fdc.port_write(4, 0x80, 1)
    it.send(0x0E)
    assert it.result()[-3:] == [0x80, 0x17, 5], "what is locked outlives a reset by software"


def test_the_disk_change_line_holds_until_the_heads_move() -> None:
    it = bench()
    assert it.fdc.port_read(7, 1) == 0x80
    it.seek(1)
    assert it.fdc.port_read(7, 1) == 0
    it.drive.controller.medium_changed(True)
    assert it.fdc.port_read(7, 1) == 0x80
    it.fdc.port_write(2, ON & ~0x10, 1)
    assert it.fdc.port_read(7, 1) == 0, "with its motor off the drive is not asked"


@pytest.mark.parametrize(
    ("kib", "rates"), [(360, {1, 2}), (720, {2}), (1200, {0}), (1440, {0}), (2880, {3}), (1000, {0})]
)
def test_a_medium_is_read_at_the_data_rate_that_it_was_written_at(kib: int, rates: set[int]) -> None:
    it = bench()
    it.drive.remove()
    it.drive.insert(MemoryNode("other", bytes(kib << 10)))
    it.seek(0)
    for rate in range(4):
        it.fdc.port_write(7, rate, 1)
        it.channel(TO_MEMORY, SECTOR)
        status, first, *_ = it.run(0x46, 0, 0, 0, 1, 2, 1, 0x1B, 0xFF)
        assert (status & 0xC0, first & 1) == ((0, 0) if rate in rates else (0x40, 1)), rate


def test_recalibrating_a_drive_that_is_not_there() -> None:
    it = bench()
    it.send(0x07, 1)
    it.wait()
    assert it.sense() == [0x71, 0]


def test_sectors_are_read_by_dma_up_to_the_terminal_count() -> None:
    it = bench()
    it.seek(3)
    it.channel(TO_MEMORY, 3 * SECTOR)
    assert it.run(0xE6, 0x04, 3, 1, 16, 2, 18, 0x1B, 0xFF) == [0x00, 0, 0, 4, 0, 1, 2]
    first = (3 * 2 + 1) * 18 + 15
    assert it.memory.read(BUFFER, 3 * SECTOR) == CONTENT[first * SECTOR : (first + 3) * SECTOR]


def test_a_multi_track_read_goes_on_with_the_other_side() -> None:
    it = bench()
    it.seek(3)
    it.channel(TO_MEMORY, 4 * SECTOR)
    assert it.run(0xE6, 0x00, 3, 0, 17, 2, 18, 0x1B, 0xFF) == [0x04, 0, 0, 3, 1, 3, 2]
    first = 3 * 2 * 18 + 16
    assert it.memory.read(BUFFER, 4 * SECTOR) == CONTENT[first * SECTOR : (first + 4) * SECTOR]


def test_a_track_that_ends_without_a_terminal_count_is_an_error() -> None:
    it = bench()
    it.channel(TO_MEMORY, 3 * SECTOR)
    assert it.run(0x46, 0x00, 0, 0, 18, 2, 18, 0x1B, 0xFF) == [0x40, 0x80, 0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ((0x46, 0, 0, 0, 19, 2, 18, 27, 255), [0x40, 0x04, 0x00]),
        ((0x46, 0, 5, 0, 1, 2, 18, 27, 255), [0x40, 0x04, 0x10]),
        ((0x46, 1, 0, 0, 1, 2, 18, 27, 255), [0x41, 0x01, 0x00]),
        ((0x46, 0, 0, 0, 1, 3, 18, 27, 255), [0x40, 0x04, 0x00]),
    ],
    ids=["no such sector", "another track", "no drive", "another size"],
)
def test_sectors_that_are_not_there(command: tuple[int, ...], status: list[int]) -> None:
    it = bench()
    it.channel(TO_MEMORY, SECTOR)
    assert it.run(*command)[:3] == status


def test_the_wrong_data_rate_finds_nothing() -> None:
    it = bench()
    it.fdc.port_write(7, 2, 1)
    assert it.run(0x4A, 0)[:3] == [0x40, 0x01, 0]
    it.fdc.port_write(7, 0, 1)
    assert it.run(0x4A, 0) == [0, 0, 0, 0, 0, 1, 2]


def test_sectors_are_written_by_dma() -> None:
    it = bench()
    data = Random(2).randbytes(2 * SECTOR)
    it.memory.write(BUFFER, data)
    it.seek(1)
    it.channel(FROM_MEMORY, 2 * SECTOR)
    assert it.run(0xC5, 0, 1, 0, 5, 2, 18, 27, 255) == [0, 0, 0, 1, 0, 7, 2]
    assert content(it, 36 + 4, 2) == data
    assert content(it, 36 + 6) == CONTENT[(36 + 6) * SECTOR : (36 + 7) * SECTOR]


def test_a_sector_that_is_cut_short_is_filled_with_zeros() -> None:
    it = bench()
    it.memory.write(BUFFER, b"x" * 100)
    it.channel(FROM_MEMORY, 100)
    assert it.run(0x45, 0, 0, 0, 1, 2, 18, 27, 255)[:3] == [0, 0, 0]
    assert content(it, 0) == b"x" * 100 + bytes(412)


def test_without_dma_the_host_moves_each_byte() -> None:
    it = bench()
    it.send(0x03, 0xAF, 0x03)
    it.send(0x46, 0, 0, 0, 1, 2, 1, 27, 255)
    it.wait()
    data = bytearray()
    while it.status() & 0xF0 == 0xF0:
        data.append(it.fdc.port_read(5, 1))
    assert bytes(data) == CONTENT[:SECTOR]
    assert it.result() == [0x40, 0x80, 0, 1, 0, 1, 2]
    it.send(0x45, 0, 0, 0, 2, 2, 2, 27, 255)
    it.wait()
    for _ in range(SECTOR):
        assert it.status() & 0xF0 == 0xB0
        it.fdc.port_write(5, 0x77, 1)
    assert it.result()[:3] == [0x40, 0x80, 0]
    assert content(it, 1) == b"\x77" * SECTOR


def test_a_track_is_formatted() -> None:
    it = bench()
    it.seek(2)
    it.memory.write(BUFFER, b"".join(bytes((2, 1, sector, 2)) for sector in range(1, 19)))
    it.channel(FROM_MEMORY, 4 * 18)
    assert it.run(0x4D, 4, 2, 18, 0x54, 0xF6)[:3] == [4, 0, 0]
    assert content(it, (2 * 2 + 1) * 18, 18) == b"\xf6" * 18 * SECTOR
    assert content(it, (2 * 2 + 1) * 18 - 1) == CONTENT[((2 * 2 + 1) * 18 - 1) * SECTOR :][:SECTOR]


def test_verify_reads_without_moving_anything() -> None:
    it = bench()
    assert it.run(0x56, 0, 0, 0, 1, 2, 18, 27, 255)[:3] == [0, 0, 0]


@pytest.mark.parametrize(("byte", "status"), [(0, 8), (1, 4)], ids=["equal", "not equal"])
def test_a_scan_compares(byte: int, status: int) -> None:
    it = bench()
    it.memory.write(BUFFER, bytes([CONTENT[0] ^ byte or 1]) + CONTENT[1:SECTOR])
    it.channel(FROM_MEMORY, SECTOR)
    assert it.run(0x51, 0, 0, 0, 1, 2, 18, 27, 1)[2] == status


def test_a_failed_read_is_told_to_the_guest() -> None:
    it = bench(Fault(operation="read", offset=0))
    it.channel(TO_MEMORY, SECTOR)
    assert it.run(0x46, 0, 0, 0, 1, 2, 18, 27, 255)[:3] == [0x40, 0x20, 0x20]
    assert [e.action for e in it.events if isinstance(e, BlockIoError)] == [BlockErrorAction.REPORT]


@pytest.mark.parametrize("command", [0x46, 0x45])
def test_what_a_fault_held_is_done_when_the_guest_goes_on(command: int) -> None:
    operation = "read" if command == 0x46 else "write"
    it = bench(Fault(operation=operation, errno=errno.EIO, count=1), policy=BlockdevOnError.STOP)
    data = Random(3).randbytes(2 * SECTOR)
    it.memory.write(BUFFER, data)
    it.channel(TO_MEMORY if command == 0x46 else FROM_MEMORY, 2 * SECTOR)
    it.send(command, 0, 0, 0, 1, 2, 18, 27, 255)
    it.time.advance(10_000_000)
    assert it.events[-1] == "stop"
    assert not it.wire.high()
    saved = it.fdc.save()
    it.fdc.restore(saved)
    it.drive.resume()
    it.wait()
    assert it.result()[:3] == [0, 0, 0]
    if command == 0x46:
        assert it.memory.read(BUFFER, 2 * SECTOR) == CONTENT[: 2 * SECTOR]
    else:
        assert content(it, 0, 2) == data
