"""Jobs, and the snapshots that are made by them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.jobs import JobInfo
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("query-jobs", since="3.0")
async def query_jobs(vm: VirtualMachine) -> tuple[JobInfo, ...]:
    """The jobs that there are, the latest first; those that are concluded are there until they are dismissed."""
    return tuple(job.info for job in vm.jobs.all)


@command("job-pause", since="3.0")
async def job_pause(vm: VirtualMachine, *, id: str) -> None:
    """Let a job rest as soon as it can.  GenericError for one that is at its end, or paused."""
    vm.jobs.find(id).pause()


@command("job-resume", since="3.0")
async def job_resume(vm: VirtualMachine, *, id: str) -> None:
    """Let a paused job go on.  GenericError for one that is not paused."""
    vm.jobs.find(id).resume()


@command("job-cancel", since="3.0")
async def job_cancel(vm: VirtualMachine, *, id: str) -> None:
    """Give a job up: it ends as one that failed.  GenericError for one that has ended."""
    vm.jobs.find(id).cancel()


@command("job-complete", since="3.0")
async def job_complete(vm: VirtualMachine, *, id: str) -> None:
    """Let a job that is ready come to its end.  GenericError for one that is not."""
    vm.jobs.find(id).complete()


@command("job-dismiss", since="3.0")
async def job_dismiss(vm: VirtualMachine, *, id: str) -> None:
    """Forget a concluded job.  GenericError for one that is not concluded."""
    vm.jobs.find(id).dismiss()


@command("job-finalize", since="3.0")
async def job_finalize(vm: VirtualMachine, *, id: str) -> None:
    """Let a pending job end.  GenericError for one that is not pending."""
    vm.jobs.find(id).finalize()


@command("snapshot-save", since="6.0")
async def snapshot_save(vm: VirtualMachine, *, job_id: str, tag: str, vmstate: str, devices: tuple[str, ...]) -> None:
    """Keep the machine as it is, as a job, which is at its end when this returns; query-jobs says whether it failed.

    The snapshot is kept in memory, and ends with the machine.  tag: its name, which none of the disks has a snapshot
    of; vmstate: which of them the machine's state is said to be in; devices: names of block nodes whose writes go to a
    layer in memory: the disks that it is of.
    """
    await vm.snapshots.save_job(job_id, tag, vmstate, devices)


@command("snapshot-load", since="6.0")
async def snapshot_load(vm: VirtualMachine, *, job_id: str, tag: str, vmstate: str, devices: tuple[str, ...]) -> None:
    """Go back to a snapshot, as a job.  A guest that ran is stopped, in state restore-vm, if that fails.

    tag, vmstate: as in snapshot-save; devices: the disks that go back too; others stay as they are.
    """
    await vm.snapshots.load_job(job_id, tag, vmstate, devices)


@command("snapshot-delete", since="6.0")
async def snapshot_delete(vm: VirtualMachine, *, job_id: str, tag: str, devices: tuple[str, ...]) -> None:
    """Forget a snapshot of some disks, as a job.  A name that they do not have is no mistake."""
    await vm.snapshots.delete_job(job_id, tag, devices)
