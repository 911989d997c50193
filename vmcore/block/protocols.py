"""Nodes that hold bytes: a file of the host, memory, and nothing."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

from vmcore.block.locks import lock_image
from vmcore.block.node import BlockNode, FileMark
from vmcore.model.units import GIB

__all__ = ["FileNode", "MemoryNode", "NullNode"]

ALLOCATION_UNIT: Final = 512
"""Bytes of a unit of st_blocks (POSIX, sys/stat.h)."""


class FileNode(BlockNode):
    """A file or a block device of the host, opened once and locked until it is closed.

    Writes go to the file at once and are safe from a crash of this process; `flush` makes them safe from one of the
    host.  OSError if it cannot be opened; LockedError if another program uses it.

    active: False for a machine that does not run yet, or has gone to another host: the file is only looked at, and
    without a lock, so that whoever runs the guest can have it.
    """

    driver = "file"

    def __init__(
        self, name: str, filename: str, *, read_only: bool = False, locking: bool = True, active: bool = True
    ) -> None:
        super().__init__(name, read_only=read_only)
        self._filename = filename
        self._locking = locking
        self._active = active
        self._descriptor, self._size = self._open(active)
        self._marked: int | None = None

    def _open(self, active: bool) -> tuple[int, int]:
        """A descriptor, and the size."""
        descriptor = os.open(
            self._filename, (os.O_RDWR if active and not self.read_only else os.O_RDONLY) | os.O_CLOEXEC
        )
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self._filename)
            if active and self._locking:
                lock_image(descriptor, self._filename, write=not self.read_only)
            return descriptor, os.lseek(descriptor, 0, os.SEEK_END)
        except BaseException:
            os.close(descriptor)
            raise

    def activate(self, active: bool) -> None:
        """Take the file with its lock, or let go of it.  OSError where that cannot be; nothing has changed then."""
        if active is not self._active and not self.closed:
            descriptor, size = self._open(active)
            os.close(self._descriptor)
            self._descriptor, self._size, self._active = descriptor, size, active

    @property
    def size(self) -> int:
        return self._size

    @property
    def filename(self) -> str:
        return self._filename

    @property
    def allocated(self) -> int | None:
        return os.fstat(self._descriptor).st_blocks * ALLOCATION_UNIT

    def read(self, offset: int, length: int) -> bytes:
        if not length:
            return b""
        rest = min(length, max(self._size - offset, 0))
        data = os.pread(self._descriptor, rest, offset) if rest else b""
        if len(data) == length:
            return data
        parts, at, rest = [data], offset + len(data), rest - len(data)
        while rest:
            part = os.pread(self._descriptor, rest, at)
            if not part:  # Somebody has cut the file while it was in use.
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            parts.append(part)
            at, rest = at + len(part), rest - len(part)
        return b"".join(parts).ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        done = os.pwrite(self._descriptor, data, offset)
        while done < len(data):
            done += os.pwrite(self._descriptor, memoryview(data)[done:], offset + done)
        self._size = max(self._size, offset + len(data))
        if self._marked is not None:
            self._show_change()

    def flush(self) -> None:
        if not self.read_only:
            os.fdatasync(self._descriptor)

    @property
    def can_resize(self) -> bool:
        return True

    def resize(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self._size = size

    def mark(self) -> FileMark:
        """What the file is now.  Every later write makes a different mark."""
        found = os.fstat(self._descriptor)
        self._marked = found.st_mtime_ns
        return FileMark(self._size, found.st_mtime_ns)

    def _show_change(self) -> None:
        # Time stamps of files advance in steps of milliseconds: two writes may have the same.
        found = os.fstat(self._descriptor)
        if found.st_mtime_ns == self._marked:
            os.utime(self._descriptor, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
        self._marked = None

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class MemoryNode(BlockNode):
    """Bytes that are part of the configuration, never written: an overlay above it takes writes."""

    driver = "memory"

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(name, read_only=True)
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    @property
    def filename(self) -> str:
        return "memory:"

    def read(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length].ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


class NullNode(BlockNode):
    """A disk of zeros that forgets what is written to it."""

    driver = "null-co"

    def __init__(self, name: str, size: int | None = None, *, read_only: bool = False) -> None:
        super().__init__(name, read_only=read_only)
        self._size = GIB if size is None else size

    @property
    def size(self) -> int:
        return self._size

    @property
    def filename(self) -> str:
        return "null-co://"

    @property
    def allocated(self) -> int | None:
        return 0

    def read(self, offset: int, length: int) -> bytes:
        return bytes(length)

    def write(self, offset: int, data: bytes) -> None:
        pass
