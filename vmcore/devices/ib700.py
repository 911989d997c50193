"""Watchdog timer of the iBASE IB700 single-board computer.

Source: iBASE IB700 user's manual, "Watchdog Timer Configuration": a write to port 443h starts the timer or starts it
anew with the time that the low four bits of the value choose, a write to port 441h stops it.  There is nothing to
read.  Each port is decoded at the following address too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, field, frozen

from vmcore.hardware import WO, Clock, Device, Register, Timer

__all__ = ["PORT", "PORTS", "Ib700", "Ib700State"]

PORT: Final = 0x441
PORTS: Final = 4
SECOND: Final = 1_000_000_000
LONGEST: Final = 30
"""Seconds that value 0 stands for; each step up is two seconds less, down to 0 for 0Fh."""


@frozen
class Ib700State:
    """deadline: guest time at which it expires; None while it stands."""

    deadline: int | None


@final
@define(eq=False)
class Ib700(Device[Ib700State]):
    """Four ports, from 441h on."""

    clock: Clock
    expired: Callable[[], None]
    """The time is over: the guest has hung."""

    _timer: Timer = field(init=False)

    STOP = Register(offset=0, access=WO, writable=0, doc="A write stops the timer.")
    STOP_TOO = Register(offset=1, access=WO, writable=0, doc="As STOP.")
    START = Register(
        offset=2, access=WO, writable=0, bits={"TIME": (0, 3)}, doc="A write starts the timer: 30 s less 2 s * TIME."
    )
    START_TOO = Register(offset=3, access=WO, writable=0, bits={"TIME": (0, 3)}, doc="As START.")

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self.expired, "ib700")

    @property
    def running(self) -> bool:
        """Whether it will expire unless the guest does something."""
        return self._timer.deadline is not None

    @STOP.on_write
    @STOP_TOO.on_write
    def _stop(self, value: int) -> None:
        self._timer.cancel()

    @START.on_write
    @START_TOO.on_write
    def _start(self, value: int) -> None:
        self._timer.arm(self.clock.now + (LONGEST - 2 * (value & 15)) * SECOND)

    def reset(self) -> None:
        """The timer stands."""
        super().reset()
        self._timer.cancel()

    def save(self) -> Ib700State:
        """When it expires."""
        return Ib700State(self._timer.deadline)

    def restore(self, state: Ib700State) -> None:
        """Take a saved deadline."""
        self._timer.restore(state.deadline)
