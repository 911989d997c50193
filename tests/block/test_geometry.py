from __future__ import annotations

import pytest

from vmcore.block.geometry import FLOPPIES, Geometry, floppy, hard_disk


def test_floppies_have_their_formats() -> None:
    assert floppy(2880) == Geometry(80, 2, 18)
    assert floppy(720) == Geometry(40, 2, 9)
    assert set(FLOPPIES) == {320, 360, 640, 720, 1440, 2400, 2880, 5760}
    odd = floppy(100)
    assert odd.cylinders * odd.heads * odd.sectors >= 100


@pytest.mark.parametrize("sectors", [1, 63, 1000, 1 << 20, 1032192, 1032193, 1 << 23, 16450560, 1 << 40])
def test_hard_disks_keep_within_what_int_13h_can_say(sectors: int) -> None:
    geometry = hard_disk(sectors)
    assert 1 <= geometry.cylinders <= 1024
    assert geometry.heads in (16, 32, 64, 128, 255)
    assert geometry.sectors == 63
    assert geometry.cylinders * geometry.heads * 63 >= min(sectors, 1024 * 255 * 63)
