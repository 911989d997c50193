"""PCI devices and memory modules over the wire: how they come and go, and what is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exchange import connected, execute, qemu
from exchange_kit import CODE

from vmcore import FlatImage, VirtualMachine

MIB, GIB = 1 << 20, 1 << 30
EJECTS = FlatImage(CODE["eject"])
SPIN = FlatImage(CODE["spin"])
KEPT = bytes.fromhex(
    # Waits until the module in slot 0 is to go, and says with _OST that it stays: 3, 81h.
    "ba000a6631c066efba140aec3cff74f0a80474ecb004eeba040a66b80300000066efba080a66b88100000066efebd1"
)


@pytest.mark.conformance("device_add", "device_del", "DEVICE_DELETED", "query-pci")
async def test_a_pci_device_is_plugged_in_and_goes(tmp_path: Path) -> None:
    async with (
        VirtualMachine(flat=EJECTS, memory="1M", vga="none") as vm,
        connected(vm, tmp_path / "qmp") as client,
    ):
        assert await client.execute("device_add", driver="pvpanic-pci", id="p", addr="1d.0") == {"return": {}}
        ((root,)) = (await client.execute("query-pci"))["return"]
        (ours,) = [device for device in root["devices"] if device["qdev_id"] == "p"]
        assert ours == {
            "bus": 0,
            "slot": 0x1D,
            "function": 0,
            "class_info": {"class": 0x880},
            "id": {"device": 0x11, "vendor": 0x1B36, "subsystem": 0x1100, "subsystem-vendor": 0x1AF4},
            "irq_pin": 0,
            "qdev_id": "p",
            "regions": [
                {"bar": 0, "type": "memory", "address": -1, "size": 16, "prefetch": False, "mem_type_64": False}
            ],
        }
        assert await client.execute("device_del", id="p") == {"return": {}}
        await client.execute("cont")
        assert (await client.event("DEVICE_DELETED"))["data"] == {"device": "p", "path": "/machine/peripheral/p"}
        ((root,)) = (await client.execute("query-pci"))["return"]
        assert all(device["qdev_id"] != "p" for device in root["devices"])


@pytest.mark.conformance(
    "query-memory-devices",
    "query-memory-size-summary",
    "query-acpi-ospm-status",
    "ACPI_DEVICE_OST",
    "ACPISlotType.DIMM",
    "MemoryDeviceInfoKind.dimm",
)
async def test_a_memory_module_is_plugged_in_and_goes(tmp_path: Path) -> None:
    async with (
        VirtualMachine(flat=EJECTS, memory="1M", memory_slots=2, max_memory="1G") as vm,
        connected(vm, tmp_path / "qmp") as client,
    ):
        backend = {"qom-type": "memory-backend-ram", "id": "m0", "size": 16 * MIB}
        assert await client.execute("object-add", **backend) == {"return": {}}
        assert await client.execute("device_add", driver="pc-dimm", id="d", memdev="m0") == {"return": {}}
        (module,) = (await client.execute("query-memory-devices"))["return"]
        data = {"id": "d", "addr": 4 * GIB, "size": 16 * MIB, "slot": 0, "node": 0, "memdev": "/objects/m0"}
        assert module == {"type": "dimm", "data": data | {"hotplugged": True, "hotpluggable": True}}
        summary = (await client.execute("query-memory-size-summary"))["return"]
        assert summary == {"base-memory": MIB, "plugged-memory": 16 * MIB}
        assert "error" in await client.execute("object-del", id="m0")
        assert await client.execute("device_del", id="d") == {"return": {}}
        await client.execute("cont")
        said = (await client.event("ACPI_DEVICE_OST"))["data"]["info"]
        assert said == {"device": "d", "slot": "0", "slot-type": "DIMM", "source": 3, "status": 0x84}
        assert (await client.event("DEVICE_DELETED"))["data"] == {"device": "d", "path": "/machine/peripheral/d"}
        told = (await client.execute("query-acpi-ospm-status"))["return"]
        assert told[0] == {"slot": "0", "slot-type": "DIMM", "source": 3, "status": 0x84}
        assert (await client.execute("query-memory-devices"))["return"] == []
        assert await client.execute("object-del", id="m0") == {"return": {}}


@pytest.mark.conformance("MEM_UNPLUG_ERROR", "DEVICE_UNPLUG_GUEST_ERROR")
async def test_the_guest_keeps_a_memory_module(tmp_path: Path) -> None:
    async with (
        VirtualMachine(flat=FlatImage(KEPT), memory="1M", memory_slots=2, max_memory="1G") as vm,
        connected(vm, tmp_path / "qmp") as client,
    ):
        await client.execute("object-add", **{"qom-type": "memory-backend-ram", "id": "m0", "size": 16 * MIB})
        await client.execute("device_add", driver="pc-dimm", id="d", memdev="m0")
        await client.execute("device_del", id="d")
        await client.execute("cont")
        assert (await client.event("ACPI_DEVICE_OST"))["data"]["info"]["status"] == 0x81
        error = (await client.event("MEM_UNPLUG_ERROR"))["data"]
        assert error["device"] == "d"
        assert "0x81" in error["msg"]
        gone = (await client.event("DEVICE_UNPLUG_GUEST_ERROR"))["data"]
        assert gone == {"device": "d", "path": "/machine/peripheral/d"}
        assert len((await client.execute("query-memory-devices"))["return"]) == 1


async def test_a_fork_has_the_module_with_memory_of_its_own() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M", memory_slots=1, max_memory="1G") as vm:
        await execute(vm, "object-add", qom_type="memory-backend-ram", id="m0", size=16 * MIB)
        await execute(vm, "device_add", driver="pc-dimm", id="d", memdev="m0")
        async with vm.parked() as machine:
            machine.memory.write(4 * GIB, b"ours")
        snapshot = await vm.snapshot()
        async with VirtualMachine.from_snapshot(snapshot) as other:
            async with other.parked() as copy:
                assert copy.memory.read(4 * GIB, 4) == b"ours"
                copy.memory.write(4 * GIB, b"its ")
            assert len(await other.query.memory_devices()) == 1
        assert machine.memory.read(4 * GIB, 4) == b"ours"
        # And a machine that is put back to it has the back end again.
        await vm.restore(snapshot)
        assert vm.objects["m0"].in_use


def strip(devices: list[Any]) -> list[Any]:
    """What two programs can agree on, of devices that both have."""
    kept = []
    for device in devices:
        if device["qdev_id"]:
            regions = [{k: v for k, v in region.items() if k != "size"} for region in device["regions"]]
            kept.append(device | {"regions": regions if "pci_bridge" not in device else []})
    return kept


async def test_qemu_tells_the_same_of_pci() -> None:
    dog, bridge = "i6300esb,id=dog,addr=1e.1", "pci-bridge,id=br,chassis_nr=3,addr=9"
    with qemu("-device", dog, "-device", f"{bridge},shpc=off,msi=off") as reference:
        reference.execute("device_add", driver="pvpanic-pci", id="p")
        theirs = reference.execute("query-pci")["return"]
        shown = reference.execute("human-monitor-command", command_line="info pci")["return"]
    async with VirtualMachine(memory="32M", vga="none", devices=[dog, bridge], flat=SPIN) as vm:
        await vm.hotplug.add("pvpanic-pci", id="p")
        async with vm.parked() as machine:
            machine.board.reset()  # QEMU has not begun: nothing has an address.
        ours = await execute(vm, "query-pci")
        assert strip(ours[0]["devices"]) == strip(theirs[0]["devices"])
        text = await execute(vm, "human-monitor-command", command_line="info pci")
    wanted = [block for block in shown.replace("\r", "").split("  Bus") if 'id "dog"' in block]
    assert [block for block in text.replace("\r", "").split("  Bus") if 'id "dog"' in block] == wanted


async def test_the_human_monitor_plugs_and_shows() -> None:
    backends = ["memory-backend-ram,id=m0,size=16M"]
    async with VirtualMachine(
        flat=SPIN, memory="1M", memory_slots=1, max_memory="1G", memory_backends=backends, vga="none"
    ) as vm:

        async def say(line: str) -> str:
            text: str = await execute(vm, "human-monitor-command", command_line=line)
            return text.replace("\r", "")

        assert await say("device_add pvpanic-pci,id=p,addr=5") == ""
        assert await say("device_add pvpanic-pci,id=p") == "Error: Duplicate device ID 'p'\n"
        assert 'id "p"' in await say("info pci")
        assert await say("device_del q") == "Error: Device 'q' not found\n"
        assert await say("device_del p") == ""
        assert await say("device_add pc-dimm,id=d,memdev=m0") == ""
        assert await say("info memory-devices") == (
            'Memory device [dimm]: "d"\n  addr: 0x100000000\n  slot: 0\n  node: 0\n  size: 16777216\n'
            "  memdev: /objects/m0\n  hotplugged: true\n  hotpluggable: true\n"
        )
        assert await say("info memory_size_summary") == "base memory: 1048576\nplugged memory: 16777216\n"


async def test_types_and_properties_are_told_as_qemu_names_them() -> None:
    async with VirtualMachine(flat=SPIN, devices=["pvpanic-pci,id=p"]) as vm:
        names = {found["name"]: found for found in await execute(vm, "device-list-properties", typename="pc-dimm")}
        assert names["memdev"]["type"] == "link<memory-backend>"
        assert (names["slot"]["type"], names["slot"]["default-value"]) == ("int32", -1)
        names = {found["name"]: found for found in await execute(vm, "device-list-properties", typename="pvpanic-pci")}
        assert names["addr"] == {
            "name": "addr",
            "type": "int32",
            "default-value": -1,
            "description": "Slot and optional function number, example: 06.0 or 06",
        }
        assert await execute(vm, "qom-get", path="/machine/peripheral/p", property="type") == "pvpanic-pci"
        assert {"pvpanic-pci", "pci-bridge", "i6300esb", "pc-dimm"} <= {
            found["name"] for found in await execute(vm, "qom-list-types", implements="device")
        }
