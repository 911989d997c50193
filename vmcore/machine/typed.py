"""Values of annotated types to plain ones (None, bool, int, float, str, bytes, list, dict) and back.

The types rule: they come from the program's own classes, never from what is read, so nothing can be made but what the
annotation allows.  An attrs class is a dict of its fields; a value of a union of several types is a list of the
type's name and the value.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import attrs

from vmcore.model.errors import ConfigError

__all__ = ["TypedError", "from_plain", "to_plain"]


class TypedError(Exception):
    """A plain value does not fit its type.  path: where; value: what stands there; expected: what could."""

    def __init__(self, path: str, value: object, expected: str) -> None:
        super().__init__(f"{path}: {value!r}: expected {expected}")
        self.path = path
        self.value = value
        self.expected = expected


@cache
def _hints(cls: Any) -> dict[str, Any]:
    """Types of the fields of an attrs class, by name."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in attrs.fields(cls)}


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _split(hint: Any) -> tuple[bool, dict[str, Any]]:
    """Of a union: whether None is in it, and the others by name."""
    members = typing.get_args(hint)
    return type(None) in members, {member.__name__: member for member in members if member is not type(None)}


# --- to plain values


def to_plain(hint: Any, value: Any) -> Any:
    """The plain form of a value of the type `hint`.  TypeError where it is not of that type."""
    if _is_union(hint):
        none, members = _split(hint)
        if value is None and none:
            return None
        if len(members) == 1:
            return to_plain(next(iter(members.values())), value)
        for name, member in members.items():
            if type(value) is member or (issubclass(member, PurePath) and isinstance(value, member)):
                return [name, to_plain(member, value)]
        raise TypeError(f"{type(value).__name__} is none of {', '.join(members)}")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        inner = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return [to_plain(member, item) for member, item in zip(inner, value, strict=True)]
    if origin is not None and issubclass(origin, Mapping):
        return {key: to_plain(arguments[1], item) for key, item in value.items()}
    if attrs.has(hint):
        if type(value) is not hint:
            raise TypeError(f"{type(value).__name__} where {hint.__name__} should be")
        kinds = _hints(typing.cast("Any", hint))
        return {name: to_plain(kind, getattr(value, name)) for name, kind in kinds.items()}
    if issubclass(hint, PurePath):
        return str(value)
    if issubclass(hint, Enum):
        return hint(value).value
    if hint in (bool, int, float, str, bytes) and isinstance(value, hint):
        return hint(value)
    raise TypeError(f"no plain form for {type(value).__name__} as {hint}")


# --- and back


def from_plain(hint: Any, value: Any, path: str) -> Any:
    """The value of the type `hint` that `value` is the plain form of; TypedError where it is not.

    path: what the value is called in the error.
    """
    if _is_union(hint):
        return _from_union(hint, value, path)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        items = _expect(value, list, path, "a list")
        if arguments[-1] is Ellipsis:
            arguments = arguments[:1] * len(items)
        if len(items) != len(arguments):
            raise TypedError(path, len(items), f"{len(arguments)} items")
        return tuple(
            from_plain(inner, item, f"{path}[{index}]")
            for index, (inner, item) in enumerate(zip(arguments, items, strict=True))
        )
    if origin is not None and issubclass(origin, Mapping):
        entries = _expect(value, dict, path, "a map")
        return {key: from_plain(arguments[1], item, f"{path}.{key}") for key, item in entries.items()}
    if attrs.has(hint):
        return _from_fields(hint, value, path)
    if issubclass(hint, PurePath):
        text: str = _expect(value, str, path, "the path of a file")
        if not text or "\0" in text:
            raise TypedError(path, text, "the path of a file")
        return Path(text)
    if issubclass(hint, Enum):
        if isinstance(value, int | str) and not isinstance(value, bool):
            for member in hint:
                if member.value == value:
                    return member
        raise TypedError(path, value, f"a value of {hint.__name__}")
    return _expect(value, hint, path, f"a value of type {hint.__name__}")


def _expect(value: Any, kind: type, path: str, expected: str) -> Any:
    if type(value) is not kind:
        raise TypedError(path, value, expected)
    return value


def _from_union(hint: Any, value: Any, path: str) -> Any:
    none, members = _split(hint)
    if value is None and none:
        return None
    if len(members) == 1:
        return from_plain(next(iter(members.values())), value, path)
    expected = f"[type, value] with one of the types {', '.join(members)}"
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str) or value[0] not in members:
        raise TypedError(path, value, expected)
    return from_plain(members[value[0]], value[1], path)


def _from_fields(cls: Any, value: Any, path: str) -> Any:
    hints = _hints(cls)
    entries: dict[str, Any] = _expect(value, dict, path, f"the fields of {cls.__name__}")
    if entries.keys() != hints.keys():
        strange, missing = entries.keys() - hints.keys(), hints.keys() - entries.keys()
        if strange:
            raise TypedError(f"{path}.{min(strange)}", "a field", f"only fields of {cls.__name__}")
        raise TypedError(f"{path}.{min(missing)}", "nothing", f"all fields of {cls.__name__}")
    values = {name: from_plain(hint, entries[name], f"{path}.{name}") for name, hint in hints.items()}
    try:
        return cls(**values)
    except ConfigError as error:
        raise TypedError(f"{path}.{error.path}", error.value, error.expected) from error
