"""The port block of vCPUs, register by register (QEMU's specification acpi_cpu_hotplug)."""

from __future__ import annotations

from typing import Any

from vmcore.devices.cpu_hotplug import CpuHotplug


def made() -> tuple[CpuHotplug, list[Any]]:
    log: list[Any] = []
    device = CpuHotplug(
        apic_ids=(0, 1, 4, 5),
        event=lambda: log.append("event"),
        on_eject=lambda index: log.append(("eject", index)),
        on_status=lambda index: log.append(("status", index)),
        begin=0b0101,
    )
    return device, log


def modern() -> tuple[CpuHotplug, list[Any]]:
    device, log = made()
    device.port_write(0, 0, 4)
    return device, log


def select(device: CpuHotplug, index: int) -> None:
    device.port_write(0, index, 4)


def status(device: CpuHotplug, index: int) -> int:
    select(device, index)
    return device.port_read(4, 1)


def test_it_begins_as_a_bitmap_of_apic_ids() -> None:
    device, log = made()
    assert device.port_read(0, 1) == 0b1_0001
    assert device.port_read(31, 1) == 0
    device.plug(3)
    assert log == ["event"]
    assert device.port_read(0, 4) == 0b11_0001
    assert not device.slots[3].inserting
    device.port_write(4, 8, 1)
    device.port_write(0, 1, 4)
    device.port_write(0, 0, 1)
    assert device.save().legacy
    device.port_write(0, 0, 4)
    assert not device.save().legacy
    device.reset()
    assert not device.save().legacy


def test_the_probe_of_the_specification_finds_the_modern_form() -> None:
    device, _ = made()
    device.port_write(0, 0, 4)
    device.port_write(0, 0, 4)
    device.port_write(5, 0, 1)
    assert device.port_read(0, 4) == 0


def test_a_place_shows_what_is_in_it_and_its_apic_id() -> None:
    device, _ = modern()
    assert [status(device, index) for index in range(4)] == [1, 0, 1, 0]
    device.port_write(5, 3, 1)
    for index, apic_id in enumerate((0, 1, 4, 5)):
        select(device, index)
        assert device.port_read(8, 4) == apic_id
        assert device.port_read(0, 4) == 0
    device.port_write(5, 7, 1)
    assert device.port_read(8, 4) == 0
    assert device.port_read(5, 1) == device.port_read(6, 2) == 0


def test_a_vcpu_that_came_is_found_and_noted() -> None:
    device, log = modern()
    device.plug(3)
    assert log == ["event"]
    device.port_write(5, 0, 1)
    assert device.port_read(8, 4) == 3
    assert device.port_read(4, 1) == 0b11
    device.port_write(4, 2, 1)
    assert device.port_read(4, 1) == 1
    # Without news the selector stays.
    select(device, 1)
    device.port_write(5, 0, 1)
    assert device.port_read(8, 4) == 1


def test_a_vcpu_that_is_to_go_is_found_noted_and_ejected() -> None:
    device, log = modern()
    device.ask_to_go(2)
    device.port_write(5, 0, 1)
    assert device.port_read(8, 4) == 2
    assert device.port_read(4, 1) == 0b101
    device.port_write(4, 4, 1)
    assert device.port_read(4, 1) == 1
    device.port_write(4, 8, 1)
    assert device.port_read(4, 1) == 0
    assert log == ["event", ("eject", 2)]
    device.port_write(4, 8, 1)
    assert log == ["event", ("eject", 2)]
    assert device.present == 1


def test_the_first_vcpu_cannot_be_ejected() -> None:
    device, log = modern()
    select(device, 0)
    device.port_write(4, 8, 1)
    device.port_write(4, 16, 1)
    assert device.port_read(4, 1) == 1
    assert log == []


def test_an_ejection_can_be_left_to_firmware() -> None:
    device, _ = modern()
    select(device, 2)
    device.port_write(4, 16, 1)
    assert device.port_read(4, 1) == 0b1_0001
    select(device, 0)
    device.port_write(5, 0, 1)
    assert device.port_read(8, 4) == 2
    device.port_write(4, 8, 1)
    assert device.port_read(4, 1) == 0


def test_what_the_guest_says_is_kept_by_place() -> None:
    device, log = modern()
    select(device, 2)
    device.port_write(5, 1, 1)
    device.port_write(8, 0x103, 4)
    assert log == []
    device.port_write(5, 2, 1)
    device.port_write(8, 0x84, 4)
    assert log == [("status", 2)]
    assert (device.slots[2].ost_event, device.slots[2].ost_status) == (0x103, 0x84)
    assert device.port_read(8, 4) == 0


def test_nothing_works_while_no_place_is_selected() -> None:
    device, log = modern()
    device.ask_to_go(2)
    select(device, 4)
    device.port_write(5, 0, 1)
    device.port_write(4, 8, 1)
    device.port_write(8, 1, 4)
    assert [device.port_read(offset, 4) for offset in (0, 4, 8)] == [0, 0, 0]
    assert log == ["event"]
    select(device, 2)
    assert device.port_read(4, 1) == 0b101
