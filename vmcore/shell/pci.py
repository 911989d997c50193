"""What there is on PCI, as management clients ask for it.

Numbers come from configuration space as the guest sees it: PCI Local Bus Specification 3.0, chapter 6, and PCI-to-PCI
Bridge Architecture Specification 1.2, section 3.2.  Names of classes: chapter D of the former, in QEMU's words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vmcore.buses.pci import ROM_BAR, PciBus, PciFunction, Space
from vmcore.buses.pci_bridge import PciBridge
from vmcore.buses.pci_config import INTERRUPT_LINE, INTERRUPT_PIN
from vmcore.machine.plug import NAMED
from vmcore.model.pci import (
    PciBridgeInfo,
    PciBusInfo,
    PciDeviceClass,
    PciDeviceId,
    PciDeviceInfo,
    PciInfo,
    PciMemoryRange,
    PciMemoryRegion,
)

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine

__all__ = ["pci_info"]

CLASSES: Final = {
    0x0100: "SCSI controller",
    0x0101: "IDE controller",
    0x0102: "Floppy controller",
    0x0104: "RAID controller",
    0x0106: "SATA controller",
    0x0180: "Storage controller",
    0x0200: "Ethernet controller",
    0x0280: "Network controller",
    0x0300: "VGA controller",
    0x0302: "3D controller",
    0x0380: "Display controller",
    0x0400: "Video controller",
    0x0401: "Audio controller",
    0x0403: "Audio controller",
    0x0500: "RAM controller",
    0x0580: "Memory controller",
    0x0600: "Host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI bridge",
    0x0680: "Bridge",
    0x0700: "Serial port",
    0x0C03: "USB controller",
    0x0C05: "SMBus",
}
NOWHERE: Final = -1


def pci_info(machine: Machine) -> tuple[PciInfo, ...]:
    """The root buses, and everything on and behind them."""
    roots = [bus for bus in machine.board.pci_buses.values() if bus.upstream is None]
    return tuple(PciInfo(bus=bus.number, devices=_devices(machine, bus)) for bus in roots)


def _devices(machine: Machine, bus: PciBus) -> tuple[PciDeviceInfo, ...]:
    return tuple(_device(machine, bus, place) for place in sorted(bus.functions))


def _device(machine: Machine, bus: PciBus, place: int) -> PciDeviceInfo:
    function = bus.functions[place]
    get = function.config.get
    kind, pin = get(0x0A, 2), get(INTERRUPT_PIN, 1)
    is_bridge = isinstance(function, PciBridge)
    path = machine.tree.path_of(function) or ""
    return PciDeviceInfo(
        bus=bus.number,
        slot=place >> 3,
        function=place & 7,
        class_info=PciDeviceClass(desc=CLASSES.get(kind), class_=kind),
        id=PciDeviceId(
            device=get(2, 2),
            vendor=get(0, 2),
            subsystem=None if is_bridge else get(0x2E, 2),
            subsystem_vendor=None if is_bridge else get(0x2C, 2),
        ),
        irq=get(INTERRUPT_LINE, 1) if pin else None,
        irq_pin=pin,
        qdev_id=path.removeprefix(f"{NAMED}/") if path.startswith(f"{NAMED}/") else "",
        pci_bridge=_bridge(machine, function) if isinstance(function, PciBridge) else None,
        regions=_regions(function),
    )


def _regions(function: PciFunction[Any]) -> tuple[PciMemoryRegion, ...]:
    found = []
    for window in sorted((each for each in function.windows if each.bar is not None), key=lambda each: each.register):
        assert window.bar is not None
        base = function.address_of(window)
        memory = window.space.is_memory
        found.append(
            PciMemoryRegion(
                bar=window.bar,
                type="memory" if memory else "io",
                address=NOWHERE if base is None else base,
                size=window.size,
                prefetch=window.space is Space.PREFETCHABLE if memory else None,
                mem_type_64=window.wide if memory and window.bar != ROM_BAR else False if memory else None,
            )
        )
    return tuple(found)


def _bridge(machine: Machine, bridge: PciBridge[Any]) -> PciBridgeInfo:
    get = bridge.config.get
    return PciBridgeInfo(
        bus=PciBusInfo(
            number=get(0x18, 1),
            secondary=bridge.secondary,
            subordinate=bridge.subordinate,
            io_range=PciMemoryRange(
                base=get(0x1C, 1) >> 4 << 12 | get(0x30, 2) << 16,
                limit=get(0x1D, 1) >> 4 << 12 | get(0x32, 2) << 16 | 0xFFF,
            ),
            memory_range=PciMemoryRange(base=get(0x20, 2) >> 4 << 20, limit=get(0x22, 2) >> 4 << 20 | 0xF_FFFF),
            prefetchable_range=PciMemoryRange(
                base=get(0x24, 2) >> 4 << 20 | get(0x28, 4) << 32,
                limit=get(0x26, 2) >> 4 << 20 | get(0x2C, 4) << 32 | 0xF_FFFF,
            ),
        ),
        devices=_devices(machine, bridge.below) if bridge.secondary and bridge.below is not None else None,
    )
