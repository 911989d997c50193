"""docs/conformance.md tells the truth of today."""

from __future__ import annotations

import runpy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from conformance_witness import parts, witness

from vmcore import FlatImage, VirtualMachine
from vmcore.model import catalogue
from vmcore.model.events import EVENTS
from vmcore.model.qkeycode import QKeyCode
from vmcore.model.wire import ENUMS, UNIONS
from vmcore.qmp.commands import load
from vmcore.qmp.registry import COMMANDS, ELSEWHERE

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "make_conformance.py"))

assert catalogue

SPIN = FlatImage(bytes.fromhex("eb fe"))


def known(name: str) -> bool:
    """Whether there is such a command, event, value or branch."""
    load()
    if name in COMMANDS or name in ELSEWHERE or name in EVENTS:
        return True
    type_, _, value = name.partition(".")
    tags = ENUMS[type_].cls if type_ in ENUMS else UNIONS[type_].tags if type_ in UNIONS else ()
    return value in {tag.value for tag in tags}


def test_the_page_is_current() -> None:
    assert (DOCS / "conformance.md").read_text() == SCRIPT["page"](), "run docs/make_conformance.py"


def test_tests_claim_to_show_only_what_there_is() -> None:
    assert [name for name in SCRIPT["shown"]() if not known(name)] == []


def test_nothing_that_is_shown_still_waits() -> None:
    waiting = {name: SCRIPT["NEVER"].get(name) or SCRIPT["waits_for"](name) for name in SCRIPT["shown"]()}
    assert {name: reason for name, reason in waiting.items() if reason is not None} == {}


def test_every_reason_is_about_something() -> None:
    names = [name for _, _, names in SCRIPT["items"]() for name in names]
    for pattern in (*SCRIPT["WAITS"], *SCRIPT["NEVER"]):
        assert any(fnmatchcase(name, pattern) for name in names), pattern


def test_a_command_that_waits_is_not_there() -> None:
    load()
    assert [name for name in COMMANDS if SCRIPT["waits_for"](name) is not None] == []


async def test_a_claim_that_does_not_happen_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with witness(monkeypatch) as seen:
        async with VirtualMachine(memory="1M", flat=SPIN) as vm:
            await COMMANDS["query-status"].function(vm)
            await vm.start()
            await vm.stop()
    assert {"query-status", "RunState.prelaunch", "STOP"} <= seen
    assert "RunState.paused" not in seen
    assert "query-name" not in seen


def test_values_and_branches_are_found_inside_of_others() -> None:
    key: Any = catalogue.ui.InputKeyEvent(
        data=catalogue.ui.InputKeyEventData(key=catalogue.ui.QKeyCodeWrapper(data=QKeyCode.A), down=True)
    )
    assert set(parts({"events": (key,)})) == {
        "InputEvent.key",
        "InputEventKind.key",
        "KeyValue.qcode",
        "KeyValueKind.qcode",
        "QKeyCode.a",
    }
