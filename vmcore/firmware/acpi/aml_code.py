"""AML beyond names and packages: operation regions, fields, and the few operators that methods here use.

Source: ACPI specification 6.5, sections 20.2.5.2 (fields), 20.2.5.3 (statements) and 20.2.5.4 (expressions).
"""

from __future__ import annotations

from collections.abc import Iterable

from vmcore.firmware.acpi.aml import enclosed, field_length, integer, name_string

__all__ = [
    "ARGUMENT_0",
    "LOCAL_0",
    "LOCAL_1",
    "PCI_CONFIG",
    "SYSTEM_IO",
    "add",
    "and_",
    "dword_field_of",
    "field",
    "if_",
    "less",
    "or_",
    "qword_field_of",
    "region",
    "shift_left",
    "store",
    "subtract",
]

SYSTEM_IO, PCI_CONFIG = 1, 2
"""Region spaces."""
LOCAL_0 = b"\x60"
LOCAL_1 = b"\x61"
ARGUMENT_0 = b"\x68"
NOTHING = b"\x00"
BYTE_ACCESS = 1


def region(name: str, space: int, offset: int, length: int) -> bytes:
    """OperationRegion (name, space, offset, length)."""
    return b"\x5b\x80" + name_string(name) + bytes([space]) + integer(offset) + integer(length)


def field(region_name: str, fields: Iterable[tuple[str, int]]) -> bytes:
    """Field (region, ByteAcc, NoLock, Preserve) { name, bits ... }; a name of "" skips bits."""
    body = name_string(region_name) + bytes([BYTE_ACCESS])
    for name, bits in fields:
        body += (name_string(name) if name else NOTHING) + field_length(bits)
    return enclosed(b"\x5b\x81", body)


def dword_field_of(buffer: bytes, offset: int, name: str) -> bytes:
    """CreateDWordField (buffer, offset, name)."""
    return b"\x8a" + buffer + integer(offset) + name_string(name)


def qword_field_of(buffer: bytes, offset: int, name: str) -> bytes:
    """CreateQWordField (buffer, offset, name)."""
    return b"\x8f" + buffer + integer(offset) + name_string(name)


def add(left: bytes, right: bytes, target: bytes = NOTHING) -> bytes:
    """Add (left, right, target)."""
    return b"\x72" + left + right + target


def subtract(left: bytes, right: bytes, target: bytes = NOTHING) -> bytes:
    """Subtract (left, right, target)."""
    return b"\x74" + left + right + target


def shift_left(value: bytes, count: bytes, target: bytes = NOTHING) -> bytes:
    """ShiftLeft (value, count, target)."""
    return b"\x79" + value + count + target


def less(left: bytes, right: bytes) -> bytes:
    """LLess (left, right)."""
    return b"\x95" + left + right


def store(value: bytes, target: bytes) -> bytes:
    """Store (value, target)."""
    return b"\x70" + value + target


def and_(left: bytes, right: bytes, target: bytes = NOTHING) -> bytes:
    """And (left, right, target)."""
    return b"\x7b" + left + right + target


def or_(left: bytes, right: bytes, target: bytes = NOTHING) -> bytes:
    """Or (left, right, target)."""
    return b"\x7d" + left + right + target


def if_(condition: bytes, *terms: bytes) -> bytes:
    """If (condition) { terms }."""
    return enclosed(b"\xa0", condition + b"".join(terms))
