"""The memory behind a `ringbuf` character device."""

from __future__ import annotations

from typing import Final, final

from vmcore.model.errors import UsageError

__all__ = ["DEFAULT_SIZE", "RingBuffer"]

DEFAULT_SIZE: Final = 65536


@final
class RingBuffer:
    """The last `size` bytes that were written and not read.  size: bytes, a power of two; 0 keeps nothing.

    Memory is taken as it is used.
    """

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        if size < 0 or size & (size - 1):
            raise UsageError("size of ringbuf chardev must be power of two")
        self.size: Final = size
        self._bytes = bytearray()

    def __len__(self) -> int:
        return len(self._bytes)

    def write(self, data: bytes) -> None:
        """Keep bytes; the oldest go where there is no room."""
        self._bytes += data
        surplus = len(self._bytes) - self.size
        if surplus > 0:
            del self._bytes[:surplus]

    def read(self, size: int) -> bytes:
        """Take the oldest bytes, at most `size` of them."""
        data = bytes(self._bytes[:size])
        del self._bytes[:size]
        return data
