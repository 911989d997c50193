"""Memory back ends, lent to a machine for its memory modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from vmcore.machine.plug import generic
from vmcore.shell.user_objects import MemoryObject

if TYPE_CHECKING:
    from vmcore.machine.memory_backend import MemoryBackend
    from vmcore.shell.objects import Objects

__all__ = ["LentMemory"]


@final
class LentMemory:
    """The back ends among a user's objects, as a `MemorySource`."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._lent: dict[str, MemoryBackend] = {}

    def size(self, id: str) -> int | None:
        found = self._objects.get(id)
        return found.size if isinstance(found, MemoryObject) else None

    def check(self, id: str) -> None:
        found = self._objects.get(id)
        assert isinstance(found, MemoryObject)
        if found.in_use:
            raise generic(f"can't use already busy memdev: {id}")
        if found.memory is not None and found.memory.readonly:
            raise generic(f"memory backend {id}: a module cannot be made of memory that is not written")

    def lend(self, id: str, size: int) -> memoryview | None:
        """A machine that is restored may have modules whose back ends are gone: those are its own."""
        found = self._objects.get(id)
        if not isinstance(found, MemoryObject) or found.in_use or found.memory is None or found.size != size:
            return None
        if found.memory.readonly:
            return None
        found.memory.users += 1
        self._lent[id] = found.memory
        return found.memory.view()[:size]

    def give_back(self, id: str) -> None:
        memory = self._lent.pop(id, None)
        if memory is not None:
            memory.users -= 1
