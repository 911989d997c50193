"""A file that a loader reads: every access is checked, every complaint names the file and the field."""

from __future__ import annotations

from typing import NoReturn

from attrs import field, frozen

from vmcore.model.errors import ConfigError, ImageError

__all__ = ["ImageFile", "command_line"]


@frozen
class ImageFile:
    """The content of a file under the name by which the user gave it.  Numbers in it are little endian."""

    name: str
    data: bytes = field(repr=lambda data: f"<{len(data):#x} bytes>")

    def __len__(self) -> int:
        return len(self.data)

    def fail(self, what: str, value: object, expected: str) -> NoReturn:
        """Raises ImageError about this file."""
        raise ImageError(self.name, what, value, expected)

    def part(self, offset: int, size: int, what: str) -> bytes:
        """`size` bytes at `offset`, all of which must be in the file."""
        if offset < 0 or size < 0 or offset + size > len(self.data):
            self.fail(what, offset + size, f"an end within the file of {len(self.data):#x} bytes")
        return self.data[offset : offset + size]

    def number(self, offset: int, size: int, what: str) -> int:
        """The unsigned number of `size` bytes at `offset`."""
        return int.from_bytes(self.part(offset, size, what), "little")

    def u8(self, offset: int, what: str) -> int:
        return self.number(offset, 1, what)

    def u16(self, offset: int, what: str) -> int:
        return self.number(offset, 2, what)

    def u32(self, offset: int, what: str) -> int:
        return self.number(offset, 4, what)

    def u64(self, offset: int, what: str) -> int:
        return self.number(offset, 8, what)


def command_line(append: str) -> bytes:
    """The kernel command line as it lies in memory, with its terminating zero."""
    if "\0" in append:
        raise ConfigError("append", append, "no zero character within the command line")
    return append.encode("utf-8", "surrogateescape") + b"\0"
