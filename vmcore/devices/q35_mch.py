"""The host bridge of the Q35: shadow memory, system management memory, and where configuration space shows in memory.

Source: Intel 3 Series Express Chipset data sheet 316966, section 5.1.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader, Space, Window
from vmcore.buses.pci_config import Command
from vmcore.devices.pci_ecam import PciEcam
from vmcore.devices.shadow_memory import ShadowMemory

__all__ = ["PCIEXBAR", "Q35Mch", "Q35MchState"]

PCIEXBAR: Final = 0x60
"""Base and size of configuration space in memory (5.1.16): bit 0 enables, bits 2-1 choose 256, 128 or 64 MiB."""
PCIEXBAR_SIZES: Final = (256 << 20, 128 << 20, 64 << 20)
PAM: Final = 0x90
SMRAM: Final = 0x9D
OPEN, CLOSED, LOCKED, ENABLED = 0x40, 0x20, 0x10, 0x08


@frozen
class Q35MchState:
    """pci: configuration space."""

    pci: PciFunctionState


@final
@define(eq=False)
class Q35Mch(PciFunction[Q35MchState]):
    """Function 0 of device 0.  Registers that set up DRAM are storage."""

    shadow: ShadowMemory | None = None
    """The upper memory area, if the board leaves it to this bridge."""
    ecam: PciEcam | None = None
    """Configuration space as memory."""
    _window: Window | None = field(init=False, default=None)

    PCI = PciHeader(
        vendor=0x8086,
        device=0x29C0,
        class_code=0x060000,
        command=Command.MEMORY | Command.MASTER,
        status=0x0080,
    )

    def __attrs_post_init__(self) -> None:
        config = self.config
        config.allow(0x0C, 2, 0)
        config.allow(0x3C, 1, 0)
        for offset in range(0x40, 0x100):
            config.allow(offset, 1, 0xFF)
        config.allow(PCIEXBAR, 8, 0xF_FC00_0007)
        for offset in range(PAM, PAM + 7):
            config.allow(offset, 1, 0x33)
        config.set(SMRAM, 1, 0x02)
        config.allow(SMRAM, 1, OPEN | CLOSED | LOCKED | ENABLED)
        if self.ecam is not None:
            self._window = self.add_window(Space.MEMORY, None, PCIEXBAR_SIZES[0], device=self.ecam)

    def config_write(self, offset: int, value: int, size: int) -> None:
        """Once SMRAM is locked, it is closed, and its register cannot be written any more (5.1.28)."""
        old = self.config.data[SMRAM]
        super().config_write(offset, value, size)
        if offset <= SMRAM < offset + size:
            new = self.config.data[SMRAM]
            if old & LOCKED:
                self.config.data[SMRAM] = old
            elif new & LOCKED:
                self.config.data[SMRAM] = new & ~OPEN
        self.show()

    def show(self) -> None:
        """Show the upper memory area and configuration space as the registers say."""
        data = self.config.data
        if self.shadow is not None:
            is_open = data[SMRAM] & (OPEN | CLOSED | ENABLED) == OPEN | ENABLED
            self.shadow.show(data[PAM : PAM + 7], is_open)
        if self._window is not None:
            register = self.config.get(PCIEXBAR, 8)
            length = register >> 1 & 3
            base: int | None = None
            size = self._window.size
            if register & 1 and length < len(PCIEXBAR_SIZES):
                size = PCIEXBAR_SIZES[length]
                base = register & 0xF_FC00_0000 & ~(size - 1) or None
            if (base, size) != (self._window.base, self._window.size):
                self.move(self._window, base=base, size=size)

    def reset(self) -> None:
        """Power-on: ROM everywhere, configuration space by ports alone."""
        super().reset()
        self.show()

    def save(self) -> Q35MchState:
        """Configuration space."""
        return Q35MchState(self.save_pci())

    def restore(self, state: Q35MchState) -> None:
        """Take a saved state."""
        self.restore_pci(state.pci)
        self.show()
