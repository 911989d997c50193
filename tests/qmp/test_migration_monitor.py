"""What the human monitor says and shows of migrations and snapshots, and the states that these pass through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from exchange import connected, execute, qemu
from qmp_oracle import needs_qemu

from vmcore import FlatImage, VirtualMachine
from vmcore.model.events import Resume, Stop

COUNT = FlatImage(bytes.fromhex("66 40 eb fc"))  # L: inc eax; jmp L


def machine(**more: Any) -> VirtualMachine:
    return VirtualMachine(flat=COUNT, memory="2M", **more)


async def say(vm: VirtualMachine, line: str) -> str:
    text: str = await execute(vm, "human-monitor-command", command_line=line)
    return text.replace("\r\n", "\n")


@pytest.mark.conformance(
    *["human-monitor-command", "query-status", "STOP", "RESUME", "RunState.save-vm", "RunState.restore-vm"]
)
async def test_snapshots_by_name_pass_through_states_of_their_own(tmp_path: Path) -> None:
    async with machine() as vm, connected(vm, tmp_path / "a") as client, connected(vm, tmp_path / "b") as observer:
        await vm.start()
        seen = set()

        async def watch(line: str) -> None:
            """Run a line at one connection while another asks for the state."""
            over = trio.Event()

            async def ask() -> None:
                while not over.is_set():
                    seen.add((await observer.execute("query-status"))["return"]["status"])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                answer = await client.execute("human-monitor-command", command_line=line)
                assert answer == {"return": ""}
                over.set()

        with trio.fail_after(30):
            while "save-vm" not in seen:
                await watch("savevm a")
        before = vm.snapshots.kept[0].snapshot.cpus[0]
        with trio.fail_after(30):
            while "restore-vm" not in seen:
                await watch("loadvm a")
        assert vm.free_running
        await vm.stop()
        await say(vm, "loadvm a")
        assert vm.cpu.save() == before


async def test_a_guest_that_runs_says_so_and_one_at_rest_says_nothing() -> None:
    async with machine() as vm:
        with vm.events.subscribe(Stop | Resume) as events:
            assert await say(vm, "savevm a") == ""
            assert vm.state.value == "prelaunch"
            await vm.start()
            await say(vm, "savevm b")
            await say(vm, "loadvm a")
            await vm.stop()
            names = [events.receive_nowait().wire_name for _ in range(6)]
            assert names == ["RESUME", "STOP", "RESUME", "STOP", "RESUME", "STOP"]
        assert [kept.tag for kept in vm.snapshots.kept] == ["a", "b"]
        listed = (await say(vm, "info snapshots")).splitlines()
        assert listed[:2] == [
            "List of snapshots present on all disks:",
            "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT",
        ]
        assert [line[:12] for line in listed[2:]] == ["--        a ", "--        b "]
        assert {len(line) for line in listed[1:]} == {79}
        await say(vm, "delvm a")
        await say(vm, "delvm b")
        assert await say(vm, "delvm b") == ""
        assert await say(vm, "info snapshots") == "There is no snapshot available.\n"
        assert await say(vm, "loadvm a") == "Error: Snapshot 'a' does not exist in one or more devices\n"
        assert vm.state.value == "paused"


async def test_a_machine_that_is_off_comes_back_with_a_snapshot() -> None:
    async with machine() as vm:
        await say(vm, "savevm")
        (kept,) = vm.snapshots.kept
        assert kept.tag.startswith("vm-20")
        await vm.quit()
        assert vm.exit is not None
        await vm.snapshots.load(kept.tag)
        assert (await execute(vm, "query-status"))["status"] == "paused"
        await vm.run(instructions=10)


async def test_the_monitor_moves_a_guest(tmp_path: Path) -> None:
    uri = f"unix:{tmp_path / 'way'}"
    async with machine() as vm, machine(incoming="defer") as other:
        await vm.start()
        assert await say(other, f"migrate_incoming {uri}") == ""
        assert f"\tunix:{tmp_path / 'way'}" in await say(other, "info migrate")
        assert await say(vm, "migrate_set_capability events on") == ""
        assert await say(vm, "migrate_set_parameter max-bandwidth 1G") == ""
        assert "max-bandwidth: 1073741824 bytes/second\n" in await say(vm, "info migrate_parameters")
        assert "events: on\n" in await say(vm, "info migrate_capabilities")
        assert await say(vm, f"migrate -d {uri}") == ""
        await vm.migration.wait()
        await other.migration.wait()
        shown = await say(vm, "info migrate")
        assert shown.startswith("Migration status: completed\ntotal time: ")
        assert "total ram: " in shown
        assert "downtime: " in shown
        assert await say(other, "info migrate") == "Migration status: completed\ntotal time: 0 ms\n"
        assert await say(vm, "info status") == "VM status: paused (postmigrate)\n"


LINES = (
    *("migrate", "migrate -d", "migrate x", "migrate -z x", "migrate -d a b", "migrate_cancel", "migrate_cancel x"),
    *("migrate_incoming x", "migrate_incoming", "migrate_recover x", "migrate_recover", "migrate_pause"),
    *("migrate_continue device", "migrate_continue nope", "migrate_continue", "migrate_start_postcopy"),
    *("migrate_set_capability", "migrate_set_capability nope on", "migrate_set_capability events on"),
    *("migrate_set_capability events maybe", "migrate_set_capability events", "info migrate_capabilities"),
    *("migrate_set_capability events on x", "migrate_set_parameter", "migrate_set_parameter nope 1"),
    *("migrate_set_parameter max-bandwidth 1", "info migrate_parameters", "migrate_set_parameter max-bandwidth 10M"),
    *("migrate_set_parameter max-bandwidth 1k", "migrate_set_parameter max-bandwidth 1.5G"),
    *("migrate_set_parameter max-bandwidth x", "migrate_set_parameter max-bandwidth -1"),
    *("migrate_set_parameter max-bandwidth 10MB", "migrate_set_parameter downtime-limit 99999999"),
    *("migrate_set_parameter downtime-limit 0x10", "migrate_set_parameter downtime-limit abc"),
    *("migrate_set_parameter downtime-limit -1", "migrate_set_parameter compress-level 12"),
    *("migrate_set_parameter compress-level 300", "migrate_set_parameter compress-level 3x"),
    *("migrate_set_parameter compress-level", "migrate_set_parameter compress-level 3"),
    *("migrate_set_parameter compress-wait-thread maybe", "migrate_set_parameter compress-wait-thread off"),
    *("migrate_set_parameter multifd-compression foo", "migrate_set_parameter multifd-compression zlib"),
    *("migrate_set_parameter tls-hostname a b", "migrate_set_parameter tls-hostname a"),
    *("migrate_set_parameter block-bitmap-mapping x", "migrate_set_parameter x-checkpoint-delay 5"),
    *("migrate_set_parameter multifd-channels 0", "migrate_set_parameter xbzrle-cache-size 5"),
    *("migrate_set_parameter xbzrle-cache-size 1M", "migrate_set_parameter announce-rounds 2"),
    *("migrate_set_parameter max-cpu-throttle 1", "info migrate_parameters", "info migrate x"),
    *("loadvm", "loadvm a b", "delvm", "savevm a b"),
)


@needs_qemu
async def test_lines_are_answered_as_qemu_answers_them() -> None:
    with qemu() as client:
        async with machine() as vm:
            for line in LINES:
                theirs = client.execute("human-monitor-command", command_line=line)["return"]
                assert await execute(vm, "human-monitor-command", command_line=line) == theirs, line
