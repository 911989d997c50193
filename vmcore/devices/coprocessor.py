"""How a PC tells of x87 errors: FERR# of the processor to IRQ 13, and port 0xF0 back to IGNNE#.

Sources: IBM PC AT Technical Reference (1985), "Math Coprocessor"; Intel 82371AB (PIIX4) data sheet 290562,
coprocessor error register; Intel SDM volume 1, appendix D (the MS-DOS compatible handling of x87 errors).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from attrs import define, field, frozen

from vmcore.hardware import WO, Device, IrqLine, Register

__all__ = ["Coprocessor", "CoprocessorState"]


@frozen
class CoprocessorState:
    """error: the level of FERR#; irq: that of the interrupt, which stays until it is cleared."""

    error: bool
    irq: bool


@final
@define(eq=False)
class Coprocessor(Device[CoprocessorState]):
    """One port.  The processor itself lets IGNNE# go when FERR# falls."""

    irq: IrqLine
    ignore: Callable[[], None]
    """Asserts the processor's IGNNE#: it may go on in spite of the error."""

    _error: bool = field(init=False, default=False)

    CLEAR = Register(offset=0, access=WO, doc="Takes the interrupt back, and asserts IGNNE# while FERR# is asserted.")

    @CLEAR.on_write
    def _clear(self, value: int) -> None:
        self.irq.lower()
        if self._error:
            self.ignore()

    def set_error(self, error: bool) -> None:
        """FERR# is asserted or released.  Its assertion is latched into the interrupt."""
        if error and not self._error:
            self.irq.raise_()
        self._error = error

    def reset(self) -> None:
        """No interrupt.  FERR# is the processor's."""
        super().reset()
        self.irq.lower()

    def save(self) -> CoprocessorState:
        """Both levels."""
        return CoprocessorState(self._error, self.irq.level)

    def restore(self, state: CoprocessorState) -> None:
        """Take saved levels."""
        self._error = state.error
        self.irq.assume(state.irq)
