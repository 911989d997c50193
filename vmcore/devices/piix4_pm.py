"""The power management function of the PIIX4, as the south bridge of `pc` has it.

Source: Intel 82371AB (PIIX4) data sheet 290562, section 7.1 (configuration registers) and 7.2 (the ports).

The ports are those of `AcpiPm`; this function decides where they are.  System management mode is not there: the bit
that says that writes to the APM port make SMIs is set from the start, by which firmware knows that somebody else has
taken care of it.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader, Space, Window
from vmcore.devices.acpi_pm import AcpiPm

__all__ = ["Piix4Pm", "Piix4PmState"]

PM_BASE: Final = 0x40
PM_ENABLE: Final = 0x80
"""PMREGMISC: bit 0 lets the ports be decoded, whatever the command register says."""
DEVICE_ACTIVITY_B: Final = 0x58
APMC_SMI: Final = 1 << 25
SMBUS_BASE: Final = 0x90
SMBUS_CONFIGURATION: Final = 0xD2
PORTS: Final = 0x0C
"""Of the 64 ports at the base those that are there: status, enable, control and timer."""


@frozen
class Piix4PmState:
    """pci: configuration space."""

    pci: PciFunctionState


@final
@define(eq=False)
class Piix4Pm(PciFunction[Piix4PmState]):
    """Function 3 of the south bridge."""

    pm: AcpiPm
    """The registers at the ports."""
    _window: Window = field(init=False)

    PCI = PciHeader(
        vendor=0x8086, device=0x7113, class_code=0x068000, revision=3, interrupt_pin=1, status=0x0280, header_type=0
    )

    def __attrs_post_init__(self) -> None:
        config = self.config
        config.set(0x3C, 1, 9)
        config.set(PM_BASE, 4, 1)
        config.allow(PM_BASE, 4, 0xFFC0)
        config.set(DEVICE_ACTIVITY_B, 4, APMC_SMI)
        config.set(SMBUS_BASE, 4, 1)
        config.allow(SMBUS_BASE, 4, 0xFFF0)
        for offset in (*range(0x44, 0x80), PM_ENABLE, SMBUS_CONFIGURATION, *range(0xD3, 0xD6)):
            config.allow(offset, 1, 0xFF)
        self._window = self.add_window(Space.IO, None, PORTS, device=self.pm, gated=False)

    def config_written(self, offset: int, size: int) -> None:
        """The ports may have moved."""
        if offset & ~3 in (PM_BASE, PM_ENABLE):
            self._place()

    def _place(self) -> None:
        base = self.config.get(PM_BASE, 2) & 0xFFC0
        shown = self.config.data[PM_ENABLE] & 1 and base
        self.move(self._window, base=base if shown else None)

    def reset(self) -> None:
        """No ports."""
        super().reset()
        self._place()

    def save(self) -> Piix4PmState:
        """Configuration space."""
        return Piix4PmState(self.save_pci())

    def restore(self, state: Piix4PmState) -> None:
        """Take a saved state."""
        self.restore_pci(state.pci)
        self._place()
