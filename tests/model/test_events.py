"""Events have the names and members of the wire."""

import attrs
import pytest

from vmcore.model.events import EVENTS, Event, GuestFault, Reset, Shutdown, event
from vmcore.model.run_state import ShutdownCause

MEMBERS = {
    "SHUTDOWN": {"guest", "reason"},
    "RESET": {"guest", "reason"},
    "STOP": set(),
    "RESUME": set(),
    "POWERDOWN": set(),
    "SUSPEND": set(),
    "SUSPEND_DISK": set(),
    "WAKEUP": set(),
    "WATCHDOG": {"action"},
    "GUEST_PANICKED": {"action", "info"},
    "GUEST_CRASHLOADED": {"action", "info"},
    "MEMORY_FAILURE": {"recipient", "action", "flags"},
    "RTC_CHANGE": {"offset", "qom_path"},
}


@pytest.mark.parametrize("name", MEMBERS)
def test_each_wire_event_has_exactly_the_members_of_the_wire(name: str) -> None:
    assert {field.name for field in attrs.fields(EVENTS[name])} == MEMBERS[name]
    assert EVENTS[name].wire_name == name


def test_events_are_values() -> None:
    assert Shutdown(True, ShutdownCause.GUEST_SHUTDOWN) == Shutdown(guest=True, reason=ShutdownCause.GUEST_SHUTDOWN)
    assert Reset(True, ShutdownCause.GUEST_RESET) != Reset(False, ShutdownCause.GUEST_RESET)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Shutdown(True, ShutdownCause.NONE).guest = False  # type: ignore[misc]


def test_our_own_events_have_no_wire_name() -> None:
    assert GuestFault.wire_name is None
    assert GuestFault not in EVENTS.values()


def test_a_wire_name_is_given_only_once() -> None:
    with pytest.raises(ValueError, match="RESET is Reset already"):

        @event("RESET")
        class Another(Event):
            pass
