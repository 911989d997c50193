"""What becomes of a run that was cut, and of what devices asked for in it: exits, resets, sleep.

The part of `Machine` that decides, between instructions, whether a run goes on.
"""

from __future__ import annotations

from collections import deque

from vmcore.engine import Activity, Flags
from vmcore.machine import requests
from vmcore.machine.boot import program_msrs, start_cpus, write_segments
from vmcore.machine.parts import MachineParts
from vmcore.machine.scheduler import Cut, CutReason
from vmcore.model.events import (
    GuestFault,
    GuestPanicInformation,
    GuestPanicked,
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
    NotifyVmexitOption,
    PanicAction,
    RebootAction,
    RunState,
    ShutdownAction,
    ShutdownCause,
    WakeReason,
    WatchdogAction,
)

__all__ = ["Settling"]


class Settling(MachineParts):
    """Requests of devices, resets and sleep."""

    def _request(self, request: requests.Request) -> None:
        if isinstance(request, requests.IoError) and request in self._requests:
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
            case CutReason.STUCK:
                return self._stuck(cut.cpu)
            case CutReason.BREAKPOINT:
                return Breakpoint(cut.cpu, self._pc(cut.cpu))
            case CutReason.WATCHPOINT:
                return Watchpoint(cut.cpu, self._pc(cut.cpu), self.cpus[cut.cpu].watch_hit)
            case CutReason.REQUEST:
                return self._serve(stop_on_reset)

    def _serve(self, stop_on_reset: bool) -> Exit | None:
        while self._requests:
            match self._requests.popleft():
                case requests.Stop(reason):
                    if self._requests:
                        self._scheduler.interrupt()  # The rest is for the next run.
                    return StopRequested(reason)
                case requests.DebugExit(value):
                    return self._switch_off(DebugExit(value))
                case requests.PowerOff():
                    return self._shut_down(ShutdownCause.GUEST_SHUTDOWN)
                case requests.Reset():
                    return self._guest_reset(stop_on_reset)
                case requests.Suspend():
                    self._suspend()
                case requests.SuspendToDisk():
                    self._emit(SuspendDisk())
                    return self._shut_down(ShutdownCause.GUEST_SHUTDOWN)
                case requests.Wake(reason):
                    self._wake_up(reason)
                case requests.IoError():
                    return self._pause(RunState.IO_ERROR)
                case requests.Panic(info):
                    exit = self._panic(info)
                    if exit is not None:
                        return exit
                case requests.WatchdogExpired():
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

    def _stuck(self, index: int) -> Exit | None:
        """A vCPU lets no event in any more.  Guest time goes on without it, unless that is to be an error."""
        if self.config.notify_vmexit is NotifyVmexitOption.INTERNAL_ERROR:
            return self._pause(RunState.INTERNAL_ERROR)
        self._scheduler.rest(index)
        return None

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
        self._requests = deque(request for request in self._requests if isinstance(request, requests.Stop))
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
            self._rewrite_tables()
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
        self.board.reset(keep=self.board.kept)
        image = self._image
        if image is not None:
            program_msrs(self.cpus, image)
            if not image.has_firmware:
                start_cpus(self.cpus, image)
            self.board.booted(image)
        self.board.woken(reason)
        self._emit(Wakeup())
        return True
