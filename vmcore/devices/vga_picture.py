"""What a VGA is showing: its registers and memory, read as a monitor would see them.

Source: as for `vga`.  Sizes are those of the modes' displayed parts, without borders.  A picture is made of one moment:
changes in the middle of a frame show nowhere.
"""

from __future__ import annotations

from typing import Final

from vmcore.devices.vga import GR_MISC, GR_MODE, GRAPHICS_MODE, SR_CLOCKING, SR_FONT, StdVga
from vmcore.devices.vga_memory import TEXT_SIZE
from vmcore.model.units import KIB
from vmcore.screen.picture import (
    Blank,
    CellCursor,
    DirectPicture,
    IndexedPicture,
    Palette,
    Picture,
    PlanarPicture,
    TextPicture,
)

__all__ = ["picture"]

SCREEN_ON: Final = 0x20
"""In the attribute controller's index: the palette is in use, not being loaded."""
SCREEN_OFF: Final = 0x20
"""In the sequencer's clocking mode."""

FRAME_NS: Final = 1_000_000_000 // 70
CURSOR_FRAMES: Final = 8
"""Frames for which the cursor stays on, and off.  Characters that blink take twice as long."""

AR_MODE, AR_PAN, AR_COLOR_SELECT, AR_PLANES = 0x10, 0x13, 0x14, 0x12
MONOCHROME, LINE_GRAPHICS, BLINK, PAN_SPLIT, PALETTE_SIZE = 0x02, 0x04, 0x08, 0x20, 0x80

FONT: Final = 8 * KIB
FAR: Final = 65535


def picture(vga: StdVga, now_ns: int) -> Picture:
    """What is to be seen at guest time `now_ns`."""
    if (not vga.dispi.enabled and vga.sequencer[SR_CLOCKING] & SCREEN_OFF) or not vga.attribute_index & SCREEN_ON:
        return Blank(*_size(vga))
    if vga.graphics[GR_MISC] & GRAPHICS_MODE:
        return _graphics(vga)
    return _text(vga, now_ns)


def _size(vga: StdVga) -> tuple[int, int]:
    if not vga.crtc[0x01] or not vga.crtc[0x12]:
        return 640, 480
    if vga.graphics[GR_MISC] & GRAPHICS_MODE:
        return _resolution(vga)
    columns, rows, width, height = _text_size(vga)
    return columns * width, rows * height


# --- colours


def _colors(vga: StdVga) -> Palette:
    """All 256 colours, with 8 bits each."""
    mask = vga.PEL_MASK
    palette = vga.palette if mask == 0xFF else b"".join(vga.palette[3 * (i & mask) :][:3] for i in range(256))
    return bytes(palette) if vga.dispi.wide_dac else bytes(palette).translate(_WIDER)


_WIDER: Final = bytes((v & 0x3F) << 2 | (v & 1) * 3 for v in range(256))
"""6 bits to 8; the lowest fills the two that are new."""


def _sixteen(vga: StdVga, planes: int = 0x0F) -> Palette:
    """The colours of attributes and planes."""
    colors, attributes = _colors(vga), vga.attributes
    select, chosen = attributes[AR_COLOR_SELECT], []
    for index in range(16):
        value = attributes[index & planes]
        if attributes[AR_MODE] & PALETTE_SIZE:
            number = (select & 0x0F) << 4 | value & 0x0F
        else:
            number = (select & 0x0C) << 4 | value
        chosen.append(colors[3 * number : 3 * number + 3])
    return b"".join(chosen)


# --- where things are


def _height(vga: StdVga) -> int:
    crtc = vga.crtc
    return (crtc[0x12] | (crtc[0x07] & 0x02) << 7 | (crtc[0x07] & 0x40) << 3) + 1


def _line_compare(vga: StdVga) -> int:
    crtc = vga.crtc
    return FAR if vga.dispi.enabled else crtc[0x18] | (crtc[0x07] & 0x10) << 4 | (crtc[0x09] & 0x40) << 3


def _start(vga: StdVga) -> int:
    """Byte of the video memory that is shown first."""
    crtc = vga.crtc
    return vga.dispi.start if vga.dispi.enabled else (crtc[0x0C] << 8 | crtc[0x0D]) * 4


def _offset(vga: StdVga) -> int:
    """Bytes from one row to the next."""
    return vga.dispi.line if vga.dispi.enabled else vga.crtc[0x13] * 8


def _resolution(vga: StdVga) -> tuple[int, int]:
    if vga.dispi.enabled:
        return vga.dispi.width, vga.dispi.height
    return (vga.crtc[0x01] + 1) * 8, _height(vga)


# --- text


def _text_size(vga: StdVga) -> tuple[int, int, int, int]:
    """Columns, rows, and the size of a character."""
    clocking = vga.sequencer[SR_CLOCKING]
    width = 16 if clocking & 0x08 else 8 if clocking & 0x01 else 9
    height = (vga.crtc[0x09] & 0x1F) + 1
    return vga.crtc[0x01] + 1, _height(vga) // height, width, height


def _fonts(vga: StdVga) -> tuple[bytes, bytes]:
    select = vga.sequencer[SR_FONT]
    places = (select >> 4 & 1 | select << 1 & 6), (select >> 5 & 1 | select >> 1 & 6)
    first = vga.memory.read(places[0] * FONT * 4, FONT * 4)[2::4]
    second = first if places[0] == places[1] else vga.memory.read(places[1] * FONT * 4, FONT * 4)[2::4]
    return first, second


def _text(vga: StdVga, now_ns: int) -> Picture:
    crtc, attributes = vga.crtc, vga.attributes
    columns, rows, width, height = _text_size(vga)
    if not rows:
        return Blank(columns * width, 400)
    start, offset = _start(vga), _offset(vga)
    pan = attributes[AR_PAN] & 0x0F
    pan = (pan + 1) % 9 if width == 9 else pan & 7
    row_scan = crtc[0x08] & 0x1F
    if row_scan >= height:
        row_scan = 0
    start += (crtc[0x08] >> 5 & 3) * 4  # Byte panning: whole characters.
    stored = columns + bool(pan)
    split = (_line_compare(vga) + row_scan) // height + 1
    memory = vga.memory.read(0, 8 * TEXT_SIZE)
    lines = []
    for row in range(rows + bool(row_scan)):
        first = start + row * offset if row < split else (row - split) * offset
        line = memory[first : first + stored * 4]
        cells = bytearray(2 * stored)
        cells[0 : len(line) // 2 : 2], cells[1 : len(line) // 2 : 2] = line[0::4], line[1::4]
        lines.append(bytes(cells))
    frame = now_ns // FRAME_NS
    return TextPicture(
        columns=columns,
        rows=rows,
        cells=b"".join(lines),
        fonts=_fonts(vga),
        palette=_sixteen(vga),
        glyph_width=width,
        glyph_height=height,
        cursor=_cursor(vga, start, offset, frame),
        blinks=bool(attributes[AR_MODE] & BLINK),
        dark=frame // (2 * CURSOR_FRAMES) % 2 == 1,
        monochrome=bool(attributes[AR_MODE] & MONOCHROME),
        underline=crtc[0x14] & 0x1F,
        extends=bool(attributes[AR_MODE] & LINE_GRAPHICS),
        row_scan=row_scan,
        pan=pan,
    )


def _cursor(vga: StdVga, start: int, offset: int, frame: int) -> CellCursor | None:
    crtc = vga.crtc
    columns, rows, _, height = _text_size(vga)
    distance = (crtc[0x0E] << 8 | crtc[0x0F]) - start // 4
    if crtc[0x0A] & 0x20 or distance < 0 or not offset:
        return None
    row, column = divmod(distance, offset // 4)
    top, bottom = crtc[0x0A] & 0x1F, min(crtc[0x0B] & 0x1F, height - 1)
    if row >= rows or column >= columns or not top <= bottom:
        return None
    return CellCursor(row, column, top, bottom, frame // CURSOR_FRAMES % 2 == 0)


# --- graphics


def _graphics(vga: StdVga) -> Picture:
    width, height = _resolution(vga)
    shift = vga.graphics[GR_MODE] >> 5 & 3
    doubled = bool(vga.sequencer[SR_CLOCKING] & 0x08)
    extended = vga.dispi.enabled
    pan = 0 if extended else vga.attributes[AR_PAN] & 0x07
    panned = min(_line_compare(vga) + 1, height) if vga.attributes[AR_MODE] & PAN_SPLIT else height
    if shift <= 1:
        if doubled:
            width *= 2
            pan *= 2
        dots = 16 if doubled else 8
        lines = _lines(vga, height, (-(-width // dots) + bool(pan)) * 4, shift)
        palette = _sixteen(vga, vga.attributes[AR_PLANES] & 0x0F)
        return PlanarPicture(width, height, lines, palette, shift == 1, doubled, pan, panned)
    if not extended or vga.dispi.depth == 8:
        bytes_shown = width if extended else width // 2 + 4
        lines = _lines(vga, height, bytes_shown, shift)
        return IndexedPicture(width, height, lines, _colors(vga), not extended, pan, panned)
    depth = vga.dispi.depth
    return DirectPicture(width, height, depth, _lines(vga, height, width * (depth + 7 >> 3), shift))


def _lines(vga: StdVga, height: int, size: int, shift: int) -> tuple[bytes, ...]:
    """The bytes of each row of pixels, by the CRT controller's way of counting.

    Rows may show several times (double scanning, tall characters) and, as on a CGA, come from alternating parts.
    """
    crtc, read = vga.crtc, vga.memory.read
    address, offset, compare, mode = _start(vga), _offset(vga), _line_compare(vga), crtc[0x17]
    double = crtc[0x09] >> 7
    # With row scans in the address each of them is a row of its own.
    repeats = double if shift == 1 or not mode & 1 else ((crtc[0x09] & 0x1F) + 1 << double) - 1
    if vga.dispi.enabled and shift != 1:
        repeats = 0
    alternates = ~mode & 3
    lines: list[bytes] = []
    line, left, row = b"", repeats, 0
    seen: int | None = None
    for y in range(height):
        place = address
        if not mode & 1:
            bit = 1 << 14 + (mode >> 6 & 1)
            place = place & ~bit | (row & 1) * bit
        if not mode & 2:
            place = place & ~0x8000 | (row & 2) << 14
        if place != seen:
            line, seen = read(place, size), place
        lines.append(line)
        if left:
            left -= 1
        else:
            if row & alternates == alternates:
                address += offset
            row += 1
            left = repeats
        if y == compare:
            address = 0
    return tuple(lines)
