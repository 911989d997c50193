"""Sockets of character devices: from the addresses of the management model to listening and connected ones."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import trio

from vmcore.model.errors import UsageError
from vmcore.model.net import (
    FdSocketAddressLegacy,
    InetSocketAddressData,
    InetSocketAddressLegacy,
    SocketAddressLegacy,
    UnixSocketAddressData,
    UnixSocketAddressLegacy,
    VsockSocketAddressLegacy,
)
from vmcore.shell.chardevs.base import why

__all__ = ["connect", "datagrams", "is_socket", "listen", "named", "shown"]

_UNIX_PATH = 107

Find: TypeAlias = Callable[[str], int | None]
"""Finds a descriptor by its name in an address; it is the caller's then."""


def is_socket(descriptor: int) -> bool:
    """Whether a descriptor is a socket."""
    return stat.S_ISSOCK(os.fstat(descriptor).st_mode)


def _unix(data: UnixSocketAddressData) -> str | bytes:
    """The address as the host's kernel has it."""
    if len(os.fsencode(data.path)) > _UNIX_PATH - bool(data.abstract):
        raise UsageError(f"UNIX socket path '{data.path}' is too long")
    if not data.abstract:
        return data.path
    name = b"\0" + os.fsencode(data.path)
    return name if data.tight is not False else name.ljust(_UNIX_PATH + 1, b"\0")


async def _resolve(
    data: InetSocketAddressData, *, passive: bool, kind: socket.SocketKind = socket.SOCK_STREAM
) -> list[tuple[int, tuple[Any, ...]]]:
    """Families and addresses of a name, the best first."""
    family: int = socket.AF_UNSPEC
    if data.ipv4 is not None or data.ipv6 is not None:
        v4, v6 = data.ipv4 is True or (data.ipv4 is None and not data.ipv6), bool(data.ipv6)
        if data.ipv4 is False and data.ipv6 is None:
            v6 = True
        family = socket.AF_UNSPEC if v4 == v6 else socket.AF_INET if v4 else socket.AF_INET6
    flags = (socket.AI_PASSIVE if passive else 0) | (socket.AI_NUMERICHOST if data.numeric else 0)
    port: str | int = int(data.port) & 0xFFFF if data.port.isdecimal() else data.port
    try:
        found = await trio.socket.getaddrinfo(data.host or None, port, family, kind, 0, flags)
    except OSError as error:
        raise UsageError(f"address resolution failed for {data.host}:{data.port}: {why(error)}") from error
    return [(int(item[0]), tuple(item[4])) for item in found]


def _given(address: FdSocketAddressLegacy, find: Find) -> socket.socket:
    name = address.data.str_
    descriptor = find(name)
    if descriptor is None:
        raise UsageError(f"File descriptor named '{name}' has not been found")
    if not is_socket(descriptor):
        os.close(descriptor)
        raise UsageError(f"File descriptor '{name}' is not a socket")
    return socket.socket(fileno=descriptor)


async def listen(address: SocketAddressLegacy, find: Find) -> socket.socket:
    """A listening socket.  UsageError where there can be none."""
    match address:
        case FdSocketAddressLegacy():
            return _given(address, find)
        case UnixSocketAddressLegacy(data=data):
            return _listen_unix(data)
        case InetSocketAddressLegacy(data=data):
            return await _listen_inet(data)
        case VsockSocketAddressLegacy(data=data):
            listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
            return _bound(listener, (int(data.cid), int(data.port)), "Failed to bind socket")
    raise AssertionError(address)


def _bound(listener: socket.socket, address: object, trouble: str) -> socket.socket:
    try:
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen(1)
    except OSError as error:
        listener.close()
        raise UsageError(f"{trouble}: {why(error)}") from error
    return listener


def _listen_unix(data: UnixSocketAddressData) -> socket.socket:
    name = _unix(data)
    if not data.abstract:
        with suppress(OSError):
            if stat.S_ISSOCK(os.lstat(data.path).st_mode):
                os.unlink(data.path)
    before = os.umask(0o177)
    try:
        return _bound(socket.socket(socket.AF_UNIX), name, f"Failed to bind socket to {data.path}")
    finally:
        os.umask(before)


async def _listen_inet(data: InetSocketAddressData) -> socket.socket:
    trouble = "Address already in use"
    for family, where in await _resolve(data, passive=True):
        first = int(where[1])
        for port in range(first, max(data.to or first, first) + 1):
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                listener.bind((where[0], port, *where[2:]))
                listener.listen(1)
            except OSError as error:
                listener.close()
                trouble = why(error)
                if error.errno != errno.EADDRINUSE:
                    break
            else:
                return listener
    raise UsageError(f"Failed to find an available port: {trouble}")


async def connect(address: SocketAddressLegacy, find: Find) -> socket.socket:
    """A connected socket.  UsageError where there is nobody."""
    match address:
        case FdSocketAddressLegacy():
            return _given(address, find)
        case UnixSocketAddressLegacy(data=data):
            return await _connect(socket.AF_UNIX, _unix(data), f"Failed to connect to '{data.path}'")
        case InetSocketAddressLegacy(data=data):
            trouble = UsageError(f"address resolution failed for {data.host}:{data.port}")
            for family, where in await _resolve(data, passive=False):
                try:
                    return await _connect(family, where, f"Failed to connect to '{data.host}:{data.port}'")
                except UsageError as error:
                    trouble = error
            raise trouble
        case VsockSocketAddressLegacy(data=data):
            where = (int(data.cid), int(data.port))
            return await _connect(socket.AF_VSOCK, where, f"Failed to connect to '{data.cid}:{data.port}'")
    raise AssertionError(address)


async def _connect(family: int, where: object, trouble: str) -> socket.socket:
    connection = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await connection.connect(where)
    except OSError as error:
        connection.close()
        raise UsageError(f"{trouble}: {why(error)}") from error
    except BaseException:
        connection.close()
        raise
    return socket.socket(fileno=connection.detach())


async def datagrams(remote: SocketAddressLegacy, local: SocketAddressLegacy | None, find: Find) -> socket.socket:
    """A socket for datagrams to one address, and from it; bound to another if that is given."""
    if isinstance(remote, FdSocketAddressLegacy):
        return _given(remote, find)
    if not isinstance(remote, InetSocketAddressLegacy) or not isinstance(local, InetSocketAddressLegacy | None):
        raise UsageError("socket type unsupported for datagram")
    data = InetSocketAddressData(host=remote.data.host or "localhost", port=remote.data.port)
    family, where = (await _resolve(data, passive=False, kind=socket.SOCK_DGRAM))[0]
    link = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if local is not None:
            bound = InetSocketAddressData(
                host=local.data.host,
                port=local.data.port or "0",
                ipv4=family == socket.AF_INET,
                ipv6=family != socket.AF_INET,
            )
            link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            link.bind((await _resolve(bound, passive=True, kind=socket.SOCK_DGRAM))[0][1])
        link.connect(where)
    except OSError as error:
        link.close()
        raise UsageError(f"Failed to bind socket: {why(error)}") from error
    except BaseException:
        link.close()
        raise
    return link


# --- as text ---------------------------------------------------------------------------------------------------------


def shown(address: SocketAddressLegacy, kind: str) -> str:
    """An address as management shows it; kind: what stands for TCP, such as "telnet"."""
    match address:
        case InetSocketAddressLegacy(data=data):
            return f"{kind}:{data.host}:{data.port}"
        case UnixSocketAddressLegacy(data=data):
            tight = ",tight=on" if data.tight else ""
            return f"unix:{data.path}" + (f",abstract=on{tight}" if data.abstract else "")
        case VsockSocketAddressLegacy(data=data):
            return f"vsock:{data.cid}:{data.port}"
        case FdSocketAddressLegacy(data=given):
            return f"fd:{given.str_}"
    raise AssertionError(address)


def named(sock: socket.socket) -> SocketAddressLegacy | None:
    """Where a socket listens; None for kinds without an address of their own."""
    name = sock.getsockname()
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        return InetSocketAddressLegacy(data=InetSocketAddressData(host=name[0], port=str(name[1])))
    if sock.family == socket.AF_UNIX:
        if isinstance(name, bytes) and name[:1] == b"\0":
            path = os.fsdecode(name[1:])
            return UnixSocketAddressLegacy(data=UnixSocketAddressData(path=path, abstract=True, tight=True))
        return UnixSocketAddressLegacy(data=UnixSocketAddressData(path=os.fsdecode(name)))
    return None
