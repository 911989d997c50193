"""Types of the management model around sockets and network cards."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.wire import Named, UInt16, branch, enum, struct, union

__all__ = [
    "FdSocketAddress",
    "FdSocketAddressLegacy",
    "InetSocketAddress",
    "InetSocketAddressData",
    "InetSocketAddressLegacy",
    "NetworkAddressFamily",
    "NicRxFilterChanged",
    "SocketAddress",
    "SocketAddressLegacy",
    "SocketAddressType",
    "String",
    "UnixSocketAddress",
    "UnixSocketAddressData",
    "UnixSocketAddressLegacy",
    "VsockSocketAddress",
    "VsockSocketAddressData",
    "VsockSocketAddressLegacy",
]


@enum
class NetworkAddressFamily(StrEnum):
    """Family of a client's address."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    UNIX = "unix"
    VSOCK = "vsock"
    UNKNOWN = "unknown"


@enum
class SocketAddressType(StrEnum):
    """Kind of a socket."""

    INET = "inet"
    UNIX = "unix"
    VSOCK = "vsock"
    FD = "fd"


@struct
@frozen(kw_only=True)
class String:
    """A text in an object of its own."""

    str_: Annotated[str, Named("str")]


@union("type")
@frozen(kw_only=True)
class SocketAddress:
    """Where a socket is: one of the subclasses."""

    type: SocketAddressType


@branch(SocketAddressType.INET)
@frozen(kw_only=True)
class InetSocketAddress(SocketAddress):
    """TCP or UDP.  port: number or service name; numeric: names are not looked up; to: last port to try."""

    type: SocketAddressType = SocketAddressType.INET
    host: str
    port: str
    numeric: bool | None = None
    to: UInt16 | None = None
    ipv4: bool | None = None
    ipv6: bool | None = None
    keep_alive: bool | None = None
    mptcp: bool | None = None


@branch(SocketAddressType.UNIX)
@frozen(kw_only=True)
class UnixSocketAddress(SocketAddress):
    """A Unix socket.  abstract: in Linux's abstract name space; tight: the name there is not padded with zeros."""

    type: SocketAddressType = SocketAddressType.UNIX
    path: str
    abstract: bool | None = None
    tight: bool | None = None


@branch(SocketAddressType.VSOCK)
@frozen(kw_only=True)
class VsockSocketAddress(SocketAddress):
    """Between a host and its guests.  cid: which of them."""

    type: SocketAddressType = SocketAddressType.VSOCK
    cid: str
    port: str


@branch(SocketAddressType.FD, struct="String")
@frozen(kw_only=True)
class FdSocketAddress(SocketAddress):
    """A descriptor.  str_: its number, or the name under which a monitor was given it."""

    type: SocketAddressType = SocketAddressType.FD
    str_: Annotated[str, Named("str")]


# Older commands wrap each kind in an object `data`; what is in it is the same.


@struct
@frozen(kw_only=True)
class InetSocketAddressData:
    """As InetSocketAddress, on its own."""

    host: str
    port: str
    numeric: bool | None = None
    to: UInt16 | None = None
    ipv4: bool | None = None
    ipv6: bool | None = None
    keep_alive: bool | None = None
    mptcp: bool | None = None


@struct
@frozen(kw_only=True)
class UnixSocketAddressData:
    """As UnixSocketAddress, on its own."""

    path: str
    abstract: bool | None = None
    tight: bool | None = None


@struct
@frozen(kw_only=True)
class VsockSocketAddressData:
    """As VsockSocketAddress, on its own."""

    cid: str
    port: str


@union("type")
@frozen(kw_only=True)
class SocketAddressLegacy:
    """Where a socket is, as older commands have it: one of the subclasses."""

    type: SocketAddressType


@branch(SocketAddressType.INET, struct="InetSocketAddressWrapper")
@frozen(kw_only=True)
class InetSocketAddressLegacy(SocketAddressLegacy):
    """TCP or UDP."""

    type: SocketAddressType = SocketAddressType.INET
    data: InetSocketAddressData


@branch(SocketAddressType.UNIX, struct="UnixSocketAddressWrapper")
@frozen(kw_only=True)
class UnixSocketAddressLegacy(SocketAddressLegacy):
    """A Unix socket."""

    type: SocketAddressType = SocketAddressType.UNIX
    data: UnixSocketAddressData


@branch(SocketAddressType.VSOCK, struct="VsockSocketAddressWrapper")
@frozen(kw_only=True)
class VsockSocketAddressLegacy(SocketAddressLegacy):
    """Between a host and its guests."""

    type: SocketAddressType = SocketAddressType.VSOCK
    data: VsockSocketAddressData


@branch(SocketAddressType.FD, struct="StringWrapper")
@frozen(kw_only=True)
class FdSocketAddressLegacy(SocketAddressLegacy):
    """A descriptor."""

    type: SocketAddressType = SocketAddressType.FD
    data: String


@event("NIC_RX_FILTER_CHANGED")
@frozen(kw_only=True)
class NicRxFilterChanged(Event):
    """The guest changed what a network card lets through; said once until somebody asks for the filter.

    name: of the card, None if it has none; path: in the object tree.
    """

    name: str | None = None
    path: str
