"""The trio server around the protocol: listeners, connections, descriptors, events to all.

A listener serves one client at a time: a second may connect and waits for the first to leave.  Each connection
negotiates anew. Events go to every negotiated connection, and come before the reply of the command that caused
them, because both go through one queue.

Nothing that a client does holds up the machine.  A client that does not read stops being read from when its replies
do not get away; events for it wait up to `OUTPUT_LIMIT` bytes, then it is disconnected, since it could never again
be told the truth.
"""

from __future__ import annotations

import array
import os
import socket
import stat
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, final

import trio

from vmcore.model.errors import CommandError, DeviceModelError, UsageError, VmcoreError
from vmcore.model.events import Event
from vmcore.qmp.commands import load
from vmcore.qmp.commands.control import version
from vmcore.qmp.convert import event_data, to_wire
from vmcore.qmp.protocol import EventThrottle, Invocation, QmpSession, Request

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["Hub", "Monitor", "serve"]

OUTPUT_LIMIT: Final = 16 << 20
QUEUE_LIMIT: Final = 8
RECEIVE_SIZE: Final = 1 << 16
DESCRIPTORS: Final = 253  # SCM_MAX_FD of Linux


@final
class Hub:
    """The connections of one virtual machine, and the way of its events to them."""

    def __init__(self, vm: VirtualMachine) -> None:
        load()
        self.vm = vm
        self.monitors: dict[Monitor, None] = {}
        self._throttle = EventThrottle()
        self._throttled = trio.Event()

    def publish(self, event: Event) -> None:
        """An event of the machine, in the trio thread."""
        name = event.wire_name
        if name is None or not self.monitors:
            return
        now = time.time()
        data = event_data(event)
        line = QmpSession.event(name, data, int(now), int(now % 1 * 1e6))
        send = self._throttle.offer(name, data, line, trio.current_time())
        if send is not None:
            self._broadcast(send)
        else:
            self._throttled.set()

    def _broadcast(self, line: bytes) -> None:
        for monitor in list(self.monitors):
            if monitor.session.negotiated:
                monitor.write(line)

    async def release_throttled(self) -> None:
        """The task that lets held back events go when their time has come."""
        while True:
            deadline = self._throttle.deadline
            if deadline is None:
                await self._throttled.wait()
                self._throttled = trio.Event()
                continue
            await trio.sleep_until(deadline)
            for line in self._throttle.due(trio.current_time()):
                self._broadcast(line)


@final
class Monitor:
    """One connection: what commands know of it as `monitor`."""

    def __init__(self, hub: Hub, connection: socket.socket) -> None:
        self.hub = hub
        self.session = QmpSession(version())
        self.received: deque[int] = deque()
        """Descriptors that came with SCM_RIGHTS and were not taken yet, in order."""
        self.named: dict[str, int] = {}
        """Descriptors that `getfd` gave a name; they are this connection's own."""
        self.closing = False
        """Set by a command behind whose reply the connection ends."""
        self._socket = connection
        self._output: deque[bytes] = deque()
        self._size = 0
        self._writing = trio.Event()
        self._drained = trio.Event()
        self._broken = False

    # --- for commands

    def take_descriptor(self) -> int | None:
        """The next descriptor that came over the connection; None if there is none.  It is the caller's now."""
        return self.received.popleft() if self.received else None

    def _closes(self) -> bool:
        return self.closing

    # --- output

    def write(self, data: bytes) -> None:
        """Send at once if the connection takes it, else when it does.  Never waits."""
        if self._broken:
            return
        if not self._output:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._break()
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._output.append(data)
        self._size += len(data)
        if self._size > OUTPUT_LIMIT:
            self._break()
        self._writing.set()

    def _break(self) -> None:
        self._broken = True
        self._output.clear()
        self._size = 0
        self._drained.set()
        self._writing.set()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    async def _write_rest(self) -> None:
        while True:
            while self._output:
                await trio.lowlevel.wait_writable(self._socket)
                try:
                    sent = self._socket.send(self._output[0])
                except BlockingIOError:
                    continue
                except OSError:
                    self._break()
                    break
                self._size -= sent
                rest = self._output[0][sent:]
                if rest:
                    self._output[0] = rest
                else:
                    self._output.popleft()
            self._drained.set()
            await self._writing.wait()
            self._writing = trio.Event()

    async def drain(self) -> None:
        """Wait until everything written is with the host's kernel, or the client is gone."""
        while self._output and not self._broken:
            self._drained = trio.Event()
            await self._drained.wait()

    # --- input

    async def run(self) -> None:
        """Serve the connection until the client leaves, a command ends it, or the machine ends."""
        self.hub.monitors[self] = None
        try:
            self.write(self.session.greeting())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_rest)
                await self._serve(nursery)
                await self.drain()
                nursery.cancel_scope.cancel()
        finally:
            self.hub.monitors.pop(self, None)
            for descriptor in (*self.received, *self.named.values()):
                os.close(descriptor)
            self.received.clear()
            self.named.clear()
            self._socket.close()

    async def _serve(self, nursery: trio.Nursery) -> None:
        queue: deque[Request] = deque()
        more, room = trio.Event(), trio.Event()
        executing = False

        async def execute_in_band() -> None:
            """With out-of-band execution agreed on, commands in band run beside the reading."""
            nonlocal more, executing
            while not self.closing:
                while queue and not self.closing:
                    executing = True
                    await self._handle(queue.popleft())
                    executing = False
                    room.set()
                if not self.closing:
                    more = trio.Event()
                    await more.wait()
            self._socket.shutdown(socket.SHUT_RD)

        beside = False
        while not self.closing:
            data = await self._receive()
            if not data:
                break
            for request in self.session.feed(data):
                if self._closes():
                    break
                if not self.session.out_of_band:
                    await self._handle(request)
                    await self.drain()
                elif request.out_of_band:
                    await self._handle(request)
                else:
                    if not beside:
                        nursery.start_soon(execute_in_band)
                        beside = True
                    queue.append(request)
                    more.set()
                    while len(queue) >= QUEUE_LIMIT and not self.closing:
                        room = trio.Event()
                        await room.wait()
        # The client said all that it had to say: what it asked is still answered.
        while beside and (queue or executing) and not self.closing:
            room = trio.Event()
            await room.wait()

    async def _receive(self) -> bytes:
        """Bytes of the client, with the descriptors that came along; b"" at the end."""
        while True:
            try:
                if self._socket.family != socket.AF_UNIX:
                    return self._socket.recv(RECEIVE_SIZE)
                data, ancillary, _, _ = self._socket.recvmsg(
                    RECEIVE_SIZE, socket.CMSG_SPACE(DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            except OSError:
                return b""
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors = array.array("i")
                    descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
                    self.received.extend(descriptors)
            while len(self.received) > DESCRIPTORS:
                os.close(self.received.popleft())
            return data

    async def _handle(self, request: Request) -> None:
        invocation = self.session.check(request, preconfig=self.hub.vm.preconfig)
        if isinstance(invocation, Invocation):
            self.write(await self._run(invocation))
        else:
            self.write(invocation)

    async def _run(self, invocation: Invocation) -> bytes:
        command = invocation.command
        keywords = dict(invocation.arguments)
        if command.wants_monitor:
            keywords["monitor"] = self
        try:
            result = await command.function(self.hub.vm, **keywords)
        except CommandError as error:
            return self.session.error(error, invocation.id)
        except DeviceModelError:
            raise
        except VmcoreError as error:
            return self.session.error(CommandError("GenericError", str(error)), invocation.id)
        value = {} if command.returns is None else to_wire(result, command.returns)
        return self.session.reply(value, invocation.id)


async def serve(
    vm: VirtualMachine, hub: Hub, endpoint: str, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve QMP at an endpoint until the machine ends; says the address that it listens at when it is ready.

    endpoint: "unix:PATH" (mode 0600), "tcp:HOST:PORT" (loopback where HOST is empty; port 0 picks one), "fd:N" (a
    listening or connected socket that was inherited).  Raises UsageError for anything else, OSError where it cannot
    listen.
    """
    kind, _, rest = endpoint.partition(":")
    if kind == "unix" and rest:
        await _serve_unix(vm, hub, rest, task_status)
    elif kind == "tcp" and rest:
        host, colon, port = rest.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 0xFFFF:
            raise UsageError(f"{endpoint}: expected tcp:HOST:PORT")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        with listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host.strip("[]") or "127.0.0.1", int(port)))
            listener.listen(1)
            name = listener.getsockname()
            await _accept(vm, hub, listener, f"tcp:{name[0]}:{name[1]}", task_status)
    elif kind == "fd" and rest.isdecimal():
        await _serve_descriptor(vm, hub, int(rest), endpoint, task_status)
    else:
        raise UsageError(f"{endpoint!r}: expected unix:PATH, tcp:HOST:PORT or fd:N")


async def _serve_unix(vm: VirtualMachine, hub: Hub, path: str, task_status: trio.TaskStatus[str]) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        before = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        try:
            listener.listen(1)
            await _accept(vm, hub, listener, f"unix:{path}", task_status)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)


async def _serve_descriptor(
    vm: VirtualMachine, hub: Hub, descriptor: int, endpoint: str, task_status: trio.TaskStatus[str]
) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as given:
        if given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            await _accept(vm, hub, given, endpoint, task_status)
            return
        task_status.started(endpoint)
        given.setblocking(False)
        await _until_end(vm, hub, lambda: Monitor(hub, given.dup()).run())


async def _accept(
    vm: VirtualMachine, hub: Hub, listener: socket.socket, address: str, task_status: trio.TaskStatus[str]
) -> None:
    listener.setblocking(False)
    task_status.started(address)

    async def clients() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(listener)
                continue
            connection.setblocking(False)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await Monitor(hub, connection).run()

    await _until_end(vm, hub, clients)


async def _until_end(vm: VirtualMachine, hub: Hub, work: Callable[[], Awaitable[Any]]) -> None:
    """Do the work until the machine has ended; then flush what it had to say and stop."""
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            await work()
            nursery.cancel_scope.cancel()

        nursery.start_soon(run)
        await vm.wait_end()
        # A client that does not read must not hold up the end.
        with trio.move_on_after(1):
            for monitor in list(hub.monitors):
                await monitor.drain()
        nursery.cancel_scope.cancel()
