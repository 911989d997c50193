"""The slots for memory modules on a board, and the modules in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from vmcore.devices.memory_hotplug import MemoryHotplug
from vmcore.devices.memory_module import MemoryModule
from vmcore.hardware.decoding import MemoryDecoder
from vmcore.hardware.memory_map import MemoryMap, Ram

__all__ = ["MemorySlots"]


@final
class MemorySlots:
    """count: slots; room: first address and bytes for modules; event: tells the guest to look at the registers."""

    def __init__(
        self,
        decoder: MemoryDecoder,
        memory_map: MemoryMap,
        count: int,
        room: tuple[int, int],
        event: Callable[[], None],
    ) -> None:
        self._decoder = decoder
        self._memory = decoder.memory
        self._map = memory_map
        self.count: Final = count
        self.base, self.size = room
        self.on_eject: Callable[[int], None] = lambda slot: None
        """The guest lets go of a module: whoever plugged it in takes it out."""
        self.on_status: Callable[[int], None] = lambda slot: None
        """The guest has said something about a slot (_OST)."""
        self.device = MemoryHotplug(count, event, lambda slot: self.on_eject(slot), lambda slot: self.on_status(slot))
        """What the guest sees of the slots."""
        self._mounted: dict[int, Ram] = {}

    def mount(self, module: MemoryModule, lent: memoryview | None) -> None:
        """Let a module's memory show.  lent: what it is made of; None: memory of the machine's own.

        The engine holds what was lent until it has no more use for it: a guest may run in the module that it ejects.
        """
        region = Ram(module.addr, module.size, f"memory module {module.slot}")
        self._map.add(region)
        self._decoder.change()  # Where something movable shows now, the module will.
        if lent is None:
            self._memory.map_ram(module.addr, module.size)
        else:
            self._memory.map_ram(module.addr, module.size, buffer=lent)
        self._mounted[module.slot] = region

    def unmount(self, slot: int) -> None:
        """Take the memory of a module away."""
        region = self._mounted.pop(slot)
        self._map.remove(region)
        self._memory.unmap(region.base, region.size)
        self._decoder.change()
