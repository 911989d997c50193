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
    return f'"{_SPECIAL.sub(_escape, text)}"'


def dump(value: Any) -> str:
    """The text of a value made of dict, list, tuple, str, int, float, bool and None."""
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
    if isinstance(value, float):
        return f"{value:.17g}"
    if isinstance(value, dict):
        return "{" + ", ".join([f"{_string(key)}: {dump(item)}" for key, item in value.items()]) + "}"
    return "[" + ", ".join([dump(item) for item in value]) + "]"
