"""Writes qmp.md: the reference of commands, events and types, out of their definitions.

python docs/make_reference.py
"""

from __future__ import annotations

import inspect
import runpy
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin

from vmcore.model import catalogue
from vmcore.model.events import EVENTS
from vmcore.model.wire import (
    ENUMS,
    STRUCTS,
    UNIONS,
    AlternateType,
    IntegerType,
    Member,
    TaggedUnion,
    members,
)
from vmcore.qmp.commands import load
from vmcore.qmp.registry import COMMANDS, ELSEWHERE, Command

HERE: Final = Path(__file__).parent

INTRODUCTION: Final = """# Commands and events of the management protocol

This page is made from the definitions by `python docs/make_reference.py`. A command `name` is a function of
`vmcore/qmp/commands` over a `VirtualMachine`; an event is a class of `vmcore/model`, with its members as attributes
(`_` for `-`). `?` behind a name: it may be left out. What works and what is still to come is in
[conformance.md](conformance.md).

Integers are `int` (64 bits, signed) or say how many bits they have; `size` is a number of bytes.
"""

_ = catalogue


class Page:
    """Collects the text, and the types that it mentions."""

    def __init__(self) -> None:
        load()
        conformance = runpy.run_path(str(HERE / "make_conformance.py"))
        self.tests: dict[str, list[str]] = conformance["shown"]()
        self.waits_for = conformance["waits_for"]
        self.mentioned: dict[str, Any] = {}

    def text(self) -> str:
        """The whole page."""
        out = [INTRODUCTION, "## Commands\n"]
        for name in sorted([*COMMANDS, *ELSEWHERE]):
            out.extend(self.command(COMMANDS.get(name) or ELSEWHERE[name]))
        out.append("## Events\n")
        for name in sorted(EVENTS):
            out.extend(self.event(name))
        out.append("## Types\n")
        done: dict[str, list[str]] = {}
        while len(done) < len(self.mentioned):  # types mention further types
            for name, cls in list(self.mentioned.items()):
                if name not in done:
                    done[name] = list(self.type(name, cls))
        for name in sorted(done, key=str.lower):
            out.extend(done[name])
        return "\n".join(out)

    def command(self, command: Command) -> Iterator[str]:
        yield f"### `{command.name}`\n"
        yield command.doc + "\n"
        if command.boxed is not None:
            yield f"The arguments are {self.spell(command.boxed.type)}.\n"
        elif command.arguments:
            yield from self.table("argument", command.arguments)
        if command.takes_others:
            yield "Other arguments are taken as they are.\n"
        if command.returns is not None:
            yield f"Returns {self.spell(command.returns)}.\n"
        notes = list(command.features)
        if command.allow_preconfig:
            notes.append("allowed before the machine is built")
        if command.allow_oob:
            notes.append("can be run out of band")
        if command.only_on is not None:
            notes.append({"posix": "not on Windows", "nt": "on Windows only"}[command.only_on])
        if command.since:
            notes.append(f"in QEMU since {command.since}")
        if notes:
            yield f"{'; '.join(notes).capitalize()}.\n".replace("qemu", "QEMU").replace("windows", "Windows")
        yield from self.shown(command.name)

    def event(self, name: str) -> Iterator[str]:
        cls = EVENTS[name]
        yield f"### `{name}`\n"
        yield f"`{cls.__name__}`. {inspect.cleandoc(cls.__doc__ or '')}\n"
        if members(cls):
            yield from self.table("member", members(cls))
        if cls.features:
            yield f"{', '.join(cls.features).capitalize()}.\n"
        yield from self.shown(name)

    def shown(self, name: str) -> Iterator[str]:
        if name in self.tests:
            yield f"Shown by {', '.join(f'`{test}`' for test in self.tests[name])}.\n"
        elif self.waits_for(name) is not None:
            yield f"Not yet: waits for {self.waits_for(name)}.\n"
        else:
            yield "No test shows it yet.\n"

    def type(self, name: str, cls: type[Any]) -> Iterator[str]:
        yield f"### {name}\n"
        yield inspect.cleandoc(cls.__doc__ or "") + "\n"
        if issubclass(cls, StrEnum):
            features = ENUMS[name].value_features
            values = [
                f"`{value.value}`" + (f" ({', '.join(features[value.value])})" if value.value in features else "")
                for value in cls
            ]
            yield f"One of {', '.join(values)}.\n"
        elif name in UNIONS:
            yield from self.union(UNIONS[name])
        elif members(cls):
            yield from self.table("member", members(cls))

    def union(self, union: TaggedUnion) -> Iterator[str]:
        common = members(union.cls)
        yield from self.table("member", common)
        names = {member.name for member in common}
        tag = next(member.name for member in common if member.attribute == union.discriminator)
        for cls in dict.fromkeys(union.branches.values()):
            tags = ", ".join(f"`{value.value}`" for value, branch in union.branches.items() if branch is cls)
            yield f"`{cls.__name__}`, `{tag}` {tags}: {inspect.cleandoc(cls.__doc__ or '')}\n"
            own = [member for member in members(cls) if member.name not in names]
            if own:
                yield from self.table("member", own)

    def table(self, what: str, declared: Iterable[Member]) -> Iterator[str]:
        yield f"| {what} | type | |\n|---|---|---|"
        for member in declared:
            mark = "?" if member.optional else ""
            yield f"| `{member.name}`{mark} | {self.spell(member.type)} | {', '.join(member.features)} |"
        yield ""

    def spell(self, type_: Any) -> str:
        """A type as text, with a link to where it is described."""
        origin = get_origin(type_)
        if origin is Annotated:
            bare, *extras = get_args(type_)
            named = next((e.name for e in extras if isinstance(e, IntegerType)), None)
            if any(isinstance(e, AlternateType) for e in extras):
                return "string or null"
            return named or self.spell(bare)
        if origin in (list, tuple, Sequence):
            return f"list of {self.spell(get_args(type_)[0])}"
        simple = {str: "string", bool: "boolean", float: "number", Any: "any value"}
        if type_ in simple:
            return simple[type_]
        name = type_.__name__
        assert name in ENUMS or name in STRUCTS or name in UNIONS
        self.mentioned[name] = type_
        return f"[{name}](#{name.lower()})"


def text() -> str:
    """The whole page."""
    return Page().text()


if __name__ == "__main__":
    (HERE / "qmp.md").write_text(text(), encoding="utf-8")
