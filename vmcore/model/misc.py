"""Types of the management model around names, I/O threads, file descriptors and command-line options.

Source: the management documents, "Miscellanea".
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.wire import Int, enum, struct

__all__ = [
    "AddfdInfo",
    "CommandLineOptionInfo",
    "CommandLineParameterInfo",
    "CommandLineParameterType",
    "FdsetFdInfo",
    "FdsetInfo",
    "IOThreadInfo",
    "NameInfo",
    "VfuClientHangup",
]


@struct
@frozen(kw_only=True)
class NameInfo:
    """name: what the user called the machine, None if nothing."""

    name: str | None = None


@struct
@frozen(kw_only=True)
class IOThreadInfo:
    """An I/O thread.

    id: its name; thread_id: of the host's thread; poll_max_ns: how long it polls before it sleeps, 0 if it does not
    poll; poll_grow, poll_shrink: how the polling time adapts, 0 for the default; aio_max_batch: requests that are
    submitted at once at most, 0 for the default.
    """

    id: str
    thread_id: Int
    poll_max_ns: Int
    poll_grow: Int
    poll_shrink: Int
    aio_max_batch: Int


@struct
@frozen(kw_only=True)
class AddfdInfo:
    """A descriptor that was put into a set.  fdset_id: the set; fd: its number in this process."""

    fdset_id: Int
    fd: Int


@struct
@frozen(kw_only=True)
class FdsetFdInfo:
    """A descriptor of a set.  fd: its number in this process; opaque: what the client noted about it."""

    fd: Int
    opaque: str | None = None


@struct
@frozen(kw_only=True)
class FdsetInfo:
    """A set of descriptors."""

    fdset_id: Int
    fds: tuple[FdsetFdInfo, ...]


@enum
class CommandLineParameterType(StrEnum):
    """What an option's parameter takes."""

    STRING = "string"
    BOOLEAN = "boolean"
    """"on" or "off"."""
    NUMBER = "number"
    SIZE = "size"
    """A number with an optional K, M, G or T."""


@struct
@frozen(kw_only=True)
class CommandLineParameterInfo:
    """A parameter of a command-line option.  help: for people; default: as text."""

    name: str
    type: CommandLineParameterType
    help: str | None = None
    default: str | None = None


@struct
@frozen(kw_only=True)
class CommandLineOptionInfo:
    """A command-line option and the parameters that it takes."""

    option: str
    parameters: tuple[CommandLineParameterInfo, ...]


@event("VFU_CLIENT_HANGUP")
@frozen(kw_only=True)
class VfuClientHangup(Event):
    """The client of a vfio-user server went away.

    vfu_id, vfu_qom_path: the server; dev_id, dev_qom_path: the device that it served.
    """

    vfu_id: str
    vfu_qom_path: str
    dev_id: str
    dev_qom_path: str
