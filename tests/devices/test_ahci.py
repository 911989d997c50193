"""The AHCI adapter, as a driver uses it."""

from __future__ import annotations

import struct
from random import Random

import pytest
from attrs import define
from pci_bench import PciBench
from workbench import GuestTime

from vmcore.block.drive import Drive, DriveKind
from vmcore.block.filters import DebugNode, OverlayNode
from vmcore.block.node import Fault
from vmcore.block.protocols import MemoryNode
from vmcore.devices.ahci import Ahci
from vmcore.devices.ata_disk import AtaDisk
from vmcore.devices.ata_unit import AtaUnit
from vmcore.devices.atapi_cdrom import AtapiCdrom
from vmcore.model.block import BlockdevOnError

SECTOR = 512
DISK = Random(1).randbytes(256 * SECTOR)
DISC = Random(2).randbytes(64 * 2048)

LIST, RECEIVED, TABLES, BUFFER = 0x1000, 0x2000, 0x3000, 0x10000
P0 = 0x100
CLB, FB, IS, IE, CMD, TFD, SIG, SSTS, SCTL, SERR, SACT, CI = (
    0x00, 0x08, 0x10, 0x14, 0x18, 0x20, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x38,
)  # fmt: skip
DHRS, PSS, SDBS, DPS, OFS, TFES = 1, 2, 8, 0x20, 1 << 24, 1 << 30


@define(eq=False)
class Host:
    """An adapter with a disk at port 0 and a CD-ROM drive at port 1, both started."""

    bench: PciBench
    time: GuestTime
    ahci: Ahci
    disk: Drive
    events: list[object]

    def read(self, register: int, port: int | None = None) -> int:
        return self.ahci.mmio_read(register if port is None else P0 + 0x80 * port + register, 4)

    def write(self, register: int, value: int, port: int | None = None) -> None:
        self.ahci.mmio_write(register if port is None else P0 + 0x80 * port + register, value, 4)

    def memory(self, address: int, size: int) -> bytes:
        return self.bench.memory.read(address, size)

    def start(self, port: int) -> None:
        for register, value in ((CLB, LIST), (FB, RECEIVED + 0x100 * port), (SERR, 0xFFFFFFFF), (IS, 0xFFFFFFFF)):
            self.write(register, value + (0x400 * port if register == CLB else 0), port)
        self.write(CMD, 0x16, port)
        self.write(CMD, 0x17, port)
        self.write(IE, 0x7DC0_00FF, port)
        assert self.read(TFD, port) & 0x89 == 0

    def prepare(
        self, slot: int, code: int, lba: int = 0, count: int = 1, regions: list[tuple[int, int]] | None = None, *,
        features: int = 0, write: bool = False, packet: bytes = b"", port: int = 0, frame: bytes | None = None,
    ) -> None:  # fmt: skip
        """Command header, frame and table of regions of a slot."""
        table = TABLES + 0x400 * slot
        part = [lba >> 8 * n & 0xFF for n in range(6)]
        made = bytes((0x27, 0x80, code, features & 0xFF, *part[:3], 0x40, *part[3:], features >> 8))
        made += bytes((count & 0xFF, count >> 8, 0, 0))
        regions = regions or []
        flags = 5 | (0x40 if write else 0) | (0x20 if packet else 0) | len(regions) << 16
        header = struct.pack("<IIQ", flags, 0, table).ljust(32, b"\0")
        memory = self.bench.memory
        memory.write(LIST + 0x400 * port + 32 * slot, header)
        memory.write(table, (made if frame is None else frame).ljust(64, b"\0"))
        memory.write(table + 0x40, packet.ljust(16, b"\0"))
        for number, (address, size) in enumerate(regions):
            last = (1 << 31) if number == len(regions) - 1 else 0
            memory.write(table + 0x80 + 16 * number, struct.pack("<QII", address, 0, last | size - 1))

    def run(self, slot: int, port: int = 0) -> int:
        """Issue a slot and wait until it is over; the interrupt conditions, which are cleared."""
        self.write(CI, 1 << slot, port)
        for _ in range(100_000):
            if not self.read(CI, port) >> slot & 1 or self.read(IS, port) & TFES:
                break
            self.time.advance(1_000)
        else:
            raise AssertionError("the command does not end")
        return self.settle(port)

    def settle(self, port: int = 0) -> int:
        conditions = self.read(IS, port)
        self.write(IS, conditions, port)
        self.write(0x08, self.read(0x08))
        return conditions

    def moved(self, slot: int, port: int = 0) -> int:
        return int.from_bytes(self.memory(LIST + 0x400 * port + 32 * slot + 4, 4), "little")


def host(*faults: Fault, policy: BlockdevOnError = BlockdevOnError.REPORT) -> Host:
    time, events = GuestTime(), list[object]()
    medium = DebugNode("faulty", OverlayNode("changes", MemoryNode("content", DISK)), faults=faults)
    disk = Drive("disk", DriveKind.DISK, medium, policy, policy, emit=events.append, now=lambda: time.now)
    disk.stop = lambda: events.append("stop")
    disc = Drive("disc", DriveKind.CDROM, MemoryNode("disc", DISC), emit=events.append, now=lambda: time.now)
    units: list[AtaUnit] = [AtaDisk(disk, sata=True), AtapiCdrom(disc)]
    bench = PciBench()
    made = Host(bench, time, bench.put(Ahci(time.clock, units)), disk, events)
    made.ahci.config_write(4, 7, 2)
    made.write(0x04, 1 << 31 | 2)
    made.start(0)
    made.start(1)
    return made


def test_what_the_adapter_is() -> None:
    it = host()
    assert it.read(0x00) & 0x1F == 5
    assert it.read(0x0C) == 0x3F
    assert it.read(0x10) == 0x10300
    assert [it.read(SSTS, port) for port in range(6)] == [0x113, 0x113, 0, 0, 0, 0]
    assert [it.read(SIG, port) for port in range(3)] == [0x0000_0101, 0xEB14_0101, 0xFFFF_FFFF]
    assert it.memory(RECEIVED + 0x40, 4) == bytes((0x34, 0, 0x50, 1))


def test_a_disk_tells_of_itself() -> None:
    it = host()
    it.prepare(3, 0xEC, regions=[(BUFFER, SECTOR)])
    assert it.run(3) == PSS | DHRS | DPS
    block = it.memory(BUFFER, SECTOR)
    assert struct.unpack_from("<Q", block, 200)[0] == 256
    assert struct.unpack_from("<H", block, 152)[0] & 0x100, "native command queueing"
    assert it.moved(3) == SECTOR


def test_sectors_are_read_into_the_regions() -> None:
    it = host()
    it.prepare(0, 0x25, 5, 4, [(BUFFER, 512), (BUFFER + 0x4000, 1024), (BUFFER + 0x8002, 512)])
    assert it.run(0) == DHRS | DPS
    data = DISK[5 * SECTOR : 9 * SECTOR]
    assert it.memory(BUFFER, 512) + it.memory(BUFFER + 0x4000, 1024) + it.memory(BUFFER + 0x8002, 512) == data
    assert it.moved(0) == 2048
    assert it.memory(RECEIVED + 0x40, 3) == bytes((0x34, 0x40, 0x50))


def test_sectors_are_written_from_the_regions() -> None:
    it = host()
    data = Random(3).randbytes(3 * SECTOR)
    it.bench.memory.write(BUFFER, data)
    it.prepare(1, 0x35, 200, 3, [(BUFFER, 700), (BUFFER + 700, 836)], write=True)
    assert it.run(1) == DHRS | DPS
    assert it.disk.medium is not None
    assert it.disk.medium.read(200 * SECTOR, 3 * SECTOR) == data
    it.prepare(1, 0xEA)
    assert it.run(1) == DHRS


def test_pio_moves_sectors_too() -> None:
    it = host()
    it.prepare(0, 0x20, 7, 2, [(BUFFER, 1024)])
    assert it.run(0) & PSS
    assert it.memory(BUFFER, 1024) == DISK[7 * SECTOR : 9 * SECTOR]
    assert it.memory(RECEIVED + 0x20, 1) == b"\x5f"
    it.prepare(0, 0x30, 9, 2, [(BUFFER, 1024)], write=True)
    assert it.run(0) & PSS
    assert it.disk.medium is not None
    assert it.disk.medium.read(9 * SECTOR, 1024) == DISK[7 * SECTOR : 9 * SECTOR]


def test_queued_commands_are_accepted_at_once_and_all_done() -> None:
    it = host()
    for slot in range(8):
        it.prepare(slot, 0x60, 10 * slot, slot << 3, [(BUFFER + 0x1000 * slot, 1024)], features=2)
    it.write(SACT, 0xFF, 0)
    it.write(CI, 0xFF, 0)
    assert it.read(CI, 0) == 0
    assert it.read(TFD, 0) & 0x80 == 0, "the drive lets the bus go"
    while it.read(SACT, 0):
        it.time.advance(1_000)
    assert it.settle() & SDBS
    for slot in range(8):
        assert it.memory(BUFFER + 0x1000 * slot, 1024) == DISK[10 * slot * SECTOR :][:1024]
    assert it.memory(RECEIVED + 0x58, 1) == b"\xa1"


def test_a_queued_command_that_fails_is_found_in_the_log() -> None:
    it = host(Fault(operation="read", offset=20 * SECTOR))
    for slot, lba in ((4, 0), (6, 20)):
        it.prepare(slot, 0x60, lba, slot << 3, [(BUFFER, SECTOR)], features=1)
    it.write(SACT, 0x50, 0)
    it.write(CI, 0x50, 0)
    while not it.read(IS, 0) & TFES:
        it.time.advance(1_000)
    assert it.read(SACT, 0) == 0x40
    assert it.read(TFD, 0) & 0x4001 == 0x4001
    it.write(CMD, 0x16, 0)
    assert it.read(SACT, 0) == it.read(CI, 0) == 0
    it.settle()
    it.write(CMD, 0x17, 0)
    it.prepare(0, 0x2F, 0x10, 1, [(BUFFER, SECTOR)])
    it.run(0)
    log = it.memory(BUFFER, SECTOR)
    assert (log[0], log[2] & 1, log[3], log[4]) == (6, 1, 0x40, 20)
    assert sum(log) & 0xFF == 0


def test_an_error_stops_the_list_until_the_host_starts_it_again() -> None:
    it = host()
    it.prepare(0, 0x25, 1000, 1, [(BUFFER, SECTOR)])
    it.prepare(1, 0x25, 0, 1, [(BUFFER, SECTOR)])
    assert it.run(0) & TFES
    assert it.read(TFD, 0) & 0xFF01 == 0x1001
    assert it.read(CI, 0) == 1
    it.write(CMD, 0x16, 0)
    assert it.read(CI, 0) == 0
    it.write(CMD, 0x17, 0)
    assert it.run(1) == DHRS | DPS


def test_a_table_without_room_is_an_overflow() -> None:
    it = host()
    it.prepare(0, 0x25, 0, 2, [(BUFFER, 512)])
    assert it.run(0) & OFS
    assert it.moved(0) == 512


def test_packets_reach_the_cdrom_drive() -> None:
    it = host()
    request_sense = bytes((3, 0, 0, 0, 18, 0))
    it.prepare(0, 0xA0, packet=request_sense, regions=[(BUFFER, 18)], port=1, features=1)
    it.run(0, 1)
    read = bytes((0x28, 0, 0, 0, 0, 5, 0, 0, 3, 0))
    it.prepare(1, 0xA0, packet=read, regions=[(BUFFER, 3 * 2048)], port=1, features=1)
    assert it.run(1, 1) & DHRS
    assert it.memory(BUFFER, 3 * 2048) == DISC[5 * 2048 : 8 * 2048]
    it.prepare(2, 0xA0, packet=read, regions=[(BUFFER, 3 * 2048)], port=1, count=0, lba=2048 << 8)
    assert it.run(2, 1) & (DHRS | PSS)
    assert it.moved(2, 1) == 3 * 2048


def test_software_reset_and_link_reset_bring_the_signature() -> None:
    it = host()
    it.prepare(0, 0, frame=bytes((0x27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4)))
    it.prepare(1, 0, frame=bytes((0x27, 0)))
    it.write(CI, 1, 0)
    it.write(CI, 2, 0)
    assert it.read(CI, 0) == 0
    assert it.memory(RECEIVED + 0x40, 4) == bytes((0x34, 0, 0x50, 1))
    it.write(CMD, 0x16, 0)
    it.write(SCTL, 1, 0)
    assert it.read(SSTS, 0) == 0
    it.write(SCTL, 0, 0)
    assert it.read(SSTS, 0) == 0x113
    assert it.read(SERR, 0) >> 26 & 1
    assert it.read(SIG, 0) == 0x101


def test_interrupts_go_by_line_or_by_message() -> None:
    it = host()
    it.prepare(0, 0xEA)
    it.bench.log.clear()
    it.write(CI, 1, 0)
    it.time.advance(1_000_000)
    assert it.bench.log == [("line0", True)]
    it.settle()
    assert it.bench.log.pop() == ("line0", False)
    assert it.ahci.msi is not None
    at = it.ahci.msi.at
    it.ahci.config_write(at + 4, 0xFEE0_0000, 4)
    it.ahci.config_write(at + 12, 0x41, 2)
    it.ahci.config_write(at + 2, 1, 2)
    it.bench.log.clear()
    it.write(CI, 1, 0)
    it.time.advance(1_000_000)
    assert it.bench.log == [("message", (0xFEE0_0000, 0x41))]


@pytest.mark.parametrize("code", [0x25, 0x35, 0x60, 0x61])
def test_what_a_fault_held_is_done_when_the_guest_goes_on(code: int) -> None:
    reads = code in (0x25, 0x60)
    it = host(Fault(operation="read" if reads else "write", count=1), policy=BlockdevOnError.STOP)
    data = Random(4).randbytes(SECTOR)
    it.bench.memory.write(BUFFER, data)
    queued = code >= 0x60
    it.prepare(0, code, 3, 0 if queued else 1, [(BUFFER, SECTOR)], features=1 if queued else 0, write=not reads)
    it.write(SACT, 1 if queued else 0, 0)
    it.write(CI, 1, 0)
    it.time.advance(10_000_000)
    assert it.events[-1] == "stop"
    assert it.read(CI, 0) | it.read(SACT, 0) == 1
    it.ahci.restore(it.ahci.save())
    it.disk.resume()
    it.time.advance(1_000_000)
    assert it.read(CI, 0) | it.read(SACT, 0) == 0
    assert it.disk.medium is not None
    if reads:
        assert it.memory(BUFFER, SECTOR) == DISK[3 * SECTOR : 4 * SECTOR]
    else:
        assert it.disk.medium.read(3 * SECTOR, SECTOR) == data


def test_the_registers_are_behind_two_ports_as_well() -> None:
    it = host()
    bar = it.ahci.windows[0].target
    pair = bar.device  # type: ignore[union-attr]
    pair.port_write(0x10, 0x10, 4)
    assert pair.port_read(0x14, 4) == 0x10300
