"""Files of frames: PPM and PNG.

Sources: netpbm's ppm(5); PNG (W3C Recommendation), whose compression the standard library has.
"""

from __future__ import annotations

import struct
import zlib

from vmcore.screen.render import Frame

__all__ = ["png", "ppm"]


def ppm(frame: Frame) -> bytes:
    """A binary PPM file (P6)."""
    return b"P6\n%d %d\n255\n" % (frame.width, frame.height) + frame.pixels


def png(frame: Frame) -> bytes:
    """A PNG file of 8-bit RGB."""
    stride = 3 * frame.width
    # Filter "up" for every row: screens are mostly rows that are like the one above, and those become zeros.
    rows = []
    above = bytes(stride)
    for y in range(frame.height):
        row = frame.pixels[y * stride : (y + 1) * stride]
        rows.append(b"\2" + bytes(stride) if row == above else b"\0" + row)
        above = row
    header = struct.pack(">IIBBBBB", frame.width, frame.height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
