"""Pixels of pictures.

Pure Python that leaves the work to methods of bytes: translation tables turn colour numbers into colours for a whole
frame at once, characters are rows of glyphs joined.  A text screen of 720 by 400 takes some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from attrs import field, frozen

from vmcore.screen.picture import Blank, DirectPicture, IndexedPicture, Palette, Picture, PlanarPicture, TextPicture

__all__ = ["Frame", "render"]


@frozen
class Frame:
    """Pixels: red, green and blue, a byte each, row by row from the top, without padding."""

    width: int
    height: int
    pixels: bytes = field(repr=lambda pixels: f"<{len(pixels)} bytes>")

    def pixel(self, x: int, y: int) -> tuple[int, int, int]:
        """Red, green and blue of one pixel, from 0 to 255."""
        at = (y * self.width + x) * 3
        return self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]


def render(picture: Picture) -> Frame:
    """The pixels of a picture."""
    match picture:
        case Blank(width, height):
            return Frame(width, height, bytes(3 * width * height))
        case TextPicture():
            pixels = _text(picture)
        case PlanarPicture():
            pixels = _colored(_planar(picture), picture.palette)
        case IndexedPicture():
            pixels = _colored(_indexed(picture), picture.palette)
        case DirectPicture():
            pixels = _direct(picture)
    return Frame(picture.width, picture.height, pixels)


def _colored(numbers: bytes, palette: Palette) -> bytes:
    out = bytearray(3 * len(numbers))
    for channel in range(3):
        table = palette[channel::3]
        out[channel::3] = numbers.translate(table + bytes(256 - len(table)))
    return bytes(out)


def _double(line: bytes) -> bytes:
    out = bytearray(2 * len(line))
    out[0::2] = out[1::2] = line
    return bytes(out)


def _rows(lines: tuple[bytes, ...], width: int, pan: int, panned: int, unpack: Callable[[bytes], bytes]) -> bytes:
    """Colour numbers of all rows; rows that are the same object are unpacked once."""
    done: dict[int, bytes] = {}
    rows = []
    for y, line in enumerate(lines):
        numbers = done.get(id(line))
        if numbers is None:
            numbers = done[id(line)] = unpack(line)
        skip = pan if y < panned else 0
        rows.append(numbers[skip : skip + width])
    return b"".join(rows)


# --- planes


@cache
def _spread(plane: int) -> tuple[bytes, ...]:
    """For each byte of a plane, what its eight dots add to their colours' numbers."""
    return tuple(bytes((bits >> 7 - dot & 1) << plane for dot in range(8)) for bits in range(256))


@cache
def _spread_pairs(high: int) -> tuple[bytes, ...]:
    """For each byte of pairs of bits, what its four dots add; high: for the upper half of their colours' numbers."""
    return tuple(bytes((bits >> 6 - 2 * dot & 3) << 2 * high for dot in range(4)) for bits in range(256))


def _planar(picture: PlanarPicture) -> bytes:
    def unpack(line: bytes) -> bytes:
        planes = [line[plane::4] for plane in range(4)]
        if picture.pairs:
            # The first four dots of eight come from planes 0 and 2, the others from 1 and 3.
            low = bytes(byte for pair in zip(planes[0], planes[1], strict=True) for byte in pair)
            high = bytes(byte for pair in zip(planes[2], planes[3], strict=True) for byte in pair)
            parts = [b"".join(map(_spread_pairs(i).__getitem__, part)) for i, part in enumerate((low, high))]
        else:
            parts = [b"".join(map(_spread(i).__getitem__, plane)) for i, plane in enumerate(planes)]
        number = 0
        for part in parts:
            number |= int.from_bytes(part, "little")
        numbers = number.to_bytes(len(parts[0]), "little")
        return _double(numbers) if picture.doubled else numbers

    return _rows(picture.lines, picture.width, picture.pan, picture.panned, unpack)


def _indexed(picture: IndexedPicture) -> bytes:
    unpack: Callable[[bytes], bytes] = _double if picture.doubled else bytes
    return _rows(picture.lines, picture.width, picture.pan, picture.panned, unpack)


# --- pixels that are colours


def _direct(picture: DirectPicture) -> bytes:
    data = b"".join(picture.lines)
    step = picture.depth + 7 >> 3
    out = bytearray(3 * len(data) // step)
    if step > 2:
        for channel in range(3):
            out[channel::3] = data[2 - channel :: step]
        return bytes(out)
    low, high = data[0::2], data[1::2]
    fields = ((7, 3), (2, 3), (-3, 3)) if picture.depth == 15 else ((8, 3), (3, 2), (-3, 3))
    for channel, (shift, narrower) in enumerate(fields):
        out[channel::3] = _field(low, high, shift, narrower, picture.depth == 16)
    return bytes(out)


def _field(low: bytes, high: bytes, shift: int, spare: int, widen: bool) -> bytes:
    """One colour of 16-bit pixels: the bits that come to the top of a byte after shifting right, 8 - spare of them.

    widen: whether the highest bits fill the spare ones, so that white is white; QEMU does so for 16 bits, not for 15.
    """
    parts = [
        half.translate(bytes(_part(value << 8 * index, shift, spare) for value in range(256)))
        for index, half in enumerate((low, high))
    ]
    both = int.from_bytes(parts[0], "little") | int.from_bytes(parts[1], "little")
    numbers = both.to_bytes(len(low), "little")
    return numbers.translate(bytes(value | value >> 8 - spare for value in range(256))) if widen else numbers


def _part(value: int, shift: int, spare: int) -> int:
    shifted = value >> shift if shift >= 0 else value << -shift
    return shifted & 0xFF & -1 << spare


# --- text


def _text(picture: TextPicture) -> bytes:
    palette, height = picture.palette, picture.glyph_height
    colors = [palette[3 * index : 3 * index + 3] for index in range(16)]
    glyphs: dict[tuple[int, int], list[bytes]] = {}
    stored = picture.stored_columns
    lines: list[bytes] = []
    cells = picture.cells
    width = 3 * picture.width
    cursor = picture.cursor if picture.cursor is not None and picture.cursor.shown else None
    for row in range(len(cells) // (2 * stored)):
        line = []
        for at in range(row * stored * 2, (row + 1) * stored * 2, 2):
            key = cells[at], cells[at + 1]
            glyph = glyphs.get(key)
            if glyph is None:
                glyph = glyphs[key] = _glyph(picture, colors, *key)
            line.append(glyph)
        if cursor is not None and row == cursor.row:
            under = line[cursor.column]
            solid = colors[cells[(row * stored + cursor.column) * 2 + 1] & 0x0F] * picture.glyph_width
            line[cursor.column] = [
                solid if cursor.top <= index <= cursor.bottom else dots for index, dots in enumerate(under)
            ]
        lines.extend(b"".join(parts) for parts in zip(*line, strict=True))
    lines = lines[picture.row_scan : picture.row_scan + picture.rows * height]
    if picture.pan:
        lines = [line[3 * picture.pan : 3 * picture.pan + width] for line in lines]
    return b"".join(lines)


BLINK = 0x80
EXTENDED = 0xB0, 0xDF
"""Characters whose eighth dot fills the ninth, too.  An IBM VGA begins at C0h, as a font can see; QEMU at B0h."""


def _glyph(picture: TextPicture, colors: list[bytes], character: int, attribute: int) -> list[bytes]:
    """The lines of one character."""
    front, back = colors[attribute & 0x0F], colors[attribute >> 4 & 7]
    if not picture.blinks:
        back = colors[attribute >> 4]
    elif attribute & BLINK and picture.dark:
        front = back
    font = picture.fonts[attribute >> 3 & 1]
    rows = list(font[character * 32 : character * 32 + picture.glyph_height])
    rows += [0] * (picture.glyph_height - len(rows))
    if picture.monochrome and attribute & 0x07 == 1 and picture.underline < len(rows):
        rows[picture.underline] = 0xFF
    wide = picture.glyph_width
    extends = picture.extends and EXTENDED[0] <= character <= EXTENDED[1]
    out = []
    for bits in rows:
        dots = [front if bits >> 7 - dot & 1 else back for dot in range(8)]
        if wide == 9:
            dots.append(dots[7] if extends else back)
        elif wide == 16:
            dots = [dot for dot in dots for _ in range(2)]
        out.append(b"".join(dots))
    return out
