"""The panic notifier as a PCI function: QEMU's `pvpanic-pci`, specification docs/specs/pvpanic.

The register of `pvpanic`, here in memory behind base address register 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from attrs import define, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader
from vmcore.devices.pvpanic import CRASHLOADED, PANICKED
from vmcore.hardware import Register

__all__ = ["PvPanicPci", "PvPanicPciState"]


@frozen
class PvPanicPciState:
    """pci: configuration space."""

    pci: PciFunctionState


@final
@define(eq=False)
class PvPanicPci(PciFunction[PvPanicPciState]):
    """One byte of memory that takes a guest's last words, in the smallest window that PCI has for memory."""

    panicked: Callable[[], None]
    """The guest reports a panic."""
    crashloaded: Callable[[], None]
    """The guest reports that its crash kernel takes over."""
    events: int = PANICKED | CRASHLOADED
    """The events that the device knows."""

    PCI = PciHeader(vendor=0x1B36, device=0x0011, class_code=0x088000)

    EVENT = Register(0, width=8, bits={"PANICKED": 0, "CRASHLOADED": 1}, doc="Events known; a write reports one.")

    def __attrs_post_init__(self) -> None:
        self.add_bar(0, 16)

    @EVENT.on_read
    def _events(self) -> int:
        return self.events

    @EVENT.on_write
    def _report(self, value: int) -> None:
        if value & PANICKED:
            self.panicked()
        elif value & CRASHLOADED:
            self.crashloaded()

    def reset(self) -> None:
        """Configuration space: there is no other state."""
        super().reset()

    def save(self) -> PvPanicPciState:
        """Configuration space."""
        return PvPanicPciState(self.save_pci())

    def restore(self, state: PvPanicPciState) -> None:
        """Take a saved state."""
        self.restore_pci(state.pci)
