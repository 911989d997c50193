"""Types and events of the management model around character devices."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.net import SocketAddressLegacy
from vmcore.model.wire import Int, Named, branch, enum, struct, union

__all__ = [
    "ChardevBackend",
    "ChardevBackendInfo",
    "ChardevBackendKind",
    "ChardevCommon",
    "ChardevCommonWrapper",
    "ChardevDBus",
    "ChardevDBusWrapper",
    "ChardevFile",
    "ChardevFileWrapper",
    "ChardevHostdev",
    "ChardevHostdevWrapper",
    "ChardevInfo",
    "ChardevMux",
    "ChardevMuxWrapper",
    "ChardevQemuVDAgent",
    "ChardevQemuVDAgentWrapper",
    "ChardevReturn",
    "ChardevRingbuf",
    "ChardevRingbufWrapper",
    "ChardevSocket",
    "ChardevSocketWrapper",
    "ChardevSpiceChannel",
    "ChardevSpiceChannelWrapper",
    "ChardevSpicePort",
    "ChardevSpicePortWrapper",
    "ChardevStdio",
    "ChardevStdioWrapper",
    "ChardevUdp",
    "ChardevUdpWrapper",
    "ChardevVC",
    "ChardevVCWrapper",
    "DataFormat",
    "VserportChange",
]


@struct
@frozen(kw_only=True)
class ChardevInfo:
    """A character device.  filename: what it is connected to; frontend_open: the machine's end is in use."""

    label: str
    filename: str
    frontend_open: bool


@struct
@frozen(kw_only=True)
class ChardevBackendInfo:
    """A kind of character device that can be had."""

    name: str


@enum
class DataFormat(StrEnum):
    """How bytes are written as text."""

    UTF8 = "utf8"
    BASE64 = "base64"


@enum
class ChardevBackendKind(StrEnum):
    """Kind of a character device: what is at the host's end."""

    FILE = "file"
    SERIAL = "serial"
    PARALLEL = "parallel"
    PIPE = "pipe"
    SOCKET = "socket"
    UDP = "udp"
    PTY = "pty"
    NULL = "null"
    MUX = "mux"
    MSMOUSE = "msmouse"
    WCTABLET = "wctablet"
    BRAILLE = "braille"
    TESTDEV = "testdev"
    STDIO = "stdio"
    CONSOLE = "console"
    SPICEVMC = "spicevmc"
    SPICEPORT = "spiceport"
    QEMU_VDAGENT = "qemu-vdagent"
    DBUS = "dbus"
    VC = "vc"
    RINGBUF = "ringbuf"
    MEMORY = "memory"


@struct
@frozen(kw_only=True)
class ChardevCommon:
    """What every kind has.  logfile: where output is written as well; logappend: behind what is there."""

    logfile: str | None = None
    logappend: bool | None = None


@struct
@frozen(kw_only=True)
class ChardevFile(ChardevCommon):
    """Files.  in_: where input comes from; out: where output goes; append: behind what is there."""

    in_: Annotated[str | None, Named("in")] = None
    out: str
    append: bool | None = None


@struct
@frozen(kw_only=True)
class ChardevHostdev(ChardevCommon):
    """A device or pipe of the host."""

    device: str


@struct
@frozen(kw_only=True)
class ChardevSocket(ChardevCommon):
    """A stream socket.

    addr: where; tls_creds, tls_authz: objects for encryption; server: it listens; wait: until a client is there;
    nodelay: small packets at once; telnet, tn3270, websocket: the protocol around it; reconnect: seconds between
    attempts, 0 for none.
    """

    addr: SocketAddressLegacy
    tls_creds: str | None = None
    tls_authz: str | None = None
    server: bool | None = None
    wait: bool | None = None
    nodelay: bool | None = None
    telnet: bool | None = None
    tn3270: bool | None = None
    websocket: bool | None = None
    reconnect: Int | None = None


@struct
@frozen(kw_only=True)
class ChardevUdp(ChardevCommon):
    """Datagrams."""

    remote: SocketAddressLegacy
    local: SocketAddressLegacy | None = None


@struct
@frozen(kw_only=True)
class ChardevMux(ChardevCommon):
    """Shares another device.  chardev: which."""

    chardev: str


@struct
@frozen(kw_only=True)
class ChardevStdio(ChardevCommon):
    """The process's own input and output.  signal: Ctrl-C ends the process."""

    signal: bool | None = None


@struct
@frozen(kw_only=True)
class ChardevVC(ChardevCommon):
    """A text console on a screen, in pixels or characters."""

    width: Int | None = None
    height: Int | None = None
    cols: Int | None = None
    rows: Int | None = None


@struct
@frozen(kw_only=True)
class ChardevRingbuf(ChardevCommon):
    """Memory.  size: bytes, a power of two; 64 KiB if None."""

    size: Int | None = None


@struct
@frozen(kw_only=True)
class ChardevSpiceChannel(ChardevCommon):
    """A channel to a SPICE client.  type: its kind."""

    type: str


@struct
@frozen(kw_only=True)
class ChardevSpicePort(ChardevCommon):
    """A port to a SPICE client.  fqdn: its name."""

    fqdn: str


@struct
@frozen(kw_only=True)
class ChardevQemuVDAgent(ChardevCommon):
    """The guest's agent.  mouse, clipboard: what it shares."""

    mouse: bool | None = None
    clipboard: bool | None = None


@struct
@frozen(kw_only=True)
class ChardevDBus(ChardevCommon):
    """A device on D-Bus.  name: there."""

    name: str


@union("type")
@frozen(kw_only=True)
class ChardevBackend:
    """The host's end of a character device: one of the subclasses, whose `data` says more."""

    type: ChardevBackendKind


_K = ChardevBackendKind


@branch(_K.FILE)
@frozen(kw_only=True)
class ChardevFileWrapper(ChardevBackend):
    """Files."""

    type: ChardevBackendKind = ChardevBackendKind.FILE
    data: ChardevFile


@branch(_K.SERIAL, _K.PARALLEL, _K.PIPE)
@frozen(kw_only=True)
class ChardevHostdevWrapper(ChardevBackend):
    """A serial or parallel port or a pipe of the host."""

    data: ChardevHostdev


@branch(_K.SOCKET)
@frozen(kw_only=True)
class ChardevSocketWrapper(ChardevBackend):
    """A stream socket."""

    type: ChardevBackendKind = ChardevBackendKind.SOCKET
    data: ChardevSocket


@branch(_K.UDP)
@frozen(kw_only=True)
class ChardevUdpWrapper(ChardevBackend):
    """Datagrams."""

    type: ChardevBackendKind = ChardevBackendKind.UDP
    data: ChardevUdp


@branch(_K.PTY, _K.NULL, _K.MSMOUSE, _K.WCTABLET, _K.BRAILLE, _K.TESTDEV, _K.CONSOLE)
@frozen(kw_only=True)
class ChardevCommonWrapper(ChardevBackend):
    """A kind that has nothing of its own: a pseudo terminal, nothing at all, ..."""

    data: ChardevCommon


@branch(_K.MUX)
@frozen(kw_only=True)
class ChardevMuxWrapper(ChardevBackend):
    """Shares another device."""

    type: ChardevBackendKind = ChardevBackendKind.MUX
    data: ChardevMux


@branch(_K.STDIO)
@frozen(kw_only=True)
class ChardevStdioWrapper(ChardevBackend):
    """The process's own input and output."""

    type: ChardevBackendKind = ChardevBackendKind.STDIO
    data: ChardevStdio


@branch(_K.SPICEVMC)
@frozen(kw_only=True)
class ChardevSpiceChannelWrapper(ChardevBackend):
    """A channel to a SPICE client."""

    type: ChardevBackendKind = ChardevBackendKind.SPICEVMC
    data: ChardevSpiceChannel


@branch(_K.SPICEPORT)
@frozen(kw_only=True)
class ChardevSpicePortWrapper(ChardevBackend):
    """A port to a SPICE client."""

    type: ChardevBackendKind = ChardevBackendKind.SPICEPORT
    data: ChardevSpicePort


@branch(_K.QEMU_VDAGENT)
@frozen(kw_only=True)
class ChardevQemuVDAgentWrapper(ChardevBackend):
    """The guest's agent."""

    type: ChardevBackendKind = ChardevBackendKind.QEMU_VDAGENT
    data: ChardevQemuVDAgent


@branch(_K.DBUS)
@frozen(kw_only=True)
class ChardevDBusWrapper(ChardevBackend):
    """A device on D-Bus."""

    type: ChardevBackendKind = ChardevBackendKind.DBUS
    data: ChardevDBus


@branch(_K.VC)
@frozen(kw_only=True)
class ChardevVCWrapper(ChardevBackend):
    """A text console on a screen."""

    type: ChardevBackendKind = ChardevBackendKind.VC
    data: ChardevVC


@branch(_K.RINGBUF, _K.MEMORY)
@frozen(kw_only=True)
class ChardevRingbufWrapper(ChardevBackend):
    """Memory; the kind `memory` is an older name of the same."""

    data: ChardevRingbuf


@struct
@frozen(kw_only=True)
class ChardevReturn:
    """pty: name of the pseudo terminal that was made, None if none was."""

    pty: str | None = None


@event("VSERPORT_CHANGE")
@frozen(kw_only=True)
class VserportChange(Event):
    """The guest opened or closed a virtio serial port."""

    id: str
    open: bool
