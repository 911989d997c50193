"""A small assembler for AML, the byte code of ACPI's DSDT.

Each function returns the bytes of one term; terms are put together by nesting calls and adding bytes.
Source: ACPI specification 6.5, chapter 20 (AML) and section 6.4 (resource data types).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

__all__ = [
    "buffer",
    "device",
    "eisa_id",
    "enclosed",
    "field_length",
    "integer",
    "io",
    "irq",
    "memory32_fixed",
    "method",
    "name",
    "name_string",
    "package",
    "resource_template",
    "return_",
    "scope",
    "string",
]

LEAD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
FOLLOW = LEAD | frozenset("0123456789")

ZERO_OP = b"\x00"
ONE_OP = b"\x01"
NAME_OP = b"\x08"
SCOPE_OP = b"\x10"
BUFFER_OP = b"\x11"
PACKAGE_OP = b"\x12"
METHOD_OP = b"\x14"
DUAL_PREFIX = b"\x2e"
MULTI_PREFIX = b"\x2f"
DEVICE_OP = b"\x5b\x82"
RETURN_OP = b"\xa4"


def _segment(text: str) -> bytes:
    """One name segment, padded to four characters with underscores (20.2.2)."""
    if not 1 <= len(text) <= 4 or text[0] not in LEAD or not set(text) <= FOLLOW:
        raise ValueError(f"{text!r} is no ACPI name: one to four of A-Z, 0-9, _, not starting with a digit")
    return text.ljust(4, "_").encode()


def name_string(path: str) -> bytes:
    r"""A name: `\` for the root, `^` for the parent, segments divided by dots (20.2.2)."""
    rest = path.lstrip("\\^")
    prefix = path[: len(path) - len(rest)]
    if "\\" in prefix and prefix != "\\":
        raise ValueError(f"{path!r}: the root prefix stands alone")
    segments = [_segment(part) for part in rest.split(".")] if rest else []
    if not segments:
        body = b"\x00"
    elif len(segments) == 1:
        body = segments[0]
    elif len(segments) == 2:
        body = DUAL_PREFIX + b"".join(segments)
    else:
        body = MULTI_PREFIX + bytes([len(segments)]) + b"".join(segments)
    return prefix.encode() + body


def _package_length(content: bytes) -> bytes:
    """PkgLength, which counts itself (20.2.4)."""
    if len(content) + 1 <= 0x3F:
        return bytes([len(content) + 1])
    for extra in (1, 2, 3):
        total = len(content) + 1 + extra
        if total < 1 << (4 + 8 * extra):
            return bytes([extra << 6 | total & 0xF]) + (total >> 4).to_bytes(extra, "little")
    raise ValueError(f"{len(content):#x} bytes are too many for one AML term")


def field_length(bits: int) -> bytes:
    """The width of a field, in the form of a PkgLength that does not count itself (20.2.5.2)."""
    if bits < 0x40:
        return bytes([bits])
    return bytes([1 << 6 | bits & 0xF, bits >> 4])


def enclosed(opcode: bytes, content: bytes) -> bytes:
    """A term of this opcode with its length and content."""
    return opcode + _package_length(content) + content


def integer(value: int) -> bytes:
    """The shortest encoding of an integer (20.2.3)."""
    if value < 0 or value >= 1 << 64:
        raise ValueError(f"{value:#x} does not fit in 64 bits")
    if value == 0:
        return ZERO_OP
    if value == 1:
        return ONE_OP
    for prefix, size in ((0x0A, 1), (0x0B, 2), (0x0C, 4), (0x0E, 8)):
        if value < 1 << 8 * size:
            return bytes([prefix]) + value.to_bytes(size, "little")
    raise AssertionError("unreachable")


def string(text: str) -> bytes:
    """A string of ASCII characters other than NUL."""
    if "\0" in text or not text.isascii():
        raise ValueError(f"{text!r} is not ASCII without NUL")
    return b"\x0d" + text.encode() + b"\0"


def buffer(content: bytes) -> bytes:
    """A buffer with this content."""
    return enclosed(BUFFER_OP, integer(len(content)) + content)


def package(items: Iterable[bytes]) -> bytes:
    """A package of up to 255 terms."""
    terms = list(items)
    return enclosed(PACKAGE_OP, bytes([len(terms)]) + b"".join(terms))


def name(path: str, value: bytes) -> bytes:
    """Name (path, value)."""
    return NAME_OP + name_string(path) + value


def scope(path: str, *terms: bytes) -> bytes:
    """Scope (path) { terms }."""
    return enclosed(SCOPE_OP, name_string(path) + b"".join(terms))


def device(path: str, *terms: bytes) -> bytes:
    """Device (path) { terms }."""
    return enclosed(DEVICE_OP, name_string(path) + b"".join(terms))


def method(path: str, *terms: bytes, arguments: int = 0, serialized: bool = False) -> bytes:
    """Method (path, arguments, Serialized or NotSerialized) { terms }."""
    flags = arguments & 7 | (8 if serialized else 0)
    return enclosed(METHOD_OP, name_string(path) + bytes([flags]) + b"".join(terms))


def return_(value: bytes) -> bytes:
    """Return (value)."""
    return RETURN_OP + value


def eisa_id(text: str) -> bytes:
    """An EISA id such as PNP0501, compressed to a 32-bit integer (19.3.4)."""
    if len(text) != 7 or not text[:3].isalpha() or not text[:3].isupper():
        raise ValueError(f"{text!r} is no EISA id: three capital letters and four hexadecimal digits")
    letters = 0
    for letter in text[:3]:
        letters = letters << 5 | ord(letter) - ord("@")
    return b"\x0c" + struct.pack(">HH", letters, int(text[3:], 16))


def io(base: int, length: int, *, alignment: int = 1) -> bytes:
    """Fixed I/O ports, all 16 address bits decoded (6.4.2.5)."""
    return struct.pack("<BBHHBB", 0x47, 1, base, base, alignment, length)


def irq(*numbers: int) -> bytes:
    """Edge-triggered, active-high, exclusive ISA interrupts (6.4.2.1, the form without flags)."""
    return struct.pack("<BH", 0x22, sum(1 << number for number in numbers))


def memory32_fixed(base: int, length: int) -> bytes:
    """A fixed range of memory addresses, writable (6.4.3.4)."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, length)


def resource_template(*items: bytes) -> bytes:
    """A buffer of resource descriptors with its end tag (6.4.2.9: a checksum of 0 counts as right)."""
    return buffer(b"".join(items) + b"\x79\x00")
