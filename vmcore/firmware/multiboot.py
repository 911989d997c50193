"""Multiboot 1: kernels with the magic number 1BADB002h.

Source: Multiboot Specification 0.6.96, chapter 3.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from attrs import evolve

from vmcore.firmware import bda, tables
from vmcore.firmware.bios import rom as bios
from vmcore.firmware.boot_image import BootImage, LoadSegment
from vmcore.firmware.elf import ElfFile, is_elf
from vmcore.firmware.image_file import ImageFile, command_line
from vmcore.firmware.modes import device_setup, memory_types, protected_state
from vmcore.firmware.placement import Placement
from vmcore.firmware.platform import HIGH_MEMORY, PlatformLayout
from vmcore.model.errors import ConfigError
from vmcore.model.units import KIB

__all__ = ["find_header", "load"]

HEADER_MAGIC = 0x1BADB002
BOOT_MAGIC = 0x2BADB002
SEARCH = 8192

# Bits of the header's flags (3.1.2).
PAGE_ALIGN = 1 << 0
MEMORY_INFO = 1 << 1
VIDEO_MODE = 1 << 2
ADDRESSES = 1 << 16
KNOWN_REQUIREMENTS = PAGE_ALIGN | MEMORY_INFO | VIDEO_MODE

# Bits of the information structure's flags (3.3).
HAS_MEMORY = 1 << 0
HAS_COMMAND_LINE = 1 << 2
HAS_MODULES = 1 << 3
HAS_MEMORY_MAP = 1 << 6
HAS_LOADER_NAME = 1 << 9
HAS_FRAMEBUFFER = 1 << 12

EGA_TEXT = 2
INFO_SIZE = 116
LOADER_NAME = b"vmcore\0"


def find_header(data: bytes) -> int | None:
    """Offset of the Multiboot header: in the first 8 KiB, aligned to 4; magic, flags and checksum add up to 0."""
    at = 0
    while True:
        at = data.find(HEADER_MAGIC.to_bytes(4, "little"), at, SEARCH)
        if at < 0:
            return None
        if at % 4 == 0 and len(data) >= at + 12 and sum(struct.unpack_from("<III", data, at)) & 0xFFFF_FFFF == 0:
            return at
        at += 1


def load(
    kernel: ImageFile,
    layout: PlatformLayout,
    *,
    modules: Sequence[tuple[ImageFile, str]] = (),
    append: str = "",
) -> BootImage:
    """Loads a Multiboot kernel.  modules: files and the text that goes with each (their command lines)."""
    header = find_header(kernel.data)
    if header is None:
        kernel.fail("magic", "absent", f"a Multiboot header ({HEADER_MAGIC:#x} with its checksum) in the first 8 KiB")
    wanted = kernel.u32(header + 4, "flags")
    if unknown := wanted & 0xFFFF & ~KNOWN_REQUIREMENTS:
        kernel.fail("flags", wanted, f"no requirement bits but 0, 1 and 2 (here also {unknown:#x})")
    where = Placement(kernel.name, layout)
    if wanted & ADDRESSES:
        entry = _place_by_addresses(kernel, where, header)
    elif is_elf(kernel.data):
        elf = ElfFile.parse(kernel)
        elf.place(where)
        entry = elf.entry
    else:
        kernel.fail("flags", wanted, "bit 16 (load addresses in the header), as the file is not ELF")

    info = bytearray(INFO_SIZE)
    flags = HAS_MEMORY | HAS_COMMAND_LINE | HAS_MEMORY_MAP | HAS_LOADER_NAME
    upper = max(layout.low_ram - HIGH_MEMORY, 0) // KIB
    struct.pack_into("<II", info, 4, layout.conventional_end // KIB, upper)
    struct.pack_into("<I", info, 16, where.low(command_line(append), "command line"))
    if modules:
        flags |= HAS_MODULES
        struct.pack_into("<II", info, 20, len(modules), _place_modules(where, modules))
    lines = b"".join(struct.pack("<IQQI", 20, r.start, r.size, r.kind) for r in layout.memory_map())
    struct.pack_into("<II", info, 44, len(lines), where.low(lines, "memory map"))
    struct.pack_into("<I", info, 64, where.low(LOADER_NAME, "boot loader name"))
    if wanted & VIDEO_MODE:
        # Text is what there is; the mode that the header asks for is a recommendation (3.1.4).
        flags |= HAS_FRAMEBUFFER
        struct.pack_into("<QIIIBB", info, 88, 0xB8000, 160, 80, 25, 16, EGA_TEXT)
    struct.pack_into("<I", info, 0, flags)
    at = where.low(bytes(info), "Multiboot information")

    data_area = LoadSegment(bda.ADDRESS, bda.data_area(layout), "BIOS data area")
    cpu = evolve(protected_state(where, entry), rax=BOOT_MAGIC, rbx=at)
    return BootImage(
        kind="multiboot",
        segments=where.segments(data_area, bios.segment(layout), *tables.build(layout).segments),
        cpu=cpu,
        memory_map=layout.memory_map(),
        msrs=memory_types(layout),
        port_writes=device_setup(layout),
    )


def _place_by_addresses(kernel: ImageFile, where: Placement, header: int) -> int:
    """The header's own load addresses ("a.out kludge", 3.1.3).  The entry point."""
    names = ("header_addr", "load_addr", "load_end_addr", "bss_end_addr", "entry_addr")
    values = [kernel.u32(header + 12 + 4 * number, name) for number, name in enumerate(names)]
    header_addr, load_addr, load_end, bss_end, entry = values
    if load_addr > header_addr or header_addr - load_addr > header:
        kernel.fail("load_addr", load_addr, f"an address whose bytes are in the file: the header is at {header:#x}")
    offset = header - (header_addr - load_addr)
    size = load_end - load_addr if load_end else len(kernel) - offset
    if load_end and load_end < load_addr:
        kernel.fail("load_end_addr", load_end, f"at least load_addr {load_addr:#x}")
    data = kernel.part(offset, size, "load_end_addr")
    if bss_end and bss_end < load_addr + size:
        kernel.fail("bss_end_addr", bss_end, f"at least the end of the data {load_addr + size:#x}")
    room = bss_end - load_addr if bss_end else size
    if not load_addr <= entry < load_addr + room:
        kernel.fail("entry_addr", entry, f"an address within {load_addr:#x}-{load_addr + room:#x}")
    where.put(load_addr, data, "program", size=room, clear=True)
    return entry


def _place_modules(where: Placement, modules: Sequence[tuple[ImageFile, str]]) -> int:
    """Places the modules and their list; the list's address."""
    entries = bytearray()
    for file, text in modules:
        if not len(file):
            file.fail("size", 0, "a module that is not empty")
        if "\0" in text:
            raise ConfigError(f"text of module {file.name}", text, "no zero character within")
        start = where.high(file.data, "module", file=file.name)
        entries += struct.pack("<IIII", start, start + len(file), where.low(command_line(text), "module text"), 0)
    return where.low(bytes(entries), "module list")
