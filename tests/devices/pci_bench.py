"""A PCI bus on its own, and a function to plug in."""

from __future__ import annotations

from typing import Any

from attrs import define, field, frozen

from vmcore.buses.pci import PciBus, PciFunction, PciFunctionState, PciHeader, Space, Window
from vmcore.buses.pci_bridge import PciBridge
from vmcore.engine import PhysicalMemory
from vmcore.hardware import IrqLine, MemoryMap, PortRange, PortSpace, Ram, Register, SharedLine
from vmcore.hardware.decoding import MemoryDecoder, PortDecoder
from vmcore.model.units import MIB

RAM_END = MIB + 0x8000


@define(eq=False)
class PciBench:
    """RAM up to `RAM_END`, an empty root bus, and a log of interrupts and messages."""

    log: list[tuple[str, object]] = field(factory=list)
    memory: PhysicalMemory = field(factory=PhysicalMemory)
    ports: PortSpace = field(factory=PortSpace)
    bus: PciBus = field(init=False)
    decoder: MemoryDecoder = field(init=False)
    port_decoder: PortDecoder = field(init=False)

    def __attrs_post_init__(self) -> None:
        fixed = MemoryMap()
        fixed.add(Ram(0, RAM_END, "ram"))
        self.memory.map_ram(0, RAM_END)
        self.decoder = MemoryDecoder(self.memory, fixed)
        self.port_decoder = PortDecoder(self.ports, self._map, self._unmap)
        lines = [SharedLine(IrqLine(self._told(f"line{number}"), f"line{number}")) for number in range(4)]
        self.bus = PciBus(self.decoder, self.port_decoder, self._message, lines=lines)
        self.decoder.connect()
        self.port_decoder.connect()

    def put(self, function: PciFunction[Any], device: int | None = None, number: int = 0) -> Any:
        """Plug it in and give it back."""
        self.bus.plug(function, device, number)
        return function

    def _told(self, name: str) -> Any:
        return lambda level: self.log.append((name, level))

    def _message(self, address: int, data: int) -> None:
        self.log.append(("message", (address, data)))

    def _map(self, claimed: PortRange) -> None:
        self.memory.map_port(claimed.base, claimed.length, claimed.device.port_read, claimed.device.port_write)

    def _unmap(self, claimed: PortRange) -> None:
        self.memory.unmap_port(claimed.base, claimed.length)


@frozen
class WidgetState:
    """State of a widget."""

    pci: PciFunctionState
    control: int


@define(eq=False)
class Widget(PciFunction[WidgetState]):
    """One of everything."""

    PCI = PciHeader(vendor=0x1234, device=0x5678, class_code=0xFF0102, revision=3, interrupt_pin=1)

    image: bytes = b"\x55\xaa\x08rom"
    vectors: int = 4
    frame: Window = field(init=False)
    legacy: Window = field(init=False)

    CONTROL = Register(offset=0, width=32, doc="Storage.")
    TAG = Register(offset=0x104, width=32, reset=0x7461_6721, doc="Storage.")

    def __attrs_post_init__(self) -> None:
        self.add_bar(0, 4096)
        self.add_bar(1, 32, Space.IO, offset=0x100)
        self.frame = self.add_bar(2, 0x10000, Space.PREFETCHABLE, memory=True, wide=True)
        self.add_rom(self.image)
        self.legacy = self.add_window(Space.IO, 0x3C0, 0x10)
        self.add_msi(self.vectors)
        self.add_msix(3, 4)

    def reset(self) -> None:
        super().reset()

    def save(self) -> WidgetState:
        return WidgetState(self.save_pci(), self.CONTROL)

    def restore(self, state: WidgetState) -> None:
        self.CONTROL = state.control
        self.restore_pci(state.pci)


@frozen
class BridgeState:
    """State of a bridge."""

    pci: PciFunctionState


@define(eq=False)
class Bridge(PciBridge[BridgeState]):
    """A plain PCI-to-PCI bridge."""

    PCI = PciHeader(vendor=0x1B36, device=0x0001, class_code=0x060400, header_type=1)

    def __attrs_post_init__(self) -> None:
        self.add_bridge()

    def reset(self) -> None:
        super().reset()

    def save(self) -> BridgeState:
        return BridgeState(self.save_pci())

    def restore(self, state: BridgeState) -> None:
        self.restore_pci(state.pci)
