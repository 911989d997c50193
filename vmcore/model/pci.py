"""Types of the management model around PCI."""

from __future__ import annotations

from typing import Annotated

from attrs import frozen

from vmcore.model.wire import Int, Named, struct

__all__ = [
    "PciBridgeInfo",
    "PciBusInfo",
    "PciDeviceClass",
    "PciDeviceId",
    "PciDeviceInfo",
    "PciInfo",
    "PciMemoryRange",
    "PciMemoryRegion",
]


@struct
@frozen(kw_only=True)
class PciMemoryRange:
    """Addresses or ports.  base, limit: the first and the last."""

    base: Int
    limit: Int


@struct
@frozen(kw_only=True)
class PciMemoryRegion:
    """What a base address register is for.

    bar: its number; type: "io" or "memory"; address: where it is, -1 while it is nowhere; size: bytes; prefetch,
    mem_type_64: of memory only: it may be prefetched, its address has 64 bits.
    """

    bar: Int
    type: str
    address: Int
    size: Int
    prefetch: bool | None = None
    mem_type_64: Annotated[bool | None, Named("mem_type_64")] = None


@struct
@frozen(kw_only=True)
class PciBusInfo:
    """The bus behind a bridge.

    number: of the bus that the bridge is on; secondary: of the one behind it; subordinate: the highest behind it;
    io_range, memory_range, prefetchable_range: what passes.
    """

    number: Int
    secondary: Int
    subordinate: Int
    io_range: Annotated[PciMemoryRange, Named("io_range")]
    memory_range: Annotated[PciMemoryRange, Named("memory_range")]
    prefetchable_range: Annotated[PciMemoryRange, Named("prefetchable_range")]


@struct
@frozen(kw_only=True)
class PciBridgeInfo:
    """A bridge.  devices: what is behind it; None while its bus has no number."""

    bus: PciBusInfo
    devices: tuple[PciDeviceInfo, ...] | None = None


@struct
@frozen(kw_only=True)
class PciDeviceClass:
    """What a function is.  desc: its name, for the usual ones; class_: base class and subclass."""

    desc: str | None = None
    class_: Annotated[Int, Named("class")]


@struct
@frozen(kw_only=True)
class PciDeviceId:
    """Who a function is.  A bridge has no subsystem."""

    device: Int
    vendor: Int
    subsystem: Int | None = None
    subsystem_vendor: Int | None = None


@struct
@frozen(kw_only=True)
class PciDeviceInfo:
    """A function.

    bus, slot, function: its place; irq: the interrupt that firmware or the guest noted for it, of those with a pin;
    irq_pin: 1 to 4 for INTA# to INTD#, 0 for none; qdev_id: the name that it was given, "" if none; pci_bridge: of
    bridges only; regions: its base address registers.
    """

    bus: Int
    slot: Int
    function: Int
    class_info: Annotated[PciDeviceClass, Named("class_info")]
    id: PciDeviceId
    irq: Int | None = None
    irq_pin: Annotated[Int, Named("irq_pin")]
    qdev_id: Annotated[str, Named("qdev_id")]
    pci_bridge: Annotated[PciBridgeInfo | None, Named("pci_bridge")] = None
    regions: tuple[PciMemoryRegion, ...]


@struct
@frozen(kw_only=True)
class PciInfo:
    """A root bus.  bus: its number; devices: what is on it."""

    bus: Int
    devices: tuple[PciDeviceInfo, ...]
