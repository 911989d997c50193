"""PCI devices and memory modules that come and go, under a small guest that uses the registers by itself."""

from __future__ import annotations

import io
from typing import Any

import pytest
from attrs import evolve

from vmcore.machine.config import DeviceOption, FlatImage, MachineConfig
from vmcore.machine.inputs import PlugDevice, UnplugDevice
from vmcore.machine.machine import Machine
from vmcore.machine.snapshot_file import load_snapshot, save_snapshot
from vmcore.model.acpi import AcpiDeviceOst
from vmcore.model.errors import CommandError, ConfigError, ImageError
from vmcore.model.machine import MemUnplugError
from vmcore.model.qom import DeviceDeleted, DeviceUnplugGuestError

# Ejects each PCI device that is to go, and the memory module in slot 0, with a word about that (_OST 3, 84h).
EJECTS = bytes.fromhex(
    "ba04ae66ed6685c07405ba08ae66efba000a6631c066efba140aec3cff74e1a80474ddb004eeba040a66b80300000066efba080a66b88400"
    "000066efba140ab008eeebbc"
)
SPIN = b"\xeb\xfe"
GIB = 1 << 30
BACKENDS = ("memory-backend-ram,id=m0,size=16M", "memory-backend-ram,id=m1,size=4M")


def made(code: bytes = EJECTS, **fields: Any) -> Machine:
    defaults: dict[str, Any] = {"memory_slots": 2, "max_memory": "1G", "memory_backends": BACKENDS, "vga": "none"}
    fields = defaults | fields
    return Machine(MachineConfig(flat=FlatImage(code), memory="1M", **fields))


def test_a_pci_device_comes_goes_and_comes_again() -> None:
    with made() as machine:
        machine.run(100)
        for _ in range(2):
            device = machine.device_add("pvpanic-pci", id="p")
            assert (device.path, device.bus, device.properties["addr"]) == ("/machine/peripheral/p", "pci.0", 2 << 3)
            assert machine.board.pci_buses["pci.0"].functions[2 << 3] is machine.tree.node(device.path).value
            machine.device_del("p")
            assert machine.plug.find("p").leaving
            machine.run(200)
            assert machine.take_events() == [DeviceDeleted(device="p", path="/machine/peripheral/p")]
            assert 2 << 3 not in machine.board.pci_buses["pci.0"].functions
            assert device.path not in machine.board.devices
        assert [type(record.input) for record in machine.inputs] == 2 * [PlugDevice, UnplugDevice]


def test_functions_of_a_slot_go_together() -> None:
    with made() as machine:
        machine.device_add("pvpanic-pci", id="one", properties={"addr": "6.1"})
        machine.device_add("pvpanic-pci", id="zero", properties={"addr": "6", "multifunction": "on"})
        machine.device_del("one")
        machine.run(200)
        assert {event.device for event in machine.take_events() if isinstance(event, DeviceDeleted)} == {"one", "zero"}


def test_a_watchdog_that_goes_barks_no_more() -> None:
    with made() as machine:
        machine.device_add("i6300esb", id="dog")
        (dog,) = machine.board.watchdogs
        machine.device_del("dog")
        machine.run(200)
        assert machine.board.watchdogs == []
        assert not dog.running


def test_what_is_behind_a_bridge_goes_with_it() -> None:
    with made() as machine:
        machine.device_add("pci-bridge", id="br", properties={"chassis_nr": 1})
        assert machine.board.buses["br"].type == "PCI"
        with pytest.raises(CommandError, match="Bus 'br' does not support hotplugging"):
            machine.device_add("pvpanic-pci", bus="br")
        machine.device_del("br")
        machine.run(200)
        assert machine.take_events() == [DeviceDeleted(device="br", path="/machine/peripheral/br")]
        assert "br" not in machine.board.buses
        machine.device_add("pci-bridge", id="br", properties={"chassis_nr": 1})
        for name in ("pci.1", "pci.2"):
            machine.device_add("pci-bridge", properties={"chassis_nr": 2})
            assert name in machine.board.buses


def test_a_reset_takes_out_what_was_to_go() -> None:
    with made(SPIN) as machine:
        machine.device_add("pvpanic-pci", id="a")
        machine.device_add("pvpanic-pci", id="b")
        machine.device_del("b")
        machine.run(100)
        machine.take_events()
        machine.reset()
        assert [e.device for e in machine.take_events() if isinstance(e, DeviceDeleted)] == ["b"]
        assert [device.id for device in machine.plug.devices if device.id] == ["a"]


def test_a_configuration_has_devices_of_the_same_kinds() -> None:
    devices = [
        "pci-bridge,id=br,chassis_nr=7,addr=0x10",
        "pvpanic-pci,bus=br,addr=3,events=1",
        ("i6300esb", {"id": "dog", "multifunction": True}),
        DeviceOption("pc-dimm", {"memdev": "m1", "slot": 1}, "d"),
        "isa-debugcon,id=log,bus=isa.0",
    ]
    with made(SPIN, devices=devices) as machine:
        by_id = {device.id: device for device in machine.plug.devices}
        assert by_id["br"].properties["addr"] == 0x10 << 3
        assert by_id["dog"].properties["addr"] == 2 << 3
        assert by_id["d"].properties["addr"] == 4 * GIB
        assert all(by_id[name].cold for name in ("br", "dog", "d"))
        assert list(machine.board.pci_buses["br"].functions) == [3 << 3]
        with Machine.from_snapshot(machine.save()) as again:
            assert again.digest() == machine.digest()
        # A bridge that was there from the beginning does not go; other devices do.
        machine.device_del("br")
        machine.device_del("dog")
        machine.reset()
        assert [e.device for e in machine.take_events() if isinstance(e, DeviceDeleted)] == ["dog"]


@pytest.mark.parametrize(
    ("device", "path"),
    [
        ("pvpanic-pci,addr=20", "devices[0].addr"),
        ("pvpanic-pci,nosuch=1", "devices[0].nosuch"),
        ("pvpanic-pci,events=x", "devices[0].events"),
        ("pvpanic-pci,addr=1.0", "devices[0]"),
        ("pvpanic-pci,bus=nosuch", "devices[0]"),
        ("pc-dimm,memdev=nosuch", "devices[0]"),
        ("pc-dimm,memdev=m0,size=4", "devices[0].size"),
        ("isa-debugcon,bus=pci.0", "devices[0].bus"),
        ("nosuch", "devices[0]"),
    ],
)
def test_a_device_of_a_configuration_that_cannot_be_is_named(device: str, path: str) -> None:
    with pytest.raises(ConfigError) as refused:
        made(SPIN, devices=[device])
    assert refused.value.path == path


def test_a_machine_without_pci_takes_no_pci_devices() -> None:
    with Machine(MachineConfig(board="none", serials=0)) as machine:
        with pytest.raises(CommandError, match="No 'PCI' bus found for device 'pvpanic-pci'"):
            machine.device_add("pvpanic-pci")
        with pytest.raises(CommandError, match="no slots where allocated"):
            machine.device_add("pc-dimm")


def test_memory_comes_and_goes() -> None:
    with made() as machine:
        machine.run(100)
        device = machine.device_add("pc-dimm", id="d", properties={"memdev": "m0"})
        assert dict(device.properties) == {"memdev": "m0", "node": 0, "addr": 4 * GIB, "slot": 0, "size": 16 << 20}
        machine.memory.write(4 * GIB, b"there")
        assert machine.memory.read(4 * GIB, 5) == b"there"
        machine.device_del("d")
        machine.run(200)
        first, second = machine.take_events()
        assert isinstance(first, AcpiDeviceOst)
        assert (first.info.device, first.info.slot, first.info.source, first.info.status) == ("d", "0", 3, 0x84)
        assert second == DeviceDeleted(device="d", path="/machine/peripheral/d")
        assert machine.memory.read(4 * GIB, 5) == b"\xff" * 5
        # It comes back empty.
        machine.device_add("pc-dimm", id="d", properties={"memdev": "m0"})
        assert machine.memory.read(4 * GIB, 5) == bytes(5)


def test_a_guest_may_run_in_the_module_that_it_ejects() -> None:
    config = MachineConfig(
        flat=FlatImage(SPIN, mode="long"),
        memory="2M",
        memory_slots=1,
        max_memory="1G",
        memory_backends=BACKENDS,
    )
    with Machine(config) as machine:
        machine.device_add("pc-dimm", id="d", properties={"memdev": "m0"})
        cpu, memory = machine.cpus[0], machine.memory
        pointers = int.from_bytes(memory.read(cpu.cr3 & ~0xFFF, 8), "little") & ~0xFFF
        memory.write(pointers + 8 * 4, (4 * GIB | 0x83).to_bytes(8, "little"))  # A page of 1 GiB.
        # mov dx, 0xa14; mov al, 8; out dx, al; and what comes behind is not there any more.
        memory.write(4 * GIB, bytes.fromhex("66ba140ab008ee") + b"\x90" * 64 + SPIN)
        cpu.rip = 4 * GIB
        machine.run(3)
        assert DeviceDeleted(device="d", path="/machine/peripheral/d") in machine.take_events()
        machine.run(1000)
        assert cpu.rip != 4 * GIB + 7 + 64


def test_a_guest_that_keeps_a_module_is_heard() -> None:
    with made(SPIN) as machine:
        machine.device_add("pc-dimm", id="d", properties={"memdev": "m0"})
        assert machine.board.memory_slots is not None
        registers = machine.board.memory_slots.device

        def say(event: int, status: int) -> list[type]:
            registers.port_write(0, 0, 4)
            registers.port_write(4, event, 4)
            registers.port_write(8, status, 4)
            return [type(each) for each in machine.take_events()]

        assert say(3, 0x81) == [AcpiDeviceOst], "nobody asked"
        machine.device_del("d")
        assert say(1, 1) == [AcpiDeviceOst], "about something else"
        assert say(3, 0x84) == [AcpiDeviceOst], "it works on it"
        assert say(3, 0x81) == [AcpiDeviceOst, MemUnplugError, DeviceUnplugGuestError]
        assert not machine.plug.find("d").leaving
        assert say(3, 0x81) == [AcpiDeviceOst]


def filled() -> Machine:
    machine = made()
    machine.run(50)
    machine.device_add("pc-dimm", id="d1", properties={"memdev": "m1", "slot": 1})
    machine.device_add("pc-dimm", id="d0", properties={"memdev": "m0"})
    machine.device_add("pvpanic-pci", id="p", properties={"addr": "9"})
    machine.memory.write(4 * GIB + 4096, b"one")
    machine.memory.write(4 * GIB + (4 << 20), b"zero")
    machine.run(33)
    return machine


def test_snapshots_and_their_files_hold_what_is_plugged_in() -> None:
    with filled() as machine:
        snapshot = machine.save()
        file = io.BytesIO()
        save_snapshot(snapshot, file)
        file.seek(0)
        loaded = load_snapshot(file)
        assert loaded == snapshot
        with Machine.from_snapshot(loaded) as other:
            assert other.digest() == machine.digest()
            assert other.plug.devices == machine.plug.devices
            assert other.memory.read(4 * GIB + 4096, 3) == b"one"
            for each in (machine, other):
                each.device_del("d0")
                each.device_del("p")
                each.run(500)
            assert other.digest() == machine.digest()
            assert [device.id for device in other.plug.devices if device.id] == ["d1"]
            # And back: modules and devices come, with what was in them.
            other.restore(snapshot)
            assert other.memory.read(4 * GIB + (4 << 20), 4) == b"zero"
            assert [device.id for device in other.plug.devices if device.id] == ["d1", "d0", "p"]
            assert other.save() == snapshot


def test_a_snapshot_of_before_takes_everything_out() -> None:
    with made() as machine:
        machine.run(50)
        empty = machine.save()
        with filled() as full:
            full.restore(empty)
            assert full.digest() == machine.digest()
            assert full.memory.read(4 * GIB, 4) == b"\xff" * 4
            assert not full.tree.node("/machine/peripheral").children


@pytest.mark.parametrize(
    "wrong", [{"size": 1 << 40}, {"addr": 0}, {"slot": 7}, {"size": 0}, {"addr": 4 * GIB}, {"memdev": 5}]
)
def test_a_file_with_modules_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with filled() as machine:
        snapshot = machine.save()
    plugged = tuple(
        evolve(device, properties={**device.properties, **wrong}) if device.id == "d0" else device
        for device in snapshot.plugged
    )
    file = io.BytesIO()
    save_snapshot(evolve(snapshot, plugged=plugged), file)
    file.seek(0)
    if wrong == {"memdev": 5}:  # A name is a name.
        load_snapshot(file)
        return
    with pytest.raises(ImageError, match="plugged"):
        load_snapshot(file)


def test_a_run_can_be_replayed() -> None:
    with filled() as machine:
        machine.device_del("p")
        machine.run(100)
        machine.device_del("d0")
        # What was written from outside is no input.
        machine.memory.write(4 * GIB + 4096, bytes(3))
        with Machine.replay(machine.config, machine.inputs) as again:
            for each in (machine, again):
                each.run(400)
            assert again.digest() == machine.digest()
            assert again.plug.devices == machine.plug.devices
