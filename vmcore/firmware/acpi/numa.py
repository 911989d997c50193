"""The ACPI tables about NUMA: SRAT, SLIT and HMAT.

Source: ACPI specification 6.5, sections 5.2.16, 5.2.17 and 5.2.28 (each function names its own part).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from vmcore.firmware.acpi.tables import table
from vmcore.firmware.numa import CacheInfo, LatencyBandwidth, NumaLayout
from vmcore.firmware.platform import FOUR_GIB, HIGH_MEMORY, LEGACY_START, PlatformLayout

__all__ = ["hmat", "memory_ranges", "slit", "srat", "tables"]

ENABLED = 1
HOT_PLUGGABLE = 2
INITIATOR_VALID = 1
LARGEST_XAPIC_ID = 254


def tables(layout: PlatformLayout) -> list[bytes]:
    """The tables that a machine with this layout has: none without NUMA nodes."""
    numa = layout.numa
    if numa is None and layout.memory_slots:
        # Where memory can come, the system has to know from the beginning how far up: that is told here alone.
        ids = (layout.topology.apic_id(index) for index in range(layout.topology.total))
        numa = NumaLayout(sizes=(layout.memory,), cpus=tuple((apic_id, 0) for apic_id in ids))
    if numa is None:
        return []
    found = [srat(layout, numa)]
    if numa.distances is not None:
        found.append(slit(numa.distances))
    if numa.initiators is not None:
        found.append(hmat(numa))
    return found


def memory_ranges(layout: PlatformLayout, numa: NumaLayout) -> Iterator[tuple[int, int, int]]:
    """(node, first address, bytes) of all memory that belongs to a node, the legacy hole below 1 MiB left out."""
    begin = 0
    for node, size in enumerate(numa.sizes):
        end = begin + size
        parts = (
            (0, min(LEGACY_START, layout.low_ram), 0),
            (HIGH_MEMORY, layout.low_ram, 0),
            (layout.low_ram, layout.memory, FOUR_GIB - layout.low_ram),
        )
        for low, high, shift in parts:
            first, last = max(begin, low), min(end, high)
            if first < last:
                yield node, first + shift, last - first
        begin = end


def srat(layout: PlatformLayout, numa: NumaLayout) -> bytes:
    """System resource affinity table, revision 3 (5.2.16): which processors and which memory belong together."""
    body = struct.pack("<IQ", 1, 0)
    for apic_id, node in numa.cpus:
        if apic_id <= LARGEST_XAPIC_ID:
            # Processor local APIC affinity structure (5.2.16.1).
            high = (node >> 8).to_bytes(3, "little")
            body += struct.pack("<BBBBIB3sI", 0, 16, node & 0xFF, apic_id, ENABLED, 0, high, 0)
        else:
            # Processor local x2APIC affinity structure (5.2.16.3).
            body += struct.pack("<BBHIIIII", 2, 24, 0, node, apic_id, ENABLED, 0, 0)
    for node, address, size in memory_ranges(layout, numa):
        # Memory affinity structure (5.2.16.2).
        body += struct.pack("<BBIHQQIIQ", 1, 40, node, 0, address, size, 0, ENABLED, 0)
    base, size = layout.module_memory
    if size:
        last = len(numa.sizes) - 1
        body += struct.pack("<BBIHQQIIQ", 1, 40, last, 0, base, size, 0, ENABLED | HOT_PLUGGABLE, 0)
    return table(b"SRAT", 3, body)


def slit(distances: tuple[tuple[int, ...], ...]) -> bytes:
    """System locality information table, revision 1 (5.2.17)."""
    return table(b"SLIT", 1, struct.pack("<Q", len(distances)) + b"".join(bytes(row) for row in distances))


def hmat(numa: NumaLayout) -> bytes:
    """Heterogeneous memory attribute table, revision 2 (5.2.28)."""
    initiators = numa.initiators or ()
    body = bytes(4)
    for node, initiator in enumerate(initiators):
        # Memory proximity domain attributes structure (5.2.28.3).
        flags = 0 if initiator is None else INITIATOR_VALID
        body += struct.pack("<HHIHHIIIQQ", 0, 0, 40, flags, 0, initiator or 0, node, 0, 0, 0)
    with_cpus = sorted({node for _, node in numa.cpus})
    for matrix in numa.matrices:
        body += _matrix(matrix, with_cpus, len(numa.sizes))
    for cache in numa.caches:
        body += _cache(cache)
    return table(b"HMAT", 2, body)


def _matrix(matrix: LatencyBandwidth, initiators: list[int], targets: int) -> bytes:
    """System locality latency and bandwidth information structure (5.2.28.4)."""
    known = {(initiator, target): value for initiator, target, value in matrix.entries}
    lists = struct.pack(f"<{len(initiators) + targets}I", *initiators, *range(targets))
    entries = [known.get((initiator, target), 0) for initiator in initiators for target in range(targets)]
    length = 32 + len(lists) + 2 * len(entries)
    head = struct.pack(
        "<HHIBBBBIIIQ",
        1,
        0,
        length,
        matrix.hierarchy,
        matrix.data_type,
        0,  # minimum transfer size: none given
        0,
        len(initiators),
        targets,
        0,
        matrix.base,
    )
    return head + lists + struct.pack(f"<{len(entries)}H", *entries)


def _cache(cache: CacheInfo) -> bytes:
    """Memory side cache information structure (5.2.28.5)."""
    attributes = cache.levels | cache.level << 4 | cache.associativity << 8 | cache.policy << 12 | cache.line << 16
    return struct.pack("<HHIIIQIHH", 2, 0, 32, cache.node, 0, cache.size, attributes, 0, 0)
