"""Driving the guest: one run of the machine at a time, the task that does so freely, and what follows from a run.

The part of `VirtualMachine` that hands the machine to the engine thread.  Its module's text says who may touch the
machine when.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import trio

from vmcore.model.errors import DeviceModelError, UsageError
from vmcore.model.events import Event, Stop
from vmcore.model.exits import (
    Breakpoint,
    DebugExit,
    Exit,
    GuestFaulted,
    Idle,
    PauseRequested,
    ShutdownRequested,
    Watchpoint,
)
from vmcore.model.run_state import RunState, ShutdownAction, ShutdownCause
from vmcore.model.units import SECOND

if TYPE_CHECKING:
    from vmcore.machine.actions import Actions
    from vmcore.machine.machine import Machine
    from vmcore.shell.deadlines import Alarm
    from vmcore.shell.engine_thread import EngineThread
    from vmcore.shell.events import EventBus
    from vmcore.shell.jobs import Jobs
    from vmcore.shell.serial import SerialStream

__all__ = ["OFF", "Driver"]

INLINE_INSTRUCTIONS: Final = 20_000
"""Runs that are shorter are done in the trio thread: handing them over would cost more than they take."""

PACE_AHEAD_NS: Final = 5_000_000
"""How far guest time may run ahead of host time when it is paced."""

_ENDINGS: Final = frozenset(
    {ShutdownCause.HOST_QMP_QUIT, ShutdownCause.HOST_SIGNAL, ShutdownCause.HOST_ERROR, ShutdownCause.NONE}
)
"""Shutdowns after which nothing stays, whatever the shutdown action."""

OFF: Final = (ShutdownRequested, DebugExit, GuestFaulted)
"""Exits that switch the machine off."""


class Driver:
    """Runs of the machine, the run state that they lead to, and their events."""

    _machine: Machine
    _thread: EngineThread
    _lock: trio.Lock
    _kick: trio.Event
    _changed: trio.lowlevel.ParkingLot
    _token: trio.lowlevel.TrioToken
    _trio_thread: int
    _serial: tuple[SerialStream, ...]
    _pace_from: tuple[float, int]
    _pace: Literal["real-time"] | None

    if TYPE_CHECKING:

        @property
        def events(self) -> EventBus: ...

        @property
        def jobs(self) -> Jobs: ...

        @property
        def actions(self) -> Actions: ...

        def _failed_freely(self, error: DeviceModelError) -> None: ...

    def __init__(self) -> None:
        self._free = False
        self._idle_for_ever = False
        self._state = RunState.PRELAUNCH
        self._exit: Exit | None = None
        self._inputs_seen = 0
        self._wanted = 0
        self._until: tuple[type[Event], ...] = ()
        self._queue: deque[Event] = deque()
        self._rung: deque[Alarm] = deque()
        self._posted: deque[Callable[[], None]] = deque()

    async def _run_freely(self) -> None:
        """The task that drives a free-running guest."""
        while True:
            if not self._free or self._idle_for_ever:
                await self._kick.wait()
                self._kick = trio.Event()
                continue
            until_ns = None
            if self._pace is not None:
                ahead = self._machine.now_ns - self._paced_ns()
                if ahead > 0:
                    with trio.move_on_after(ahead / SECOND):
                        await self._kick.wait()
                    self._kick = trio.Event()
                    continue
                until_ns = self._paced_ns() + PACE_AHEAD_NS
            async with self._lock:
                if self._free and not self._wanted:
                    try:
                        self._after_free_run(await self._run_once(None, until_ns))
                    except DeviceModelError as error:
                        self._failed_freely(error)

    def _after_free_run(self, exit: Exit) -> None:
        match exit:
            case Idle(until_ns=None):
                self._idle_for_ever = True
            case Breakpoint() | Watchpoint():
                self._free = False
                self._state = RunState.DEBUG
                self._say(Stop())
                self._changed.unpark_all()

    def _paced_ns(self) -> int:
        host, guest = self._pace_from
        return guest + int((trio.current_time() - host) * SECOND)

    async def _run_once(self, instructions: int | None, until_ns: int | None) -> Exit:
        """One run of the machine; the lock is held."""
        machine = self._machine
        if machine.off is not None:
            raise UsageError(f"the machine is off ({machine.off}): reset it first")
        try:
            if instructions is not None and instructions <= INLINE_INSTRUCTIONS:
                exit = machine.run(instructions, until_ns)
            else:
                exit = await self._thread.call(lambda: machine.run(instructions, until_ns))
        except DeviceModelError:
            self._free = False
            self._state = RunState.INTERNAL_ERROR
            self._flush()
            self._say(Stop())
            raise
        finally:
            self._inputs_seen = machine.input_count
            self._touched()
        self._note_off(exit)
        return exit

    def _touched(self) -> None:
        """The machine has run or was acted on: do what waited for that."""
        while self._posted:
            self._posted.popleft()()
        self._flush()
        while self._rung:
            self._rung.popleft().what()
        self._idle_for_ever = False
        self._kick.set()
        self._changed.unpark_all()

    # --- what an exit means

    def _note_off(self, exit: Exit | None) -> None:
        """What an exit of the machine means for the run state."""
        if isinstance(exit, OFF):
            was_live = self._state.is_live
            self._exit = exit
            self._free = False
            self._state = RunState.SHUTDOWN
            self._flush()
            if not self.stays_after(exit):
                self.jobs.end()
            elif was_live:
                self._say(Stop())
            self._changed.unpark_all()
            for stream in self._serial:
                stream._reading.unpark_all()
        elif isinstance(exit, PauseRequested):
            self._free = False
            self._state = exit.state
            self._flush()
            self._say(Stop())
            self._changed.unpark_all()

    def stays_after(self, exit: Exit) -> bool:
        """Whether the machine stays, in state `shutdown`, after this exit, because its shutdown action is to pause."""
        if not isinstance(exit, OFF):
            return False
        ends = isinstance(exit, DebugExit) or (isinstance(exit, ShutdownRequested) and exit.cause in _ENDINGS)
        return not ends and self.actions.shutdown is ShutdownAction.PAUSE

    # --- acting on the machine from synchronous code

    def _interrupt(self) -> None:
        """Ask the run in progress to end."""
        if self._thread.busy:
            self._machine.request_stop()

    def _post(self, action: Callable[[], None]) -> None:
        """Act on the machine from synchronous code of the trio thread: now if it is parked, else when it is."""
        if self._thread.busy:
            self._posted.append(action)
            self._interrupt()
        else:
            action()

    # --- events

    def _on_event(self, event: Event) -> None:
        """From the machine, in whichever thread it runs."""
        self._queue.append(event)
        if isinstance(event, self._until) and self._machine.in_run:
            self._until = ()  # Another one in the same instruction is no reason to stop the next run.
            self._machine.stop(event)
        self.soon(self._flush)

    def _say(self, event: Event) -> None:
        """An event of the shell's own; the machine is parked."""
        self._queue.append(event)
        self._flush()

    def _flush(self) -> None:
        while self._queue:
            self.events._publish(self._queue.popleft())

    def soon(self, call: Callable[[], Any]) -> None:
        """Call in the trio thread: at once if this is it.  From the engine thread the same call is queued only once."""
        if threading.get_ident() == self._trio_thread:
            call()
        else:
            self._token.run_sync_soon(call, idempotent=True)
