"""Jobs: what is done with them, in which states, and the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from flat_guests import POWER_OFF

from vmcore import FlatImage, VirtualMachine
from vmcore.block.node import NodeOptions
from vmcore.machine.disk_config import Disk
from vmcore.model.errors import CommandError, UsageError
from vmcore.model.jobs import JobStatusChange, JobType
from vmcore.shell.events import EventStream
from vmcore.shell.jobs import CANCELED, Job

COUNT = FlatImage(bytes.fromhex("66 40 eb fc"))  # L: inc eax; jmp L


def machine(**more: Any) -> VirtualMachine:
    return VirtualMachine(flat=COUNT, memory="1M", **more)


def taken(events: EventStream[JobStatusChange]) -> list[str]:
    """The steps since the last call."""
    out: list[str] = []
    while True:
        try:
            out.append(events.receive_nowait().status.value)
        except trio.WouldBlock:
            return out


async def settled(events: EventStream[JobStatusChange], last: str) -> list[str]:
    """The steps up to this one."""
    out: list[str] = []
    with trio.fail_after(10):
        while not out or out[-1] != last:
            out.append((await events.receive()).status.value)
    return out


async def test_a_job_that_needs_nobody_comes_and_goes() -> None:
    async def work(job: Job) -> None:
        job.total, job.progress = 4, 3

    async with machine() as vm:
        with vm.events.subscribe(JobStatusChange) as events:
            job = vm.jobs.start("a", JobType.CREATE, work)
            assert taken(events) == ["created", "running"]
            assert [one.id for one in vm.jobs.all] == ["a"]
            assert await settled(events, "null") == ["waiting", "pending", "concluded", "null"]
            assert (job.info.current_progress, job.info.total_progress, job.info.error) == (3, 4, None)
            assert vm.jobs.all == ()


async def test_a_job_that_waits_for_its_manager() -> None:
    async def work(job: Job) -> None:
        pass

    async with machine() as vm:
        with vm.events.subscribe(JobStatusChange) as events:
            job = vm.jobs.start("a", JobType.CREATE, work, auto_finalize=False, auto_dismiss=False)
            await settled(events, "pending")
            job.finalize()
            assert taken(events) == ["concluded"]
            job.dismiss()
            assert taken(events) == ["null"]
            job = vm.jobs.start("a", JobType.CREATE, work, auto_finalize=False, auto_dismiss=False)
            await settled(events, "pending")
            job.cancel()
            assert taken(events) == ["aborting", "concluded"]
            assert job.info.error == CANCELED


async def test_a_job_rests_where_it_can() -> None:
    steps = 0

    async def work(job: Job) -> None:
        nonlocal steps
        for _ in range(1_000_000):
            await job.pause_point()
            steps += 1

    async with machine() as vm:
        with vm.events.subscribe(JobStatusChange) as events:
            job = vm.jobs.start("a", JobType.MIRROR, work, auto_dismiss=False)
            job.pause()
            with pytest.raises(CommandError, match="Job is already paused"):
                job.pause()
            assert await settled(events, "paused") == ["created", "running", "paused"]
            before = steps
            await trio.testing.wait_all_tasks_blocked()
            assert steps == before
            job.resume()
            assert taken(events) == ["running"]
            with pytest.raises(CommandError, match="Can't resume a job that was not paused"):
                job.resume()
            with trio.fail_after(10):
                while steps == before:
                    await trio.lowlevel.checkpoint()
            job.pause()
            await settled(events, "paused")
            job.cancel()
            assert await settled(events, "concluded") == ["running", "aborting", "concluded"]
            assert job.info.error == CANCELED


async def test_a_job_that_is_ready_is_told_to_complete() -> None:
    async def work(job: Job) -> None:
        await job.ready()

    async with machine() as vm:
        with vm.events.subscribe(JobStatusChange) as events:
            job = vm.jobs.start("a", JobType.MIRROR, work)
            with pytest.raises(CommandError, match="'a' in state 'running' cannot accept command verb 'complete'"):
                job.complete()
            await settled(events, "ready")
            await trio.testing.wait_all_tasks_blocked()
            job.pause()
            assert taken(events) == ["standby"]
            job.complete()
            await trio.testing.wait_all_tasks_blocked()
            assert job.status.value == "standby"
            job.resume()
            assert await settled(events, "null") == ["ready", "waiting", "pending", "concluded", "null"]
            job = vm.jobs.start("a", JobType.MIRROR, work, auto_dismiss=False)
            await settled(events, "ready")
            job.cancel()
            assert await settled(events, "concluded") == ["aborting", "concluded"]


async def test_what_a_job_fails_with_is_its_error() -> None:
    async def work(job: Job) -> None:
        raise UsageError("it cannot be")

    async with machine() as vm:
        with vm.events.subscribe(JobStatusChange) as events:
            job = vm.jobs.start("a", JobType.AMEND, work, auto_finalize=False, auto_dismiss=False)
            assert (await settled(events, "concluded"))[2:] == ["aborting", "concluded"]
            assert job.info.error == "it cannot be"


async def test_jobs_end_with_the_machine() -> None:
    over: list[str] = []

    async def work(job: Job) -> None:
        try:
            await trio.sleep_forever()
        finally:
            over.append(job.id)

    async with machine() as vm:
        with vm.events.subscribe(JobStatusChange) as events:
            vm.jobs.start("a", JobType.CREATE, work, auto_dismiss=False)
            await trio.testing.wait_all_tasks_blocked()
            await vm.quit()
            assert (await settled(events, "null"))[2:] == ["aborting", "concluded", "null"]
        assert over == ["a"]
    async with machine() as vm:
        vm.jobs.start("b", JobType.CREATE, work)
        await trio.testing.wait_all_tasks_blocked()
    assert over == ["a", "b"]


# --- snapshots


SIZE = 64 * 512


async def layered(vm: VirtualMachine, *names: str) -> None:
    """Disks that take writes in memory."""
    for name in names:
        await vm.block.add(
            NodeOptions(driver="memory", name=f"{name}-base", content=bytes(SIZE), read_only=True),
            NodeOptions(driver="overlay", name=name, child=f"{name}-base"),
        )


async def put(vm: VirtualMachine, name: str, data: bytes) -> None:
    async with vm.parked() as parked:
        parked.block.nodes[name].write(0, data)


async def get(vm: VirtualMachine, name: str) -> bytes:
    async with vm.parked() as parked:
        return parked.block.nodes[name].read(0, 1)


async def test_disks_that_are_not_named_stay_as_they_are() -> None:
    async with machine() as vm:
        await layered(vm, "a", "b")
        await put(vm, "a", b"1")
        await put(vm, "b", b"1")
        await vm.step(10)
        before = vm.cpu.save()
        await vm.snapshots.save_job("j", "t", "a", ["a", "b"])
        await vm.step(10)
        await put(vm, "a", b"2")
        await put(vm, "b", b"2")
        job = await vm.snapshots.load_job("k", "t", "a", ["a"])
        assert job.error is None
        assert (await get(vm, "a"), await get(vm, "b"), vm.cpu.save()) == (b"1", b"2", before)
        await vm.snapshots.load("t")
        assert (await get(vm, "a"), await get(vm, "b")) == (b"1", b"1")


async def test_who_names_a_filter_means_what_is_below() -> None:
    async with machine() as vm:
        await layered(vm, "a")
        await vm.block.add(NodeOptions(driver="raw", name="above", child="a"))
        await vm.snapshots.save_job("j", "t", "above", ["above"])
        assert [(kept.layers, kept.vmstate) for kept in vm.snapshots.kept] == [(frozenset({"a"}), "a")]
        assert (await vm.snapshots.load_job("k", "t", "a", ["a"])).error is None
        assert (await vm.snapshots.delete_job("l", "t", ["a"])).error is None
        assert vm.snapshots.kept == ()


async def test_a_file_that_was_written_cannot_be_gone_back_to(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_bytes(bytes(SIZE))
    async with machine(disks=[Disk(file)]) as vm:
        nodes = [node.node_name for node in await vm.block.nodes()]
        file_node, raw, layer = sorted(name for name in nodes if name is not None)
        for name in (file_node, raw):
            job = await vm.snapshots.save_job(f"of{name[1:]}", "t", name, [name])
            assert job.error == f"Device '{name}' is writable but does not support snapshots"
        await vm.start()
        assert (await vm.snapshots.save_job("j", "t", layer, [layer])).error is None
        assert vm.free_running
        file.write_bytes(b"x" * SIZE)
        job = await vm.snapshots.load_job("k", "t", layer, [layer])
        assert job.error is not None
        assert "was written since the snapshot was taken" in job.error
        assert vm.state.value == "restore-vm"
        await vm.cont()
        assert vm.free_running


@pytest.mark.parametrize("running", [True, False])
async def test_a_snapshot_that_was_cancelled_is_not_kept(running: bool) -> None:
    async with machine() as vm, trio.open_nursery() as nursery:
        await layered(vm, "a")
        if running:
            await vm.start()
        jobs: list[Job] = []
        with vm.events.subscribe(JobStatusChange) as events:

            async def save() -> None:
                jobs.append(await vm.snapshots.save_job("j", "t", "a", ["a"]))

            nursery.start_soon(save)
            await settled(events, "running")
            vm.jobs.find("j").cancel()
            assert await settled(events, "concluded") == ["aborting", "concluded"]
        assert jobs[0].info.error == CANCELED
        assert vm.snapshots.kept == ()
        assert vm.free_running is running


async def test_a_machine_that_is_off_can_be_gone_back_from() -> None:
    async with VirtualMachine(flat=POWER_OFF, memory="1M") as vm:
        await layered(vm, "a")
        await vm.step()
        await vm.snapshots.save_job("j", "t", "a", ["a"])
        await vm.run()
        assert vm.state.value == "shutdown"
        assert vm.jobs.all == ()
        assert (await vm.snapshots.load_job("j", "t", "a", ["a"])).error is None
        assert vm.state.value == "paused"
        assert vm.instructions == 1
