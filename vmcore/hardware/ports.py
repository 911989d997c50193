"""The x86 I/O port space: 64 Ki ports, each claimed by at most one device."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, cast, final, runtime_checkable

from attrs import frozen

from vmcore.hardware.device import Device
from vmcore.model.errors import ConfigError

PORTS = 0x10000


@runtime_checkable
class BulkPorts(Protocol):
    """A device that takes repeated string I/O (`rep insw`, `rep outsw`) in one call."""

    def read_bulk(self, offset: int, size: int, count: int) -> bytes:
        """`count` reads of `size` bytes at `offset`, little endian, one after the other."""

    def write_bulk(self, offset: int, size: int, data: bytes) -> None:
        """Writes of `size` bytes at `offset`, one after the other, until `data` is used up."""


@cache
def _takes_bulk(kind: type) -> bool:
    return issubclass(kind, BulkPorts)


def bulk_ports(device: Device[Any]) -> BulkPorts | None:
    """The device itself if it takes string I/O in one call."""
    return cast("BulkPorts", device) if _takes_bulk(type(device)) else None


@frozen
class PortRange:
    """`length` ports from `base` on, answered by `device` from its register `offset` on."""

    base: int
    length: int
    name: str
    device: Device[Any]
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.name} at ports {self.base:#06x}-{self.base + self.length - 1:#06x}"


@final
class PortSpace:
    """Routes port accesses to devices.  Ports that nobody claimed read as ones and swallow writes."""

    __slots__ = ("_bulk", "_claims", "_readers", "_writers", "ranges")

    def __init__(self) -> None:
        self.ranges: list[PortRange] = []
        """All claimed ranges, by port."""
        self._claims: dict[int, PortRange] = {}
        # Everything that an access needs, by (port, size): one look-up on the way of every access.
        self._readers: dict[tuple[int, int], tuple[Callable[[int, int], int], int]] = {}
        self._writers: dict[tuple[int, int], tuple[Callable[[int, int, int], None], int]] = {}
        self._bulk: dict[int, tuple[BulkPorts, int]] = {}

    def claim(self, base: int, length: int, device: Device[Any], name: str = "", offset: int = 0) -> PortRange:
        """Give `length` ports from `base` on to `device`, whose registers they show from `offset` on."""
        new = PortRange(base, length, name or type(device).__name__, device, offset)
        if base < 0 or length < 1 or base + length > PORTS:
            raise ConfigError("ports", str(new), f"ports between 0x0000 and {PORTS - 1:#06x}")
        for old in self.ranges:
            if base < old.base + old.length and old.base < base + length:
                raise ConfigError("ports", str(new), f"ports apart from {old}")
        self.ranges.append(new)
        self.ranges.sort(key=lambda claimed: claimed.base)
        bulk = bulk_ports(device)
        for index in range(length):
            self._claims[base + index] = new
            if bulk is not None:
                self._bulk[base + index] = bulk, offset + index
            for size in (1, 2, 4):
                if index + size <= length:
                    self._readers[base + index, size] = device.port_read, offset + index
                    self._writers[base + index, size] = device.port_write, offset + index
        return new

    def release(self, claimed: PortRange) -> None:
        """Take a range back."""
        self.ranges.remove(claimed)
        for port in range(claimed.base, claimed.base + claimed.length):
            del self._claims[port]
            self._bulk.pop(port, None)
            for size in (1, 2, 4):
                self._readers.pop((port, size), None)
                self._writers.pop((port, size), None)

    def at(self, port: int) -> PortRange | None:
        """The range that `port` belongs to."""
        return self._claims.get(port)

    def read(self, port: int, size: int) -> int:
        """Read `size` (1, 2 or 4) bytes at `port`."""
        found = self._readers.get((port, size))
        if found is not None:
            return found[0](found[1], size)
        if size == 1:
            return 0xFF
        # Past the end of a range, or nobody's: byte by byte, each to its own.
        return sum(self.read(port + lane & PORTS - 1, 1) << 8 * lane for lane in range(size))

    def write(self, port: int, value: int, size: int) -> None:
        """Write `size` (1, 2 or 4) bytes at `port`."""
        found = self._writers.get((port, size))
        if found is not None:
            found[0](found[1], value, size)
        elif size > 1:
            for lane in range(size):
                self.write(port + lane & PORTS - 1, value >> 8 * lane & 0xFF, 1)

    def read_bulk(self, port: int, size: int, count: int) -> bytes:
        """What `count` reads of `size` bytes at `port` give, one after the other."""
        bulk = self._bulk.get(port)
        if bulk is not None:
            return bulk[0].read_bulk(bulk[1], size, count)
        return b"".join(self.read(port, size).to_bytes(size, "little") for _ in range(count))

    def write_bulk(self, port: int, size: int, data: bytes) -> None:
        """Writes of `size` bytes at `port`, one after the other, until `data` is used up."""
        bulk = self._bulk.get(port)
        if bulk is not None:
            bulk[0].write_bulk(bulk[1], size, data)
            return
        for start in range(0, len(data), size):
            self.write(port, int.from_bytes(data[start : start + size], "little"), size)
