"""vCPUs that are plugged in and go, under a small guest that uses the port block by itself."""

from __future__ import annotations

import io
from typing import Any

import pytest
from attrs import evolve

from vmcore.firmware import tables
from vmcore.machine.config import FlatImage, MachineConfig
from vmcore.machine.inputs import PlugDevice, UnplugDevice
from vmcore.machine.machine import Machine
from vmcore.machine.snapshot_file import load_snapshot, save_snapshot
from vmcore.model.acpi import AcpiDeviceOst
from vmcore.model.errors import CommandError, UsageError
from vmcore.model.qom import DeviceDeleted

# Turns to the modern port block of vCPUs and says so (_OST 0, 0); then tells of each that comes (1, 0), and lets go of
# each that is to (3, 84h; 3, 0).
GUEST = bytes.fromhex(
    "ba00af6631c066ef30db30c9e83300ba05af30c0ee4aeca802751ba80474f0b004eeb303b184e81900ba04afb008ee30c9e80e00ebd9b002ee"
    "b30130c9e80200ebcdba05afb001ee660fb6c3ba08af66efba05afb002ee660fb6c1ba08af66efc3"
)
TYPE = "qemu64-x86_64-cpu"


def made(**fields: Any) -> Machine:
    fields = {"cpus": 1, "maxcpus": 4, "sockets": 2} | fields
    return Machine(MachineConfig(flat=FlatImage(GUEST), memory="1M", cpu="qemu64", **fields))


def plug(machine: Machine, socket: int, core: int, id: str | None = None) -> None:
    machine.device_add(TYPE, id=id, properties={"socket-id": socket, "core-id": core, "thread-id": 0})


def said(machine: Machine) -> list[Any]:
    """Events in short."""
    found: list[Any] = []
    for event in machine.take_events():
        if isinstance(event, AcpiDeviceOst):
            found.append((event.info.device, int(event.info.slot), event.info.source, event.info.status))
        elif isinstance(event, DeviceDeleted):
            found.append((event.device, event.path))
    return found


def test_a_vcpu_comes_and_goes_and_comes_again() -> None:
    with made() as machine:
        machine.run(200)
        assert said(machine) == [(None, 0, 0, 0)]
        assert list(machine.present_cpus) == [0]
        for _ in range(2):
            plug(machine, 1, 0, "c2")
            assert list(machine.present_cpus) == [0, 2]
            assert machine.cpu_path(2) == "/machine/peripheral/c2"
            assert machine.tree.node("/machine/peripheral/c2/lapic")
            machine.run(200)
            assert said(machine) == [("c2", 2, 1, 0)]
            machine.device_del("c2")
            machine.run(200)
            assert said(machine) == [
                ("c2", 2, 3, 0x84),
                (None, "/machine/peripheral/c2/lapic"),
                ("c2", "/machine/peripheral/c2"),
                (None, 2, 3, 0),
            ]
            assert list(machine.present_cpus) == [0]
            with pytest.raises(UsageError, match="not plugged in"):
                machine.cpu_path(2)
        assert [type(record.input) for record in machine.inputs] == 2 * [PlugDevice, UnplugDevice]


def test_a_vcpu_without_a_name_takes_the_first_free_place_in_the_tree() -> None:
    with made() as machine:
        machine.run(200)
        plug(machine, 0, 1)
        plug(machine, 1, 0)
        assert [machine.cpu_path(index) for index in (1, 2)] == [
            "/machine/peripheral-anon/device[0]",
            "/machine/peripheral-anon/device[1]",
        ]
        machine.device_del("/machine/peripheral-anon/device[0]")
        machine.run(400)
        plug(machine, 1, 1)
        assert machine.cpu_path(3) == "/machine/peripheral-anon/device[0]"
        assert [device.path for device in machine.plug.devices] == [
            "/machine/cpus/cpu0",
            "/machine/peripheral-anon/device[1]",
            "/machine/peripheral-anon/device[0]",
        ]


def test_vcpus_that_the_machine_began_with_can_go_but_for_the_first() -> None:
    with made(cpus=2) as machine:
        with pytest.raises(CommandError, match="not supported device type"):
            machine.device_del("/machine/cpus/cpu1")
        machine.run(200)
        machine.device_del("/machine/cpus/cpu1")
        machine.run(200)
        assert (None, "/machine/cpus/cpu1") in said(machine)
        with pytest.raises(CommandError, match="Boot CPU is unpluggable"):
            machine.device_del("/machine/cpus/cpu0")


def test_what_is_not_plugged_in_hears_nothing() -> None:
    with made(cpus=2) as machine:
        bus = machine.board.apics[0].bus  # type: ignore[attr-defined]
        assert [apic.apic_id for apic in bus.local] == [0, 1]
        with pytest.raises(UsageError, match="no vCPU 2"):
            machine.nmi(2)
        machine.run(200)
        plug(machine, 1, 1)
        assert [apic.apic_id for apic in bus.local] == [0, 1, 3]
        plug(machine, 1, 0)
        assert [apic.apic_id for apic in bus.local] == [0, 1, 2, 3]


def test_a_new_vcpu_counts_time_with_the_others() -> None:
    with made() as machine:
        machine.run(5000)
        plug(machine, 0, 1)
        assert machine.cpus[1].tsc == machine.cpus[0].tsc > 0


def test_a_vcpu_that_is_to_go_still_is_after_a_reset() -> None:
    with made() as machine:
        machine.run(200)
        plug(machine, 0, 1, "c1")
        machine.run(200)
        machine.device_del("c1")
        machine.device_del("c1")
        machine.reset()
        assert list(machine.present_cpus) == [0, 1]
        machine.take_events()
        machine.run(200)
        assert said(machine) == [
            (None, 0, 0, 0),
            ("c1", 1, 3, 0x84),
            (None, "/machine/peripheral/c1/lapic"),
            ("c1", "/machine/peripheral/c1"),
            (None, 1, 3, 0),
        ]


def test_snapshots_hold_what_is_plugged_in() -> None:
    with made() as machine:
        machine.run(200)
        empty = machine.save()
        plug(machine, 1, 0, "c2")
        machine.run(30)
        full = machine.save()
        file = io.BytesIO()
        save_snapshot(full, file)
        file.seek(0)
        loaded = load_snapshot(file)
        assert loaded == full
        with Machine.from_snapshot(loaded) as other:
            assert other.digest() == machine.digest()
            assert list(other.present_cpus) == [0, 2]
            assert other.cpu_path(2) == "/machine/peripheral/c2"
            other.device_del("c2")
            machine.device_del("c2")
            for each in (machine, other):
                each.run(300)
            assert other.digest() == machine.digest()
            assert said(other)[-1] == (None, 2, 3, 0)
            other.restore(empty)
            assert list(other.present_cpus) == [0]
            assert not other.tree.node("/machine/peripheral").children
            other.restore(full)
            assert list(other.present_cpus) == [0, 2]


def test_a_file_whose_devices_cannot_be_is_refused() -> None:
    from vmcore.model.errors import ImageError

    with made() as machine:
        plug(machine, 1, 0, "c2")
        snapshot = machine.save()
    wrong = evolve(snapshot.plugged[1], driver="nosuch")
    file = io.BytesIO()
    save_snapshot(evolve(snapshot, plugged=(snapshot.plugged[0], wrong)), file)
    file.seek(0)
    with pytest.raises(ImageError, match="plugged"):
        load_snapshot(file)


def test_a_run_with_vcpus_that_come_and_go_can_be_replayed() -> None:
    with made() as machine:
        machine.run(200)
        plug(machine, 1, 0, "c2")
        machine.run(77)
        plug(machine, 0, 1)
        machine.run(300)
        machine.device_del("c2")
        again = Machine.replay(machine.config, machine.inputs)
        assert again.digest() == machine.digest()
        for each in (machine, again):
            each.run(1000)
        assert again.digest() == machine.digest()
        assert again.present_cpus == machine.present_cpus == (0, 1)
        again.close()


def test_firmware_tells_of_the_vcpus_that_there_are_at_each_reset() -> None:
    with Machine(MachineConfig(bootsector=BOOT, memory="16M", cpus=2, maxcpus=4)) as machine:

        def processors() -> list[int]:
            tables_now = tables.build(evolve(machine.board.layout, present=machine.board.present))
            for segment in tables_now.segments:
                assert machine.memory.read(segment.address, len(segment.data)) == segment.data
            (main,) = (s for s in tables_now.segments if s.name == "ACPI tables")
            at = main.address + main.data.index(b"APIC") + 44
            return [machine.memory.read(at + 8 * n + 4, 1)[0] for n in range(4)]

        assert processors() == [1, 1, 2, 2]
        # Before the first instruction the tables still can be made right.
        machine.device_add("max-x86_64-cpu", properties={"apic-id": 2})
        assert processors() == [1, 1, 1, 2]
        machine.run(100)
        machine.device_add("max-x86_64-cpu", properties={"apic-id": 3})
        with pytest.raises(AssertionError):
            processors()
        machine.reset()
        assert processors() == [1, 1, 1, 1]


def test_the_firmware_configuration_device_tells_of_the_vcpus_that_there_are() -> None:
    with Machine(MachineConfig(firmware=bytes(1 << 18), memory="16M", cpus=1, maxcpus=6, cores=3)) as machine:
        items = machine.board.fw_cfg.items  # type: ignore[attr-defined]
        assert (items[5], items[15]) == (b"\1\0", b"\7\0")
        before, empty = dict(items), machine.save()
        machine.device_add("max-x86_64-cpu", properties={"socket-id": 1, "core-id": 1, "thread-id": 0})
        assert items[5] == b"\2\0"
        assert {key for key in items if items[key] != before[key]} > {5}  # the tables, too
        machine.restore(empty)
        assert items == before


BOOT = bytes.fromhex("ebfe").ljust(510, b"\0") + b"\x55\xaa"
