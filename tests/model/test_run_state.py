"""The table of run states is closed, and says what the wire says."""

import runpy
from pathlib import Path

import pytest

from vmcore.model.run_state import TRANSITIONS, RunState, ShutdownCause, may_follow, said_on

WIRE_STATES = [
    "debug",
    "inmigrate",
    "internal-error",
    "io-error",
    "paused",
    "postmigrate",
    "prelaunch",
    "finish-migrate",
    "restore-vm",
    "running",
    "save-vm",
    "shutdown",
    "suspended",
    "watchdog",
    "guest-panicked",
    "colo",
]
WIRE_CAUSES = [
    "none",
    "host-error",
    "host-qmp-quit",
    "host-qmp-system-reset",
    "host-signal",
    "host-ui",
    "guest-shutdown",
    "guest-reset",
    "guest-panic",
    "subsystem-reset",
    "snapshot-load",
]


def test_run_states_are_the_sixteen_of_the_wire_in_its_order() -> None:
    assert [state.value for state in RunState] == WIRE_STATES


def test_shutdown_causes_are_those_of_the_wire_in_its_order() -> None:
    assert [cause.value for cause in ShutdownCause] == WIRE_CAUSES


def test_causes_from_guest_shutdown_on_are_the_guests() -> None:
    assert [cause.by_guest for cause in ShutdownCause] == [
        number >= WIRE_CAUSES.index("guest-shutdown") for number in range(len(WIRE_CAUSES))
    ]


def test_only_running_executes_and_only_running_and_suspended_are_live() -> None:
    assert [state for state in RunState if state.executes] == [RunState.RUNNING]
    assert {state for state in RunState if state.is_live} == {RunState.RUNNING, RunState.SUSPENDED}


def test_every_state_has_a_row_and_no_row_names_itself() -> None:
    assert set(TRANSITIONS) == set(RunState)
    assert [state for state, following in TRANSITIONS.items() if state in following] == []


def test_every_state_can_be_reached_from_prelaunch_and_leads_back_to_it() -> None:
    reached, frontier = {RunState.PRELAUNCH}, [RunState.PRELAUNCH]
    while frontier:
        for following in TRANSITIONS[frontier.pop()] - reached:
            reached.add(following)
            frontier.append(following)
    assert reached == set(RunState)
    assert [
        state
        for state in RunState
        if state not in (RunState.RUNNING, RunState.PRELAUNCH)
        if RunState.PRELAUNCH not in TRANSITIONS[state]
    ] == []


def test_states_that_need_a_reset_do_not_lead_to_running() -> None:
    assert {state for state in RunState if state.needs_reset} == {RunState.SHUTDOWN, RunState.INTERNAL_ERROR}
    for state in RunState:
        if state.needs_reset:
            assert not may_follow(state, RunState.RUNNING)


@pytest.mark.parametrize(
    ("state", "following", "said"),
    [
        (RunState.RUNNING, RunState.PAUSED, "STOP"),
        (RunState.PAUSED, RunState.RUNNING, "RESUME"),
        (RunState.PRELAUNCH, RunState.RUNNING, "RESUME"),
        (RunState.RUNNING, RunState.SUSPENDED, "SUSPEND"),
        (RunState.SUSPENDED, RunState.RUNNING, "WAKEUP"),
        (RunState.SUSPENDED, RunState.PAUSED, "STOP"),
        (RunState.PAUSED, RunState.SUSPENDED, "RESUME"),
        (RunState.PAUSED, RunState.PRELAUNCH, None),
        (RunState.SUSPENDED, RunState.PRELAUNCH, None),
        (RunState.PAUSED, RunState.PAUSED, None),
        (RunState.RUNNING, RunState.GUEST_PANICKED, "STOP"),
    ],
)
def test_each_edge_says_its_event(state: RunState, following: RunState, said: str | None) -> None:
    assert said_on(state, following) == said


def test_an_illegal_edge_is_an_error_that_names_both_states() -> None:
    with pytest.raises(ValueError, match="running may not follow shutdown"):
        said_on(RunState.SHUTDOWN, RunState.RUNNING)


def test_the_document_of_run_states_is_up_to_date() -> None:
    docs = Path(__file__).parents[2] / "docs"
    text = runpy.run_path(str(docs / "make_run_states.py"))["text"]()
    assert (docs / "run-states.md").read_text(encoding="utf-8") == text, "run python docs/make_run_states.py"
