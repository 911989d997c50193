"""Reset control register, port 0xCF9.

Source: Intel 82371AB (PIIX4) data sheet 290562, section 4.2.8.1; FULL_RST as in ICH and later.  The FADT names it as
the machine's reset register.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from attrs import define, frozen

from vmcore.hardware import Device, Register

SYSTEM_RESET = 0x02
RESET_CPU = 0x04
FULL_RESET = 0x08


@frozen
class ResetControlState:
    """control: the bits that read back."""

    control: int


@final
@define(eq=False)
class ResetControl(Device[ResetControlState]):
    """One port.  A write that turns RST_CPU from zero to one resets the machine."""

    on_reset: Callable[[bool], None]
    """Called with True for a hard reset (everything), False for a soft one (the processors' INIT)."""

    CONTROL = Register(
        offset=0,
        writable=SYSTEM_RESET | FULL_RESET,
        bits={"SYS_RST": 1, "RST_CPU": 2, "FULL_RST": 3},
        doc="SYS_RST chooses a hard reset; a rising RST_CPU starts it; FULL_RST adds a power cycle.",
    )

    @CONTROL.on_write
    def _write(self, value: int) -> None:
        # RST_CPU reads back as zero here: the reset that it started is over when anybody can look again.
        self.CONTROL = value & (SYSTEM_RESET | FULL_RESET)
        if value & RESET_CPU:
            self.on_reset(bool(value & SYSTEM_RESET))

    def reset(self) -> None:
        """All bits zero."""
        super().reset()

    def save(self) -> ResetControlState:
        """The register."""
        return ResetControlState(self.CONTROL)

    def restore(self, state: ResetControlState) -> None:
        """Take a saved register."""
        self.CONTROL = state.control
