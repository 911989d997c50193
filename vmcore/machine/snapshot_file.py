"""Snapshots in files.

The format has a version of its own, apart from the program's.  A file is:

    magic      8 bytes   "vmcore" 1A 0A
    version    uint32    FORMAT_VERSION
    sections             tag (4 letters), length (uint64), content; in this order:
      CONF  the configuration            CPUS  state of each vCPU      SCHD  whose turn it is, and the time
      PLUG  devices that are plugged in, and instructions at the latest reset
      DEVS  state of each device         SERI  of the serial ports     OFF_  what switched the machine off
      INPT  what had reached the machine                       FILE  of the disks: their sizes and when last written
      PAGE  any number: a run of pages that are not all zeros: address (uint64), number of pages (uint32), content
            (a zlib stream); in the order of addresses
      END_  BLAKE2b of 32 bytes of everything before this section

Numbers are little-endian.  The sections but PAGE and END_ are CBOR (RFC 8949) of values as `vmcore.machine.typed`
makes them plain.  There is no class in a file, only values: their types come from the machine that its configuration
describes.  A snapshot of a machine whose states have other fields than the program's is refused, field by field.

Written and read as a stream: beside the snapshot itself no more than the largest section is held at a time.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, BinaryIO, Final

import attrs

from vmcore.block.node import FileMark
from vmcore.engine import CpuState
from vmcore.machine import cbor
from vmcore.machine.cbor import CborError
from vmcore.machine.config import MachineConfig
from vmcore.machine.inputs import InputRecord
from vmcore.machine.machine import Machine
from vmcore.machine.plug import Plugged
from vmcore.machine.scheduler import SchedulerState
from vmcore.machine.serial_port import SerialPortState
from vmcore.machine.snapshot import PAGE, Snapshot
from vmcore.machine.typed import TypedError, from_plain, to_plain
from vmcore.model.errors import ImageError, VmcoreError
from vmcore.model.exits import DebugExit, GuestFaulted, ShutdownRequested

__all__ = ["FORMAT_VERSION", "load_snapshot", "save_snapshot"]

MAGIC: Final = b"vmcore\x1a\x0a"
FORMAT_VERSION: Final = 2

MAX_SECTION: Final = 4 << 30
"""Bytes of a section at most: kernels and disks may lie in it."""
MAX_RUN: Final = 256
"""Pages of one PAGE section at most."""
PIECE: Final = 1 << 20

_SECTION: Final = struct.Struct("<4sQ")
_RUN: Final = struct.Struct("<QI")
_Plug = tuple[tuple[Plugged, ...], int]
_Off = ShutdownRequested | DebugExit | GuestFaulted | None


# --- writing


class _Writer:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = blake2b(digest_size=32)

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        view = memoryview(data)
        while view:
            # A raw file may take a part of it.
            view = view[self.file.write(view) :]

    def section(self, tag: bytes, content: bytes) -> None:
        self.write(_SECTION.pack(tag, len(content)))
        self.write(content)

    def value(self, tag: bytes, hint: Any, value: object) -> None:
        self.section(tag, cbor.encode(to_plain(hint, value)))


def save_snapshot(snapshot: Snapshot, file: BinaryIO) -> None:
    """Write a snapshot to a binary file or stream, from where it stands."""
    writer = _Writer(file)
    writer.write(MAGIC + struct.pack("<I", FORMAT_VERSION))
    writer.value(b"CONF", MachineConfig, snapshot.config)
    writer.value(b"CPUS", tuple[CpuState, ...], snapshot.cpus)
    writer.value(b"SCHD", SchedulerState, snapshot.scheduler)
    writer.value(b"PLUG", _Plug, (snapshot.plugged, snapshot.reset_at))
    devices = {path: to_plain(type(state), state) for path, state in snapshot.devices.items()}
    writer.section(b"DEVS", cbor.encode(devices))
    writer.value(b"SERI", tuple[SerialPortState, ...], snapshot.serial)
    writer.value(b"OFF_", _Off, snapshot.off)
    writer.value(b"INPT", tuple[InputRecord, ...], snapshot.inputs)
    writer.value(b"FILE", Mapping[str, FileMark], snapshot.files)
    for address, pages in _runs(snapshot.pages):
        writer.section(b"PAGE", _RUN.pack(address, len(pages)) + zlib.compress(b"".join(pages), 1))
    writer.section(b"END_", writer.digest.digest())


def _runs(pages: Mapping[int, bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Adjacent pages together, in the order of addresses."""
    begin, run = 0, list[bytes]()
    for address in sorted(pages):
        if run and (address != begin + len(run) * PAGE or len(run) == MAX_RUN):
            yield begin, run
            run = []
        if not run:
            begin = address
        run.append(pages[address])
    if run:
        yield begin, run


# --- reading


class _Reader:
    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file = file
        self.name = name
        self.digest = blake2b(digest_size=32)

    def wrong(self, field: str, value: object, expected: str) -> ImageError:
        text = repr(value)
        return ImageError(self.name, field, value if len(text) < 200 else f"{text[:200]}...", expected)

    def read(self, size: int, field: str) -> bytes:
        """Exactly so much.  A length that is a lie costs no more memory than there is file."""
        data = bytearray()
        while len(data) < size:
            piece = self.file.read(min(PIECE, size - len(data)))
            if not piece:
                raise self.wrong(field, f"{len(data)} bytes", f"{size} bytes")
            data += piece
        self.digest.update(data)
        return bytes(data)

    def head(self) -> tuple[bytes, int]:
        tag, size = _SECTION.unpack(self.read(_SECTION.size, "section"))
        if size > MAX_SECTION:
            raise self.wrong(f"{tag.decode('latin-1')}.length", size, f"at most {MAX_SECTION:#x}")
        return tag, size

    def plain(self, tag: bytes) -> Any:
        """Content of the section that has to come now."""
        name = tag.decode()
        found, size = self.head()
        if found != tag:
            raise self.wrong("section", found, name)
        content = self.read(size, name)
        try:
            return cbor.decode(content)
        except CborError as error:
            raise self.wrong(f"{name} at {error.offset:#x}", error.value, error.expected) from error

    def value(self, tag: bytes, hint: Any, path: str) -> Any:
        return self.typed(hint, self.plain(tag), path)

    def typed(self, hint: Any, value: object, path: str) -> Any:
        try:
            return from_plain(hint, value, path)
        except TypedError as error:
            raise self.wrong(error.path, error.value, error.expected) from error


def load_snapshot(file: BinaryIO, *, config: MachineConfig | None = None, name: str | None = None) -> Snapshot:
    """Read a snapshot from a binary file or stream, up to the snapshot's end.

    config: what its configuration has to be.  Give it for files of doubtful origin: a configuration names files, a
    kernel for example, that are opened when a machine is built from it.
    name: what the file is called in errors.

    ImageError for anything in it that is wrong, a configuration that cannot be built here included.
    """
    reader = _Reader(file, name if name is not None else str(getattr(file, "name", "snapshot")))
    magic = reader.read(len(MAGIC), "magic")
    if magic != MAGIC:
        raise reader.wrong("magic", magic, repr(MAGIC))
    (version,) = struct.unpack("<I", reader.read(4, "version"))
    if version != FORMAT_VERSION:
        raise reader.wrong("version", version, f"{FORMAT_VERSION}, which this program reads")
    found: MachineConfig = reader.value(b"CONF", MachineConfig, "config")
    if config is not None and found != config:
        field = next(f.name for f in attrs.fields(MachineConfig) if getattr(found, f.name) != getattr(config, f.name))
        raise reader.wrong(f"config.{field}", getattr(found, field), repr(getattr(config, field)))
    cpus: tuple[CpuState, ...] = reader.value(b"CPUS", tuple[CpuState, ...], "cpus")
    scheduler: SchedulerState = reader.value(b"SCHD", SchedulerState, "scheduler")
    try:
        machine = Machine(found, takes_files=False)
    except (VmcoreError, OSError, MemoryError) as error:
        raise reader.wrong("config", str(error), "a configuration that can be built here") from error
    with machine:
        plugged, reset_at = reader.value(b"PLUG", _Plug, "plugged")
        try:
            machine.plug.restore(plugged)
        except Exception as error:
            raise reader.wrong("plugged", f"{type(error).__name__}: {error}", "devices of the machine") from error
        snapshot = Snapshot(
            config=found,
            cpus=cpus,
            scheduler=scheduler,
            devices=_devices(reader, machine),
            plugged=plugged,
            reset_at=reset_at,
            serial=reader.value(b"SERI", tuple[SerialPortState, ...], "serial"),
            pages={},
            off=reader.value(b"OFF_", _Off, "off"),
            inputs=reader.value(b"INPT", tuple[InputRecord, ...], "inputs"),
            files=reader.value(b"FILE", Mapping[str, FileMark], "files"),
        )
        try:
            machine.restore(snapshot)
        except Exception as error:
            # The types are right; that a part of the machine cannot be in such a state is the file's fault too.
            raise reader.wrong("state", f"{type(error).__name__}: {error}", "a state that the machine takes") from error
        return attrs.evolve(snapshot, pages=_pages(reader, machine))


def _devices(reader: _Reader, machine: Machine) -> dict[str, Any]:
    kinds = {path: type(state) for path, state in machine.board.save().items()}
    plain = reader.plain(b"DEVS")
    if not isinstance(plain, dict) or plain.keys() != kinds.keys():
        given = sorted(plain) if isinstance(plain, dict) else plain
        raise reader.wrong("devices", given, "a state for each of " + ", ".join(kinds))
    return {path: reader.typed(kind, plain[path], f"devices.{path}") for path, kind in kinds.items()}


def _pages(reader: _Reader, machine: Machine) -> dict[int, bytes]:
    pages: dict[int, bytes] = {}
    memory = [(begin, begin + size) for begin, size, kind in machine.memory.regions() if kind in ("RAM", "ROM")]
    behind = 0
    while True:
        # The digest's own section, head included, is not part of what it is of.
        digest = reader.digest.digest()
        tag, size = reader.head()
        if tag == b"END_":
            if size != len(digest):
                raise reader.wrong("END_.length", size, str(len(digest)))
            given = reader.read(size, "digest")
            if given != digest:
                raise reader.wrong("digest", given.hex(), digest.hex())
            return pages
        if tag != b"PAGE":
            raise reader.wrong("section", tag, "PAGE or END_")
        if not _RUN.size < size <= _RUN.size + 2 * MAX_RUN * PAGE:
            raise reader.wrong("PAGE.length", size, f"a run of at most {MAX_RUN} pages")
        address, count = _RUN.unpack(reader.read(_RUN.size, "PAGE"))
        if not 1 <= count <= MAX_RUN:
            raise reader.wrong("PAGE.count", count, f"1 to {MAX_RUN}")
        if address % PAGE or address < behind or address + count * PAGE > 1 << 52:
            raise reader.wrong("PAGE.address", address, f"the address of a page from {behind:#x} to {1 << 52:#x}")
        behind = address + count * PAGE
        content = _inflate(reader, reader.read(size - _RUN.size, "PAGE"), count * PAGE)
        for index in range(count):
            at = address + index * PAGE
            if not any(begin <= at and at + PAGE <= end for begin, end in memory):
                raise reader.wrong("PAGE.address", at, "RAM or ROM of the machine")
            pages[at] = content[index * PAGE : (index + 1) * PAGE]


def _inflate(reader: _Reader, data: bytes, size: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise reader.wrong("PAGE.content", str(error), "a zlib stream") from error
    if len(content) != size or not stream.eof or stream.unused_data:
        raise reader.wrong("PAGE.content", f"{len(content)} bytes", f"a zlib stream of exactly {size} bytes")
    return content
