"""Chipset configuration registers of the ICH9, in memory, of which the watchdog's is used.

Source: Intel ICH9 data sheet 316972, section 10.1 (10.1.70: HPTC, 10.1.72: GCS).
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, frozen

from vmcore.hardware import RO, Device, Register

__all__ = ["PAGE", "PAGE_SIZE", "Ich9Chipset", "Ich9ChipsetState"]

PAGE: Final = 0x3000
"""Where they are in the block of 16 KiB; nothing answers in the rest of it."""
PAGE_SIZE: Final = 0x1000
NO_REBOOT: Final = 1 << 5


@frozen
class Ich9ChipsetState:
    """control: general control and status."""

    control: int


@final
@define(eq=False)
class Ich9Chipset(Device[Ich9ChipsetState]):
    """The last page of the block."""

    HPTC = Register(offset=0x404, width=32, access=RO, doc="Zero: the address of the HPET cannot be chosen.")
    GCS = Register(
        offset=0x410,
        width=32,
        writable=0x0C00 | NO_REBOOT,
        bits={"NO_REBOOT": 5, "BBS": (10, 11)},
        doc="NO_REBOOT: the second time-out of the watchdog does nothing.  BBS: where the BIOS is, storage.",
    )

    @property
    def no_reboot(self) -> bool:
        """Whether the watchdog does nothing."""
        return bool(self.GCS & NO_REBOOT)

    def reset(self) -> None:
        """The watchdog acts."""
        super().reset()

    def save(self) -> Ich9ChipsetState:
        """The one register that can change."""
        return Ich9ChipsetState(self.GCS)

    def restore(self, state: Ich9ChipsetState) -> None:
        """Take a saved state."""
        self.GCS = state.control
