"""The physical memory map: an ordered set of disjoint regions.

The map says what is where.  The machine tells the engine of it, and of every change by `on_change`; RAM and ROM are
then reached by the engine directly, and only device regions come back here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, final

from attrs import field, frozen

from vmcore.hardware.device import Device
from vmcore.model.errors import ConfigError


@frozen
class Ram:
    """`size` bytes of the machine's RAM at physical address `base`, from `offset` of the RAM on."""

    base: int
    size: int
    name: str
    offset: int = 0


@frozen
class Rom:
    """Memory that the guest can only read.  Writes are swallowed.  `contents` is `size` bytes long."""

    base: int
    size: int
    name: str
    contents: bytes = field(repr=False)


@frozen
class Alias:
    """A window of `size` bytes at `base` that shows what is at physical address `target`."""

    base: int
    size: int
    name: str
    target: int


@frozen
class Mmio:
    """`size` bytes at `base` answered by `device` from its register `offset` on."""

    base: int
    size: int
    name: str
    device: Device[Any] = field(repr=False)
    offset: int = 0


Region = Ram | Rom | Alias | Mmio


def describe(region: Region) -> str:
    """A region as people name it: `ROM bios at 0xf0000-0xfffff`."""
    kind = type(region).__name__
    kind = kind.upper() if len(kind) < 5 else kind.lower()
    return f"{kind} {region.name} at {region.base:#x}-{region.base + region.size - 1:#x}"


@final
class MemoryMap:
    """The regions of the physical address space, ordered by address and disjoint."""

    __slots__ = ("_bases", "_regions", "address_bits", "on_change")

    def __init__(self, address_bits: int = 52) -> None:
        self.address_bits = address_bits
        self.on_change: Callable[[], None] | None = None
        """Called after every change, so that the engine can be told."""
        self._regions: list[Region] = []
        self._bases: list[int] = []

    def add(self, region: Region) -> None:
        """Add a region.  It must lie apart from all others."""
        self._check(region)
        self._insert(region)
        self._changed()

    def remove(self, region: Region) -> None:
        """Take a region out."""
        self._delete(region)
        self._changed()

    def replace(self, old: Region, new: Region) -> None:
        """Put `new` in the place of `old` in one step (shadowed ROM, a moved device)."""
        self._delete(old)
        try:
            self._check(new)
        except ConfigError:
            self._insert(old)
            raise
        self._insert(new)
        self._changed()

    def at(self, address: int) -> Region | None:
        """The region that holds the byte at `address`."""
        index = bisect_right(self._bases, address) - 1
        if index < 0:
            return None
        region = self._regions[index]
        return region if address < region.base + region.size else None

    def resolve(self, address: int) -> tuple[Ram | Rom | Mmio, int] | None:
        """The RAM, ROM or device region behind `address`, following aliases, and the offset into that region."""
        for _ in range(len(self._regions) + 1):
            region = self.at(address)
            if region is None:
                return None
            if not isinstance(region, Alias):
                return region, address - region.base
            address = address - region.base + region.target
        return None  # Aliases that lead in a circle show nothing.

    def read(self, address: int, size: int) -> int:
        """A guest's read of a device region; all ones where there is none.  It does not cross regions."""
        found = self.resolve(address)
        if found is not None and isinstance(region := found[0], Mmio):
            return region.device.mmio_read(region.offset + found[1], size)
        return (1 << 8 * size) - 1

    def write(self, address: int, value: int, size: int) -> None:
        """A guest's write to a device region; lost where there is none.  It does not cross regions."""
        found = self.resolve(address)
        if found is not None and isinstance(region := found[0], Mmio):
            region.device.mmio_write(region.offset + found[1], value, size)

    def __iter__(self) -> Iterator[Region]:
        return iter(tuple(self._regions))

    def __len__(self) -> int:
        return len(self._regions)

    def _check(self, new: Region) -> None:
        end = 1 << self.address_bits
        if new.base < 0 or new.size < 1 or new.base + new.size > end:
            raise ConfigError("memory", describe(new), f"addresses between 0x0 and {end - 1:#x}")
        if isinstance(new, Rom) and len(new.contents) != new.size:
            raise ConfigError("memory", describe(new), f"contents of {new.size:#x} bytes, not {len(new.contents):#x}")
        for old in self._regions:
            if new.base < old.base + old.size and old.base < new.base + new.size:
                raise ConfigError("memory", describe(new), f"addresses apart from {describe(old)}")

    def _insert(self, region: Region) -> None:
        index = bisect_right(self._bases, region.base)
        self._regions.insert(index, region)
        self._bases.insert(index, region.base)

    def _delete(self, region: Region) -> None:
        index = self._regions.index(region)
        del self._regions[index], self._bases[index]

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
