"""The machine: a whole PC as one synchronous object.

`Machine(config)` builds it, complete and reset; nothing runs.  `run` executes guest code until its limits are
reached or something happens, and says which.  Inputs are method calls between runs, or from hooks within one; each
is stamped with the instruction count and the guest time at which it took effect (`inputs`).  Outputs are events,
which go to `on_event` or wait in an outbox, and bytes at the serial ports.

What is an exit and what an exception: whatever a guest can do leads to an `Exit`.  Exceptions mean that the caller
misused the machine (UsageError), that a hook of the caller's raised (that very exception), or that a device model
of ours did (DeviceModelError).  They leave the machine parked at an instruction boundary, open to inspection; after
a DeviceModelError it must be reset or restored before it runs again.

Nothing here knows of threads, but for `request_stop`, which any thread may call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar, final

from attrs import frozen

from vmcore.block.graph import BlockGraph
from vmcore.boards.board import Board, BoardServices
from vmcore.engine import Cpu, PhysicalMemory
from vmcore.engine.models import CpuModel
from vmcore.firmware.boot_image import BootImage
from vmcore.hardware.clock import Clock
from vmcore.hardware.tree import ObjectTree
from vmcore.machine import requests
from vmcore.machine.actions import Actions
from vmcore.machine.blame import blame
from vmcore.machine.boot import load, load_firmware
from vmcore.machine.build import build_board, plan_cpu, plan_layout
from vmcore.machine.build_plug import build_plug, cpu_ost, rewrite_tables
from vmcore.machine.config import MachineConfig
from vmcore.machine.disks import build_disks
from vmcore.machine.input_door import InputDoor
from vmcore.machine.inputs import InputRecord
from vmcore.machine.keyboard import Keyboard
from vmcore.machine.machine_check import MachineCheckOutcome
from vmcore.machine.plug_dimm import MemorySource
from vmcore.machine.scheduler import Scheduler
from vmcore.machine.serial_port import SerialPort
from vmcore.machine.snapshot import Snapshot
from vmcore.machine.state import MachineState, MachineStatistics
from vmcore.model.errors import DeviceModelError, UsageError
from vmcore.model.events import Event
from vmcore.model.exits import Exit
from vmcore.model.run_state import NotifyVmexitOption, RebootAction, ShutdownAction

__all__ = ["CONTAINERS", "Machine", "MachineStatistics", "configured_actions"]

T = TypeVar("T")

CONTAINERS: Final = ("/machine/peripheral", "/machine/peripheral-anon", "/objects")
"""Places in the tree for what users add: devices with and without a name, and other objects."""

EVENTS_KEPT: Final = 10_000
"""Events that wait in the outbox at most; older ones give way."""


@frozen
class Accelerator:
    """What executes the guest, as the object tree shows it.  notify_vmexit: as in the configuration."""

    notify_vmexit: NotifyVmexitOption


def configured_actions(config: MachineConfig) -> Actions:
    """What a configuration says about reboots, shutdowns, panics and watchdogs."""
    return Actions(
        reboot=RebootAction.SHUTDOWN if config.no_reboot else RebootAction.RESET,
        shutdown=ShutdownAction.PAUSE if config.no_shutdown else ShutdownAction.POWEROFF,
        panic=config.panic_action,
        watchdog=config.watchdog_action,
    )


@final
class Machine(InputDoor, MachineState):
    """A PC.  See the module's text for the rules."""

    def __init__(
        self,
        config: MachineConfig | None = None,
        *,
        ram: Sequence[memoryview] = (),
        memory_source: MemorySource | None = None,
        takes_files: bool = True,
    ) -> None:
        """ram: memory for the RAM, in order, of the configured size in all; it is released when the machine closes.
        Without any the RAM is private to the machine, whatever back ends its configuration names.
        memory_source: the same for memory modules, which come later.
        takes_files: open the images of disks for use and lock them.  Without it they are only looked at until the
        machine runs (or `block.activate`): for a guest that is yet to come, whose disks somebody else may still have.
        """
        self.config: Final = config if config is not None else MachineConfig()
        self.on_event: Callable[[Event], None] | None = None
        """Gets every event, from within the instruction that caused it.  Without it they wait for `take_events`."""
        self.actions = configured_actions(self.config)
        """What is done about reboots, shutdowns, panics and watchdogs; may be replaced at any time."""
        if ram and sum(map(len, ram)) != self.config.memory:
            raise UsageError(f"ram: {sum(map(len, ram))} bytes: expected {self.config.memory}")
        self._ram = tuple(ram)
        self.memory_source: Final = memory_source
        """Where the memory of modules comes from; None: from this machine alone."""
        self._closed = False
        self._in_run = False
        self._checked = MachineCheckOutcome(None)
        self._off: Exit | None = None
        self._broken: DeviceModelError | None = None
        self._hook_error: BaseException | None = None
        self._requests: deque[requests.Request] = deque()
        self._outbox: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._events = 0
        self._inputs: list[InputRecord] = []
        self._image: BootImage | None
        self.board: Board
        self._debugcon = bytearray()
        self.on_debugcon: Callable[[bytes], None] | None = None
        """Gets what the guest writes to a debug console (isa-debugcon)."""

        seed, model = self.config.seed, plan_cpu(self.config)
        self.memory: Final = PhysicalMemory()
        """Guest-physical memory, as a bus master sees it."""
        topology = self.config.topology
        self.cpus: Final = tuple(
            Cpu(
                self.memory,
                index=index,
                model=model,
                seed=(seed * 0x9E3779B97F4A7C15 + index) % (1 << 64),
                apic_id=topology.apic_id(index),
            )
            for index in range(topology.total)
        )
        """A vCPU for each place, by index; those that are not plugged in (see `present`) rest."""
        for cpu in self.cpus:
            cpu.set_time(0, self.config.instruction_ns, 0)
        self._scheduler: Final = Scheduler(self.cpus, self.config.instruction_ns, self.config.quantum_ns)
        self.tree: Final = ObjectTree()
        """Every part of the machine by its path."""
        for path in CONTAINERS:
            self.tree.container(path)
        self.tree.add("/machine/accel", Accelerator(self.config.notify_vmexit))
        for index, cpu in enumerate(self.cpus[: self.config.cpus]):
            self.tree.add(f"/machine/cpus/cpu{index}", cpu)
        self.serial: Final = tuple(
            SerialPort(index, self._send_serial, self._call_hook) for index in range(self.config.serials)
        )
        """The host's ends of the serial ports."""
        self.block: Final = BlockGraph(active=takes_files)
        """Disks: nodes by name, and drives."""
        try:
            self._image, self.board = self._assemble(model)
        except BaseException:
            self.block.close()
            raise
        self.plug: Final = build_plug(self, self._emit)
        """Devices that come and go, and what there is of them."""
        for port, uart in zip(self.serial, self.board.uarts, strict=False):
            port.plug(uart)
        self.keyboard: Final = Keyboard(self._press_key)
        """Keys of the keyboard by name."""
        self._reset_at = 0
        self._own_timers: Final = self.clock.made
        self._scheduler.is_deaf = self._is_deaf
        self._reset_hardware()

    def _assemble(self, model: CpuModel) -> tuple[BootImage | None, Board]:
        """What the configuration starts, and the board: all that opens files."""
        drives = build_disks(
            self.config.drives,
            self.config.board,
            self.block,
            self._emit,
            self._scheduler.time,
            lambda: self._request(requests.IoError()),
        )
        services = BoardServices(
            memory=self.memory,
            cpus=self.cpus,
            clock=self._scheduler.clock,
            tree=self.tree,
            emit=self._emit,
            notice=self._scheduler.notice,
            turn=lambda: self._scheduler.turn,
            power_off=lambda: self._request(requests.PowerOff()),
            reset=lambda: self._request(requests.Reset()),
            suspend=lambda: self._request(requests.Suspend()),
            suspend_to_disk=lambda: self._request(requests.SuspendToDisk()),
            wake=lambda reason: self._request(requests.Wake(reason)),
            debug_exit=lambda value: self._request(requests.DebugExit(value)),
            panicked=lambda info: self._request(requests.Panic(info)),
            watchdog_expired=lambda: self._request(requests.WatchdogExpired()),
            cpu_gone=lambda index: self.plug.gone(self.cpu_path(index)),
            cpu_status=lambda index: self._emit(cpu_ost(self, index)),
            serial=self.serial,
            debugcon=self._write_debugcon,
            rtc=self.config.rtc,
            ram=self._ram,
            block=self.block,
            ide=drives.adapter,
            floppies=drives.floppies,
            boot=self.config.boot,
        )
        layout = plan_layout(self.config, model)
        image = load(self.config, layout)
        return image, build_board(self.config, services, layout, image, load_firmware(self.config, layout))

    # --- running

    def run(
        self,
        instructions: int | None = None,
        until_ns: int | None = None,
        *,
        warp: bool = True,
        stop_on_reset: bool = False,
    ) -> Exit:
        """Run the guest; return why it stopped.

        instructions: how many to retire at most, over all vCPUs; until_ns: guest time (since the machine was built)
        at which to stop.
        Without either it runs until something happens.
        warp: skip time while all vCPUs are halted.  Without it the run ends with Idle(until_ns) then, and a caller that
        paces the guest waits and calls `run(until_ns=...)`.
        stop_on_reset: end with ResetRequested where the guest resets the machine, instead of running on.
        """
        self._check_open()
        if self._in_run:
            raise UsageError("run called from within a run: return from the hook first")
        for name, value in (("instructions", instructions), ("until_ns", until_ns)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
                raise UsageError(f"{name}={value!r}: expected a number from 0 up, or None")
        if self._broken is not None:
            raise UsageError("a device model failed: reset or restore the machine first") from self._broken
        if self._off is not None:
            raise UsageError(f"the machine is off ({self._off}): reset or restore it first")
        self.block.activate()
        if self.block.holds:
            self.block.resume()
        scheduler = self._scheduler
        end = None if instructions is None else scheduler.instructions + instructions
        self._in_run = True
        try:
            while True:
                left = None if end is None else end - scheduler.instructions
                result = self._settle(scheduler.run(left, until_ns, warp=warp), stop_on_reset)
                if result is not None:
                    return result
        except Exception as error:
            self._annotate(error)
            if error is self._hook_error:
                raise
            culprit = blame(error.__traceback__, self.tree)
            if culprit is None:
                raise
            raise self._device_failed(*culprit) from error
        finally:
            self._hook_error = None
            self._in_run = False

    def request_stop(self) -> None:
        """Make the run in progress, or else the next one, end with StopRequested.  From any thread; it never waits."""
        self._scheduler.request_stop()

    def stop(self, reason: object = None) -> None:
        """From a hook: end the run after this very instruction with StopRequested(reason).  Deterministic, unlike
        `request_stop`.
        """
        self._request(requests.Stop(reason))

    @property
    def instructions(self) -> int:
        """Instructions retired by all vCPUs since the machine was built; exact also within a hook."""
        return self._scheduler.instructions

    @property
    def now_ns(self) -> int:
        """Guest time in nanoseconds since the machine was built."""
        return self._scheduler.time()

    @property
    def clock(self) -> Clock:
        """Guest time and timers on it.  Timers of a caller's own fire between instructions and must only look, or
        call `stop`.
        """
        return self._scheduler.clock

    @property
    def off(self) -> Exit | None:
        """The exit that switched the machine off; None while it can run."""
        return self._off

    @property
    def asleep(self) -> bool:
        """Whether the guest sleeps in ACPI S3: no vCPU executes until something wakes it; time and clocks go on."""
        return self._scheduler.asleep

    @property
    def in_run(self) -> bool:
        """Whether a run is in progress."""
        return self._in_run

    # --- outputs

    def take_events(self) -> list[Event]:
        """Events that have come since the last call and found no `on_event`."""
        events = list(self._outbox)
        self._outbox.clear()
        return events

    def take_debugcon(self) -> bytes:
        """What the guest has written to a debug console since the last call, where there is no `on_debugcon`."""
        data = bytes(self._debugcon)
        self._debugcon.clear()
        return data

    def _emit(self, event: Event) -> None:
        self._events += 1
        if self.on_event is None:
            self._outbox.append(event)
        else:
            self._call_hook(self.on_event, event)

    def _write_debugcon(self, data: bytes) -> None:
        if self.on_debugcon is not None:
            self._call_hook(self.on_debugcon, data)
            return
        self._debugcon += data
        del self._debugcon[: -(1 << 20)]

    def _call_hook(self, hook: Callable[[T], None], argument: T) -> None:
        """Call something of the caller's; what it raises is the caller's too, not a device's failure."""
        try:
            hook(argument)
        except BaseException as error:
            self._hook_error = error
            raise

    # --- when a device model raises

    def _device_failed(self, device: str, register: str | None) -> DeviceModelError:
        pc = self._pc(self._scheduler.turn)
        failure = DeviceModelError(device, register, pc, self.instructions)
        self._annotate(failure)
        self._broken = failure
        return failure

    def _annotate(self, error: Exception) -> None:
        error.add_note(f"after {self.instructions} instructions, at {self.now_ns} ns of guest time")
        for port in self.serial:
            lines = port.tail.decode("utf-8", "replace").splitlines()[-5:]
            if lines:
                error.add_note(f"last lines of serial port {port.index}:\n" + "\n".join(f"  {line}" for line in lines))

    # --- state

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> Machine:
        """A new machine in the state of a snapshot."""
        machine = cls(snapshot.config)
        machine.restore(snapshot)
        return machine

    @classmethod
    def replay(cls, config: MachineConfig, inputs: Iterable[InputRecord]) -> Machine:
        """A new machine that has got these inputs, each at its time: parked where the last one took effect."""
        machine = cls(config)
        for record in inputs:
            machine._run_to(record)
            machine.apply(record.input)
        return machine

    def _run_to(self, record: InputRecord) -> None:
        while (self.instructions, self.now_ns) != (record.instructions, record.ns):
            if self._off is not None or self.instructions > record.instructions or self.now_ns > record.ns:
                raise UsageError(f"the machine does not come by {record}: the log belongs to another run")
            if self.instructions < record.instructions:
                self.run(record.instructions - self.instructions)
            else:
                self.run(until_ns=record.ns)

    def _rewrite_tables(self) -> None:
        rewrite_tables(self)

    # --- end

    def close(self) -> None:
        """Give the guest's memory back to the host.  Closing twice is fine; anything else on a closed machine is an
        error.
        """
        if self._in_run:
            raise UsageError("close called from within a run: return from the hook first")
        if not self._closed:
            self._closed = True
            self.board.disconnect()
            for lent in self._ram:
                lent.release()
            self.block.close()

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the machine is closed")

    def _check_parked(self, what: str) -> None:
        self._check_open()
        if self._scheduler.running:
            raise UsageError(f"{what} called while a vCPU runs: call it between runs")
