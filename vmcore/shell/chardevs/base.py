"""What every character device is: a host's end, at most one front end, and bytes between them.

Output comes from the engine thread and never waits for a reader: what the host does not take at once waits in an
`Outbox`, whose oldest bytes give way.  (Files and the process's own standard output take everything: there the writing
is done before the guest goes on.)  Input is read only while there is a front end to give it to, and only as fast as
that takes it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import trio

from vmcore.model.char import ChardevBackend
from vmcore.model.errors import UsageError

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["Chardev", "Frontend", "Host", "readable", "why", "writable"]

READ_SIZE = 4096


def why(error: OSError) -> str:
    """What the host says about a failure, without number and name."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


async def readable(source: int | socket.socket) -> None:
    """Wait until there is something to read.  The device may have been closed when it was found: then this is where it
    ends.
    """
    await trio.lowlevel.wait_readable(source)
    await trio.lowlevel.checkpoint_if_cancelled()


async def writable(target: int | socket.socket) -> None:
    """As `readable`, for room to write."""
    await trio.lowlevel.wait_writable(target)
    await trio.lowlevel.checkpoint_if_cancelled()


class Frontend:
    """What a character device is plugged into.  name: for people; swaps: its device may be replaced by another."""

    swaps: ClassVar[bool] = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.chardev: Chardev | None = None

    def output(self, data: bytes) -> None:
        """Send bytes to the host: from any thread, at once."""
        chardev = self.chardev
        if chardev is not None:
            chardev.write(data)

    async def receive(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Take bytes from the host; returns when there is room for more.  descriptors: those that came along, which are
        the front end's to close.
        """
        for descriptor in descriptors:
            os.close(descriptor)

    async def receive_break(self) -> None:
        """The host's end holds its line at space: a break."""

    def opened(self) -> None:
        """There is somebody at the host's end now: a client has come."""

    def closed(self) -> None:
        """The one at the host's end has gone."""


class Host(Protocol):
    """What character devices need of the machine that they belong to."""

    @property
    def vm(self) -> VirtualMachine: ...

    def changed(self) -> None:
        """Something that `wait_changed` waits for has changed: front ends, clients, ends of input."""

    async def wait_changed(self) -> None: ...


class Chardev:
    """A character device.  label: its name; backend: what it was made from."""

    single: ClassVar[bool] = True
    """Whether it has one front end at most."""

    def __init__(self, host: Host, label: str, backend: ChardevBackend) -> None:
        self.host = host
        self.label = label
        self.backend = backend
        self.frontend: Frontend | None = None
        self.descriptors: dict[str, int] | None = None
        """Descriptors that its maker was given, by name; None: it may take inherited ones by number."""
        self._log = -1
        self._closed = False
        self._tasks: set[trio.CancelScope] = set()
        self._prepare()

    def _prepare(self) -> None:
        """Set what the back end holds to nothing, so that it can be closed at any time."""

    # --- what there is to know

    @property
    def filename(self) -> str:
        """What it is connected to, as management is told."""
        return self.backend.type.value

    @property
    def pty(self) -> str | None:
        """Name of the pseudo terminal that was made for it."""
        return None

    @property
    def frontend_open(self) -> bool:
        return self.frontend is not None

    @property
    def busy(self) -> bool:
        """Whether it cannot be removed, because something uses it."""
        return self.frontend is not None

    @property
    def connected(self) -> bool:
        """Whether there is somebody at the host's end, as far as that can be told."""
        return True

    @property
    def input_may_come(self) -> bool:
        """Whether it could ever bring another byte."""
        return False

    # --- life

    async def open(self) -> None:
        """Open the host's end.  Raises UsageError, and leaves nothing open, where that fails."""
        data: Any = getattr(self.backend, "data", None)
        path = getattr(data, "logfile", None)
        if path is not None:
            mode = os.O_APPEND if data.logappend else os.O_TRUNC
            try:
                self._log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | mode, 0o666)
            except OSError as error:
                raise UsageError(f"Could not create '{path}': {why(error)}") from error
        try:
            await self._open()
        except BaseException:
            self.close()
            raise

    async def _open(self) -> None:
        """Open what the back end is about."""

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something beside all else until the device is closed."""

        scope = trio.CancelScope()
        self._tasks.add(scope)

        async def run() -> None:
            with scope:
                await trio.lowlevel.checkpoint_if_cancelled()  # It may be closed before this begins.
                await work()
            self._tasks.discard(scope)

        self.host.vm.start_soon(run, f"vmcore chardev {self.label}")

    def close(self) -> None:
        """Let go of everything that it holds; what can be written without waiting is written."""
        if self._closed:
            return
        self._closed = True
        for scope in self._tasks:
            scope.cancel()
        self._close()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _close(self) -> None:
        """Let go of what the back end holds."""

    def named_descriptor(self, name: str) -> int | None:
        """A descriptor by the name that an address has for it; the caller's from now on.  None if there is none."""
        if self.descriptors is None:
            return os.dup(int(name)) if name.isdecimal() else None
        return self.descriptors.pop(name, None)

    # --- the front end

    def attach(self, frontend: Frontend) -> None:
        """Plug a front end in.  UsageError where another is."""
        if self.frontend is not None:
            raise UsageError(f"Device '{self.label}' is in use")
        self.frontend = frontend
        frontend.chardev = self
        if self.connected:
            frontend.opened()
        self.host.changed()

    def detach(self, frontend: Frontend) -> None:
        """Pull a front end out."""
        if self.frontend is frontend:
            self.frontend = None
        frontend.chardev = None
        self.host.changed()

    async def _wait_frontend(self) -> Frontend:
        while self.frontend is None:
            await self.host.wait_changed()
        return self.frontend

    async def _give(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Hand bytes to the front end, whichever it is by then."""
        frontend = await self._wait_frontend()
        await frontend.receive(data, descriptors)

    async def send_break(self) -> None:
        """As if the host's end had sent a break."""
        if self.frontend is not None:
            await self.frontend.receive_break()

    # --- output

    def write(self, data: bytes) -> None:
        """Bytes for the host, from any thread."""
        if self._closed:
            return
        if self._log >= 0:
            os.write(self._log, data)
        self._write(data)

    def _write(self, data: bytes) -> None:
        """What the back end does with bytes: nothing."""

    def add_client(self, descriptor: int) -> bool:
        """Take a connected socket as the host's end, and keep its descriptor.  False where it takes none."""
        return False
