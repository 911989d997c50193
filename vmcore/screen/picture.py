"""What an adapter is showing, as plain data: everything that decides about the pixels, cut out of its registers and
memory at one moment.  `render` makes pixels of it, `characters` text.
"""

from __future__ import annotations

from attrs import field, frozen

__all__ = [
    "Blank",
    "CellCursor",
    "DirectPicture",
    "IndexedPicture",
    "Palette",
    "Picture",
    "PlanarPicture",
    "TextPicture",
]

Palette = bytes
"""Red, green and blue, a byte each, for each colour."""


def _length(data: bytes) -> str:
    return f"<{len(data)} bytes>"


@frozen
class Blank:
    """Nothing is shown."""

    width: int = 640
    height: int = 480


@frozen
class CellCursor:
    """A cursor in a text mode.  shown: False while it is off or in the dark half of its blinking."""

    row: int
    column: int
    top: int
    bottom: int
    shown: bool


@frozen
class TextPicture:
    """A text mode.

    cells: character and attribute, row by row; fonts: 256 glyphs of 32 bytes for attributes without and with bit 3;
    palette: 16 colours; glyph_width: 8, 9, or 16 for doubled dots; blinks: whether attribute bit 7 blinks (else it
    makes the background bright); dark: whether blinking characters are off now; monochrome: whether attributes can
    underline; underline: line of a glyph that does it; extends: whether box-drawing characters fill the ninth dot;
    row_scan: first line of the first row that is shown; pan: dots by which all is shifted to the left.  With these two
    there are one more row and column in `cells` than are shown whole.
    """

    columns: int
    rows: int
    cells: bytes = field(repr=_length)
    fonts: tuple[bytes, bytes] = field(repr=lambda fonts: f"<{len(fonts)} fonts>")
    palette: Palette = field(repr=_length)
    glyph_width: int
    glyph_height: int
    cursor: CellCursor | None
    blinks: bool
    dark: bool
    monochrome: bool
    underline: int
    extends: bool
    row_scan: int = 0
    pan: int = 0

    @property
    def stored_columns(self) -> int:
        """Characters in a row of `cells`."""
        return self.columns + bool(self.pan)

    @property
    def width(self) -> int:
        """Pixels."""
        return self.columns * self.glyph_width

    @property
    def height(self) -> int:
        """Pixels."""
        return self.rows * self.glyph_height


@frozen
class PlanarPicture:
    """Sixteen colours in four planes, or four colours in pairs of bits.

    lines: for each row of pixels the four planes' bytes side by side; palette: 16 colours; pairs: whether two bits of a
    byte make a pixel; doubled: whether each dot is two pixels wide; pan: pixels by which the first `panned` rows are
    shifted to the left.
    """

    width: int
    height: int
    lines: tuple[bytes, ...] = field(repr=lambda lines: f"<{len(lines)} lines>")
    palette: Palette = field(repr=_length)
    pairs: bool
    doubled: bool
    pan: int = 0
    panned: int = 0


@frozen
class IndexedPicture:
    """A byte for each pixel (each pair of pixels where `doubled`), by `palette` of 256 colours.  pan, panned: as for
    `PlanarPicture`.
    """

    width: int
    height: int
    lines: tuple[bytes, ...] = field(repr=lambda lines: f"<{len(lines)} lines>")
    palette: Palette = field(repr=_length)
    doubled: bool
    pan: int = 0
    panned: int = 0


@frozen
class DirectPicture:
    """Pixels that are colours: 15 or 16 bits (5:5:5, 5:6:5), 24 or 32, little endian, blue lowest."""

    width: int
    height: int
    depth: int
    lines: tuple[bytes, ...] = field(repr=lambda lines: f"<{len(lines)} lines>")


Picture = Blank | TextPicture | PlanarPicture | IndexedPicture | DirectPicture
