"""Types and events of the management model around screens, VNC and SPICE, keys and pointers."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.net import NetworkAddressFamily
from vmcore.model.qkeycode import QKeyCode
from vmcore.model.wire import Int, Named, branch, enum, struct, union

__all__ = [
    "ImageFormat",
    "InputAbsEvent",
    "InputAxis",
    "InputBtnEvent",
    "InputBtnEventData",
    "InputButton",
    "InputEvent",
    "InputEventKind",
    "InputKeyEvent",
    "InputKeyEventData",
    "InputMoveEventData",
    "InputRelEvent",
    "IntWrapper",
    "KeyValue",
    "KeyValueKind",
    "MouseInfo",
    "QKeyCodeWrapper",
    "SpiceBasicInfo",
    "SpiceChannel",
    "SpiceConnected",
    "SpiceDisconnected",
    "SpiceInitialized",
    "SpiceMigrateCompleted",
    "SpiceServerInfo",
    "VncBasicInfo",
    "VncClientInfo",
    "VncConnected",
    "VncDisconnected",
    "VncInitialized",
    "VncServerInfo",
]


# --- SPICE -----------------------------------------------------------------------------------------------------------


@struct
@frozen(kw_only=True)
class SpiceBasicInfo:
    """One end of a SPICE connection."""

    host: str
    port: str
    family: NetworkAddressFamily


@struct
@frozen(kw_only=True)
class SpiceServerInfo(SpiceBasicInfo):
    """The server's end.  auth: how clients show who they are."""

    auth: str | None = None


@struct
@frozen(kw_only=True)
class SpiceChannel(SpiceBasicInfo):
    """A client's channel.

    connection_id: the session that it belongs to; channel_type: 1 is the main channel; channel_id: counts those of a
    type; tls: it is encrypted.
    """

    connection_id: Int
    channel_type: Int
    channel_id: Int
    tls: bool


@event("SPICE_CONNECTED")
@frozen(kw_only=True)
class SpiceConnected(Event):
    """A SPICE client connected."""

    server: SpiceBasicInfo
    client: SpiceBasicInfo


@event("SPICE_INITIALIZED")
@frozen(kw_only=True)
class SpiceInitialized(Event):
    """A SPICE channel is up: its client was let in."""

    server: SpiceServerInfo
    client: SpiceChannel


@event("SPICE_DISCONNECTED")
@frozen(kw_only=True)
class SpiceDisconnected(Event):
    """A SPICE client went."""

    server: SpiceBasicInfo
    client: SpiceBasicInfo


@event("SPICE_MIGRATE_COMPLETED")
@frozen(kw_only=True)
class SpiceMigrateCompleted(Event):
    """The SPICE clients were handed over to where the machine migrated."""


# --- VNC -------------------------------------------------------------------------------------------------------------


@struct
@frozen(kw_only=True)
class VncBasicInfo:
    """One end of a VNC connection.  service: the port; websocket: it is wrapped into one."""

    host: str
    service: str
    family: NetworkAddressFamily
    websocket: bool


@struct
@frozen(kw_only=True)
class VncServerInfo(VncBasicInfo):
    """The server's end.  auth: how clients show who they are."""

    auth: str | None = None


@struct
@frozen(kw_only=True)
class VncClientInfo(VncBasicInfo):
    """A client's end.  x509_dname, sasl_username: whom it showed itself to be."""

    x509_dname: Annotated[str | None, Named("x509_dname")] = None
    sasl_username: Annotated[str | None, Named("sasl_username")] = None


@event("VNC_CONNECTED")
@frozen(kw_only=True)
class VncConnected(Event):
    """A VNC client connected; who it is is not known yet."""

    server: VncServerInfo
    client: VncBasicInfo


@event("VNC_INITIALIZED")
@frozen(kw_only=True)
class VncInitialized(Event):
    """A VNC client was let in."""

    server: VncServerInfo
    client: VncClientInfo


@event("VNC_DISCONNECTED")
@frozen(kw_only=True)
class VncDisconnected(Event):
    """A VNC client went."""

    server: VncServerInfo
    client: VncClientInfo


# --- screens ---------------------------------------------------------------------------------------------------------


@enum
class ImageFormat(StrEnum):
    """How a picture of the screen is stored."""

    PPM = "ppm"
    PNG = "png"


# --- keys and pointers -----------------------------------------------------------------------------------------------


@struct
@frozen(kw_only=True)
class MouseInfo:
    """A pointing device.  index: its number; current: it gets the input; absolute: it is told positions."""

    name: str
    index: Int
    current: bool
    absolute: bool


@enum
class KeyValueKind(StrEnum):
    """How a key is named."""

    NUMBER = "number"
    QCODE = "qcode"


@union("type")
@frozen(kw_only=True)
class KeyValue:
    """A key: one of the subclasses."""

    type: KeyValueKind


@branch(KeyValueKind.NUMBER)
@frozen(kw_only=True)
class IntWrapper(KeyValue):
    """data: the key's PC scan code (set 1; with 80h where the code has the prefix E0h)."""

    type: KeyValueKind = KeyValueKind.NUMBER
    data: Int


@branch(KeyValueKind.QCODE)
@frozen(kw_only=True)
class QKeyCodeWrapper(KeyValue):
    """data: the key's name."""

    type: KeyValueKind = KeyValueKind.QCODE
    data: QKeyCode


@enum
class InputButton(StrEnum):
    """Button or wheel of a pointing device."""

    LEFT = "left"
    MIDDLE = "middle"
    RIGHT = "right"
    WHEEL_UP = "wheel-up"
    WHEEL_DOWN = "wheel-down"
    SIDE = "side"
    EXTRA = "extra"
    WHEEL_LEFT = "wheel-left"
    WHEEL_RIGHT = "wheel-right"


@enum
class InputAxis(StrEnum):
    """Direction of a movement."""

    X = "x"
    Y = "y"


@struct
@frozen(kw_only=True)
class InputKeyEventData:
    """A key goes down or up."""

    key: KeyValue
    down: bool


@struct
@frozen(kw_only=True)
class InputBtnEventData:
    """A button goes down or up."""

    button: InputButton
    down: bool


@struct
@frozen(kw_only=True)
class InputMoveEventData:
    """A movement along an axis.  value: counts, or for absolute ones the position, 0 to 7FFFh."""

    axis: InputAxis
    value: Int


@enum
class InputEventKind(StrEnum):
    """What an input event is about: key, button, movement by or to somewhere."""

    KEY = "key"
    BTN = "btn"
    REL = "rel"
    ABS = "abs"


@union("type")
@frozen(kw_only=True)
class InputEvent:
    """Something that a user does: one of the subclasses."""

    type: InputEventKind


@branch(InputEventKind.KEY, struct="InputKeyEventWrapper")
@frozen(kw_only=True)
class InputKeyEvent(InputEvent):
    """A key."""

    type: InputEventKind = InputEventKind.KEY
    data: InputKeyEventData


@branch(InputEventKind.BTN, struct="InputBtnEventWrapper")
@frozen(kw_only=True)
class InputBtnEvent(InputEvent):
    """A button."""

    type: InputEventKind = InputEventKind.BTN
    data: InputBtnEventData


@branch(InputEventKind.REL, struct="InputMoveEventWrapper")
@frozen(kw_only=True)
class InputRelEvent(InputEvent):
    """A movement by some counts."""

    type: InputEventKind = InputEventKind.REL
    data: InputMoveEventData


@branch(InputEventKind.ABS, struct="InputMoveEventWrapper")
@frozen(kw_only=True)
class InputAbsEvent(InputEvent):
    """A movement to a position."""

    type: InputEventKind = InputEventKind.ABS
    data: InputMoveEventData
