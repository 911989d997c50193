"""A small assembler for AML, the byte code of ACPI's DSDT.

Each function returns the bytes of one term; terms are put together by nesting calls and adding bytes.
Source: ACPI specification 6.5, chapter 20 (AML) and section 6.4 (resource data types).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from enum import IntEnum

__all__ = [
    "Access",
    "acquire",
    "argument",
    "buffer",
    "call",
    "device",
    "eisa_id",
    "else_",
    "enclosed",
    "equal",
    "field",
    "field_length",
    "if_",
    "integer",
    "io",
    "irq",
    "local",
    "memory32_fixed",
    "method",
    "mutex",
    "name",
    "name_string",
    "notify",
    "package",
    "port_region",
    "release",
    "resource_template",
    "return_",
    "scope",
    "store",
    "string",
    "while_",
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
STORE_OP = b"\x70"
NOTIFY_OP = b"\x86"
EQUAL_OP = b"\x93"
IF_OP, ELSE_OP, WHILE_OP = b"\xa0", b"\xa1", b"\xa2"
MUTEX_OP, ACQUIRE_OP, RELEASE_OP = b"\x5b\x01", b"\x5b\x23", b"\x5b\x27"
REGION_OP, FIELD_OP = b"\x5b\x80", b"\x5b\x81"
SYSTEM_IO = 1
WRITE_AS_ZEROS = 2 << 5
FOR_EVER = 0xFFFF


class Access(IntEnum):
    """Width of the accesses that a field is made of (20.2.5.2)."""

    BYTE = 1
    WORD = 2
    DWORD = 3


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


def _length(length: int, *, itself: bool) -> bytes:
    """PkgLength (20.2.4).  itself: the length counts its own bytes, as it does but in fields."""
    if length + itself <= 0x3F:
        return bytes([length + itself])
    for extra in (1, 2, 3):
        total = length + (1 + extra) * itself
        if total < 1 << (4 + 8 * extra):
            return bytes([extra << 6 | total & 0xF]) + (total >> 4).to_bytes(extra, "little")
    raise ValueError(f"{length:#x} bytes are too many for one AML term")


def field_length(bits: int) -> bytes:
    """The width of a field, in the form of a PkgLength that does not count itself (20.2.5.2)."""
    return _length(bits, itself=False)


def enclosed(opcode: bytes, content: bytes) -> bytes:
    """A term of this opcode with its length and content."""
    return opcode + _length(len(content), itself=True) + content


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


# --- what methods do


def local(number: int) -> bytes:
    """One of a method's variables, Local0 to Local7."""
    if not 0 <= number <= 7:
        raise ValueError(f"Local{number}: there are Local0 to Local7")
    return bytes([0x60 + number])


def argument(number: int) -> bytes:
    """One of a method's arguments, Arg0 to Arg6."""
    if not 0 <= number <= 6:
        raise ValueError(f"Arg{number}: there are Arg0 to Arg6")
    return bytes([0x68 + number])


def store(value: bytes, target: bytes) -> bytes:
    """Store (value, target)."""
    return STORE_OP + value + target


def equal(left: bytes, right: bytes) -> bytes:
    """LEqual (left, right)."""
    return EQUAL_OP + left + right


def if_(predicate: bytes, *terms: bytes) -> bytes:
    """If (predicate) { terms }."""
    return enclosed(IF_OP, predicate + b"".join(terms))


def else_(*terms: bytes) -> bytes:
    """Else { terms }, right behind an `if_`."""
    return enclosed(ELSE_OP, b"".join(terms))


def while_(predicate: bytes, *terms: bytes) -> bytes:
    """While (predicate) { terms }."""
    return enclosed(WHILE_OP, predicate + b"".join(terms))


def call(path: str, *arguments: bytes) -> bytes:
    """A method's invocation: as many arguments as it has."""
    return name_string(path) + b"".join(arguments)


def notify(path: str, value: bytes) -> bytes:
    """Notify (path, value): system software hears that something happened to a device."""
    return NOTIFY_OP + name_string(path) + value


def mutex(path: str) -> bytes:
    """Mutex (path, 0)."""
    return MUTEX_OP + name_string(path) + b"\0"


def acquire(path: str) -> bytes:
    """Acquire (path) without end of patience."""
    return ACQUIRE_OP + name_string(path) + struct.pack("<H", FOR_EVER)


def release(path: str) -> bytes:
    """Release (path)."""
    return RELEASE_OP + name_string(path)


def port_region(path: str, base: int, length: int) -> bytes:
    """OperationRegion (path, SystemIO, base, length)."""
    return REGION_OP + name_string(path) + bytes([SYSTEM_IO]) + integer(base) + integer(length)


def field(region: str, access: Access, *parts: tuple[str, int], zeros: bool = False) -> bytes:
    """Field (region, access, NoLock, Preserve) { parts }.

    parts: name, or "" for what is skipped, and length in bits; zeros: a write makes the bits beside zero instead of
    keeping them.
    """
    units = ((_segment(unit) if unit else b"\0") + field_length(bits) for unit, bits in parts)
    return enclosed(FIELD_OP, name_string(region) + bytes([access | WRITE_AS_ZEROS * zeros]) + b"".join(units))


# --- identifiers and resources


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


def dma(channel: int) -> bytes:
    """DMA descriptor: one channel that moves bytes, as ISA devices use it (6.4.2.2)."""
    return bytes((0x2A, 1 << channel, 0x00))


def irq(*numbers: int) -> bytes:
    """Edge-triggered, active-high, exclusive ISA interrupts (6.4.2.1, the form without flags)."""
    return struct.pack("<BH", 0x22, sum(1 << number for number in numbers))


def memory32_fixed(base: int, length: int) -> bytes:
    """A fixed range of memory addresses, writable (6.4.3.4)."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, length)


def resource_template(*items: bytes) -> bytes:
    """A buffer of resource descriptors with its end tag (6.4.2.9: a checksum of 0 counts as right)."""
    return buffer(b"".join(items) + b"\x79\x00")
