"""Where the guest's bytes go to on the host: standard output, files, Unix sockets."""

from __future__ import annotations

import os
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, final

import trio

from vmcore.cli.options import Endpoint
from vmcore.shell.serial import SerialStream

__all__ = ["Output", "open_output", "pump_input", "raw_terminal", "serve_unix"]

BUFFERED: Final = 1 << 16


@final
class Output:
    """Bytes to a descriptor, unchanged and in order.

    Written from the engine thread, byte by byte as the guest sends them; passed on in pieces, by `flush` or when
    many have come.  A
    host that does not take them holds the guest up: none is lost and memory stays bounded.
    """

    def __init__(self, fd: int, soon: Callable[[Callable[[], None]], None]) -> None:
        self._fd = fd
        self._soon = soon
        self._lock = threading.Lock()
        self._buffer = bytearray()

    def write(self, data: bytes) -> None:
        with self._lock:
            first = not self._buffer
            self._buffer += data
            if len(self._buffer) >= BUFFERED:
                self._drain()
                return
        if first:
            self._soon(self.flush)

    def flush(self) -> None:
        with self._lock:
            self._drain()

    def _drain(self) -> None:
        view = bytes(self._buffer)
        self._buffer.clear()
        while view:
            view = view[os.write(self._fd, view) :]


@contextmanager
def open_output(endpoint: Endpoint, soon: Callable[[Callable[[], None]], None]) -> Iterator[Output | None]:
    """The output of an endpoint that is a descriptor; None for those that are not."""
    if endpoint.kind == "stdio":
        sys.stdout.flush()
        output = Output(sys.stdout.fileno(), soon)
        try:
            yield output
        finally:
            output.flush()
    elif endpoint.kind == "file":
        fd = os.open(endpoint.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        output = Output(fd, soon)
        try:
            yield output
        finally:
            output.flush()
            os.close(fd)
    else:
        yield None


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Keys go to the guest one by one and unechoed while standard input is a terminal; Ctrl-C still ends the
    machine.
    """
    fd = sys.stdin.fileno()
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    mode = termios.tcgetattr(fd)
    mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IXON)
    mode[3] &= ~(termios.ECHO | termios.ICANON | termios.IEXTEN)
    termios.tcsetattr(fd, termios.TCSANOW, mode)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


async def pump_input(stream: SerialStream, ended: Callable[[], None]) -> None:
    """Standard input to the guest.  Its end is no error: nothing more is sent then.

    Reads in a thread, because standard input may be a file, which no event loop can wait for.
    """
    fd = sys.stdin.fileno()
    while data := await trio.to_thread.run_sync(os.read, fd, 4096, abandon_on_cancel=True):
        await stream.send_all(data)
    ended()


async def serve_unix(stream: SerialStream, path: str) -> None:
    """A serial port on a Unix socket, for one client at a time.  What the guest sends while there is none waits in
    the stream.
    """
    name = trio.Path(path)
    if await name.is_socket():
        await name.unlink()
    listener = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    with listener:
        before = os.umask(0o177)
        try:
            await listener.bind(path)
        finally:
            os.umask(before)
        try:
            listener.listen(1)
            while True:
                connection, _ = await listener.accept()
                client = trio.SocketStream(connection)
                async with client, trio.open_nursery() as nursery:
                    nursery.start_soon(_to_client, stream, client, nursery.cancel_scope)
                    nursery.start_soon(_from_client, stream, client, nursery.cancel_scope)
        finally:
            with trio.CancelScope(shield=True):
                await name.unlink(missing_ok=True)


async def _to_client(stream: SerialStream, client: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        while data := await stream.receive_some():
            await client.send_all(data)
    except trio.BrokenResourceError:
        scope.cancel()


async def _from_client(stream: SerialStream, client: trio.SocketStream, scope: trio.CancelScope) -> None:
    try:
        while data := await client.receive_some():
            await stream.send_all(data)
    except trio.BrokenResourceError:
        pass
    scope.cancel()
