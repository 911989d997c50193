from __future__ import annotations

import pytest
from images import boot_sector, segment

from vmcore.firmware import bootsector
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ConfigError, ImageError
from vmcore.model.units import MIB

LAYOUT = PlatformLayout(memory=64 * MIB)


def test_a_disk_starts_at_the_reset_vector_with_the_bios_and_itself_as_first_hard_disk() -> None:
    data = boot_sector()
    image = bootsector.load(ImageFile("boot", data), LAYOUT)
    assert (image.cpu.cs.selector, image.cpu.cs.base, image.cpu.rip) == (0xF000, 0xF0000, 0xFFF0)
    assert [(disk.unit, disk.data) for disk in image.disks] == [(0x80, data)]
    bios = segment(image, "BIOS")
    assert bios.end == 0x100000
    assert bios.rom
    assert bios.data[0x1C04] == 0x80


def test_an_image_with_the_size_of_a_floppy_is_one_unless_told_otherwise() -> None:
    file = ImageFile("floppy", boot_sector(sectors=2880))
    assert bootsector.load(file, LAYOUT).disks[0].unit == 0x00
    image = bootsector.load(file, LAYOUT, unit=0x80)
    assert image.disks[0].unit == 0x80
    with pytest.raises(ConfigError, match="unit"):
        bootsector.load(file, LAYOUT, unit=0x42)


def test_files_that_no_bios_would_boot_are_refused() -> None:
    with pytest.raises(ImageError, match="b: boot signature: 0x0: expected 0xaa55 at 0x1fe"):
        bootsector.load(ImageFile("b", bytes(512)), LAYOUT)
    with pytest.raises(ImageError, match="b: size: 0x1ff"):
        bootsector.load(ImageFile("b", bytes(511)), LAYOUT)


def test_the_teletype_is_mirrored_to_the_serial_port_on_demand() -> None:
    file = ImageFile("boot", boot_sector())
    assert segment(bootsector.load(file, LAYOUT), "BIOS").data[0x1C05] & 1 == 0
    assert segment(bootsector.load(file, LAYOUT, mirror_to_serial=True), "BIOS").data[0x1C05] & 1 == 1
