"""Lockstep: a caller drives the guest and stops it at an exact instruction; and deadlines in guest time.

The part of `VirtualMachine` for a guest that does not run freely.  Whatever is done this way gives the same digest
every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import UnionType
from typing import TYPE_CHECKING

import trio

from vmcore.model.errors import UsageError
from vmcore.model.events import Event
from vmcore.model.exits import Exit, StopRequested
from vmcore.model.run_state import RunState
from vmcore.shell.deadlines import Alarm, AlarmHandle, guest_ns
from vmcore.shell.driver import OFF, Driver
from vmcore.shell.events import event_types

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from vmcore.machine.machine import Machine
    from vmcore.shell.deadlines import Alarms

__all__ = ["Lockstep"]


class Lockstep(Driver):
    """Runs that the caller asks for, and alarms."""

    _alarms: Alarms
    _left: bool

    if TYPE_CHECKING:

        def parked(self) -> AbstractAsyncContextManager[Machine]: ...

        def _open_machine(self) -> Machine: ...

    def __init__(self) -> None:
        super().__init__()
        self._stop_wanted = False
        self._in_lockstep = True
        """The machine rests because a run of the caller's ended, not because it was stopped."""

    async def run(
        self,
        until: type[Event] | UnionType | int | None = None,
        *,
        instructions: int | None = None,
        seconds: float | None = None,
    ) -> Exit:
        """Run the guest until something happens, and say what.  For a machine that is not free-running.

        until: an event class or a union of them (the run ends at the instruction that causes the event, with
        StopRequested(event)), or a
        linear address (it ends before the instruction there, with Breakpoint); instructions: how many at most;
        seconds: guest time at most.
        """
        self._check_lockstep("run")
        until_ns = None if seconds is None else self._machine.now_ns + guest_ns(seconds)
        if until is None:
            return await self._drive(None, instructions, until_ns)
        if isinstance(until, int) and not isinstance(until, bool):
            return await self._run_to(until, instructions, until_ns)
        return await self._drive_until(event_types(until), instructions, until_ns)  # type: ignore[arg-type]

    async def step(self, count: int = 1) -> Exit:
        """Run exactly `count` instructions."""
        return await self.run(instructions=count)

    async def sleep(self, seconds: float) -> None:
        """Wait for guest time to pass.  A machine that is not free-running is driven until then, or until it goes
        off.
        """
        await trio.lowlevel.checkpoint()
        if self._free:
            over = trio.Event()
            alarm = self._set_alarm(seconds, over.set)
            try:
                await over.wait()
            finally:
                self._cancel_alarm(alarm)
        else:
            await self._drive(lambda: False, None, self._open_machine().now_ns + guest_ns(seconds))

    @contextmanager
    def move_on_after(self, seconds: float) -> Iterator[trio.CancelScope]:
        """Cancel the block when guest time has advanced by `seconds`.  Like trio.move_on_after."""
        with trio.CancelScope() as scope:
            alarm = self._set_alarm(seconds, scope.cancel)
            try:
                yield scope
            finally:
                self._cancel_alarm(alarm)

    @contextmanager
    def fail_after(self, seconds: float) -> Iterator[trio.CancelScope]:
        """As `move_on_after`, and raise trio.TooSlowError if the block was cancelled by it."""
        with self.move_on_after(seconds) as scope:
            yield scope
        if scope.cancelled_caught:
            raise trio.TooSlowError(f"{seconds} s of guest time are over")

    # --- driving

    async def _drive(
        self, done: Callable[[], bool] | None, instructions: int | None = None, until_ns: int | None = None
    ) -> Exit:
        """Drive the guest in lockstep until `done`, the limits, or an exit that is not a stop in passing."""
        self._check_lockstep("run")
        machine = self._machine
        end = None if instructions is None else machine.instructions + instructions
        self._stop_wanted = False
        self._in_lockstep = True
        while True:
            await trio.lowlevel.checkpoint()
            async with self._lock:
                if self._wanted:
                    continue
                self._check_lockstep("run")
                self._state = RunState.RUNNING
                try:
                    left = None if end is None else max(end - machine.instructions, 0)
                    exit = await self._run_once(left, until_ns)
                finally:
                    if self._state is RunState.RUNNING:
                        self._state = RunState.PAUSED
            # An alarm that went off has cancelled a scope: let that take effect before anything else is done.
            await trio.lowlevel.checkpoint()
            in_passing = isinstance(exit, StopRequested) and (exit.reason is None or isinstance(exit.reason, Alarm))
            if not in_passing or self._stop_wanted or (done is not None and done()):
                return exit

    async def _drive_until(
        self, types: tuple[type[Event], ...], instructions: int | None, until_ns: int | None
    ) -> Exit:
        before, self._until = self._until, types
        try:
            return await self._drive(None, instructions, until_ns)
        finally:
            self._until = before

    async def _drive_until_event(self, types: tuple[type[Event], ...]) -> None:
        """For `events.expect`: drive a machine that is not free-running until an event of these types."""
        if not self._free and self._exit is None:
            exit = await self._drive_until(types, None, None)
            if not isinstance(exit, (StopRequested, *OFF)):
                raise UsageError(f"no {' or '.join(t.__name__ for t in types)} came: the machine stopped with {exit}")

    async def _run_to(self, address: int, instructions: int | None, until_ns: int | None) -> Exit:
        async with self.parked() as machine:
            for cpu in machine.cpus:
                cpu.add_breakpoint(address)
        try:
            return await self._drive(None, instructions, until_ns)
        finally:
            with trio.CancelScope(shield=True):
                async with self.parked() as machine:
                    for cpu in machine.cpus:
                        cpu.remove_breakpoint(address)

    def _check_lockstep(self, what: str) -> None:
        self._open_machine()
        if self._free:
            raise UsageError(f"{what}: the guest is free-running: `stop` it first")
        if self._state is RunState.INMIGRATE:
            raise UsageError(f"{what}: the guest has not come yet: `migrate_incoming` brings it")
        if self._state is RunState.FINISH_MIGRATE:
            raise UsageError(f"{what}: the guest is on its way to another machine")
        if self._exit is not None:
            raise UsageError(f"{what}: the machine is off ({self._exit}): reset it first")

    # --- alarms

    def _set_alarm(self, seconds: float, what: Callable[[], object]) -> AlarmHandle:
        self._open_machine()
        handle = AlarmHandle()
        ns = guest_ns(seconds)

        def set_it() -> None:
            handle.alarm = self._alarms.set(self._machine.now_ns + ns, what)

        self._post(set_it)
        return handle

    def _cancel_alarm(self, handle: AlarmHandle) -> None:
        def cancel_it() -> None:
            if handle.alarm is not None:
                self._alarms.cancel(handle.alarm)

        if not self._left:
            self._post(cancel_it)
