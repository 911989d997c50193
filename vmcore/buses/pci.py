"""PCI: functions, their base address registers, interrupts and bus mastering, and the bus that they sit on.

A device on the bus is a `PciFunction`.  It is a `Device` like any other, with registers, `reset`, `save` and `restore`;
besides it says who it is (`PCI`) and what it decodes, and is plugged into a slot by its board:

    @frozen
    class WidgetState:
        pci: PciFunctionState
        control: int

    @define(eq=False)
    class Widget(PciFunction[WidgetState]):
        PCI = PciHeader(vendor=0x1234, device=0x5678, class_code=0xFF0000, interrupt_pin=1)

        CONTROL = Register(offset=0, width=32, doc="Starts the work.")

        def __attrs_post_init__(self) -> None:
            self.add_bar(0, 4096)                          # memory; our registers from offset 0 on
            self.add_bar(1, 32, Space.IO, offset=0x100)    # ports; our registers from offset 0x100 on
            self.frame = self.add_bar(2, 16 << 20, Space.PREFETCHABLE, memory=True)  # RAM: self.frame.memory
            self.add_rom(image)
            self.msi = self.add_msi()

        @CONTROL.on_write
        def _start(self, value: int) -> None:
            data = self.dma_read(value, 64)                # ones unless the guest lets us master the bus
            self.interrupt(True)                           # INTx, or see `msi`

        def reset(self) -> None:
            super().reset()                                # declared registers and configuration space

        def save(self) -> WidgetState:
            return WidgetState(self.save_pci(), self.CONTROL)

        def restore(self, state: WidgetState) -> None:
            self.CONTROL = state.control
            self.restore_pci(state.pci)

    board.pci.plug(widget, device=3)

The guest finds it, gives its base address registers addresses, and lets it decode them by the command register: from
then on its accesses reach the function.  Addresses that overlap RAM, a fixed device or another function are decided by
`vmcore.hardware.decoding`.

Source: PCI Local Bus Specification 3.0, chapters 3 and 6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, ClassVar, Final, Protocol, TypeVar, final

from attrs import frozen

from vmcore.buses.pci_config import (
    BASE_ADDRESSES,
    COMMAND,
    EXPANSION_ROM,
    HEADER_TYPE,
    INTERRUPT_PIN,
    MULTIFUNCTION,
    STATUS,
    Command,
    ConfigSpace,
    PciHeader,
    Status,
)
from vmcore.buses.pci_messages import MSIX_KIND, Msi, MsixTable, MsixTableState
from vmcore.hardware.decoding import Claim, HiddenMemory, MemoryDecoder, PortDecoder, Registers, Target
from vmcore.hardware.device import Device
from vmcore.hardware.irq import IrqLine, SharedLine
from vmcore.model.errors import ConfigError

__all__ = ["PciBus", "PciFunction", "PciFunctionState", "PciHeader", "Space", "Upstream", "Window"]

S = TypeVar("S")

DEVICES: Final = 32
FUNCTIONS: Final = 8
BARS: Final = 6
ROM_BAR: Final = 6
"""What the expansion ROM's base address register counts as."""
PAGE: Final = 4096
ORDER: Final = 100
"""Order of claims of functions: chip sets come before them."""
ADDRESSES: Final = 1 << 51
"""Above lie the homes of hidden memory, which no bus master reaches."""


class Space(Enum):
    """Where a range is decoded, and for base address registers how the guest may treat it."""

    IO = "ports"
    MEMORY = "memory"
    PREFETCHABLE = "prefetchable memory"

    @property
    def is_memory(self) -> bool:
        """Whether it is not ports."""
        return self is not Space.IO


@final
class Window:
    """A range that a function decodes while its command register lets it: behind a base address register, or fixed.

    base: where it is now, None while it is nowhere; target: what it shows; memory: the RAM or ROM that was made for it
    when the function was plugged in.
    """

    __slots__ = ("bar", "base", "gated", "image", "memory", "name", "register", "size", "space", "target", "wide")

    def __init__(self, space: Space, size: int, target: Target, name: str, base: int | None, bar: int | None) -> None:
        self.space = space
        self.size = size
        self.target = target
        self.name = name
        self.base = base
        self.bar = bar
        self.wide = False
        self.gated = True
        self.memory: HiddenMemory | None = None
        self.image = b""
        """What ROM made for it holds."""
        self.register = 0
        """Offset of the base address register."""


@frozen
class PciFunctionState:
    """What every function saves: config: its configuration space; asserted: what it drives INTx to, before the
    command register; msix: its MSI-X table, where it has one.
    """

    config: bytes
    asserted: bool = False
    msix: MsixTableState | None = None


class Upstream(Protocol):
    """What a bus hangs on: a bridge above it."""

    below: PciBus | None

    def admits(self, space: Space) -> list[tuple[int, int]]:
        """Ranges (first, behind) of addresses that pass to the bus below."""

    @property
    def lets_master(self) -> bool:
        """Whether accesses by bus masters below pass upwards."""

    @property
    def secondary(self) -> int:
        """Number of the bus below, as the guest has set it."""

    @property
    def subordinate(self) -> int:
        """Highest number of a bus below."""

    @property
    def path(self) -> tuple[int, ...]:
        """Places of all bridges from the root bus on, and its own."""

    def interrupt_line(self, pin: int, name: str) -> IrqLine:
        """A line for interrupt pin 0 to 3 of the bus below."""


class PciFunction(Device[S]):
    """Base of devices on a PCI bus.  The module says how one is written."""

    __slots__ = ("_asserted", "_claims", "bus", "config", "devfn", "line", "msi", "msix", "windows")

    PCI: ClassVar[PciHeader]
    """Who the function is."""
    CONFIG_SIZE: ClassVar[int] = 256

    def __attrs_pre_init__(self) -> None:
        super().__attrs_pre_init__()
        self.config = ConfigSpace.of(self.PCI, self.CONFIG_SIZE)
        """Configuration space.  `config.set` and `config.allow` add to it while the function is built."""
        self.windows: list[Window] = []
        self.bus: PciBus | None = None
        """Where it is plugged in."""
        self.devfn = 0
        """Its place on the bus: device number * 8 + function number."""
        self.line = IrqLine.unconnected("intx")
        self.msi: Msi | None = None
        self.msix: MsixTable | None = None
        self._asserted = False
        self._claims: dict[tuple[int, int, int], tuple[Target, Claim]] = {}

    # --- what it decodes, declared while it is built

    def add_bar(
        self,
        index: int,
        size: int,
        space: Space = Space.MEMORY,
        *,
        device: Device[Any] | None = None,
        offset: int = 0,
        memory: bool = False,
        wide: bool = False,
    ) -> Window:
        """A base address register for `size` bytes, a power of two (at least 4 ports, 16 bytes, or a page of RAM).

        Accesses go to registers of `device` (default: this function) from `offset` on; with `memory` the window is RAM
        instead, made when the function is plugged in (`Window.memory`).  wide: a 64-bit address in two registers.
        """
        least = PAGE if memory else 16 if space.is_memory else 4
        if size < least or size & size - 1:
            raise ValueError(f"base address register {index}: size {size:#x}: expected a power of two from {least:#x}")
        if index not in range(BARS - wide) or (wide and not space.is_memory):
            raise ValueError(f"base address register {index}: expected 0 to {BARS - 1 - wide}")
        window = Window(space, size, Registers(device or self, offset), f"bar{index}", None, index)
        window.register = BASE_ADDRESSES + 4 * index
        window.wide = wide
        if memory:
            window.target = HiddenMemory(0, size)
        flags = 1 if not space.is_memory else 4 * wide | 8 * (space is Space.PREFETCHABLE)
        width = 8 if wide else 4
        self.config.set(window.register, width, flags)
        self.config.allow(window.register, width, (1 << 8 * width) - size)
        self.windows.append(window)
        return window

    def add_rom(self, image: bytes, size: int | None = None) -> Window:
        """An expansion ROM that holds `image` (6.3).  size: a power of two, by default the next one from a page on."""
        whole = max(size or 0, PAGE, 1 << (len(image) - 1).bit_length())
        window = Window(Space.MEMORY, whole, HiddenMemory(0, whole, read_only=True), "rom", None, ROM_BAR)
        window.register = self._rom_register
        self.config.allow(window.register, 4, (1 << 32) - whole | 1)
        self.windows.append(window)
        window.image = bytes(image)
        return window

    def add_window(
        self,
        space: Space,
        base: int | None,
        size: int,
        *,
        device: Device[Any] | None = None,
        offset: int = 0,
        gated: bool = True,
    ) -> Window:
        """A fixed range that goes with no register, such as the ports of a VGA.  `move` changes it.

        gated: it is decoded only with the command register's bit for its space.
        """
        window = Window(space, size, Registers(device or self, offset), f"window {base or 0:#x}", base, None)
        window.gated = gated
        self.windows.append(window)
        return window

    def move(
        self,
        window: Window,
        *,
        base: int | None,
        size: int | None = None,
        target: Target | None = None,
    ) -> None:
        """Show a fixed window elsewhere (None: nowhere), of another size, or let it show something else."""
        window.base = base
        window.size = window.size if size is None else size
        window.target = window.target if target is None else target
        self.decode()

    def add_msi(self, vectors: int = 1, offset: int | None = None) -> Msi:
        """The MSI capability."""
        self.msi = Msi(self.config, vectors, self._send_message, offset)
        return self.msi

    def add_msix(self, vectors: int, bar: int, offset: int | None = None) -> MsixTable:
        """The MSI-X capability; table and pending bits have base address register `bar` of their own."""
        pba = -(-16 * vectors // 2048) * 2048
        body = (vectors - 1).to_bytes(2, "little") + bar.to_bytes(4, "little") + (pba | bar).to_bytes(4, "little")
        at = self.config.add_capability(MSIX_KIND, body, offset, b"\0\xc0")
        self.msix = MsixTable(vectors, self._send_message, pba, lambda: self.config.get(at + 2, 2))
        self.add_bar(bar, max(PAGE, 1 << (pba + -(-vectors // 64) * 8 - 1).bit_length()), device=self.msix)
        return self.msix

    # --- what it does

    def interrupt(self, level: bool) -> None:
        """Drive INTx."""
        self._asserted = level
        self._drive_line()

    @property
    def asserted(self) -> bool:
        """Whether it drives INTx, before the command register has its say."""
        return self._asserted

    @property
    def can_master(self) -> bool:
        """Whether the guest lets it master the bus."""
        bus = self.bus
        return bool(self.config.data[COMMAND] & Command.MASTER) and bus is not None and bus.lets_master

    def dma_read(self, address: int, size: int) -> bytes:
        """Read memory as a bus master; ones where it may not, and where there is none."""
        bus = self.bus
        if bus is None or not self.can_master or address + size > ADDRESSES:
            return b"\xff" * size
        return bus.ram.read(address, size)

    def dma_write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write memory as a bus master; lost where it may not, and where there is none."""
        bus = self.bus
        if bus is not None and self.can_master and address + len(data) <= ADDRESSES:
            bus.ram.write(address, data)

    def set_status(self, bits: Status) -> None:
        """Set bits of the status register that the guest clears, such as SIGNALLED_SYSTEM_ERROR."""
        self.config.put(STATUS, 2, self.config.get(STATUS, 2) | bits)

    @property
    def command(self) -> Command:
        """The command register."""
        return Command(self.config.get(COMMAND, 2) & 0x7FF)

    # --- configuration accesses

    def config_read(self, offset: int, size: int) -> int:
        """The guest reads `size` bytes within one doubleword of configuration space."""
        return self.config.read(offset, size)

    def config_write(self, offset: int, value: int, size: int) -> None:
        """The guest writes `size` bytes within one doubleword of configuration space."""
        self.config.write(offset, value, size)
        place = offset & ~3
        if place == COMMAND:
            self.decode()
            self._drive_line()
        elif BASE_ADDRESSES <= place < BASE_ADDRESSES + 4 * BARS or place == self._rom_register:
            self.decode()
        if self.msi is not None and 0 <= place - self.msi.at < 24:
            self.msi.written()
        if self.msix is not None:
            self.msix.written()
        self.config_written(offset, size)

    def config_written(self, offset: int, size: int) -> None:
        """The guest has written these bytes: for registers of the function's own."""

    # --- being plugged in

    def plugged(self) -> None:
        """It has been plugged in: bus, memory behind its windows and interrupt line are there."""

    def unplugged(self) -> None:
        """It is about to be pulled out, decodes nothing and interrupts nobody any more."""

    # --- state

    def reset(self) -> None:
        """Power-on: declared registers and configuration space; nothing is decoded, no interrupt driven."""
        super().reset()
        self.config.reset()
        if self.msix is not None:
            self.msix.reset()
        self._asserted = False
        self._drive_line()
        self.decode()

    def save_pci(self) -> PciFunctionState:
        """What the base class has to save."""
        return PciFunctionState(
            bytes(self.config.data), self._asserted, None if self.msix is None else self.msix.save()
        )

    def restore_pci(self, state: PciFunctionState) -> None:
        """Take what the base class has saved."""
        self.config.data[:] = state.config
        self._asserted = state.asserted
        if self.msix is not None and state.msix is not None:
            self.msix.restore(state.msix)
        self.line.assume(self._asserted and not self.command & Command.INTX_DISABLE)
        self.decode()

    # --- inside

    @property
    def _rom_register(self) -> int:
        return EXPANSION_ROM if self.PCI.header_type & 0x7F == 0 else 0x38

    def _drive_line(self) -> None:
        config = self.config
        status = config.data[STATUS] & ~Status.INTERRUPT
        config.data[STATUS] = status | (Status.INTERRUPT if self._asserted and config.data[INTERRUPT_PIN] else 0)
        self.line.set(self._asserted and not self.command & Command.INTX_DISABLE)

    def _send_message(self, address: int, data: int) -> None:
        if self.bus is not None and self.can_master:
            self.bus.message(address, data)

    def address_of(self, window: Window) -> int | None:
        """Where a window is decoded: None where it is not."""
        command, bar = self.config.data[COMMAND], window.bar
        if window.gated and not command & (Command.MEMORY if window.space.is_memory else Command.IO):
            return None
        if bar is None:
            return window.base
        width = 8 if window.wide else 4
        value = self.config.get(window.register, width)
        if bar == ROM_BAR and not value & 1:
            return None
        base = value & ~(window.size - 1)
        # Zero is a register that nobody has set, and the end of the space what is left there by sizing.
        if base == 0 or base + window.size >= 1 << (64 if window.wide else 32):
            return None
        if not window.space.is_memory and base + window.size > 0x10000:
            return None
        return base if base + window.size <= ADDRESSES else None

    def decode(self) -> None:
        """Show what configuration space says, after something of it has changed."""
        bus = self.bus
        if bus is None:
            return
        wanted: dict[tuple[int, int, int], Target] = {}
        for index, window in enumerate(self.windows):
            base = self.address_of(window)
            if base is not None:
                for first, behind in bus.clip(window.space, base, base + window.size):
                    wanted[index, first, behind - first] = _from(window.target, first - base)
        old = self._claims
        gone = {key: old[key] for key in old if key not in wanted or not _same(old[key][0], wanted[key])}
        new: dict[tuple[int, int, int], tuple[Target, Claim]] = {}
        order = (ORDER, *bus.path, self.devfn)
        for key, target in wanted.items():
            if key not in old or key in gone:
                index, first, size = key
                name = f"{type(self).__name__} {self.windows[index].name}"
                new[key] = target, Claim(first, size, target, (*order, index, first), name)
        for key in gone:
            del old[key]
        old.update(new)
        for memory in (True, False):
            remove = [claim for key, (_, claim) in gone.items() if self.windows[key[0]].space.is_memory is memory]
            add = [claim for key, (_, claim) in new.items() if self.windows[key[0]].space.is_memory is memory]
            if remove or add:
                decoder: MemoryDecoder | PortDecoder = bus.memory if memory else bus.ports
                decoder.change(remove=remove, add=add)

    def _plug(self, bus: PciBus, devfn: int) -> None:
        self.bus, self.devfn = bus, devfn
        for window in self.windows:
            if isinstance(window.target, HiddenMemory) and window.target.home == 0:  # Not the function's own.
                rom = window.target.read_only
                window.memory = window.target = bus.memory.allocate(window.size, rom=rom, contents=window.image)
        pin = self.PCI.interrupt_pin
        if pin:
            self.line = bus.interrupt_line(devfn, pin, type(self).__name__)
        self.plugged()
        self.decode()

    def _unplug(self) -> None:
        bus = self.bus
        assert bus is not None
        self.line.disconnect()
        self.config.reset()
        self.decode()
        self.unplugged()
        for window in self.windows:
            if window.memory is not None:
                bus.memory.free(window.memory)
                window.target = HiddenMemory(0, window.size, window.memory.read_only)
                window.memory = None
        self.bus = None
        self.line = IrqLine.unconnected("intx")


def _from(target: Target, skip: int) -> Target:
    """What shows of a target when its first `skip` bytes do not."""
    if skip == 0:
        return target
    if isinstance(target, Registers):
        return Registers(target.device, target.offset + skip)
    assert isinstance(target, HiddenMemory)
    return target.part(skip, target.size - skip)


def _same(one: Target, other: Target) -> bool:
    if isinstance(one, Registers) and isinstance(other, Registers):
        return one.device is other.device and one.offset == other.offset
    if isinstance(one, HiddenMemory) and isinstance(other, HiddenMemory):
        return one.home == other.home and one.read_only == other.read_only
    return one is other


@final
class PciBus:
    """The slots of one bus.

    memory, ports: decoders of the machine; message: takes address and data of a message signalled interrupt.
    A root bus has `lines`, the interrupts that its slots share, and `route`, which says by device number and pin (0 for
    INTA#) which of them a pin leads to.  A bus behind a bridge has `upstream` instead.
    """

    def __init__(
        self,
        memory: MemoryDecoder,
        ports: PortDecoder,
        message: Callable[[int, int], None],
        *,
        lines: Sequence[SharedLine] = (),
        route: Callable[[int, int], int] = lambda device, pin: device + pin & 3,
        upstream: Upstream | None = None,
        name: str = "pci.0",
    ) -> None:
        self.memory = memory
        self.ports = ports
        self.ram = memory.memory
        """What bus masters reach."""
        self.message = message
        self.lines = lines
        self.route = route
        self.upstream = upstream
        self.name = name
        self.functions: dict[int, PciFunction[Any]] = {}
        """What is plugged in, by device number * 8 + function number."""
        self.bridges: list[Upstream] = []
        """Those of the functions that have a bus behind them."""
        self.on_change: Callable[[], None] | None = None
        """Called when a function has been plugged in or pulled out, for hot-plug controllers."""

    def plug(self, function: PciFunction[Any], device: int | None = None, number: int = 0) -> int:
        """Put a function into a slot, the first free one unless told otherwise.

        Returns its place, device number * 8 + function number.  ConfigError where the slot is taken or there is none.
        """
        if device is None:
            taken_slots = {place // FUNCTIONS for place in self.functions}
            device = next((slot for slot in range(DEVICES) if slot not in taken_slots), DEVICES)
            if device == DEVICES:
                raise ConfigError("addr", self.name, "a bus with a free slot")
        if not 0 <= device < DEVICES or not 0 <= number < FUNCTIONS:
            raise ConfigError("addr", f"{device:#x}.{number}", f"00.0 to {DEVICES - 1:x}.{FUNCTIONS - 1}")
        devfn = device * FUNCTIONS + number
        if devfn in self.functions:
            taken = type(self.functions[devfn]).__name__
            raise ConfigError("addr", f"{device:02x}.{number}", f"a free slot of {self.name}: {taken} is there")
        self.functions[devfn] = function
        if number:  # The others of a device are looked for only where function 0 says so (6.2.1).
            first = self.functions.get(device * FUNCTIONS)
            if first is not None:
                first.config.set(HEADER_TYPE, 1, first.config.initial[HEADER_TYPE] | MULTIFUNCTION)
        elif any(device * FUNCTIONS + one in self.functions for one in range(1, FUNCTIONS)):
            function.config.set(HEADER_TYPE, 1, function.config.initial[HEADER_TYPE] | MULTIFUNCTION)
        function._plug(self, devfn)
        if self.on_change is not None:
            self.on_change()
        return devfn

    def unplug(self, function: PciFunction[Any]) -> None:
        """Pull a function out: it stops decoding and interrupting first."""
        function._unplug()
        del self.functions[function.devfn]
        if self.on_change is not None:
            self.on_change()

    # --- configuration space

    def find(self, bus: int, devfn: int) -> PciFunction[Any] | None:
        """The function at a place of bus number `bus`, here or behind bridges."""
        if bus == self.number:
            return self.functions.get(devfn)
        for bridge in self.bridges:
            if bridge.secondary <= bus <= bridge.subordinate and bridge.secondary and bridge.below is not None:
                return bridge.below.find(bus, devfn)
        return None

    @property
    def number(self) -> int:
        """Its number, as the guest has set it; 0 for a root bus."""
        return 0 if self.upstream is None else self.upstream.secondary

    @property
    def path(self) -> tuple[int, ...]:
        """Places of the bridges on the way to it."""
        return () if self.upstream is None else self.upstream.path

    # --- for functions

    @property
    def lets_master(self) -> bool:
        """Whether accesses of its bus masters reach memory."""
        return self.upstream is None or self.upstream.lets_master

    def clip(self, space: Space, first: int, behind: int) -> Iterable[tuple[int, int]]:
        """What of a range of addresses reaches this bus."""
        if self.upstream is None:
            return ((first, behind),)
        passed = ((max(first, low), min(behind, high)) for low, high in self.upstream.admits(space))
        return [(low, high) for low, high in passed if low < high]

    def interrupt_line(self, devfn: int, pin: int, name: str) -> IrqLine:
        """A line for interrupt pin 1 to 4 of a function.  Bridges pass pins on by device number (PCI-to-PCI Bridge
        Architecture 1.2, 9.1).
        """
        device, which = devfn // FUNCTIONS, pin - 1
        if self.upstream is not None:
            return self.upstream.interrupt_line(device + which & 3, name)
        if not self.lines:
            return IrqLine.unconnected(name)
        return self.lines[self.route(device, which)].input(name)
