"""Jobs over the wire, where they take long enough that something can be done with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from exchange import connected

from vmcore import FlatImage, VirtualMachine
from vmcore.block.node import NodeOptions
from vmcore.model.jobs import JobType
from vmcore.shell.jobs import Job

SPIN = FlatImage(bytes.fromhex("eb fe"))


async def copying(job: Job) -> None:
    """Ready at once, and then until it is told to complete."""
    job.total = 8
    job.progress = 8
    await job.ready()


@pytest.mark.conformance(
    *("query-jobs", "job-pause", "job-resume", "job-complete", "job-finalize", "job-dismiss", "job-cancel")
)
async def test_a_job_is_managed(tmp_path: Path) -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm, connected(vm, tmp_path / "qmp") as client:

        async def step(expected: str) -> None:
            with trio.fail_after(10):
                assert (await client.event("JOB_STATUS_CHANGE"))["data"] == {"id": "copy", "status": expected}

        vm.jobs.start("copy", JobType.MIRROR, copying, auto_finalize=False, auto_dismiss=False)
        for status in ("created", "running", "ready"):
            await step(status)
        info = {"id": "copy", "type": "mirror", "current-progress": 8, "total-progress": 8}
        assert await client.execute("query-jobs") == {"return": [{**info, "status": "ready"}]}
        assert await client.execute("job-pause", id="copy") == {"return": {}}
        await step("standby")
        assert await client.execute("job-resume", id="copy") == {"return": {}}
        await step("ready")
        assert await client.execute("job-complete", id="copy") == {"return": {}}
        await step("waiting")
        await step("pending")
        assert await client.execute("job-finalize", id="copy") == {"return": {}}
        await step("concluded")
        assert await client.execute("job-dismiss", id="copy") == {"return": {}}
        await step("null")
        vm.jobs.start("copy", JobType.MIRROR, copying, auto_dismiss=False)
        for status in ("created", "running", "ready"):
            await step(status)
        assert await client.execute("job-cancel", id="copy") == {"return": {}}
        await step("aborting")
        await step("concluded")
        assert await client.execute("query-jobs") == {
            "return": [{**info, "status": "concluded", "error": "Operation canceled"}]
        }


@pytest.mark.conformance(
    *("snapshot-save", "snapshot-load", "snapshot-delete", "query-status", "STOP", "RESUME"),
    *("RunState.save-vm", "RunState.restore-vm"),
)
async def test_snapshots_are_jobs_and_pass_through_states_of_their_own(tmp_path: Path) -> None:
    async with (
        VirtualMachine(flat=SPIN, memory="2M") as vm,
        connected(vm, tmp_path / "a") as client,
        connected(vm, tmp_path / "b") as observer,
    ):
        await vm.block.add(
            NodeOptions(driver="memory", name="base", content=bytes(1 << 20), read_only=True),
            NodeOptions(driver="overlay", name="disk", child="base"),
        )
        await vm.start()
        seen = set()
        arguments = {"job_id": "j", "tag": "t", "devices": ["disk"]}

        async def watch(command: str) -> None:
            """Run a command at one connection while another asks for the state."""
            over = trio.Event()

            async def ask() -> None:
                while not over.is_set():
                    seen.add((await observer.execute("query-status"))["return"]["status"])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                assert await client.execute(command, vmstate="disk", **arguments) == {"return": {}}
                over.set()
            for status in ("created", "running", "waiting", "pending", "concluded"):
                assert (await client.event("JOB_STATUS_CHANGE"))["data"]["status"] == status
            await client.execute("job-dismiss", id="j")
            await client.event("JOB_STATUS_CHANGE")

        with trio.fail_after(30):
            while "save-vm" not in seen:
                await watch("snapshot-save")
                if "save-vm" not in seen:
                    vm.snapshots.delete("t")
            while "restore-vm" not in seen:
                await watch("snapshot-load")
        assert vm.free_running
        assert await client.execute("snapshot-delete", **arguments) == {"return": {}}
        assert vm.snapshots.kept == ()
