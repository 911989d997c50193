"""The run loop: whose turn it is, until when, and what time it is.

One clock.  Guest time is the sum of what all vCPUs have retired, times the nanoseconds of an instruction, plus the
idle time that was skipped.  vCPUs take turns on that one clock; none has a time of its own.  (If each had, a guest
that compares the time-stamp counters of two processors would see one of them in the past by up to a quantum and
call it unstable.)

Turns.  A busy vCPU runs until the earliest of: the next timer, the limits of this run, and, if another one is busy
too, the end of its quantum.  Within a quantum PAUSE passes the turn on, but only after `YIELD_AFTER` instructions:
a delay loop of a few instructions around PAUSE must not cost a turn each time.  A halted vCPU has no turns until it
is noticed (`notice`): an interrupt, NMI, INIT or start-up IPI.

Idle.  When no vCPU is busy, time is moved to the next timer at once.  Without a timer there is nothing to wait for
but an input; nor is there where all vCPUs are deaf (halted with interrupts off), whatever timers tick on.

Exactness.  Where a run is cut by limits or by `request_stop` never shows in the guest: whose turn it is, and how
much of it is used up, are state; limits only pause it.  What does decide is a function of the guest alone: timers
fire at the first instruction boundary at or after their deadline, a quantum ends at an exact instruction, a device
callback that makes another vCPU busy, moves a deadline forward or asks for a reset breaks the run at the end of its
instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum, auto
from typing import Final, Protocol, final

from attrs import frozen

from vmcore.engine.registers import RunExit
from vmcore.hardware.clock import Clock

__all__ = ["Cut", "CutReason", "Scheduler", "SchedulerState", "VirtualCpu"]

YIELD_AFTER: Final = 2_000
"""Instructions of a turn during which PAUSE is an ordinary instruction."""

LONGEST_CALL: Final = 20_000_000
"""Instructions of one native call at most: between calls Python sees pending signals."""


class VirtualCpu(Protocol):
    """What the scheduler needs of a vCPU; the engine's Cpu has it."""

    yields: int
    """Whether PAUSE ends a run."""

    @property
    def instructions(self) -> int:
        """Retired since the vCPU was made; exact, also within a callback."""

    def run(self, instructions: int) -> RunExit: ...
    def request_stop(self) -> None: ...
    def break_run(self) -> None: ...
    def set_time(self, base_ns: int) -> None:
        """Guest time at the current instruction count; from there on it advances with each instruction."""


class CutReason(IntEnum):
    """Why the scheduler came back."""

    INSTRUCTIONS = auto()
    """The instructions that it was given are retired."""
    TIME = auto()
    """The guest time that it was given is reached."""
    IDLE = auto()
    """No vCPU is busy, and time may not or cannot be skipped."""
    STOP = auto()
    """`request_stop` was called."""
    REQUEST = auto()
    """`interrupt` was called, from a device or a timer."""
    SHUTDOWN = auto()
    """A vCPU shut down after a triple fault."""
    STUCK = auto()
    """A vCPU delivers exceptions without end."""
    BREAKPOINT = auto()
    WATCHPOINT = auto()


@frozen
class Cut:
    """Why a run ended, on which vCPU, and for IDLE the time at which a timer is due (None: never)."""

    reason: CutReason
    cpu: int = 0
    until_ns: int | None = None


@frozen
class SchedulerState:
    """Everything that decides what runs next: guest time, instructions retired by all, whose turn it is, how many
    instructions of
    it are used, the busy vCPUs as a bit mask, and whether the machine sleeps."""

    now_ns: int
    instructions: int
    turn: int
    used: int
    busy: int
    asleep: bool


_CUTS: Final = {
    RunExit.SHUTDOWN: CutReason.SHUTDOWN,
    RunExit.STUCK: CutReason.STUCK,
    RunExit.BREAKPOINT: CutReason.BREAKPOINT,
    RunExit.WATCHPOINT: CutReason.WATCHPOINT,
}


@final
class Scheduler:
    """Runs the vCPUs of one machine in turn, on one clock."""

    def __init__(self, cpus: Sequence[VirtualCpu], instruction_ns: int, quantum_ns: int, start_ns: int = 0) -> None:
        self.cpus = tuple(cpus)
        self.instruction_ns = instruction_ns
        self.quantum = max(quantum_ns // instruction_ns, 1)
        self.clock = Clock(self.time)
        self.clock.on_rearm = self._rearmed
        self.exits = dict.fromkeys(RunExit, 0)
        """How often native runs returned, by reason."""
        self.is_deaf: Callable[[], bool] = lambda: False
        """Asked while all vCPUs are halted: whether no timer can wake any of them."""
        self._turn = 0
        self._current = self.cpus[0]
        self._turn_start = self._current.instructions
        self._busy = 1
        self.asleep = False
        """Whether the machine sleeps (ACPI S3): no vCPU takes turns, whatever happens to it, until `reset`."""
        # Time and instructions of the machine are those of the vCPU whose turn it is, plus an offset.
        self._ns_offset = start_ns - self._current.instructions * instruction_ns
        self._count_offset = sum(cpu.instructions for cpu in self.cpus) - self._current.instructions
        self._stop = False
        self._requested = False
        # While a vCPU runs: the guest time at which its call ends, and whether it was alone when it was called.
        self._inside = False
        self._call_end_ns = 0
        self._alone = True
        self._current.set_time(start_ns)

    # --- what time it is

    def time(self) -> int:
        """Guest time in nanoseconds, exact also within a callback."""
        return self._ns_offset + self._current.instructions * self.instruction_ns

    @property
    def instructions(self) -> int:
        """Instructions retired by all vCPUs, exact also within a callback."""
        return self._count_offset + self._current.instructions

    @property
    def turn(self) -> int:
        """Index of the vCPU whose turn it is."""
        return self._turn

    @property
    def running(self) -> bool:
        """Whether a vCPU runs at this moment (asked from a callback or from another thread)."""
        return self._inside

    def is_busy(self, index: int) -> bool:
        """Whether a vCPU takes turns: it is neither halted nor waiting for its start-up."""
        return bool(self._busy >> index & 1)

    # --- what devices and users do to it

    def request_stop(self) -> None:
        """Ask the run in progress, or else the next one, to end.  From any thread."""
        self._stop = True
        for cpu in self.cpus:
            cpu.request_stop()

    def interrupt(self) -> None:
        """End the run at the end of this instruction: the machine has something to do.  From callbacks and timers."""
        self._requested = True
        if self._inside:
            self._current.break_run()

    def notice(self, index: int) -> None:
        """Something happened that may wake this vCPU: give it turns until it is found halted again."""
        if not self._busy >> index & 1:
            self._busy |= 1 << index
            if self._inside and self._alone and index != self._turn:
                self._current.break_run()

    def rest(self, index: int) -> None:
        """This vCPU takes no turns until it is noticed (INIT put it to wait for its start-up)."""
        self._busy &= ~(1 << index)

    def reset(self) -> None:
        """After a reset of all vCPUs: the first is busy, the others wait.  Time goes on.  Ends a sleep."""
        self._pass_to(0)
        self._busy = 1
        self.asleep = False

    def _rearmed(self) -> None:
        if self._inside:
            deadline = self.clock.next_deadline()
            if deadline is not None and deadline < self._call_end_ns:
                self._current.break_run()

    # --- running

    def run(self, instructions: int | None = None, until_ns: int | None = None, *, warp: bool = True) -> Cut:
        """Run until `instructions` more are retired, guest time `until_ns` is reached, or something happens.

        warp: skip idle time; without it the run ends as soon as no vCPU is busy.
        """
        try:
            return self._run(instructions, until_ns, warp)
        finally:
            self._current.yields = 0  # Parked machines of one state look the same, however they came there.

    def _run(self, instructions: int | None, until_ns: int | None, warp: bool) -> Cut:
        clock, tick = self.clock, self.instruction_ns
        end_count = None if instructions is None else self.instructions + instructions
        while True:
            if self._stop:
                self._stop = False
                return Cut(CutReason.STOP, self._turn)
            if self._requested:
                self._requested = False
                return Cut(CutReason.REQUEST, self._turn)
            now = self.time()
            deadline = clock.next_deadline()
            if deadline is not None and deadline <= now:
                clock.run_due(now)
                continue
            if until_ns is not None and now >= until_ns:
                return Cut(CutReason.TIME, self._turn)
            count = LONGEST_CALL if end_count is None else min(end_count - self.instructions, LONGEST_CALL)
            if count <= 0:
                return Cut(CutReason.INSTRUCTIONS, self._turn)
            end = deadline if until_ns is None or (deadline is not None and deadline < until_ns) else until_ns
            if not self._choose():
                if end is None or not warp:
                    return Cut(CutReason.IDLE, self._turn, end)
                if until_ns is None and self.is_deaf():
                    return Cut(CutReason.IDLE, self._turn)
                self._skip_to(end)
                continue
            cpu = self._current
            if end is not None:
                count = min(count, -((now - end) // tick))
            alone = self._busy == 1 << self._turn
            cpu.yields = 0
            if not alone:
                used = cpu.instructions - self._turn_start
                if used < YIELD_AFTER:
                    count = min(count, YIELD_AFTER - used, self.quantum - used)
                else:
                    count = min(count, self.quantum - used)
                    cpu.yields = 1
            self._alone = alone
            self._call_end_ns = now + count * tick
            self._inside = True
            try:
                reason = cpu.run(count)
            finally:
                self._inside = False
            self.exits[reason] += 1
            if reason <= RunExit.STOP or reason is RunExit.BREAK:
                continue
            if reason is RunExit.HALT or reason is RunExit.WAIT:
                # An interrupt that came in the very callback that halted it has made it busy: the engine looks again.
                self._busy &= ~(1 << self._turn)
            elif reason is RunExit.YIELD:
                self._pass_on()
            elif reason in _CUTS:
                return Cut(_CUTS[reason], self._turn)
            else:
                raise AssertionError(f"vCPU {self._turn} came back with {reason!r} at {cpu.instructions} instructions")

    def _choose(self) -> bool:
        """Settle whose turn it is: the one that has it while it is busy and its quantum lasts, else the next busy
        one.
        """
        busy = self._busy
        if not busy or self.asleep:
            return False
        here = 1 << self._turn
        if not busy & here or (busy != here and self._current.instructions - self._turn_start >= self.quantum):
            self._pass_on()
        return True

    def _pass_on(self) -> None:
        """Pass the turn to the next busy vCPU, in the order of their numbers."""
        above = self._busy >> (self._turn + 1) << (self._turn + 1)
        candidates = above or self._busy
        self._pass_to((candidates & -candidates).bit_length() - 1)

    def _pass_to(self, index: int) -> None:
        now, total = self.time(), self.instructions
        self._current.yields = 0
        self._turn = index
        self._current = cpu = self.cpus[index]
        self._turn_start = count = cpu.instructions
        self._ns_offset = now - count * self.instruction_ns
        self._count_offset = total - count
        cpu.set_time(now)

    def _skip_to(self, ns: int) -> None:
        self._ns_offset += ns - self.time()
        self._current.set_time(ns)

    # --- state

    def save(self) -> SchedulerState:
        """Everything that decides what runs next."""
        return SchedulerState(
            now_ns=self.time(),
            instructions=self.instructions,
            turn=self._turn,
            used=self._current.instructions - self._turn_start,
            busy=self._busy,
            asleep=self.asleep,
        )

    def restore(self, state: SchedulerState) -> None:
        """Take a saved state, after the vCPUs have taken theirs, with their time."""
        self._turn = state.turn
        self._current = cpu = self.cpus[state.turn]
        self._turn_start = cpu.instructions - state.used
        self._ns_offset = state.now_ns - cpu.instructions * self.instruction_ns
        self._count_offset = state.instructions - cpu.instructions
        self._busy = state.busy
        self.asleep = state.asleep
        self._stop = self._requested = False
