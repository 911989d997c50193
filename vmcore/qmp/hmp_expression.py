"""Arguments of the human monitor: expressions, formats, words.

An expression is made of numbers (C's notation), characters in quotes, registers ($pc), + - over & | ^ over * / %, unary
+ - ~ and parentheses.  Arithmetic is that of signed 64-bit integers.
"""

from __future__ import annotations

import re
from typing import Final, final

from attrs import frozen

from vmcore.engine import Cpu
from vmcore.engine.registers import GPR_NAMES, SEGMENT_NAMES

__all__ = ["Format", "LineError", "Scanner", "wrap"]

_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
_NAME: Final = re.compile(r"\$([A-Za-z0-9_.]*)")
_CHARACTERS: Final = {"n": "\n", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
SIZES: Final = {"b": 1, "h": 2, "w": 4, "g": 8, "L": 8}
FORMATS: Final = "xduoci"


class LineError(Exception):
    """A command line that cannot be understood; the text is for its writer."""


def wrap(value: int) -> int:
    """A value as a signed 64-bit integer."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


@frozen
class Format:
    """How to show values: how many, as what (one of FORMATS), of how many bytes."""

    count: int = 1
    kind: str = "x"
    size: int = 4


def register(cpu: Cpu, name: str) -> int:
    """The value of a register by its name."""
    if name == "pc":
        return int(cpu.cs.base + cpu.rip)
    if name in SEGMENT_NAMES:
        return int(getattr(cpu, name).selector)
    whole = {"eip": "rip", "eflags": "rflags"} | {f"e{n[1:]}": n for n in GPR_NAMES[:8]}
    name = whole.get(name, name)
    if name in GPR_NAMES or name in ("rip", "rflags", "cr0", "cr2", "cr3", "cr4", "cr8", "efer"):
        return int(getattr(cpu, name))
    raise LineError("unknown register")


@final
class Scanner:
    """Reads the arguments behind a command's name one after the other."""

    def __init__(self, text: str, cpu: Cpu) -> None:
        self._text = text
        self._at = 0
        self._cpu = cpu

    def _spaces(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _next(self) -> str:
        """The next character that is no space; "" at the end."""
        self._spaces()
        return self._text[self._at : self._at + 1]

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._next() != ""

    def flag(self, name: str) -> bool:
        """Whether a flag such as -a comes next; it is taken."""
        self._spaces()
        if self._text[self._at :].split(maxsplit=1)[:1] != [name]:
            return False
        self._at += len(name)
        return True

    def format(self, *, sizes: bool) -> Format:
        """An optional format such as /4xw."""
        count, kind, size = 1, "x", 4
        if self._next() == "/":
            self._at += 1
            match = re.compile(r"[0-9]*").match(self._text, self._at)
            assert match is not None
            if match.group():
                count = int(match.group())
            self._at = match.end()
            while (letter := self._text[self._at : self._at + 1]) and not letter.isspace():
                if letter in FORMATS:
                    kind = letter
                elif letter in SIZES and sizes:
                    size = SIZES[letter]
                else:
                    raise LineError(f"invalid char in format: '{letter}'")
                self._at += 1
        return Format(count, kind, 1 if kind == "c" else size)

    def word(self, expected: str) -> str:
        """A word, or a text in double quotes.  expected: what to say if there is none."""
        first = self._next()
        if not first:
            raise LineError(expected)
        if first == '"':
            match = re.compile(r'"((?:[^"\\]|\\.)*)"').match(self._text, self._at)
            if match is None:
                raise LineError("unterminated string")
            self._at = match.end()
            return re.sub(r"\\(.)", lambda m: _CHARACTERS.get(m.group(1), m.group(1)), match.group(1))
        match = re.compile(r"\S+").match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return match.group()

    def number(self) -> int:
        """The value of an expression."""
        value = self._logic()
        while (operator := self._next()) in ("+", "-") and operator:
            self._at += 1
            other = self._logic()
            value = wrap(value + other if operator == "+" else value - other)
        return value

    def _logic(self) -> int:
        value = self._product()
        while (operator := self._next()) in ("&", "|", "^") and operator:
            self._at += 1
            other = self._product()
            value = value & other if operator == "&" else value | other if operator == "|" else value ^ other
        return value

    def _product(self) -> int:
        value = self._unary()
        while (operator := self._next()) in ("*", "/", "%") and operator:
            self._at += 1
            other = self._unary()
            if operator == "*":
                value = wrap(value * other)
                continue
            if other == 0:
                raise LineError("division by zero")
            quotient = abs(value) // abs(other) * (1 if (value < 0) == (other < 0) else -1)
            value = wrap(quotient if operator == "/" else value - quotient * other)
        return value

    def _unary(self, depth: int = 0) -> int:
        first = self._next()
        if depth > 100:
            raise LineError("expression too deep")
        if not first:
            raise LineError("unexpected end of expression")
        if first in "+-~":
            self._at += 1
            value = self._unary(depth + 1)
            return value if first == "+" else wrap(-value if first == "-" else ~value)
        if first == "(":
            if self._text.count("(") > 100:
                raise LineError("expression too deep")
            self._at += 1
            value = self.number()
            if self._next() != ")":
                raise LineError("')' expected")
            self._at += 1
            return value
        if first == "'":
            character, close = self._text[self._at + 1 : self._at + 2], self._text[self._at + 2 : self._at + 3]
            if not character:
                raise LineError("character constant expected")
            if close != "'":
                raise LineError("missing terminating ' character")
            self._at += 3
            return ord(character)
        if name := _NAME.match(self._text, self._at):
            self._at = name.end()
            return wrap(register(self._cpu, name.group(1)))
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise LineError(f"invalid char '{first}' in expression")
        self._at = number.end()
        digits = number.group()
        octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX"
        value = int(digits, 8) if octal else int(digits, 0)
        if value >> 64:
            raise LineError("number too large")
        return wrap(value)
