"""The run state of a virtual machine: what it is, what may follow what, and what is said when it changes.

Rule 1: everything that decides about run states lives in this file.  The shell and the management protocol ask it; they
hold no tables of their own, and the diagram in the documentation is drawn from `TRANSITIONS`.

A machine is in exactly one state.  Three questions are asked of it:

*May the vCPUs execute?*  Only in RUNNING (`RunState.executes`).  A SUSPENDED machine (ACPI S3) holds no executing
vCPU, but its clock and its wake-up sources live, so it counts as live (`RunState.is_live`): it can wake by itself.
In all other states guest time stands still.

*Is it `running` on the wire?*  query-status asks whether all vCPUs are runnable: true in RUNNING alone.

*May it go on?*  `cont` is refused where only a reset helps: SHUTDOWN and INTERNAL_ERROR (`RunState.needs_reset`),
as the guest's hardware is off or broken there.  INMIGRATE accepts `stop` and `cont` and stays as it is: they only
decide what follows the migration.

Events go with edges, not with states: leaving a live state for a state at rest says STOP, coming back says RESUME.
The edge RUNNING -> SUSPENDED says SUSPEND only, and SUSPENDED -> RUNNING says WAKEUP only, because the machine
stays live. Entering PRELAUNCH by a reset from a state at rest says neither, only RESET.  So the table is enough to
know what is said (`said_on`).

`stop` of a suspended machine leads to PAUSED, and `cont` then back to SUSPENDED, unless it was reset or woken in
between; the table therefore has both edges, and who remembers is the shell.

What the table cannot show: a reset is an edge to PRELAUNCH only from states at rest; in RUNNING it changes no
state.  SAVE_VM, RESTORE_VM, FINISH_MIGRATE and COLO are passed through by operations of the host and left for
whatever state was saved before.

Source: the management documents (RunState, StatusInfo, stop, cont) and the recorded behaviour of QEMU 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from attrs import frozen

from vmcore.model.wire import enum, struct

__all__ = [
    "TRANSITIONS",
    "GuestPanicAction",
    "NotifyVmexitOption",
    "PanicAction",
    "RebootAction",
    "RunState",
    "ShutdownAction",
    "ShutdownCause",
    "StatusInfo",
    "WakeReason",
    "WatchdogAction",
    "may_follow",
    "said_on",
]


@enum
class RunState(StrEnum):
    """State of the whole machine; the values are those of the wire."""

    DEBUG = "debug"
    """Stopped by a debugger: breakpoint, watchpoint or single step."""
    INMIGRATE = "inmigrate"
    """Waits for its state to come in from a migration."""
    INTERNAL_ERROR = "internal-error"
    """The emulator itself failed (a device model raised); only a reset helps."""
    IO_ERROR = "io-error"
    """A disk request failed and the device is told to stop on errors; going on retries it."""
    PAUSED = "paused"
    """Stopped by the user."""
    POSTMIGRATE = "postmigrate"
    """Its state went out to another host."""
    PRELAUNCH = "prelaunch"
    """Built and reset; not one instruction has run since."""
    FINISH_MIGRATE = "finish-migrate"
    """Stopped for the last part of an outgoing migration."""
    RESTORE_VM = "restore-vm"
    """Stopped while a snapshot is restored."""
    RUNNING = "running"
    """The vCPUs execute."""
    SAVE_VM = "save-vm"
    """Stopped while a snapshot is saved."""
    SHUTDOWN = "shutdown"
    """The guest is off and the machine was told to stay."""
    SUSPENDED = "suspended"
    """The guest sleeps in ACPI S3."""
    WATCHDOG = "watchdog"
    """Stopped by a watchdog whose action is to pause."""
    GUEST_PANICKED = "guest-panicked"
    """Stopped because the guest's system reported a panic."""
    COLO = "colo"
    """Stopped for a checkpoint of coarse-grained lock-stepping."""

    @property
    def executes(self) -> bool:
        """Whether vCPUs may execute in this state; also the `running` member of query-status."""
        return self is RunState.RUNNING

    @property
    def is_live(self) -> bool:
        """Whether the guest can act or wake by itself: RUNNING and SUSPENDED."""
        return self in _LIVE

    @property
    def needs_reset(self) -> bool:
        """Whether only a reset leads on from here."""
        return self in _NEEDS_RESET


@enum
class ShutdownCause(StrEnum):
    """Why a machine was shut down or reset; the values are those of the wire."""

    NONE = "none"
    HOST_ERROR = "host-error"
    HOST_QMP_QUIT = "host-qmp-quit"
    HOST_QMP_SYSTEM_RESET = "host-qmp-system-reset"
    HOST_SIGNAL = "host-signal"
    HOST_UI = "host-ui"
    GUEST_SHUTDOWN = "guest-shutdown"
    GUEST_RESET = "guest-reset"
    GUEST_PANIC = "guest-panic"
    SUBSYSTEM_RESET = "subsystem-reset"
    SNAPSHOT_LOAD = "snapshot-load"

    @property
    def by_guest(self) -> bool:
        """Whether the guest caused it: the `guest` member of SHUTDOWN and RESET."""
        return self in _BY_GUEST


@enum
class WatchdogAction(StrEnum):
    """What happens when a watchdog expires."""

    RESET = "reset"
    SHUTDOWN = "shutdown"
    POWEROFF = "poweroff"
    PAUSE = "pause"
    DEBUG = "debug"
    NONE = "none"
    INJECT_NMI = "inject-nmi"


class WakeReason(StrEnum):
    """What woke a machine from ACPI S3, as its fixed hardware tells the guest."""

    RTC = "rtc"
    """The alarm of the real-time clock."""
    OTHER = "other"
    """The user: `system_wakeup`, a key, a button of the mouse."""


@enum
class RebootAction(StrEnum):
    """What a reset asked for by the guest does."""

    RESET = "reset"
    SHUTDOWN = "shutdown"


@enum
class ShutdownAction(StrEnum):
    """What a shutdown asked for by the guest does: end the machine, or keep it in the state `shutdown`."""

    POWEROFF = "poweroff"
    PAUSE = "pause"


@enum
class PanicAction(StrEnum):
    """What a panic reported by the guest does."""

    PAUSE = "pause"
    SHUTDOWN = "shutdown"
    EXIT_FAILURE = "exit-failure"
    NONE = "none"


@enum
class GuestPanicAction(StrEnum):
    """What was done about a panic, as the event tells it."""

    PAUSE = "pause"
    POWEROFF = "poweroff"
    RUN = "run"


@enum
class NotifyVmexitOption(StrEnum):
    """What is done about a processor that lets no event in any more."""

    RUN = "run"
    INTERNAL_ERROR = "internal-error"
    DISABLE = "disable"


@struct
@frozen
class StatusInfo:
    """What a machine does.  running: its vCPUs may execute; status: its run state."""

    running: bool
    status: RunState


_LIVE: Final = frozenset({RunState.RUNNING, RunState.SUSPENDED})
_NEEDS_RESET: Final = frozenset({RunState.SHUTDOWN, RunState.INTERNAL_ERROR})
_BY_GUEST: Final = frozenset(
    {
        ShutdownCause.GUEST_SHUTDOWN,
        ShutdownCause.GUEST_RESET,
        ShutdownCause.GUEST_PANIC,
        ShutdownCause.SUBSYSTEM_RESET,
        ShutdownCause.SNAPSHOT_LOAD,
    }
)

_S: Final = RunState
# Host operations on a machine at rest: each may begin from any such state and ends in the state that was.
_OPERATIONS: Final = frozenset({_S.SAVE_VM, _S.RESTORE_VM, _S.FINISH_MIGRATE})

TRANSITIONS: Final[Mapping[RunState, frozenset[RunState]]] = {
    _S.PRELAUNCH: frozenset({_S.RUNNING, _S.SUSPENDED, _S.PAUSED, _S.INMIGRATE}) | _OPERATIONS,
    _S.RUNNING: frozenset(
        {
            _S.DEBUG,
            _S.INTERNAL_ERROR,
            _S.IO_ERROR,
            _S.PAUSED,
            _S.SHUTDOWN,
            _S.SUSPENDED,
            _S.WATCHDOG,
            _S.GUEST_PANICKED,
            _S.COLO,
        }
    )
    | _OPERATIONS,
    _S.SUSPENDED: frozenset({_S.RUNNING, _S.PAUSED, _S.PRELAUNCH, _S.SHUTDOWN, _S.COLO}) | _OPERATIONS,
    _S.PAUSED: frozenset({_S.RUNNING, _S.SUSPENDED, _S.PRELAUNCH, _S.POSTMIGRATE, _S.COLO}) | _OPERATIONS,
    _S.DEBUG: frozenset({_S.RUNNING, _S.SUSPENDED, _S.PAUSED, _S.PRELAUNCH}) | _OPERATIONS,
    _S.IO_ERROR: frozenset({_S.RUNNING, _S.PRELAUNCH}) | _OPERATIONS,
    _S.WATCHDOG: frozenset({_S.RUNNING, _S.PRELAUNCH, _S.COLO}) | _OPERATIONS,
    _S.GUEST_PANICKED: frozenset({_S.RUNNING, _S.PRELAUNCH, _S.PAUSED}) | _OPERATIONS,
    _S.SHUTDOWN: frozenset({_S.PRELAUNCH, _S.PAUSED, _S.COLO}) | _OPERATIONS,
    _S.INTERNAL_ERROR: frozenset({_S.PRELAUNCH, _S.PAUSED}) | _OPERATIONS,
    _S.POSTMIGRATE: frozenset({_S.RUNNING, _S.SUSPENDED, _S.PAUSED, _S.PRELAUNCH}) | _OPERATIONS,
    _S.INMIGRATE: frozenset(
        {
            _S.RUNNING,
            _S.PAUSED,
            _S.SUSPENDED,
            _S.SHUTDOWN,
            _S.PRELAUNCH,
            _S.POSTMIGRATE,
            _S.GUEST_PANICKED,
            _S.INTERNAL_ERROR,
            _S.IO_ERROR,
            _S.WATCHDOG,
            _S.COLO,
        }
    ),
    # A snapshot or a migration ends in the state that it found or that it loaded.
    _S.SAVE_VM: frozenset(RunState) - _OPERATIONS - {_S.INMIGRATE, _S.COLO},
    _S.RESTORE_VM: frozenset(RunState) - _OPERATIONS - {_S.INMIGRATE, _S.COLO},
    _S.FINISH_MIGRATE: frozenset(RunState) - _OPERATIONS - {_S.INMIGRATE},
    _S.COLO: frozenset({_S.RUNNING, _S.PRELAUNCH}),
}
"""Every legal change of state.  Staying is no change and always legal."""


def may_follow(state: RunState, following: RunState) -> bool:
    """Whether `following` is a legal next state; staying in a state always is."""
    return state is following or following in TRANSITIONS[state]


def said_on(state: RunState, following: RunState) -> str | None:
    """Wire name of the event that a change of state itself says: STOP, RESUME, SUSPEND, WAKEUP or None.

    Raises ValueError for a change that `TRANSITIONS` does not have.
    """
    if not may_follow(state, following):
        raise ValueError(f"{following.value} may not follow {state.value}")
    if state is following:
        return None
    if state.is_live and following.is_live:
        return "SUSPEND" if following is RunState.SUSPENDED else "WAKEUP"
    if state.is_live:
        return None if following is RunState.PRELAUNCH else "STOP"
    return "RESUME" if following.is_live else None
