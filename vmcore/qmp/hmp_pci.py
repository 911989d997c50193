"""The human monitor's `info pci`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vmcore.model.pci import PciBusInfo, PciDeviceInfo, PciMemoryRegion
from vmcore.qmp.hmp_expression import Scanner
from vmcore.shell.pci import pci_info

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["pci"]


def pci(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """The functions on PCI."""
    return "".join(f"{line}\n" for bus in pci_info(machine) for device in bus.devices for line in _lines(device))


def _lines(device: PciDeviceInfo) -> Iterator[str]:
    name = device.class_info.desc or f"Class {device.class_info.class_:04d}"
    yield f"  Bus {device.bus:2}, device {device.slot:3}, function {device.function}:"
    yield f"    {name}: PCI device {device.id.vendor:04x}:{device.id.device:04x}"
    if device.id.subsystem_vendor is not None:
        yield f"      PCI subsystem {device.id.subsystem_vendor:04x}:{device.id.subsystem:04x}"
    if device.irq is not None:
        yield f"      IRQ {device.irq}, pin {'ABCD'[device.irq_pin - 1]}"
    if device.pci_bridge is not None:
        yield from _bus(device.pci_bridge.bus)
    yield from (_region(region) for region in device.regions)
    yield f'      id "{device.qdev_id}"'
    if device.pci_bridge is not None:
        for behind in device.pci_bridge.devices or ():
            yield from _lines(behind)


def _bus(bus: PciBusInfo) -> Iterator[str]:
    yield f"      BUS {bus.number}."
    yield f"      secondary bus {bus.secondary}."
    yield f"      subordinate bus {bus.subordinate}."
    yield f"      IO range [0x{bus.io_range.base:04x}, 0x{bus.io_range.limit:04x}]"
    for what, passed in (("memory", bus.memory_range), ("prefetchable memory", bus.prefetchable_range)):
        yield f"      {what} range [0x{passed.base:08x}, 0x{passed.limit:08x}]"


def _region(region: PciMemoryRegion) -> str:
    # What is nowhere is shown as the number that stands for that.
    first, last = (value % (1 << 64) for value in (region.address, region.address + region.size - 1))
    if region.type == "io":
        return f"      BAR{region.bar}: I/O at 0x{first:04x} [0x{last:04x}]."
    bits = 64 if region.mem_type_64 else 32
    kind = " prefetchable" if region.prefetch else ""
    return f"      BAR{region.bar}: {bits} bit{kind} memory at 0x{first:08x} [0x{last:08x}]."
