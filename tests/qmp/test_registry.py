"""What a declaration of a command comes to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest

from vmcore.model.misc import AddfdInfo
from vmcore.model.wire import DEPRECATED, Int, Named
from vmcore.qmp.commands import load
from vmcore.qmp.registry import COMMANDS, ELSEWHERE, MISSING, command


@pytest.fixture(autouse=True)
def unregistered() -> Iterator[None]:
    """Takes the commands of these tests out again."""
    yield
    for registry in (COMMANDS, ELSEWHERE):
        for name in [name for name in registry if name.startswith("test-")]:
            del registry[name]


def test_parameters_are_arguments_in_order() -> None:
    @command("test-add", allow_oob=True, since="1.2")
    async def add(
        vm: Any,
        *,
        fdset_id: Int | None = None,
        opaque: Annotated[str | None, DEPRECATED, Named("OPAQUE")] = None,
        force: bool = False,
        path: str,
    ) -> AddfdInfo:
        """Adds."""
        raise NotImplementedError

    made = COMMANDS["test-add"]
    assert [(a.name, a.attribute, a.optional, a.features) for a in made.arguments] == [
        ("fdset-id", "fdset_id", True, ()),
        ("OPAQUE", "opaque", True, ("deprecated",)),
        ("force", "force", True, ()),
        ("path", "path", False, ()),
    ]
    assert made.arguments[3].default is MISSING
    assert (made.returns, made.doc, made.allow_oob, made.allow_preconfig) == (AddfdInfo, "Adds.", True, False)
    assert not made.wants_monitor


def test_a_name_is_given_once() -> None:
    @command("test-once")
    async def once(vm: Any) -> None: ...

    with pytest.raises(ValueError, match="there is a command test-once already"):
        command("test-once")(once)


def test_a_command_of_another_platform_is_not_there() -> None:
    other: Literal["posix", "nt"] = "nt" if os.name == "posix" else "posix"

    @command("test-elsewhere", only_on=other)
    async def elsewhere(vm: Any) -> None: ...

    assert "test-elsewhere" not in COMMANDS
    assert ELSEWHERE["test-elsewhere"].only_on == other


def test_sockets_are_handed_over_on_windows_and_descriptors_elsewhere() -> None:
    load()
    here, elsewhere = (ELSEWHERE, COMMANDS) if os.name == "nt" else (COMMANDS, ELSEWHERE)
    assert "getfd" in here
    assert "get-win32-socket" in elsewhere
    assert [argument.name for argument in elsewhere["get-win32-socket"].arguments] == ["info", "fdname"]
