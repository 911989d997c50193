"""Configuration space as memory: each function's 4 KiB at an address made of its bus, device and function number.

Source: PCI Express Base Specification 3.0, section 7.2.2 (enhanced configuration access mechanism).
"""

from __future__ import annotations

from typing import final

from attrs import define, frozen

from vmcore.buses.pci import PciBus
from vmcore.hardware import Device

__all__ = ["PciEcam", "PciEcamState"]


@frozen
class PciEcamState:
    """No state of its own."""


@final
@define(eq=False)
class PciEcam(Device[PciEcamState]):
    """256 MiB: 1 MiB for each bus, 4 KiB for each function.  What is not there reads as ones and swallows writes."""

    bus: PciBus
    """The root bus."""

    def port_read(self, offset: int, size: int) -> int:
        """Part of a doubleword; longer or unaligned accesses are cut into doublewords and bytes."""
        if size == 8 or offset % 4 + size > 4:
            part = 4 if size == 8 and offset % 4 == 0 else 1
            return sum(self.port_read(offset + at, part) << 8 * at for at in range(0, size, part))
        function = self.bus.find(offset >> 20, offset >> 12 & 0xFF)
        place = offset & 0xFFF
        if function is None or place + size > function.CONFIG_SIZE:
            return (1 << 8 * size) - 1
        return function.config_read(place, size)

    def port_write(self, offset: int, value: int, size: int) -> None:
        """The same for writes."""
        if size == 8 or offset % 4 + size > 4:
            part = 4 if size == 8 and offset % 4 == 0 else 1
            for at in range(0, size, part):
                self.port_write(offset + at, value >> 8 * at & (1 << 8 * part) - 1, part)
            return
        function = self.bus.find(offset >> 20, offset >> 12 & 0xFF)
        place = offset & 0xFFF
        if function is not None and place + size <= function.CONFIG_SIZE:
            function.config_write(place, value, size)

    def reset(self) -> None:
        """Nothing to do."""

    def save(self) -> PciEcamState:
        """Nothing."""
        return PciEcamState()

    def restore(self, state: PciEcamState) -> None:
        """Nothing."""
