"""PVH: ELF kernels with a Xen note that gives a 32-bit entry point.

Source: Xen, "x86/HVM direct boot ABI" (docs/misc/pvh.pandoc) and the layout of `hvm_start_info` in its public header
arch-x86/hvm/start_info.h.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from attrs import evolve

from vmcore.firmware import bda, tables
from vmcore.firmware.bios import rom as bios
from vmcore.firmware.boot_image import BootImage, LoadSegment
from vmcore.firmware.elf import ElfFile
from vmcore.firmware.image_file import ImageFile, command_line
from vmcore.firmware.modes import device_setup, memory_types, protected_state
from vmcore.firmware.placement import Placement
from vmcore.firmware.platform import PlatformLayout

__all__ = ["entry_point", "load"]

PHYS32_ENTRY = 18
START_MAGIC = 0x336EC578
VERSION = 1


def entry_point(elf: ElfFile) -> int | None:
    """The address in the note XEN_ELFNOTE_PHYS32_ENTRY, or None without such a note."""
    for note in elf.notes:
        if note.owner == b"Xen" and note.kind == PHYS32_ENTRY:
            if len(note.content) not in (4, 8):
                elf.file.fail("XEN_ELFNOTE_PHYS32_ENTRY", note.content, "a number of 4 or 8 bytes")
            return int.from_bytes(note.content, "little")
    return None


def load(
    kernel: ImageFile,
    layout: PlatformLayout,
    *,
    modules: Sequence[tuple[ImageFile, str]] = (),
    append: str = "",
) -> BootImage:
    """Loads a PVH kernel.  modules: files (the first is a Linux kernel's initial RAM disk) and the text of each."""
    elf = ElfFile.parse(kernel)
    entry = entry_point(elf)
    if entry is None:
        kernel.fail("notes", "none", "an ELF note XEN_ELFNOTE_PHYS32_ENTRY")
    if not any(s.physical <= entry < s.physical + s.memory_size for s in elf.segments):
        kernel.fail("XEN_ELFNOTE_PHYS32_ENTRY", entry, "an address within a loaded segment")
    where = Placement(kernel.name, layout)
    elf.place(where)
    entries = bytearray()
    for file, text in modules:
        if not len(file):
            file.fail("size", 0, "a module that is not empty")
        start = where.high(file.data, "module", file=file.name)
        text_at = where.low(command_line(text), "module text") if text else 0
        entries += struct.pack("<QQQQ", start, len(file), text_at, 0)
    module_list = where.low(bytes(entries), "module list") if modules else 0
    line = where.low(command_line(append), "command line")
    ranges = layout.memory_map()
    lines = b"".join(struct.pack("<QQII", r.start, r.size, r.kind, 0) for r in ranges)
    described = tables.build(layout)
    info = struct.pack(
        "<IIIIQQQQII",
        START_MAGIC,
        VERSION,
        0,  # flags
        len(modules),
        module_list,
        line,
        described.rsdp,
        where.low(lines, "memory map"),
        len(ranges),
        0,
    )
    at = where.low(info, "start information")
    data_area = LoadSegment(bda.ADDRESS, bda.data_area(layout), "BIOS data area")
    return BootImage(
        kind="pvh",
        segments=where.segments(data_area, bios.segment(layout), *described.segments),
        cpu=evolve(protected_state(where, entry), rbx=at),
        memory_map=ranges,
        msrs=memory_types(layout),
        port_writes=device_setup(layout),
    )
