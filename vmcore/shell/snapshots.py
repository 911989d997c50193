"""Snapshots by name: `vm.snapshots`.

They are kept in memory, and go with the virtual machine; `vm.snapshot()` and `vmcore.machine.snapshot_file` are for
snapshots that are kept elsewhere.

`save`, `load` and `delete` are of all disks.  The jobs that management starts say which disks they are of: a snapshot
has a name in each, as with QEMU, where it is part of the images.  Here it is in memory all the same, and the node
that is said to take the machine's state takes nothing; it is checked, and has to be the same when loading.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

from attrs import evolve, frozen

from vmcore.machine.snapshot import PAGE, Snapshot
from vmcore.model.errors import CommandError, UsageError, VmcoreError
from vmcore.model.jobs import JobType
from vmcore.model.run_state import RunState
from vmcore.shell.jobs import Job
from vmcore.shell.snapshot_layers import all_layers, layers, of_layers
from vmcore.shell.standstill import stand_still, stand_up

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["NamedSnapshot", "Snapshots"]


@frozen
class NamedSnapshot:
    """A snapshot that is kept.

    tag: its name; date: when it was made (time.time()); guest_ns, instructions: guest time and retired instructions;
    layers: the names of the layers of disks that it is of; vmstate: the one that the machine's state is said to be in,
    None if none was named.
    """

    tag: str
    date: float
    guest_ns: int
    instructions: int
    snapshot: Snapshot
    layers: frozenset[str] = frozenset()
    vmstate: str | None = None

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
            return await self._save(machine, name, now, all_layers(machine.block), None)

    async def load(self, tag: str) -> None:
        """Go back to a snapshot, with all the disks that it is of; others stay as they are.

        A guest that runs goes on from there, one in PRELAUNCH stays there, and any other is PAUSED.  UsageError, and
        nothing done, for no such name.  Where the snapshot does not fit any more, a guest that ran is left in
        RESTORE_VM.
        """
        if tag not in self._kept:
            raise UsageError(_missing(tag))
        async with self._vm.parked() as machine:
            await self._load(machine, self._kept[tag].snapshot)

    def delete(self, tag: str) -> None:
        """Forget a snapshot.  UsageError for no such name."""
        if self._kept.pop(tag, None) is None:
            raise UsageError(_missing(tag))

    # --- as jobs

    async def save_job(self, job_id: str, tag: str, vmstate: str, devices: Sequence[str]) -> Job:
        """Keep the machine under a name that none of these disks has a snapshot of; the job is at its end then.

        vmstate: which of them the machine's state is said to be in; devices: names of nodes.  CommandError for a name
        of a job that cannot be; all else is the job's error.
        """

        async def work(job: Job) -> None:
            with _one_step(job):
                async with self._vm.parked() as machine:
                    found = layers(machine.block, devices)
                    if self._has(tag, found.values()):
                        raise CommandError("GenericError", f"Snapshot '{tag}' already exists in one or more devices")
                    _check_vmstate(vmstate, found)
                    if not job.cancelled:
                        await self._save(machine, tag, time.time(), frozenset(found.values()), found[vmstate])
                    if job.cancelled:
                        self._kept.pop(tag, None)

        return await self._vm.jobs.run(job_id, JobType.SNAPSHOT_SAVE, work)

    async def load_job(self, job_id: str, tag: str, vmstate: str, devices: Sequence[str]) -> Job:
        """Go back to a snapshot with these disks, and leave others as they are.

        A guest that ran is stopped, in RESTORE_VM, if that fails.
        """

        async def work(job: Job) -> None:
            with _one_step(job):
                async with self._vm.parked() as machine:
                    try:
                        found = layers(machine.block, devices)
                        if not self._has(tag, found.values()):
                            raise CommandError("GenericError", _missing(tag))
                        _check_vmstate(vmstate, found)
                        if self._kept[tag].vmstate not in (None, found[vmstate]):
                            # The two spaces are QEMU's.
                            text = "This is a disk-only snapshot. Revert to it  offline using qemu-img"
                            raise CommandError("GenericError", text)
                    except CommandError:
                        if self._vm.free_running:
                            stand_still(self._vm, RunState.RESTORE_VM)
                        raise
                    await self._load(machine, of_layers(self._kept[tag].snapshot, machine.block, found.values()))

        return await self._vm.jobs.run(job_id, JobType.SNAPSHOT_LOAD, work)

    async def delete_job(self, job_id: str, tag: str, devices: Sequence[str]) -> Job:
        """Forget a snapshot of these disks; it is gone when it is of none any more.  No such name is no mistake."""

        async def work(job: Job) -> None:
            with _one_step(job):
                async with self._vm.parked() as machine:
                    found = layers(machine.block, devices)
                    kept = self._kept.get(tag)
                    if kept is not None:
                        left = kept.layers - set(found.values())
                        if left:
                            self._kept[tag] = evolve(kept, layers=left)
                        else:
                            del self._kept[tag]

        return await self._vm.jobs.run(job_id, JobType.SNAPSHOT_DELETE, work)

    def _has(self, tag: str, names: Iterable[str]) -> bool:
        """Whether all these layers have a snapshot of this name."""
        return tag in self._kept and self._kept[tag].layers.issuperset(names)

    # --- for who holds the machine parked

    async def _save(
        self, machine: Machine, tag: str, date: float, names: frozenset[str], vmstate: str | None
    ) -> NamedSnapshot:
        with self._held(RunState.SAVE_VM):
            made: list[Snapshot] = []
            await self._vm.in_engine_thread(lambda: made.append(machine.save()))
            kept = NamedSnapshot(tag, date, machine.now_ns, machine.instructions, made[0], names, vmstate)
            self._kept.pop(tag, None)
            self._kept[tag] = kept
        return kept

    async def _load(self, machine: Machine, snapshot: Snapshot) -> None:
        with self._held(RunState.RESTORE_VM):
            await self._vm.in_engine_thread(lambda: machine.restore(snapshot))

    @contextmanager
    def _held(self, state: RunState) -> Iterator[None]:
        vm = self._vm
        if vm.state in (RunState.INMIGRATE, RunState.FINISH_MIGRATE):
            raise UsageError(f"the guest is on its way (state {vm.state.value})")
        before, ran = stand_still(vm, state)
        after = before
        try:
            yield
            if state is RunState.RESTORE_VM and before is not RunState.PRELAUNCH:
                after = RunState.PAUSED
        except VmcoreError:
            if ran and state is RunState.RESTORE_VM:
                after, ran = state, False  # Nobody knows how much of it was restored.
            raise
        finally:
            stand_up(vm, after, ran)


def _missing(tag: str) -> str:
    return f"Snapshot '{tag}' does not exist in one or more devices"


def _check_vmstate(vmstate: str, found: Mapping[str, str]) -> None:
    if vmstate not in found:
        raise CommandError("GenericError", f"vmstate block device '{vmstate}' does not exist")


@contextmanager
def _one_step(job: Job) -> Iterator[None]:
    job.total = 1
    try:
        yield
    finally:
        job.progress = 1
