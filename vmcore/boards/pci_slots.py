"""The slots of a board's root bus, into which devices are plugged, and from which they go, while the guest runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from vmcore.buses.pci import DEVICES, FUNCTIONS, PciBus
from vmcore.devices.pci_hotplug import PciHotplug

__all__ = ["PciSlots"]

ROOT_BUS: Final = 0


@final
class PciSlots:
    """bus: the root bus; event: tells the guest to look at the registers."""

    def __init__(self, bus: PciBus, event: Callable[[], None]) -> None:
        self.bus = bus
        self.on_eject: Callable[[int], None] = lambda slot: None
        """The guest, or a reset, ejects what is in a slot: whoever plugged it in takes it out."""
        self.fixed: set[int] = {place // FUNCTIONS for place in bus.functions}
        """Slots whose devices cannot go: at first what the board itself has."""
        self.device = PciHotplug(event, self._eject, self._removable)
        """What the guest sees of the slots."""

    def _eject(self, bus: int, slot: int) -> None:
        if slot not in self.fixed:
            self.on_eject(slot)

    def _removable(self, bus: int) -> int:
        return sum(1 << slot for slot in range(DEVICES) if slot not in self.fixed)

    def plug(self, devfn: int) -> None:
        """A function has been plugged in: tell the guest."""
        self.device.plug(ROOT_BUS, devfn // FUNCTIONS)

    def ask_to_go(self, devfn: int) -> None:
        """Ask the guest to let go of a slot."""
        self.device.ask_to_go(ROOT_BUS, devfn // FUNCTIONS)

    def gone(self, devfn: int) -> None:
        """A function has been pulled out."""
        slot = devfn // FUNCTIONS
        if not any(place // FUNCTIONS == slot for place in self.bus.functions):
            self.device.forget(ROOT_BUS, slot)
            self.fixed.discard(slot)
