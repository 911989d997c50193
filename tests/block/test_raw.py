from __future__ import annotations

import os
import pickle
from pathlib import Path
from random import Random

import pytest

from vmcore.block.raw import SECTOR, RawDisk
from vmcore.model.errors import ImageError, UsageError

CONTENT = Random(1).randbytes(20 * SECTOR)


def test_bytes_are_read_by_sector_and_padded_to_the_last_one() -> None:
    disk = RawDisk.from_bytes(CONTENT[:-100])
    assert disk.sectors == 20
    assert disk.read(3, 2) == CONTENT[3 * SECTOR : 5 * SECTOR]
    assert disk.read(19, 1) == CONTENT[19 * SECTOR : -100] + bytes(100)
    assert disk.read(5, 0) == b""


def test_writes_stay_in_the_overlay(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(CONTENT)
    with RawDisk.opened(path) as disk:
        disk.write(2, b"a" * SECTOR * 3)
        assert disk.read(1, 5) == CONTENT[SECTOR : 2 * SECTOR] + b"a" * SECTOR * 3 + CONTENT[5 * SECTOR : 6 * SECTOR]
    assert path.read_bytes() == CONTENT


def test_with_write_through_they_reach_the_file_and_not_the_state(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(CONTENT)
    with RawDisk.opened(path, write_through=True) as disk:
        disk.write(2, b"a" * SECTOR)
        disk.flush()
        assert disk.read(2, 1) == b"a" * SECTOR
        assert disk.save().overlay == ()
    assert path.read_bytes()[2 * SECTOR : 3 * SECTOR] == b"a" * SECTOR


@pytest.mark.parametrize("seed", range(3))
def test_a_disk_behaves_like_an_array_and_its_state_brings_it_back(seed: int) -> None:
    random = Random(seed)
    disk, model = RawDisk.from_bytes(CONTENT), bytearray(CONTENT)
    saved, kept = disk.save(), bytes(model)
    for _ in range(200):
        lba = random.randrange(20)
        count = random.randint(1, 20 - lba)
        if random.random() < 0.5:
            data = random.randbytes(count * SECTOR)
            disk.write(lba, data)
            model[lba * SECTOR : (lba + count) * SECTOR] = data
        assert disk.read(lba, count) == bytes(model[lba * SECTOR : (lba + count) * SECTOR])
        if random.random() < 0.05:
            saved, kept = pickle.loads(pickle.dumps(disk.save())), bytes(model)
    disk.restore(saved)
    assert disk.read(0, 20) == kept


def test_misuse_is_refused() -> None:
    disk = RawDisk.from_bytes(CONTENT)
    for lba, count in ((20, 1), (-1, 1), (0, 21)):
        with pytest.raises(UsageError, match="sectors"):
            disk.read(lba, count)
    with pytest.raises(UsageError):
        disk.write(0, b"abc")
    with pytest.raises(UsageError):
        RawDisk.from_bytes(CONTENT, read_only=True).write(0, bytes(SECTOR))
    with pytest.raises(UsageError):
        RawDisk.open("/dev/null", read_only=True, write_through=True)


def test_bad_files_are_errors_and_leave_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (tmp_path / "empty").touch()
    with pytest.raises(ImageError, match="empty: size: 0x0"):
        RawDisk.open(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        RawDisk.open(tmp_path / "missing")
    (tmp_path / "shrunk").write_bytes(CONTENT)
    with RawDisk.opened(tmp_path / "shrunk") as disk:
        os.truncate(tmp_path / "shrunk", 1000)
        with pytest.raises(OSError, match="ends at 0x3e8"):
            disk.read(0, 20)
    disk.close()
    assert len(os.listdir("/proc/self/fd")) == before
