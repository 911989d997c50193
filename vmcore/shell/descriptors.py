"""Sets of file descriptors that a client handed over, for back ends that take a set's number in place of a path."""

from __future__ import annotations

import fcntl
import os
from typing import Final, final

from attrs import frozen

from vmcore.model.errors import UsageError

__all__ = ["PREFIX", "DescriptorSets", "HeldDescriptor"]

PREFIX: Final = "/dev/fdset/"
"""What the path of a set begins with; its number follows."""


@frozen
class HeldDescriptor:
    """A descriptor in a set.  opaque: whatever its giver wanted to remember about it."""

    fd: int
    opaque: str | None = None


@final
class DescriptorSets:
    """`vm.fdsets`: sets of descriptors by number.  What is in them is closed when it is removed or the machine ends."""

    def __init__(self) -> None:
        self._sets: dict[int, list[HeldDescriptor]] = {}

    def add(self, fd: int, number: int | None = None, opaque: str | None = None) -> int:
        """Put a descriptor into a set (a new one, with the lowest free number, if None); the number of the set."""
        if number is None:
            number = next(n for n in range(len(self._sets) + 1) if n not in self._sets)
        self._sets.setdefault(number, []).append(HeldDescriptor(fd, opaque))
        return number

    def remove(self, number: int, fd: int | None = None) -> None:
        """Close one descriptor of a set, or all.  UsageError if there is no such set or descriptor."""
        held = self._sets.get(number, [])
        chosen = [h for h in held if fd is None or h.fd == fd]
        if not chosen:
            what = f"fdset-id:{number}" if fd is None else f"fdset-id:{number}, fd:{fd}"
            raise UsageError(f"File descriptor named '{what}' not found")
        for h in chosen:
            os.close(h.fd)
            held.remove(h)
        if not held:
            del self._sets[number]

    def open(self, path: str, access: int) -> int:
        """A duplicate of the descriptor that "/dev/fdset/N" stands for: the first of the set that allows the access
        (os.O_RDONLY, os.O_WRONLY or os.O_RDWR).  UsageError if there is none.
        """
        number = path.removeprefix(PREFIX)
        held = self._sets.get(int(number), []) if number.isdecimal() else []
        for h in held:
            if fcntl.fcntl(h.fd, fcntl.F_GETFL) & os.O_ACCMODE in (access, os.O_RDWR):
                return fcntl.fcntl(h.fd, fcntl.F_DUPFD_CLOEXEC, 0)
        raise UsageError(f"Could not open '{path}': no descriptor for this access is in the set")

    def all(self) -> dict[int, tuple[HeldDescriptor, ...]]:
        """Every set by its number."""
        return {number: tuple(held) for number, held in self._sets.items()}

    def close(self) -> None:
        """Close everything."""
        for held in self._sets.values():
            for h in held:
                os.close(h.fd)
        self._sets.clear()
