"""What happens to a machine from outside, beside its life cycle: power button, keys, wake-up, NMI, failing hardware.

A mixin of `VirtualMachine`, so that these are its methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.machine.inputs import MachineCheck
from vmcore.model.errors import DeviceModelError, UsageError
from vmcore.model.events import Event, MemoryFailureAction, Shutdown
from vmcore.model.run_state import RunState, ShutdownCause

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from vmcore.machine.machine import Machine
    from vmcore.machine.machine_check import MachineCheckOutcome
    from vmcore.model.exits import Exit

__all__ = ["NOT_SUSPENDED", "PowerControl"]

NOT_SUSPENDED = "Unable to wake up: guest is not in suspended state"


class PowerControl:
    """Buttons, and accidents."""

    _in_lockstep: bool

    if TYPE_CHECKING:

        def _note_off(self, exit: Exit | None) -> None: ...

        def _was_reset(self, slept: bool) -> None: ...

        def announce(self, event: Event) -> None: ...

        def parked(self) -> AbstractAsyncContextManager[Machine]: ...

        @property
        def state(self) -> RunState: ...

        @property
        def free_running(self) -> bool: ...

    on_failure: Callable[[DeviceModelError], None] | None = None
    """Gets the error of a device model that failed while the guest ran freely.  Without it that error leaves the
    machine's block, and clients are told that the host shuts the machine down.  With it the machine stays open to
    inspection, in state INTERNAL_ERROR, until it is reset or quit.  In lockstep the error always comes out of the call
    that drove the guest.
    """

    def _failed_freely(self, error: DeviceModelError) -> None:
        if self.on_failure is None:
            self.announce(Shutdown(False, ShutdownCause.HOST_ERROR))
            raise error
        self.on_failure(error)

    async def send_key(self, *keys: str) -> None:
        """Press keys together (named as QEMU's QKeyCode: "a", "ret", "ctrl", "f1", ...) and release them in reverse
        order.
        """
        async with self.parked() as machine:
            for key in keys:
                machine.keyboard.press(key)
            for key in reversed(keys):
                machine.keyboard.release(key)

    async def powerdown(self) -> None:
        """Press the power button: the guest is asked to switch itself off, and does so if it listens.

        It does not wake a guest that sleeps.
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

    async def inject_machine_check(
        self,
        cpu: int,
        bank: int,
        status: int,
        *,
        mcg_status: int = 0,
        address: int = 0,
        misc: int = 0,
        broadcast: bool = False,
    ) -> MachineCheckOutcome:
        """Let a vCPU find an error of its hardware: a record in a bank, and #MC where it is uncorrected.

        status, address, misc: IA32_MCi_STATUS, _ADDR and _MISC of the bank; mcg_status: IA32_MCG_STATUS; broadcast:
        interrupt the other vCPUs too (Intel SDM vol. 3B, chapter 16).  The event is MemoryFailure, as from QEMU.

        A guest that cannot take an uncorrected error (CR4.MCE is clear, or it works on another) is reset.  UsageError
        for an error that the processor cannot have.
        """
        what = MachineCheck(cpu, bank, status, mcg_status, address, misc, broadcast)
        async with self.parked() as machine:
            return self._failed(machine, lambda: machine.inject_machine_check(what))

    async def memory_failure(self, address: int, *, action_required: bool) -> MachineCheckOutcome:
        """The host's memory behind a guest-physical address failed.

        action_required: an instruction of the guest needs it now; else it was found in passing, by scrubbing.  A guest
        whose processors can report it is told by a machine check.  Where that is not so, and for addresses without
        memory, it is the machine's own trouble: passed over if no action is required, else the machine is off, with
        exit status 1.  The event is MemoryFailure.
        """
        async with self.parked() as machine:
            return self._failed(machine, lambda: machine.memory_failure(address, action_required=action_required))

    def _failed(self, machine: Machine, fail: Callable[[], MachineCheckOutcome]) -> MachineCheckOutcome:
        slept = machine.asleep
        outcome = fail()
        if machine.off is not None:
            self._note_off(machine.off)
        elif outcome.action is MemoryFailureAction.RESET:
            self._was_reset(slept)
        return outcome

    async def nmi(self, cpu: int = 0) -> None:
        """Send a non-maskable interrupt to a vCPU."""
        async with self.parked() as machine:
            machine.nmi(cpu)
