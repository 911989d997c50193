"""The chip set of q35: configuration space as memory, routes of eight interrupts, power management ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pci_bench import PciBench, Widget
from workbench import GuestTime

from vmcore.devices.acpi_pm import AcpiPm
from vmcore.devices.ich9_chipset import Ich9Chipset
from vmcore.devices.ich9_lpc import Ich9Lpc, SmiControl, route
from vmcore.devices.pci_ecam import PciEcam
from vmcore.devices.q35_mch import Q35Mch
from vmcore.devices.tco import Tco
from vmcore.hardware import IrqLine


def ich9(
    power: AcpiPm, irqs: Mapping[int, IrqLine] | None = None, inputs: Sequence[Callable[[bool], None]] = ()
) -> Ich9Lpc:
    return Ich9Lpc(power, SmiControl(), Tco(power.clock, lambda: None), Ich9Chipset(), irqs or {}, inputs)


def test_configuration_space_shows_where_the_register_says() -> None:
    bench = PciBench()
    ecam = PciEcam(bench.bus)
    mch = bench.put(Q35Mch(None, ecam), 0)
    widget = bench.put(Widget(), 5)
    mch.config_write(0x60, 0xE000_0001, 4)
    base, size, _ = bench.decoder.shown[0]
    assert (base, size) == (0xE000_0000, 256 << 20)
    at = 5 << 15
    assert ecam.mmio_read(at, 4) == 0x5678_1234
    assert ecam.mmio_read(at + 1, 8) == int.from_bytes(bytes(widget.config.data[1:9]), "little")
    ecam.mmio_write(at + 0x10, 0xFFFF_FFFF, 4)
    assert widget.config_read(0x10, 4) == 0xFFFF_F000
    ecam.mmio_write(at + 0x18, 0xD000_0000 | 0x10 << 32, 8)
    assert widget.config_read(0x1C, 4) == 0x10
    assert ecam.mmio_read(at + 0x100, 4) == 0xFFFF_FFFF, "it has no extended configuration space"
    assert ecam.mmio_read(6 << 15, 2) == ecam.mmio_read(1 << 20, 2) == 0xFFFF
    mch.config_write(0x60, 0xE000_0005, 4)
    assert [(base, size) for base, size, _ in bench.decoder.shown] == [(0xE000_0000, 64 << 20)]
    saved = mch.save()
    mch.reset()
    assert bench.decoder.shown == []
    mch.restore(saved)
    assert len(bench.decoder.shown) == 1
    mch.config_write(0x60, 0xE000_0007, 4)
    assert bench.decoder.shown == [], "a size that there is not"


def test_interrupts_reach_both_an_isa_interrupt_and_the_ioapic() -> None:
    log: list[tuple[str, object]] = []
    bench = PciBench(log)

    def told(name: str) -> IrqLine:
        return IrqLine(lambda level: log.append((name, level)), name)

    power = AcpiPm(told("sci"), GuestTime().clock, lambda state: None)
    inputs = [told(f"gsi{16 + number}").set for number in range(8)]
    bridge = ich9(power, {10: told("irq10"), 11: told("irq11")}, inputs)
    bench.bus.lines, bench.bus.route = bridge.pirqs, route
    bench.put(bridge, 31)
    widget, own = bench.put(Widget(), 2), bench.put(Widget(), 31, 2)
    widget.interrupt(True)
    assert log == [("gsi22", True)], "slot 2 pin A is PIRQG"
    bridge.config_write(0x6A, 11, 1)
    assert log[1:] == [("irq11", True)]
    widget.interrupt(False)
    own.interrupt(True)
    assert ("gsi16", True) in log
    assert ("irq11", False) in log


def test_the_ports_of_power_management_need_their_enable() -> None:
    bench = PciBench()
    power = AcpiPm(IrqLine.unconnected("sci"), GuestTime().clock, lambda state: None)
    bridge = bench.put(ich9(power), 31)
    bridge.config_write(0x40, 0x600, 4)
    assert bench.ports.at(0x600) is None
    bridge.config_write(0x44, 0x80, 1)
    bench.ports.write(0x602, 0x100, 2)
    assert power.PM1_EN == 0x100
    assert bench.ports.read(0x630, 4) == 0x20, "somebody has taken care of system management mode"
    bridge.config_write(0x40, 0xB000, 4)
    assert bench.ports.at(0x600) is None
    assert bench.ports.at(0xB022) is not None


def test_the_watchdog_is_among_those_ports_and_obeys_a_register_in_memory() -> None:
    bench = PciBench()
    power = AcpiPm(IrqLine.unconnected("sci"), GuestTime().clock, lambda state: None)
    bridge = bench.put(ich9(power), 31)
    bridge.config_write(0x40, 0x600, 4)
    bridge.config_write(0x44, 0x80, 1)
    bench.ports.write(0x672, 25, 2)
    assert bridge.tco.TCO_TMR == 25
    assert bench.decoder.shown == []
    bridge.config_write(0xF0, 0xFED1_C001, 4)
    assert [(base, size) for base, size, _ in bench.decoder.shown] == [(0xFED1_F000, 0x1000)]
    bridge.chipset.mmio_write(0x410, 0x20, 4)
    assert bridge.chipset.no_reboot
    saved = bridge.save()
    bridge.reset()
    assert bench.decoder.shown == []
    bridge.restore(saved)
    assert len(bench.decoder.shown) == 1
