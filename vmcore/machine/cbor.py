"""CBOR (RFC 8949), as much of it as saved states need: what is written is deterministic, what is read is checked.

Kinds: None, bool, int of up to 1024 bits (beyond 64 as bignums, section 3.4.3), float (64 bits), str, bytes, list,
and dict with str keys.  Lengths are definite.  Anything else in the input is a `CborError`, and so are a length that
the input cannot hold and nesting deeper than `MAX_DEPTH`: no input makes the reader ask for memory out of proportion.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["CborError", "decode", "encode"]

MAX_DEPTH: Final = 32
MAX_INTEGER_BYTES: Final = 128

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_BIG_POSITIVE, _BIG_NEGATIVE = 2, 3
_SIZES: Final = {24: ">B", 25: ">H", 26: ">I", 27: ">Q"}


class CborError(Exception):
    """Not what this module writes.  offset: where in the input; value: what stands there; expected: what could."""

    def __init__(self, offset: int, value: object, expected: str) -> None:
        super().__init__(f"offset {offset}: {value!r}: expected {expected}")
        self.offset = offset
        self.value = value
        self.expected = expected


def encode(value: object) -> bytes:
    """The encoding of a value.  TypeError for one of no known kind."""
    out = bytearray()
    _encode(value, out)
    return bytes(out)


def _head(kind: int, number: int, out: bytearray) -> None:
    if number < 24:
        out.append(kind << 5 | number)
        return
    size = next(size for size in (1, 2, 4, 8) if number < 1 << 8 * size)
    out.append(kind << 5 | 24 + size.bit_length() - 1)
    out += number.to_bytes(size, "big")


def _encode(value: object, out: bytearray) -> None:
    if value is None:
        out.append(0xF6)
    elif value is True or value is False:
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, int):
        kind, number = (_UNSIGNED, value) if value >= 0 else (_NEGATIVE, -1 - value)
        if number < 1 << 64:
            _head(kind, number, out)
        else:
            _head(_TAG, _BIG_POSITIVE if value >= 0 else _BIG_NEGATIVE, out)
            _encode(number.to_bytes((number.bit_length() + 7) // 8, "big"), out)
    elif isinstance(value, float):
        out += b"\xfb" + struct.pack(">d", value)
    elif isinstance(value, bytes):
        _head(_BYTES, len(value), out)
        out += value
    elif isinstance(value, str):
        data = value.encode()
        _head(_TEXT, len(data), out)
        out += data
    elif isinstance(value, list | tuple):
        _head(_ARRAY, len(value), out)
        for item in value:
            _encode(item, out)
    elif isinstance(value, Mapping):
        _head(_MAP, len(value), out)
        for key in sorted(value):
            _encode(key, out)
            _encode(value[key], out)
    else:
        raise TypeError(f"CBOR: no encoding for {type(value).__name__}")


def decode(data: bytes) -> Any:
    """The one value that `data` encodes."""
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise CborError(reader.at, f"{len(data) - reader.at} bytes more", "the end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        left = len(self.data) - self.at
        if size > left:
            raise CborError(self.at, f"{left} bytes", f"{size} bytes")
        self.at += size
        return self.data[self.at - size : self.at]

    def value(self, depth: int) -> Any:
        begin = self.at
        if depth > MAX_DEPTH:
            raise CborError(begin, depth, f"nesting of at most {MAX_DEPTH}")
        first = self.take(1)[0]
        kind, number = first >> 5, first & 31
        if kind == _SIMPLE:
            return self.simple(begin, first)
        if number in _SIZES:
            form = _SIZES[number]
            (number,) = struct.unpack(form, self.take(struct.calcsize(form)))
        elif number > 27:
            raise CborError(begin, first, "a definite length")
        match kind:
            case 0:
                return number
            case 1:
                return -1 - number
            case 2:
                return self.take(number)
            case 3:
                return self.text(number)
            case 4:
                return [self.value(depth + 1) for _ in range(self.count(number, 1))]
            case 5:
                return self.map(number, depth)
            case _:
                return self.big(begin, number)

    def simple(self, begin: int, first: int) -> Any:
        match first:
            case 0xF4 | 0xF5:
                return first == 0xF5
            case 0xF6:
                return None
            case 0xFB:
                return struct.unpack(">d", self.take(8))[0]
        raise CborError(begin, first, "null, false, true or a 64-bit float")

    def text(self, size: int) -> str:
        begin = self.at
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise CborError(begin, error.reason, "UTF-8") from error

    def count(self, number: int, least: int) -> int:
        """A number of items, each of which takes `least` bytes or more."""
        left = len(self.data) - self.at
        if number * least > left:
            raise CborError(self.at, number, f"a number of items that fits into {left} bytes")
        return number

    def map(self, number: int, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for _ in range(self.count(number, 2)):
            begin = self.at
            key = self.value(MAX_DEPTH)
            if not isinstance(key, str) or key in result:
                raise CborError(begin, key, "text that is no other key")
            result[key] = self.value(depth + 1)
        return result

    def big(self, begin: int, tag: int) -> int:
        if tag not in (_BIG_POSITIVE, _BIG_NEGATIVE):
            raise CborError(begin, tag, "the tag of a bignum")
        data = self.value(MAX_DEPTH)
        if not isinstance(data, bytes) or len(data) > MAX_INTEGER_BYTES:
            raise CborError(begin, data, f"at most {MAX_INTEGER_BYTES} bytes of a bignum")
        number = int.from_bytes(data, "big")
        return number if tag == _BIG_POSITIVE else -1 - number
