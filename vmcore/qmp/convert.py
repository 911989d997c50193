"""Between JSON values and the types of the management model.

To the wire goes a cattrs converter whose code is generated from the declarations.  From the wire comes code of our
own, since clients know which mistake is told first and in which words: members in the order of their declaration,
missing and mistyped alike; then whatever is left over, as unexpected; each structure on its own before the next
member of the outer one.  Paths are written `a.b[0].c`; the texts about the values of enumerations and the ranges of
integers name the last member alone, and a list's element `null`.

Integers of up to 64 bits: what JSON reads as another number than an integer (1.0, 1e3) is none.  Unsigned ones take
negative numbers as their two's complement of 64 bits, and are then held to their range.

Source: the recorded behaviour of QEMU 7.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.fns import identity
from cattrs.gen import make_dict_unstructure_fn, override

from vmcore.model.errors import CommandError
from vmcore.model.events import Event
from vmcore.model.wire import (
    NULL,
    UNIONS,
    AlternateType,
    IntegerType,
    JsonNull,
    Member,
    TaggedUnion,
    member,
    members,
)
from vmcore.qmp.registry import Command

__all__ = ["arguments", "event_data", "from_wire", "to_wire"]

Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]
T = TypeVar("T")


def to_wire(value: Any, type: Any) -> Any:
    """The JSON value of a value of a type, that is its annotation."""
    return _writer(type)(value)


def event_data(event: Event) -> dict[str, Any] | None:
    """The `data` of an event, None where it has none."""
    data: dict[str, Any] = _writer(event.__class__)(event)
    return data or None


def from_wire(type: Any, value: Any, name: str = "") -> Any:
    """The value of a type that a JSON value stands for.  name: of the argument.  Raises CommandError."""
    try:
        return _reader(type)(value)
    except _Mistake as mistake:
        raise (mistake.under(name) if name else mistake).error() from None


def arguments(command: Command, given: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords for a command's function from the arguments on the wire.  Raises CommandError."""
    if not command.arguments and not given and command.boxed is None:
        return {}
    try:
        return _arguments_reader(command)(given)
    except _Mistake as mistake:
        raise mistake.error() from None


# --- mistakes --------------------------------------------------------------------------------------------------------


class _Mistake(Exception):
    """What is wrong with a value, and where: the path grows while the exception rises."""

    def __init__(self, text: str, *, last_name_only: bool = False, path: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.path = path
        self.last_name_only = last_name_only
        self.last: str | None = None

    def under(self, name: str) -> _Mistake:
        """The same, seen from an object in which the value is the member `name`."""
        if self.last is None:
            self.last = name
        self.path = name + ("." if self.path and self.path[0] != "[" else "") + self.path
        return self

    def at(self, index: int) -> _Mistake:
        """The same, seen from a list in which the value is an element."""
        if self.last is None:
            self.last = "null"
        self.path = f"[{index}]" + ("." if self.path and self.path[0] != "[" else "") + self.path
        return self

    def error(self) -> CommandError:
        return CommandError("GenericError", self.text.format(self.last if self.last_name_only else self.path))


def _escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _mistyped(expected: str) -> _Mistake:
    return _Mistake(f"Invalid parameter type for '{{}}', expected: {expected}")


# --- reading ---------------------------------------------------------------------------------------------------------


def _string(value: Any) -> Any:
    if value.__class__ is not str:
        raise _mistyped("string")
    return value


def _boolean(value: Any) -> Any:
    if value.__class__ is not bool:
        raise _mistyped("boolean")
    return value


def _number(value: Any) -> Any:
    if value.__class__ is not float and value.__class__ is not int:
        raise _mistyped("number")
    return float(value)


def _string_or_null(value: Any) -> Any:
    if value is None:
        return ""
    if value.__class__ is not str:
        raise _mistyped("StrOrNull")
    return value


def _anything_there(value: Any) -> Any:
    return NULL if value is None else value


def _integer_reader(kind: IntegerType) -> Reader:
    low, high = kind.low, kind.high
    out_of_range = f"Parameter '{{}}' expects {kind.name}_t"

    def signed(value: Any) -> Any:
        if value.__class__ is not int or not -(1 << 63) <= value < 1 << 63:
            raise _mistyped("integer")
        if not low <= value <= high:
            raise _Mistake(out_of_range, last_name_only=True)
        return value

    def unsigned(value: Any) -> Any:
        if value.__class__ is not int or not -(1 << 63) <= value < 1 << 64:
            raise _Mistake("Parameter '{}' expects uint64")
        if value < 0:
            value += 1 << 64
        if value > high:
            raise _Mistake(out_of_range, last_name_only=True)
        return value

    return signed if low < 0 else unsigned


def _enum_reader(cls: type[StrEnum]) -> Reader:
    values = {value.value: value for value in cls}

    def read(value: Any) -> Any:
        if value.__class__ is not str:
            raise _mistyped("string")
        found = values.get(value)
        if found is None:
            raise _Mistake(f"Parameter '{{}}' does not accept value '{_escape(value)}'", last_name_only=True)
        return found

    return read


def _list_reader(element: Any) -> Reader:
    def read(value: Any) -> Any:
        if value.__class__ is not list:
            raise _mistyped("array")
        one = _reader(element)
        out = []
        for index, item in enumerate(value):
            try:
                out.append(one(item))
            except _Mistake as mistake:
                raise mistake.at(index) from None
        return tuple(out)

    return read


def _members_reader(declared: Sequence[Member]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Reads the members of an object."""
    plan: list[tuple[str, str, Reader, bool]] = []  # made at first use: types may contain themselves
    names = frozenset(m.name for m in declared)

    def read(value: Mapping[str, Any]) -> dict[str, Any]:
        if not plan:
            plan.extend(
                (m.name, m.attribute, _anything_there if m.optional and m.type is Any else _reader(m.type), m.optional)
                for m in declared
            )
        out: dict[str, Any] = {}
        for name, attribute, read_one, optional in plan:
            if name not in value:
                if optional:
                    continue
                raise _Mistake("Parameter '{}' is missing").under(name)
            try:
                out[attribute] = read_one(value[name])
            except _Mistake as mistake:
                raise mistake.under(name) from None
        if len(out) != len(value):
            unexpected = next(name for name in value if name not in names)
            raise _Mistake("Parameter '{}' is unexpected").under(unexpected)
        return out

    return read


def _object_reader(cls: type[Any]) -> Reader:
    read_members = _members_reader(members(cls))

    def read(value: Any) -> Any:
        if value.__class__ is not dict:
            raise _mistyped("object")
        return cls(**read_members(value))

    return read


def _union_reader(union: TaggedUnion) -> Reader:
    base = members(union.cls)
    tag = next(m for m in base if m.attribute == union.discriminator)
    read_tag = _enum_reader(union.tags)
    # Until the tag is known, the common members alone are looked at; then the members that it brings follow them.
    common = _members_reader([*base])
    readers: dict[StrEnum, tuple[type[Any], Callable[[Mapping[str, Any]], dict[str, Any]]]] = {}
    for value in union.tags:
        cls = union.branches.get(value, union.cls)
        own = [m for m in members(cls) if all(m.name != b.name for b in base)]
        readers[value] = cls, _members_reader([*base, *own])
    common_names = {m.name for m in base}

    def read(value: Any) -> Any:
        if value.__class__ is not dict:
            raise _mistyped("object")
        try:
            chosen = readers[read_tag(value[tag.name])]
        except (KeyError, _Mistake):
            # In order, as something else may be wrong before the tag is.
            common({name: item for name, item in value.items() if name in common_names})
            raise AssertionError("the tag is wrong") from None
        cls, read_members = chosen
        return cls(**read_members(value))

    return read


def _remembered(function: Callable[[Any], T]) -> Callable[[Any], T]:
    """functools.cache, for arguments whose type does not say that they are hashable."""
    return cache(function)


_SIMPLE: Final[dict[Any, Reader]] = {str: _string, bool: _boolean, float: _number, Any: identity}


@_remembered
def _reader(type_: Any) -> Reader:
    """What reads values of an annotation."""
    if type_ in _SIMPLE:
        return _SIMPLE[type_]
    origin = get_origin(type_)
    if origin is Annotated:
        bare, *extras = get_args(type_)
        for extra in extras:
            if isinstance(extra, IntegerType):
                return _integer_reader(extra)
            if isinstance(extra, AlternateType):
                return _string_or_null
        return _reader(bare)
    if origin in (list, tuple, Sequence):
        return _list_reader(get_args(type_)[0])
    if isinstance(type_, type):
        if issubclass(type_, StrEnum):
            return _enum_reader(type_)
        if type_.__name__ in UNIONS and UNIONS[type_.__name__].cls is type_:
            return _union_reader(UNIONS[type_.__name__])
        if attrs.has(type_):
            return _object_reader(type_)
    raise TypeError(f"{type_} has no meaning on the wire")


@_remembered
def _arguments_reader(command: Command) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    boxed = command.boxed
    if boxed is not None:
        read_boxed = _reader(boxed.type)
        return lambda given: {boxed.attribute: read_boxed(given)}
    if command.takes_others:
        return lambda given: _others(command, given)
    return _members_reader(command.arguments)


def _others(command: Command, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a command that looks at them itself; only what must be there is asked for."""
    out = dict(given)
    for argument in command.arguments:
        if argument.name in out:
            out[argument.attribute] = out.pop(argument.name)
        elif not argument.optional:
            raise _Mistake("Parameter '{}' is missing").under(argument.name)
    return out


# --- writing ---------------------------------------------------------------------------------------------------------

_CONVERTER: Final = Converter()
_value_of_enum: Final = attrgetter("_value_")


def _any(value: Any) -> Any:
    """A value that no declaration describes."""
    if value is NULL:
        return None
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, dict):
        return {str(key): _any(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_any(item) for item in value]
    return _writer(value.__class__)(value) if attrs.has(value.__class__) else value


def _list_writer(element: Any) -> Writer:
    one = _writer(element)
    return list if one is identity else lambda value: [one(item) for item in value]


def _object_writer(cls: type[Any]) -> Writer:
    """The dict of an attrs class.  Made at first use: types may contain themselves."""
    made: list[Writer] = []

    def write(value: Any) -> Any:
        if not made:
            overrides = {
                m.attribute: override(
                    rename=m.name,
                    omit_if_default=m.optional,
                    unstruct_hook=_any if m.optional and m.type is Any else _writer(m.type),
                )
                for m in members(cls)
            }
            made.append(make_dict_unstructure_fn(cls, _CONVERTER, **overrides))  # type: ignore[arg-type]
        return made[0](value)

    return write


@_remembered
def _writer(type_: Any) -> Writer:
    """What writes values of an annotation."""
    if type_ is None or type_ is type(None):
        return lambda value: {}
    if type_ in (str, bool, int):
        return identity
    if type_ is float:
        return float
    if type_ is Any or type_ is JsonNull:
        return _any
    origin = get_origin(type_)
    if origin is Annotated:
        return _writer(get_args(type_)[0])
    if origin in (list, tuple, Sequence):
        return _list_writer(get_args(type_)[0])
    if isinstance(type_, type):
        if issubclass(type_, StrEnum):
            return _value_of_enum
        if type_.__name__ in UNIONS and UNIONS[type_.__name__].cls is type_:
            own = _object_writer(type_)
            return lambda value: own(value) if value.__class__ is type_ else _writer(value.__class__)(value)
        if attrs.has(type_):
            return _object_writer(type_)
    plain = member("", type_)
    if plain.optional:
        inner = _writer(plain.type)
        return lambda value: None if value is None else inner(value)
    raise TypeError(f"{type_} has no meaning on the wire")
