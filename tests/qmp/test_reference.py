"""docs/qmp.md is made from the definitions and is current."""

from __future__ import annotations

import runpy
from pathlib import Path

from vmcore.model.events import EVENTS
from vmcore.qmp.commands import load
from vmcore.qmp.registry import COMMANDS

DOCS = Path(__file__).parents[2] / "docs"


def test_the_reference_is_current() -> None:
    text = runpy.run_path(str(DOCS / "make_reference.py"))["text"]()
    assert (DOCS / "qmp.md").read_text(encoding="utf-8") == text, "run python docs/make_reference.py"


def test_every_command_and_event_says_what_it_is() -> None:
    load()
    assert [name for name, command in COMMANDS.items() if not command.doc] == []
    assert [name for name, event in EVENTS.items() if "__doc__" not in event.__dict__ or not event.__doc__] == []
