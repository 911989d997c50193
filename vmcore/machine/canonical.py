"""One byte string for equal values: what digests are made of.

Values are what saved states consist of: None, bool, int, float, str, bytes, enums, tuples, lists, mappings (in
order of their keys) and attrs classes.  The encoding is unambiguous: each value begins with a letter for its kind
and its length.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import attrs

__all__ = ["encode"]


def encode(value: Any, write: Callable[[bytes], object]) -> None:
    """Hand the encoding of `value` to `write`, piece by piece.  TypeError for a value of no known kind."""
    if value is None:
        write(b"n")
    elif value is True or value is False:
        write(b"t" if value else b"f")
    elif isinstance(value, Enum):
        encode(value.value, write)
    elif isinstance(value, int):
        text = b"%x" % value if value >= 0 else b"-%x" % -value
        write(b"i%d:%s" % (len(text), text))
    elif isinstance(value, float):
        write(b"d" + struct.pack("<d", value))
    elif isinstance(value, str):
        data = value.encode()
        write(b"s%d:%s" % (len(data), data))
    elif isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        write(b"b%d:%s" % (len(data), data))
    elif isinstance(value, tuple | list):
        write(b"l%d:" % len(value))
        for item in value:
            encode(item, write)
    elif isinstance(value, set | frozenset):
        encode(sorted(value), write)
    elif isinstance(value, Mapping):
        write(b"m%d:" % len(value))
        for key in sorted(value):
            encode(key, write)
            encode(value[key], write)
    elif attrs.has(type(value)):
        fields = attrs.fields(type(value))
        write(b"a%d:" % len(fields))
        encode(type(value).__name__, write)
        for field in fields:
            encode(field.name, write)
            encode(getattr(value, field.name), write)
    else:
        raise TypeError(f"no canonical form for {type(value).__name__}: {value!r}")
