"""Which of several front ends behind one line is meant: the escape sequences of a multiplexer."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, final

__all__ = ["ESCAPE", "HELP", "MuxAction", "MuxInput"]

ESCAPE: Final = 0x01
"""Ctrl-A begins a sequence."""


class MuxAction(StrEnum):
    """What a sequence asks for; the values are the keys behind Ctrl-A."""

    HELP = "h"
    EXIT = "x"
    BREAK = "b"
    SWITCH = "c"


HELP: Final = (
    b"\r\nC-a h    this help\r\nC-a x    end the machine\r\nC-a b    send a break\r\n"
    b"C-a c    switch to the next front end (console, monitor)\r\nC-a C-a  send C-a\r\n"
)


@final
class MuxInput:
    """The line's input: splits it into bytes and actions.  A key that means nothing is dropped with its Ctrl-A."""

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, data: bytes) -> list[bytes | MuxAction]:
        out: list[bytes | MuxAction] = []
        plain = bytearray()
        for byte in data:
            if self._escaped:
                self._escaped = False
                key = chr(byte)
                if byte == ESCAPE:
                    plain.append(byte)
                elif key == "?":
                    _end(plain, out)
                    out.append(MuxAction.HELP)
                elif key in tuple(MuxAction):
                    _end(plain, out)
                    out.append(MuxAction(key))
            elif byte == ESCAPE:
                self._escaped = True
            else:
                plain.append(byte)
        _end(plain, out)
        return out


def _end(plain: bytearray, out: list[bytes | MuxAction]) -> None:
    if plain:
        out.append(bytes(plain))
        plain.clear()
