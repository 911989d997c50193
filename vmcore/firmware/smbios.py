"""SMBIOS: what the machine calls itself, for systems that ask (dmidecode, Linux's DMI line).

Source: DMTF DSP0134, System Management BIOS Reference Specification 2.8: 5.2.1 (entry point), 6.1 (structures),
6.2 (those that are required) and 7 (their fields).
"""

from __future__ import annotations

import struct
from itertools import count
from uuid import UUID

from vmcore.firmware.boot_image import LoadSegment
from vmcore.firmware.platform import FOUR_GIB, PlatformLayout
from vmcore.model.units import KIB, MIB

__all__ = ["ADDRESS", "build", "files"]

ADDRESS = 0xF0000
"""Where the entry point lies: the search goes from here to FFFF0h."""

ENTRY_SIZE = 32
MAKER = "vmcore"
PRODUCT = "vmcore PC"
RELEASE_DATE = "11/20/2026"

OTHER, UNKNOWN, SAFE, NONE = 1, 2, 3, 3
UNKNOWN_16 = 0xFFFF

BIOS_EDD = 1 << 19
EXTENDED_ACPI = 1 << 0
EXTENDED_VIRTUAL_MACHINE = 1 << 12


def _structure(kind: int, handle: int, body: bytes, *texts: str) -> bytes:
    """One structure: header, formatted area, and the strings that it numbers from 1 (6.1.3)."""
    strings = b"".join(text.encode() + b"\0" for text in texts) or b"\0"
    return struct.pack("<BBH", kind, 4 + len(body), handle) + body + strings + b"\0"


def _bios(handle: int) -> bytes:
    """Type 0 (7.1)."""
    body = struct.pack("<BBHBBQ", 1, 2, 0xF000, 3, 0, BIOS_EDD)
    body += struct.pack("<HBBBB", EXTENDED_ACPI | EXTENDED_VIRTUAL_MACHINE, 0, 1, 0xFF, 0xFF)
    return _structure(0, handle, body, MAKER, "0.1", RELEASE_DATE)


def _system(handle: int, layout: PlatformLayout) -> bytes:
    """Type 1 (7.2); woken by the power switch."""
    # The first three fields of the UUID are little-endian (7.2.1).
    uuid = UUID(bytes=layout.uuid).bytes_le
    return _structure(1, handle, struct.pack("<BBBB16sBBB", 1, 2, 0, 0, uuid, 6, 0, 0), MAKER, PRODUCT)


def _chassis(handle: int) -> bytes:
    """Type 3 (7.4)."""
    body = struct.pack("<BBBBBBBBBIBBBB", 1, OTHER, 0, 0, 0, SAFE, SAFE, SAFE, NONE, 0, 0, 0, 0, 0)
    return _structure(3, handle, body + b"\0", MAKER)


def _processor(handle: int, layout: PlatformLayout, socket: int) -> bytes:
    """Type 4 (7.5): one package; its socket is populated if a vCPU is in it."""
    topology = layout.topology
    there = layout.present >> socket * topology.package & (1 << topology.package) - 1
    body = struct.pack("<BBBBQBBHHHBB", 1, 3, OTHER, 2, 0, 2, 0, 0, 0, 0, 0x41 if there else 0, OTHER)
    body += struct.pack("<HHHBBB", UNKNOWN_16, UNKNOWN_16, UNKNOWN_16, 0, 0, 0)
    # What does not fit in a byte is FFh here, and the number in a later field.
    cores, threads = topology.dies * topology.cores, topology.package
    enabled = len({n // topology.threads for n in range(threads) if there >> n & 1})
    body += struct.pack("<BBBHH", cores, enabled, threads, 4 if layout.long_mode else 0, OTHER)
    return _structure(4, handle, body, f"CPU {socket}", MAKER)


def _memory_array(handle: int, layout: PlatformLayout) -> bytes:
    """Type 16 (7.17): system memory on the board."""
    kib = layout.memory // KIB
    small = kib if kib < 0x8000_0000 else 0x8000_0000
    body = struct.pack("<BBBIHHQ", OTHER, 3, 3, small, 0xFFFE, 1, layout.memory if kib >= 0x8000_0000 else 0)
    return _structure(16, handle, body)


def _memory_device(handle: int, array: int, layout: PlatformLayout) -> bytes:
    """Type 17 (7.18): all RAM as one module."""
    mib = layout.memory // MIB
    size, extended = (mib, 0) if 0 < mib < 0x7FFF else (0x7FFF, mib)
    if layout.memory < 32 * MIB:
        size, extended = 0x8000 | layout.memory // KIB, 0  # In KiB, which 15 bits hold up to 32 MiB.
    body = struct.pack("<HHHHHBBBBBHH", array, 0xFFFE, UNKNOWN_16, UNKNOWN_16, size, OTHER, 0, 1, 0, 7, UNKNOWN, 0)
    body += struct.pack("<BBBBBIHHHH", 0, 0, 0, 0, 0, extended, 0, 0, 0, 0)
    return _structure(17, handle, body, "RAM 0")


def _memory_range(handle: int, array: int, start: int, size: int) -> bytes:
    """Type 19 (7.20): addresses that the array answers to, in KiB or, beyond 32 bits of those, in bytes."""
    last = start + size - 1
    if last // KIB < 0xFFFF_FFFF:
        return _structure(19, handle, struct.pack("<IIHBQQ", start // KIB, last // KIB, array, 1, 0, 0))
    return _structure(19, handle, struct.pack("<IIHBQQ", 0xFFFF_FFFF, 0xFFFF_FFFF, array, 1, start, last))


def _structures(layout: PlatformLayout) -> list[bytes]:
    handles = count()
    structures = [
        _bios(next(handles)),
        _system(next(handles), layout),
        _chassis(next(handles)),
        *(_processor(next(handles), layout, socket) for socket in range(layout.topology.sockets)),
    ]
    array = next(handles)
    structures.append(_memory_array(array, layout))
    structures.append(_memory_device(next(handles), array, layout))
    structures.append(_memory_range(next(handles), array, 0, layout.low_ram))
    if layout.high_ram:
        structures.append(_memory_range(next(handles), array, FOUR_GIB, layout.high_ram))
    structures.append(_structure(32, next(handles), bytes(7)))  # boot status: no error
    structures.append(_structure(127, next(handles), b""))
    return structures


def _entry_point(structures: list[bytes], address: int) -> bytes:
    """The entry point for structures at an address (5.2.1)."""
    size, longest = sum(map(len, structures)), max(map(len, structures))
    inner = bytearray(struct.pack("<5sBHIHB", b"_DMI_", 0, size, address, len(structures), 0x28))
    inner[5] = -sum(inner) & 0xFF
    entry = bytearray(struct.pack("<4sBBBBHB5s", b"_SM_", 0, 31, 2, 8, longest, 0, bytes(5)) + inner)
    entry[4] = -sum(entry) & 0xFF
    return bytes(entry)


def build(layout: PlatformLayout) -> LoadSegment:
    """The entry point and the structures behind it, for the ROM."""
    structures = _structures(layout)
    entry = _entry_point(structures, ADDRESS + ENTRY_SIZE).ljust(ENTRY_SIZE, b"\0")
    return LoadSegment(ADDRESS, entry + b"".join(structures), "SMBIOS", rom=True)


def files(layout: PlatformLayout) -> dict[str, bytes]:
    """The same for firmware that places it: the entry point's address and checksums are the firmware's to fill in."""
    structures = _structures(layout)
    return {
        "etc/smbios/smbios-anchor": _entry_point(structures, 0),
        "etc/smbios/smbios-tables": b"".join(structures),
    }
