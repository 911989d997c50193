"""The BIOS data area for guests that are started without the BIOS but look there all the same.

Source: IBM PC AT Technical Reference (1985), "ROM BIOS data area"; offsets from 400h.
"""

from __future__ import annotations

import struct

from vmcore.firmware.platform import EBDA_START, PlatformLayout

__all__ = ["ADDRESS", "data_area"]

ADDRESS = 0x400
SIZE = 0x100


def data_area(layout: PlatformLayout) -> bytes:
    """Serial ports, equipment, memory size and the segment of the extended area; 80x25 text if there is a screen."""
    area = bytearray(SIZE)
    for number, port in enumerate(layout.serial[:4]):
        struct.pack_into("<H", area, number * 2, port.base)
    struct.pack_into("<H", area, 0x0E, EBDA_START >> 4)
    equipment = len(layout.serial[:4]) << 9 | (1 << 2 if layout.mouse else 0) | (2 << 4 if layout.text_screen else 0)
    struct.pack_into("<H", area, 0x10, equipment)
    struct.pack_into("<H", area, 0x13, layout.conventional_end >> 10)
    if layout.text_screen:
        struct.pack_into("<BHH", area, 0x49, 3, 80, 0x1000)
        struct.pack_into("<H", area, 0x63, 0x3D4)
        area[0x84] = 24
    return bytes(area)
