"""Block nodes: what disks are made of.

A node has a size in bytes and can be read, written and flushed at any offset.  Protocol nodes (`file`, `null-co`,
`memory`) hold the bytes; others (`raw`, `blkdebug`, `overlay`) change what passes to the node below.  Names and
drivers are those of QEMU's block layer; `memory` and `overlay` are ours.

Everything is synchronous, and happens at the guest time at which a device asks.  Failures of the host raise OSError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Final, final

from attrs import field, frozen

from vmcore.model.errors import UsageError

__all__ = [
    "SECTOR",
    "BlockNode",
    "Fault",
    "FileMark",
    "NodeOptions",
    "NodeState",
    "NodeStatistics",
    "OverlayState",
    "RuleState",
    "StateRule",
]

SECTOR: Final = 512
"""Bytes of a sector, the unit in which sizes of disks are told."""


@final
class NodeStatistics:
    """What has passed through a node."""

    __slots__ = ("highest_offset",)

    def __init__(self) -> None:
        self.highest_offset = 0
        """End of the highest write so far, in bytes."""


@frozen
class FileMark:
    """What tells whether a file of the host has changed: its size and when it was written last."""

    size: int
    mtime_ns: int


@frozen
class OverlayState:
    """What was written, by the number of the piece."""

    pieces: tuple[tuple[int, bytes], ...]


@frozen
class RuleState:
    """State of a fault-injecting node.  hits: how often each rule was looked at and how often it struck; active: the
    rules that an event has armed; state: the node's state variable; rolls: random numbers drawn.
    """

    hits: tuple[tuple[int, int], ...]
    active: tuple[int, ...]
    state: int
    rolls: int


NodeState = OverlayState | RuleState | None
"""What a node remembers beside its options.  None: nothing."""


class BlockNode(ABC):
    """A node of the block graph.  name: its node name; read_only: writes are refused."""

    driver: ClassVar[str]
    """Name of the driver, as on the wire."""

    def __init__(self, name: str, *, read_only: bool = False) -> None:
        self.name = name
        self.read_only = read_only
        self.users: list[object] = []
        """The nodes above and the drives that use this one."""
        self.statistics = NodeStatistics()
        self.closed = False

    # What a node owes

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """The bytes from `offset` on; those behind a protocol node's end are zeros."""

    @abstractmethod
    def write(self, offset: int, data: bytes) -> None:
        """Replace the bytes from `offset` on."""

    def flush(self) -> None:
        """When this returns, everything written so far outlives a crash of the host, as far as the node keeps it."""
        for child in self.children.values():
            child.flush()

    # What a node may have

    @property
    def children(self) -> Mapping[str, BlockNode]:
        """The nodes below, by their role: `file`, `image` or `backing`."""
        return {}

    @property
    def filename(self) -> str:
        """What management calls the content."""
        return next((child.filename for child in self.children.values()), "")

    @property
    def allocated(self) -> int | None:
        """Bytes that the content takes on the host, None if that is unknown."""
        return next((child.allocated for child in self.children.values()), None)

    def resize(self, size: int) -> None:
        """Change the size.  OSError where that cannot be."""
        raise NotImplementedError(self.driver)

    @property
    def can_resize(self) -> bool:
        """Whether there is `resize`."""
        return False

    def note(self, event: str) -> None:
        """A node above says what it is about to do: the events of the fault-injecting node."""
        for child in self.children.values():
            child.note(event)

    def save(self) -> NodeState:
        """What it remembers beside its options, as a value."""
        return None

    def restore(self, state: NodeState) -> None:
        """Take a saved state."""
        if state is not None:
            raise UsageError(f"{self.name}: a node of driver {self.driver} has no state of its own")

    def close(self) -> None:
        """Give up what it holds of the host.  Again: nothing happens."""
        self.closed = True

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


@frozen(kw_only=True)
class Fault:
    """A rule of a fault-injecting node: which requests fail, and how.

    operation: "read", "write", "flush" or "any"; errno: what the host seems to say; offset, length: the bytes that a
    request has to touch (all of them without an offset); event: None, or the rule waits until a node above has said
    this event (`read_aio`, `write_aio`, `flush_to_disk`); state: None, or the node's state in which it holds; skip:
    matching requests that pass first; count: how often it strikes at most (None: for ever); probability: of striking,
    drawn from the node's seed.
    """

    operation: str = "any"
    errno: int = 5
    offset: int | None = None
    length: int = SECTOR
    event: str | None = None
    state: int | None = None
    skip: int = 0
    count: int | None = None
    probability: float = 1.0


@frozen(kw_only=True)
class StateRule:
    """A rule of a fault-injecting node: on this event, in this state (None: any), it takes a new state."""

    event: str
    state: int | None = None
    new_state: int


@frozen(kw_only=True)
class NodeOptions:
    """What a node is made from: one class for all drivers, each of which looks at its own.

    child: name of the node below (`raw`, `blkdebug`, `overlay`); filename, locking ("auto", "on", "off"): of `file`;
    offset, size: the part of the child that `raw` shows, size also of `null-co` and `memory` (None: all of it, and
    1 GiB); read_zeroes: `null-co` gives zeros; content: of `memory`; faults, states, seed: of `blkdebug`.
    implicit: the node was made along with the one above, and goes with it.
    """

    driver: str
    name: str
    read_only: bool = False
    child: str | None = None
    filename: str = ""
    locking: str = "auto"
    offset: int = 0
    size: int | None = None
    read_zeroes: bool = True
    content: bytes = field(default=b"", repr=False)
    faults: tuple[Fault, ...] = ()
    states: tuple[StateRule, ...] = ()
    seed: int = 0
    implicit: bool = False
