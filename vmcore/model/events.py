"""What machines say: one frozen class per event.

Events of the management model carry their wire name (`@event("SHUTDOWN")`) and have exactly the members of the
wire, `_` for `-`; an optional member is None when it is left out.  Finer ones of our own have no wire name and
never leave the process. Bytes of serial ports are no events: they are streams.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import ClassVar, Final, TypeVar

from attrs import frozen

from vmcore.model.run_state import GuestPanicAction, ShutdownCause, WatchdogAction
from vmcore.model.wire import Int, UInt32, UInt64, branch, enum, struct, union

__all__ = [
    "EVENTS",
    "Event",
    "GuestCrashloaded",
    "GuestFault",
    "GuestPanicInformation",
    "GuestPanicInformationHyperV",
    "GuestPanicInformationS390",
    "GuestPanicInformationType",
    "GuestPanicked",
    "MemoryFailure",
    "MemoryFailureAction",
    "MemoryFailureFlags",
    "MemoryFailureRecipient",
    "PostCode",
    "Powerdown",
    "Reset",
    "Resume",
    "RtcChange",
    "S390CrashReason",
    "Shutdown",
    "Stop",
    "Suspend",
    "SuspendDisk",
    "Wakeup",
    "Watchdog",
    "event",
]


@frozen
class Event:
    """Base of all events."""

    wire_name: ClassVar[str | None] = None
    """Name on the management wire, None for an event that is only ours."""
    features: ClassVar[tuple[str, ...]] = ()
    """Features as the schema lists them ("deprecated", ...)."""


EVENTS: Final[dict[str, type[Event]]] = {}
"""The events of the management model by wire name."""

_E = TypeVar("_E", bound=type[Event])


def event(wire_name: str, *, features: tuple[str, ...] = ()) -> Callable[[_E], _E]:
    """Register an event class under its wire name; a name may be given only once."""

    def register(cls: _E) -> _E:
        if wire_name in EVENTS and EVENTS[wire_name].__qualname__ != cls.__qualname__:
            raise ValueError(f"event {wire_name} is {EVENTS[wire_name].__qualname__} already")
        cls.wire_name = wire_name
        cls.features = features
        EVENTS[wire_name] = cls
        return cls

    return register


# --- life cycle ------------------------------------------------------------------------------------------------------


@event("SHUTDOWN")
@frozen
class Shutdown(Event):
    """The machine shut down.  guest: the guest asked for it; reason: what did.

    Caused by the guest's ACPI S5, by a reset or panic whose action is to shut down, by `quit`, and by signals of the
    host.  A Stop follows where the machine stays, in state `shutdown`; otherwise it ends.
    """

    guest: bool
    reason: ShutdownCause


@event("RESET")
@frozen
class Reset(Event):
    """The machine was reset.  guest: the guest asked for it; reason: what did.

    Caused by the guest through the reset registers (port 0CF9h, ACPI), port 92h, the keyboard controller or a triple
    fault; by `system_reset`; by a watchdog whose action it is.
    """

    guest: bool
    reason: ShutdownCause


@event("STOP")
@frozen
class Stop(Event):
    """The machine stopped executing.

    Caused by `stop`, breakpoints, and everything after which a machine is told to pause: its state says which.
    """


@event("RESUME")
@frozen
class Resume(Event):
    """The machine executes again, or for the first time.  Caused by `cont`."""


@event("POWERDOWN")
@frozen
class Powerdown(Event):
    """The power button was pressed: the guest has been asked to switch itself off.  Caused by `system_powerdown`."""


@event("SUSPEND")
@frozen
class Suspend(Event):
    """The guest went to sleep with its memory powered.  Caused by its ACPI S3."""


@event("SUSPEND_DISK")
@frozen
class SuspendDisk(Event):
    """The guest saved itself to disk and switches off (ACPI S4); a Shutdown follows."""


@event("WAKEUP")
@frozen
class Wakeup(Event):
    """The guest woke from suspension and executes.  Caused by `system_wakeup` or the guest's wake-up sources."""


# --- trouble ---------------------------------------------------------------------------------------------------------


@event("WATCHDOG")
@frozen
class Watchdog(Event):
    """A watchdog expired.  action: what is done about it."""

    action: WatchdogAction


@enum
class GuestPanicInformationType(StrEnum):
    """Whose account of a panic it is."""

    HYPER_V = "hyper-v"
    S390 = "s390"


@union("type")
@frozen(kw_only=True)
class GuestPanicInformation:
    """What a guest tells about its panic: one of the subclasses."""

    type: GuestPanicInformationType


@branch(GuestPanicInformationType.HYPER_V)
@frozen(kw_only=True)
class GuestPanicInformationHyperV(GuestPanicInformation):
    """The five values that a guest writes to the Hyper-V crash registers."""

    type: GuestPanicInformationType = GuestPanicInformationType.HYPER_V
    arg1: UInt64
    arg2: UInt64
    arg3: UInt64
    arg4: UInt64
    arg5: UInt64


@enum
class S390CrashReason(StrEnum):
    """Why an s390 processor stopped for good."""

    UNKNOWN = "unknown"
    DISABLED_WAIT = "disabled-wait"
    EXTINT_LOOP = "extint-loop"
    PGMINT_LOOP = "pgmint-loop"
    OPINT_LOOP = "opint-loop"


@branch(GuestPanicInformationType.S390)
@frozen(kw_only=True)
class GuestPanicInformationS390(GuestPanicInformation):
    """An s390 crash.  core: the processor; psw_mask, psw_addr: its program status word; reason: why it stopped."""

    type: GuestPanicInformationType = GuestPanicInformationType.S390
    core: UInt32
    psw_mask: UInt64
    psw_addr: UInt64
    reason: S390CrashReason


@event("GUEST_PANICKED")
@frozen
class GuestPanicked(Event):
    """The guest's system reported a panic.  action: what was done; info: what it told about it."""

    action: GuestPanicAction
    info: GuestPanicInformation | None = None


@event("GUEST_CRASHLOADED")
@frozen
class GuestCrashloaded(Event):
    """The guest's system panicked and handed over to its crash kernel.  action: what was done."""

    action: GuestPanicAction
    info: GuestPanicInformation | None = None


@enum
class MemoryFailureRecipient(StrEnum):
    """Whose memory failed."""

    HYPERVISOR = "hypervisor"
    GUEST = "guest"


@enum
class MemoryFailureAction(StrEnum):
    """What was done about failed memory."""

    IGNORE = "ignore"
    INJECT = "inject"
    FATAL = "fatal"
    RESET = "reset"


@struct
@frozen
class MemoryFailureFlags:
    """action_required: the access that failed cannot go on; recursive: it happened while another was being handled."""

    action_required: bool
    recursive: bool


@event("MEMORY_FAILURE")
@frozen
class MemoryFailure(Event):
    """Memory of the host failed.  recipient: whose it was; action: what was done; flags: how bad it is."""

    recipient: MemoryFailureRecipient
    action: MemoryFailureAction
    flags: MemoryFailureFlags


@event("RTC_CHANGE")
@frozen
class RtcChange(Event):
    """The guest set its clock.  offset: seconds from the clock as configured to the one now set; qom_path: which
    clock.  Caused by a write to the clock's registers.
    """

    offset: Int
    qom_path: str


# --- finer ones, only ours -------------------------------------------------------------------------------------------


@frozen
class GuestFault(Event):
    """A vCPU shut down after a triple fault.  cpu: its index; pc: instruction pointer; instructions: machine total
    at that point.
    """

    cpu: int
    pc: int
    instructions: int


@frozen
class PostCode(Event):
    """The guest wrote to the diagnostic port 0x80.  Emitted only where the board is told to."""

    value: int
