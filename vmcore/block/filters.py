"""Nodes above another one: a part of it, a layer that takes the writes, and one that makes requests fail."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

from vmcore.block.node import (
    SECTOR,
    BlockNode,
    Fault,
    NodeState,
    OverlayState,
    RuleState,
    StateRule,
)
from vmcore.model.errors import CommandError

__all__ = ["DebugNode", "OverlayNode", "RawNode"]


class RawNode(BlockNode):
    """The node below as it is, or a part of it.

    offset: where the part begins; size: its length, None for all there is, whatever that becomes.
    """

    driver = "raw"

    def __init__(
        self, name: str, file: BlockNode, *, offset: int = 0, size: int | None = None, read_only: bool = False
    ) -> None:
        super().__init__(name, read_only=read_only)
        if size is not None and size % SECTOR:
            raise CommandError("GenericError", f"Specified size is not multiple of {SECTOR}")
        if offset > file.size:
            raise CommandError(
                "GenericError",
                f"Offset ({offset}) cannot be greater than size of the containing file ({file.size})",
            )
        if size is not None and offset + size > file.size:
            raise CommandError(
                "GenericError",
                f"The sum of offset ({offset}) and size ({size}) has to be smaller or equal to the "
                f" actual size of the containing file ({file.size})",
            )
        self._file = file
        self._offset = offset
        self._length = size
        file.users.append(self)

    @property
    def children(self) -> Mapping[str, BlockNode]:
        return {"file": self._file}

    @property
    def size(self) -> int:
        return max(self._file.size - self._offset, 0) if self._length is None else self._length

    def read(self, offset: int, length: int) -> bytes:
        self._file.note("read_aio")
        return self._file.read(self._offset + offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._file.note("write_aio")
        self._file.write(self._offset + offset, data)
        self._file.statistics.highest_offset = max(
            self._file.statistics.highest_offset, self._offset + offset + len(data)
        )

    def flush(self) -> None:
        self._file.note("flush_to_disk")
        self._file.flush()

    @property
    def can_resize(self) -> bool:
        return self._length is None and self._file.can_resize

    def resize(self, size: int) -> None:
        self._file.resize(self._offset + size)


class OverlayNode(BlockNode):
    """Takes the writes to a node below that stays as it is.  What was written is part of the machine's state.

    Kept in pieces of 4 KiB; a write of a part of one copies the rest from below.
    """

    driver = "overlay"

    PIECE: Final = 4096

    def __init__(self, name: str, backing: BlockNode) -> None:
        super().__init__(name)
        self._backing = backing
        self._pieces: dict[int, bytes] = {}
        backing.users.append(self)

    @property
    def children(self) -> Mapping[str, BlockNode]:
        return {"backing": self._backing}

    @property
    def size(self) -> int:
        return self._backing.size

    def read(self, offset: int, length: int) -> bytes:
        piece, pieces = self.PIECE, self._pieces
        first, last = offset // piece, (offset + length - 1) // piece
        if not pieces or not any(number in pieces for number in range(first, last + 1)):
            return self._backing.read(offset, length)
        parts = []
        number = first
        while number <= last:
            kept = pieces.get(number)
            if kept is not None:
                parts.append(kept)
                number += 1
                continue
            begin = number
            while number <= last and number not in pieces:
                number += 1
            parts.append(self._backing.read(begin * piece, (number - begin) * piece))
        skip = offset - first * piece
        return b"".join(parts)[skip : skip + length]

    def write(self, offset: int, data: bytes) -> None:
        piece = self.PIECE
        end = offset + len(data)
        # All that may fail comes first, so that a failed write changes nothing.
        made: dict[int, bytes] = {}
        for number in range(offset // piece, -(-end // piece)):
            begin = number * piece
            low, high = max(offset, begin), min(end, begin + piece)
            part = bytes(data[low - offset : high - offset])
            if len(part) < piece:
                old = self._pieces.get(number) or self._backing.read(begin, piece)
                part = old[: low - begin] + part + old[high - begin :]
            made[number] = part
        self._pieces.update(made)

    def flush(self) -> None:
        """Nothing to do: what was written outlives this process only in a snapshot."""

    def save(self) -> NodeState:
        return OverlayState(tuple(sorted(self._pieces.items())))

    def restore(self, state: NodeState) -> None:
        assert isinstance(state, OverlayState)
        self._pieces = dict(state.pieces)


class DebugNode(BlockNode):
    """Passes everything to the node below, but for the requests that its rules let fail."""

    driver = "blkdebug"

    def __init__(
        self,
        name: str,
        image: BlockNode,
        *,
        faults: Sequence[Fault] = (),
        states: Sequence[StateRule] = (),
        seed: int = 0,
        read_only: bool = False,
    ) -> None:
        super().__init__(name, read_only=read_only)
        self._image = image
        self._faults = tuple(faults)
        self._states = tuple(states)
        self._seed = seed
        self._hits = [[0, 0] for _ in faults]
        self._active: set[int] = set()
        self._state = 1
        self._rolls = 0
        image.users.append(self)

    @property
    def children(self) -> Mapping[str, BlockNode]:
        return {"image": self._image}

    @property
    def size(self) -> int:
        return self._image.size

    @property
    def filename(self) -> str:
        return f"blkdebug::{self._image.filename}"

    def note(self, event: str) -> None:
        before = self._state
        for rule in self._states:
            if rule.event == event and rule.state in (None, 0, before):
                self._state = rule.new_state
        for index, fault in enumerate(self._faults):
            if fault.event == event and fault.state in (None, 0, before):
                self._active.add(index)
        self._image.note(event)

    def read(self, offset: int, length: int) -> bytes:
        self._check("read", offset, length)
        return self._image.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        self._check("write", offset, len(data))
        self._image.write(offset, data)

    def flush(self) -> None:
        self._check("flush", 0, 0)
        self._image.flush()

    @property
    def can_resize(self) -> bool:
        return self._image.can_resize

    def resize(self, size: int) -> None:
        self._image.resize(size)

    def _check(self, operation: str, offset: int, length: int) -> None:
        for index, fault in enumerate(self._faults):
            if fault.operation not in ("any", operation):
                continue
            if fault.event is not None and index not in self._active:
                continue
            if fault.event is None and fault.state not in (None, 0, self._state):
                continue
            if fault.offset is not None and (
                operation == "flush" or offset >= fault.offset + fault.length or fault.offset >= offset + length
            ):
                continue
            seen = self._hits[index]
            seen[0] += 1
            if seen[0] <= fault.skip or (fault.count is not None and seen[1] >= fault.count):
                continue
            if fault.probability < 1 and self._roll() >= fault.probability:
                continue
            seen[1] += 1
            raise OSError(fault.errno, os.strerror(fault.errno))

    def _roll(self) -> float:
        self._rolls += 1
        drawn = blake2b(f"{self._seed} {self._rolls}".encode(), digest_size=7, person=b"blkdebug").digest()
        return int.from_bytes(drawn, "little") / (1 << 56)

    def save(self) -> NodeState:
        hits = tuple((seen, struck) for seen, struck in self._hits)
        return RuleState(hits, tuple(sorted(self._active)), self._state, self._rolls)

    def restore(self, state: NodeState) -> None:
        assert isinstance(state, RuleState)
        self._hits = [list(hit) for hit in state.hits]
        self._active = set(state.active)
        self._state, self._rolls = state.state, state.rolls
