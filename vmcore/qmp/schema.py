"""The schema: what commands and events there are, and the types of what goes with them, out of the declarations.

Only types that a command or event uses are in it.  Every integer is `int`, whatever its range.  The arguments of a
command and the data of an event are objects of their own; one without members is everybody's empty object.  Names
of types mean nothing to clients beyond the schema; here they are those of the classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Final, get_args, get_origin

import attrs

from vmcore.model import catalogue
from vmcore.model.control import (
    JSONType,
    SchemaInfo,
    SchemaInfoAlternate,
    SchemaInfoAlternateMember,
    SchemaInfoArray,
    SchemaInfoBuiltin,
    SchemaInfoCommand,
    SchemaInfoEnum,
    SchemaInfoEnumMember,
    SchemaInfoEvent,
    SchemaInfoObject,
    SchemaInfoObjectMember,
    SchemaInfoObjectVariant,
)
from vmcore.model.events import EVENTS, Event
from vmcore.model.wire import (
    ENUMS,
    NULL,
    STRUCTS,
    UNIONS,
    AlternateType,
    IntegerType,
    Member,
    TaggedUnion,
    members,
)
from vmcore.qmp.registry import COMMANDS, Command

__all__ = ["schema"]

_ = catalogue  # all types and events are there once it is imported

EMPTY: Final = "q_empty"

_BUILTINS: Final = {
    "str": JSONType.STRING,
    "number": JSONType.NUMBER,
    "int": JSONType.INT,
    "bool": JSONType.BOOLEAN,
    "null": JSONType.NULL,
    "any": JSONType.VALUE,
}
_NAMES: Final[dict[Any, str]] = {str: "str", float: "number", bool: "bool", Any: "any"}


def schema() -> tuple[SchemaInfo, ...]:
    """The whole schema: commands, events, then the types that they use."""
    maker = _Maker()
    for command in COMMANDS.values():
        maker.command(command)
    for event in EVENTS.values():
        maker.event(event)
    return (*maker.entries, *(entry for entry in maker.types.values() if entry is not None))


class _Maker:
    """Collects entries; a type's comes when it is first used."""

    def __init__(self) -> None:
        self.entries: list[SchemaInfo] = []
        self.types: dict[str, SchemaInfo | None] = {}

    def command(self, command: Command) -> None:
        boxed = command.boxed
        returns = command.returns
        self.entries.append(
            SchemaInfoCommand(
                name=command.name,
                arg_type=self.name_of(boxed.type)
                if boxed is not None
                else self.implicit(f"q_obj_{command.name}-arg", command.arguments),
                ret_type=self.name_of(returns) if returns is not None else self.implicit(EMPTY, ()),
                allow_oob=True if command.allow_oob else None,
                features=_features(command.features),
            )
        )

    def event(self, event: type[Event]) -> None:
        assert event.wire_name is not None
        self.entries.append(
            SchemaInfoEvent(
                name=event.wire_name,
                arg_type=self.implicit(f"q_obj_{event.wire_name}-arg", members(event)),
                features=_features(event.features),
            )
        )

    def implicit(self, name: str, declared: Sequence[Member]) -> str:
        """An object type without a class; its name."""
        if not declared:
            name = EMPTY
        if name not in self.types:
            self.types[name] = None
            self.types[name] = SchemaInfoObject(name=name, members=self.members(declared))
        return name

    def members(self, declared: Iterable[Member]) -> tuple[SchemaInfoObjectMember, ...]:
        return tuple(
            SchemaInfoObjectMember(
                name=m.name,
                type=self.name_of(m.type),
                default=NULL if m.optional else None,
                features=_features(m.features),
            )
            for m in declared
        )

    def name_of(self, type_: Any) -> str:
        """Name of the type of an annotation; its entry is made if there is none yet."""
        name, make = self._describe(type_)
        if name not in self.types:
            self.types[name] = None  # types may contain themselves
            self.types[name] = make()
        return name

    def _describe(self, type_: Any) -> tuple[str, Any]:
        origin = get_origin(type_)
        if origin is Annotated:
            bare, *extras = get_args(type_)
            for extra in extras:
                if isinstance(extra, IntegerType):
                    return "int", lambda: SchemaInfoBuiltin(name="int", json_type=JSONType.INT)
                if isinstance(extra, AlternateType):
                    return extra.name, partial(self._alternate, extra)
            return self._describe(bare)
        if type_ in _NAMES:
            name = _NAMES[type_]
            return name, lambda: SchemaInfoBuiltin(name=name, json_type=_BUILTINS[name])
        if origin in (list, tuple, Sequence):
            element = get_args(type_)[0]
            name = f"[{self._describe(element)[0]}]"
            return name, lambda: SchemaInfoArray(name=name, element_type=self.name_of(element))
        if isinstance(type_, type):
            name = type_.__name__
            if issubclass(type_, StrEnum) and name in ENUMS:
                return name, lambda: self._enum(name)
            if name in UNIONS and UNIONS[name].cls is type_:
                return name, lambda: self._union(UNIONS[name])
            if attrs.has(type_) and name in STRUCTS:
                return name, lambda: SchemaInfoObject(
                    name=name, members=self.members(members(type_)), features=_features(STRUCTS[name].features)
                )
        raise TypeError(f"{type_} is no type of the management model")

    def _alternate(self, kind: AlternateType) -> SchemaInfo:
        for name in kind.accepts:
            self.types.setdefault(name, SchemaInfoBuiltin(name=name, json_type=_BUILTINS[name]))
        return SchemaInfoAlternate(
            name=kind.name, members=tuple(SchemaInfoAlternateMember(type=name) for name in kind.accepts)
        )

    def _enum(self, name: str) -> SchemaInfo:
        enum = ENUMS[name]
        return SchemaInfoEnum(
            name=name,
            members=tuple(
                SchemaInfoEnumMember(name=value.value, features=_features(enum.value_features.get(value.value, ())))
                for value in enum.cls
            ),
            values=tuple(value.value for value in enum.cls),
            features=_features(enum.features),
        )

    def _union(self, union: TaggedUnion) -> SchemaInfo:
        common = members(union.cls)
        names = {m.name for m in common}
        variants = []
        for tag in union.tags:
            cls = union.branches.get(tag)
            own = [m for m in members(cls) if m.name not in names] if cls is not None else []
            struct = union.structs.get(tag, EMPTY)
            variants.append(SchemaInfoObjectVariant(case=tag.value, type=self.implicit(struct, own)))
        return SchemaInfoObject(
            name=union.name,
            members=self.members(common),
            tag=next(m.name for m in common if m.attribute == union.discriminator),
            variants=tuple(variants),
            features=_features(union.features),
        )


def _features(features: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(features) or None
