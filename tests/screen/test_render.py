"""Pixels and characters of pictures that are made by hand."""

from __future__ import annotations

import struct
import zlib

import pytest
from attrs import evolve

from vmcore.screen.characters import cells, lines
from vmcore.screen.edid import edid
from vmcore.screen.files import png, ppm
from vmcore.screen.picture import Blank, CellCursor, DirectPicture, IndexedPicture, PlanarPicture, TextPicture
from vmcore.screen.render import Frame, render

PALETTE = bytes(channel for color in range(16) for channel in (color, color + 100, color + 200))
BAR = b"\x81" + bytes(31)
"""A glyph with its outermost dots set in the first line."""


def color(number: int) -> tuple[int, int, int]:
    return number, number + 100, number + 200


def text(cell_bytes: bytes, columns: int = 2, rows: int = 1) -> TextPicture:
    return TextPicture(
        columns=columns,
        rows=rows,
        cells=cell_bytes,
        fonts=(BAR * 256, bytes(32 * 256)),
        palette=PALETTE,
        glyph_width=9,
        glyph_height=4,
        cursor=None,
        blinks=False,
        dark=False,
        monochrome=False,
        underline=3,
        extends=True,
    )


def row(frame: Frame, y: int) -> list[tuple[int, int, int]]:
    return [frame.pixel(x, y) for x in range(frame.width)]


def test_a_glyph_has_its_colours_and_a_ninth_dot_of_background() -> None:
    frame = render(text(b"A\x27B\x27"))
    front, back = color(7), color(2)
    assert (frame.width, frame.height) == (18, 4)
    assert row(frame, 0) == ([front] + [back] * 6 + [front] + [back]) * 2
    assert row(frame, 1) == [back] * 18


def test_box_drawing_fills_the_ninth_dot() -> None:
    picture = text(b"\xc4\x07\xafx")
    assert render(picture).pixel(8, 0) == color(7)
    assert render(picture).pixel(17, 0) == color(7)  # Background of attribute 78h.
    assert render(evolve(picture, extends=False)).pixel(8, 0) == color(0)


def test_attribute_bit_3_chooses_the_second_font() -> None:
    assert render(text(b"A\x07A\x0f")).pixel(9, 0) == color(0)


def test_attribute_bit_7_is_bright_background_or_blinks() -> None:
    picture = text(b"A\x97A\x17")
    assert render(picture).pixel(1, 0) == color(9)
    blinking = evolve(picture, blinks=True)
    assert render(blinking).pixel(1, 0) == color(1)
    assert render(blinking).pixel(0, 0) == color(7)
    assert render(evolve(blinking, dark=True)).pixel(0, 0) == color(1)
    assert render(evolve(blinking, dark=True)).pixel(9, 0) == color(7)


def test_monochrome_attributes_underline() -> None:
    picture = evolve(text(b"A\x01A\x07"), monochrome=True)
    assert render(picture).pixel(3, 3) == color(1)
    assert render(picture).pixel(12, 3) == color(0)


def test_the_cursor_is_drawn_while_it_is_shown() -> None:
    picture = evolve(text(b"A\x12A\x12"), cursor=CellCursor(0, 1, 2, 3, shown=True))
    frame = render(picture)
    assert row(frame, 2) == [color(1)] * 9 + [color(2)] * 9
    assert row(frame, 1) == [color(1)] * 18
    hidden = evolve(picture, cursor=CellCursor(0, 1, 2, 3, shown=False))
    assert row(render(hidden), 2) == [color(1)] * 18


def test_text_is_panned_by_dots_and_lines() -> None:
    cell_bytes = (b"A\x07" * 3) * 2
    picture = evolve(text(cell_bytes), pan=1, row_scan=1)
    frame = render(picture)
    assert (frame.width, frame.height) == (18, 4)
    assert row(frame, 3)[6:9] == [color(7), color(0), color(7)]  # Line 0 of the second row, one dot to the left.
    assert row(frame, 0) == [color(0)] * 18


def test_doubled_dots() -> None:
    frame = render(evolve(text(b"A\x07A\x07"), glyph_width=16))
    assert row(frame, 0)[:3] == [color(7), color(7), color(0)]


def test_text_is_code_page_437() -> None:
    picture = text(bytes((0x00, 7, 0x01, 7, 0x41, 7, 0x7F, 7, 0x81, 7, 0xDB, 7)), columns=3, rows=2)
    assert lines(picture) == [" ☺A", "⌂ü█"]
    found = cells(picture)[1][2]
    assert (found.character, found.code, found.attribute, found.foreground, found.background) == ("█", 0xDB, 7, 7, 0)


def test_planes_make_colour_numbers() -> None:
    line = bytes((0b1000_0000, 0b1100_0000, 0, 0b0000_0001))
    picture = PlanarPicture(8, 2, (line, line), PALETTE, pairs=False, doubled=False)
    assert row(render(picture), 1) == [color(n) for n in (3, 2, 0, 0, 0, 0, 0, 8)]


def test_pairs_of_bits_make_colour_numbers() -> None:
    line = bytes((0b00_01_10_11, 0b11_00_00_00, 0b01_00_00_00, 0))
    picture = PlanarPicture(8, 1, (line,), PALETTE, pairs=True, doubled=False)
    assert row(render(picture), 0) == [color(n) for n in (4, 1, 2, 3, 3, 0, 0, 0)]


def test_panning_ends_at_a_split() -> None:
    line = bytes((0x40, 0, 0, 0)) * 2
    picture = PlanarPicture(8, 2, (line, line), PALETTE, pairs=False, doubled=False, pan=1, panned=1)
    assert [render(picture).pixel(x, y) for y in (0, 1) for x in (0, 1)] == [color(n) for n in (1, 0, 0, 1)]


def test_a_byte_a_pixel_may_be_doubled() -> None:
    palette = bytes(range(256)) * 3
    frame = render(IndexedPicture(4, 1, (bytes((0, 1, 9, 9)),), palette, doubled=True))
    assert row(frame, 0) == [(0, 1, 2), (0, 1, 2), (3, 4, 5), (3, 4, 5)]


@pytest.mark.parametrize(
    ("depth", "pixel", "shown"),
    [
        (15, 0x7FFF, (0xF8, 0xF8, 0xF8)),
        (15, 1 << 10 | 2 << 5 | 3, (8, 16, 24)),
        (16, 0xFFFF, (0xFF, 0xFF, 0xFF)),
        (16, 1 << 11 | 2 << 5 | 3, (8, 8, 24)),
        (24, 0x112233, (0x11, 0x22, 0x33)),
        (32, 0xFF112233, (0x11, 0x22, 0x33)),
    ],
)
def test_pixels_that_are_colours(depth: int, pixel: int, shown: tuple[int, int, int]) -> None:
    line = pixel.to_bytes(depth + 7 >> 3, "little") * 2
    assert row(render(DirectPicture(2, 1, depth, (line,))), 0) == [shown, shown]


def test_nothing_is_black() -> None:
    assert render(Blank(2, 2)).pixels == bytes(12)


def test_files() -> None:
    frame = Frame(2, 2, bytes((1, 2, 3, 4, 5, 6)) * 2)
    assert ppm(frame) == b"P6\n2 2\n255\n" + frame.pixels
    data = png(frame)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, {}
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size)[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        at += size + 12
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (2, 2, 8, 2, 0, 0, 0)
    # The second row is the same as the first: "up", and zeros.
    assert zlib.decompress(chunks[b"IDAT"]) == b"\0\1\2\3\4\5\6" + b"\2" + bytes(6)


def test_a_monitor_describes_itself() -> None:
    data = edid(1024, 768)
    assert len(data) == 128
    assert sum(data) % 256 == 0
    assert data[:8] == b"\0\xff\xff\xff\xff\xff\xff\0"
    timing = data[54:72]
    assert timing[2] | timing[4] >> 4 << 8 == 1024
    assert timing[5] | timing[7] >> 4 << 8 == 768
