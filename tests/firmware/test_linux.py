from __future__ import annotations

import itertools
import struct

import pytest
from images import bzimage, elf, memory, number, segment, text

from vmcore.firmware import linux
from vmcore.firmware.boot_image import CpuMode
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.linux import LinuxEntry, SetupData
from vmcore.firmware.linux_header import BootField, video_mode
from vmcore.firmware.platform import MemoryKind, PlatformLayout
from vmcore.model.errors import ConfigError, ImageError
from vmcore.model.units import MIB

LAYOUT = PlatformLayout(memory=64 * MIB)


def kernel(**options: object) -> ImageFile:
    return ImageFile("vmlinuz", bzimage(**options))  # type: ignore[arg-type]


def test_a_64_bit_kernel_is_entered_in_long_mode_200h_behind_its_load_address() -> None:
    image = linux.load(kernel(), LAYOUT, append="quiet")
    cpu = image.cpu
    assert cpu.mode is CpuMode.LONG
    assert cpu.rip == 0x1000000 + 0x200
    assert (cpu.cs.selector, cpu.ds.selector, cpu.es.selector, cpu.ss.selector) == (0x10, 0x18, 0x18, 0x18)
    assert cpu.cs.attributes & 0x2000
    assert cpu.efer == 0x500
    assert cpu.cr0 & 0x80000001 == 0x80000001
    assert cpu.cr4 & 0x20
    assert not cpu.rflags & 0x200
    assert segment(image, "kernel").data == b"\xf4" * 0x1000


def test_boot_params_carry_header_command_line_memory_map_and_acpi() -> None:
    image = linux.load(kernel(), LAYOUT, append="console=ttyS0 ro")
    zero_page = image.cpu.rsi
    assert number(image, zero_page + BootField.HEADER, 4) == 0x53726448
    assert number(image, zero_page + BootField.TYPE_OF_LOADER, 1) == 0xFF
    assert text(image, number(image, zero_page + BootField.CMD_LINE_PTR, 4)) == b"console=ttyS0 ro"
    rsdp = number(image, zero_page + BootField.ACPI_RSDP_ADDR, 8)
    assert memory(image, rsdp, 8) == b"RSD PTR "
    lines = number(image, zero_page + BootField.E820_ENTRIES, 1)
    assert lines == len(LAYOUT.memory_map())
    start, size, kind = struct.unpack("<QQI", memory(image, zero_page + BootField.E820_TABLE, 20))
    assert (start, size, kind) == (0, 0x9FC00, MemoryKind.RAM)
    assert memory(image, zero_page, 0x40)[0x0F] == 0
    assert number(image, zero_page + 0x1EF, 1) == 0


def test_identity_page_tables_map_four_gib_and_all_ram() -> None:
    layout = PlatformLayout(memory=5 << 30)
    image = linux.load(kernel(), layout)

    def translate(address: int) -> int:
        table = image.cpu.cr3
        for shift in (39, 30):
            entry = number(image, table + (address >> shift & 511) * 8, 8)
            assert entry & 1
            table = entry & ~0xFFF
        entry = number(image, table + (address >> 21 & 511) * 8, 8)
        assert entry & 0x83 == 0x83
        return (entry & ~0x1FFFFF) + (address & 0x1FFFFF)

    for address in (0, 0x1234567, 0xFEE00123, (4 << 30) + 5, (6 << 30) - 1):
        assert translate(address) == address


def test_the_global_descriptor_table_holds_what_the_segment_registers_say() -> None:
    for entry in (LinuxEntry.LONG_MODE, LinuxEntry.PROTECTED_MODE):
        image = linux.load(kernel(), LAYOUT, entry=entry)
        for register in (image.cpu.cs, image.cpu.ds, image.cpu.tr):
            low = number(image, image.cpu.gdtr.base + register.selector, 8)
            base = low >> 16 & 0xFFFFFF | low >> 56 << 24
            limit = low & 0xFFFF | (low >> 48 & 0xF) << 16
            assert low >> 40 & 0xF0FF == register.attributes
            assert base == register.base
            assert (limit << 12 | 0xFFF if low >> 55 & 1 else limit) == register.limit
            assert register.selector | 7 <= image.cpu.gdtr.limit


def test_the_initial_ram_disk_lies_as_high_as_kernel_and_memory_allow() -> None:
    initrd = ImageFile("initrd", b"x" * 5000)
    image = linux.load(kernel(), LAYOUT, initrd=initrd)
    address = number(image, image.cpu.rsi + BootField.RAMDISK_IMAGE, 4)
    assert number(image, image.cpu.rsi + BootField.RAMDISK_SIZE, 4) == 5000
    assert memory(image, address, 5000) == initrd.data
    assert address == LAYOUT.acpi_base - 0x2000
    limited = kernel(fields={BootField.INITRD_ADDR_MAX: (0x2FFFFFF, 4)})
    image = linux.load(limited, LAYOUT, initrd=initrd)
    assert number(image, image.cpu.rsi + BootField.RAMDISK_IMAGE, 4) == 0x3000000 - 0x2000


def test_an_initial_ram_disk_that_does_not_fit_is_named() -> None:
    with pytest.raises(ImageError, match=r"big\.gz: initrd: 0x3c00000: expected as many bytes of free RAM"):
        linux.load(kernel(), LAYOUT, initrd=ImageFile("big.gz", bytes(60 * MIB)))
    with pytest.raises(ImageError, match=r"empty\.gz: size"):
        linux.load(kernel(), LAYOUT, initrd=ImageFile("empty.gz", b""))


def test_the_32_bit_entry_is_in_flat_protected_mode_at_the_load_address() -> None:
    image = linux.load(kernel(), LAYOUT, entry=LinuxEntry.PROTECTED_MODE)
    cpu = image.cpu
    assert cpu.mode is CpuMode.PROTECTED
    assert cpu.rip == 0x1000000
    assert cpu.cr0 & 0x80000001 == 1
    assert (cpu.rbp, cpu.rdi, cpu.rbx) == (0, 0, 0)
    assert number(image, cpu.rsi + BootField.CODE32_START, 4) == 0x1000000


def test_the_entry_is_chosen_by_kernel_and_processor() -> None:
    old_cpu = PlatformLayout(memory=64 * MIB, long_mode=False)
    assert linux.load(kernel(), old_cpu).cpu.mode is CpuMode.PROTECTED
    assert linux.load(kernel(xloadflags=0), LAYOUT).cpu.mode is CpuMode.PROTECTED
    assert linux.load(kernel(version=0x20B), LAYOUT).cpu.mode is CpuMode.PROTECTED
    assert linux.load(kernel(loadflags=0, xloadflags=0, version=0x200), LAYOUT).kind == "linux 16-bit"
    with pytest.raises(ImageError, match="xloadflags"):
        linux.load(kernel(xloadflags=0), LAYOUT, entry=LinuxEntry.LONG_MODE)
    with pytest.raises(ImageError, match="loadflags"):
        linux.load(kernel(loadflags=0, xloadflags=0), LAYOUT, entry=LinuxEntry.PROTECTED_MODE)
    with pytest.raises(ConfigError, match="64-bit"):
        linux.load(kernel(), old_cpu, entry=LinuxEntry.LONG_MODE)


def test_the_real_mode_entry_goes_through_the_bios() -> None:
    image = linux.load(kernel(), LAYOUT, entry=LinuxEntry.REAL_MODE, append="quiet")
    cpu = image.cpu
    assert (cpu.mode, cpu.cs.selector, cpu.cs.base, cpu.rip) == (CpuMode.REAL, 0xF000, 0xF0000, 0xFFF0)
    setup = segment(image, "real-mode code")
    assert setup.address == 0x10000
    assert len(setup.data) == 4 * 512
    assert number(image, setup.address + BootField.LOADFLAGS, 1) & 0x80
    assert number(image, setup.address + BootField.HEAP_END_PTR, 2) == 0xDE00
    assert number(image, setup.address + BootField.CODE32_START, 4) == 0x1000000
    assert text(image, number(image, setup.address + BootField.CMD_LINE_PTR, 4)) == b"quiet"
    config = segment(image, "BIOS").data[0x1C00:]
    ip, cs, data, sp, ss = struct.unpack_from("<5H", config, 0x20)
    assert (ip, cs, data, sp, ss) == (0, 0x1020, 0x1000, 0xE000, 0x1000)
    assert config[5] & 4


def test_a_zimage_runs_at_64_kib_with_its_setup_code_at_576_kib() -> None:
    image = linux.load(kernel(loadflags=0, xloadflags=0, version=0x201), LAYOUT, append="old")
    assert segment(image, "protected-mode code").address == 0x10000
    setup = segment(image, "real-mode code")
    assert setup.address == 0x90000
    assert number(image, setup.address + 0x20, 2) == 0xA33F
    assert text(image, setup.address + number(image, setup.address + 0x22, 2)) == b"old"


def test_a_kernel_moves_to_a_lower_address_where_its_preferred_one_has_no_ram() -> None:
    layout = PlatformLayout(memory=16 * MIB)
    assert segment(linux.load(kernel(), layout), "kernel").address == 0x200000
    fixed = kernel(fields={BootField.RELOCATABLE_KERNEL: (0, 1)})
    with pytest.raises(ImageError, match="init_size: 0x800000: expected RAM for as many bytes at 0x1000000"):
        linux.load(fixed, layout)
    with pytest.raises(ImageError, match="init_size"):
        linux.load(kernel(), PlatformLayout(memory=4 * MIB))


def test_too_long_a_command_line_is_refused_with_the_kernels_own_limit() -> None:
    short = kernel(fields={BootField.CMDLINE_SIZE: (10, 4)})
    linux.load(short, LAYOUT, append="0123456789")
    with pytest.raises(ConfigError, match="append: '11 bytes': expected at most 10 bytes for vmlinuz"):
        linux.load(short, LAYOUT, append="0123456789a")
    with pytest.raises(ConfigError, match="zero character"):
        linux.load(short, LAYOUT, append="a\0b")


def test_setup_data_becomes_a_linked_list() -> None:
    items = [SetupData.random_seed(b"seed"), SetupData(2, b"tree")]
    image = linux.load(kernel(), LAYOUT, setup_data=items)
    at = number(image, image.cpu.rsi + BootField.SETUP_DATA, 8)
    found = []
    while at:
        following, kind, size = struct.unpack("<QII", memory(image, at, 16))
        found.append((kind, memory(image, at + 16, size)))
        at = following
    assert found == [(9, b"seed"), (2, b"tree")]
    with pytest.raises(ImageError, match="version: 0x208"):
        linux.load(kernel(version=0x208), LAYOUT, setup_data=items)


def test_a_text_screen_is_described_and_none_is_all_zero() -> None:
    image = linux.load(kernel(), PlatformLayout(memory=64 * MIB, text_screen=True))
    screen = memory(image, image.cpu.rsi, 0x40)
    assert (screen[6], screen[7], screen[0x0E], screen[0x0F], screen[0x10]) == (3, 80, 25, 1, 16)
    assert memory(linux.load(kernel(), LAYOUT), image.cpu.rsi + 4, 0x3C) == bytes(0x3C)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({BootField.BOOT_FLAG: (0x1234, 2)}, "boot_flag: 0x1234: expected 0xaa55"),
        ({BootField.HEADER: (0, 4)}, "header: 0x0: expected 0x53726448"),
        ({BootField.VERSION: (0x300, 2)}, "version: 0x300: expected a boot protocol"),
        ({BootField.SETUP_SECTS: (200, 1)}, "setup_sects: 0xc8: expected setup code and kernel within the file"),
        ({BootField.SYSSIZE: (0x101, 4)}, "syssize: 0x101: expected at most 0x100: the file is cut short"),
        ({BootField.KERNEL_ALIGNMENT: (0x300000, 4)}, "kernel_alignment: 0x300000: expected a power of two"),
        ({BootField.MIN_ALIGNMENT: (40, 1)}, "min_alignment: 0x28"),
        ({BootField.INIT_SIZE: (0xF0000000, 4)}, "init_size: 0xf0000000"),
    ],
)
def test_bad_headers_are_named_with_field_and_value(fields: dict[BootField, tuple[int, int]], message: str) -> None:
    with pytest.raises(ImageError, match=f"vmlinuz: {message}"):
        linux.load(kernel(fields=fields), LAYOUT)


def test_vmlinux_is_entered_at_its_physical_entry_point_with_boot_params() -> None:
    high = 0xFFFFFFFF81000000
    file = ImageFile("vmlinux", elf([(high, 0x1000000, b"\x90" * 32, 64)], entry=0x1000010))
    image = linux.load_vmlinux(file, LAYOUT, append="x", initrd=ImageFile("i", b"abc"))
    assert image.cpu.rip == 0x1000010
    assert image.cpu.mode is CpuMode.LONG
    assert number(image, image.cpu.rsi + BootField.BOOT_FLAG, 2) == 0xAA55
    assert segment(image, "segment 0 of the program").clear == 32
    virtual = ImageFile("v", elf([(high, 0x1000000, b"\x90" * 32, 64)], entry=high + 4))
    assert linux.load_vmlinux(virtual, LAYOUT).cpu.rip == 0x1000004
    narrow = linux.load_vmlinux(ImageFile("v", elf(bits=32)), LAYOUT)
    assert (narrow.cpu.mode, narrow.cpu.rip) == (CpuMode.PROTECTED, 0x100000)


def test_machines_of_every_size_get_disjoint_segments_within_their_memory() -> None:
    for mib in (32, 64, 100, 1024, 3072, 8192):
        layout = PlatformLayout(memory=mib * MIB, cpus=8)
        image = linux.load(kernel(), layout, initrd=ImageFile("i", bytes(123456)), append="a" * 200)
        parts = image.segments
        for one, other in itertools.pairwise(parts):
            assert one.end <= other.address, (one, other)
        ram = [r for r in layout.memory_map() if r.kind is not MemoryKind.RESERVED]
        for part in parts:
            assert part.rom or any(r.start <= part.address and part.end <= r.end for r in ram), part


@pytest.mark.parametrize(
    ("append", "mode"),
    [
        ("quiet", None),
        ("vga=0x317 quiet", 0x317),
        ("vga=791", 791),
        ("vga=0412", 0o412),
        ("vga=0", 0),
        ("vga=normal vga=ask", 0xFFFD),
        ("vga=ext", 0xFFFE),
        ("vga=nonsense", None),
        ("vga=0x10000", None),
        ("video=vga", None),
    ],
)
def test_the_video_mode_of_a_command_line(append: str, mode: int | None) -> None:
    assert video_mode(append) == mode


def test_the_setup_code_runs_where_it_has_a_mode_to_set() -> None:
    with_screen = PlatformLayout(memory=64 * MIB, text_screen=True)
    image = linux.load(kernel(), with_screen, append="vga=0x317")
    assert image.kind == "linux 16-bit"
    assert linux.load(kernel(), PlatformLayout(memory=64 * MIB), append="vga=0x317").kind != "linux 16-bit"
    assert linux.load(kernel(), with_screen, append="quiet").kind != "linux 16-bit"
