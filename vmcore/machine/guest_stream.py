"""A guest as a stream of bytes: what one machine sends to another while the guest still runs.

The format has a version of its own, apart from the program's and from that of snapshots in files.  A stream is:

    magic      8 bytes   "vmcore" 1A 4D
    version    uint32    STREAM_VERSION
    sections             tag (4 letters), length (uint64), content; in this order:
      CONF  the configuration: each field of it by name, or the BLAKE2b of one that is long
      PAGE  any number: a run of pages: address (uint64), number of pages (uint32), content
      ZPAG  any number: the same, with the content as a zlib stream
      ZERO  any number: a run of pages that hold nothing but zeros: address (uint64), number of pages (uint32)
      REST  all but memory: vCPUs, devices, time, serial ports, inputs, and the run state that the guest was in
      END_  BLAKE2b of 32 bytes of everything before this section
      GO__  empty: the guest is the receiver's now

A page may come again; what comes later holds.  A page that never comes is zero.  GO__ is apart from END_, so that a
sender whose receiver can answer lets go of the guest only when that has said that it can take it, and a guest never
runs in two places.  What a receiver answers are sections too: OKAY (empty), or FAIL with the reason (UTF-8).

Numbers are little-endian; CONF and REST are CBOR (RFC 8949) of values as `vmcore.machine.typed` makes them plain.
There is no class in a stream, only values, and each is checked: their types come from the receiving machine.

Nothing here reads or writes: `Encoder` makes bytes, `Decoder` takes them as they come, `Arrival` puts what they mean
into a machine.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final, final, get_type_hints

from attrs import frozen

from vmcore.machine import cbor
from vmcore.machine.cbor import CborError
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.machine.snapshot import PAGE, Snapshot
from vmcore.machine.typed import TypedError, from_plain, to_plain
from vmcore.model.errors import ImageError, VmcoreError
from vmcore.model.exits import DebugExit, GuestFaulted, ShutdownRequested
from vmcore.model.run_state import RunState

__all__ = ["MAX_RUN", "OKAY", "STREAM_VERSION", "Arrival", "Decoder", "Encoder", "Section", "fail", "runs"]

MAGIC: Final = b"vmcore\x1aM"
STREAM_VERSION: Final = 1

MAX_RUN: Final = 256
"""Pages of one section at most."""
MAX_SECTION: Final = 256 << 20
"""Bytes of any other section at most."""
LONG: Final = 1 << 16
"""From how many bytes on a field of the configuration is told by its hash."""
MAX_REASON: Final = 1 << 16

_SECTION: Final = struct.Struct("<4sQ")
_RUN: Final = struct.Struct("<QI")
_Off = ShutdownRequested | DebugExit | GuestFaulted | None


_KINDS: Final = {
    name: kind
    for name, kind in get_type_hints(Snapshot).items()
    # The receiver has the configuration; memory comes apart; devices are of the kinds that the receiver has.
    if name not in ("config", "devices", "pages")
} | {"off": _Off, "state": RunState}
"""What REST tells beside the devices, with its types: the other fields of a snapshot, and the run state."""


# --- sending


def runs(addresses: Iterable[int], longest: int = MAX_RUN) -> Iterator[tuple[int, int]]:
    """Adjacent pages together: address and number of pages of each run, for addresses in their order."""
    begin = count = 0
    for address in addresses:
        if count and (address != begin + count * PAGE or count == longest):
            yield begin, count
            count = 0
        if not count:
            begin = address
        count += 1
    if count:
        yield begin, count


OKAY: Final = _SECTION.pack(b"OKAY", 0)
"""What a receiver answers when it can take the guest."""


def fail(reason: str) -> bytes:
    """What a receiver answers that cannot."""
    text = reason.encode("utf-8", "replace")[:MAX_REASON]
    return _SECTION.pack(b"FAIL", len(text)) + text


@final
class Encoder:
    """Makes the bytes of one stream, in its order."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=32)

    def _made(self, data: bytes) -> bytes:
        self._digest.update(data)
        return data

    def _section(self, tag: bytes, content: bytes) -> bytes:
        return self._made(_SECTION.pack(tag, len(content)) + content)

    def begin(self, config: MachineConfig) -> bytes:
        """What a stream begins with."""
        head = self._made(MAGIC + struct.pack("<I", STREAM_VERSION))
        return head + self._section(b"CONF", cbor.encode(_fields(config)))

    def pages(self, address: int, content: bytes, *, level: int | None = None) -> bytes:
        """A run of pages.  level: of compression, None for none."""
        head = _RUN.pack(address, len(content) // PAGE)
        if level is None:
            return self._section(b"PAGE", head + content)
        return self._section(b"ZPAG", head + zlib.compress(content, level))

    def zeros(self, address: int, count: int) -> bytes:
        """A run of pages that are zero and were not always."""
        return self._section(b"ZERO", _RUN.pack(address, count))

    def end(self, snapshot: Snapshot, state: RunState) -> bytes:
        """All but memory, and the end.  state: what the guest was doing."""
        told = {name: getattr(snapshot, name) for name in _KINDS if name != "state"} | {"state": state}
        plain = {name: to_plain(kind, told[name]) for name, kind in _KINDS.items()}
        plain["devices"] = {path: to_plain(type(value), value) for path, value in snapshot.devices.items()}
        data = self._section(b"REST", cbor.encode(plain))
        return data + _SECTION.pack(b"END_", 32) + self._digest.digest()

    @staticmethod
    def go() -> bytes:
        """Behind the end: the guest is the receiver's."""
        return _SECTION.pack(b"GO__", 0)


def _fields(config: MachineConfig) -> dict[str, Any]:
    plain = to_plain(MachineConfig, config)
    return {name: _short(value) for name, value in plain.items()}


def _short(value: Any) -> list[Any]:
    data = cbor.encode(value)
    return ["is", value] if len(data) <= LONG else ["hash", blake2b(data, digest_size=32).digest()]


# --- receiving


@frozen
class Section:
    """A section that has come whole."""

    tag: bytes
    content: bytes


def _wrong(name: str, field: str, value: object, expected: str) -> ImageError:
    text = repr(value)
    return ImageError(name, field, value if len(text) < 200 else f"{text[:200]}...", expected)


@final
class Decoder:
    """Takes bytes as they come and gives the sections.  ImageError for what is none.

    name: what the stream is called in errors; head: whether it begins with one (answers do not).
    """

    def __init__(self, name: str, *, head: bool = True) -> None:
        self.name = name
        self.received = 0
        self._data = bytearray()
        self._digest = blake2b(digest_size=32)
        self._head = head

    def feed(self, data: bytes) -> Iterator[Section]:
        """The sections that are whole now."""
        self.received += len(data)
        self._data += data
        if self._head and not self._begun():
            return
        while len(self._data) >= _SECTION.size:
            tag, size = _SECTION.unpack_from(self._data)
            self._check_head(tag, size)
            if len(self._data) < _SECTION.size + size:
                return
            whole = bytes(self._data[: _SECTION.size + size])
            del self._data[: _SECTION.size + size]
            content = whole[_SECTION.size :]
            if tag == b"END_":
                if content != self._digest.digest():
                    raise _wrong(self.name, "digest", content.hex(), self._digest.hexdigest())
            else:
                self._digest.update(whole)
            yield Section(tag, content)

    def _begun(self) -> bool:
        given = bytes(self._data[: len(MAGIC)])
        if given != MAGIC[: len(given)]:
            raise _wrong(self.name, "magic", given, repr(MAGIC))
        if len(self._data) < len(MAGIC) + 4:
            return False
        (version,) = struct.unpack_from("<I", self._data, len(MAGIC))
        if version != STREAM_VERSION:
            raise _wrong(self.name, "version", version, f"{STREAM_VERSION}, which this program reads")
        self._digest.update(self._data[: len(MAGIC) + 4])
        del self._data[: len(MAGIC) + 4]
        self._head = False
        return True

    def _check_head(self, tag: bytes, size: int) -> None:
        most = _LONGEST.get(tag)
        if most is None:
            raise _wrong(self.name, "section", tag, " or ".join(tag.decode() for tag in _LONGEST))
        if size > most:
            raise _wrong(self.name, f"{tag.decode()}.length", size, f"at most {most:#x}")

    def end(self) -> None:
        """No more comes.  ImageError where something is missing of a section."""
        if self._head or self._data:
            raise _wrong(self.name, "length", f"{self.received} bytes", "a whole stream")


_LONGEST: Final[Mapping[bytes, int]] = {
    b"CONF": MAX_SECTION,
    b"PAGE": _RUN.size + MAX_RUN * PAGE,
    b"ZPAG": _RUN.size + 2 * MAX_RUN * PAGE,
    b"ZERO": _RUN.size,
    b"REST": MAX_SECTION,
    b"END_": 32,
    b"GO__": 0,
    b"OKAY": 0,
    b"FAIL": MAX_REASON,
}


@final
class Arrival:
    """Puts a guest that arrives into a machine in which nothing has run.

    Pages go into memory as they come, all else when everything has come and was found good.  Until `ready` the
    machine's memory is neither the old nor the new one.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self._name = name
        self._configured = False
        self._rest: tuple[Snapshot, RunState] | None = None
        self._held: dict[int, bytes] = {}
        config = machine.config
        self._most_held = MAX_SECTION + (config.max_memory or config.memory) - config.memory
        self.ready = False
        """Whether everything came and is good: `take` may be called."""
        self.released = False
        """Whether the sender has let go of the guest."""
        for address in machine.memory.used_pages():
            machine.memory.load(address, bytes(PAGE))
        self._places = _memory(machine)

    def section(self, section: Section) -> None:
        """Take a section.  ImageError for a bad one, or one out of order."""
        tag, content = section.tag, section.content
        if not self._configured:
            self._expect(tag, b"CONF")
            self._check_config(content)
            self._configured = True
        elif self.ready:
            self._expect(tag, b"GO__")
            self.released = True
        elif self._rest is not None:
            self._expect(tag, b"END_")
            self.ready = True
        elif tag == b"REST":
            self._rest = self._read_rest(content)
        elif tag in (b"PAGE", b"ZPAG", b"ZERO"):
            self._pages(tag, content)
        else:
            self._expect(tag, b"REST")

    @property
    def runs(self) -> bool:
        """Whether the guest that has come was running."""
        return self._rest is not None and self._rest[1] is RunState.RUNNING

    def take(self) -> RunState:
        """Make the machine the guest's; what it was doing."""
        assert self._rest is not None
        snapshot, state = self._rest
        self._machine.restore(snapshot, memory=False)
        places = _memory(self._machine)
        for address, content in self._held.items():
            # What was taken away meanwhile has nowhere to go.
            if _inside(places, address):
                self._machine.memory.load(address, content)
        return state

    def _expect(self, tag: bytes, expected: bytes) -> None:
        if tag != expected:
            raise _wrong(self._name, "section", tag, expected.decode())

    def _plain(self, name: str, content: bytes) -> Any:
        try:
            return cbor.decode(content)
        except CborError as error:
            raise _wrong(self._name, f"{name} at {error.offset:#x}", error.value, error.expected) from error

    def _check_config(self, content: bytes) -> None:
        given, ours = self._plain("CONF", content), _fields(self._machine.config)
        if not isinstance(given, dict) or given.keys() != ours.keys():
            strange = sorted(given.keys() ^ ours.keys()) if isinstance(given, dict) else given
            raise _wrong(self._name, "config", strange, "the fields of MachineConfig")
        for name, value in ours.items():
            if given[name] != value:
                raise _wrong(self._name, f"config.{name}", _shown(given[name]), repr(_shown(value)))

    def _read_rest(self, content: bytes) -> tuple[Snapshot, RunState]:
        """Everything but memory, tried on a machine that is thrown away."""
        plain = self._plain("REST", content)
        expected = {*_KINDS, "devices"}
        if not isinstance(plain, dict) or plain.keys() != expected:
            given = sorted(plain) if isinstance(plain, dict) else plain
            raise _wrong(self._name, "state", given, ", ".join(sorted(expected)))
        values = {name: self._typed(kind, plain[name], name) for name, kind in _KINDS.items()}
        state = values.pop("state")
        with _scratch(self._machine.config, self._name) as trial:
            try:
                trial.plug.restore(values["plugged"])
            except Exception as error:
                text = f"{type(error).__name__}: {error}"
                raise _wrong(self._name, "plugged", text, "devices of the machine") from error
            devices = self._read_devices(trial, plain["devices"])
            snapshot = Snapshot(config=self._machine.config, devices=devices, pages={}, **values)
            try:
                trial.restore(snapshot, memory=False)
            except Exception as error:
                # The types are right; that a part of the machine cannot be in such a state is the sender's fault too.
                text = f"{type(error).__name__}: {error}"
                raise _wrong(self._name, "state", text, "a state that the machine takes") from error
        return snapshot, state

    def _read_devices(self, machine: Machine, plain: Any) -> dict[str, Any]:
        kinds = {path: type(state) for path, state in machine.board.save().items()}
        if not isinstance(plain, dict) or plain.keys() != kinds.keys():
            given = sorted(plain) if isinstance(plain, dict) else plain
            raise _wrong(self._name, "devices", given, "a state for each of " + ", ".join(kinds))
        return {path: self._typed(kind, plain[path], f"devices.{path}") for path, kind in kinds.items()}

    def _typed(self, kind: Any, value: object, path: str) -> Any:
        try:
            return from_plain(kind, value, path)
        except TypedError as error:
            raise _wrong(self._name, error.path, error.value, error.expected) from error

    def _pages(self, tag: bytes, content: bytes) -> None:
        name = tag.decode()
        if len(content) < _RUN.size:
            raise _wrong(self._name, f"{name}.length", len(content), f"at least {_RUN.size}")
        address, count = _RUN.unpack_from(content)
        if not 1 <= count <= MAX_RUN and tag != b"ZERO":
            raise _wrong(self._name, f"{name}.count", count, f"1 to {MAX_RUN}")
        size = count * PAGE
        if address % PAGE or address + size > 1 << 52:
            raise _wrong(self._name, f"{name}.address", address, "the address of a page")
        if tag == b"ZERO":
            self._load(address, count, None)
            return
        data = content[_RUN.size :]
        if tag == b"ZPAG":
            data = self._inflate(data, size)
        if len(data) != size:
            raise _wrong(self._name, f"{name}.content", f"{len(data)} bytes", f"{size} bytes")
        self._load(address, count, data)

    def _load(self, address: int, count: int, data: bytes | None) -> None:
        if any(begin <= address and address + count * PAGE <= end for begin, end in self._places) and data is not None:
            self._machine.memory.load(address, data)
            return
        for index in range(count):
            at = address + index * PAGE
            page = bytes(PAGE) if data is None else data[index * PAGE : (index + 1) * PAGE]
            if _inside(self._places, at):
                self._machine.memory.load(at, page)
            else:
                # Memory that is only there once a device says so.
                self._held[at] = page
                if len(self._held) * PAGE > self._most_held:
                    raise _wrong(self._name, "PAGE.address", at, "RAM or ROM of the machine")

    def _inflate(self, data: bytes, size: int) -> bytes:
        stream = zlib.decompressobj()
        try:
            content = stream.decompress(data, size + 1)
        except zlib.error as error:
            raise _wrong(self._name, "ZPAG.content", str(error), "a zlib stream") from error
        if not stream.eof or stream.unused_data:
            raise _wrong(self._name, "ZPAG.content", f"{len(content)} bytes", f"a zlib stream of exactly {size} bytes")
        return content


def _scratch(config: MachineConfig, name: str) -> Machine:
    try:
        return Machine(config, takes_files=False)
    except (VmcoreError, OSError, MemoryError) as error:
        raise _wrong(name, "config", str(error), "a configuration that can be built here") from error


def _memory(machine: Machine) -> list[tuple[int, int]]:
    return [(begin, begin + size) for begin, size, kind in machine.memory.regions() if kind in ("RAM", "ROM")]


def _inside(places: list[tuple[int, int]], address: int) -> bool:
    return any(begin <= address and address + PAGE <= end for begin, end in places)


def _shown(value: Any) -> Any:
    """A field of a configuration for people."""
    if isinstance(value, list) and len(value) == 2:
        return value[1].hex() if value[0] == "hash" and isinstance(value[1], bytes) else value[1]
    return value
