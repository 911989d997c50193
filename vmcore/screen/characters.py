"""Text of text modes: cells of code page 437 as characters."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from vmcore.screen.picture import TextPicture

__all__ = ["CODE_PAGE", "Cell", "cells", "lines"]

CODE_PAGE: Final = (
    " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
    + bytes(range(0x20, 0x7F)).decode("ascii")
    + "⌂"
    + bytes(range(0x80, 256)).decode("cp437")
)
"""What the 256 characters of the PC's code page 437 look like, the first 32 as graphics.  NUL is a blank."""


@frozen
class Cell:
    """One place of a text screen.

    character: as it looks with the font that a PC starts with; code: the byte that stands there; attribute: its colours
    (0-3 foreground, 4-6 background, 7 blinking or bright background; bit 3 is brightness, or the second font).
    """

    character: str
    code: int
    attribute: int

    @property
    def foreground(self) -> int:
        """Number of the foreground's colour, from 0 to 15."""
        return self.attribute & 0x0F

    @property
    def background(self) -> int:
        """Number of the background's colour, from 0 to 15; the upper half may mean blinking."""
        return self.attribute >> 4


def lines(picture: TextPicture) -> list[str]:
    """The rows as text, each `columns` characters long."""
    step = 2 * picture.stored_columns
    return [
        "".join(map(CODE_PAGE.__getitem__, picture.cells[row * step : row * step + 2 * picture.columns : 2]))
        for row in range(picture.rows)
    ]


def cells(picture: TextPicture) -> list[list[Cell]]:
    """The rows as cells."""
    step, data = 2 * picture.stored_columns, picture.cells
    return [
        [
            Cell(CODE_PAGE[data[at]], data[at], data[at + 1])
            for at in range(row * step, row * step + 2 * picture.columns, 2)
        ]
        for row in range(picture.rows)
    ]
