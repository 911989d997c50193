"""All tables by which firmware describes the machine: ACPI's and SMBIOS's."""

from __future__ import annotations

from attrs import frozen

from vmcore.firmware import acpi, smbios
from vmcore.firmware.boot_image import LoadSegment
from vmcore.firmware.platform import PlatformLayout

__all__ = ["FirmwareTables", "build"]


@frozen
class FirmwareTables:
    """rsdp: address of ACPI's root pointer, 0 without ACPI; segments: the tables' bytes."""

    rsdp: int
    segments: tuple[LoadSegment, ...]


def build(layout: PlatformLayout) -> FirmwareTables:
    """The tables of a machine with ACPI; none for one without."""
    if not layout.acpi:
        return FirmwareTables(0, ())
    tables = acpi.build(layout)
    return FirmwareTables(tables.rsdp, (*tables.segments, smbios.build(layout)))
