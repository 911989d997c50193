"""What a user's hands do to the machine beside its life cycle: power button, wake-up, NMI.

A mixin of `VirtualMachine`, so that these are its methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.errors import UsageError
from vmcore.model.run_state import RunState

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from vmcore.machine.machine import Machine

__all__ = ["NOT_SUSPENDED", "PowerControl"]

NOT_SUSPENDED = "Unable to wake up: guest is not in suspended state"


class PowerControl:
    """Buttons and the like."""

    if TYPE_CHECKING:

        def parked(self) -> AbstractAsyncContextManager[Machine]: ...

        @property
        def state(self) -> RunState: ...

        @property
        def free_running(self) -> bool: ...

    async def powerdown(self) -> None:
        """Press the power button: the guest is asked to switch itself off, and does so if it listens.

        It does not wake a guest that sleeps, which finds it pressed when it wakes.
        """
        async with self.parked() as machine:
            machine.power_button()

    async def wake(self) -> None:
        """Wake the guest from ACPI S3: the event is Wakeup, and the guest goes on where it told the firmware to.

        Raises UsageError where it does not sleep, or was stopped while it slept: `cont` it first.
        """
        async with self.parked() as machine:
            # A machine in lockstep rests between runs, which is no reason not to wake it.
            asleep = self.state is RunState.SUSPENDED or (machine.asleep and self._in_lockstep)
            if not asleep:
                raise UsageError(NOT_SUSPENDED)
            machine.wake()

    async def nmi(self, cpu: int = 0) -> None:
        """Send a non-maskable interrupt to a vCPU."""
        async with self.parked() as machine:
            machine.nmi(cpu)

    _in_lockstep = True
    """The machine rests because a run of the caller's ended, not because it was stopped."""
