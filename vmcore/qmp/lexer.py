"""The tokens of QMP's JSON dialect, cut out of a byte stream that may end anywhere.

The dialect (see the recorded behaviour of QEMU 7.2): JSON of RFC 8259, plus strings in single quotes and the escape
`\\'`.  Strings are checked here only for bytes that end them for good (controls, FEh, FFh); escapes and UTF-8 are
the parser's.  A byte that fits nowhere is an ERROR token with everything of the token so far; after it the lexer
recovers: it skips to the next structural character or control character other than a tab, or to FEh or FFh, and
begins anew with it.  So a client that lost track sends FFh.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple, final

__all__ = ["Kind", "Lexer", "Token"]

TOKEN_LIMIT: Final = 64 << 20
"""Bytes of a token at most; what is longer is given up as an error."""


class Kind(IntEnum):
    """What a token is."""

    STRUCTURE = 0
    STRING = 1
    INTEGER = 2
    FLOAT = 3
    KEYWORD = 4
    ERROR = 5


class Token(NamedTuple):
    """A token and its bytes as they came, quotes included."""

    kind: Kind
    text: bytes


# The tokens of ordinary requests, in one go: structure, a string without escapes, an integer, a keyword; whole ones,
# whose end is certain.  Whatever else there is, the patterns below take apart.
_ORDINARY = re.compile(
    rb"""[ \t\r\n]*(?:([{}\[\]:,])|("[^"\\\x00-\x1f\xfe\xff]*")|(-?(?:0|[1-9][0-9]*)(?=[ \t\r\n{}\[\]:,]))"""
    rb"""|([a-z]+(?=[^a-z])))"""
)
_SPACE = re.compile(rb"[ \t\r\n]+")
_WORD = re.compile(rb"[a-z]+")
# A number as far as it goes well.  Groups: integer part, fraction, exponent.
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)?(?:(?<=[0-9])\.[0-9]*)?(?:(?<=[0-9])[eE][+-]?[0-9]*)?")
_WHOLE_INTEGER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_WHOLE_FLOAT = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_DOUBLE = re.compile(rb'(?:[^"\\\x00-\x1f\xfe\xff]|\\[^\x00-\x1f\xfe\xff])*')
_SINGLE = re.compile(rb"(?:[^'\\\x00-\x1f\xfe\xff]|\\[^\x00-\x1f\xfe\xff])*")
_RECOVERED = re.compile(rb"[\x00-\x08\x0a-\x1f{}\[\]:,\xfe\xff]")
_STRUCTURE = b"{}[]:,"
_STRUCTURES: Final = {bytes([c]): Token(Kind.STRUCTURE, bytes([c])) for c in _STRUCTURE}
_KINDS: Final = (Kind.ERROR, Kind.STRUCTURE, Kind.STRING, Kind.INTEGER, Kind.KEYWORD)


@final
class Lexer:
    """Feed it bytes, take tokens.  Memory is bounded by TOKEN_LIMIT and the size of one `feed`."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # bytes of an unfinished string that are known to be good
        self._recovering = False

    @property
    def pending(self) -> bool:
        """Whether an unfinished token waits for more bytes."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Token]:
        """Take bytes in; the tokens that they complete.  Exhaust the iterator before feeding more."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while at < len(buffer):
                if self._recovering:
                    found = _RECOVERED.search(buffer, at)
                    at = len(buffer) if found is None else found.start()
                    if found is None:
                        return
                    self._recovering = False
                if not self._scanned:
                    ordinary = _ORDINARY.match(buffer, at)
                    if ordinary is not None:
                        at = ordinary.end()
                        group = ordinary.lastindex or 0
                        text = ordinary[group]
                        yield _STRUCTURES[bytes(text)] if group == 1 else Token(_KINDS[group], bytes(text))
                        continue
                space = _SPACE.match(buffer, at)
                if space is not None:
                    at = space.end()
                    if at == len(buffer):
                        return
                token = self._token(buffer, at)
                if token is None:
                    if len(buffer) - at <= TOKEN_LIMIT:
                        return
                    token = Token(Kind.ERROR, bytes(buffer[at:]))
                at += len(token.text)
                self._scanned = 0
                self._recovering = token.kind is Kind.ERROR
                yield token
        finally:
            del buffer[:at]

    def _token(self, buffer: bytearray, at: int) -> Token | None:
        """The token at a position, or None if its end has not come."""
        first = buffer[at]
        if first in _STRUCTURE:
            return Token(Kind.STRUCTURE, bytes(buffer[at : at + 1]))
        if first in b"\"'":
            return self._string(buffer, at, _DOUBLE if first == 0x22 else _SINGLE)
        if first in b"-0123456789":
            return _number(buffer, at)
        word = _WORD.match(buffer, at)
        if word is None:
            return Token(Kind.ERROR, bytes(buffer[at : at + 1]))
        return None if word.end() == len(buffer) else Token(Kind.KEYWORD, word.group())

    def _string(self, buffer: bytearray, at: int, body: re.Pattern[bytes]) -> Token | None:
        found = body.match(buffer, at + 1 + self._scanned)
        assert found is not None
        end = found.end()
        if end == len(buffer):
            self._scanned = end - at - 1
            return None
        if buffer[end] == 0x5C:  # a backslash: what follows it is not there yet, or bad
            if end + 1 == len(buffer):
                self._scanned = end - at - 1
                return None
            return Token(Kind.ERROR, bytes(buffer[at : end + 2]))
        kind = Kind.STRING if buffer[end] == buffer[at] else Kind.ERROR
        return Token(kind, bytes(buffer[at : end + 1]))


def _number(buffer: bytearray, at: int) -> Token | None:
    found = _NUMBER.match(buffer, at)
    assert found is not None
    end, text = found.end(), found.group()
    if end == len(buffer):
        return None
    if _WHOLE_FLOAT.fullmatch(text) is None:
        return Token(Kind.ERROR, bytes(buffer[at : end + 1]))
    if text in (b"0", b"-0") and 0x30 <= buffer[end] <= 0x39:  # no leading zeros
        return Token(Kind.ERROR, bytes(buffer[at : end + 1]))
    return Token(Kind.INTEGER if _WHOLE_INTEGER.fullmatch(text) else Kind.FLOAT, text)
