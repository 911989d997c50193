"""Raw disks: a file or bytes in memory, sector by sector, with guest writes kept apart unless told otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen

from vmcore.model.errors import ImageError, UsageError

__all__ = ["SECTOR", "DiskBackend", "RawDisk", "RawDiskState"]

SECTOR = 512


class DiskBackend(Protocol):
    """What a disk device needs.  Sectors have 512 bytes; the device checks ranges before it calls.

    Failures of the host raise OSError, which a device reports to the guest as a failed transfer.
    """

    @property
    def sectors(self) -> int:
        """Size of the disk."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether writes are refused."""
        ...

    def read(self, lba: int, count: int) -> bytes:
        """The content of `count` sectors from `lba` on."""
        ...

    def write(self, lba: int, data: bytes) -> None:
        """Replaces whole sectors from `lba` on."""
        ...

    def flush(self) -> None:
        """Returns when what was written is where it would survive the end of this process, if it goes there at all."""
        ...

    def save(self) -> RawDiskState:
        """What the guest has changed, as a value."""
        ...

    def restore(self, state: RawDiskState) -> None:
        """Puts saved changes in place of the present ones."""
        ...


@frozen
class RawDiskState:
    """What was written over the base, by sector number, in order."""

    overlay: tuple[tuple[int, bytes], ...]


@define(eq=False)
class RawDisk:
    """A disk over a base of bytes or an open file.

    Writes go to an overlay in memory that is part of the machine's state; with write_through they go to the file.
    A base that does not end on a sector boundary reads as zeroes from there to the end of its last sector.
    """

    _base: bytes | int = field(repr=lambda base: f"fd {base}" if isinstance(base, int) else f"<{len(base):#x} bytes>")
    _size: int
    read_only: bool = False
    write_through: bool = False
    _overlay: dict[int, bytes] = field(factory=dict, init=False, repr=False)

    @classmethod
    def from_bytes(cls, data: bytes, *, read_only: bool = False) -> RawDisk:
        """A disk whose base is `data`."""
        return cls(bytes(data), len(data), read_only)

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False, write_through: bool = False) -> RawDisk:
        """A disk whose base is a file; the caller closes it.  OSError if the file cannot be opened."""
        if read_only and write_through:
            raise UsageError("a disk that is read only writes nothing through")
        descriptor = os.open(path, (os.O_RDWR if write_through else os.O_RDONLY) | os.O_CLOEXEC)
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if size == 0:
            os.close(descriptor)
            raise ImageError(str(path), "size", 0, "a disk image that is not empty")
        return cls(descriptor, size, read_only, write_through)

    @classmethod
    @contextmanager
    def opened(cls, path: str | Path, *, read_only: bool = False, write_through: bool = False) -> Iterator[RawDisk]:
        """`open` as a context manager that closes."""
        disk = cls.open(path, read_only=read_only, write_through=write_through)
        try:
            yield disk
        finally:
            disk.close()

    def close(self) -> None:
        """Closes the file.  Again: nothing happens."""
        if isinstance(self._base, int):
            os.close(self._base)
            self._base = b""

    @property
    def sectors(self) -> int:
        return -(-self._size // SECTOR)

    def read(self, lba: int, count: int) -> bytes:
        self._check(lba, count)
        start, size = lba * SECTOR, count * SECTOR
        data = self._read_base(start, size)
        written = self._overlay
        if written:
            parts = bytearray(data)
            for number in range(count):
                sector = written.get(lba + number)
                if sector is not None:
                    parts[number * SECTOR : (number + 1) * SECTOR] = sector
            return bytes(parts)
        return data

    def write(self, lba: int, data: bytes) -> None:
        count, rest = divmod(len(data), SECTOR)
        if rest or self.read_only:
            raise UsageError("a disk is written in whole sectors, and only if it is not read only")
        self._check(lba, count)
        if self.write_through and isinstance(self._base, int):
            view = memoryview(data)
            at = lba * SECTOR
            while view:
                done = os.pwrite(self._base, view, at)
                view, at = view[done:], at + done
            return
        for number in range(count):
            self._overlay[lba + number] = bytes(data[number * SECTOR : (number + 1) * SECTOR])

    def flush(self) -> None:
        if self.write_through and isinstance(self._base, int):
            os.fdatasync(self._base)

    def save(self) -> RawDiskState:
        """The overlay as a value.  What was written through is not part of it."""
        return RawDiskState(tuple(sorted(self._overlay.items())))

    def restore(self, state: RawDiskState) -> None:
        """Puts a saved overlay in place of the present one."""
        self._overlay = dict(state.overlay)

    def _check(self, lba: int, count: int) -> None:
        if lba < 0 or count < 0 or lba + count > self.sectors:
            raise UsageError(f"sectors {lba:#x}-{lba + count:#x} of a disk of {self.sectors:#x}")

    def _read_base(self, start: int, size: int) -> bytes:
        """Bytes of the base, with zeroes behind its end."""
        if isinstance(self._base, bytes):
            return self._base[start : start + size].ljust(size, b"\0")
        parts = []
        at, rest = start, min(size, max(self._size - start, 0))
        while rest:
            part = os.pread(self._base, rest, at)
            if not part:
                raise OSError(f"the disk image ends at {at:#x}, before its size {self._size:#x}")
            parts.append(part)
            at, rest = at + len(part), rest - len(part)
        return b"".join(parts).ljust(size, b"\0")
