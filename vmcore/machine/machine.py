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
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from types import TracebackType
from typing import Any, Final, Self, TypeVar, final

from attrs import frozen

from vmcore.block.graph import BlockGraph
from vmcore.boards.board import Board, BoardServices
from vmcore.engine import Activity, Cpu, Flags, PhysicalMemory
from vmcore.engine.models import CpuModel
from vmcore.firmware.boot_image import BootImage
from vmcore.hardware.clock import Clock
from vmcore.hardware.memory_map import Ram, Rom
from vmcore.hardware.tree import ObjectTree
from vmcore.machine.actions import Actions
from vmcore.machine.blame import blame
from vmcore.machine.boot import load, load_firmware, program_msrs, start_cpus, write_segments
from vmcore.machine.build import build_board, plan_cpu, plan_layout
from vmcore.machine.build_plug import build_plug, cpu_ost, rewrite_tables
from vmcore.machine.canonical import encode
from vmcore.machine.config import MachineConfig
from vmcore.machine.disks import apply_to_disks, build_disks
from vmcore.machine.inputs import (
    HostReset,
    Input,
    InputRecord,
    KeyInput,
    MachineCheck,
    MediumInput,
    MemoryFault,
    MouseButton,
    MouseMove,
    Nmi,
    NodeInput,
    PlugDevice,
    PowerButton,
    ResizeInput,
    SerialBreak,
    SerialInput,
    TrayInput,
    UnplugDevice,
    WakeUp,
)
from vmcore.machine.keyboard import Keyboard
from vmcore.machine.machine_check import MachineCheckOutcome, check, inject, memory_error, reports_memory_errors
from vmcore.machine.plug import Plugged, PlugValue
from vmcore.machine.scheduler import Cut, CutReason, Scheduler
from vmcore.machine.serial_port import SerialPort
from vmcore.machine.snapshot import PAGE, Snapshot
from vmcore.model.errors import DeviceModelError, UsageError
from vmcore.model.events import (
    Event,
    GuestFault,
    GuestPanicInformation,
    GuestPanicked,
    MemoryFailure,
    MemoryFailureAction,
    MemoryFailureFlags,
    MemoryFailureRecipient,
    Powerdown,
    Reset,
    Shutdown,
    Suspend,
    SuspendDisk,
    Wakeup,
    Watchdog,
)
from vmcore.model.exits import (
    Breakpoint,
    BudgetSpent,
    DebugExit,
    Exit,
    GuestFaulted,
    Idle,
    PauseRequested,
    ResetRequested,
    ShutdownRequested,
    StopRequested,
    Watchpoint,
)
from vmcore.model.run_state import (
    GuestPanicAction,
    PanicAction,
    RebootAction,
    RunState,
    ShutdownAction,
    ShutdownCause,
    WakeReason,
    WatchdogAction,
)

__all__ = ["CONTAINERS", "Machine", "MachineStatistics", "configured_actions"]

T = TypeVar("T")

CONTAINERS: Final = ("/machine/peripheral", "/machine/peripheral-anon", "/objects")
"""Places in the tree for what users add: devices with and without a name, and other objects."""

EVENTS_KEPT: Final = 10_000
"""Events that wait in the outbox at most; older ones give way."""


@frozen
class MachineStatistics:
    """What a machine has done since it was built.

    instructions: retired by all vCPUs; guest_ns: guest time; exits: native runs by the reason for which they
    returned; inputs: how many
    reached it; events: how many it emitted; cpus: the engine's own counts, for each vCPU.
    """

    instructions: int
    guest_ns: int
    exits: Mapping[str, int]
    inputs: int
    events: int
    cpus: tuple[Any, ...]


def configured_actions(config: MachineConfig) -> Actions:
    """What a configuration says about reboots, shutdowns, panics and watchdogs."""
    return Actions(
        reboot=RebootAction.SHUTDOWN if config.no_reboot else RebootAction.RESET,
        shutdown=ShutdownAction.PAUSE if config.no_shutdown else ShutdownAction.POWEROFF,
        panic=config.panic_action,
        watchdog=config.watchdog_action,
    )


@final
class Machine:
    """A PC.  See the module's text for the rules."""

    def __init__(
        self, config: MachineConfig | None = None, *, ram: Sequence[memoryview] = (), takes_files: bool = True
    ) -> None:
        """ram: memory for the RAM, in order, of the configured size in all; it is released when the machine closes.
        Without any the RAM is private to the machine, whatever back ends its configuration names.
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
        self._closed = False
        self._in_run = False
        self._checked = MachineCheckOutcome(None)
        self._off: Exit | None = None
        self._broken: DeviceModelError | None = None
        self._hook_error: BaseException | None = None
        self._requests: deque[_Request] = deque()
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
            lambda: self._request(_IoError()),
        )
        services = BoardServices(
            memory=self.memory,
            cpus=self.cpus,
            clock=self._scheduler.clock,
            tree=self.tree,
            emit=self._emit,
            notice=self._scheduler.notice,
            turn=lambda: self._scheduler.turn,
            power_off=lambda: self._request(_PowerOff()),
            reset=lambda: self._request(_Reset()),
            suspend=lambda: self._request(_Suspend()),
            suspend_to_disk=lambda: self._request(_SuspendToDisk()),
            wake=lambda reason: self._request(_Wake(reason)),
            debug_exit=lambda value: self._request(_DebugExit(value)),
            panicked=lambda info: self._request(_Panic(info)),
            watchdog_expired=lambda: self._request(_WatchdogExpired()),
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
        self._request(_Stop(reason))

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

    # --- inputs

    @property
    def inputs(self) -> tuple[InputRecord, ...]:
        """Everything that has reached the machine, in order: with the configuration, all that it takes to replay it."""
        return tuple(self._inputs)

    @property
    def input_count(self) -> int:
        """How many inputs have reached the machine: grows with each."""
        return len(self._inputs)

    def apply(self, what: Input) -> bool:
        """Apply an input now, and log it.  The methods below are its convenient forms.

        False, and nothing logged, where it found no room or nobody to take it.
        """
        self._check_open()
        record = InputRecord(self.instructions, self.now_ns, what)
        match what:
            case SerialInput(port, data):
                self.serial[port].apply(data)
            case SerialBreak(port):
                if not self.serial[port].break_():
                    return False
            case KeyInput(key, pressed):
                # A key that wakes the machine does nothing else.
                if not self._wake_up(WakeReason.OTHER) and not self.board.key(key, pressed):
                    return False
            case MouseMove(dx, dy, dz):
                if not self.board.move_mouse(dx, dy, dz):
                    return False
            case MouseButton(button, pressed):
                if not (pressed and self._wake_up(WakeReason.OTHER)) and not self.board.mouse_button(button, pressed):
                    return False
            case PlugDevice(device):
                self.plug.plug(device)
                if self._image is not None and self.instructions == self._reset_at:
                    rewrite_tables(self)
            case UnplugDevice(path):
                self.plug.ask_to_go(path)
            case PowerButton():
                self._press_power_button()
            case WakeUp():
                if not self._wake_up(WakeReason.OTHER):
                    return False
            case Nmi(cpu):
                self._send_nmi(cpu)
            case MachineCheck():
                self._checked = self._machine_check(what, may_wait=False)
            case MemoryFault(address, required):
                self._checked = self._memory_fault(address, required)
            case TrayInput() | MediumInput() | NodeInput() | ResizeInput():
                apply_to_disks(self.block, what)
            case HostReset(cause):
                self._off = self._broken = None
                self._requests.clear()
                self._reset(cause)
        self._inputs.append(record)
        return True

    def power_button(self) -> None:
        """Press the power button: the guest is asked to switch itself off."""
        self.apply(PowerButton())

    def wake(self) -> bool:
        """Wake the guest from ACPI S3; False where it does not sleep."""
        return self.apply(WakeUp())

    def nmi(self, cpu: int = 0) -> None:
        """Send a non-maskable interrupt to one vCPU."""
        if not 0 <= cpu < len(self.cpus) or not self.board.present >> cpu & 1:
            raise UsageError(f"there is no vCPU {cpu}: the machine has {self.present_cpus}")
        self.apply(Nmi(cpu))

    def device_add(
        self,
        driver: str,
        *,
        id: str | None = None,
        bus: str | None = None,
        properties: Mapping[str, PlugValue] | None = None,
    ) -> Plugged:
        """Plug a device in, such as a vCPU ("max-x86_64-cpu", socket-id, core-id, thread-id).  CommandError where it
        cannot be.
        """
        device = self.plug.plan(driver, id, bus, properties)
        self.apply(PlugDevice(device))
        return device

    def device_del(self, id: str) -> None:
        """Ask the guest to let go of a device; DeviceDeleted comes when it has.  CommandError where it cannot go.

        id: its name, or its path in the object tree.
        """
        self.apply(UnplugDevice(self.plug.check_removal(id).path))

    @property
    def present_cpus(self) -> tuple[int, ...]:
        """Indices of the vCPUs that there are; the others of `cpus` are not plugged in."""
        present = self.board.present
        return tuple(index for index in range(len(self.cpus)) if present >> index & 1)

    @property
    def _present(self) -> dict[int, Cpu]:
        return {index: self.cpus[index] for index in self.present_cpus}

    def cpu_path(self, index: int) -> str:
        """Where a vCPU is in the object tree."""
        path = self.tree.path_of(self.cpus[index])
        if path is None:
            raise UsageError(f"vCPU {index} is not plugged in: the machine has {self.present_cpus}")
        return path

    def inject_machine_check(self, what: MachineCheck) -> MachineCheckOutcome:
        """Let a vCPU find an error of its hardware; what became of that.  It may have reset the machine."""
        check(self._present, what)
        self._check_resettable("inject_machine_check")
        self.apply(what)
        return self._checked

    def memory_failure(self, address: int, *, action_required: bool) -> MachineCheckOutcome:
        """The host's memory behind a guest-physical address failed; what became of that.

        action_required: an instruction of the guest needs it now, else it was found in passing.  A guest whose
        processors can report it is told by a machine check.  Where that is not so, and for addresses without memory, it
        is the machine's own trouble: passed over if no action is required, else the machine is off.
        """
        if isinstance(address, bool) or not isinstance(address, int) or not 0 <= address < 1 << 52:
            raise UsageError(f"address={address!r}: expected a guest-physical address")
        self._check_resettable("memory_failure")
        self.apply(MemoryFault(address, action_required))
        return self._checked

    def reset(self, cause: ShutdownCause = ShutdownCause.HOST_QMP_SYSTEM_RESET) -> None:
        """Reset the machine.  Guest time, the instruction count and the content of RAM go on; also revives a
        machine that is off.
        """
        if self._in_run:
            raise UsageError("reset called from within a run: stop it first")
        self.apply(HostReset(cause))

    def _check_resettable(self, what: str) -> None:
        self._check_parked(what)
        if self._in_run:
            raise UsageError(f"{what} called from within a run: stop it first")
        if self._off is not None:
            raise UsageError(f"the machine is off ({self._off}): reset or restore it first")

    def _press_power_button(self) -> None:
        self._emit(Powerdown())
        self.board.press_power_button()

    def _send_nmi(self, cpu: int) -> None:
        self.cpus[cpu].nmi()
        self._scheduler.notice(cpu)

    def _machine_check(self, what: MachineCheck, may_wait: bool) -> MachineCheckOutcome:
        outcome = inject(self._present, what, self._emit, self._scheduler.notice, may_wait=may_wait)
        if outcome.action is MemoryFailureAction.RESET:
            self._guest_reset(stop_on_reset=False)
        return outcome

    def _memory_fault(self, address: int, required: bool) -> MachineCheckOutcome:
        index = self._scheduler.turn if required else self.present_cpus[0]
        found = self.board.memory_map.resolve(address)
        is_memory = found is not None and isinstance(found[0], Ram | Rom)
        if is_memory and reports_memory_errors(self.cpus[index]):
            return self._machine_check(memory_error(self._present, index, address, required), may_wait=True)
        action = MemoryFailureAction.FATAL if required else MemoryFailureAction.IGNORE
        self._emit(MemoryFailure(MemoryFailureRecipient.HYPERVISOR, action, MemoryFailureFlags(required, False)))
        if required:
            self._shut_down(ShutdownCause.HOST_ERROR, status=1)
        return MachineCheckOutcome(action)

    def _send_serial(self, index: int, data: bytes) -> None:
        self.apply(SerialInput(index, data))

    def _press_key(self, key: str, pressed: bool) -> bool:
        return self.apply(KeyInput(key, pressed))

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

    # --- what devices ask for

    def _request(self, request: _Request) -> None:
        if isinstance(request, _IoError) and request in self._requests:
            return  # Several disks failed; the machine stops once.
        self._requests.append(request)
        self._scheduler.interrupt()

    def _settle(self, cut: Cut, stop_on_reset: bool) -> Exit | None:
        """The exit that a cut amounts to, or None to run on."""
        match cut.reason:
            case CutReason.INSTRUCTIONS | CutReason.TIME:
                return BudgetSpent()
            case CutReason.STOP:
                return StopRequested()
            case CutReason.IDLE:
                return Idle(cut.until_ns)
            case CutReason.SHUTDOWN:
                return self._triple_fault(cut.cpu, stop_on_reset)
            case CutReason.BREAKPOINT:
                return Breakpoint(cut.cpu, self._pc(cut.cpu))
            case CutReason.WATCHPOINT:
                return Watchpoint(cut.cpu, self._pc(cut.cpu), self.cpus[cut.cpu].watch_hit)
            case CutReason.REQUEST:
                return self._serve(stop_on_reset)

    def _serve(self, stop_on_reset: bool) -> Exit | None:
        while self._requests:
            match self._requests.popleft():
                case _Stop(reason):
                    if self._requests:
                        self._scheduler.interrupt()  # The rest is for the next run.
                    return StopRequested(reason)
                case _DebugExit(value):
                    return self._switch_off(DebugExit(value))
                case _PowerOff():
                    return self._shut_down(ShutdownCause.GUEST_SHUTDOWN)
                case _Reset():
                    return self._guest_reset(stop_on_reset)
                case _Suspend():
                    self._suspend()
                case _SuspendToDisk():
                    self._emit(SuspendDisk())
                    return self._shut_down(ShutdownCause.GUEST_SHUTDOWN)
                case _Wake(reason):
                    self._wake_up(reason)
                case _IoError():
                    return self._pause(RunState.IO_ERROR)
                case _Panic(info):
                    exit = self._panic(info)
                    if exit is not None:
                        return exit
                case _WatchdogExpired():
                    exit = self._watchdog_expired(stop_on_reset)
                    if exit is not None:
                        return exit
        return None

    def _panic(self, info: GuestPanicInformation | None) -> Exit | None:
        """The guest's system reports a panic.  A shutdown that only pauses is a pause from the start."""
        action = self.actions.panic
        if action is PanicAction.SHUTDOWN and self.actions.shutdown is ShutdownAction.PAUSE:
            action = PanicAction.PAUSE
        match action:
            case PanicAction.NONE:
                self._emit(GuestPanicked(GuestPanicAction.RUN, info))
                return None
            case PanicAction.PAUSE:
                self._emit(GuestPanicked(GuestPanicAction.PAUSE, info))
                return self._pause(RunState.GUEST_PANICKED)
            case PanicAction.SHUTDOWN | PanicAction.EXIT_FAILURE:
                self._emit(GuestPanicked(GuestPanicAction.POWEROFF, info))
                return self._shut_down(ShutdownCause.GUEST_PANIC, int(action is PanicAction.EXIT_FAILURE))

    def _watchdog_expired(self, stop_on_reset: bool) -> Exit | None:
        action = self.actions.watchdog
        self._emit(Watchdog(action))
        match action:
            case WatchdogAction.RESET:
                return self._guest_reset(stop_on_reset)
            case WatchdogAction.SHUTDOWN:
                self._press_power_button()
            case WatchdogAction.POWEROFF:
                return self._switch_off(ShutdownRequested(ShutdownCause.NONE, guest=False))
            case WatchdogAction.PAUSE:
                return self._pause(RunState.WATCHDOG)
            case WatchdogAction.INJECT_NMI:
                for index in self.present_cpus:
                    self._send_nmi(index)
            case WatchdogAction.DEBUG | WatchdogAction.NONE:
                pass
        return None

    def _pause(self, state: RunState) -> Exit:
        if self._requests:
            self._scheduler.interrupt()
        return PauseRequested(state)

    def _is_deaf(self) -> bool:
        """All vCPUs are halted, or the machine sleeps: whether nothing but an input can wake one, and nobody else
        waits for the time to pass.
        """
        if self.asleep:
            return not self.board.wakes_by_itself and self._own_timers_only()
        if any(watchdog.running for watchdog in self.board.watchdogs):
            return False
        if any(cpu.rflags & Flags.IF and cpu.activity == Activity.HALTED for cpu in self.cpus):
            return False
        return not self.board.interrupts_the_deaf and self._own_timers_only()

    def _own_timers_only(self) -> bool:
        return all(timer.order <= self._own_timers for timer in self.clock.armed)

    def _triple_fault(self, index: int, stop_on_reset: bool) -> Exit | None:
        self._emit(GuestFault(index, self._pc(index), self.instructions))
        if not self.board.resets_after_triple_fault:
            return self._switch_off(GuestFaulted(index, self._pc(index)))
        return self._guest_reset(stop_on_reset)

    def _guest_reset(self, stop_on_reset: bool) -> Exit | None:
        if self.actions.reboot is RebootAction.SHUTDOWN:
            return self._shut_down(ShutdownCause.GUEST_RESET)
        self._reset(ShutdownCause.GUEST_RESET)
        return ResetRequested(ShutdownCause.GUEST_RESET) if stop_on_reset else None

    def _shut_down(self, cause: ShutdownCause, status: int = 0) -> Exit:
        self._emit(Shutdown(cause.by_guest, cause))
        return self._switch_off(ShutdownRequested(cause, cause.by_guest, status))

    def _switch_off(self, result: Exit) -> Exit:
        self._off = result
        self._requests.clear()
        return result

    def _pc(self, index: int) -> int:
        cpu = self.cpus[index]
        return int(cpu.cs.base + cpu.rip) % (1 << 64)

    # --- reset

    def _reset(self, cause: ShutdownCause) -> None:
        self._emit(Reset(cause.by_guest, cause))
        # What the guest asked for is void now; a hook's wish to stop is not.
        self._requests = deque(request for request in self._requests if isinstance(request, _Stop))
        self._reset_hardware()
        self.board.restarted()

    def _reset_cpus(self) -> None:
        for cpu in self.cpus:
            cpu.set_time(self.now_ns)  # Their time-stamp counters begin at zero together.
            cpu.reset()

    def _reset_hardware(self) -> None:
        self._reset_cpus()
        self._scheduler.reset()
        self.board.reset()
        if self._image is not None:
            write_segments(self.memory, self._image)
            rewrite_tables(self)
            start_cpus(self.cpus, self._image)
            self.board.booted(self._image)
        self._reset_at = self.instructions

    # --- sleep

    def _suspend(self) -> None:
        self._scheduler.asleep = True
        self._emit(Suspend())
        self.board.suspended()

    def _wake_up(self, reason: WakeReason) -> bool:
        """End a sleep: the machine is reset without saying so, and firmware finds its way back to the guest in what
        memory holds.  False, and nothing done, where there is no sleep.
        """
        if not self.asleep:
            return False
        self._reset_cpus()
        self._scheduler.reset()
        self.board.reset()
        image = self._image
        if image is not None:
            program_msrs(self.cpus, image)
            if not image.has_firmware:
                start_cpus(self.cpus, image)
            self.board.booted(image)
        self.board.woken(reason)
        self._emit(Wakeup())
        return True

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

    def digest(self) -> str:
        """A hash of the whole guest-visible state, in hex: equal machines have equal digests."""
        self._check_parked("digest")
        state = blake2b(digest_size=32)
        encode([cpu.save() for cpu in self.cpus], state.update)
        encode(self._scheduler.save(), state.update)
        encode(self.board.save(), state.update)
        encode([port.save() for port in self.serial], state.update)
        state.update(self.memory.digest())
        return state.hexdigest()

    def save(self, *, memory: bool = True) -> Snapshot:
        """The whole state as a value.  memory: with the content of RAM and ROM."""
        self._check_parked("save")
        return Snapshot(
            config=self.config,
            cpus=tuple(cpu.save() for cpu in self.cpus),
            scheduler=self._scheduler.save(),
            devices=self.board.save(),
            plugged=self.plug.devices,
            reset_at=self._reset_at,
            serial=tuple(port.save() for port in self.serial),
            files=self.block.marks(),
            pages={at: self.memory.read(at, PAGE) for at in self.memory.used_pages()} if memory else {},
            off=self._off,
            inputs=tuple(self._inputs),
        )

    def restore(self, snapshot: Snapshot, *, memory: bool = True) -> None:
        """Take the state of a snapshot of an equally configured machine.  memory: False leaves RAM and ROM alone."""
        self._check_parked("restore")
        if snapshot.config != self.config:
            raise UsageError("the snapshot is of a machine of another configuration")
        self.block.check_marks(snapshot.files)
        for address in set(self.memory.used_pages()) - snapshot.pages.keys() if memory else ():
            self.memory.load(address, bytes(PAGE))
        for address, page in snapshot.pages.items():
            self.memory.load(address, page)
        self.plug.restore(snapshot.plugged)
        self.board.restore(snapshot.devices)
        self._reset_at = snapshot.reset_at
        for cpu, state in zip(self.cpus, snapshot.cpus, strict=True):
            cpu.restore(state)
        self._scheduler.restore(snapshot.scheduler)
        for port, waiting in zip(self.serial, snapshot.serial, strict=True):
            port.restore(waiting)
        self._off = snapshot.off
        self._broken = None
        self._requests.clear()
        self._inputs = list(snapshot.inputs)

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

    def statistics(self) -> MachineStatistics:
        """Counts since the machine was built."""
        return MachineStatistics(
            instructions=self.instructions,
            guest_ns=self.now_ns,
            exits={reason.name.lower(): count for reason, count in self._scheduler.exits.items() if count},
            inputs=len(self._inputs),
            events=self._events,
            cpus=tuple(cpu.statistics() for cpu in self.cpus),
        )

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


@frozen
class _Stop:
    reason: object


@frozen
class _DebugExit:
    value: int


@frozen
class _PowerOff:
    pass


@frozen
class _Reset:
    pass


@frozen
class _Suspend:
    pass


@frozen
class _SuspendToDisk:
    pass


@frozen
class _Wake:
    reason: WakeReason


@frozen
class _Panic:
    info: GuestPanicInformation | None


@frozen
class _WatchdogExpired:
    pass


@frozen
class _IoError:
    pass


_Request = (
    _Stop | _DebugExit | _PowerOff | _Reset | _Suspend | _SuspendToDisk | _Wake | _Panic | _WatchdogExpired | _IoError
)
