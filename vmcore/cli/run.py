"""`python -m vmcore run`: one guest, driven in lockstep, so that the same options give the same run."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

import trio

from vmcore.cli.options import RunOptions
from vmcore.cli.status import ExitStatus, StatusLine, describe
from vmcore.model.errors import DeviceModelError, VmcoreError
from vmcore.model.events import Event, Watchdog
from vmcore.model.exits import BudgetSpent, DebugExit, Exit, GuestFaulted, Idle, ShutdownRequested
from vmcore.model.run_state import ShutdownCause, WatchdogAction
from vmcore.shell.migration import DEFER
from vmcore.vm import VirtualMachine

__all__ = ["exit_status", "run"]

REFRESH_SECONDS = 0.25


def exit_status(exit: Exit) -> int:
    """The process's exit status for what ended the machine."""
    match exit:
        case ShutdownRequested(status=status):
            return status
        case DebugExit(status=status):
            return status & 0xFF
        case BudgetSpent():
            return ExitStatus.BUDGET
        case Idle():
            return ExitStatus.IDLE
        case GuestFaulted():
            return ExitStatus.FAULT
        case _:
            raise AssertionError(f"no run ends with {exit}")


async def run(options: RunOptions) -> int:
    """Run the guest to its end; the process's exit status."""
    async with VirtualMachine(
        options.config,
        chardevs=options.chardevs,
        attach=options.attach,
        incoming=None if options.incoming is None else "defer",
        preconfig=options.preconfig,
        autostart=options.preconfig and not options.paused and options.incoming is None,
        objects=options.objects,
    ) as vm:
        vm.events.listen(_tell_of_watchdog)
        if options.has_clients:
            vm.on_failure = _tell_of_failure
        for label in options.monitors:
            vm.chardevs.serve_monitor(label)
        for label in options.qmp_on:
            vm.chardevs.serve_qmp(label)
        with StatusLine() as line:
            session = _Session(vm, options, line)
            if not options.preconfig:
                await session.built()
            return await session.run()


def _tell_of_watchdog(event: Event) -> None:
    """What the watchdog action `debug` is about."""
    if isinstance(event, Watchdog) and event.action is WatchdogAction.DEBUG:
        print("watchdog: timer fired", file=sys.stderr, flush=True)


def _tell_of_failure(error: DeviceModelError) -> None:
    """Clients may still look at the machine."""
    print(*describe(error), "vmcore: the machine has stopped: reset it or quit", sep="\n", file=sys.stderr, flush=True)


class _Session:
    """One run with all that is attached to it."""

    def __init__(self, vm: VirtualMachine, options: RunOptions, line: StatusLine) -> None:
        self.vm = vm
        self.options = options
        self.line = line
        self.signal = 0

    async def built(self) -> None:
        """The machine is there: nobody reads the streams of its serial ports here."""
        for stream in self.vm.serial:
            await stream.aclose()

    async def run(self) -> int:
        begin = time.process_time()
        exit: Exit | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_signals, nursery.cancel_scope)
            if self.options.preconfig:
                await self._preconfigure(nursery)
            if self.line.shown and not self.vm.preconfig:
                nursery.start_soon(self._show_status)
            if not self.options.preconfig:
                await self._serve_qmp(nursery)
            exit = await self._drive()
            nursery.cancel_scope.cancel()
        if self.options.stats is not None and not self.vm.preconfig:
            self.options.stats.write_text(
                json.dumps(self._statistics(exit, time.process_time() - begin), indent=2) + "\n"
            )
        if self.signal or exit is None:
            return 128 + self.signal
        return exit_status(exit)

    async def _serve_qmp(self, nursery: trio.Nursery) -> None:
        for endpoint in self.options.qmp:
            await nursery.start(self.vm.serve_qmp, endpoint)

    async def _preconfigure(self, nursery: trio.Nursery) -> None:
        """Serve QMP until a client has the machine built, or ends it all."""
        async with trio.open_nursery() as waiting:

            async def built() -> None:
                await self.built()
                waiting.cancel_scope.cancel()

            async def ended() -> None:
                await self.vm.wait_end()
                waiting.cancel_scope.cancel()

            self.vm.when_built(built)
            waiting.start_soon(ended)
            await self._serve_qmp(nursery)

    async def _drive(self) -> Exit:
        """Run the guest to its end: freely where a client may want to say something about it, else in lockstep."""
        vm, limit, incoming = self.vm, self.options.max_instructions, self.options.incoming
        clients = self.options.has_clients
        if incoming is not None and not vm.preconfig:
            if self.options.paused or not clients:
                await vm.stop()
            if clients:
                return await self._drive_incoming(incoming)
            await vm.migrate_incoming(incoming)
            if limit is not None:
                limit += vm.instructions
        if clients:
            if not self.options.paused and not self.options.preconfig:
                await vm.start()
            return await self._end()
        if self.options.paused:
            await trio.sleep_forever()
        while True:
            exit = await vm.run(instructions=None if limit is None else limit - vm.instructions)
            if vm.stays_after(exit):
                await trio.sleep_forever()
            if not isinstance(exit, Idle):
                return exit
            # Nothing but input wakes the guest: wait for some, and leave where none can come.
            woken = False
            while not woken:
                if not vm.chardevs.input_may_come:
                    return exit
                woken = await self._woken()

    async def _end(self) -> Exit:
        await self.vm.wait_end()
        assert self.vm.exit is not None
        return self.vm.exit

    async def _drive_incoming(self, incoming: str) -> Exit:
        """Wait for the guest, while clients may ask and say what they like, and for its end."""
        if incoming == DEFER:
            return await self._end()
        await self.vm.migration.listen(incoming)
        exit: list[Exit] = []
        problem: list[Exception] = []

        async def for_guest(scope: trio.CancelScope) -> None:
            try:
                await self.vm.migration.wait()
            except VmcoreError as error:
                problem.append(error)
                scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(for_guest, nursery.cancel_scope)
            exit.append(await self._end())
            nursery.cancel_scope.cancel()
        if problem:
            raise problem[0]
        return exit[0]

    async def _woken(self) -> bool:
        """Wait for input (True), or for a change of what input can still come (False)."""
        result = False

        async def for_input(scope: trio.CancelScope) -> None:
            nonlocal result
            await self.vm.wait_input()
            result = True
            scope.cancel()

        async def for_sources(scope: trio.CancelScope) -> None:
            await self.vm.chardevs.wait_changed()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(for_input, nursery.cancel_scope)
            nursery.start_soon(for_sources, nursery.cancel_scope)
        return result

    async def _watch_signals(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                self.signal = number
                # Clients are told; a machine that stays after a shutdown ends too.
                await self.vm.quit(ShutdownCause.HOST_SIGNAL)
                scope.cancel()
                return

    async def _show_status(self) -> None:
        while True:
            self.line.show(self.vm.guest_ns, self.vm.instructions, self.vm.state.value)
            await trio.sleep(REFRESH_SECONDS)

    def _statistics(self, exit: Exit | None, cpu_seconds: float) -> dict[str, Any]:
        vm = self.vm
        counts = vm.statistics()
        return {
            "instructions": counts.instructions,
            "guest_ns": counts.guest_ns,
            "host_cpu_seconds": cpu_seconds,
            "exit": "signal" if exit is None else type(exit).__name__,
            "digest": vm.digest(),
            "exits": dict(counts.exits),
            "inputs": counts.inputs,
            "events": counts.events,
        }
