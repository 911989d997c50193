"""What firmware tells the operating system about NUMA: nodes, distances, latencies and bandwidths."""

from __future__ import annotations

from attrs import frozen

__all__ = ["CacheInfo", "LatencyBandwidth", "NumaLayout"]


@frozen(kw_only=True)
class LatencyBandwidth:
    """One matrix of latencies or bandwidths (ACPI 6.5, 5.2.28.4).

    hierarchy: 0 memory, 1 to 3 the levels of a memory-side cache; data_type: 0 access latency, 1 read latency, 2 write
    latency, 3 access bandwidth, 4 read bandwidth, 5 write bandwidth; base: what one means, in picoseconds or MiB/s;
    entries: (initiator, target) -> value; a pair that is missing is one of which nothing is known.
    """

    hierarchy: int
    data_type: int
    base: int
    entries: tuple[tuple[int, int, int], ...]


@frozen(kw_only=True)
class CacheInfo:
    """A memory-side cache (ACPI 6.5, 5.2.28.5).

    node: whose memory it caches; level: 1 is nearest to the memory; levels: how many that memory has; associativity:
    0 none, 1 direct, 2 complex; policy: 0 none, 1 write-back, 2 write-through; line: bytes.
    """

    node: int
    size: int
    level: int
    levels: int
    associativity: int
    policy: int
    line: int


@frozen(kw_only=True)
class NumaLayout:
    """The nodes, numbered from 0.

    sizes: bytes of memory of each node; the memory of node 0 begins at offset 0 of the RAM, the others follow; cpus:
    (APIC ID, node) of each vCPU; distances: from each node to each, None where none were given; initiators: for each
    node the one whose processors are nearest to its memory, None where the machine tells nothing of that (no HMAT).
    """

    sizes: tuple[int, ...]
    cpus: tuple[tuple[int, int], ...]
    distances: tuple[tuple[int, ...], ...] | None = None
    initiators: tuple[int | None, ...] | None = None
    matrices: tuple[LatencyBandwidth, ...] = ()
    caches: tuple[CacheInfo, ...] = ()
