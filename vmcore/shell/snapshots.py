"""Snapshots by name: `vm.snapshots`.

They are kept in memory, and go with the virtual machine; `vm.snapshot()` and `vmcore.machine.snapshot_file` are for
snapshots that are kept elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

from attrs import frozen

from vmcore.machine.snapshot import PAGE, Snapshot
from vmcore.model.errors import UsageError
from vmcore.model.run_state import RunState
from vmcore.shell.standstill import stand_still, stand_up

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["NamedSnapshot", "Snapshots"]


@frozen
class NamedSnapshot:
    """A snapshot that is kept.

    tag: its name; date: when it was made (time.time()); guest_ns, instructions: guest time and retired instructions.
    """

    tag: str
    date: float
    guest_ns: int
    instructions: int
    snapshot: Snapshot

    @property
    def size(self) -> int:
        """Bytes of memory in it."""
        return len(self.snapshot.pages) * PAGE


@final
class Snapshots:
    """Saving and loading the machine under names.  A running guest is stopped meanwhile, with Stop and Resume."""

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm
        self._kept: dict[str, NamedSnapshot] = {}

    @property
    def kept(self) -> tuple[NamedSnapshot, ...]:
        """All that there are, in the order in which they were made."""
        return tuple(self._kept.values())

    async def save(self, tag: str | None = None) -> NamedSnapshot:
        """Keep the machine as it is, under a name; one that had it is replaced.  None: a name with the time in it."""
        now = time.time()
        name = tag if tag is not None else time.strftime("vm-%Y%m%d%H%M%S", time.localtime(now))
        if not name:
            raise UsageError("a snapshot needs a name")
        async with self._vm.parked() as machine:
            with self._held(RunState.SAVE_VM):
                made: list[Snapshot] = []
                await self._vm.in_engine_thread(lambda: made.append(machine.save()))
                self._kept.pop(name, None)
                self._kept[name] = kept = NamedSnapshot(name, now, machine.now_ns, machine.instructions, made[0])
        return kept

    async def load(self, tag: str) -> None:
        """Go back to a snapshot.  A guest that runs goes on from there, any other is PAUSED.

        UsageError, and nothing done, for no such name.
        """
        if tag not in self._kept:
            raise UsageError(f"Snapshot '{tag}' does not exist in one or more devices")
        snapshot = self._kept[tag].snapshot
        async with self._vm.parked() as machine:
            with self._held(RunState.RESTORE_VM):
                await self._vm.in_engine_thread(lambda: machine.restore(snapshot))

    def delete(self, tag: str) -> None:
        """Forget a snapshot.  UsageError for no such name."""
        if self._kept.pop(tag, None) is None:
            raise UsageError(f"Snapshot '{tag}' does not exist in one or more devices")

    @contextmanager
    def _held(self, state: RunState) -> Iterator[None]:
        vm = self._vm
        if vm.state in (RunState.INMIGRATE, RunState.FINISH_MIGRATE):
            raise UsageError(f"the guest is on its way (state {vm.state.value})")
        before, ran = stand_still(vm, state)
        after = before
        try:
            yield
            if state is RunState.RESTORE_VM:
                after = RunState.PAUSED
        finally:
            stand_up(vm, after, ran)
