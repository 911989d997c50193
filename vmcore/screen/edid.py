"""What a monitor says about itself.

Source: VESA Enhanced EDID Standard, release A revision 2 (EDID 1.4), section 3; timings by VESA CVT 1.2 with reduced
blanking.
"""

from __future__ import annotations

import struct

__all__ = ["edid"]

ESTABLISHED = bytes((0x21, 0x08, 0x00))
"""640x480, 800x600 and 1024x768, at 60 Hz."""
STANDARD = ((1920, 0xC0), (1600, 0x40), (1400, 0x40), (1280, 0x80), (1280, 0x40), (1280, 0xC0), (1152, 0x40))
"""Standard timings at 60 Hz: width, and the aspect ratio's bits (00 16:10, 40 4:3, 80 5:4, C0 16:9)."""


def edid(width: int, height: int, name: str = "vmcore") -> bytes:
    """128 bytes of a monitor whose preferred mode is this, at 60 Hz and 100 dots per inch."""
    millimetres = width * 254 // 1000, height * 254 // 1000
    head = b"\0" + b"\xff" * 6 + b"\0"
    # Three letters of five bits; no ISA PNP id was given to emulators.
    vendor = sum((ord(letter) - 64) << 5 * place for place, letter in enumerate(reversed("VMC")))
    head += struct.pack(">H", vendor) + struct.pack("<HI", 1, 0) + bytes((1, 2026 - 1990, 1, 4))
    # Digital, 8 bits a colour; size in centimetres; gamma 2.2; RGB 4:4:4, sRGB, the preferred mode is the native one.
    head += bytes((0xA5, millimetres[0] // 10, millimetres[1] // 10, 120, 0x06))
    # Chromaticity of sRGB.
    head += bytes((0xEE, 0x91, 0xA3, 0x54, 0x4C, 0x99, 0x26, 0x0F, 0x50, 0x54))
    head += ESTABLISHED
    standard = b"".join(bytes((wide // 8 - 31, aspect)) for wide, aspect in STANDARD)
    head += standard.ljust(16, b"\1")
    body = head + _timing(width, height, millimetres)
    body += _text(0xFC, name) + _range() + _text(0xFF, "1")
    body += b"\0"  # No extension.
    return body + bytes((-sum(body) & 0xFF,))


def _timing(width: int, height: int, millimetres: tuple[int, int]) -> bytes:
    """A detailed timing: 160 dots of horizontal blanking, 460 microseconds of vertical blanking."""
    horizontal, front, sync = 160, 48, 32
    line_us = (1_000_000 / 60 - 460) / height
    vertical = int(460 / line_us) + 1
    clock = int((width + horizontal) * (height + vertical) * 60) // 10_000
    return struct.pack(
        "<HBBBBBBBBBBBBBBBB",
        clock,
        width & 0xFF,
        horizontal & 0xFF,
        width >> 8 << 4 | horizontal >> 8,
        height & 0xFF,
        vertical & 0xFF,
        height >> 8 << 4 | vertical >> 8,
        front,
        sync,
        3 << 4 | 4,
        0,
        millimetres[0] & 0xFF,
        millimetres[1] & 0xFF,
        millimetres[0] >> 8 << 4 | millimetres[1] >> 8,
        0,
        0,
        0x1A,
    )


def _range() -> bytes:
    """Display range limits: 50 to 125 Hz, 30 to 160 kHz, 400 MHz."""
    return bytes((0, 0, 0, 0xFD, 0, 50, 125, 30, 160, 40, 0x01)).ljust(18, b"\x20")


def _text(kind: int, text: str) -> bytes:
    return bytes((0, 0, 0, kind, 0)) + (text.encode("ascii")[:12] + b"\n").ljust(13)
