"""Panic notifier: a guest's system writes here that it panicked, or that it handed over to its crash kernel.

QEMU's `pvpanic`, specification docs/specs/pvpanic: one port; reading gives the events that the device knows,
writing one of them reports it.  Bits that it does not know are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

from attrs import define, frozen

from vmcore.hardware import Device, Register

PANICKED, CRASHLOADED = 1 << 0, 1 << 1


@frozen
class PvPanicState:
    """The device keeps nothing."""


@final
@define(eq=False)
class PvPanic(Device[PvPanicState]):
    """One port that takes a guest's last words."""

    panicked: Callable[[], None]
    """The guest reports a panic."""
    crashloaded: Callable[[], None]
    """The guest reports that its crash kernel takes over."""

    EVENT = Register(0, width=8, bits={"PANICKED": 0, "CRASHLOADED": 1}, doc="Events known; a write reports one.")

    @EVENT.on_read
    def _events(self) -> int:
        return PANICKED | CRASHLOADED

    @EVENT.on_write
    def _report(self, value: int) -> None:
        if value & PANICKED:
            self.panicked()
        elif value & CRASHLOADED:
            self.crashloaded()

    def reset(self) -> None:
        """Nothing to do: no state."""
        super().reset()

    def save(self) -> PvPanicState:
        return PvPanicState()

    def restore(self, state: PvPanicState) -> None:
        pass
