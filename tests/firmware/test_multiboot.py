from __future__ import annotations

import struct

import pytest
from images import elf, memory, multiboot_header, number, segment, text

from vmcore.firmware import multiboot
from vmcore.firmware.boot_image import CpuMode
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ConfigError, ImageError
from vmcore.model.units import MIB

LAYOUT = PlatformLayout(memory=64 * MIB)
KLUDGE = multiboot_header(addresses=(0x200000, 0x200000, 0x200040, 0x200080, 0x200030)).ljust(0x40, b"\x90")


def test_an_elf_kernel_gets_magic_and_information() -> None:
    content = multiboot_header(3).ljust(64, b"\x90")
    kernel = ImageFile("k", elf([(0x100000, 0x100000, content, 128)], bits=32, entry=0x100020))
    modules = [(ImageFile("a.mod", b"A" * 100), "a.mod x=1"), (ImageFile("b.mod", b"B" * 5000), "")]
    image = multiboot.load(kernel, LAYOUT, modules=modules, append="root=1")
    cpu = image.cpu
    assert (cpu.mode, cpu.rip, cpu.rax) == (CpuMode.PROTECTED, 0x100020, 0x2BADB002)
    flags, lower, upper = struct.unpack("<III", memory(image, cpu.rbx, 12))
    assert flags == 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9
    assert (lower, upper) == (639, 63 * 1024)
    assert text(image, number(image, cpu.rbx + 16, 4)) == b"root=1"
    assert text(image, number(image, cpu.rbx + 64, 4)) == b"vmcore"
    count, at = struct.unpack("<II", memory(image, cpu.rbx + 20, 8))
    assert count == 2
    for index, (file, argument) in enumerate(modules):
        start, end, name, _ = struct.unpack("<IIII", memory(image, at + 16 * index, 16))
        assert start % 4096 == 0
        assert memory(image, start, end - start) == file.data
        assert text(image, name) == argument.encode()


def test_the_memory_map_is_the_e820_map_with_sizes_in_front() -> None:
    image = multiboot.load(ImageFile("k", KLUDGE), LAYOUT)
    length, at = struct.unpack("<II", memory(image, image.cpu.rbx + 44, 8))
    lines = memory(image, at, length)
    found = []
    while lines:
        size, start, length, kind = struct.unpack_from("<IQQI", lines)
        found.append((start, length, kind))
        lines = lines[4 + size :]
    assert found == [(r.start, r.size, r.kind) for r in LAYOUT.memory_map()]


def test_load_addresses_in_the_header_place_the_file_and_clear_its_bss() -> None:
    image = multiboot.load(ImageFile("k", bytes(32) + KLUDGE), LAYOUT)
    program = segment(image, "program")
    assert (program.address, program.data, program.clear) == (0x200000, KLUDGE, 0x40)
    assert image.cpu.rip == 0x200030
    whole = multiboot_header(addresses=(0x200000, 0x200000, 0, 0, 0x200020)) + b"\x90" * 100
    assert segment(multiboot.load(ImageFile("k", whole), LAYOUT), "program").data == whole


def test_a_wanted_video_mode_is_answered_with_text() -> None:
    kernel = multiboot_header(4, addresses=(0x200000, 0x200000, 0, 0, 0x200020)) + bytes(64)
    image = multiboot.load(ImageFile("k", kernel), LAYOUT)
    address, pitch, width, height, bits, kind = struct.unpack("<QIIIBB", memory(image, image.cpu.rbx + 88, 22))
    assert (address, pitch, width, height, bits, kind) == (0xB8000, 160, 80, 25, 16, 2)


def test_the_header_is_found_only_where_the_specification_looks() -> None:
    header = multiboot_header()
    assert multiboot.find_header(bytes(8180) + header) == 8180
    assert multiboot.find_header(bytes(8192) + header) is None
    assert multiboot.find_header(bytes(2) + header) is None
    assert multiboot.find_header(header[:8] + bytes(4) + header) == 12


@pytest.mark.parametrize(
    ("addresses", "field"),
    [
        ((0x200000, 0x300000, 0, 0, 0x200000), "load_addr"),
        ((0x200000, 0x100000, 0, 0, 0x200000), "load_addr"),
        ((0x200000, 0x200000, 0x1FFFFF, 0, 0x200000), "load_end_addr"),
        ((0x200000, 0x200000, 0x300000, 0, 0x200000), "load_end_addr"),
        ((0x200000, 0x200000, 0x200020, 0x200010, 0x200000), "bss_end_addr"),
        ((0x200000, 0x200000, 0x200020, 0x200040, 0x200040), "entry_addr"),
        ((0xC000000, 0xC000000, 0, 0, 0xC000000), "program"),
    ],
)
def test_bad_addresses_are_named(addresses: tuple[int, int, int, int, int], field: str) -> None:
    with pytest.raises(ImageError) as caught:
        multiboot.load(ImageFile("k", multiboot_header(addresses=addresses) + bytes(64)), LAYOUT)
    assert caught.value.field == field


def test_unknown_requirements_missing_headers_and_bad_modules_are_refused() -> None:
    with pytest.raises(ImageError, match="flags: 0x10008: expected no requirement bits but 0, 1 and 2"):
        multiboot.load(ImageFile("k", multiboot_header(8, (0x200000, 0x200000, 0, 0, 0x200000))), LAYOUT)
    with pytest.raises(ImageError, match="magic"):
        multiboot.load(ImageFile("k", bytes(100)), LAYOUT)
    with pytest.raises(ImageError, match="bit 16"):
        multiboot.load(ImageFile("k", multiboot_header()), LAYOUT)
    with pytest.raises(ImageError, match="m: size"):
        multiboot.load(ImageFile("k", KLUDGE), LAYOUT, modules=[(ImageFile("m", b""), "")])
    with pytest.raises(ConfigError, match="zero"):
        multiboot.load(ImageFile("k", KLUDGE), LAYOUT, modules=[(ImageFile("m", b"1"), "a\0")])
