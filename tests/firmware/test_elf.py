from __future__ import annotations

import pytest
from images import elf, note

from vmcore.firmware.elf import ElfFile
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.placement import Placement
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ImageError
from vmcore.model.units import MIB


def parse(data: bytes) -> ElfFile:
    return ElfFile.parse(ImageFile("e", data))


def patched(offset: int, value: bytes, **options: int) -> bytes:
    data = bytearray(elf(**options))  # type: ignore[arg-type]
    data[offset : offset + len(value)] = value
    return bytes(data)


def test_segments_notes_and_entry_are_read_in_both_widths() -> None:
    for bits in (32, 64):
        segments = [(0xC0100000, 0x100000, b"abc", 16)]
        file = parse(elf(segments, bits=bits, entry=0xC0100002, notes=note(b"Xen", 5, b"12345")))
        (segment,) = file.segments
        assert (segment.physical, segment.file_size, segment.memory_size) == (0x100000, 3, 16)
        assert file.entry == 0x100002
        (found,) = file.notes
        assert (found.owner, found.kind, found.content) == (b"Xen", 5, b"12345")


def test_segments_are_placed_with_their_zeroes_behind() -> None:
    where = Placement("e", PlatformLayout(memory=64 * MIB))
    parse(elf([(0, 0x100000, b"abc", 16), (0, 0x200000, b"", 8)], entry=0x100000)).place(where)
    assert [(s.address, s.data, s.clear) for s in where.segments()] == [(0x100000, b"abc", 13), (0x200000, b"", 8)]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (patched(0, b"XELF"), "e_ident"),
        (patched(4, b"\x03"), "EI_CLASS"),
        (patched(5, b"\x02"), "EI_DATA"),
        (patched(0x12, b"\xb7\x00"), "e_machine"),
        (patched(0x12, b"\x3e\x00", bits=64), None),
        (patched(0x10, b"\x01\x00"), "e_type"),
        (patched(0x36, b"\x10\x00"), "e_phentsize"),
        (patched(0x38, b"\x00\x00"), "e_phnum"),
        (patched(0x38, b"\xff\xff"), "e_phnum"),
        (elf(notes=bytes(0x10001)), "p_filesz"),
        (patched(0x20, b"\xff\xff\xff\xff"), "program header 0 p_type"),
        (patched(64 + 32, b"\xff\xff\xff"), "program header 0 p_filesz"),
        (patched(64 + 40, b"\x01\x00"), "program header 0 p_memsz"),
        (patched(0x18, b"\x00\x00\x99"), "e_entry"),
        (elf()[:40], "e_phentsize"),
    ],
)
def test_bad_fields_are_named(data: bytes, field: str | None) -> None:
    if field is None:
        assert parse(data).entry
        return
    with pytest.raises(ImageError) as caught:
        assert parse(data).entry
    assert caught.value.field == field


def test_segments_outside_ram_or_over_each_other_are_refused() -> None:
    where = Placement("e", PlatformLayout(memory=64 * MIB))
    with pytest.raises(ImageError, match="segment 0 of the program: 0xb8000: expected 0x10 bytes of RAM there"):
        parse(elf([(0, 0xB8000, b"abc", 16)], entry=0xB8000)).place(where)
    with pytest.raises(ImageError, match="not overlapping segment 0 of the program at 0x100000-0x100010"):
        parse(elf([(0, 0x100000, b"abc", 16), (0, 0x100008, b"a", 1)], entry=0x100000)).place(where)
