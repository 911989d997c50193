"""PCI-to-PCI bridges: a bus behind a function, and the windows through which accesses pass.

Source: PCI-to-PCI Bridge Architecture Specification 1.2, section 3.2 (configuration registers).
"""

from __future__ import annotations

from typing import Final, TypeVar

from vmcore.buses.pci import PciBus, PciFunction, PciFunctionState, Space
from vmcore.buses.pci_config import CLEARED_BY_ONES, Command
from vmcore.hardware.irq import IrqLine

__all__ = ["PciBridge"]

S = TypeVar("S")

BUS_NUMBERS: Final = 0x18
IO_WINDOW: Final = 0x1C
SECONDARY_STATUS: Final = 0x1E
MEMORY_WINDOW: Final = 0x20
PREFETCHABLE_WINDOW: Final = 0x24
PREFETCHABLE_UPPER: Final = 0x28
IO_UPPER: Final = 0x30
BRIDGE_CONTROL: Final = 0x3E

PARITY_RESPONSE, SERR_FORWARDED, ISA_ENABLE, VGA_ENABLE, VGA_16_BIT, SECONDARY_RESET = 1, 2, 4, 8, 0x10, 0x40
VGA_MEMORY: Final = (0xA0000, 0xC0000)
VGA_PORTS: Final = ((0x3B0, 0x3BC), (0x3C0, 0x3E0))


class PciBridge(PciFunction[S]):
    """Base of functions with a type 1 header (`PCI.header_type` is 1).

    A subclass calls `add_bridge` while it is built; the bus is `below` once it is plugged in.
    """

    __slots__ = ("below",)

    below: PciBus | None
    """The bus behind it."""

    def add_bridge(self, *, io: bool = True) -> None:
        """Declare the registers of the header.  io: whether ports pass."""
        config = self.config
        config.allow(BUS_NUMBERS, 4, 0xFFFF_FFFF)
        if io:
            config.set(IO_WINDOW, 2, 0x0101)  # 32-bit ports are decoded, of which a PC has 16.
            config.allow(IO_WINDOW, 2, 0xF0F0)
            config.allow(IO_UPPER, 4, 0xFFFF_FFFF)
        config.clears[SECONDARY_STATUS : SECONDARY_STATUS + 2] = int(CLEARED_BY_ONES).to_bytes(2, "little")
        config.allow(MEMORY_WINDOW, 4, 0xFFF0_FFF0)
        config.set(PREFETCHABLE_WINDOW, 4, 0x0001_0001)
        config.allow(PREFETCHABLE_WINDOW, 4, 0xFFF0_FFF0)
        config.allow(PREFETCHABLE_UPPER, 8, (1 << 64) - 1)
        mask = PARITY_RESPONSE | SERR_FORWARDED | ISA_ENABLE | VGA_ENABLE | VGA_16_BIT | SECONDARY_RESET
        config.allow(BRIDGE_CONTROL, 2, mask)
        self.below = None

    def plugged(self) -> None:
        """Its own bus comes with it."""
        bus = self.bus
        assert bus is not None
        self.below = PciBus(bus.memory, bus.ports, bus.message, upstream=self, name=f"{bus.name}.{self.devfn:02x}")
        bus.bridges.append(self)

    def unplugged(self) -> None:
        """With all that is behind it."""
        bus, below = self.bus, self.below
        assert bus is not None
        assert below is not None
        for function in tuple(below.functions.values()):
            below.unplug(function)
        bus.bridges.remove(self)
        self.below = None

    # --- the way through

    @property
    def secondary(self) -> int:
        """Number of the bus below, as the guest has set it; 0 where it has not."""
        return self.config.data[BUS_NUMBERS + 1]

    @property
    def subordinate(self) -> int:
        """Highest number of a bus below."""
        return self.config.data[BUS_NUMBERS + 2]

    @property
    def path(self) -> tuple[int, ...]:
        """Its place, after those of the bridges above."""
        return (*(() if self.bus is None else self.bus.path), self.devfn)

    @property
    def lets_master(self) -> bool:
        """Bus Master Enable of a bridge is for what lies behind it (3.2.4.3)."""
        return self.can_master

    def interrupt_line(self, pin: int, name: str) -> IrqLine:
        """Pins below are those of the bridge's own slot, in the order of their numbers."""
        if self.bus is None:
            return IrqLine.unconnected(name)
        return self.bus.interrupt_line(self.devfn, pin + 1, name)

    def admits(self, space: Space) -> list[tuple[int, int]]:
        """Windows (first, behind) that are open, cut by those of the bridges above."""
        if self.bus is None:
            return []
        command, control, get = self.command, self.config.data[BRIDGE_CONTROL], self.config.get
        windows: list[tuple[int, int]] = []
        if space is Space.IO:
            if not command & Command.IO:
                return []
            base = get(IO_WINDOW, 1) >> 4 << 12 | get(IO_UPPER, 2) << 16
            limit = get(IO_WINDOW + 1, 1) >> 4 << 12 | get(IO_UPPER + 2, 2) << 16 | 0xFFF
            if control & ISA_ENABLE:  # Of each KiB of the ports only the first quarter passes (3.2.5.18).
                windows += [(at, at + 0x100) for at in range(base, min(limit + 1, 0x10000), 0x400)]
            else:
                windows.append((base, limit + 1))
            if control & VGA_ENABLE:
                windows += VGA_PORTS
        else:
            if not command & Command.MEMORY:
                return []
            windows.append(((get(MEMORY_WINDOW, 2) & 0xFFF0) << 16, (get(MEMORY_WINDOW + 2, 2) | 0xF) + 1 << 16))
            base = (get(PREFETCHABLE_WINDOW, 2) & 0xFFF0) << 16 | get(PREFETCHABLE_UPPER, 4) << 32
            limit = (get(PREFETCHABLE_WINDOW + 2, 2) & 0xFFF0) << 16 | get(PREFETCHABLE_UPPER + 4, 4) << 32 | 0xF_FFFF
            windows.append((base, limit + 1))
            if control & VGA_ENABLE:
                windows.append(VGA_MEMORY)
        passed = [piece for low, high in windows if low < high for piece in self.bus.clip(space, low, high)]
        return _joined(passed)

    # --- what the guest does to it

    def config_written(self, offset: int, size: int) -> None:
        """Windows that move, or the command register, decide what shows of all functions below."""
        if self.below is None:
            return
        if offset & ~3 == BRIDGE_CONTROL & ~3 and self.config.data[BRIDGE_CONTROL] & SECONDARY_RESET:
            self._reset_below()
        self.decode_below()

    def decode_below(self) -> None:
        """Show what passes now."""
        if self.below is None:
            return
        for function in self.below.functions.values():
            function.decode()
            if isinstance(function, PciBridge):
                function.decode_below()

    def _reset_below(self) -> None:
        assert self.below is not None
        for function in self.below.functions.values():
            function.reset()

    def reset(self) -> None:
        """Power-on: nothing passes."""
        super().reset()
        self.decode_below()

    def restore_pci(self, state: PciFunctionState) -> None:
        """Windows and numbers; what is behind shows accordingly."""
        super().restore_pci(state)
        self.decode_below()


def _joined(windows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Windows that overlap or touch as one: an address passes once."""
    whole: list[tuple[int, int]] = []
    for low, high in sorted(windows):
        if whole and low <= whole[-1][1]:
            whole[-1] = whole[-1][0], max(whole[-1][1], high)
        else:
            whole.append((low, high))
    return whole
