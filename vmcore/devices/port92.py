"""System control port A (0x92): fast A20 gate and fast reset.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "System Control Port A".
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, frozen

from vmcore.hardware import Device, IrqLine, Register

RESET, A20 = 0x01, 0x02


@frozen
class Port92State:
    """control: the register as last written; a20: the level of the gate."""

    control: int
    a20: bool


@define(eq=False)
class Port92(Device[Port92State]):
    """One port.  The keyboard controller drives the same A20 line; the last of them wins, and both read its level."""

    a20: IrqLine
    system_reset: Callable[[], None]
    """Asks for a reset of the machine.  Must return; the reset itself happens later."""

    CONTROL = Register(
        0,
        bits={"RESET": 0, "A20": 1, "PASSWORD_LOCK": 3, "WATCHDOG": 4, "DISK_LIGHT": (6, 7)},
        doc="A write that changes RESET from 0 to 1 resets the machine; A20 is the gate; the rest is kept.",
    )

    @CONTROL.on_read
    def _read(self) -> int:
        return self.CONTROL & ~A20 | (A20 if self.a20.level else 0)

    @CONTROL.on_write
    def _write(self, value: int) -> None:
        rising = value & ~self.CONTROL & RESET
        self.CONTROL = value
        self.a20.set(bool(value & A20))
        if rising:
            self.system_reset()

    def reset(self) -> None:
        """Power-on.  The gate is left to the keyboard controller, which opens it."""
        super().reset()

    def save(self) -> Port92State:
        return Port92State(self.CONTROL, self.a20.level)

    def restore(self, state: Port92State) -> None:
        self.CONTROL = state.control
        self.a20.assume(state.a20)
