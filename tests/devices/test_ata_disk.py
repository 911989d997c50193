"""ATA disks behind a channel: commands, transfers, errors and what is tried again."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from ide_host import DRDY, DRQ, ERR, Host, disk

from vmcore.block.filters import DebugNode, OverlayNode
from vmcore.block.node import Fault
from vmcore.block.protocols import MemoryNode
from vmcore.model.block import BlockdevOnError

SECTORS = 4000
CONTENT = Random(4).randbytes(SECTORS * 512)
ABRT, IDNF, UNC = 0x04, 0x10, 0x40


def make(*faults: Fault, **more: Any) -> Host:
    return Host(disk(DebugNode("d", OverlayNode("o", MemoryNode("m", CONTENT)), faults=faults), **more))


def sectors(lba: int, count: int) -> bytes:
    return CONTENT[lba * 512 : (lba + count) * 512]


def word(block: bytes, number: int) -> int:
    return int.from_bytes(block[2 * number : 2 * number + 2], "little")


def text(block: bytes, first: int, last: int) -> str:
    part = block[2 * first : 2 * last + 2]
    return "".join(chr(part[n ^ 1]) for n in range(len(part)))


def test_identification() -> None:
    host = make(serial="S1234")
    block = host.pio_in(0xEC)
    assert len(block) == 512
    assert sum(block) % 256 == 0
    assert block[510] == 0xA5
    assert text(block, 10, 19) == "S1234".ljust(20)
    assert text(block, 27, 46) == "vmcore disk".ljust(40)
    assert word(block, 60) | word(block, 61) << 16 == SECTORS
    assert word(block, 100) == SECTORS
    assert (word(block, 1), word(block, 3), word(block, 6)) == (SECTORS // 1008, 16, 63)
    assert word(block, 83) & 0x0400, "48-bit addresses"
    assert host.interrupts == 1


@pytest.mark.parametrize(
    ("code", "wide", "per_interrupt"), [(0x20, False, 1), (0x24, True, 1), (0xC4, False, 8), (0x29, True, 8)]
)
def test_reads_by_pio_have_an_interrupt_for_each_block(code: int, wide: bool, per_interrupt: int) -> None:
    host = make()
    host.command(0xC6, count=8)
    assert host.interrupts == 1
    data = host.pio_in(code, 100, 20, 512 * per_interrupt, wide=wide)
    assert data[: 20 * 512] == sectors(100, 20)
    assert host.interrupts == -(-20 // per_interrupt)
    assert host.status == 0x50


@pytest.mark.parametrize(
    ("code", "wide", "per_interrupt"), [(0x30, False, 1), (0x34, True, 1), (0xC5, False, 4), (0x39, True, 4)]
)
def test_writes_by_pio_have_an_interrupt_behind_each_block(code: int, wide: bool, per_interrupt: int) -> None:
    host = make()
    host.command(0xC6, count=4)
    host.edges.clear()
    data = Random(5).randbytes(12 * 512)
    assert host.pio_out(code, data, 7, 12, 512 * per_interrupt, wide=wide) == 0x50
    assert host.interrupts == 12 // per_interrupt
    assert host.pio_in(0x20, 6, 14) == sectors(6, 1) + data + sectors(19, 1)


def test_a_count_of_zero_means_the_most() -> None:
    assert len(make().pio_in(0x20, 0, 0)) == 256 * 512


@pytest.mark.parametrize(("code", "wide"), [(0xC8, False), (0x25, True)])
def test_dma_into_scattered_memory(code: int, wide: bool) -> None:
    host = make()
    status = host.dma(code, 50, 32, (0x20000, 0x2000), (0x40000, 0x1800), (0x30000, 0x800), wide=wide)
    assert status == 0x50
    assert host.master_status == 0x04, "interrupt, not active, no error"
    data = host.ram.read(0x20000, 0x2000) + host.ram.read(0x40000, 0x1800) + host.ram.read(0x30000, 0x800)
    assert data == sectors(50, 32)
    assert host.interrupts == 1


@pytest.mark.parametrize(("code", "wide"), [(0xCA, False), (0x35, True)])
def test_dma_from_scattered_memory(code: int, wide: bool) -> None:
    host = make()
    data = Random(6).randbytes(0x4000)
    host.ram.write(0x20000, data[:0x1000])
    host.ram.write(0x50000, data[0x1000:])
    assert host.dma(code, 8, 32, (0x20000, 0x1000), (0x50000, 0x3000), to_memory=False, wide=wide) == 0x50
    assert host.master_status == 0x04
    assert host.pio_in(0x20, 8, 32) == data


def test_a_region_of_64_kib_is_written_as_zero() -> None:
    host = make()
    host.dma(0xC8, 0, 128, (0x20000, 0x10000))
    assert host.ram.read(0x20000, 0x10000) == sectors(0, 128)


def test_a_table_longer_than_the_command_leaves_the_bus_master_active() -> None:
    host = make()
    assert host.dma(0xC8, 0, 1, (0x20000, 0x1000)) == 0x50
    assert host.master_status == 0x05


def test_a_table_shorter_than_the_command_leaves_the_drive_waiting() -> None:
    host = make()
    status = host.dma(0xC8, 0, 4, (0x20000, 0x200))
    assert host.master_status & 0x05 == 0
    assert status & DRQ
    # The rest comes by another table, as after any stop of the bus master.
    host.regions((0x21000, 0x600))
    host.master.port_write(0, 0x09, 1)
    host.time.advance(100_000)
    assert host.ram.read(0x20000, 0x200) + host.ram.read(0x21000, 0x600) == sectors(0, 4)
    assert host.read(7) == 0x50


def test_a_function_that_may_not_master_the_bus_moves_nothing() -> None:
    host = make()
    host.master.enabled = lambda: False
    host.dma(0xC8, 0, 1, (0x20000, 0x200))
    assert host.master_status & 0x07 == 0x02
    assert host.ram.read(0x20000, 16) == bytes(16)


def test_cylinders_heads_and_sectors() -> None:
    host = make()
    # Cylinder 1, head 2, sector 3 of 16 heads and 63 sectors.
    for register, value in ((6, 0xA2), (2, 1), (3, 3), (4, 1), (5, 0)):
        host.write(register, value)
    host.write(7, 0x20)
    host.wait()
    assert host.channel.read_bulk(0, 2, 256) == sectors((1 * 16 + 2) * 63 + 2, 1)
    # Another geometry: 4 heads of 10 sectors.
    assert host.command(0x91, 0, 10, device=0xA3) == 0x50
    for register, value in ((6, 0xA1), (2, 1), (3, 2), (4, 5), (5, 0)):
        host.write(register, value)
    host.write(7, 0x20)
    host.wait()
    assert host.channel.read_bulk(0, 2, 256) == sectors((5 * 4 + 1) * 10 + 1, 1)
    block = host.pio_in(0xEC)
    assert (word(block, 55), word(block, 56)) == (4, 10)


@pytest.mark.parametrize("code", [0x20, 0xC8, 0x30, 0xCA, 0x40])
def test_sectors_behind_the_end_are_not_found(code: int) -> None:
    host = make()
    assert host.command(code, SECTORS - 1, 2) & ERR
    assert host.read(1) == IDNF
    counts = host.channel.units[0].drive.statistics  # type: ignore[union-attr]
    assert counts.read.invalid + counts.write.invalid == 1


@pytest.mark.parametrize(
    ("code", "count", "features"),
    [
        (0x00, 0, 0),
        (0xFF, 0, 0),
        (0xA0, 0, 0),
        (0xC4, 1, 0),
        (0xC6, 5, 0),
        (0xC6, 32, 0),
        (0xEF, 0, 0x77),
        (0x91, 0, 0),
    ],
)
def test_what_the_disk_does_not_do_is_aborted(code: int, count: int, features: int) -> None:
    host = make()
    assert host.command(code, 0, count, features=features) == DRDY | 0x10 | ERR
    assert host.read(1) == ABRT
    assert host.interrupts == 1


@pytest.mark.parametrize(("mode", "number", "expected"), [(0x22, 63, 0x0407), (0x45, 88, 0x203F), (0x0C, 63, 0x0407)])
def test_transfer_modes_show_in_the_identification(mode: int, number: int, expected: int) -> None:
    host = make()
    assert host.command(0xEF, count=mode, features=0x03) == 0x50
    assert word(host.pio_in(0xEC), number) == expected


@pytest.mark.parametrize("mode", [0x46, 0x23, 0x10, 0x0D])
def test_transfer_modes_that_there_are_not(mode: int) -> None:
    assert make().command(0xEF, count=mode, features=0x03) & ERR


def test_features_that_are_switched() -> None:
    host = make()
    assert word(host.pio_in(0xEC), 85) == 0x4069
    for feature in (0x82, 0x55):
        assert host.command(0xEF, features=feature) == 0x50
    assert host.command(0xB0, 0xC24F00, features=0xD9) == 0x50
    assert word(host.pio_in(0xEC), 85) == 0x4008
    assert host.command(0xB0, 0xC24F00, features=0xDA) & ERR
    for feature in (0x02, 0xAA):
        host.command(0xEF, features=feature)
    host.command(0xB0, 0xC24F00, features=0xD8)
    assert word(host.pio_in(0xEC), 85) == 0x4069


def test_smart() -> None:
    host = make()
    assert host.command(0xB0, 0xC24F00, features=0xDA) == 0x50
    assert (host.read(4), host.read(5)) == (0x4F, 0xC2), "the disk is well"
    for feature in (0xD0, 0xD1):
        assert sum(host.pio_in(0xB0, 0xC24F00, features=feature)) % 256 == 0
    assert host.command(0xB0, 0, features=0xDA) & ERR, "without the key"


def test_the_last_sector() -> None:
    host = make()
    assert host.command(0xF8, device=0xE0) == 0x50
    assert host.read(3) | host.read(4) << 8 | host.read(5) << 16 | (host.read(6) & 15) << 24 == SECTORS - 1
    assert host.command(0x27, device=0xE0) == 0x50
    assert host.read(3) | host.read(4) << 8 == SECTORS - 1


def test_older_values_of_registers() -> None:
    host = make()
    host.write(3, 0x12)
    host.write(3, 0x34)
    host.write(8, 0x82)
    assert host.read(3) == 0x12
    host.write(2, 1)
    assert host.read(3) == 0x34, "a write takes the bit back"


# --- interrupts, resets


def test_the_status_takes_the_interrupt_back_and_the_other_one_does_not() -> None:
    host = make()
    host.write(7, 0xE0)
    assert host.channel.irq.level
    host.read(8)
    assert host.channel.irq.level
    host.read(7)
    assert host.edges == [True, False]


def test_interrupts_can_be_off() -> None:
    host = make()
    host.write(8, 0x02)
    host.write(7, 0xE0)
    assert host.edges == []
    host.write(8, 0)
    assert host.edges == [True], "it has waited"


def test_software_reset_and_signature() -> None:
    host = make()
    host.task(5, 1)
    host.write(7, 0x20)
    host.write(8, 0x04)
    assert host.status == 0x80
    host.write(8, 0)
    assert [host.read(n) for n in range(1, 6)] == [1, 1, 1, 0, 0]
    assert host.status == 0x50
    host.time.advance(1_000_000)
    assert host.interrupts == 0, "the command is gone"


def test_diagnostics() -> None:
    host = make()
    host.write(6, 0xB0)
    host.write(7, 0x90)
    assert [host.read(n) for n in range(1, 6)] == [1, 1, 1, 0, 0]
    assert host.interrupts == 1


def test_a_channel_without_drives() -> None:
    host = Host(None)
    assert host.status == 0
    host.write(7, 0xEC)
    assert (host.status, host.interrupts, host.channel.port_read(0, 2)) == (0, 0, 0xFFFF)


def test_two_drives_on_one_cable() -> None:
    host = Host(disk(MemoryNode("a", bytes(512 * 10))), disk(MemoryNode("b", b"b" * 512 * 20)))
    assert word(host.pio_in(0xEC, device=0xE0), 60) == 10
    assert word(host.pio_in(0xEC, device=0xF0), 60) == 20
    assert host.pio_in(0x20, device=0xF0) == b"b" * 512
    assert host.pio_in(0x20, device=0xE0) == bytes(512)


def test_a_drive_at_work_does_not_listen() -> None:
    host = make()
    host.task(3, 1)
    host.write(7, 0x20)
    host.write(3, 9)
    host.write(7, 0xE0)
    host.write(6, 0xF0)
    assert host.wait() & DRQ
    assert host.channel.read_bulk(0, 2, 256) == sectors(3, 1)


# --- failures of the host


def test_a_read_that_fails_names_its_sector() -> None:
    host = make(Fault(operation="read", offset=12 * 512))
    assert host.pio_in(0x20, 10, 5) == sectors(10, 2)
    assert host.status == DRDY | 0x10 | ERR
    assert (host.read(1), host.read(3)) == (UNC, 12)


def test_a_write_that_fails_is_aborted() -> None:
    host = make(Fault(operation="write"), write_error=BlockdevOnError.REPORT)
    assert host.dma(0xCA, 0, 1, (0x20000, 0x200), to_memory=False) & ERR
    assert host.read(1) == ABRT


@pytest.mark.parametrize("by_dma", [False, True])
@pytest.mark.parametrize("operation", ["read", "write", "flush"])
def test_what_is_held_is_done_when_the_guest_goes_on(operation: str, by_dma: bool) -> None:
    host = make(Fault(operation=operation, count=2), read_error=BlockdevOnError.STOP, write_error=BlockdevOnError.STOP)
    unit = host.channel.units[0]
    assert unit is not None
    data = Random(7).randbytes(1024)
    if operation == "flush":
        host.write(7, 0xE7)
    elif by_dma:
        host.ram.write(0x20000, data)
        host.dma(0xC8 if operation == "read" else 0xCA, 6, 2, (0x20000, 1024), to_memory=operation == "read")
        host.master.port_write(0, 0x09 if operation == "read" else 0x01, 1)
    else:
        host.task(6, 1)
        host.write(7, 0x20 if operation == "read" else 0x30)
        if operation == "write":
            host.channel.write_bulk(0, 2, data[:512])
    for _ in range(2):
        host.time.advance(1_000_000)
        assert unit.drive.held
        assert host.status & 0x80
        assert host.interrupts == 0
        # What is held is state: another machine goes on from here just so.
        saved = unit.save(), unit.drive.save()
        unit.restore(saved[0])
        unit.drive.restore(saved[1], unit.drive.medium)
        unit.drive.resume()
    if by_dma and operation == "read":
        host.regions((0x20000, 1024))
        host.master.port_write(0, 0, 1)
        host.master.port_write(0, 0x09, 1)
    host.time.advance(1_000_000)
    assert not unit.drive.held
    assert host.interrupts == 1
    if operation == "read" and by_dma:
        assert host.ram.read(0x20000, 1024) == sectors(6, 2)
    elif operation == "read":
        assert host.channel.read_bulk(0, 2, 256) == sectors(6, 1)
    assert host.wait() == 0x50
    if operation == "write":
        assert host.pio_in(0x20, 6, 2 if by_dma else 1) == data[: 1024 if by_dma else 512]


def test_a_reset_drops_what_is_held() -> None:
    host = make(Fault(operation="read", count=1), read_error=BlockdevOnError.STOP)
    unit = host.channel.units[0]
    assert unit is not None
    host.task(0, 1)
    host.write(7, 0x20)
    host.time.advance(1_000_000)
    assert unit.drive.held
    host.channel.reset()
    unit.drive.resume()
    host.time.advance(1_000_000)
    assert host.status == 0x50
    assert host.interrupts == 0


def test_without_a_write_cache_each_write_is_flushed() -> None:
    host = make(Fault(operation="flush", count=1, skip=1), write_error=BlockdevOnError.REPORT)
    assert host.command(0xEF, features=0x82) == 0x50
    assert host.pio_out(0x30, bytes(512), 0, 1) & ERR
    assert host.pio_out(0x30, bytes(512), 0, 1) == 0x50
