"""A drive as the built-in BIOS reaches it: sector by sector, beside its controller."""

from __future__ import annotations

import errno
import os
from typing import final

from vmcore.block.drive import Drive
from vmcore.block.node import SECTOR
from vmcore.block.raw import RawDiskState

__all__ = ["DriveSectors"]


@final
class DriveSectors:
    """Reads and writes of INT 13h.  The drive's policy for errors has no say: the BIOS tells its caller of failures."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive

    @property
    def sectors(self) -> int:
        """Size of the disk; a last part of a sector does not count."""
        return self._drive.size // SECTOR

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        return self._drive.read_only

    def read(self, lba: int, count: int) -> bytes:
        """The content of `count` sectors from `lba` on."""
        medium = self._drive.medium
        if medium is None:
            raise OSError(errno.ENOMEDIUM, os.strerror(errno.ENOMEDIUM))
        return medium.read(lba * SECTOR, count * SECTOR)

    def write(self, lba: int, data: bytes) -> None:
        """Replace whole sectors from `lba` on."""
        medium = self._drive.medium
        if medium is None:
            raise OSError(errno.ENOMEDIUM, os.strerror(errno.ENOMEDIUM))
        medium.write(lba * SECTOR, data)

    def flush(self) -> None:
        """Make what was written safe from a crash of the host."""
        if self._drive.medium is not None:
            self._drive.medium.flush()

    def save(self) -> RawDiskState:
        """Nothing: the state of drives is saved with the block graph."""
        return RawDiskState(())

    def restore(self, state: RawDiskState) -> None:
        """Nothing, as `save`."""
