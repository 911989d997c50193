"""The host's end of a serial port: bytes out, bytes in.

Output goes to `on_output` if there is one, from within the guest's instruction that sent it unless `at_once` says
otherwise; else it waits here for `take`, the oldest bytes giving way when the guest sends more than `KEPT` that nobody
takes.  Input waits until the UART has room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import frozen

from vmcore.devices.serial16550 import Serial16550
from vmcore.devices.serial_backend import SerialBackend

__all__ = ["SerialPort", "SerialPortState"]

KEPT: Final = 1 << 20
TAIL: Final = 1024


@frozen
class SerialPortState:
    """Input that the UART had no room for yet."""

    waiting: bytes


@final
class SerialPort(SerialBackend):
    """Host end of one UART.  Made by the machine."""

    __slots__ = (
        "_at_once",
        "_call",
        "_on_output",
        "_outbox",
        "_send",
        "_tail",
        "_uart",
        "_waiting",
        "dropped",
        "index",
        "on_drained",
        "sent",
    )

    def __init__(
        self,
        index: int,
        send: Callable[[int, bytes], None],
        call: Callable[[Callable[[bytes], None], bytes], None],
    ) -> None:
        self.index = index
        self.sent = 0
        """Bytes that the guest has sent since the machine was built."""
        self.dropped = 0
        """Bytes of output that nobody took and that had to give way."""
        self.on_drained: Callable[[], None] | None = None
        """Called when all input has found room in the UART, maybe from within a run; it must not raise."""
        self._outbox = bytearray()
        self._tail = bytearray()
        self._waiting = bytearray()
        self._uart: Serial16550 | None = None
        self._on_output: Callable[[bytes], None] | None = None
        self._at_once = True
        self._send = send
        self._call = call

    # --- for users

    def send(self, data: bytes) -> None:
        """Send bytes to the guest.  An input of the machine: stamped and logged."""
        self._send(self.index, bytes(data))

    def take(self) -> bytes:
        """Output that has come since the last `take`."""
        data = bytes(self._outbox)
        self._outbox.clear()
        return data

    @property
    def on_output(self) -> Callable[[bytes], None] | None:
        """Gets every piece of output; whatever it raises ends the run and reaches the caller of `Machine.run`."""
        return self._on_output

    @on_output.setter
    def on_output(self, hook: Callable[[bytes], None] | None) -> None:
        self._on_output = hook
        self._pace()

    @property
    def at_once(self) -> bool:
        """Whether `on_output` gets each byte from within the guest's instruction that sends it, and so can stop the
        guest there.  If not, some bytes may come together, a little later: still before anything else of the machine
        can be seen in this thread, and before the run ends.  That is faster; the guest cannot tell.
        """
        return self._at_once

    @at_once.setter
    def at_once(self, on: bool) -> None:
        self._at_once = on
        self._pace()

    def _pace(self) -> None:
        if self._uart is not None:
            self._uart.collect(not self._at_once or self._on_output is None)

    @property
    def waiting(self) -> int:
        """Bytes of input that the UART had no room for yet."""
        return len(self._waiting)

    @property
    def tail(self) -> bytes:
        """The last bytes of output, whoever took them: for messages about errors."""
        return bytes(self._tail[-TAIL:])

    # --- for the UART

    def write(self, data: bytes) -> None:
        self.sent += len(data)
        tail = self._tail
        tail += data
        if len(tail) > 8 * TAIL:
            del tail[:-TAIL]
        if self._on_output is not None:
            self._call(self._on_output, data)
            return
        outbox = self._outbox
        outbox += data
        if len(outbox) > KEPT:
            surplus = len(outbox) - KEPT
            self.dropped += surplus
            del outbox[:surplus]

    def room(self) -> None:
        self._offer()

    # --- for the machine

    def plug(self, uart: Serial16550) -> None:
        """Put the far end of the cable into a UART."""
        self._uart = uart
        self._pace()

    def apply(self, data: bytes) -> None:
        """Take input for the guest, now."""
        self._waiting += data
        self._offer()

    def break_(self) -> bool:
        """Hold the line at space for longer than a character; False where the UART has no room for that."""
        return self._uart is not None and self._uart.receive_break()

    def save(self) -> SerialPortState:
        """Pending input.  Output that the guest has sent is gone from the machine."""
        return SerialPortState(bytes(self._waiting))

    def restore(self, state: SerialPortState) -> None:
        """Take saved input; output that waits for `take` belongs to the past that was left, and goes."""
        self._waiting[:] = state.waiting
        self._outbox.clear()
        self._tail.clear()
        self._tell_drained()

    def _offer(self) -> None:
        if self._waiting and self._uart is not None:
            accepted = self._uart.receive(bytes(self._waiting))
            del self._waiting[:accepted]
            self._tell_drained()

    def _tell_drained(self) -> None:
        if not self._waiting and self.on_drained is not None:
            self.on_drained()
