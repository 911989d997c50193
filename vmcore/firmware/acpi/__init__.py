"""ACPI: all tables of a machine, laid out in its memory or handed to firmware that does it."""

from __future__ import annotations

from attrs import frozen

from vmcore.firmware.acpi import loader, numa, tables
from vmcore.firmware.acpi.dsdt import definition_block
from vmcore.firmware.boot_image import LoadSegment
from vmcore.firmware.platform import FIRMWARE_START, PlatformLayout
from vmcore.model.errors import ConfigError

__all__ = ["AcpiTables", "build", "files"]

PAGE = 4096
ROOT_POINTER_SIZE = 64
FACS_SIZE = 64


@frozen
class AcpiTables:
    """Where the root pointer lies, and the bytes of everything."""

    rsdp: int
    segments: tuple[LoadSegment, ...]


@frozen
class _Content:
    """The tables behind the FACS, as they are at the addresses that they were made for.

    places: (offset into data, size) of the tables by name.
    """

    data: bytes
    places: dict[str, tuple[int, int]]


def _content(layout: PlatformLayout, facs_at: int, at: int) -> _Content:
    """All tables for a FACS at one address and the rest from another one on."""
    content = bytearray()
    places: dict[str, tuple[int, int]] = {}

    def place(name: str, data: bytes) -> int:
        content.extend(bytes(-len(content) % 16))
        places[name] = len(content), len(data)
        content.extend(data)
        return at + places[name][0]

    dsdt_at = place("DSDT", tables.table(b"DSDT", 2, definition_block(layout)))
    addresses = [place("FACP", tables.fadt(layout, facs_at, dsdt_at)), place("APIC", tables.madt(layout))]
    addresses += [place(table[:4].decode(), table) for table in numa.tables(layout)]
    if layout.hpet:
        addresses.append(place("HPET", tables.hpet(layout)))
    if layout.ecam:
        addresses.append(place("MCFG", tables.mcfg(layout)))
    place("RSDT", tables.rsdt(addresses))
    place("XSDT", tables.xsdt(addresses))
    return _Content(bytes(content), places)


def build(layout: PlatformLayout) -> AcpiTables:
    """All tables, placed as `layout.memory_map` tells the guest.

    The root pointer is in the firmware segment, where system software searches it (5.2.5.1); then come the FACS in a
    page of its own and the rest.
    """
    root = FIRMWARE_START
    base = layout.acpi_base
    in_rom = base == FIRMWARE_START
    facs_at = base + ROOT_POINTER_SIZE if in_rom else base
    at = facs_at + FACS_SIZE if in_rom else facs_at + PAGE
    content = _content(layout, facs_at, at)
    if at + len(content.data) > base + layout.acpi_size:
        size = at + len(content.data) - base
        raise ConfigError("acpi_size", layout.acpi_size, f"at least {size:#x} bytes for the tables")
    rsdp = tables.rsdp(at + content.places["RSDT"][0], at + content.places["XSDT"][0])
    return AcpiTables(
        root,
        (
            LoadSegment(root, rsdp, "ACPI root pointer", rom=True),
            LoadSegment(facs_at, tables.facs(), "FACS", rom=in_rom),
            LoadSegment(at, content.data, "ACPI tables", rom=in_rom),
        ),
    )


def files(layout: PlatformLayout) -> dict[str, bytes]:
    """The same tables as files, with the commands by which firmware puts them into memory.

    Pointers in them hold offsets into the file of tables, to which the firmware adds where it has put it.
    """
    content = _content(layout, 0, FACS_SIZE)
    whole = bytearray(tables.facs() + content.data)
    script = loader.Script()
    script.allocate(loader.TABLES, 64, loader.HIGH)
    script.allocate(loader.RSDP, 16, loader.FIRMWARE_SEGMENT)
    start, _ = content.places["FACP"]
    count = (content.places["RSDT"][1] - tables.HEADER_SIZE) // 4
    pointers = [(FACS_SIZE + start + offset, size) for offset, size in tables.FADT_POINTERS]
    for name, size in (("RSDT", 4), ("XSDT", 8)):
        first = FACS_SIZE + content.places[name][0] + tables.HEADER_SIZE
        pointers += [(first + size * index, size) for index in range(count)]
    for offset, size in pointers:
        script.add_pointer(loader.TABLES, loader.TABLES, offset, size)
    for name in ("FACP", "RSDT", "XSDT"):
        start, size = content.places[name]
        start += FACS_SIZE
        whole[start + tables.CHECKSUM] = 0
        script.add_checksum(loader.TABLES, start + tables.CHECKSUM, start, size)
    root = bytearray(tables.rsdp(FACS_SIZE + content.places["RSDT"][0], FACS_SIZE + content.places["XSDT"][0]))
    for offset, size in tables.RSDP_POINTERS:
        script.add_pointer(loader.RSDP, loader.TABLES, offset, size)
    for offset, covered in tables.RSDP_CHECKSUMS:
        root[offset] = 0
        script.add_checksum(loader.RSDP, offset, 0, covered)
    return {loader.RSDP: bytes(root), loader.TABLES: bytes(whole), loader.SCRIPT: script.data()}
