"""Address decoding: what shows at an address when the guest can move it.

A board's fixed regions (`MemoryMap`, `PortSpace`) are where they are.  Everything that moves, or comes and goes, is a
`Claim`: base address registers of PCI functions, shadow memory, the page of a local APIC.  Claims may overlap each
other and what is fixed, because nobody can keep a guest from programming that.  At each address

1. what is fixed wins (RAM among it),
2. then the claim of the lowest `order`, a tuple that says by itself who it is: the outcome never depends on the order
   in which a guest did things, and a restored machine decodes as the saved one did.

Memory behind a claim (video memory, an expansion ROM, shadow RAM) has a *home*: a physical address from 2**51 on, which
no processor can form.  There it is part of the machine's memory and of snapshots, wherever the guest shows it, and
whether it shows it at all.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

from attrs import frozen

from vmcore.engine.memory import PhysicalMemory
from vmcore.hardware.device import Device
from vmcore.hardware.memory_map import MemoryMap
from vmcore.hardware.ports import PortRange, PortSpace

__all__ = ["Accessors", "Claim", "HiddenMemory", "MemoryDecoder", "Planes", "PortDecoder", "Registers", "Target"]

PAGE: Final = 4096
HOMES: Final = 1 << 51
"""Where hidden memory begins."""


@frozen(eq=False)
class Registers:
    """Answered by `device` from its register `offset` on."""

    device: Device[Any]
    offset: int = 0


@frozen(eq=False)
class HiddenMemory:
    """`size` bytes of RAM or ROM at their home, from there on reached by `PhysicalMemory.read`, `write` and `load`.

    read_only: the guest's writes through this view are lost.
    """

    home: int
    size: int
    read_only: bool = False

    def part(self, offset: int, size: int, *, read_only: bool | None = None) -> HiddenMemory:
        """A view of `size` bytes from `offset` on; whole pages."""
        return HiddenMemory(self.home + offset, size, self.read_only if read_only is None else read_only)


@frozen(eq=False)
class Accessors:
    """Answered by two functions, as the engine calls them: read(offset, size) and write(offset, value, size)."""

    read: Callable[[int, int], int]
    write: Callable[[int, int, int], None]


@frozen(eq=False)
class Planes:
    """A VGA's planes in `memory`, answered by the engine as `registers` say (see `vmcore.devices.vga_memory`)."""

    memory: HiddenMemory
    registers: bytearray


Target = Registers | HiddenMemory | Accessors | Planes


@frozen(eq=False)
class Claim:
    """`size` bytes or ports from `base` on show `target`.  order: lower wins; no two claims have the same."""

    base: int
    size: int
    target: Target
    order: tuple[int, ...]
    name: str = ""


Piece = tuple[int, int]
"""A range that shows: its first address, and the first behind it."""


def _visible(fixed: Iterable[Piece], claims: Sequence[Claim]) -> dict[Piece, Claim]:
    """What shows of each claim."""
    taken = sorted(fixed)
    pieces: dict[Piece, Claim] = {}
    for claim in sorted(claims, key=lambda claim: claim.order):
        at, end = claim.base, claim.base + claim.size
        free: list[Piece] = []
        for first, behind in taken:
            if behind <= at:
                continue
            if first >= end:
                break
            if first > at:
                free.append((at, first))
            at = behind
        if at < end:
            free.append((at, end))
        for piece in free:
            insort(taken, piece)
            first, behind = piece
            if isinstance(claim.target, HiddenMemory | Planes):  # Only whole pages of memory can show.
                first, behind = first + -first % PAGE, behind - behind % PAGE
            if first < behind:
                pieces[first, behind] = claim
    return pieces


class _Decoder:
    """Keeps what the engine shows in step with the claims.  They take effect once it is connected."""

    __slots__ = ("_claims", "_connected", "_shown")

    def __init__(self) -> None:
        self._claims: list[Claim] = []
        self._shown: dict[Piece, Claim] = {}
        self._connected = False

    def add(self, *claims: Claim) -> None:
        """Let these show."""
        self.change(add=claims)

    def remove(self, *claims: Claim) -> None:
        """Take these away."""
        self.change(remove=claims)

    def change(self, *, remove: Iterable[Claim] = (), add: Iterable[Claim] = ()) -> None:
        """Both in one step.  A guest's access that caused it still gets the answer of who was asked."""
        for claim in remove:
            self._claims.remove(claim)
        self._claims.extend(add)
        if self._connected:
            self._show()

    def connect(self) -> None:
        """What is fixed is in place: show the claims from now on."""
        self._connected = True
        self._show()

    @property
    def shown(self) -> list[tuple[int, int, Claim]]:
        """What shows, by address: first address, size, claim."""
        return [(first, behind - first, claim) for (first, behind), claim in sorted(self._shown.items())]

    def _show(self) -> None:
        wanted = _visible(self._fixed(), self._claims)
        shown = self._shown
        for piece, claim in tuple(shown.items()):
            if wanted.get(piece) is not claim:
                del shown[piece]
                self._unmap(piece)
        for piece, claim in wanted.items():
            if piece not in shown:
                self._map(piece, claim)
                shown[piece] = claim

    def _fixed(self) -> Iterable[Piece]:
        raise NotImplementedError

    def _map(self, piece: Piece, claim: Claim) -> None:
        raise NotImplementedError

    def _unmap(self, piece: Piece) -> None:
        raise NotImplementedError


@final
class MemoryDecoder(_Decoder):
    """Decodes physical addresses."""

    __slots__ = ("_homes", "_map_fixed", "memory")

    def __init__(self, memory: PhysicalMemory, fixed: MemoryMap) -> None:
        super().__init__()
        self.memory = memory
        self._map_fixed = fixed
        self._homes: list[HiddenMemory] = []

    def allocate(self, size: int, *, rom: bool = False, contents: bytes = b"") -> HiddenMemory:
        """Memory that shows nowhere yet: `size` bytes, whole pages, zero behind `contents`."""
        home = HOMES
        for other in self._homes:  # By address: the first gap that is wide enough.
            if other.home - home >= size:
                break
            home = other.home + other.size
        hidden = HiddenMemory(home, size, read_only=rom)
        self.memory.map_ram(home, size, rom=rom, contents=contents or None)
        insort(self._homes, hidden, key=lambda one: one.home)
        return hidden

    def free(self, hidden: HiddenMemory) -> None:
        """Give memory back to the host.  No claim shows it any more."""
        self._homes.remove(hidden)
        self.memory.unmap(hidden.home, hidden.size)

    def at(self, address: int) -> tuple[Claim, int] | None:
        """The claim that shows at an address, and the offset into it."""
        for (first, behind), claim in self._shown.items():
            if first <= address < behind:
                return claim, address - claim.base
        return None

    def _fixed(self) -> Iterable[Piece]:
        return ((region.base, region.base + region.size) for region in self._map_fixed)

    def _map(self, piece: Piece, claim: Claim) -> None:
        start, size, skip = piece[0], piece[1] - piece[0], piece[0] - claim.base
        match claim.target:
            case Registers(device=device, offset=offset):
                self.memory.map_device(
                    start,
                    size,
                    device.mmio_read,
                    device.mmio_write,
                    offset=offset + skip,
                    cells=device.cells.buffers,
                    readers=device.readers(),
                    writers=device.writers(),
                    counter=None if device.counter is None else device.counter.description,
                )
            case HiddenMemory(home=home, read_only=read_only):
                self.memory.map_alias(start, size, home + skip, rom=read_only)
            case Planes(memory=planes, registers=registers):
                self.memory.map_planes(start, size, planes.home, registers, offset=skip)
            case Accessors(read=read, write=write):
                self.memory.map_device(start, size, read, write, offset=skip)

    def _unmap(self, piece: Piece) -> None:
        self.memory.unmap(piece[0], piece[1] - piece[0])


@final
class PortDecoder(_Decoder):
    """Decodes ports.  Claims lead to `Registers`."""

    __slots__ = ("_engine_map", "_engine_unmap", "_ranges", "ports")

    def __init__(
        self, ports: PortSpace, engine_map: Callable[[PortRange], None], engine_unmap: Callable[[PortRange], None]
    ) -> None:
        super().__init__()
        self.ports = ports
        self._engine_map = engine_map
        self._engine_unmap = engine_unmap
        self._ranges: dict[Piece, PortRange] = {}

    def _fixed(self) -> Iterable[Piece]:
        ours = set(map(id, self._ranges.values()))
        return ((one.base, one.base + one.length) for one in self.ports.ranges if id(one) not in ours)

    def _map(self, piece: Piece, claim: Claim) -> None:
        target = claim.target
        assert isinstance(target, Registers)
        offset = target.offset + piece[0] - claim.base
        claimed = self.ports.claim(piece[0], piece[1] - piece[0], target.device, claim.name, offset)
        self._ranges[piece] = claimed
        self._engine_map(claimed)

    def _unmap(self, piece: Piece) -> None:
        claimed = self._ranges.pop(piece)
        self.ports.release(claimed)
        self._engine_unmap(claimed)
