"""Resource descriptors of bridges and of interrupts that PCI shares.

Source: ACPI specification 6.5, section 6.4.3 (large resource data types).
"""

from __future__ import annotations

import struct

__all__ = ["bus_numbers", "bus_ports", "device_memory", "dword_memory", "interrupts", "qword_memory"]

MEMORY, PORTS, BUSES = 0, 1, 2
PRODUCER_FIXED = 0x0C
"""General flags: minimum and maximum are fixed, positive decode, the device passes the range on (table 6.46)."""
CONSUMER_FIXED = 0x0D
"""The same, but the device uses the range itself."""
CACHEABLE_WRITABLE = 0x03
WRITABLE = 0x01
ENTIRE_RANGE = 0x03
LEVEL_HIGH_SHARED = 0x09
"""Consumer, level, active high, shared (table 6.56)."""


def bus_numbers(first: int, last: int) -> bytes:
    """WordBusNumber."""
    return _word(BUSES, 0, first, last)


def bus_ports(first: int, last: int) -> bytes:
    """WordIO: ports that a bridge passes on."""
    return _word(PORTS, ENTIRE_RANGE, first, last)


def _word(kind: int, flags: int, first: int, last: int) -> bytes:
    return struct.pack("<BHBBBHHHHH", 0x88, 13, kind, PRODUCER_FIXED, flags, 0, first, last, 0, last - first + 1)


def dword_memory(first: int, last: int, *, cacheable: bool = False) -> bytes:
    """DWordMemory: addresses that a bridge passes on."""
    flags = CACHEABLE_WRITABLE if cacheable else WRITABLE
    return struct.pack("<BHBBBIIIII", 0x87, 23, MEMORY, PRODUCER_FIXED, flags, 0, first, last, 0, last - first + 1)


def qword_memory(first: int, last: int) -> bytes:
    """QWordMemory: the same above 4 GiB, cacheable."""
    size = last - first + 1
    return struct.pack("<BHBBBQQQQQ", 0x8A, 43, MEMORY, PRODUCER_FIXED, CACHEABLE_WRITABLE, 0, first, last, 0, size)


def device_memory() -> bytes:
    """QWordMemory of a device that is memory itself, cacheable and writable, its place still to be filled in: until
    then it is everywhere.
    """
    last, size = (1 << 64) - 2, (1 << 64) - 1
    return struct.pack("<BHBBBQQQQQ", 0x8A, 43, MEMORY, CONSUMER_FIXED, CACHEABLE_WRITABLE, 0, 0, last, 0, size)


def interrupts(*numbers: int) -> bytes:
    """Extended interrupts: level-triggered, active-high, shared."""
    body = struct.pack("<BB", LEVEL_HIGH_SHARED, len(numbers)) + b"".join(n.to_bytes(4, "little") for n in numbers)
    return struct.pack("<BH", 0x89, len(body)) + body
