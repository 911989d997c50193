"""JSON as QMP writes it: pure ASCII, upper-case escapes, a space after `:` and `,`, floats with 17 digits."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["dump"]

_SPECIAL = re.compile(r'["\\\x00-\x1f\x7f-\U0010ffff]')
_NAMED = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    if code > 0xFFFF:
        code -= 0x10000
        return f"\\u{0xD800 | code >> 10:04X}\\u{0xDC00 | code & 0x3FF:04X}"
    return f"\\u{code:04X}"


def _string(text: str) -> str:
    # Most text has nothing special: that is found out faster than a substitution that does nothing.
    return f'"{text}"' if _SPECIAL.search(text) is None else f'"{_SPECIAL.sub(_escape, text)}"'


def _scalar(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    if value is None:
        return "null"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int):
        return str(int(value))
    return f"{value:.17g}"


def dump(value: Any) -> str:
    """The text of a value made of dict, list, tuple, str, int, float, bool and None, however deep it is."""
    try:
        return _dump(value)
    except RecursionError:
        return _dump_deep(value)


def _dump(value: Any) -> str:
    kind = value.__class__
    if kind is str:
        return _string(value)
    if kind is dict:
        return "{" + ", ".join([f"{_string(key)}: {_dump(item)}" for key, item in value.items()]) + "}"
    if kind is list or kind is tuple:
        return "[" + ", ".join([_dump(item) for item in value]) + "]"
    if isinstance(value, dict):
        return _dump(dict(value))
    return _scalar(value)


def _dump_deep(value: Any) -> str:
    """The same without recursion."""
    out: list[str] = []
    rest: list[Any] = [(value,)]  # values to come, each in a tuple of its own, and text
    while rest:
        item = rest.pop()
        if item.__class__ is str:
            out.append(item)
            continue
        (item,) = item
        if isinstance(item, dict):
            out.append("{")
            parts = [(f"{_string(key)}: ", (member,)) for key, member in item.items()]
            close = "}"
        elif isinstance(item, list | tuple):
            out.append("[")
            parts = [("", (member,)) for member in item]
            close = "]"
        else:
            out.append(_scalar(item))
            continue
        rest.append(close)
        for number, (key, member) in reversed(list(enumerate(parts))):
            rest += (member, f", {key}" if number else key)
    return "".join(out)
