"""The commands by which devices come and go."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange import connected, execute

from vmcore import FlatImage, UsageError, VirtualMachine
from vmcore.model.acpi import AcpiDeviceOst

# Turns to the modern port block of vCPUs and says so (_OST 0, 0); then tells of each that comes (1, 0), and lets go of
# each that is to (3, 84h; 3, 0).
GUEST = FlatImage(
    bytes.fromhex(
        "ba00af6631c066ef30db30c9e83300ba05af30c0ee4aeca802751ba80474f0b004eeb303b184e81900ba04afb008ee30c9e80e00ebd9b0"
        "02eeb30130c9e80200ebcdba05afb001ee660fb6c3ba08af66efba05afb002ee660fb6c1ba08af66efc3"
    )
)
SPIN = FlatImage(bytes.fromhex("eb fe"))
TYPE = "max-x86_64-cpu"


@pytest.mark.conformance(
    "device_add", "device_del", "ACPI_DEVICE_OST", "DEVICE_DELETED", "query-acpi-ospm-status", "ACPISlotType.CPU"
)
async def test_a_vcpu_is_plugged_in_and_goes_as_qemu_tells_of_it(tmp_path: Path) -> None:
    async with (
        VirtualMachine(flat=GUEST, memory="1M", cpus=1, maxcpus=3, cores=3) as vm,
        connected(vm, tmp_path / "qmp") as client,
    ):
        await client.execute("cont")
        assert (await client.event("ACPI_DEVICE_OST"))["data"]["info"]["slot"] == "0"
        place = {"socket-id": 0, "core-id": 2, "thread-id": 0}
        assert await client.execute("device_add", driver=TYPE, id="c2", **place) == {"return": {}}
        info = {"slot-type": "CPU", "slot": "2"}
        came = await client.event("ACPI_DEVICE_OST")
        assert came["data"]["info"] == info | {"device": "c2", "source": 1, "status": 0}
        told = (await client.execute("query-acpi-ospm-status"))["return"]
        empty = {"slot-type": "CPU", "source": 0, "status": 0}
        assert told == [empty | {"slot": "0"}, empty | {"slot": "1"}, came["data"]["info"]]
        there = (await client.execute("query-cpus-fast"))["return"]
        assert [(cpu["cpu-index"], cpu["qom-path"], cpu["props"]) for cpu in there] == [
            (0, "/machine/cpus/cpu0", place | {"core-id": 0}),
            (2, "/machine/peripheral/c2", place),
        ]
        places = (await client.execute("query-hotpluggable-cpus"))["return"]
        assert [cpu.get("qom-path") for cpu in places] == ["/machine/peripheral/c2", None, "/machine/cpus/cpu0"]

        assert await client.execute("device_del", id="c2") == {"return": {}}
        begun = await client.event("ACPI_DEVICE_OST")
        assert begun["data"]["info"] == info | {"device": "c2", "source": 3, "status": 0x84}
        assert (await client.event("DEVICE_DELETED"))["data"] == {"path": "/machine/peripheral/c2/lapic"}
        gone = await client.event("DEVICE_DELETED")
        assert gone["data"] == {"device": "c2", "path": "/machine/peripheral/c2"}
        done = await client.event("ACPI_DEVICE_OST")
        assert done["data"]["info"] == info | {"source": 3, "status": 0}
        assert len((await client.execute("query-cpus-fast"))["return"]) == 1
        assert "error" in await client.execute("device_del", id="c2")
        assert await client.execute("device_add", driver=TYPE, id="c2", **place) == {"return": {}}


@pytest.mark.conformance("cpu-add")
async def test_the_old_command_plugs_by_index(tmp_path: Path) -> None:
    async with VirtualMachine(flat=SPIN, cpus=1, maxcpus=3) as vm, connected(vm, tmp_path / "qmp") as client:
        assert await client.execute("cpu-add", id=2) == {"return": {}}
        assert list(vm.hotplug.cpus) == [0, 2]
        for id in (2, 3, -1):
            assert (await client.execute("cpu-add", id=id))["error"]["class"] == "GenericError"


async def test_places_are_told_with_dies_where_there_are_several() -> None:
    async with VirtualMachine(flat=SPIN, cpus=2, dies=2) as vm:
        there = await execute(vm, "query-cpus-fast")
        assert [cpu["props"] for cpu in there] == [
            {"socket-id": 0, "die-id": die, "core-id": 0, "thread-id": 0} for die in (0, 1)
        ]


async def test_vcpus_by_index_for_programs() -> None:
    async with VirtualMachine(flat=GUEST, memory="1M", cpus=1, maxcpus=2) as vm:
        await vm.run(instructions=200)
        plugged = await vm.hotplug.add_cpu(1, id="second")
        assert (plugged.id, plugged.path) == ("second", "/machine/peripheral/second")
        assert [cpu.index for cpu in vm.cpus] == [0, 1]
        await vm.hotplug.remove_cpu(1)
        assert list(vm.hotplug.cpus) == [0]
        with pytest.raises(UsageError, match="there is no place 2"):
            await vm.hotplug.add_cpu(2)
        with pytest.raises(UsageError, match="not plugged in"):
            await vm.hotplug.remove_cpu(1)


async def test_expect_can_wait_for_one_event_among_several() -> None:
    async with VirtualMachine(flat=GUEST, memory="1M", cpus=1, maxcpus=3) as vm:
        async with vm.events.expect(AcpiDeviceOst, lambda event: event.info.source == 1) as came:
            await vm.run(instructions=200)
            await vm.hotplug.add_cpu(1)
        assert came.value.info.slot == "1"
