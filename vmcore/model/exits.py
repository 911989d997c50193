"""Why a run ended: a closed union of frozen classes.

`Machine.run` returns one of these and nothing else; exceptions mean misuse or a bug.  Match on the class:

    match machine.run(until_ns=5 * SECOND):
        case ShutdownRequested(cause=ShutdownCause.GUEST_SHUTDOWN): ...
        case Idle(until_ns=None): ...        # every vCPU halted, no timer will wake one

A further run goes on from where the last one ended, whatever the exit was, except after ShutdownRequested and
GuestFaulted: those need a reset first.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from vmcore.model.run_state import RunState, ShutdownCause

__all__ = [
    "Breakpoint",
    "BudgetSpent",
    "DebugExit",
    "Exit",
    "GuestFaulted",
    "Idle",
    "PauseRequested",
    "ResetRequested",
    "ShutdownRequested",
    "StopRequested",
    "Watchpoint",
]


@frozen
class BudgetSpent:
    """The instructions or the guest time that the run was given are spent."""


@frozen
class StopRequested:
    """`request_stop` was called, or a hook asked for it.  reason: what the one that asked gave as reason."""

    reason: object = None


@frozen
class Idle:
    """Every vCPU is halted.  until_ns: guest time at which a timer fires next; None: nothing but an input can wake
    one.
    """

    until_ns: int | None = None


@frozen
class Breakpoint:
    """A vCPU is about to execute the instruction at a breakpoint.  pc: its linear address."""

    cpu: int
    pc: int


@frozen
class Watchpoint:
    """A vCPU touched watched memory; the instruction has been executed.

    pc: linear address of the next instruction; address: linear address of the access.
    """

    cpu: int
    pc: int
    address: int


@frozen
class ShutdownRequested:
    """The machine is off.  cause: why; guest: the guest asked for it; status: exit status that a front end should
    end with.
    """

    cause: ShutdownCause
    guest: bool = True
    status: int = 0


@frozen
class DebugExit:
    """The guest wrote to isa-debug-exit.  value: what it wrote."""

    value: int

    @property
    def status(self) -> int:
        """Exit status of the process: (value << 1) | 1, as front ends are used to; never 0, and 8 bits wide on most
        hosts.
        """
        return (self.value << 1) | 1


@frozen
class ResetRequested:
    """The machine was reset and stands at its reset vector.  Given only to runs that ask to stop there."""

    cause: ShutdownCause
    guest: bool = True


@frozen
class PauseRequested:
    """The machine stops itself, as its actions say: a panic or a watchdog.  state: the run state in which it rests; it
    can go on.
    """

    state: RunState


@frozen
class GuestFaulted:
    """A triple fault where no reset follows.  cpu: which vCPU; pc: its instruction pointer; what: what went wrong,
    in words.
    """

    cpu: int
    pc: int
    what: str = "triple fault"


Exit: TypeAlias = (
    BudgetSpent
    | StopRequested
    | Idle
    | Breakpoint
    | Watchpoint
    | ShutdownRequested
    | DebugExit
    | ResetRequested
    | PauseRequested
    | GuestFaulted
)
