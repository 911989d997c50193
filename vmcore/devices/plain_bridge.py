"""A PCI-to-PCI bridge and nothing else, known as QEMU's `pci-bridge`: here without its hot-plug controller.

Source: PCI-to-PCI Bridge Architecture Specification 1.2; section 13.2 for the slot numbering capability.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, frozen

from vmcore.buses.pci import PciFunctionState, PciHeader
from vmcore.buses.pci_bridge import PciBridge

__all__ = ["PlainBridge", "PlainBridgeState"]

SLOT_NUMBERING: Final = 0x04
FIRST_IN_CHASSIS: Final = 1 << 5


@frozen
class PlainBridgeState:
    """pci: configuration space."""

    pci: PciFunctionState


@final
@define(eq=False)
class PlainBridge(PciBridge[PlainBridgeState]):
    """A bridge that leads to a chassis of its own."""

    chassis: int
    """Number of the chassis, from 1 on."""

    PCI = PciHeader(vendor=0x1B36, device=0x0001, class_code=0x060400, header_type=1, status=0x0020)

    def __attrs_post_init__(self) -> None:
        self.add_bridge()
        self.config.add_capability(SLOT_NUMBERING, bytes((FIRST_IN_CHASSIS, self.chassis)))

    def reset(self) -> None:
        """Nothing passes."""
        super().reset()

    def save(self) -> PlainBridgeState:
        """Configuration space."""
        return PlainBridgeState(self.save_pci())

    def restore(self, state: PlainBridgeState) -> None:
        """Take a saved state."""
        self.restore_pci(state.pci)
