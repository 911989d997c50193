from __future__ import annotations

import struct

import pytest
from images import segment

from vmcore.firmware import flat
from vmcore.firmware.boot_image import CpuMode
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ConfigError, ImageError
from vmcore.model.units import MIB

LAYOUT = PlatformLayout(memory=64 * MIB)
CODE = ImageFile("code", b"\x90\xf4")


def test_real_mode_starts_at_segment_zero_in_the_first_64_kib_and_at_its_own_segment_above() -> None:
    low = flat.load(CODE, LAYOUT, address=0x7C00).cpu
    assert (low.cs.selector, low.rip, low.ss.base + low.rsp, low.mode) == (0, 0x7C00, 0x7C00, CpuMode.REAL)
    high = flat.load(CODE, LAYOUT, address=0x20008, entry=0x20009).cpu
    assert (high.cs.selector, high.cs.base, high.rip) == (0x2000, 0x20000, 9)


def test_protected_and_long_mode_get_flat_segments_and_a_stack() -> None:
    for mode in (CpuMode.PROTECTED, CpuMode.LONG):
        image = flat.load(CODE, LAYOUT, address=0x200000, mode=mode)
        assert (image.cpu.mode, image.cpu.rip, image.cpu.cs.base) == (mode, 0x200000, 0)
        assert 0x1000 < image.cpu.rsp < 0xA0000
        assert segment(image, "program").data == CODE.data
        assert all(part.end <= image.cpu.rsp - 0x1000 or part.address >= image.cpu.rsp for part in image.segments)
    assert image.cpu.cr3


def test_tables_keep_out_of_the_programs_way() -> None:
    for address in (0x1000, 0x2000, 0x7C00, 0x9000):
        image = flat.load(ImageFile("code", bytes(0x3000)), LAYOUT, address=address, mode=CpuMode.LONG)
        for one, other in zip(image.segments, image.segments[1:], strict=False):
            assert one.end <= other.address


def test_with_the_bios_the_program_is_started_by_it() -> None:
    image = flat.load(CODE, LAYOUT, address=0x1000, with_bios=True)
    assert image.cpu.rip == 0xFFF0
    assert struct.unpack_from("<HH", segment(image, "BIOS").data, 0x1C20) == (0x1000, 0)
    with pytest.raises(ConfigError, match="real mode only"):
        flat.load(CODE, LAYOUT, address=0x1000, mode=CpuMode.LONG, with_bios=True)


def test_bad_places_are_refused() -> None:
    with pytest.raises(ConfigError, match="below 1 MiB"):
        flat.load(CODE, LAYOUT, address=0x200000)
    with pytest.raises(ConfigError, match="entry"):
        flat.load(CODE, LAYOUT, address=0x2000, entry=0x3000)
    with pytest.raises(ImageError, match="program: 0xa0000: expected 0x2 bytes of RAM there"):
        flat.load(CODE, LAYOUT, address=0xA0000, mode=CpuMode.PROTECTED)
    with pytest.raises(ImageError, match="size"):
        flat.load(ImageFile("empty", b""), LAYOUT, address=0x1000)
    with pytest.raises(ConfigError, match="64-bit"):
        flat.load(CODE, PlatformLayout(memory=64 * MIB, long_mode=False), address=0x2000, mode=CpuMode.LONG)
