"""The host bridge of the 440FX: shadow memory and system management memory.

Source: Intel 82441FX (440FX) data sheet 290549, section 3.2.
"""

from __future__ import annotations

from typing import final

from attrs import define, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader
from vmcore.buses.pci_config import Command
from vmcore.devices.shadow_memory import ShadowMemory

__all__ = ["I440fx", "I440fxState"]

MEDIUM_TIMING_BACK_TO_BACK = 0x0280
PAM = 0x59
SMRAM = 0x72
OPEN, CLOSED, LOCKED, ENABLED = 0x40, 0x20, 0x10, 0x08
COMPATIBLE_SMRAM = 0x02
"""C_BASE_SEG: the only place that there is, 0xA0000."""


@frozen
class I440fxState:
    """pci: configuration space."""

    pci: PciFunctionState


@final
@define(eq=False)
class I440fx(PciFunction[I440fxState]):
    """Function 0 of device 0: it decodes memory for the processor and masters the bus; both bits are fixed.

    Registers that set up DRAM and buffers are storage.
    """

    shadow: ShadowMemory | None = None
    """The upper memory area, if the board leaves it to this bridge."""

    PCI = PciHeader(
        vendor=0x8086,
        device=0x1237,
        class_code=0x060000,
        revision=2,
        command=Command.MEMORY | Command.MASTER,
        status=MEDIUM_TIMING_BACK_TO_BACK,
    )

    def __attrs_post_init__(self) -> None:
        config = self.config
        config.allow(0x0C, 2, 0xF800)
        config.allow(0x3C, 1, 0)
        for offset in range(0x40, 0x100):
            config.allow(offset, 1, 0xFF)
        for offset in range(PAM, PAM + 7):
            config.allow(offset, 1, 0x33)
        config.set(SMRAM, 1, COMPATIBLE_SMRAM)
        config.allow(SMRAM, 1, OPEN | CLOSED | LOCKED | ENABLED)

    def config_write(self, offset: int, value: int, size: int) -> None:
        """Once SMRAM is locked, it is closed, and its register cannot be written any more (3.2.19)."""
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
        """Show the upper memory area as the registers say."""
        if self.shadow is not None:
            data = self.config.data
            smram = data[SMRAM]
            is_open = smram & (OPEN | CLOSED | ENABLED) == OPEN | ENABLED
            self.shadow.show(data[PAM : PAM + 7], is_open)

    def reset(self) -> None:
        """Power-on: ROM everywhere."""
        super().reset()
        self.show()

    def save(self) -> I440fxState:
        """Configuration space."""
        return I440fxState(self.save_pci())

    def restore(self, state: I440fxState) -> None:
        """Take a saved state."""
        self.restore_pci(state.pci)
        self.show()
