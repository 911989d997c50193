"""Commands by which firmware loads ACPI tables from files: allocate, add the address of a file, put a checksum right.

Source: the interface of SeaBIOS's romfile loader and OVMF's QemuFwCfgAcpi, which QEMU documents in
docs/specs/acpi_bios_tables (the file etc/table-loader).
"""

from __future__ import annotations

import struct
from typing import Final, final

__all__ = ["FIRMWARE_SEGMENT", "HIGH", "RSDP", "SCRIPT", "TABLES", "Script"]

RSDP: Final = "etc/acpi/rsdp"
TABLES: Final = "etc/acpi/tables"
SCRIPT: Final = "etc/table-loader"

ENTRY: Final = 128
ALLOCATE, ADD_POINTER, ADD_CHECKSUM = 1, 2, 3
HIGH: Final = 1
"""Zone: anywhere below 4 GiB."""
FIRMWARE_SEGMENT: Final = 2
"""Zone: 0xF0000 to 0xFFFFF, where system software looks for the root pointer."""


@final
class Script:
    """The commands, in order."""

    def __init__(self) -> None:
        self._commands: list[bytes] = []

    def allocate(self, file: str, alignment: int, zone: int) -> None:
        """Load a file into memory."""
        self._add(ALLOCATE, struct.pack("<56sIB", file.encode(), alignment, zone))

    def add_pointer(self, file: str, target: str, offset: int, size: int) -> None:
        """Add the address of the file `target` to the `size` bytes at an offset of `file`."""
        self._add(ADD_POINTER, struct.pack("<56s56sIB", file.encode(), target.encode(), offset, size))

    def add_checksum(self, file: str, offset: int, start: int, size: int) -> None:
        """Make the bytes of a range add up to zero by the one at `offset`, which is zero until then."""
        self._add(ADD_CHECKSUM, struct.pack("<56sIII", file.encode(), offset, start, size))

    def data(self) -> bytes:
        """The file."""
        return b"".join(self._commands)

    def _add(self, command: int, body: bytes) -> None:
        self._commands.append((command.to_bytes(4, "little") + body).ljust(ENTRY, b"\0"))
