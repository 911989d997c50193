"""Kernels made for tests: the smallest files that loaders accept, with every field within reach."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from vmcore.firmware.boot_image import BootImage, LoadSegment
from vmcore.firmware.linux_header import BootField

PT_LOAD, PT_NOTE = 1, 4


def bzimage(
    *,
    version: int = 0x20F,
    payload: bytes = b"\xf4" * 0x1000,
    setup_sects: int = 3,
    loadflags: int = 1,
    xloadflags: int = 1,
    fields: dict[BootField, tuple[int, int]] | None = None,
) -> bytes:
    """A bzImage; fields: (value, size) by offset, over the defaults."""
    image = bytearray((setup_sects + 1) * 512) + payload
    values: dict[BootField, tuple[int, int]] = {
        BootField.SETUP_SECTS: (setup_sects, 1),
        BootField.SYSSIZE: (len(payload) // 16, 4),
        BootField.BOOT_FLAG: (0xAA55, 2),
        BootField.JUMP: (0x6AEB, 2),
        BootField.HEADER: (0x53726448, 4),
        BootField.VERSION: (version, 2),
        BootField.LOADFLAGS: (loadflags, 1),
        BootField.CODE32_START: (0x100000, 4),
        BootField.INITRD_ADDR_MAX: (0x7FFFFFFF, 4),
        BootField.KERNEL_ALIGNMENT: (0x200000, 4),
        BootField.RELOCATABLE_KERNEL: (1, 1),
        BootField.MIN_ALIGNMENT: (21, 1),
        BootField.XLOADFLAGS: (xloadflags, 2),
        BootField.CMDLINE_SIZE: (2047, 4),
        BootField.PREF_ADDRESS: (0x1000000, 8),
        BootField.INIT_SIZE: (0x800000, 4),
    }
    values.update(fields or {})
    for offset, (value, size) in values.items():
        image[offset : offset + size] = value.to_bytes(size, "little")
    return bytes(image)


def note(owner: bytes, kind: int, content: bytes) -> bytes:
    """An ELF note with 4-byte padding."""
    name = owner + b"\0"

    def pad(data: bytes) -> bytes:
        return data + bytes(-len(data) % 4)

    return struct.pack("<III", len(name), len(content), kind) + pad(name) + pad(content)


def elf(
    segments: Sequence[tuple[int, int, bytes, int]] = ((0x100000, 0x100000, b"\xf4" * 64, 0x100),),
    *,
    bits: int = 64,
    entry: int = 0x100000,
    notes: bytes = b"",
    machine: int | None = None,
) -> bytes:
    """An ELF executable; segments: (virtual address, physical address, content, size in memory)."""
    wide = bits == 64
    header_size, entry_size = (64, 56) if wide else (52, 32)
    headers = [(PT_LOAD, *segment) for segment in segments]
    if notes:
        headers.append((PT_NOTE, 0, 0, notes, len(notes)))
    at = header_size + entry_size * len(headers)
    table, content = b"", b""
    for kind, virtual, physical, data, size in headers:
        offset = at + len(content)
        if wide:
            table += struct.pack("<IIQQQQQQ", kind, 5, offset, virtual, physical, len(data), size, 4)
        else:
            table += struct.pack("<IIIIIIII", kind, offset, virtual, physical, len(data), size, 5, 4)
        content += data
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    start = struct.pack("<HHI", 2, machine if machine is not None else (62 if wide else 3), 1)
    rest = struct.pack("<IHHHHHH", 0, header_size, entry_size, len(headers), 0, 0, 0)
    word = "<Q" if wide else "<I"
    return (
        ident
        + start
        + struct.pack(word, entry)
        + struct.pack(word, header_size)
        + struct.pack(word, 0)
        + rest
        + table
        + content
    )


def multiboot_header(flags: int = 0, addresses: tuple[int, int, int, int, int] | None = None) -> bytes:
    """A Multiboot header; addresses: header, load, load end, BSS end, entry (sets bit 16)."""
    if addresses is not None:
        flags |= 1 << 16
    magic = 0x1BADB002
    data = struct.pack("<III", magic, flags, -(magic + flags) & 0xFFFFFFFF)
    return data + (struct.pack("<5I", *addresses) if addresses is not None else b"")


def boot_sector(code: bytes = b"\xf4", sectors: int = 1) -> bytes:
    """A disk whose first sector holds `code` and the signature."""
    return code.ljust(510, b"\0") + b"\x55\xaa" + bytes(512 * (sectors - 1))


def segment(image: BootImage, name: str) -> LoadSegment:
    """The segment of this name."""
    return next(segment for segment in image.segments if segment.name == name)


def memory(image: BootImage, address: int, size: int) -> bytes:
    """What lies at a physical address after loading."""
    for part in image.segments:
        if part.address <= address and address + size <= part.end:
            return part.data[address - part.address : address - part.address + size]
    raise AssertionError(f"nothing is loaded at {address:#x}")


def number(image: BootImage, address: int, size: int) -> int:
    """The number at a physical address after loading."""
    return int.from_bytes(memory(image, address, size), "little")


def text(image: BootImage, address: int) -> bytes:
    """The zero-terminated text at a physical address after loading."""
    part = next(part for part in image.segments if part.address <= address < part.end)
    return part.data[address - part.address :].split(b"\0")[0]
