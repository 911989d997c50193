"""Lines that a person types, character by character: what is shown for each, and the lines when they are complete."""

from __future__ import annotations

from typing import Final, final

__all__ = ["LineEditor"]

LONGEST: Final = 4096
HISTORY: Final = 64

_BACKSPACES: Final = (0x08, 0x7F)
_ERASE: Final = b"\b \b"


@final
class LineEditor:
    """Backspace, Ctrl-W, Ctrl-U and Ctrl-C edit; the arrows up and down go through the lines before."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._history: list[bytes] = []
        self._at = 0
        self._escape = b""
        self._after_return = False

    def feed(self, byte: int) -> tuple[bytes, str | None]:
        """Take one byte: what is to be shown for it, and the line if it is complete now."""
        if self._escape:
            return self._sequence(byte), None
        after_return, self._after_return = self._after_return, byte == 0x0D
        if byte in (0x0A, 0x0D):
            if byte == 0x0A and after_return:
                return b"", None
            return b"\r\n", self._complete()
        if byte == 0x1B:
            self._escape = b"\x1b"
        elif byte in _BACKSPACES:
            return self._erase(1 if self._line else 0), None
        elif byte == 0x17:
            kept = self._line.rstrip(b" ").rfind(b" ") + 1
            return self._erase(len(self._line) - kept), None
        elif byte in (0x15, 0x03):
            return self._erase(len(self._line)), None
        elif byte >= 0x20 and len(self._line) < LONGEST:
            self._line.append(byte)
            return bytes([byte]), None
        return b"", None

    def _complete(self) -> str:
        line = bytes(self._line)
        self._line.clear()
        if line and self._history[-1:] != [line]:
            self._history.append(line)
            del self._history[:-HISTORY]
        self._at = len(self._history)
        return line.decode("utf-8", "replace")

    def _erase(self, count: int) -> bytes:
        if count:
            del self._line[-count:]
        return _ERASE * count

    def _sequence(self, byte: int) -> bytes:
        """Within an escape sequence: ESC [ A is up, ESC [ B is down, all others mean nothing here."""
        self._escape += bytes([byte])
        if self._escape in (b"\x1b[", b"\x1bO"):
            return b""
        sequence, self._escape = self._escape, b""
        step = {b"A": -1, b"B": 1}.get(sequence[2:], 0)
        at = self._at + step
        if not step or not 0 <= at <= len(self._history):
            return b""
        self._at = at
        erased = self._erase(len(self._line))
        self._line += self._history[at] if at < len(self._history) else b""
        return erased + bytes(self._line)
