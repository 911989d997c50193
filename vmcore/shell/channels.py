"""Ways for a guest from one machine to another: files, Unix and TCP sockets, and descriptors.

An address is "file:PATH", "unix:PATH", "tcp:HOST:PORT" (loopback where HOST is empty and it is listened at) or
"fd:NAME" (a descriptor that was handed over under a name, or the number of an inherited one).
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, final

import trio
from attrs import frozen

from vmcore.model.errors import MigrationError, UsageError
from vmcore.model.net import InetSocketAddress, SocketAddress, UnixSocketAddress
from vmcore.shell.engine_thread import EngineThread

__all__ = ["Address", "Channel", "FileChannel", "Listener", "open_descriptor", "open_file"]

LONGEST_PATH: Final = 107
"""Bytes of the path of a Unix socket (sockaddr_un of Linux, without the NUL)."""
PIECE: Final = 1 << 18


@frozen
class Address:
    """Where a guest goes to or comes from.  kind: "file", "unix", "tcp" or "fd"; rest: what follows the colon."""

    kind: str
    rest: str

    @classmethod
    def parse(cls, uri: object, unknown: str) -> Address:
        """UsageError for no address; unknown: its text for an unknown kind."""
        kind, colon, rest = uri.partition(":") if isinstance(uri, str) else ("", "", "")
        if not colon or kind not in ("file", "unix", "tcp", "fd") or "\0" in rest or (kind == "file" and not rest):
            raise UsageError(unknown)
        address = cls(kind, rest)
        if kind == "unix" and not rest:
            raise UsageError("invalid Unix socket address")
        if kind == "tcp":
            address.host_and_port()
        return address

    def __str__(self) -> str:
        return f"{self.kind}:{self.rest}"

    def host_and_port(self) -> tuple[str, str]:
        """Of a TCP address; options behind a comma are not looked at."""
        host, colon, port = self.rest.partition(",")[0].rpartition(":")
        if not colon or not port:
            raise UsageError(f"error parsing address '{self.rest}'")
        return host.removeprefix("[").removesuffix("]"), port

    async def connect(self) -> Channel:
        """A connection to a Unix or TCP address.  MigrationError where there is none."""
        try:
            if self.kind == "unix":
                if len(os.fsencode(self.rest)) > LONGEST_PATH:
                    raise MigrationError(f"UNIX socket path '{self.rest}' is too long")
                return SocketChannel(await trio.open_unix_socket(self.rest))
            host, port = self.host_and_port()
            found = await _look_up(host or "localhost", port, self.rest)
            return SocketChannel(await _first(found))
        except OSError as error:
            raise MigrationError(f"Failed to connect to '{self.rest}': {_reason(error)}") from error

    async def listen(self) -> Listener:
        """A listener at a Unix or TCP address.  MigrationError where that cannot be."""
        if self.kind == "unix" and len(os.fsencode(self.rest)) > LONGEST_PATH:
            raise MigrationError(f"UNIX socket path '{self.rest}' is too long")
        host, port = self.host_and_port() if self.kind == "tcp" else ("", "")
        found = await _look_up(host or "127.0.0.1", port, self.rest) if self.kind == "tcp" else []
        try:
            return Listener.at_path(self.rest) if self.kind == "unix" else Listener.at_tcp(found[0])
        except OSError as error:
            raise MigrationError(f"Failed to bind socket to {self.rest}: {_reason(error)}") from error


_Found = tuple[socket.AddressFamily, tuple[object, ...]]


async def _look_up(host: str, port: str, shown: str) -> list[_Found]:
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
    except OSError as error:
        raise MigrationError(f"address resolution failed for {shown}: {error.strerror}") from error
    return [(family, address) for family, _, _, _, address in found]


async def _first(found: list[_Found]) -> trio.SocketStream:
    """A connection to the first of these addresses that takes one."""
    problem: OSError | None = None
    for family, address in found:
        connection = trio.socket.socket(family, trio.socket.SOCK_STREAM)
        try:
            await connection.connect(address)
        except OSError as error:
            problem = error
            connection.close()
        except BaseException:
            connection.close()
            raise
        else:
            return trio.SocketStream(connection)
    raise problem or OSError(0, "no address")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)


class Channel(Protocol):
    """Bytes out and in.  answers: the other side can say something back; whole: it is a file, with an end."""

    answers: bool
    whole: bool

    async def send(self, data: bytes) -> None:
        """Send all of it.  MigrationError where that fails."""

    async def receive(self) -> bytes:
        """Some bytes; none at the end.  MigrationError where that fails."""

    def close(self) -> None:
        """Let go of it.  Never waits long."""

    def keep(self) -> None:
        """What was sent is complete and may be seen."""


@final
class SocketChannel:
    """A connected socket."""

    answers: bool = True
    whole: bool = False

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as error:
            raise MigrationError(f"Unable to write to socket: {_cause(error)}") from error

    async def receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(PIECE))
        except trio.BrokenResourceError as error:
            raise MigrationError(f"Unable to read from socket: {_cause(error)}") from error

    def close(self) -> None:
        self._stream.socket.close()

    def keep(self) -> None:
        return


def _cause(error: BaseException) -> str:
    return _reason(error.__cause__) if isinstance(error.__cause__, OSError) else str(error)


@final
class FileChannel:
    """A file or a pipe, in a thread of its own: neither may hold up the machine.

    rename: what the file is called when it is complete; until then it has another name, and if it never is, it goes.
    """

    answers: bool = False

    def __init__(self, descriptor: int, rename: tuple[Path, Path] | None = None) -> None:
        self._descriptor = descriptor
        self._rename = rename
        self.whole: bool = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if not self.whole:
            os.set_blocking(descriptor, False)
        self._thread = EngineThread(lambda: None, "vmcore migration")

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                done = await self._thread.call(lambda view=view: os.write(self._descriptor, view))  # type: ignore[misc]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._descriptor)
                continue
            except OSError as error:
                raise MigrationError(f"Unable to write to file: {_reason(error)}") from error
            view = view[done:]

    async def receive(self) -> bytes:
        while True:
            try:
                return await self._thread.call(lambda: os.read(self._descriptor, PIECE))
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._descriptor)
            except OSError as error:
                raise MigrationError(f"Unable to read from file: {_reason(error)}") from error

    def keep(self) -> None:
        if self._rename is not None:
            part, path = self._rename
            try:
                part.replace(path)
            except OSError as error:
                raise MigrationError(f"Could not write '{path}': {_reason(error)}") from error
            self._rename = None

    def close(self) -> None:
        self._thread.join()
        os.close(self._descriptor)
        if self._rename is not None:
            with suppress(OSError):
                self._rename[0].unlink(missing_ok=True)


def open_file(path: str, *, write: bool) -> FileChannel:
    """A file to write (under another name until it is complete) or to read.  MigrationError where it cannot be."""
    name = Path(path)
    try:
        if not write:
            return FileChannel(os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        if name.exists() and not name.is_file():
            return FileChannel(os.open(name, os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        part = name.with_name(f"{name.name}.{os.getpid()}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return FileChannel(os.open(part, flags, 0o600), (part, name))
    except OSError as error:
        raise MigrationError(f"Could not open '{path}': {_reason(error)}") from error


def open_descriptor(name: str, named: MutableMapping[str, int] | None) -> Channel:
    """A descriptor by the name under which it was handed over (it is taken out of `named`), or by its number."""
    if named is not None and name in named:
        return _descriptor(named.pop(name))
    missing = f"File descriptor named '{name}' has not been found"
    if not name.isascii() or not name.isdecimal():
        raise UsageError(missing)
    try:
        return _descriptor(os.dup(int(name)))
    except (OSError, OverflowError) as error:
        raise UsageError(missing) from error


def _descriptor(descriptor: int) -> Channel:
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        given = socket.socket(fileno=descriptor)
        return SocketChannel(trio.SocketStream(trio.socket.from_stdlib_socket(given)))
    return FileChannel(descriptor)


@final
class Listener:
    """Waits for one connection.  address: where, as the management model says it."""

    def __init__(self, listening: socket.socket, address: SocketAddress, path: str | None = None) -> None:
        self._socket = trio.socket.from_stdlib_socket(listening)
        self._path = path
        self.address = address

    @classmethod
    def at_path(cls, path: str) -> Listener:
        """At a Unix socket that only this user may use."""
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                os.unlink(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listening.bind(path)
            listening.listen(1)
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(before)
        return cls(listening, UnixSocketAddress(path=path), path)

    @classmethod
    def at_tcp(cls, found: _Found) -> Listener:
        """At a TCP port; 0 picks a free one."""
        family, address = found
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(1)
        except OSError:
            listening.close()
            raise
        host, port = listening.getsockname()[:2]
        return cls(listening, InetSocketAddress(host=str(host), port=str(port)))

    async def accept(self) -> SocketChannel:
        """The first connection; then it is no longer listened."""
        try:
            connection, _ = await self._socket.accept()
        except OSError as error:
            raise MigrationError(f"Failed to accept a connection: {_reason(error)}") from error
        self.close()
        return SocketChannel(trio.SocketStream(connection))

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        if self._path is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._path)
            self._path = None


