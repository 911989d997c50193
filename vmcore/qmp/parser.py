"""Values out of tokens: QMP's JSON, message by message.

A message is complete when as many brackets and braces are closed as were opened, each counted apart; only then is it
parsed.  So `["a" }` is not an error yet, and swallows what follows until both counters are zero.  The texts of the
errors are those that clients of QMP know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, final

from attrs import frozen

from vmcore.qmp.lexer import Kind, Lexer, Token

__all__ = ["Malformed", "MessageParser"]

NESTING_LIMIT: Final = 1024
TOKEN_COUNT_LIMIT: Final = 2 << 20
SIZE_LIMIT: Final = 64 << 20


@frozen
class Malformed:
    """A message that could not be read.  text: what the client is told."""

    text: str


class _ParseError(Exception):
    """Carries the text about a malformed message."""


@final
class MessageParser:
    """Feed it bytes, take values; `Malformed` in place of those that are none."""

    def __init__(self) -> None:
        self._lexer = Lexer()
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[Token] = []
        self._size = 0
        self._braces = self._brackets = 0

    def feed(self, data: bytes) -> Iterator[Any]:
        """Take bytes in; the values that they complete.  Exhaust the iterator before feeding more."""
        for token in self._lexer.feed(data):
            kind, text = token
            if kind is Kind.ERROR:
                self._clear()
                # A NUL ends the text, as it does in the error that clients know.
                shown = text.split(b"\0", 1)[0].replace(b"\xc0\x80", b"\0").decode("utf-8", "replace")
                yield Malformed(f"JSON parse error, stray '{shown}'")
                continue
            if kind is Kind.STRUCTURE:
                self._count(text)
            self._size += len(text) + 1
            if (
                self._braces + self._brackets > NESTING_LIMIT
                or self._size > SIZE_LIMIT
                or len(self._tokens) >= TOKEN_COUNT_LIMIT
            ):
                trouble = self._limit()
                self._clear()
                yield Malformed(trouble)
                continue
            self._tokens.append(token)
            if self._braces >= 0 and self._brackets >= 0 and (self._braces or self._brackets):
                continue
            tokens = self._tokens
            self._clear()
            try:
                yield _parse(tokens)
            except _ParseError as error:
                yield Malformed(f"JSON parse error, {error}")

    def _count(self, text: bytes) -> None:
        if text == b"{":
            self._braces += 1
        elif text == b"}":
            self._braces -= 1
        elif text == b"[":
            self._brackets += 1
        elif text == b"]":
            self._brackets -= 1

    def _limit(self) -> str:
        """The first limit that is exceeded; there is one."""
        if self._size > SIZE_LIMIT:
            return "JSON token size limit exceeded"
        if len(self._tokens) >= TOKEN_COUNT_LIMIT:
            return "JSON token count limit exceeded"
        return "JSON nesting depth limit exceeded"


def _parse(tokens: list[Token]) -> Any:
    """The value of a message's tokens.  Iterative: a message may be nested deeper than Python likes to recurse."""
    position = 0
    # Open containers, with the key under which the next value goes; None is what is read in place of a key.
    stack: list[tuple[Any, str | None]] = []
    while True:
        # A value is expected here.
        kind, text = tokens[position]
        position += 1
        opened = kind is Kind.STRUCTURE and text in (b"{", b"[")
        if opened:
            container: Any = {} if text == b"{" else []
            if tokens[position].text == (b"}" if text == b"{" else b"]") and tokens[position].kind is Kind.STRUCTURE:
                position += 1
                value: Any = container
            else:
                if text == b"{":
                    position = _enter(stack, container, tokens, position)
                else:
                    stack.append((container, None))
                continue
        else:
            value = _scalar(kind, text)
        # A value is there: put it where it belongs, and close what it completes.
        while stack:
            container, under = stack.pop()
            if container is None:
                raise _ParseError("key is not a string in object")
            if isinstance(container, dict):
                assert under is not None
                if under in container:
                    raise _ParseError("duplicate key")
                container[under] = value
                close, separator = b"}", "expected separator in dict"
            else:
                container.append(value)
                close, separator = b"]", "expected separator in list"
            kind, text = tokens[position]
            position += 1
            if kind is Kind.STRUCTURE and text == close:
                value = container
                continue
            if kind is not Kind.STRUCTURE or text != b",":
                raise _ParseError(separator)
            if isinstance(container, dict):
                position = _enter(stack, container, tokens, position)
            else:
                stack.append((container, None))
            break
        else:
            return value


def _enter(stack: list[tuple[Any, str | None]], container: Any, tokens: list[Token], position: int) -> int:
    """Read the key of a pair, so that its value is next; the position of that."""
    kind, text = tokens[position]
    if kind is Kind.STRUCTURE:
        if text not in (b"{", b"["):
            raise _ParseError("expecting value")
        # A container as a key is read as a value first, so its own errors come before the one about the key.
        stack.append((None, None))
        return position
    key = _scalar(kind, text)
    if not isinstance(key, str):
        raise _ParseError("key is not a string in object")
    if tokens[position + 1] != (Kind.STRUCTURE, b":"):
        raise _ParseError("missing : in object pair")
    stack.append((container, key))
    return position + 2


_KEYWORDS: Final = {b"true": True, b"false": False, b"null": None}


def _scalar(kind: Kind, text: bytes) -> Any:
    if kind is Kind.STRING:
        return _string(text)
    if kind is Kind.INTEGER:
        number = int(text) if len(text) < 40 else None
        if number is not None and -(1 << 63) <= number < 1 << 64:
            return number
        return float(text)
    if kind is Kind.FLOAT:
        return float(text)
    if kind is Kind.KEYWORD:
        if text not in _KEYWORDS:
            raise _ParseError(f"invalid keyword '{text.decode()}'")
        return _KEYWORDS[text]
    raise _ParseError("expecting value")


_ESCAPES: Final = {
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    '"': '"',
    "'": "'",
    "\\": "\\",
    "/": "/",
}
_PLAIN = re.compile(rb"[^\\\x80-\xff]*")
_HEX = re.compile(r"[0-9a-fA-F]{4}")


def _string(token: bytes) -> str:
    body = token[1:-1]
    if _PLAIN.fullmatch(body) is not None:
        return body.decode("ascii")
    # C0 80 stands for U+0000 and nothing else that is overlong does.
    try:
        text = body.replace(b"\xc0\x80", b"\0").decode("utf-8")
    except UnicodeDecodeError:
        bad_at = _first_bad(body)
        _unescape(body[:bad_at].replace(b"\xc0\x80", b"\0").decode("utf-8"), whole=False)
        raise _ParseError("invalid UTF-8 sequence in string") from None
    return _unescape(text, whole=True)


def _first_bad(body: bytes) -> int:
    position = 0
    while True:
        try:
            body[position:].decode("utf-8")
        except UnicodeDecodeError as error:
            at = position + error.start
            if body[at : at + 2] != b"\xc0\x80":
                return at
            position = at + 2
        else:
            return len(body)


def _is_character(code: int) -> bool:
    """Whether QMP takes a code point: no surrogates, no noncharacters (Unicode 15, section 23.7)."""
    return not (0xD800 <= code <= 0xDFFF or 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE or code > 0x10FFFF)


def _unescape(text: str, *, whole: bool) -> str:
    out: list[str] = []
    at = 0
    while at < len(text):
        slash = text.find("\\", at)
        plain = text[at:] if slash < 0 else text[at:slash]
        if not plain.isascii() and not all(_is_character(ord(c)) for c in plain):
            raise _ParseError("invalid UTF-8 sequence in string")
        out.append(plain)
        if slash < 0:
            break
        escape = text[slash + 1 : slash + 2]
        at = slash + 2
        if escape == "u":
            code, at = _unicode(text, slash, whole=whole)
            out.append(chr(code))
        elif escape in _ESCAPES:
            out.append(_ESCAPES[escape])
        else:
            raise _ParseError("invalid escape sequence in string")
    return "".join(out)


def _unicode(text: str, slash: int, *, whole: bool) -> tuple[int, int]:
    """The character of a \\u escape, or of two that make a surrogate pair, and the position behind it."""
    code = _hex4(text, slash)
    end = slash + 6
    if code is not None and 0xD800 <= code <= 0xDBFF and text[end : end + 2] == "\\u":
        low = _hex4(text, end)
        if low is not None and 0xDC00 <= low <= 0xDFFF:
            code = 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF))
            end += 6
    if code is None or not _is_character(code):
        # The text is shown up to six characters, with the closing quote where the string is shorter.
        shown = (text[slash:end] if end <= len(text) else text[slash:] + '"')[: end - slash]
        raise _ParseError(f"{shown} is not a valid Unicode character")
    return code, end


def _hex4(text: str, slash: int) -> int | None:
    digits = text[slash + 2 : slash + 6]
    return int(digits, 16) if _HEX.fullmatch(digits) else None
