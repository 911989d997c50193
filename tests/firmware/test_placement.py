from __future__ import annotations

import itertools
from random import Random

import pytest

from vmcore.firmware.placement import Placement
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ImageError
from vmcore.model.units import MIB

LAYOUT = PlatformLayout(memory=16 * MIB)


def test_low_takes_the_first_gap_that_is_large_enough() -> None:
    where = Placement("f", LAYOUT)
    where.put(0x1000, bytes(0x100), "a")
    where.put(0x1200, bytes(0x100), "b")
    assert where.low(bytes(0x101), "c") == 0x1300
    assert where.low(bytes(0x100), "d") == 0x1100
    assert where.low(bytes(0xA0000), "too large for conventional memory") == 0x100000


def test_high_takes_the_last_gap_below_its_limit() -> None:
    where = Placement("f", LAYOUT)
    top = LAYOUT.acpi_base
    assert where.high(bytes(0x1001), "a") == top - 0x2000
    assert where.high(bytes(0x1000), "b") == top - 0x3000
    assert where.high(bytes(0x1000), "c", limit=0x800000) == 0x7FF000


def test_errors_name_both_parties_in_hexadecimal() -> None:
    where = Placement("kernel.bin", LAYOUT)
    where.put(0x100000, bytes(16), "program")
    with pytest.raises(ImageError, match=r"kernel\.bin: tail: 0x100008: .*not overlapping program at 0x100000-0x10001"):
        where.put(0x100008, b"x", "tail")
    with pytest.raises(ImageError, match=r"far: 0x10000000: expected 0x1 bytes of RAM there; RAM is 0x0-0x9fc00"):
        where.put(0x10000000, b"x", "far")
    with pytest.raises(ImageError, match=r"other\.bin: big"):
        where.high(bytes(32 * MIB), "big", file="other.bin")
    with pytest.raises(ImageError, match="huge"):
        where.low(b"", "huge", size=64 * MIB)


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_placed_lies_apart(seed: int) -> None:
    random = Random(seed)
    where = Placement("f", LAYOUT)
    for number in range(60):
        data = bytes(random.randrange(1, 20000))
        place = where.low if random.random() < 0.5 else where.high
        place(data, f"part {number}", alignment=random.choice((1, 16, 4096)))
    parts = where.segments()
    assert len(parts) == 60
    for one, other in itertools.pairwise(parts):
        assert one.end <= other.address
