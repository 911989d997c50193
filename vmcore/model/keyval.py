"""Values of the management model written as options: "node,nodeid=0,cpus=0-1,memdev=m0".

The text is a list of `name=value` with commas between; two commas stand for one in a value.  The first value may
stand without its name where the type has a discriminator.  A flag is `on`, `off`, `yes`, `no`, `true` or `false`;
sizes take suffixes ("512M"); a list is given by repeating its name, and a list of integers also as ranges ("0-3").
A text that begins with "{" is the same in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar, get_args, get_origin

from vmcore.model.errors import ConfigError
from vmcore.model.units import parse_size
from vmcore.model.wire import UNIONS, IntegerType, Member, members

__all__ = ["OptionError", "check", "parse"]

T = TypeVar("T")

_FLAGS: Final = {
    "on": True,
    "yes": True,
    "true": True,
    "y": True,
    "off": False,
    "no": False,
    "false": False,
    "n": False,
}
_RANGE: Final = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
_LONGEST_RANGE: Final = 1 << 16


class OptionError(ConfigError):
    """An option that cannot be read.  wire: the same in the words of management clients."""

    def __init__(self, path: str, value: object, expected: str, wire: str = "") -> None:
        super().__init__(path, value, expected)
        self.wire = wire


def parse(union: type[T], text: str, path: str) -> T:
    """The value of a tagged union that an option stands for.  path: what the option is called in a ConfigError."""
    declared = UNIONS[union.__name__]
    tag = next(m for m in members(union) if m.attribute == declared.discriminator)
    given = _json(text, path) if text.startswith("{") else _pairs(text, tag.name, path)
    if tag.name not in given:
        raise _missing(path, text, tag.name)
    kind = _one(tag, given.pop(tag.name), path)
    cls = declared.branches.get(kind, declared.cls)
    values: dict[str, Any] = {tag.attribute: kind}
    for m in members(cls):
        if m.attribute == tag.attribute:
            continue
        if m.name in given:
            values[m.attribute] = _value(m, given.pop(m.name), path)
        elif not m.optional:
            raise _missing(path, text, m.name)
    if given:
        known = ", ".join(m.name for m in members(cls))
        name, value = next(iter(given.items()))
        expected = f"no such member: there are {known}"
        raise OptionError(f"{path}.{name}", value, expected, f"Parameter '{name}' is unexpected")
    made: T = cls(**values)
    check(made, path)
    return made


def _missing(path: str, text: str, name: str) -> OptionError:
    return OptionError(path, text, f"{name}=... in it", f"Parameter '{name}' is missing")


def check(value: Any, path: str) -> None:
    """See to it that what is in a value fits its declaration.  ConfigError names the member."""
    for m in members(type(value)):
        content = getattr(value, m.attribute)
        if content is None and m.optional:
            continue
        where = f"{path}.{m.name}"
        element = _element(m.type)
        if element is None:
            _check_one(m.type, content, where)
        elif not isinstance(content, tuple | list):
            raise ConfigError(where, content, "a list")
        else:
            for index, item in enumerate(content):
                _check_one(element, item, f"{where}[{index}]")


def _check_one(kind: Any, value: Any, path: str) -> None:
    number = _integer(kind)
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if number is not None:
        if isinstance(value, bool) or not isinstance(value, int) or not number.low <= value <= number.high:
            raise ConfigError(path, value, f"a number from {number.low} to {number.high}")
    elif isinstance(bare, type) and not isinstance(value, bare):
        raise ConfigError(path, value, _expected(bare))


def _expected(bare: type) -> str:
    if issubclass(bare, StrEnum):
        return "one of " + ", ".join(bare)
    return {bool: "True or False", str: "text"}.get(bare, bare.__name__)


def _integer(kind: Any) -> IntegerType | None:
    if get_origin(kind) is Annotated:
        return next((extra for extra in get_args(kind)[1:] if isinstance(extra, IntegerType)), None)
    return None


def _element(kind: Any) -> Any:
    """What a list is of, None for what is no list."""
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return get_args(bare)[0] if get_origin(bare) in (tuple, list) else None


# --- reading


def _pairs(text: str, implied: str, path: str) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for number, part in enumerate(text.replace(",,", "\0").split(",")):
        name, equals, value = part.replace("\0", ",").partition("=")
        if not equals and number == 0:
            name, value = implied, name
        elif not equals:
            value = "on"
        if not name:
            raise ConfigError(path, part, "name=value")
        given.setdefault(name, []).append(value)
    return given


def _json(text: str, path: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ConfigError(path, text, f"JSON ({error})") from error
    if not isinstance(given, dict):
        raise ConfigError(path, text, "a JSON object")
    return given


def _value(m: Member, given: Any, path: str) -> Any:
    element = _element(m.type)
    if element is None:
        return _one(m, given, path)
    where = f"{path}.{m.name}"
    if not isinstance(given, list):
        raise ConfigError(where, given, "a list")
    return tuple(value for item in given for value in _items(element, item, where))


def _one(m: Member, given: Any, path: str) -> Any:
    where = f"{path}.{m.name}"
    if isinstance(given, list):
        if len(given) != 1:
            raise ConfigError(where, given, "a value given once")
        given = given[0]
    return _scalar(m.type, given, where)


def _items(kind: Any, text: Any, path: str) -> Iterator[Any]:
    if _integer(kind) is None or not isinstance(text, str):
        yield _scalar(kind, text, path)
        return
    match = _RANGE.fullmatch(text)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
    if high < low or high - low >= _LONGEST_RANGE:
        raise ConfigError(path, text, "a number or a range such as 0-3")
    yield from range(low, high + 1)


def _scalar(kind: Any, given: Any, path: str) -> Any:
    number = _integer(kind)
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    name = path.rpartition(".")[2]
    if number is not None and isinstance(given, str):
        try:
            return parse_size(given, path) if number.name == "size" else int(given, 0)
        except ValueError as error:
            expected = error.expected if isinstance(error, ConfigError) else "a number"
            raise OptionError(path, given, expected, f"Parameter '{name}' expects {number.name}") from None
    if bare is bool and isinstance(given, str):
        if given not in _FLAGS:
            raise OptionError(path, given, "on or off", f"Parameter '{name}' expects 'on' or 'off'")
        return _FLAGS[given]
    if isinstance(bare, type) and issubclass(bare, StrEnum):
        if given not in tuple(bare):
            wire = f"Parameter '{name}' does not accept value '{given}'"
            raise OptionError(path, given, "one of " + ", ".join(bare), wire)
        return bare(given)
    return given
