"""Telnet around a stream of bytes (RFC 854): binary both ways (RFC 856), no echo at the client (RFC 857, RFC 858)."""

from __future__ import annotations

from typing import Final, final

__all__ = ["BREAK", "GREETING", "Telnet"]

IAC: Final = 255
DONT: Final = 254
WILL: Final = 251
SB: Final = 250
BRK: Final = 243
SE: Final = 240

_ECHO, _SUPPRESS_GO_AHEAD, _BINARY = 1, 3, 0
_DO: Final = 253

GREETING: Final = bytes([IAC, WILL, _ECHO, IAC, WILL, _SUPPRESS_GO_AHEAD, IAC, WILL, _BINARY, IAC, _DO, _BINARY])
"""What is said when a client comes."""


@final
class Break:
    """The client sent a break."""


BREAK: Final = Break()


@final
class Telnet:
    """One connection."""

    def __init__(self) -> None:
        self._state = "data"

    def encode(self, data: bytes) -> bytes:
        """Bytes as they go over the connection."""
        return data.replace(b"\xff", b"\xff\xff")

    def feed(self, data: bytes) -> list[bytes | Break]:
        """What bytes of the connection mean: data, and breaks between them.  Answers to options are passed over."""
        out: list[bytes | Break] = []
        plain = bytearray()
        for byte in data:
            match self._state:
                case "data":
                    if byte == IAC:
                        self._state = "command"
                    else:
                        plain.append(byte)
                case "command":
                    self._state = "data"
                    if byte == IAC:
                        plain.append(byte)
                    elif byte == BRK:
                        if plain:
                            out.append(bytes(plain))
                            plain.clear()
                        out.append(BREAK)
                    elif WILL <= byte <= DONT:
                        self._state = "option"
                    elif byte == SB:
                        self._state = "parameters"
                case "option":
                    self._state = "data"
                case "parameters":
                    if byte == IAC:
                        self._state = "end"
                case "end":
                    self._state = "data" if byte == SE else "parameters"
        if plain:
            out.append(bytes(plain))
        return out
