from __future__ import annotations

import struct

import pytest
from images import elf, memory, note, number, text

from vmcore.firmware import pvh
from vmcore.firmware.boot_image import CpuMode
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ImageError
from vmcore.model.units import MIB

LAYOUT = PlatformLayout(memory=64 * MIB)


def kernel(entry: int = 0x100004, *, bits: int = 64, size: int = 4) -> ImageFile:
    notes = note(b"GNU", 1, b"abcd") + note(b"Xen", 18, entry.to_bytes(size, "little"))
    return ImageFile("pvh", elf(bits=bits, notes=notes))


def test_the_note_gives_the_32_bit_entry_and_ebx_points_to_the_start_information() -> None:
    modules = [(ImageFile("initrd", b"R" * 5000), "initrd")]
    image = pvh.load(kernel(), LAYOUT, modules=modules, append="quiet")
    cpu = image.cpu
    assert (cpu.mode, cpu.rip, cpu.cr0 & 0x80000001, cpu.cr4) == (CpuMode.PROTECTED, 0x100004, 1, 0)
    assert cpu.tr.limit >= 0x67
    info = struct.unpack("<IIIIQQQQII", memory(image, cpu.rbx, 56))
    magic, version, flags, count, module_list, line, rsdp, lines, line_count, _ = info
    assert (magic, version, flags, count) == (0x336EC578, 1, 0, 1)
    assert text(image, line) == b"quiet"
    assert memory(image, rsdp, 8) == b"RSD PTR "
    start, size, name, _ = struct.unpack("<QQQQ", memory(image, module_list, 32))
    assert memory(image, start, size) == b"R" * 5000
    assert text(image, name) == b"initrd"
    found = [struct.unpack("<QQII", memory(image, lines + 24 * i, 24))[:3] for i in range(line_count)]
    assert found == [(r.start, r.size, r.kind) for r in LAYOUT.memory_map()]


def test_entry_notes_of_four_and_eight_bytes_in_32_and_64_bit_files_are_read() -> None:
    for bits in (32, 64):
        for size in (4, 8):
            assert pvh.load(kernel(bits=bits, size=size), LAYOUT).cpu.rip == 0x100004


def test_without_modules_and_acpi_their_addresses_are_zero() -> None:
    image = pvh.load(kernel(), PlatformLayout(memory=64 * MIB, acpi=False))
    assert number(image, image.cpu.rbx + 12, 4) == 0
    assert number(image, image.cpu.rbx + 16, 8) == 0
    assert number(image, image.cpu.rbx + 32, 8) == 0


def test_missing_and_bad_notes_are_refused() -> None:
    with pytest.raises(ImageError, match="pvh: notes"):
        pvh.load(ImageFile("pvh", elf()), LAYOUT)
    with pytest.raises(ImageError, match="XEN_ELFNOTE_PHYS32_ENTRY: 0x5000: expected an address within"):
        pvh.load(kernel(0x5000), LAYOUT)
    bad = elf(notes=note(b"Xen", 18, b"abc"))
    with pytest.raises(ImageError, match="4 or 8 bytes"):
        pvh.load(ImageFile("pvh", bad), LAYOUT)
