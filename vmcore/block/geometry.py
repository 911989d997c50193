"""Cylinders, heads and sectors for disks that have none.

Sources: T13 1572D (Enhanced Disk Drive), annex on geometry translation ("LBA assisted"); the formats of PC floppies.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["FLOPPIES", "Geometry", "floppy", "hard_disk"]


@frozen
class Geometry:
    """A disk as INT 13h addresses it; sectors count from 1."""

    cylinders: int
    heads: int
    sectors: int


FLOPPIES = {
    cylinders * heads * sectors: Geometry(cylinders, heads, sectors)
    for cylinders, heads, sectors in (
        (40, 1, 8), (40, 1, 9), (40, 2, 8), (40, 2, 9), (80, 2, 9), (80, 2, 15), (80, 2, 18), (80, 2, 36),
    )
}  # fmt: skip
"""The usual formats by their number of sectors: 160, 180, 320, 360, 720, 1200, 1440 and 2880 KiB."""


def floppy(sectors: int) -> Geometry:
    """The format of a floppy of this size; odd sizes get 1440 KiB's tracks."""
    return FLOPPIES.get(sectors) or Geometry(min(max(-(-sectors // 36), 1), 255), 2, 18)


def hard_disk(sectors: int) -> Geometry:
    """63 sectors a track and as few heads as keep the cylinders within 1024 (255 at most)."""
    for heads in (16, 32, 64, 128, 255):
        cylinders = -(-sectors // (heads * 63))
        if cylinders <= 1024:
            return Geometry(max(cylinders, 1), heads, 63)
    return Geometry(1024, 255, 63)
