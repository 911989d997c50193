"""Scripted QMP exchanges: what a client sends and what it is told, played to a monitor behind a Unix socket.

An exchange is a line of steps; a step sends bytes and waits for its replies.  The data files in `exchanges/` hold
them as JSON: bytes as a string of the code points U+0000 to U+00FF, replies as QEMU 7.2 gave them (see
`record_exchanges.py`), without time stamps and without the program's own version.  A step where vmcore rightly says
something else has that as `ours`, and the reason as `because`.

The guests are a few bytes of real mode code.  vmcore starts them as a flat image; QEMU has them in a firmware of
64 KiB, behind the code that places the ACPI registers at port 600h, where vmcore's board has them from the start.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any, Final

from attrs import define, field

__all__ = ["CODE", "DIRECTORY", "Exchange", "Player", "Step", "firmware", "load", "mismatches", "play"]

DIRECTORY: Final = Path(__file__).parent / "exchanges"
PATIENCE: Final = 20.0
"""Seconds after which a missing reply is given up."""
END: Final = "end of the exchange"
EOF: Final = "end of the connection"


def _once(action: str) -> bytes:
    """Do something in the first life alone: byte 3Fh of the CMOS RAM outlives resets.  Then spin."""
    what = bytes.fromhex(action)
    mark = bytes.fromhex("b0 3f e6 70 b0 55 e6 71") + what
    return bytes.fromhex("b0 3f e6 70 e4 71 3c 55 74") + bytes([len(mark)]) + mark + b"\xeb\xfe"


_TRIPLE_FAULT = "31 c0 8e d8 a3 00 05 a3 02 05 a3 04 05 0f 01 1e 00 05 cc"

_SECTOR_5 = "baf601b0e0eebaf201b001ee42b005ee4231c0ee42eebaf701"
_WRITE = "b030eeeca80874fbbaf001b90001b85a5aefe2fdbaf701eca88075fb"

CODE: Final[dict[str, bytes]] = {
    "spin": bytes.fromhex("eb fe"),
    "halt": bytes.fromhex("fa f4 eb fd"),
    "power-off": bytes.fromhex("ba 04 06 b8 00 20 ef fa f4 eb fd"),
    "reset-keyboard": _once("b0 fe e6 64 eb fe"),
    "reset-cf9": _once("ba f9 0c b0 02 ee b0 06 ee eb fe"),
    "reset-port92": _once("e4 92 24 fe e6 92 0c 01 e6 92 eb fe"),
    "triple-fault": _once(_TRIPLE_FAULT),
    "suspend": _once("ba 04 06 b8 00 24 ef"),
    # Some milliseconds later, so that the answer to `cont` comes first with QEMU too.
    "suspend-disk": bytes.fromhex("66 b9 00 00 80 00 67 e2 fd ba 04 06 b8 00 28 ef fa f4 eb fd"),
    "watchdog": _once("66 b9 00 00 80 00 67 e2 fd ba 43 04 b0 0f ee"),
    # The disk's sector 5 is read by PIO, or written, or written and the cache flushed; then spin.
    "disk-read": bytes.fromhex(_SECTOR_5 + "b020eeeca88075fbba8000eeebfe"),
    "disk-write": bytes.fromhex(_SECTOR_5 + _WRITE + "ebfe"),
    "disk-flush": bytes.fromhex(_SECTOR_5 + _WRITE + "baf601b0e0ee42b0e7eeeca88075fbebfe"),
    # Ejects each PCI device that is to go, and the memory module in slot 0, with a word about that (_OST 3, 84h).
    "eject": bytes.fromhex(
        "ba04ae66ed6685c07405ba08ae66efba000a6631c066efba140aec3cff74e1a80474ddb004eeba040a66b80300000066efba080a66b88400000066efba140ab008eeebbc"
    ),
    "debug-exit": bytes.fromhex("b0 10 e6 f4 fa f4 eb fd"),
}
"""The guests by name."""

_ACPI_AT_600H = bytes.fromhex(
    "66 b8 40 0b 00 80 ba f8 0c 66 ef 66 b8 01 06 00 00 b2 fc 66 ef"
    "66 b8 80 0b 00 80 b2 f8 66 ef 66 b8 01 00 00 00 b2 fc 66 ef"
)


def firmware(guest: str) -> bytes:
    """A guest as a firmware of 64 KiB for QEMU's PC."""
    code = _ACPI_AT_600H + CODE[guest]
    jump = bytes.fromhex("ea 00 00 00 f0")
    return code.ljust(0xFFF0, b"\xf4") + jump.ljust(16, b"\0")


@define
class Step:
    """Bytes that are sent, and what comes for them from QEMU; ours: what comes from vmcore where that differs."""

    send: bytes
    replies: list[Any] = field(factory=list)
    ours: list[Any] | None = None
    because: str = ""

    @property
    def expected(self) -> list[Any]:
        """What vmcore says."""
        return self.replies if self.ours is None else self.ours


@define
class Exchange:
    """A scripted exchange.  guest: name in CODE; negotiated: the script begins behind a plain `qmp_capabilities`."""

    name: str
    steps: list[Step]
    guest: str = "spin"
    negotiated: bool = True
    options: list[str] = field(factory=list)
    """Further options of QEMU's command line; vmcore's configuration has a field for each, see the test."""

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.name}
        if self.guest != "spin":
            out["guest"] = self.guest
        if not self.negotiated:
            out["negotiated"] = False
        if self.options:
            out["options"] = self.options
        out["steps"] = []
        for step in self.steps:
            one: dict[str, Any] = {"send": step.send.decode("latin-1"), "replies": step.replies}
            if step.ours is not None:
                one |= {"ours": step.ours, "because": step.because}
            out["steps"].append(one)
        return out

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Exchange:
        steps = [Step(**(step | {"send": step["send"].encode("latin-1")})) for step in value["steps"]]
        return cls(**(value | {"steps": steps}))


def load(path: Path) -> list[Exchange]:
    """The exchanges of a data file."""
    return [Exchange.from_json(value) for value in json.loads(path.read_text())]


def _normal(line: bytes) -> Any:
    try:
        # How a number with a fraction is written is part of what is compared; so it stays text.
        message = json.loads(line, parse_float=lambda text: f"float {text}")
    except (ValueError, RecursionError):
        return line.decode("ascii")
    if "QMP" in message:
        return {"QMP": {"capabilities": message["QMP"]["capabilities"]}}
    message.pop("timestamp", None)
    return message


class Player:
    """A client over a Unix socket that plays exchanges."""

    def __init__(self, path: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                self._socket.connect(path)
                break
            except OSError:
                self._socket.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        self._buffer = b""

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return  # the end is what `read` says

    def read(self, seconds: float) -> Any:
        """The next message, EOF, or None if none comes in time."""
        self._socket.settimeout(seconds)
        while b"\r\n" not in self._buffer:
            try:
                data = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            except ConnectionResetError:
                data = b""
            if not data:
                return EOF
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return _normal(line)

    def read_until_quiet(self, seconds: float) -> list[Any]:
        """All that comes, until nothing came for a while."""
        out: list[Any] = []
        while (message := self.read(seconds)) is not None:
            out.append(message)
            if message == EOF:
                break
        return out

    def read_count(self, count: int) -> list[Any]:
        """So many messages, or less if they do not come."""
        out: list[Any] = []
        while len(out) < count and (message := self.read(PATIENCE)) is not None:
            out.append(message)
            if message == EOF:
                break
        return out

    def read_rest(self) -> list[Any]:
        """What is still to come although it was not expected."""
        self.send(b'\n\xff{"execute": "qmp_capabilities", "id": "%s"}' % END.encode())
        out: list[Any] = []
        while (message := self.read(PATIENCE)) is not None:
            if message == EOF:
                return [*out, message]
            if isinstance(message, dict) and message.get("id") == END:
                return out
            trouble = message.get("error", {}).get("desc", "") if isinstance(message, dict) else ""
            if not trouble.startswith("JSON parse error, stray"):  # of FFh, which makes sure that it is read
                out.append(message)
        return [*out, "no answer at the end"]


def play(path: str, exchange: Exchange, counts: list[int]) -> list[list[Any]]:
    """Play an exchange, waiting for so many messages in each step; the messages of each, and unexpected ones."""
    player = Player(path)
    try:
        greeting = player.read(PATIENCE)
        assert isinstance(greeting, dict), greeting
        assert "QMP" in greeting
        if exchange.negotiated:
            player.send(b'{"execute": "qmp_capabilities"}')
            assert player.read(PATIENCE) == {"return": {}}
        out = []
        for step, count in zip(exchange.steps, counts, strict=True):
            player.send(step.send)
            out.append(player.read_count(count))
        ended = bool(out) and EOF in out[-1]
        out.append([] if ended else player.read_rest())
        return out
    finally:
        player.close()


def mismatches(exchange: Exchange, expected: list[list[Any]], seen: list[list[Any]]) -> list[str]:
    """In words, where a play differs from what is expected."""
    out = []
    for number, (want, got) in enumerate(zip([*expected, []], seen, strict=True)):
        if want != got:
            sent = exchange.steps[number].send if number < len(exchange.steps) else b"(nothing)"
            out.append(f"{exchange.name}, step {number}: sent {sent[:200]!r}\n  expected {want}\n  but got  {got}")
    return out
