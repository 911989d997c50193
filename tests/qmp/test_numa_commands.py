"""NUMA nodes and the time before the machine is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from exchange import connected, execute, refusal

from vmcore import ConfigError, FlatImage, RunState, UsageError, VirtualMachine

SPIN = FlatImage(bytes.fromhex("eb fe"))
BACKENDS = ("memory-backend-ram,id=m0,size=48M", "memory-backend-ram,id=m1,size=16M")


def machine(**more: Any) -> VirtualMachine:
    return VirtualMachine(flat=SPIN, memory="64M", cpus=4, memory_backends=BACKENDS, preconfig=True, **more)


async def refused(vm: VirtualMachine, name: str, **given: Any) -> str:
    """The text of the error as the server gives it."""
    with pytest.raises((UsageError, ConfigError)) as caught:
        await execute(vm, name, **given)
    return str(caught.value)


@pytest.mark.conformance(
    "set-numa-node",
    "x-exit-preconfig",
    "NumaOptions.node",
    "NumaOptions.dist",
    "NumaOptions.cpu",
    "NumaOptionsType.node",
    "NumaOptionsType.dist",
    "NumaOptionsType.cpu",
)
async def test_nodes_are_made_before_the_machine_is_built() -> None:
    async with machine() as vm:
        assert vm.preconfig
        await execute(vm, "set-numa-node", type="node", nodeid=0, memdev="m0", cpus=[0])
        await execute(vm, "set-numa-node", type="node", nodeid=1, memdev="m1")
        await execute(vm, "set-numa-node", type="dist", src=0, dst=1, val=21)
        for core in (2, 3):
            await execute(vm, "set-numa-node", type="cpu", node_id=1, core_id=core)
        places = await execute(vm, "query-hotpluggable-cpus")
        assert [place["props"].get("node-id") for place in places] == [1, 1, None, 0]
        assert not any("qom-path" in place for place in places)
        await execute(vm, "x-exit-preconfig")
        cpus = await execute(vm, "query-cpus-fast")
        assert [cpu["props"]["node-id"] for cpu in cpus] == [0, 0, 1, 1]
        info = await execute(vm, "human-monitor-command", command_line="info numa")
        assert info.splitlines()[:5] == [
            "2 nodes",
            "node 0 cpus: 0 1",
            "node 0 size: 48 MB",
            "node 0 plugged: 0 MB",
            "node 1 cpus: 2 3",
        ]
        assert "before the machine has been created" in await refused(vm, "set-numa-node", type="node")
        assert "before machine initialization" in await refused(vm, "x-exit-preconfig")


async def test_a_configuration_that_is_no_whole_can_be_mended() -> None:
    async with machine() as vm:
        await vm.numa.add("node,nodeid=0,memdev=m0")
        assert vm.state is RunState.PRELAUNCH
        assert "should equal RAM size" in await refused(vm, "x-exit-preconfig")
        await vm.numa.add("node,nodeid=1,memdev=m1")
        await vm.exit_preconfig()
        assert vm.instructions == 0
        await vm.run(instructions=10)
        assert vm.instructions == 10


async def test_what_needs_the_machine_says_that_there_is_none_yet() -> None:
    async with machine() as vm:
        for look in ("cpus", "memory", "devices", "serial", "instructions", "guest_ns", "keyboard"):
            with pytest.raises(UsageError, match="not built yet"):
                getattr(vm, look)
        for call in (vm.start, vm.stop, vm.reset, vm.powerdown, vm.nmi, vm.run, vm.step, vm.snapshot):
            with pytest.raises(UsageError, match="not built yet"):
                await call()
        with pytest.raises(UsageError, match="not built yet"):
            await vm.sleep(1)
        with pytest.raises(UsageError, match="not built yet"):
            await vm.migrate("file:/nonexistent")
        with pytest.raises(UsageError, match="not built yet"), vm.move_on_after(1):
            pass
        with pytest.raises(UsageError, match="not built yet"):
            vm.digest()
    with pytest.raises(UsageError, match="autostart"):
        VirtualMachine(autostart=True)
    async with VirtualMachine(flat=SPIN) as vm:
        with pytest.raises(UsageError, match="permitted only before"):
            await vm.exit_preconfig()
        with pytest.raises(UsageError, match="permitted only before"):
            await vm.numa.add("node")


async def test_over_the_wire_only_what_is_allowed_runs_before(tmp_path: Path) -> None:
    async with machine(autostart=True) as vm, connected(vm, tmp_path / "qmp") as client:
        for name in ("cont", "query-cpus-fast", "query-memory-devices"):
            answer = await client.execute(name)
            assert answer["error"] == {
                "class": "GenericError",
                "desc": f"The command '{name}' is permitted only after machine initialization has completed",
            }
        assert (await client.execute("query-status"))["return"]["status"] == "prelaunch"
        await client.execute("set-action", reboot="shutdown")
        assert "return" in await client.execute("x-exit-preconfig")
        assert vm.state is RunState.RUNNING
        assert vm.actions.reboot.value == "shutdown"


async def test_a_machine_that_was_never_built_ends() -> None:
    with trio.fail_after(10):
        async with machine() as vm, trio.open_nursery() as nursery:
            nursery.start_soon(vm.wait_end)
            await vm.quit()
        with pytest.raises(ConfigError):
            machine(numa=["node,memdev=nosuch"])


async def test_objects_made_before_can_be_a_nodes_memory() -> None:
    async with VirtualMachine(flat=SPIN, memory="16M", preconfig=True) as vm:
        await execute(vm, "object-add", qom_type="memory-backend-ram", id="late", size=16 << 20)
        await execute(vm, "set-numa-node", type="node", memdev="late")
        assert (await execute(vm, "qom-get", path="/objects/late", property="size")) == 16 << 20
        await vm.exit_preconfig()
        assert vm.config.memory_backends[0].id == "late"
        assert [device["id"] for device in await execute(vm, "query-memdev")] == ["late"]
        assert await refused(vm, "object-del", id="late") == "object 'late' is in use, can not be deleted"


async def test_latencies_need_the_table() -> None:
    async with machine() as vm:
        text = await refused(vm, "set-numa-node", type="node", initiator=0)
        assert text.startswith("ACPI Heterogeneous Memory Attribute Table (HMAT) is disabled")
    async with VirtualMachine(board="none", preconfig=True) as vm:
        assert "not supported" in await refused(vm, "set-numa-node", type="node")
        assert (await refusal(vm, "qom-get", path="/objects/x", property="size"))[0] == "DeviceNotFound"
