"""Character devices behind sockets: streams, as server and as client, and datagrams."""

from __future__ import annotations

import array
import os
import socket
from contextlib import suppress
from typing import Final, final

import trio

from vmcore.chardev.outbox import Outbox
from vmcore.chardev.telnet import GREETING, Telnet
from vmcore.model.char import ChardevSocketWrapper, ChardevUdpWrapper
from vmcore.model.errors import UsageError
from vmcore.model.net import UnixSocketAddressLegacy
from vmcore.shell.chardevs.addresses import connect, datagrams, is_socket, listen, named, shown
from vmcore.shell.chardevs.base import READ_SIZE, Chardev, readable, writable

__all__ = ["SocketChardev", "UdpChardev"]

DATAGRAM: Final = 1400
DESCRIPTORS: Final = 16


@final
class SocketChardev(Chardev):
    """A stream socket with one client at a time.

    What the guest sends while there is no client waits, up to the limit of the outbox.  A server takes the next client
    when one has left; a client connects again if it was told to, after `reconnect` seconds.
    """

    backend: ChardevSocketWrapper

    def _prepare(self) -> None:
        self._server = self.backend.data.server is not False
        self._address = self.backend.data.addr
        self._connection: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._telnet: Telnet | None = None
        self._outbox = Outbox()
        self._waiting = trio.Event()
        self._unlink: str | None = None
        self.trouble: str | None = None
        """Why the last attempt to connect failed; None if it did not."""

    async def _open(self) -> None:
        data = self.backend.data
        self._check()
        self.start(self._write_rest)
        if self._server:
            await self._open_server(wait=bool(data.wait))
        elif (data.reconnect or 0) > 0:
            self.start(self._reconnect)
        else:
            self._begin(await connect(data.addr, self.named_descriptor))

    def _check(self) -> None:
        data = self.backend.data
        if self._server and (data.reconnect or 0) > 0:
            raise UsageError("'reconnect' option is incompatible with socket in server listen mode")
        if not self._server and data.wait:
            raise UsageError("'wait' option is incompatible with socket in client connect mode")
        if not self._server and data.websocket:
            raise UsageError("Websocket client is not implemented")
        if data.tls_authz is not None and data.tls_creds is None:
            raise UsageError("'tls_authz' option requires 'tls_creds' option")
        if data.tls_creds is not None:
            raise UsageError(f"No TLS credentials with id '{data.tls_creds}'")
        if data.websocket or data.tn3270:
            raise UsageError(f"'{'websocket' if data.websocket else 'tn3270'}' is not supported")

    async def _open_server(self, *, wait: bool) -> None:
        listener = self._listener = await listen(self._address, self.named_descriptor)
        listener.setblocking(False)
        if isinstance(self._address, UnixSocketAddressLegacy) and not self._address.data.abstract:
            self._unlink = self._address.data.path
        elif not isinstance(self._address, UnixSocketAddressLegacy):
            self._address = named(listener) or self._address
        if wait and (connection := await self._accept()) is not None:
            self._begin(connection)
        self.start(self._take_clients)

    # --- what there is to know

    @property
    def filename(self) -> str:
        kind = "telnet" if self.backend.data.telnet else "tcp"
        server = ",server=on" if self._server else ""
        if self._connection is None:
            return f"disconnected:{shown(self._address, kind)}{server}"
        own = named(self._connection)
        if self._connection.family == socket.AF_UNIX:
            path = own.data.path if isinstance(own, UnixSocketAddressLegacy) else ""
            return f"unix:{path}{server}"
        return f"{kind}:{_endpoint(self._connection.getsockname())}{server} <-> {self._peer()}"

    def _peer(self) -> str:
        assert self._connection is not None
        try:
            return _endpoint(self._connection.getpeername())
        except OSError:
            return "unknown"

    @property
    def unsent(self) -> int:
        """Bytes of output that wait for the other end."""
        return len(self._outbox)

    @property
    def lost(self) -> int:
        """Bytes of output that had to give way, because nobody read them."""
        return self._outbox.lost

    @property
    def connected(self) -> bool:
        """Whether there is somebody at the other end."""
        return self._connection is not None

    @property
    def input_may_come(self) -> bool:
        return self.connected or self._server or (self.backend.data.reconnect or 0) > 0

    # --- clients

    def _taken(self) -> bool:
        """As `connected`: asked anew behind every wait."""
        return self._connection is not None

    async def _accept(self) -> socket.socket | None:
        """The next client; None where there is one meanwhile."""
        assert self._listener is not None
        while not self._taken():
            try:
                return self._listener.accept()[0]
            except BlockingIOError:
                await readable(self._listener)
        return None

    async def _take_clients(self) -> None:
        """Further clients wait until the one that is there has left, whether it came by itself or by `add_client`."""
        while True:
            while self._taken():
                await self.host.wait_changed()
            connection = await self._accept()
            if connection is not None:
                self._begin(connection)

    async def _reconnect(self) -> None:
        seconds = self.backend.data.reconnect or 0
        while True:
            while self._taken():
                await self.host.wait_changed()
            try:
                connection = await connect(self._address, self.named_descriptor)
            except UsageError as error:
                self.trouble = str(error)
                await trio.sleep(seconds)
                continue
            self.trouble = None
            if self._taken():
                connection.close()
            else:
                self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        """There is somebody at the other end."""
        connection.setblocking(False)
        if connection.family in (socket.AF_INET, socket.AF_INET6) and self.backend.data.nodelay is not False:
            with suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._telnet = Telnet() if self.backend.data.telnet else None
        if self._telnet is not None:
            self._outbox.put_back(GREETING)
        self.start(lambda: self._read(connection))
        if self.frontend is not None:
            self.frontend.opened()
        self._flush()
        self.host.changed()

    def _end(self, connection: socket.socket) -> None:
        """The one at the other end has gone."""
        if self._connection is not connection:
            return
        self._connection = None
        trio.lowlevel.notify_closing(connection)
        connection.close()
        self._waiting.set()
        if not self._closed:
            if self.frontend is not None:
                self.frontend.closed()
            self.host.changed()

    def add_client(self, descriptor: int) -> bool:
        """Take a connected socket as the other end.  False where there is one already, or it is no socket."""
        if self._connection is not None or not is_socket(descriptor):
            return False
        self._begin(socket.socket(fileno=descriptor))
        return True

    # --- bytes

    async def _read(self, connection: socket.socket) -> None:
        while self._connection is connection:
            await readable(connection)
            if self.frontend is None:
                # Nobody takes bytes, but that the client leaves must be seen.
                try:
                    if not connection.recv(1, socket.MSG_PEEK):
                        break
                except BlockingIOError:
                    continue
                except OSError:
                    break
                await self._wait_frontend()
            try:
                data, descriptors = _receive(connection)
            except BlockingIOError:
                continue
            except OSError:
                break
            if not data:
                break
            await self._deliver(data, descriptors)
        self._end(connection)

    async def _deliver(self, data: bytes, descriptors: list[int]) -> None:
        if self._telnet is None:
            await self._give(data, descriptors)
            return
        for item in self._telnet.feed(data):
            if isinstance(item, bytes):
                await self._give(item)
            else:
                await self.send_break()

    def _write(self, data: bytes) -> None:
        if self._outbox.put(data if not self.backend.data.telnet else data.replace(b"\xff", b"\xff\xff")):
            self.host.vm.soon(self._flush)

    def _flush(self) -> None:
        connection = self._connection
        while connection is not None and (data := self._outbox.take()):
            try:
                sent = connection.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._outbox.put_back(data)
                return  # The reading sees that the other end has gone.
            if sent < len(data):
                self._outbox.put_back(data[sent:])
                self._waiting.set()
                return

    async def _write_rest(self) -> None:
        while True:
            await self._waiting.wait()
            self._waiting = trio.Event()
            connection = self._connection
            if connection is not None:
                with suppress(trio.ClosedResourceError):
                    await writable(connection)
                self._flush()

    def _close(self) -> None:
        self._flush()
        if self._connection is not None:
            self._end(self._connection)
        if self._listener is not None:
            trio.lowlevel.notify_closing(self._listener)
            self._listener.close()
            self._listener = None
        if self._unlink is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._unlink)
            self._unlink = None


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    """Bytes, and the descriptors that came along."""
    if connection.family != socket.AF_UNIX:
        return connection.recv(READ_SIZE), []
    data, ancillary, _, _ = connection.recvmsg(READ_SIZE, socket.CMSG_SPACE(DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, list(descriptors)


def _endpoint(name: tuple[str, int]) -> str:
    host, port = name[0], name[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@final
class UdpChardev(Chardev):
    """Datagrams to one address and from it.  What does not get away is lost, as datagrams are."""

    backend: ChardevUdpWrapper

    def _prepare(self) -> None:
        self._outbox = Outbox()
        self._link: socket.socket | None = None

    async def _open(self) -> None:
        data = self.backend.data
        self._link = await datagrams(data.remote, data.local, self.named_descriptor)
        self._link.setblocking(False)
        self.start(self._read)

    @property
    def input_may_come(self) -> bool:
        return True

    async def _read(self) -> None:
        link = self._link
        assert link is not None
        while True:
            await self._wait_frontend()
            await readable(link)
            try:
                data = link.recv(1 << 16)
            except (BlockingIOError, ConnectionRefusedError):
                continue  # Nobody was there for what was sent: that comes back as an error of the next call.
            if data:
                await self._give(data)

    def _write(self, data: bytes) -> None:
        if self._outbox.put(data):
            self.host.vm.soon(self._flush)

    def _flush(self) -> None:
        while self._link is not None and (data := self._outbox.take(DATAGRAM)):
            with suppress(OSError):
                self._link.send(data)

    def _close(self) -> None:
        self._flush()
        if self._link is not None:
            trio.lowlevel.notify_closing(self._link)
            self._link.close()
            self._link = None
