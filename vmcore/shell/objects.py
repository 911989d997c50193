"""The objects that a user made, by `vm.objects`: memory back ends, I/O threads, sources of random bytes, secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, final

import trio

from vmcore.boards.kinds import BOARDS
from vmcore.hardware.tree import ObjectTree
from vmcore.machine.machine import Machine
from vmcore.machine.memory_backend import MemoryBackend
from vmcore.machine.memory_options import MemoryBackendOption, complete_numa, is_identifier, used_backends
from vmcore.model.errors import UsageError
from vmcore.model.keyval import check, parse
from vmcore.model.machine import Memdev
from vmcore.model.misc import IOThreadInfo
from vmcore.model.qom import MemoryBackendProperties, ObjectOptions
from vmcore.shell.lent_memory import LentMemory
from vmcore.shell.user_objects import IoThread, MemoryObject, UserObject, check_memory_options, make

if TYPE_CHECKING:
    from vmcore.machine.config import MachineConfig
    from vmcore.vm import VirtualMachine

__all__ = ["Objects"]


@final
class Objects:
    """`vm.objects`.  Each object is at /objects/ID in the object tree.

    first: what there is from the beginning, the configuration's memory back ends aside; private: a fork, whose memory
    shall not show in the files of what it was forked from.
    """

    def __init__(self, vm: VirtualMachine, first: Iterable[ObjectOptions]) -> None:
        self._vm = vm
        self._first = tuple(first)
        self._objects: dict[str, UserObject] = {}
        self._tree: ObjectTree | None = None
        self.private = False

    # --- for users

    def __iter__(self) -> Iterator[UserObject]:
        return iter(tuple(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, id: object) -> bool:
        return id in self._objects

    def get(self, id: str) -> UserObject | None:
        """The object of this name; None if there is none."""
        return self._objects.get(id)

    def __getitem__(self, id: str) -> UserObject:
        if id not in self._objects:
            raise UsageError(f"object '{id}' not found")
        return self._objects[id]

    async def add(self, options: ObjectOptions | str) -> UserObject:
        """Make an object: "memory-backend-ram,id=m0,size=16M", or one of the classes of ObjectOptions.

        UsageError where it cannot be made, ConfigError where the options are not even well-formed.
        """
        await trio.lowlevel.checkpoint()
        self._vm._check_entered()
        if isinstance(options, str):
            options = parse(ObjectOptions, options, "object")
        else:
            check(options, "object")
        return self._make(options)

    async def remove(self, id: str) -> None:
        """Unmake an object.  UsageError for one that is in use."""
        await trio.lowlevel.checkpoint()
        self._vm._check_entered()
        found = self[id]
        used = any(backend.id == id for backend in used_backends(self._vm.config))
        if found.in_use or used:
            raise UsageError(f"object '{id}' is in use, can not be deleted")
        del self._objects[id]
        if self._tree is not None:
            self._tree.remove(f"/objects/{id}")
        found.close()

    def memdevs(self) -> tuple[Memdev, ...]:
        """The memory back ends."""
        return tuple(each.info() for each in self if isinstance(each, MemoryObject))

    def iothreads(self) -> tuple[IOThreadInfo, ...]:
        """The I/O threads."""
        return tuple(each.info() for each in self if isinstance(each, IoThread))

    # --- for the shell

    def memory_sizes(self) -> dict[str, int]:
        """Bytes of each memory back end, by name."""
        return {each.id: each.size for each in self if isinstance(each, MemoryObject)}

    def memory_options(self, id: str) -> MemoryBackendOption:
        """The options that a memory back end was made of."""
        return self._memory(id).options

    def open(self, tree: ObjectTree | None) -> None:
        """Make what there is from the beginning.  tree: where it is until there is a machine."""
        self._tree = tree
        for options in (*self._first, *self._vm.config.memory_backends):
            self._make(options)

    def _make(self, options: ObjectOptions) -> UserObject:
        if not is_identifier(options.id):
            raise UsageError("Parameter 'id' expects an identifier")
        if isinstance(options, MemoryBackendProperties):
            check_memory_options(options)
        if options.id in self._objects:
            raise UsageError(f"attempt to add duplicate property '{options.id}' to object (type 'container')")
        if options.id == BOARDS[self._vm.config.board].ram and self._vm.config.memory_backend != options.id:
            raise UsageError(
                f"object name '{options.id}' is reserved for the default RAM backend, it can't be used for any other "
                "purposes. Change the object's 'id' to something else"
            )
        made = make(options, find=self.get, seed=self._vm.config.seed, private=self.private)
        self._place(made)
        return made

    def _place(self, made: UserObject) -> None:
        self._objects[made.id] = made
        if self._tree is not None:
            self._tree.add(f"/objects/{made.id}", made)

    def build(self, config: MachineConfig, *, takes_files: bool = True) -> Machine:
        """The machine, its RAM made of the back ends that are meant for that, and the objects in its tree.

        takes_files: see Machine.
        """
        complete_numa(config)
        used = [self._memory(backend.id) for backend in used_backends(config)]
        machine = Machine(
            config,
            ram=[memory.view() for memory in used],
            memory_source=LentMemory(self),
            takes_files=takes_files,
        )
        self._tree = machine.tree
        for each in self:
            machine.tree.add(f"/objects/{each.id}", each)
        for memory in used:
            memory.users += 1
        if not used:
            self._place(MemoryObject(BOARDS[config.board].ram, "memory-backend-ram", config.memory, None))
        return machine

    def _memory(self, id: str) -> MemoryBackend:
        found = self[id]
        assert isinstance(found, MemoryObject)
        assert found.memory is not None
        if found.memory.readonly:
            raise UsageError(f"memory backend {id}: RAM cannot be made of memory that is not written")
        return found.memory

    def close(self) -> None:
        """Give everything back to the host."""
        while self._objects:
            self._objects.popitem()[1].close()
