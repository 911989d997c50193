"""One QMP connection without any I/O: bytes in, requests out; replies and events in, bytes out.

A connection begins with the greeting and is in negotiation until `qmp_capabilities` succeeded; until then no other
command exists and no event is sent.  What a request looks like is checked when its turn has come, not when it was
read: a pipelined command behind `qmp_capabilities` finds the negotiation done.  The order of the checks is part of
the interface:

1. it is an object; 2. each member is known and of the right type; 3. there is a command; 4. the command exists
(now); 5. it may be run out of band, if it is to be; 6. the machine is built, or the command is for before; 7. the
arguments; 8. it is not a second negotiation.

Source: the recorded behaviour of QEMU 7.2, and the QMP specification.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, final

from attrs import frozen

from vmcore.model.errors import CommandError
from vmcore.qmp.convert import arguments
from vmcore.qmp.json_out import dump
from vmcore.qmp.parser import Malformed, MessageParser
from vmcore.qmp.registry import COMMANDS, Command

__all__ = ["CAPABILITIES", "NO_ID", "EventThrottle", "Invocation", "QmpSession", "Request"]

CAPABILITIES: Final = ("oob",)
"""What a connection can agree on."""

NEGOTIATE: Final = "qmp_capabilities"

NO_ID: Final = object()
"""The id of a request that has none."""


@frozen
class Request:
    """A message of the client, not yet checked.  out_of_band: it is to overtake others."""

    value: Any
    out_of_band: bool = False


@frozen
class Invocation:
    """A command that is to be run, with the arguments as keywords of its function."""

    command: Command
    arguments: Mapping[str, Any]
    id: Any = NO_ID


@final
class QmpSession:
    """The protocol's state of one connection."""

    def __init__(self, version: Mapping[str, Any]) -> None:
        self._version = version
        self._parser = MessageParser()
        self.negotiated = False
        """Whether capabilities were negotiated: from then on there are commands and events."""
        self.out_of_band = False
        """Whether `exec-oob` was agreed on."""

    # --- out

    def greeting(self) -> bytes:
        """What a new client is told."""
        return _line({"QMP": {"version": self._version, "capabilities": list(CAPABILITIES)}})

    @staticmethod
    def reply(value: Any, id: Any = NO_ID) -> bytes:
        """A success.  value: as it goes on the wire."""
        return _line({"return": value} if id is NO_ID else {"return": value, "id": id})

    @staticmethod
    def error(error: CommandError, id: Any = NO_ID) -> bytes:
        """A failure."""
        body = {"class": error.qmp_class, "desc": error.desc}
        return _line({"error": body} if id is NO_ID else {"id": id, "error": body})

    @staticmethod
    def event(name: str, data: Mapping[str, Any] | None, seconds: int, microseconds: int) -> bytes:
        """An event.  data: as it goes on the wire, None or empty where there is none; the time is the host's."""
        message: dict[str, Any] = {
            "timestamp": {"seconds": seconds, "microseconds": microseconds},
            "event": name,
        }
        if data:
            message["data"] = data
        return _line(message)

    # --- in

    def feed(self, data: bytes) -> Iterator[Request]:
        """Bytes of the client; the requests that they complete, malformed ones included."""
        for value in self._parser.feed(data):
            yield Request(value, self.out_of_band and isinstance(value, dict) and "exec-oob" in value)

    def negotiate(self, capabilities: Iterable[str]) -> None:
        """What `qmp_capabilities` does: capabilities are of CAPABILITIES."""
        self.out_of_band = "oob" in capabilities
        self.negotiated = True

    def check(self, request: Request, *, preconfig: bool = False) -> Invocation | bytes:
        """Check a request whose turn has come: what to run, or the error to answer.

        preconfig: the machine is not built yet.
        """
        value = request.value
        id = value.get("id", NO_ID) if isinstance(value, dict) else NO_ID
        try:
            name, given, out_of_band = self._members(value)
            command = self._find(name)
            if out_of_band and not command.allow_oob:
                raise _generic(f"The command {name} does not support OOB")
            if preconfig and not command.allow_preconfig:
                raise _generic(f"The command '{name}' is permitted only after machine initialization has completed")
            keywords = arguments(command, given)
            if self.negotiated and name == NEGOTIATE:
                text = "Capabilities negotiation is already complete, command ignored"
                raise CommandError("CommandNotFound", text)
            return Invocation(command, keywords, id)
        except CommandError as error:
            return self.error(error, id)

    def _members(self, value: Any) -> tuple[str, dict[str, Any], bool]:
        if isinstance(value, Malformed):
            raise _generic(value.text)
        if not isinstance(value, dict):
            raise _generic("QMP input must be a JSON object")
        name: str | None = None
        out_of_band = False
        for key, member in value.items():
            if key == "execute" or (key == "exec-oob" and self.out_of_band):
                if not isinstance(member, str):
                    raise _generic(f"QMP input member '{key}' must be a string")
                if name is not None:
                    raise _generic("QMP input member 'execute' clashes with 'exec-oob'")
                name, out_of_band = member, key == "exec-oob"
            elif key == "arguments":
                if not isinstance(member, dict):
                    raise _generic("QMP input member 'arguments' must be an object")
            elif key != "id":
                raise _generic(f"QMP input member '{key}' is unexpected")
        if name is None:
            raise _generic("QMP input lacks member 'execute'")
        return name, value.get("arguments", {}), out_of_band

    def _find(self, name: str) -> Command:
        if not self.negotiated and name != NEGOTIATE:
            raise CommandError("CommandNotFound", f"Expecting capabilities negotiation with '{NEGOTIATE}'")
        if name not in COMMANDS:
            raise CommandError("CommandNotFound", f"The command {name} has not been found")
        return COMMANDS[name]


def _generic(text: str) -> CommandError:
    return CommandError("GenericError", text)


def _line(message: Mapping[str, Any]) -> bytes:
    return (dump(message) + "\r\n").encode("ascii")


_THROTTLED: Final[Mapping[str, str | None]] = {
    "RTC_CHANGE": None,
    "WATCHDOG": None,
    "BALLOON_CHANGE": None,
    "QUORUM_REPORT_BAD": "node-name",
    "QUORUM_FAILURE": None,
    "VSERPORT_CHANGE": "id",
    "MEMORY_DEVICE_SIZE_CHANGE": "qom-path",
}
"""Events whose rate is limited, and the member whose values are limited apart."""


@final
class EventThrottle:
    """The limits on the rate of some events: the first goes out at once; of those that come within a second only
    the latest, when
    the second is over.  Time is the host's, in seconds, given by the caller.
    """

    INTERVAL: Final = 1.0

    def __init__(self) -> None:
        self._until: dict[tuple[str, Any], float] = {}
        self._waiting: dict[tuple[str, Any], bytes] = {}

    def offer(self, name: str, data: Mapping[str, Any] | None, line: bytes, now: float) -> bytes | None:
        """An event that has happened: its line if it may go out now, else None (it may come out of `due`)."""
        if name not in _THROTTLED:
            return line
        member = _THROTTLED[name]
        key = (name, data.get(member) if data and member else None)
        if now < self._until.get(key, 0.0):
            self._waiting[key] = line
            return None
        self._until[key] = now + self.INTERVAL
        return line

    @property
    def deadline(self) -> float | None:
        """When `due` has something, or None."""
        return min((self._until[key] for key in self._waiting), default=None)

    def due(self, now: float) -> list[bytes]:
        """The lines whose time has come.  Their second begins anew."""
        lines = []
        for key in [key for key in self._waiting if self._until[key] <= now]:
            lines.append(self._waiting.pop(key))
            self._until[key] = now + self.INTERVAL
        for key in [key for key, until in self._until.items() if until <= now]:
            del self._until[key]
        return lines
