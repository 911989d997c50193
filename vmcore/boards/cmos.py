"""What a PC's firmware leaves in CMOS memory: the sizes of memory and what equipment there is.

Source: IBM PC AT Technical Reference (1985), "CMOS RAM Address Map"; 0x34, 0x35 and 0x5B-0x5D, the memory above 16 MiB
and above 4 GiB, and the shutdown code 0xFE are as later firmware uses them.
"""

from __future__ import annotations

from vmcore.firmware.platform import PlatformLayout
from vmcore.model.units import KIB, MIB

__all__ = ["BOOT_ORDER", "CPUS", "SHUTDOWN_CODE", "WAKES", "cmos_contents"]

CPUS = 0x5F
"""Index of the byte that tells how many vCPUs there are beside the first."""

COPROCESSOR, MOUSE = 0x02, 0x04
BOOT_ORDER = 0x3D, 0x38
"""Indices of the bytes that tell in which order firmware tries to boot, as SeaBIOS and Bochs's BIOS read it: a nibble
for each place (BootOptions.codes)."""

SHUTDOWN_CODE = 0x0F
"""Index of the byte that tells firmware why the processor comes out of reset."""
WAKES = 0xFE
"""Its value when the machine wakes from ACPI S3."""


def cmos_contents(layout: PlatformLayout) -> dict[int, int]:
    """Bytes of CMOS memory by index."""
    base = min(layout.conventional_end // KIB, 640)
    above = max(layout.low_ram - MIB, 0)
    extended = min(above // KIB, 0xFFFF)
    beyond = min(max(above - 15 * MIB, 0) // (64 * KIB), 0xFFFF)
    high = layout.high_ram // (64 * KIB)
    return {
        0x14: COPROCESSOR | (MOUSE if layout.mouse else 0),
        0x15: base & 0xFF,
        0x16: base >> 8,
        0x17: extended & 0xFF,
        0x18: extended >> 8,
        0x30: extended & 0xFF,
        0x31: extended >> 8,
        0x34: beyond & 0xFF,
        0x35: beyond >> 8,
        0x5B: high & 0xFF,
        0x5C: high >> 8 & 0xFF,
        0x5D: high >> 16 & 0xFF,
        CPUS: layout.cpus - 1,
    }
