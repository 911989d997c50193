"""Character devices behind a descriptor: pseudo terminals, pipes, serial lines of the host, files, standard streams."""

from __future__ import annotations

import os
import stat
import sys
import threading
from typing import Any, ClassVar, Final, final

import trio

from vmcore.chardev.outbox import PIECE, Outbox
from vmcore.chardev.ring_buffer import DEFAULT_SIZE, RingBuffer
from vmcore.model.char import ChardevFileWrapper, ChardevHostdevWrapper, ChardevRingbufWrapper, ChardevStdioWrapper
from vmcore.model.errors import UsageError
from vmcore.shell.chardevs.base import READ_SIZE, Chardev, readable, why, writable
from vmcore.shell.descriptors import PREFIX

__all__ = ["FileChardev", "NullChardev", "PipeChardev", "PtyChardev", "RingbufChardev", "SerialChardev", "StdioChardev"]

_EXTRA: Final = os.O_CLOEXEC | os.O_NOCTTY


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags | _EXTRA, 0o666)
    except OSError as error:
        raise UsageError(f"Could not open '{path}': {why(error)}") from error


@final
class NullChardev(Chardev):
    """Swallows everything and says nothing."""


@final
class RingbufChardev(Chardev):
    """Memory that management reads and writes."""

    backend: ChardevRingbufWrapper

    def _prepare(self) -> None:
        self._lock = threading.Lock()

    async def _open(self) -> None:
        size = self.backend.data.size
        self.ring = RingBuffer(DEFAULT_SIZE if size is None else size)

    def _write(self, data: bytes) -> None:
        with self._lock:
            self.ring.write(data)

    def read(self, size: int) -> bytes:
        """Take the oldest bytes, at most so many."""
        with self._lock:
            return self.ring.read(size)


class _Poured(Chardev):
    """Output goes into a descriptor that takes everything.

    Collected in pieces, since the guest sends bytes one by one; a piece is written before the guest goes on.
    """

    def _prepare(self) -> None:
        self._in = self._out = -1
        self._more = False
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._broken = False

    def _write(self, data: bytes) -> None:
        with self._lock:
            first = not self._buffer
            self._buffer += data
            if len(self._buffer) >= PIECE:
                self._drain()
                return
        if first:
            self.host.vm.soon(self._flush)

    def _flush(self) -> None:
        with self._lock:
            self._drain()

    def _drain(self) -> None:
        data = bytes(self._buffer)
        self._buffer.clear()
        while data and self._out >= 0 and not self._broken:
            try:
                data = data[os.write(self._out, data) :]
            except OSError:
                # The reader has gone, or the file system is full: the guest is not to suffer for that.
                self._broken = True

    def _close(self) -> None:
        self._flush()


@final
class FileChardev(_Poured):
    """Output into a file, input from another."""

    backend: ChardevFileWrapper

    async def _open(self) -> None:
        data = self.backend.data
        mode = os.O_APPEND if data.append else os.O_TRUNC
        self._out = self.host.vm.fdsets.open(data.out, os.O_WRONLY) if data.out.startswith(PREFIX) else -1
        if self._out < 0:
            self._out = _open(data.out, os.O_WRONLY | os.O_CREAT | mode)
        if data.in_ is not None:
            self._in = _open(data.in_, os.O_RDONLY | os.O_NONBLOCK)
            self._more = True
            self.start(self._read)

    @property
    def input_may_come(self) -> bool:
        return self._more

    async def _read(self) -> None:
        pollable = _pollable(self._in)
        while True:
            await self._wait_frontend()
            if pollable:
                await readable(self._in)
            data = os.read(self._in, READ_SIZE)
            if not data:
                break
            await self._give(data)
        self._more = False
        self.host.changed()

    def _close(self) -> None:
        super()._close()
        for descriptor in (self._out, self._in):
            if descriptor >= 0:
                os.close(descriptor)
        self._out = self._in = -1


@final
class StdioChardev(_Poured):
    """The process's own input and output.  Only one device of a process can have them."""

    backend: ChardevStdioWrapper
    _owner: ClassVar[StdioChardev | None] = None

    async def _open(self) -> None:
        if StdioChardev._owner is not None:
            raise UsageError("cannot use stdio by multiple character devices")
        StdioChardev._owner = self
        sys.stdout.flush()
        self._out, self._in = sys.stdout.fileno(), sys.stdin.fileno()
        self._more = True
        self._before = _keys_one_by_one(self._in, signals=self.backend.data.signal is not False)
        self.start(self._read)

    @property
    def input_may_come(self) -> bool:
        return self._more

    async def _read(self) -> None:
        """The end of standard input is no error: nothing more is sent then."""
        pollable = _pollable(self._in)
        while True:
            await self._wait_frontend()
            if pollable:
                await readable(self._in)
            else:
                await trio.lowlevel.checkpoint()
            data = os.read(self._in, READ_SIZE)
            if not data:
                break
            await self._give(data)
        self._more = False
        self.host.changed()

    def _close(self) -> None:
        super()._close()
        if StdioChardev._owner is self:
            StdioChardev._owner = None
            if self._before is not None:
                import termios

                termios.tcsetattr(self._in, termios.TCSANOW, self._before)


def _pollable(descriptor: int) -> bool:
    """Whether an event loop can wait for it: not for files, nor for devices that are always ready."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(descriptor)


def _keys_one_by_one(descriptor: int, *, signals: bool) -> list[Any] | None:
    """Keys go to the guest one by one and unechoed where the descriptor is a terminal; Ctrl-C still ends the machine if
    `signals`.  How the terminal was before; None if it is none.
    """
    if not os.isatty(descriptor):
        return None
    import termios

    before = termios.tcgetattr(descriptor)
    mode = termios.tcgetattr(descriptor)
    mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IXON)
    mode[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN | (0 if signals else termios.ISIG))
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)
    return before


class _Polled(Chardev):
    """A descriptor without blocking, for reading, writing, or both.  Nothing that is slow at its end is waited for."""

    def _prepare(self) -> None:
        self._in = self._out = self._slave = -1
        self._outbox = Outbox()
        self._waiting = trio.Event()

    @property
    def input_may_come(self) -> bool:
        return True

    def _begin(self) -> None:
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self.start(self._read)
        self.start(self._write_rest)

    def _write(self, data: bytes) -> None:
        if self._outbox.put(data):
            self.host.vm.soon(self._flush)

    def _flush(self) -> None:
        while self._out >= 0 and (data := self._outbox.take()):
            try:
                sent = os.write(self._out, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # Nobody is there; what comes next is tried again.
            if sent < len(data):
                self._outbox.put_back(data[sent:])
                self._waiting.set()
                return

    async def _write_rest(self) -> None:
        while True:
            await self._waiting.wait()
            self._waiting = trio.Event()
            await writable(self._out)
            self._flush()

    async def _read(self) -> None:
        while True:
            await self._wait_frontend()
            await readable(self._in)
            try:
                data = os.read(self._in, READ_SIZE)
            except BlockingIOError:
                continue
            if not data:
                return
            await self._give(data)

    def _close(self) -> None:
        self._flush()
        for descriptor in {self._in, self._out} - {-1}:
            trio.lowlevel.notify_closing(descriptor)
            os.close(descriptor)
        self._in = self._out = -1


@final
class PtyChardev(_Polled):
    """A pseudo terminal, made anew.  Whoever opens it gets what was sent meanwhile."""

    async def _open(self) -> None:
        import tty

        self._in, self._slave = os.openpty()
        # Open at our end too: so it is never hung up while nobody else has it open, and need not be looked at again.
        self._out = self._in
        tty.setraw(self._slave)
        self._name = os.ttyname(self._slave)
        self._begin()

    @property
    def filename(self) -> str:
        return f"pty:{self._name}"

    @property
    def pty(self) -> str | None:
        return self._name

    def _close(self) -> None:
        super()._close()
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1


@final
class PipeChardev(_Polled):
    """Named pipes: PATH.in and PATH.out where both are there, else PATH both ways."""

    backend: ChardevHostdevWrapper

    async def _open(self) -> None:
        path = self.backend.data.device
        try:
            # Both ways, because so they open without anybody at the other end, and stay open when it leaves.
            self._in = os.open(f"{path}.in", os.O_RDWR | _EXTRA)
            self._out = os.open(f"{path}.out", os.O_RDWR | _EXTRA)
        except OSError:
            if self._in >= 0:
                os.close(self._in)
                self._in = -1
            self._in = self._out = _open(path, os.O_RDWR)
        self._begin()


@final
class SerialChardev(_Polled):
    """A serial line, or another character device of the host."""

    backend: ChardevHostdevWrapper

    async def _open(self) -> None:
        import tty

        path = self.backend.data.device
        self._in = self._out = _open(path, os.O_RDWR | os.O_NONBLOCK)
        if os.isatty(self._in):
            tty.setraw(self._in)
        if _pollable(self._in):
            self._begin()
