"""What devices and hooks ask of the machine from within an instruction, to be done when that has ended."""

from __future__ import annotations

from attrs import frozen

from vmcore.model.events import GuestPanicInformation
from vmcore.model.run_state import WakeReason

__all__ = [
    "DebugExit",
    "IoError",
    "Panic",
    "PowerOff",
    "Request",
    "Reset",
    "Stop",
    "Suspend",
    "SuspendToDisk",
    "Wake",
    "WatchdogExpired",
]


@frozen
class Stop:
    """A hook wants the run to end, and said why."""

    reason: object


@frozen
class DebugExit:
    """The guest leaves through a debugging port, with this value."""

    value: int


@frozen
class PowerOff:
    """The guest switches the machine off."""


@frozen
class Reset:
    """The guest resets the machine."""


@frozen
class Suspend:
    """The guest goes to sleep (ACPI S3)."""


@frozen
class SuspendToDisk:
    """The guest has saved itself and switches off (ACPI S4)."""


@frozen
class Wake:
    """Something wakes a guest that sleeps."""

    reason: WakeReason


@frozen
class Panic:
    """The guest's system reports a panic, and what it knows of it."""

    info: GuestPanicInformation | None


@frozen
class WatchdogExpired:
    """A watchdog was not fed in time."""


@frozen
class IoError:
    """A disk failed, and its policy is to stop."""


Request = Stop | DebugExit | PowerOff | Reset | Suspend | SuspendToDisk | Wake | Panic | WatchdogExpired | IoError
"""Any of them."""
