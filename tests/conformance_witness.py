"""Sees to it that tests which are said to show something of the management model do show it.

A test says `@pytest.mark.conformance("query-status", "STOP", "RunState.paused", "NumaOptions.node")`: it runs these
commands, causes these events, and these values and branches go over the wire while it runs.  docs/conformance.md is
made of these marks.  The fixture in conftest.py watches a marked test: commands that were run without an error, events
that were published, and what was in their arguments, results and members.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import wraps
from typing import Any

import attrs
import pytest

from vmcore.model.events import Event
from vmcore.model.wire import UNIONS
from vmcore.qmp.commands import load
from vmcore.qmp.registry import COMMANDS
from vmcore.shell.events import EventBus


def parts(value: Any) -> Iterator[str]:
    """The values of enumerations and branches of unions in a value: "RunState.paused", "NumaOptions.node"."""
    if isinstance(value, StrEnum):
        yield f"{value.__class__.__name__}.{value.value}"
    elif attrs.has(value.__class__):
        for union in UNIONS.values():
            if isinstance(value, union.cls):
                yield f"{union.name}.{getattr(value, union.discriminator).value}"
        for field in attrs.fields(value.__class__):
            yield from parts(getattr(value, field.name))
    elif isinstance(value, dict):
        for item in value.values():
            yield from parts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from parts(item)


@contextmanager
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Watch commands and events; the names of what was seen."""
    load()
    seen: set[str] = set()

    def watched(name: str, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(function)
        async def call(*arguments: Any, **keywords: Any) -> Any:
            result = await function(*arguments, **keywords)
            keywords.pop("monitor", None)
            seen.add(name)
            seen.update(parts(keywords))
            seen.update(parts(result))
            return result

        return call

    for name, command in list(COMMANDS.items()):
        monkeypatch.setitem(COMMANDS, name, attrs.evolve(command, function=watched(name, command.function)))
    publish = EventBus._publish

    def watched_publish(self: EventBus, event: Event) -> None:
        if event.wire_name is not None:
            seen.add(event.wire_name)
            seen.update(parts(event))
        publish(self, event)

    monkeypatch.setattr(EventBus, "_publish", watched_publish)
    yield seen
