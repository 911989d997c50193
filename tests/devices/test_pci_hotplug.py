"""The registers of PCI hot-plug against their document (docs/specs/acpi_pci_hotplug of QEMU)."""

from __future__ import annotations

from vmcore.devices.pci_hotplug import PciHotplug

UP, DOWN, EJECT, REMOVABLE, BUS = 0x00, 0x04, 0x08, 0x0C, 0x10


class Bench:
    def __init__(self, buses: int = 1) -> None:
        self.log: list[object] = []
        self.device = PciHotplug(
            lambda: self.log.append("event"),
            lambda bus, slot: self.log.append((bus, slot)),
            lambda bus: 0xFFFF_FFF4 + bus,
            buses,
        )

    def read(self, offset: int) -> int:
        return self.device.port_read(offset, 4)

    def write(self, offset: int, value: int) -> None:
        self.device.port_write(offset, value, 4)


def test_new_devices_are_told_of_once() -> None:
    bench = Bench()
    bench.device.plug(0, 4)
    bench.device.plug(0, 31)
    assert bench.log == ["event", "event"]
    assert bench.read(UP) == 1 << 4 | 1 << 31
    assert bench.read(UP) == 0
    bench.write(UP, 1)
    assert bench.read(UP) == bench.read(DOWN) == 0


def test_devices_that_are_to_go_are_told_of_until_they_are_ejected() -> None:
    bench = Bench()
    bench.device.ask_to_go(0, 2)
    bench.device.ask_to_go(0, 5)
    assert bench.read(DOWN) == bench.read(DOWN) == 1 << 2 | 1 << 5
    bench.write(EJECT, 1 << 5)
    assert bench.log == ["event", "event", (0, 5)]
    assert bench.read(DOWN) == 1 << 2
    # A guest may eject what nobody asked for; of several slots the lowest counts, and none is none.
    bench.write(EJECT, 1 << 9 | 1 << 7)
    bench.write(EJECT, 0)
    assert bench.log[3:] == [(0, 7)]
    assert bench.read(EJECT) == 0, "no features"


def test_the_other_registers_are_about_the_selected_bus() -> None:
    bench = Bench(buses=2)
    bench.device.plug(1, 3)
    assert bench.read(UP) == 0
    assert bench.read(REMOVABLE) == 0xFFFF_FFF4
    bench.write(BUS, 1)
    assert (bench.read(BUS), bench.read(UP), bench.read(REMOVABLE)) == (1, 8, 0xFFFF_FFF5)
    bench.write(BUS, 77)
    assert (bench.read(BUS), bench.read(UP), bench.read(DOWN), bench.read(REMOVABLE)) == (77, 0, 0, 0xFFFF_FFFF)
    bench.write(EJECT, 1)
    assert bench.log == ["event"]


def test_a_reset_ejects_what_was_to_go_and_forgets_what_came() -> None:
    bench = Bench()
    bench.device.plug(0, 1)
    bench.device.ask_to_go(0, 6)
    bench.device.ask_to_go(0, 3)
    bench.device.eject_pending()
    bench.device.reset()
    assert bench.log[3:] == [(0, 3), (0, 6)]
    assert bench.read(UP) == bench.read(DOWN) == 0


def test_an_empty_slot_has_no_news() -> None:
    bench = Bench()
    bench.device.plug(0, 1)
    bench.device.ask_to_go(0, 1)
    bench.device.forget(0, 1)
    assert bench.read(UP) == bench.read(DOWN) == 0
