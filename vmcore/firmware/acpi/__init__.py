"""ACPI: all tables of a machine, laid out in its memory."""

from __future__ import annotations

from attrs import frozen

from vmcore.firmware.acpi import tables
from vmcore.firmware.acpi.dsdt import definition_block
from vmcore.firmware.boot_image import LoadSegment
from vmcore.firmware.platform import FIRMWARE_START, PlatformLayout
from vmcore.model.errors import ConfigError

__all__ = ["AcpiTables", "build"]

PAGE = 4096
ROOT_POINTER_SIZE = 64


@frozen
class AcpiTables:
    """Where the root pointer lies, and the bytes of everything."""

    rsdp: int
    segments: tuple[LoadSegment, ...]


def build(layout: PlatformLayout) -> AcpiTables:
    """All tables, placed as `layout.memory_map` tells the guest.

    The root pointer is in the firmware segment, where system software searches it (5.2.5.1); then come the FACS in a
    page of its own and the rest.
    """
    root = FIRMWARE_START
    base = layout.acpi_base
    in_rom = base == FIRMWARE_START
    facs_at = base + ROOT_POINTER_SIZE if in_rom else base
    at = facs_at + 64 if in_rom else facs_at + PAGE
    content = bytearray()

    def place(data: bytes) -> int:
        content.extend(bytes(-len(content) % 16))
        address = at + len(content)
        content.extend(data)
        return address

    dsdt_at = place(tables.table(b"DSDT", 2, definition_block(layout)))
    addresses = [place(tables.fadt(layout, facs_at, dsdt_at)), place(tables.madt(layout))]
    rsdt_at = place(tables.rsdt(addresses))
    xsdt_at = place(tables.xsdt(addresses))
    if at + len(content) > base + layout.acpi_size:
        raise ConfigError("acpi_size", layout.acpi_size, f"at least {at + len(content) - base:#x} bytes for the tables")
    return AcpiTables(
        root,
        (
            LoadSegment(root, tables.rsdp(rsdt_at, xsdt_at), "ACPI root pointer", rom=True),
            LoadSegment(facs_at, tables.facs(), "FACS", rom=in_rom),
            LoadSegment(at, bytes(content), "ACPI tables", rom=in_rom),
        ),
    )
