"""Character devices as users write them.

Two forms, both QEMU's: "socket,id=a,path=/tmp/s,server=on" names everything; "unix:/tmp/s,server=on", "tcp:HOST:PORT",
"file:PATH", "pty", "mon:stdio" and the like are short, and their label comes from where they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from vmcore.model.char import (
    ChardevBackend,
    ChardevBackendKind,
    ChardevCommon,
    ChardevCommonWrapper,
    ChardevFile,
    ChardevFileWrapper,
    ChardevHostdev,
    ChardevHostdevWrapper,
    ChardevMux,
    ChardevMuxWrapper,
    ChardevRingbuf,
    ChardevRingbufWrapper,
    ChardevSocket,
    ChardevSocketWrapper,
    ChardevStdio,
    ChardevStdioWrapper,
    ChardevUdp,
    ChardevUdpWrapper,
)
from vmcore.model.command_line import CHARDEV_PARAMETERS
from vmcore.model.errors import ConfigError
from vmcore.model.keyed import typed
from vmcore.model.net import (
    FdSocketAddressLegacy,
    InetSocketAddressData,
    InetSocketAddressLegacy,
    SocketAddressLegacy,
    String,
    UnixSocketAddressData,
    UnixSocketAddressLegacy,
)
from vmcore.model.units import parse_size

__all__ = ["Wanted", "parse", "parse_where"]

_K = ChardevBackendKind
_ALIASES: Final[Mapping[str, str]] = {"tty": "serial", "memory": "memory"}
_TCP: Final = ("tcp", "telnet")


@frozen
class Wanted:
    """A device to be made.  mux: several front ends share it."""

    label: str
    backend: ChardevBackend
    mux: bool = False


def parse(text: str, path: str = "chardev") -> Wanted:
    """Read "BACKEND,id=LABEL,...".  Raises ConfigError, with `path` as the place."""
    given = typed(path, [text], CHARDEV_PARAMETERS, "backend")
    label = given.get("id")
    if not isinstance(label, str) or not label:
        raise ConfigError(f"{path}.id", label, "a label")
    return _wanted(path, label, given)


def parse_where(text: str, label: str, path: str, *, listens: bool = False) -> Wanted | str | None:
    """Read a short form: the device, the label of one that there is ("chardev:LABEL"), or None ("none").

    listens: a Unix socket of which nothing more is said is listened at, and nobody is waited for.
    """
    kind, _, rest = text.partition(":")
    if text == "none":
        return None
    if kind == "chardev" and rest:
        return rest
    if kind == "mon" and rest:
        below = parse_where(rest, label, path, listens=listens)
        if not isinstance(below, Wanted):
            raise ConfigError(path, text, "mon: before a device of its own")
        return Wanted(label, below.backend, mux=True)
    if text in ("stdio", "null", "pty"):
        full = text
    elif kind == "file" and rest:
        full = f"file,path={_doubled(rest)}"
    elif kind == "pipe" and rest:
        full = f"pipe,path={_doubled(rest)}"
    elif kind == "unix" and rest:
        full = f"socket,path={rest}" + (",server=on,wait=off" if listens and "," not in rest else "")
    elif kind in _TCP and rest:
        full = _tcp(path, text, kind, rest)
    elif kind == "udp" and rest:
        full = _udp(path, text, rest)
    elif text.startswith("/dev/"):
        full = f"serial,path={_doubled(text)}"
    elif kind == "fd" and rest.isdecimal():
        full = f"socket,fd={rest}"
    elif text.partition(",")[0] in ("ringbuf", "memory", "socket"):
        full = text
    else:
        forms = "stdio, null, none, pty, file:PATH, pipe:PATH, unix:PATH, tcp:HOST:PORT, telnet:HOST:PORT, "
        raise ConfigError(path, text, forms + "udp:HOST:PORT, /dev/NAME, chardev:LABEL or mon: before one of these")
    return _wanted(path, label, typed(path, [full], CHARDEV_PARAMETERS, "backend"))


def _doubled(text: str) -> str:
    return text.replace(",", ",,")


def _tcp(path: str, text: str, kind: str, rest: str) -> str:
    where, _, more = rest.partition(",")
    host, colon, port = where.rpartition(":")
    if not colon or not port:
        raise ConfigError(path, text, f"{kind}:HOST:PORT")
    telnet = ",telnet=on" if kind == "telnet" else ""
    return f"socket,host={host.strip('[]')},port={port}{telnet}" + (f",{more}" if more else "")


def _udp(path: str, text: str, rest: str) -> str:
    remote, _, local = rest.partition("@")
    host, colon, port = remote.rpartition(":")
    if not colon or not port:
        raise ConfigError(path, text, "udp:HOST:PORT[@HOST:PORT]")
    full = f"udp,host={host.strip('[]')},port={port}"
    if local:
        local_host, _, local_port = local.rpartition(":")
        full += f",localaddr={local_host.strip('[]')},localport={local_port or 0}"
    return full


# --- what becomes of the parameters ----------------------------------------------------------------------------------


def _wanted(path: str, label: str, given: dict[str, Any]) -> Wanted:
    backend = str(given.get("backend", ""))
    backend = _ALIASES.get(backend, backend)
    common = {"logfile": given.get("logfile"), "logappend": given.get("logappend")}
    match backend:
        case "null" | "pty":
            made: ChardevBackend = ChardevCommonWrapper(type=_K(backend), data=ChardevCommon(**common))
        case "stdio":
            made = ChardevStdioWrapper(data=ChardevStdio(signal=given.get("signal"), **common))
        case "file":
            data = ChardevFile(
                out=_needed(path, given, "path"), in_=given.get("input-path"), append=given.get("append"), **common
            )
            made = ChardevFileWrapper(data=data)
        case "pipe" | "serial":
            made = ChardevHostdevWrapper(
                type=_K(backend), data=ChardevHostdev(device=_needed(path, given, "path"), **common)
            )
        case "ringbuf" | "memory":
            size = None if "size" not in given else parse_size(given["size"], f"{path}.size")
            made = ChardevRingbufWrapper(type=_K(backend), data=ChardevRingbuf(size=size, **common))
        case "mux":
            made = ChardevMuxWrapper(data=ChardevMux(chardev=_needed(path, given, "chardev"), **common))
        case "socket":
            made = ChardevSocketWrapper(data=_socket(path, given, common))
        case "udp":
            made = ChardevUdpWrapper(data=_datagrams(path, given, common))
        case _:
            raise ConfigError(
                f"{path}.backend", backend, "null, file, pipe, socket, udp, pty, stdio, serial, ringbuf, memory or mux"
            )
    return Wanted(label, made, mux=bool(given.get("mux")))


def _needed(path: str, given: dict[str, Any], name: str) -> str:
    if not given.get(name):
        raise ConfigError(f"{path}.{name}", given.get(name), f"{name}=VALUE for this kind")
    return str(given[name])


def _socket(path: str, given: dict[str, Any], common: dict[str, Any]) -> ChardevSocket:
    server = bool(given.get("server"))
    return ChardevSocket(
        addr=_address(path, given),
        server=server,
        wait=given.get("wait", True) if server else given.get("wait"),
        nodelay=given.get("nodelay", not given["delay"] if "delay" in given else None),
        telnet=given.get("telnet"),
        tn3270=given.get("tn3270"),
        websocket=given.get("websocket"),
        reconnect=given.get("reconnect"),
        tls_creds=given.get("tls-creds"),
        tls_authz=given.get("tls-authz"),
        **common,
    )


def _address(path: str, given: dict[str, Any]) -> SocketAddressLegacy:
    places = [name for name in ("path", "host", "port", "fd") if name in given]
    if "path" in given and len(places) == 1:
        return UnixSocketAddressLegacy(
            data=UnixSocketAddressData(
                path=given["path"], abstract=given.get("abstract"), tight=given.get("tight", given.get("abstract"))
            )
        )
    if "fd" in given and len(places) == 1:
        return FdSocketAddressLegacy(data=String(str_=given["fd"]))
    if "port" in given and not {"path", "fd"} & set(places):
        data = InetSocketAddressData(
            host=given.get("host", ""),
            port=given["port"],
            to=given.get("to"),
            ipv4=given.get("ipv4"),
            ipv6=given.get("ipv6"),
        )
        return InetSocketAddressLegacy(data=data)
    raise ConfigError(path, ",".join(places), "one place: path, fd, or host and port")


def _datagrams(path: str, given: dict[str, Any], common: dict[str, Any]) -> ChardevUdp:
    remote = InetSocketAddressData(host=given.get("host", "localhost"), port=_needed(path, given, "port"))
    local = None
    if "localport" in given or "localaddr" in given:
        data = InetSocketAddressData(host=given.get("localaddr", ""), port=given.get("localport", "0"))
        local = InetSocketAddressLegacy(data=data)
    return ChardevUdp(remote=InetSocketAddressLegacy(data=remote), local=local, **common)
