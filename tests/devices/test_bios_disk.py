from __future__ import annotations

from random import Random

import pytest

from vmcore.block.raw import SECTOR, RawDisk
from vmcore.devices.bios_disk import BiosDisk, DiskCommand, DiskStatus

CONTENT = Random(2).randbytes(64 * SECTOR)

UNIT, COMMAND, COUNT, LBA, LBA_HIGH, DATA, SECTORS, KIND = 0, 1, 2, 4, 8, 12, 16, 0x1E


class Failing(RawDisk):
    """A disk whose medium is gone."""

    def read(self, lba: int, count: int) -> bytes:
        raise OSError("unreadable")

    def write(self, lba: int, data: bytes) -> None:
        raise OSError("unwritable")


def device(*, read_only: bool = False) -> BiosDisk:
    floppy, hard_disk = RawDisk.from_bytes(CONTENT[: 9 * SECTOR]), RawDisk.from_bytes(CONTENT, read_only=read_only)
    return BiosDisk({0x00: floppy, 0x80: hard_disk})


def command(disk: BiosDisk, what: int, lba: int = 0, count: int = 1, unit: int = 0x80) -> int:
    disk.port_write(UNIT, unit, 1)
    disk.port_write(LBA, lba & 0xFFFFFFFF, 4)
    disk.port_write(LBA_HIGH, lba >> 32, 4)
    disk.port_write(COUNT, count, 2)
    disk.port_write(COMMAND, what, 1)
    return disk.port_read(COMMAND, 1)


def test_sectors_are_read_word_by_word_or_in_bulk() -> None:
    disk = device()
    assert command(disk, DiskCommand.READ, 5, 2) == DiskStatus.OK
    words = [disk.port_read(DATA, 2) for _ in range(256)]
    assert b"".join(word.to_bytes(2, "little") for word in words) == CONTENT[5 * SECTOR : 6 * SECTOR]
    assert disk.read_bulk(DATA, 2, 256) == CONTENT[6 * SECTOR : 7 * SECTOR]
    assert disk.port_read(DATA, 2) == 0xFFFF
    assert disk.read_bulk(DATA, 2, 3) == b"\xff" * 6


def test_sectors_reach_the_disk_with_their_last_word() -> None:
    disk = device()
    backend = disk.units[0x80]
    assert command(disk, DiskCommand.WRITE, 7, 2) == DiskStatus.OK
    disk.write_bulk(DATA, 2, b"ab" * 511)
    assert backend.read(7, 2) == CONTENT[7 * SECTOR : 9 * SECTOR]
    disk.port_write(DATA, 0x6261, 2)
    assert backend.read(7, 2) == b"ab" * 512
    assert disk.port_read(COMMAND, 1) == DiskStatus.OK
    disk.port_write(DATA, 0, 2)
    assert backend.read(9, 1) == CONTENT[9 * SECTOR : 10 * SECTOR]


@pytest.mark.parametrize(
    ("what", "lba", "count", "unit", "status"),
    [
        (DiskCommand.RESET, 0, 0, 0x80, DiskStatus.OK),
        (DiskCommand.RESET, 0, 0, 0x81, DiskStatus.NOT_READY),
        (DiskCommand.VERIFY, 63, 1, 0x80, DiskStatus.OK),
        (DiskCommand.VERIFY, 63, 2, 0x80, DiskStatus.NOT_FOUND),
        (DiskCommand.READ, 9, 1, 0x00, DiskStatus.NOT_FOUND),
        (DiskCommand.READ, 1 << 40, 1, 0x80, DiskStatus.NOT_FOUND),
        (DiskCommand.READ, 0, 0, 0x80, DiskStatus.BAD_COMMAND),
        (DiskCommand.READ, 0, 256, 0x80, DiskStatus.BAD_COMMAND),
        (9, 0, 1, 0x80, DiskStatus.BAD_COMMAND),
    ],
)
def test_commands_have_a_status_at_once(what: int, lba: int, count: int, unit: int, status: DiskStatus) -> None:
    assert command(device(), what, lba, count, unit) == status


def test_read_only_units_refuse_writes_and_say_so() -> None:
    disk = device(read_only=True)
    assert command(disk, DiskCommand.WRITE) == DiskStatus.WRITE_PROTECTED
    assert disk.port_read(KIND, 1) == 0x82


def test_a_failing_medium_is_reported_to_the_guest() -> None:
    disk = BiosDisk({0x80: Failing.from_bytes(CONTENT)})
    assert command(disk, DiskCommand.READ) == DiskStatus.FAILED
    assert command(disk, DiskCommand.WRITE) == DiskStatus.OK
    disk.write_bulk(DATA, 2, bytes(SECTOR))
    assert disk.port_read(COMMAND, 1) == DiskStatus.FAILED


def test_units_tell_their_kind_size_and_geometry() -> None:
    disk = device()
    for unit, kind, sectors in ((0x00, 1, 9), (0x80, 2, 64), (0x81, 0, 0)):
        disk.port_write(UNIT, unit, 1)
        assert disk.port_read(KIND, 1) == kind
        assert (disk.port_read(SECTORS, 4), disk.port_read(SECTORS + 4, 4)) == (sectors, 0)
    disk.port_write(UNIT, 0x80, 1)
    assert (disk.port_read(0x18, 2), disk.port_read(0x1A, 2), disk.port_read(0x1C, 2)) == (1, 16, 63)


def test_changing_the_unit_under_a_write_cannot_write_past_the_other_disk() -> None:
    disk = device()
    assert command(disk, DiskCommand.WRITE, 60, 2) == DiskStatus.OK
    disk.port_write(UNIT, 0x00, 1)
    disk.write_bulk(DATA, 2, bytes(2 * SECTOR))
    assert disk.port_read(COMMAND, 1) == DiskStatus.NOT_FOUND


def test_a_transfer_under_way_survives_save_and_restore() -> None:
    disk, other = device(), device()
    command(disk, DiskCommand.READ, 3)
    disk.read_bulk(DATA, 2, 100)
    other.restore(disk.save())
    assert other.read_bulk(DATA, 2, 156) == disk.read_bulk(DATA, 2, 156) == CONTENT[3 * SECTOR + 200 : 4 * SECTOR]


def test_what_was_written_belongs_to_the_state_and_outlives_a_reset() -> None:
    disk = device()
    fresh = disk.save()
    command(disk, DiskCommand.WRITE, 5)
    disk.write_bulk(DATA, 2, b"xy" * 256)
    disk.reset()
    written = disk.save()
    assert written.disks != fresh.disks
    disk.restore(fresh)
    assert disk.units[0x80].read(5, 1) == CONTENT[5 * SECTOR : 6 * SECTOR]
    other = device()
    other.restore(written)
    assert other.units[0x80].read(5, 1) == b"xy" * 256


def test_bulk_accesses_of_other_sizes_are_as_many_single_ones() -> None:
    disk = device()
    command(disk, DiskCommand.READ, 3)
    assert disk.read_bulk(UNIT, 1, 3) == b"\x80\x80\x80"
    disk.write_bulk(UNIT, 1, b"\x00\x81")
    assert disk.port_read(UNIT, 1) == 0x81
