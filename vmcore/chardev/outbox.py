"""Output on its way to the host."""

from __future__ import annotations

import threading
from typing import Final, final

__all__ = ["KEPT", "Outbox"]

KEPT: Final = 1 << 20
PIECE: Final = 1 << 16


@final
class Outbox:
    """Bytes that the host has not taken yet.  Filled in the engine thread, emptied in the event loop's.

    Whoever does not read must not hold the guest up, nor cost more than `KEPT` bytes: the oldest give way.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._bytes = bytearray()
        self._kept = kept
        self.lost = 0
        """Bytes that gave way."""

    def __len__(self) -> int:
        return len(self._bytes)

    def put(self, data: bytes) -> bool:
        """Add bytes; whether there was nothing before."""
        with self._lock:
            first = not self._bytes
            self._bytes += data
            self._trim()
            return first

    def put_back(self, data: bytes) -> None:
        """Return what was taken and did not get away."""
        with self._lock:
            self._bytes[:0] = data
            self._trim()

    def take(self, most: int = PIECE) -> bytes:
        """The oldest bytes; none if there are none."""
        with self._lock:
            data = bytes(self._bytes[:most])
            del self._bytes[:most]
            return data

    def _trim(self) -> None:
        surplus = len(self._bytes) - self._kept
        if surplus > 0:
            self.lost += surplus
            del self._bytes[:surplus]
