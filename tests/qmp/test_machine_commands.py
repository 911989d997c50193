"""The commands about what the machine is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from exchange import connected, execute, qemu

from vmcore import ConfigError, FlatImage, MachineConfig, VirtualMachine
from vmcore.boards.kinds import BOARDS

SPIN = FlatImage(bytes.fromhex("eb fe"))
HALT = FlatImage(bytes.fromhex("fa f4 eb fd"))
UUID = "12345678-9abc-def0-1234-56789abcdef0"


def shape(value: Any) -> Any:
    """What a value is made of, without the values themselves."""
    if isinstance(value, dict):
        return {key: shape(member) for key, member in value.items()}
    if isinstance(value, list):
        return [shape(element) for element in value[:1]]
    return type(value).__name__


@pytest.mark.conformance("query-cpus-fast", "SysEmuTarget.x86_64")
async def test_vcpus_are_told_with_the_thread_that_executes_them() -> None:
    async with VirtualMachine(flat=SPIN, cpus=2) as vm:
        found = await execute(vm, "query-cpus-fast")
        assert [cpu["cpu-index"] for cpu in found] == [0, 1]
        assert [cpu["qom-path"] for cpu in found] == ["/machine/cpus/cpu0", "/machine/cpus/cpu1"]
        assert [cpu["props"] for cpu in found] == [{"socket-id": 0, "core-id": core, "thread-id": 0} for core in (0, 1)]
        assert {cpu["target"] for cpu in found} == {"x86_64"}
        threads = {int(name) for name in os.listdir("/proc/self/task")}
        assert found[0]["thread-id"] in threads - {os.getpid()}
        # It stays so while the guest runs.
        await vm.start()
        assert await execute(vm, "query-cpus-fast") == found
        await vm.stop()


@pytest.mark.conformance("query-cpus", "CpuInfo.x86", "CpuInfoArch.x86")
async def test_the_old_query_tells_where_parked_vcpus_are_and_whether_they_sleep() -> None:
    async with VirtualMachine(flat=HALT, cpus=2) as vm:
        first, second = await execute(vm, "query-cpus")
        assert first["pc"] == vm.cpu.cs.base + vm.cpu.rip == 0x7C00
        assert not first["halted"]
        assert (first["CPU"], second["CPU"]) == (0, 1)
        await vm.run(instructions=2)
        first, second = await execute(vm, "query-cpus")
        assert first["pc"] == 0x7C02
        assert first["halted"]
        assert first["arch"] == "x86"
        assert second["halted"]  # it waits for its start-up


@pytest.mark.conformance("query-hotpluggable-cpus")
async def test_each_place_for_a_vcpu_shows_the_one_that_is_in_it() -> None:
    async with VirtualMachine(cpus=2, cpu="max") as vm:
        assert await execute(vm, "query-hotpluggable-cpus") == [
            {
                "type": "max-x86_64-cpu",
                "vcpus-count": 1,
                "props": {"socket-id": 0, "core-id": core, "thread-id": 0},
                "qom-path": f"/machine/cpus/cpu{core}",
            }
            for core in (1, 0)
        ]


@pytest.mark.conformance("query-machines", "query-current-machine", "query-target")
async def test_machines_are_the_boards() -> None:
    async with VirtualMachine(board="none") as vm:
        found = await execute(vm, "query-machines")
        assert [machine.get("alias", machine["name"]) for machine in found] == list(BOARDS)
        assert [machine["name"] for machine in found if machine.get("is-default")] == ["pc-i440fx-7.2"]
        assert MachineConfig(board="pc-q35-7.2").board == "q35"
        for machine in found:
            MachineConfig(board=machine["name"], cpus=machine["cpu-max"])
            with pytest.raises(ConfigError):
                MachineConfig(board=machine["name"], cpus=machine["cpu-max"] + 1)
        assert await execute(vm, "query-current-machine") == {"wakeup-suspend-support": False}
        assert await execute(vm, "query-target") == {"arch": "x86_64"}


@pytest.mark.conformance(
    "query-memory-size-summary", "query-memdev", "query-iothreads", "query-kvm", "HostMemPolicy.default"
)
async def test_memory_is_told_as_configured() -> None:
    async with VirtualMachine(memory="24M") as vm:
        assert await execute(vm, "query-memory-size-summary") == {"base-memory": 24 << 20, "plugged-memory": 0}
        (main,) = await execute(vm, "query-memdev")
        assert (main["id"], main["size"]) == ("pc.ram", 24 << 20)
        assert await execute(vm, "query-iothreads") == []
        assert await execute(vm, "query-kvm") == {"enabled": False, "present": False}


@pytest.mark.conformance("query-uuid")
async def test_the_uuid_is_checked_and_told() -> None:
    async with VirtualMachine() as vm:
        assert await execute(vm, "query-uuid") == {"UUID": "00000000-0000-0000-0000-000000000000"}
    async with VirtualMachine(uuid=UUID.upper()) as vm:
        assert await execute(vm, "query-uuid") == {"UUID": UUID}
    with pytest.raises(ConfigError, match="uuid"):
        MachineConfig(uuid="12345678")


async def test_answers_are_shaped_as_qemus(tmp_path: Path) -> None:
    ours: dict[str, Any] = {}
    names = (
        "query-cpus-fast",
        "query-hotpluggable-cpus",
        "query-current-machine",
        "query-target",
        "query-memory-size-summary",
        "query-memdev",
        "query-kvm",
        "query-uuid",
        "query-iothreads",
    )
    async with VirtualMachine(memory="32M", cpus=2) as vm, connected(vm, tmp_path / "qmp") as client:
        for name in names:
            ours[name] = shape((await client.execute(name))["return"])
    # Kept from older documents, and what a board without memory slots has not.
    del ours["query-cpus-fast"][0]["arch"]
    ours["query-memory-size-summary"]["plugged-memory"] = "int"
    with qemu("-smp", "2") as theirs:
        for name in names:
            assert ours[name] == shape(theirs.execute(name)["return"]), name
