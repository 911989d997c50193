"""`VirtualMachine`: the trio shell around a `Machine`.

Who may touch the machine, and when.  While guest code runs the machine belongs to the engine thread; at all other
times it belongs to the trio thread, to whoever holds `_lock`.  Every operation takes three steps: ask the run in
progress to stop (a flag that the engine sees within microseconds), take the lock, act on the parked machine.
trio's locks are fair, so whoever drives the guest gets it back only after everybody who waited.  There are no other
locks and no locks in device models.

Two ways of running.  *Free-running*: `start` lets a task of the machine's own drive the guest until `stop`, a
breakpoint or the guest's end.  *Lockstep*: while nothing runs freely, `run`, `sleep`, `serial[n].expect` and
`events.expect` drive the guest themselves and stop it at an exact instruction, so a script written that way gives
the same digest every time.

A stop may be asked for that nobody waits for any more by the time the guest sees it; the run then ends early and is
simply gone on with.  That never shows in the guest.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from types import MappingProxyType, TracebackType
from typing import Any, Final, Literal, Self, TypeVar, final

import trio

from vmcore.chardev.text import Wanted
from vmcore.engine import Cpu, PhysicalMemory
from vmcore.hardware.tree import ObjectTree
from vmcore.machine.actions import Actions
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine, MachineStatistics
from vmcore.machine.memory_options import object_options
from vmcore.machine.snapshot import Snapshot
from vmcore.model.errors import UsageError
from vmcore.model.events import Event, Resume, Shutdown, Stop
from vmcore.model.exits import Exit, ShutdownRequested, StopRequested
from vmcore.model.qom import ObjectOptions
from vmcore.model.run_state import RebootAction, RunState, ShutdownCause
from vmcore.shell.block import Block
from vmcore.shell.chardevs.facet import Chardevs
from vmcore.shell.deadlines import Alarms
from vmcore.shell.descriptors import DescriptorSets
from vmcore.shell.devices import Hotplug
from vmcore.shell.dump import Dump
from vmcore.shell.engine_thread import EngineThread
from vmcore.shell.events import EventBus
from vmcore.shell.input import Input
from vmcore.shell.jobs import Jobs
from vmcore.shell.keyboard import KeyboardFacet
from vmcore.shell.lockstep import Lockstep
from vmcore.shell.migration import check_incoming, migrate, migrate_incoming
from vmcore.shell.moving import Migration
from vmcore.shell.objects import Objects
from vmcore.shell.power import PowerControl
from vmcore.shell.preconfig import Numa, Preconfig
from vmcore.shell.qom import ObjectModel
from vmcore.shell.queries import Queries
from vmcore.shell.screen import Screen
from vmcore.shell.serial import SerialStream
from vmcore.shell.snapshots import Snapshots
from vmcore.shell.sole_error import sole_error

__all__ = ["VirtualMachine"]

T = TypeVar("T")


@final
class VirtualMachine(Lockstep, PowerControl):
    """A PC, as an async context manager for one use.

        async with VirtualMachine(kernel="vmlinuz", initrd="initrd.gz", append="console=ttyS0", memory="256M") as vm:
            await vm.serial[0].expect(b"login: ")

    Takes a MachineConfig or its fields as keywords.  Entering builds and resets the machine; not one instruction
    runs before `start`
    or `run`.  Leaving the block ends everything: no task, thread, descriptor or memory survives it.  An error that
    is the only one leaves the
    block as it is, not in a group.

    pace: None (the guest runs as fast as it can and idle time is skipped) or "real-time" (a free-running guest's
    clock is held back
    to the host's).
    chardevs, attach: character devices ("socket,id=a,path=/tmp/a,server=on,wait=off"), and which of them is plugged
    into which port ({"serial0": "a"}): see `vm.chardevs`.
    incoming: None, or where a migrated guest comes from: "file:PATH", which is read on entering; "unix:PATH",
    "tcp:HOST:PORT" or "fd:N", where it is waited for from then on; or "defer", for a later `migrate_incoming`.
    Until the guest has come the machine is in state INMIGRATE.
    preconfig: the block is entered before the machine is built, so that QMP clients may still add to its
    configuration; `exit_preconfig` (x-exit-preconfig) builds it, and lets it run if autostart says so.
    objects: what there is besides at /objects, such as "iothread,id=io0": see `vm.objects`.

    Raises ConfigError and ImageError for what cannot be built, before anything runs.
    """

    def __init__(
        self,
        config: MachineConfig | None = None,
        /,
        *,
        pace: Literal["real-time"] | None = None,
        chardevs: Sequence[str | Wanted] = (),
        attach: Mapping[str, str] = MappingProxyType({}),
        incoming: str | None = None,
        preconfig: bool = False,
        autostart: bool = False,
        objects: Iterable[ObjectOptions | str] = (),
        **fields: Any,
    ) -> None:
        if config is not None and fields:
            raise UsageError(f"give a MachineConfig or fields ({', '.join(fields)}), not both")
        if pace not in (None, "real-time"):
            raise UsageError(f'pace={pace!r}: expected None or "real-time"')
        check_incoming(incoming)
        if autostart and not preconfig:
            raise UsageError("autostart=True: expected preconfig=True with it; `start` starts a machine")
        if config is None:
            unknown = fields.keys() - {a.name for a in MachineConfig.__attrs_attrs__}
            if unknown:
                raise UsageError(f"{', '.join(sorted(unknown))}: no such field of MachineConfig")
            config = MachineConfig(**fields)
        super().__init__()
        self.config = config
        self._preconfig = Preconfig(self, autostart) if preconfig else None
        self._pace = pace
        self._snapshot: Snapshot | None = None
        self._incoming = incoming
        self._autostart = True
        self._entered = self._left = False
        self._holder: trio.lowlevel.Task | None = None
        self._qmp_hub: Any = None
        self.events: Final = EventBus(self._drive_until_event)
        """Typed events: `subscribe`, `expect`."""
        self.fdsets: Final = DescriptorSets()
        """Sets of descriptors that clients handed over."""
        self.migration: Final = Migration(self)
        """Moving the guest to another machine, and taking one."""
        self.jobs: Final = Jobs(self)
        """Operations that go on beside others, such as snapshots that management asks for."""
        self.snapshots: Final = Snapshots(self)
        """Snapshots by name, that the machine keeps."""
        self.query: Final = Queries(self)
        """Typed answers about the machine."""
        self.block: Final = Block(self)
        """Disks: what there is, changing media, adding nodes."""
        self.dump: Final = Dump(self)
        """Guest memory into files."""
        self.objects: Final = Objects(self, object_options(objects))
        """What the user made: memory back ends, I/O threads, secrets."""
        self.numa: Final = Numa(self)
        """NUMA nodes."""
        self.hotplug: Final = Hotplug(self)
        """Devices that come and go."""
        self.qom: Final = ObjectModel(self)
        """The object tree by paths and types."""
        self.input: Final = Input(self)
        """Keyboard and mouse."""
        self.chardevs: Final = Chardevs(self, chardevs, attach)
        """Character devices: sockets, pseudo terminals, files, ... for serial ports and debug consoles."""
        self.screen: Final = Screen(self)
        """What the display adapter shows."""

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> VirtualMachine:
        """A virtual machine that begins, paused, in the state of a snapshot."""
        vm = cls(snapshot.config)
        vm._snapshot = snapshot
        vm.objects.private = True
        return vm

    # --- the block

    async def __aenter__(self) -> Self:
        if self._entered:
            raise UsageError("a VirtualMachine is for one use: make another one")
        self._entered = True
        await trio.lowlevel.checkpoint()
        self._trio_thread = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()
        self._lock = trio.Lock()
        self._kick = trio.Event()
        self._changed = trio.lowlevel.ParkingLot()
        self._thread = EngineThread(lambda: self._machine.request_stop(), "vmcore engine")
        try:
            self.objects.open(self._preconfig.tree if self._preconfig is not None else None)
            if self._preconfig is None:
                self._build(self.config)
        except BaseException:
            self.objects.close()
            raise
        self._plumbing: list[trio.CancelScope] = []
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        self._start_plumbing(self._run_freely, "vmcore driver")
        if self._incoming is not None:
            self._state = RunState.INMIGRATE
        await self._begin_with(self._incoming)
        return self

    def _build(self, config: MachineConfig) -> None:
        """Build the machine; nothing has changed if it cannot be built."""
        machine = self.objects.build(config, takes_files=self._incoming is None)
        if self._snapshot is not None:
            machine.restore(self._snapshot)
            self._state = RunState.PAUSED
            self._note_off(machine.off)
        machine.on_event = self._on_event
        self.config = config
        self._machine = machine
        self._alarms = Alarms(machine, self._rung.append)
        self._serial = tuple(SerialStream(self, port) for port in machine.serial)

    async def _begin_with(self, incoming: str | None) -> None:
        """Open character devices, and take the guest, on entering; where that fails, nothing was entered."""
        try:
            await self.chardevs._open()
            if self._preconfig is not None:
                return
            await self.chardevs._plug()
            if incoming is not None:
                await self.migration.begin(incoming)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        for scope in list(self._plumbing):
            scope.cancel()
        sole: BaseException
        try:
            return await self._nursery_manager.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            sole = sole_error(group)
        finally:
            self._finish()
        if sole is error:
            return False
        raise sole

    def _start_plumbing(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Start a task of the machine's own, which ends with the block."""
        scope = trio.CancelScope()
        self._plumbing.append(scope)

        async def run() -> None:
            try:
                with scope:
                    await work()
            finally:
                self._plumbing.remove(scope)

        self._nursery.start_soon(run, name=name)

    def _finish(self) -> None:
        self._left = True
        self._free = False
        self._thread.join()
        self._flush()
        if not self.preconfig:
            self._machine.on_event = None
        self.chardevs._end()
        self.fdsets.close()
        self.events._end()
        if not self.preconfig:
            for stream in self._serial:
                stream._end()
            self._machine.close()
        self.objects.close()

    # --- state

    @property
    def serial(self) -> Sequence[SerialStream]:
        """The serial ports, as streams."""
        self._open_machine()
        return self._serial

    @property
    def state(self) -> RunState:
        """The run state.  A guest that sleeps in ACPI S3 is SUSPENDED where an awake one would be RUNNING."""
        if self._state is RunState.RUNNING and self._machine.asleep:
            return RunState.SUSPENDED
        return self._state

    @property
    def free_running(self) -> bool:
        """Whether the guest runs by itself: between `start` and whatever stops it."""
        return self._free

    @property
    def exit(self) -> Exit | None:
        """What switched the machine off; None while it is on."""
        return self._exit

    @property
    def instructions(self) -> int:
        """Instructions retired since the machine was built; while it runs, as of a short while ago."""
        return self._open_machine().instructions

    @property
    def guest_ns(self) -> int:
        """Guest time in nanoseconds since the machine was built; while it runs, as of a short while ago."""
        return self._open_machine().now_ns

    @property
    def actions(self) -> Actions:
        """What is done about reboots, shutdowns, panics and watchdogs; may be replaced at any time."""
        return self._open_machine().actions if self._preconfig is None else self._preconfig.actions

    @actions.setter
    def actions(self, actions: Actions) -> None:
        if self._preconfig is None:
            self._open_machine().actions = actions
        else:
            self._preconfig.actions = actions

    # --- life cycle

    async def start(self) -> None:
        """Let the guest run freely.  Nothing happens if it does.

        Raises UsageError where only a reset leads on.  Same as `cont`; read `start` after building and `cont` after
        `stop`.
        """
        async with self.parked():
            if self._free:
                return
            if self._state is RunState.INMIGRATE:
                self._autostart = True
                return
            if self._state is RunState.FINISH_MIGRATE:
                raise UsageError("Migration is not finalized yet")
            if self._exit is not None or self._state.needs_reset:
                raise UsageError(f"the machine is in state {self._state.value}: reset it first")
            self._run_on()

    def _run_on(self) -> None:
        self._machine.block.activate()
        self._machine.block.resume()
        self._state = RunState.RUNNING
        self._free = True
        self._in_lockstep = False
        self._pace_from = (trio.current_time(), self._machine.now_ns)
        self._say(Resume())

    cont = start

    async def stop(self) -> None:
        """Pause the guest at an instruction boundary.  A machine at rest stays as it is."""
        self._stop_wanted = True
        async with self.parked():
            if self._free:
                self._free = False
                self._state = RunState.PAUSED
                self._say(Stop())
            elif self._state in (RunState.INMIGRATE, RunState.FINISH_MIGRATE):
                self._autostart = False

    async def reset(self) -> None:
        """Press the reset button.  A running guest goes on from its reset vector, any other, a sleeping one too, is in
        PRELAUNCH then.

        Where the action for reboots is `shutdown` it is a shutdown.
        """
        async with self.parked() as machine:
            cause = ShutdownCause.HOST_QMP_SYSTEM_RESET
            if machine.actions.reboot is RebootAction.SHUTDOWN:
                self._say(Shutdown(False, cause))
                self._note_off(ShutdownRequested(cause, guest=False))
                return
            slept = machine.asleep
            machine.reset(cause)
            self._was_reset(slept)

    def _was_reset(self, slept: bool) -> None:
        self._exit = None
        self._free = self._free and not slept
        if not self._free and self._state not in (RunState.INMIGRATE, RunState.FINISH_MIGRATE):
            self._state = RunState.PRELAUNCH

    async def quit(self, cause: ShutdownCause = ShutdownCause.HOST_QMP_QUIT) -> None:
        """Switch the machine off, whatever the guest thinks of it.  cause: that, or HOST_SIGNAL."""
        self._stop_wanted = True
        if self._preconfig is not None:
            await self._preconfig.quit(cause)
            return
        async with self.parked():
            if self._exit is None or self.stays_after(self._exit):
                self._say(Shutdown(False, cause))
                self._note_off(ShutdownRequested(cause, guest=False))

    async def wait_off(self) -> Exit:
        """Wait until the machine is off, and say what did it.  One that is not free-running is driven."""
        await trio.lowlevel.checkpoint()
        while self._exit is None:
            if self._free:
                await self._changed.park()
            else:
                exit = await self._drive(lambda: False)
                if self._exit is None and not isinstance(exit, StopRequested):
                    raise UsageError(f"the machine stopped without going off: {exit}")
        return self._exit

    async def wait_input(self) -> None:
        """Wait until something reached the machine from outside since the guest last ran: for those who drive an
        idle guest.
        """
        await trio.lowlevel.checkpoint()
        while self._open_machine().input_count == self._inputs_seen:
            await self._changed.park()

    # --- doors

    @property
    def preconfig(self) -> bool:
        """Whether the machine still waits to be configured before it is built."""
        return self._preconfig is not None

    def when_built(self, call: Callable[[], Awaitable[None]]) -> None:
        """Have something done between the end of preconfig and the guest's first instruction."""
        if self._preconfig is None:
            raise UsageError("the machine is built already")
        self._preconfig.before_start.append(call)

    async def exit_preconfig(self) -> None:
        """Build the machine that was entered with preconfig=True; UsageError if it was built before.

        UsageError or ConfigError for a configuration that does not make a whole: then it may still be mended.
        """
        self._check_entered()
        if self._preconfig is None:
            raise UsageError("The command is permitted only before machine initialization")
        await self._preconfig.leave()

    async def serve_qmp(self, endpoint: str, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve QMP at an endpoint until the machine ends: `address = await nursery.start(vm.serve_qmp,
        "unix:/tmp/qmp")`.

        endpoint: "unix:PATH" (mode 0600), "tcp:HOST:PORT" (loopback if HOST is empty), or "fd:N" (an inherited socket).
        Raises UsageError for any other, and OSError where it cannot listen.
        """
        self._check_entered()
        # The door is on a floor above this one: named here, not imported.
        server = import_module("vmcore.qmp.server")
        if self._qmp_hub is None:
            self._qmp_hub = server.Hub(self)
            self.events.listen(self._qmp_hub.publish)
            self._start_plumbing(self._qmp_hub.release_throttled, "vmcore qmp events")
        await server.serve(self, self._qmp_hub, endpoint, task_status=task_status)

    async def wait_end(self) -> None:
        """Wait until the machine has ended: it went off and is not to stay in state `shutdown`."""
        await trio.lowlevel.checkpoint()
        while self._exit is None or self.stays_after(self._exit):
            await self._changed.park()

    # --- the parked machine

    @asynccontextmanager
    async def parked(self) -> AsyncIterator[Machine]:
        """Hold the machine at an instruction boundary for the length of the block, and give access to all of it.

        A free-running guest goes on behind the block.  Keep it short, and do not call the machine's async methods
        in it.
        """
        self._open_machine()
        await trio.lowlevel.checkpoint()
        # Counted, because whoever drives may hold the lock already and be about to begin a run.
        self._wanted += 1
        try:
            self._interrupt()
            await self._lock.acquire()
        finally:
            self._wanted -= 1
        try:
            machine = self._open_machine()
            self._holder = trio.lowlevel.current_task()
            yield machine
        finally:
            self._holder = None
            if not self._left:
                self._touched()
            self._lock.release()

    def peek(self) -> Machine:
        """The machine, running or not: only for what never changes while it runs."""
        return self._open_machine()

    def call_later(self, seconds: float, what: Callable[[], None]) -> None:
        """Call `what` in the trio thread, with the machine parked, when so much guest time has passed."""
        self._set_alarm(seconds, what)

    async def in_engine_thread(self, call: Callable[[], T]) -> T:
        """For who holds the machine parked: do something lengthy in the engine thread."""
        return await self._thread.call(call)

    def announce(self, event: Event) -> None:
        """Publish an event that the host has caused."""
        self._open_machine()
        self._say(event)

    def start_soon(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Do something beside all else, until the machine's block ends."""
        self._check_entered()
        self._start_plumbing(work, name)

    @property
    def thread_id(self) -> int:
        """The host's number of the thread that executes the vCPUs."""
        self._open_machine()
        return self._thread.native_id

    @property
    def cpus(self) -> tuple[Cpu, ...]:
        """The vCPUs that are plugged in, with their registers.  Only while the machine is parked."""
        machine = self._parked_machine("cpus")
        return tuple(machine.cpus[index] for index in machine.present_cpus)

    @property
    def cpu(self) -> Cpu:
        """The first vCPU.  Only while the machine is parked."""
        return self._parked_machine("cpu").cpus[0]

    @property
    def memory(self) -> PhysicalMemory:
        """Guest-physical memory.  Only while the machine is parked."""
        return self._parked_machine("memory").memory

    @property
    def devices(self) -> ObjectTree:
        """The object tree.  Only while the machine is parked."""
        return self._parked_machine("devices").tree

    @property
    def keyboard(self) -> KeyboardFacet:
        """Keys by name, while the machine is parked; and whole texts, at any time."""
        self._open_machine()
        return KeyboardFacet(self, lambda: self._parked_machine("keyboard").keyboard)

    def statistics(self) -> MachineStatistics:
        """Counts since the machine was built.  Only while the machine is parked."""
        return self._parked_machine("statistics").statistics()

    def digest(self) -> str:
        """A hash of the whole state of the machine.  Only while it is parked."""
        return self._parked_machine("digest").digest()

    async def snapshot(self) -> Snapshot:
        """The whole state as a value that can be kept, pickled and restored."""
        async with self.parked() as machine:
            return machine.save()

    async def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot of an equally configured machine.  A running guest goes on from there."""
        async with self.parked() as machine:
            machine.restore(snapshot)
            self._exit = None
            if not self._free:
                self._state = RunState.PAUSED
            self._note_off(machine.off)

    async def migrate(self, uri: str) -> None:
        """Send the guest to "file:PATH", "unix:PATH", "tcp:HOST:PORT" or "fd:N"; POSTMIGRATE then, until `cont`.

        A running guest runs while it is sent, and goes on if the sending fails.  `vm.migration` can do more.
        """
        await migrate(self, uri)

    async def migrate_incoming(self, uri: str) -> None:
        """For a machine in state INMIGRATE: wait for the guest of an equally configured machine at an address.

        It runs freely then if it did before, unless `stop` was called meanwhile.  ImageError for what is no such guest.
        """
        await migrate_incoming(self, uri)

    # --- checks

    def _check_entered(self) -> None:
        if not self._entered:
            raise UsageError("the virtual machine is not built yet: use `async with VirtualMachine(...) as vm:`")
        if self._left:
            raise UsageError("the virtual machine has ended with its block")

    def _open_machine(self) -> Machine:
        self._check_entered()
        if self._preconfig is not None:
            raise UsageError("the machine is not built yet: `exit_preconfig` builds it")
        return self._machine

    def _parked_machine(self, what: str) -> Machine:
        machine = self._open_machine()
        held = self._holder is not None and self._holder is trio.lowlevel.current_task()
        if not held and (self._free or self._thread.busy):
            raise UsageError(f"{what}: the guest is running: `stop` it, or use `async with vm.parked():`")
        return machine
