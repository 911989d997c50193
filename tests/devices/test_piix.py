"""The south bridge: routes of PCI interrupts, and where the power management ports are."""

from __future__ import annotations

import pytest
from pci_bench import PciBench, Widget
from workbench import GuestTime

from vmcore.devices.acpi_pm import AcpiPm
from vmcore.devices.piix3 import Piix3
from vmcore.devices.piix4_pm import Piix4Pm
from vmcore.hardware import IrqLine


def south(log: list[tuple[str, object]]) -> Piix3:
    def line(irq: int) -> IrqLine:
        return IrqLine(lambda level: log.append((f"irq{irq}", level)), f"irq{irq}")

    lines = {irq: line(irq) for irq in (5, 10, 11)}
    bench = PciBench(log)
    bridge: Piix3 = bench.put(Piix3(lines), 1)
    bench.bus.lines = bridge.pirqs
    bench.bus.route = lambda device, pin: device - 1 + pin & 3
    return bridge


def test_an_interrupt_goes_where_its_register_says() -> None:
    log: list[tuple[str, object]] = []
    bridge = south(log)
    widget = Widget()
    assert bridge.bus is not None
    bridge.bus.plug(widget, 4)  # INTA# of slot 4 is PIRQD.
    widget.interrupt(True)
    assert log == [], "not routed after reset"
    bridge.config_write(0x63, 11, 1)
    assert log == [("irq11", True)]
    bridge.config_write(0x63, 5, 1)
    assert set(log[1:]) == {("irq11", False), ("irq5", True)}
    bridge.config_write(0x63, 0x80, 1)
    assert log[3:] == [("irq5", False)]
    bridge.config_write(0x63, 13, 1)
    assert log[4:] == [], "13 is no interrupt that it can be routed to"


def test_two_links_on_one_interrupt_share_it() -> None:
    log: list[tuple[str, object]] = []
    bridge = south(log)
    bridge.config_write(0x60, 0x0A0A, 2)
    bridge.pirqs[0].input("one").raise_()
    other = bridge.pirqs[1].input("other")
    other.raise_()
    other.lower()
    assert log == [("irq10", True)]


def test_routes_and_levels_are_restored_in_silence() -> None:
    log: list[tuple[str, object]] = []
    bridge = south(log)
    bridge.config_write(0x60, 10, 1)
    bridge.pirqs[0].input("one").raise_()
    saved = bridge.save()
    twin_log: list[tuple[str, object]] = []
    twin = south(twin_log)
    twin.restore(saved)
    assert twin_log == []
    twin.config_write(0x60, 0x80, 1)
    assert twin_log == [("irq10", False)]


@pytest.mark.parametrize("base", [0x600, 0xB000])
def test_the_power_management_ports_are_where_the_base_register_says(base: int) -> None:
    bench = PciBench()
    power = AcpiPm(IrqLine.unconnected("sci"), GuestTime().clock, lambda state: None)
    function = bench.put(Piix4Pm(power), 1, 3)
    function.config_write(0x40, base, 4)
    assert bench.ports.at(base) is None
    function.config_write(0x80, 1, 1)
    bench.ports.write(base + 2, 0x100, 2)
    assert power.PM1_EN == 0x100
    assert function.config_read(0x40, 4) == base | 1
    saved = function.save()
    function.reset()
    assert bench.ports.at(base) is None
    function.restore(saved)
    assert bench.ports.at(base) is not None
