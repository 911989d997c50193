"""Where a loader's parts go in guest memory: only into RAM, and never over each other."""

from __future__ import annotations

from attrs import define, field, frozen

from vmcore.firmware.boot_image import LoadSegment
from vmcore.firmware.platform import MemoryKind, PlatformLayout
from vmcore.model.errors import ImageError

__all__ = ["LOWEST", "Placement"]

LOWEST = 0x1000
"""Below it lie the real-mode interrupt vectors and the BIOS data area."""

TOP_OF_32_BITS = 1 << 32


@frozen
class _Claim:
    start: int
    end: int
    name: str


def _up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


@define
class Placement:
    """Collects the segments of one boot image.

    file: the name of the file on whose behalf memory is claimed; errors carry it.
    """

    file: str
    layout: PlatformLayout
    _claims: list[_Claim] = field(factory=list, init=False)
    _segments: list[LoadSegment] = field(factory=list, init=False)

    def put(
        self,
        address: int,
        data: bytes,
        name: str,
        *,
        size: int | None = None,
        clear: bool = False,
        file: str | None = None,
    ) -> int:
        """Places `data` at `address` and keeps `size` bytes (default: its length) from there free of anything else.

        clear: the bytes between the end of the data and `size` are to be zero.
        """
        room = len(data) if size is None else size
        self.claim(address, room, name, file=file)
        zeroes = room - len(data) if clear else 0
        if data or zeroes:
            self._segments.append(LoadSegment(address, data, name, clear=zeroes))
        return address

    def claim(self, start: int, size: int, name: str, *, file: str | None = None) -> None:
        """Takes [start, start + size), which must be RAM and free."""
        end = start + size
        who = file or self.file
        if not self._is_ram(start, end):
            raise ImageError(who, name, start, f"{size:#x} bytes of RAM there; RAM is {self._describe_ram()}")
        for claim in self._claims:
            if start < claim.end and claim.start < end:
                raise ImageError(
                    who, name, start, f"{size:#x} bytes not overlapping {claim.name} at {claim.start:#x}-{claim.end:#x}"
                )
        if size:
            self._claims.append(_Claim(start, end, name))

    def fill(self, address: int, data: bytes, name: str) -> None:
        """Gives content to a range that was claimed before it was known."""
        self._segments.append(LoadSegment(address, data, name))

    def fits(self, start: int, size: int) -> bool:
        """Whether [start, start + size) is RAM and free."""
        end = start + size
        return self._is_ram(start, end) and not any(start < c.end and c.start < end for c in self._claims)

    def low(
        self, data: bytes, name: str, *, size: int | None = None, alignment: int = 16, lowest: int = LOWEST
    ) -> int:
        """Places `data` at the lowest free address from `lowest` upwards, within 32 bits."""
        room = max(len(data) if size is None else size, 1)
        starts = [lowest, *(claim.end for claim in self._claims), *(start for start, _ in self._ram())]
        for start in sorted({_up(max(start, lowest), alignment) for start in starts}):
            if start + room <= TOP_OF_32_BITS and self.fits(start, room):
                return self.put(start, data, name, size=room)
        raise ImageError(self.file, name, room, f"as many bytes of free RAM from {lowest:#x} on")

    def high(
        self, data: bytes, name: str, *, limit: int = TOP_OF_32_BITS, alignment: int = 4096, file: str | None = None
    ) -> int:
        """Places `data` at the highest free address from 1 MiB upwards so that it ends at or below `limit`."""
        room = max(len(data), 1)
        ends = [limit, *(claim.start for claim in self._claims), *(end for _, end in self._ram())]
        for end in sorted({min(end, limit) for end in ends}, reverse=True):
            start = (end - room) // alignment * alignment
            if start >= 1 << 20 and self.fits(start, room):
                return self.put(start, data, name, size=room, file=file)
        raise ImageError(file or self.file, name, room, f"as many bytes of free RAM between 1 MiB and {limit:#x}")

    def segments(self, *more: LoadSegment) -> tuple[LoadSegment, ...]:
        """All that was placed, and `more` (ROM and tables outside RAM), in address order."""
        return tuple(sorted([*self._segments, *more], key=lambda segment: segment.address))

    def _ram(self) -> list[tuple[int, int]]:
        return [(r.start, r.end) for r in self.layout.memory_map() if r.kind is MemoryKind.RAM]

    def _is_ram(self, start: int, end: int) -> bool:
        return start >= 0 and any(low <= start and end <= high for low, high in self._ram())

    def _describe_ram(self) -> str:
        return ", ".join(f"{start:#x}-{end:#x}" for start, end in self._ram())
