"""A serial port as a trio stream, with `expect`.

Output of the guest is kept from the first byte on and read from a cursor: `receive_some` and `expect` take what lies
behind it, in order, and nothing is ever skipped silently.  At most `KEPT` unread bytes are held; a guest that sends
more is not held up (that would make it depend on the host), the oldest go, and the next read says BytesLost.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

import trio
from attrs import frozen

from vmcore.machine.serial_port import SerialPort
from vmcore.model.errors import GuestError, UsageError, VmcoreError

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["BytesLost", "ExpectFailed", "Match", "SerialStream"]

KEPT: Final = 16 << 20
WINDOW: Final = 4096
"""Bytes that the match of a regular expression may span."""


class BytesLost(VmcoreError):
    """Nobody read a serial port for so long that its oldest bytes are gone.  count: how many."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def __str__(self) -> str:
        return f"{self.count} bytes of serial output were lost: nobody read them"


class ExpectFailed(GuestError):
    """The machine came to its end before the expected bytes did.  tail: the last output."""

    def __init__(self, pattern: bytes, why: str, tail: bytes) -> None:
        super().__init__(f"expected {pattern!r} on the serial port, but {why}; the last output was {tail[-400:]!r}")
        self.pattern = pattern
        self.tail = tail

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.pattern, self.message, self.tail)


def _rebuild(pattern: bytes, message: str, tail: bytes) -> ExpectFailed:
    error = ExpectFailed(pattern, "", tail)
    error.message = message
    return error


@frozen
class Match:
    """What `expect` found.  before: what was read over; match: the bytes that matched; groups: those of a regular
    expression.
    """

    before: bytes
    match: bytes
    groups: tuple[bytes | None, ...] = ()


@final
class _Watch:
    """A pattern that is waited for.  Looks only at bytes behind the cursor, and at each of them once."""

    def __init__(self, pattern: bytes | re.Pattern[bytes]) -> None:
        self.pattern = pattern
        self.looked = 0  # bytes behind the cursor that cannot begin a match of a literal
        self.found: tuple[int, int, tuple[bytes | None, ...]] | None = None

    def look(self, data: bytearray) -> bool:
        if isinstance(self.pattern, bytes):
            at = data.find(self.pattern, self.looked)
            if at >= 0:
                self.found = (at, at + len(self.pattern), ())
            self.looked = max(len(data) - len(self.pattern) + 1, 0)
        else:
            match = self.pattern.search(data, max(self.looked - WINDOW, 0))
            if match is not None:
                self.found = (*match.span(), match.groups())
            self.looked = len(data)
        return self.found is not None


@final
class SerialStream(trio.abc.HalfCloseableStream):
    """`vm.serial[n]`: bytes from and to a UART of the guest.  Made by the virtual machine."""

    def __init__(self, vm: VirtualMachine, port: SerialPort) -> None:
        self._vm = vm
        self._port = port
        self._lock = threading.Lock()  # `_feed` runs in the engine thread
        self._unread = bytearray()
        self._lost = 0
        self._watch: _Watch | None = None
        self._stop_at_match = False
        self._ended = self._closed = self._sent_eof = False
        self._reading = trio.lowlevel.ParkingLot()
        self._receiving = _Guard("read")
        self._sending = _Guard("written")
        self._readers = False
        self.on_output: Callable[[bytes], None] | None = None
        """Gets output instead of the stream, in the engine thread, at the instruction that sent it (a pass-through)."""
        self.taps: tuple[Callable[[bytes], None], ...] = ()
        """Get output too, in the same way: character devices that are plugged into the port."""
        port.on_output = self._feed
        port.at_once = False

    # --- reading

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes that the guest has sent, at least one; b"" when the virtual machine has ended."""
        if max_bytes is not None:
            if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
                raise TypeError("max_bytes must be an integer")
            if max_bytes < 1:
                raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint()
            while True:
                self._check_open()
                with self._lock:
                    self._raise_lost()
                    if self._unread:
                        data = bytes(self._unread[:max_bytes])
                        del self._unread[: len(data)]
                        return data
                    if self._ended:
                        return b""
                    self._readers = True
                await self._reading.park()

    async def expect(self, pattern: bytes | str | re.Pattern[bytes]) -> Match:
        """Wait until the pattern comes, and take everything up to its end.

        pattern: literal bytes (a str is encoded as UTF-8), or a compiled bytes regular expression whose match spans
        at most
        4096 bytes.  A machine that is not free-running is driven, and stops at the very instruction that sent the
        last byte of the match (for a
        regular expression: the first byte that makes it match).
        Raises ExpectFailed if the machine goes off or idles for ever first.
        """
        if isinstance(pattern, str):
            pattern = pattern.encode()
        if isinstance(pattern, re.Pattern):
            if not isinstance(pattern.pattern, bytes):
                raise UsageError(f"{pattern!r}: expected a pattern of bytes: re.compile(rb'...')")
        elif not isinstance(pattern, bytes) or not pattern:
            raise UsageError(f"{pattern!r}: expected bytes, at least one")
        with self._receiving:
            await trio.lowlevel.checkpoint()
            self._check_open()
            watch = _Watch(pattern)
            with self._lock:
                self._raise_lost()
                if watch.look(self._unread):
                    return self._take(watch)
                self._watch = watch
            try:
                await self._until_found(watch)
            finally:
                with self._lock:
                    self._watch = None
                    self._stop_at_match = False
            with self._lock:
                self._raise_lost()
                return self._take(watch)

    async def _until_found(self, watch: _Watch) -> None:
        literal = watch.pattern if isinstance(watch.pattern, bytes) else watch.pattern.pattern
        while watch.found is None:
            if self._ended:
                raise ExpectFailed(literal, "the virtual machine has ended", self._port.tail)
            if self._vm.free_running:
                if self._vm.exit is not None:
                    raise ExpectFailed(literal, f"the machine is off: {self._vm.exit}", self._port.tail)
                self._readers = True
                await self._reading.park()
                continue
            async with self._vm.parked():
                self._stop_at_match = self._port.at_once = True
            exit = await self._vm._drive(lambda: watch.found is not None)
            if watch.found is None and not self._vm.free_running:
                raise ExpectFailed(literal, f"the machine stopped: {exit}", self._port.tail)

    def _take(self, watch: _Watch) -> Match:
        assert watch.found is not None
        begin, end, groups = watch.found
        before, match = bytes(self._unread[:begin]), bytes(self._unread[begin:end])
        del self._unread[:end]
        return Match(before, match, groups)

    def _raise_lost(self) -> None:
        if self._lost:
            count, self._lost = self._lost, 0
            raise BytesLost(count)

    # --- writing

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes to the guest.  They wait where the UART has no room; none is lost while the machine lives."""
        with self._sending:
            self._check_writable()
            async with self._vm.parked() as machine:
                self._check_writable()
                machine.serial[self._port.index].send(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        with self._sending:
            self._check_writable()
            await trio.lowlevel.checkpoint()
            self._check_writable()

    async def send_eof(self) -> None:
        """No more input follows.  A UART has no notion of that: the guest does not notice."""
        with self._sending:
            self._check_open()
            self._sent_eof = True
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close the host's end.  The guest's output is thrown away from now on."""
        self._closed = True
        with self._lock:
            self._unread.clear()
        self._reading.unpark_all()
        await trio.lowlevel.checkpoint()

    # --- looking

    @property
    def unread(self) -> bytes:
        """Output behind the cursor; looking does not take it."""
        with self._lock:
            return bytes(self._unread)

    @property
    def tail(self) -> bytes:
        """The last bytes of output, read or not."""
        return self._port.tail

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this serial stream is closed")

    def _check_writable(self) -> None:
        self._check_open()
        if self._sent_eof:
            raise trio.ClosedResourceError("send_eof was called on this serial stream")
        if self._ended:
            raise trio.BrokenResourceError("the virtual machine has ended")

    # --- from the engine thread

    def _feed(self, data: bytes) -> None:
        self._keep(data)
        for tap in self.taps:
            tap(data)

    def _keep(self, data: bytes) -> None:
        if self.on_output is not None:
            self.on_output(data)
            return
        with self._lock:
            if self._closed:
                return
            unread = self._unread
            unread += data
            if len(unread) > KEPT:
                surplus = len(unread) - KEPT
                self._lost += surplus
                del unread[:surplus]
                if self._watch is not None:
                    self._watch.looked = max(self._watch.looked - surplus, 0)
            watch = self._watch
            if watch is not None and watch.found is None and watch.look(unread) and self._stop_at_match:
                self._vm._machine.stop(self)
            elif self._port.at_once and not self._stop_at_match:
                self._port.at_once = False  # Nobody waits for this very byte any more.
            wake = self._readers
            self._readers = False
        if wake:
            self._vm.soon(self._reading.unpark_all)

    def _end(self) -> None:
        self._ended = True
        self._reading.unpark_all()


@final
class _Guard:
    """One task at a time, as trio's streams demand."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._held = False

    def __enter__(self) -> None:
        if self._held:
            raise trio.BusyResourceError(f"this serial stream is being {self._verb} by another task")
        self._held = True

    def __exit__(self, *_error: object) -> None:
        self._held = False
