"""`python -m vmcore run`: one guest, driven in lockstep, so that the same options give the same run."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import ExitStack
from typing import Any

import trio

from vmcore.cli.endpoints import open_output, pump_input, raw_terminal, serve_unix
from vmcore.cli.options import RunOptions
from vmcore.cli.status import ExitStatus, StatusLine
from vmcore.model.errors import VmcoreError
from vmcore.model.events import Event, Watchdog
from vmcore.model.exits import BudgetSpent, DebugExit, Exit, GuestFaulted, Idle, ShutdownRequested
from vmcore.model.run_state import WatchdogAction
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
        incoming=None if options.incoming is None else "defer",
        preconfig=options.preconfig,
        autostart=options.preconfig and not options.paused and options.incoming is None,
        objects=options.objects,
    ) as vm:
        with ExitStack() as stack:
            vm.events.listen(_tell_of_watchdog)
            session = _Session(vm, options, stack.enter_context(StatusLine()))
            if not options.preconfig:
                await session.attach(stack)
            return await session.run(stack)


def _tell_of_watchdog(event: Event) -> None:
    """What the watchdog action `debug` is about."""
    if isinstance(event, Watchdog) and event.action is WatchdogAction.DEBUG:
        print("watchdog: timer fired", file=sys.stderr, flush=True)


class _Session:
    """One run with all that is attached to it."""

    def __init__(self, vm: VirtualMachine, options: RunOptions, line: StatusLine) -> None:
        self.vm = vm
        self.options = options
        self.line = line
        self.unix: list[tuple[int, str]] = []
        self.stdin: int | None = None
        self.input_may_come = False
        self.sources_changed = trio.Event()
        self.signal = 0

    async def attach(self, stack: ExitStack) -> None:
        """Connect the serial ports and the debug console."""
        for index, endpoint in enumerate(self.options.serial):
            stream = self.vm.serial[index]
            output = stack.enter_context(open_output(endpoint, self.vm.soon))
            if output is not None:
                stream.on_output = output.write
            elif endpoint.kind == "null":
                stream.on_output = _discard
            else:
                self.unix.append((index, endpoint.path))
            if endpoint.kind == "stdio":
                stack.enter_context(raw_terminal())
                self.stdin = index
        if self.options.debugcon is not None:
            output = stack.enter_context(open_output(self.options.debugcon, self.vm.soon))
            async with self.vm.parked() as machine:
                machine.on_debugcon = _discard if output is None else output.write

    async def run(self, stack: ExitStack) -> int:
        begin = time.process_time()
        exit: Exit | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_signals, nursery.cancel_scope)
            if self.options.preconfig:
                await self._preconfigure(stack, nursery)
            for index, path in self.unix:
                self.input_may_come = True
                nursery.start_soon(serve_unix, self.vm.serial[index], path)
            if self.stdin is not None:
                self.input_may_come = True
                nursery.start_soon(pump_input, self.vm.serial[self.stdin], self._input_ended)
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

    async def _preconfigure(self, stack: ExitStack, nursery: trio.Nursery) -> None:
        """Serve QMP until a client has the machine built, and attach what the guest needs before it runs; or until a
        client ends it all.
        """
        async with trio.open_nursery() as waiting:

            async def attach() -> None:
                await self.attach(stack)
                waiting.cancel_scope.cancel()

            async def ended() -> None:
                await self.vm.wait_end()
                waiting.cancel_scope.cancel()

            self.vm.when_built(attach)
            waiting.start_soon(ended)
            await self._serve_qmp(nursery)

    async def _drive(self) -> Exit:
        """Run the guest to its end: freely where a client may want to say something about it, else in lockstep."""
        vm, limit, incoming = self.vm, self.options.max_instructions, self.options.incoming
        if incoming is not None and not vm.preconfig:
            if self.options.paused or not self.options.qmp:
                await vm.stop()
            if self.options.qmp:
                return await self._drive_incoming(incoming)
            await vm.migrate_incoming(incoming)
            if limit is not None:
                limit += vm.instructions
        if self.options.qmp:
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
                if not self.input_may_come:
                    return exit
                self.sources_changed = trio.Event()
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
            await self.sources_changed.wait()
            scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(for_input, nursery.cancel_scope)
            nursery.start_soon(for_sources, nursery.cancel_scope)
        return result

    def _input_ended(self) -> None:
        self.input_may_come = bool(self.unix)
        self.sources_changed.set()

    async def _watch_signals(self, scope: trio.CancelScope) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
            async for number in signals:
                self.signal = number
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


def _discard(_data: bytes) -> None:
    """For output that nobody wants."""
