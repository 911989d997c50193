"""The far end of a serial cable, as a UART sees it."""

from __future__ import annotations


class SerialBackend:
    """What a UART is plugged into.  This one is an open end: it swallows everything.  Subclass it to listen.

    All calls come from inside a guest's access or a timer, so they must be short and must not raise.  They go one way:
    bytes for the guest are handed to the UART (`Serial16550.receive`), which takes as many as it has room for.
    """

    __slots__ = ()

    def write(self, data: bytes) -> None:
        """The guest has sent `data` (one byte, or more when it used string output).  Nothing comes twice or is lost."""

    def room(self) -> None:
        """The UART, having been full, can take input again: offer it the rest."""

    def lines(self, dtr: bool, rts: bool, break_: bool) -> None:
        """The guest changed its outgoing lines: data terminal ready, request to send, break (line held at space)."""
