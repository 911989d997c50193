"""The NUMA topology of a machine: what its options amount to, and whether they fit together.

Options are taken one after another, each checked against those before it, in the words that management clients know
from QEMU 7.2.  What can only be said once all are there, `complete` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, final

import attrs

from vmcore.firmware.numa import CacheInfo, LatencyBandwidth, NumaLayout
from vmcore.model.errors import UsageError
from vmcore.model.machine import (
    CpuInstanceProperties,
    HmatCacheAssociativity,
    HmatCacheWritePolicy,
    HmatLBDataType,
    HmatLBMemoryHierarchy,
    NumaCpuOptions,
    NumaDistOptions,
    NumaHmatCacheOptions,
    NumaHmatLBOptions,
    NumaNodeOptions,
    NumaOptions,
)
from vmcore.model.units import MIB

if TYPE_CHECKING:
    from vmcore.machine.config import MachineConfig

__all__ = ["MAX_NODES", "NumaOption", "NumaTopology", "cpu_places", "numa_layout"]

NumaOption = NumaNodeOptions | NumaDistOptions | NumaCpuOptions | NumaHmatLBOptions | NumaHmatCacheOptions
"""Any of the options."""

MAX_NODES: Final = 128
LOCAL_DISTANCE: Final = 10
LARGEST_ENTRY: Final = 0xFFFE
"""An entry of a matrix has 16 bits, and FFFFh means that there is no way (ACPI 6.5, 5.2.28.4)."""
CACHE_LEVELS: Final = 3
PAGE: Final = 4096
PICOSECONDS: Final = 1000

_PLACES: Final = ("thread_id", "core_id", "cluster_id", "die_id", "socket_id")
_HIERARCHIES: Final = tuple(HmatLBMemoryHierarchy)
_DATA_TYPES: Final = tuple(HmatLBDataType)
_ASSOCIATIVITIES: Final = tuple(HmatCacheAssociativity)
_POLICIES: Final = tuple(HmatCacheWritePolicy)
_LATENCIES: Final = _DATA_TYPES[:3]

_Key = tuple[HmatLBMemoryHierarchy, HmatLBDataType]


def cpu_places(config: MachineConfig) -> tuple[CpuInstanceProperties, ...]:
    """Where each vCPU is, by its index, without its node: as CPUID leaves and SMBIOS tables tell it."""
    topology = config.topology
    several = topology.dies > 1  # A number that is always 0 is not worth a word.
    return tuple(
        CpuInstanceProperties(
            socket_id=at.socket, die_id=at.die if several else None, core_id=at.core, thread_id=at.thread
        )
        for at in map(topology.place, range(topology.total))
    )


@attrs.define
class _Node:
    size: int
    memdev: str | None
    initiator: int | None


@final
class NumaTopology:
    """The nodes of a machine.

    places: where each vCPU is; backends: bytes of each memory back end, by name; memory: bytes of RAM; hmat: the
    guest gets latencies and bandwidths.  UsageError for options that do not fit.
    """

    def __init__(
        self,
        places: Sequence[CpuInstanceProperties],
        backends: Mapping[str, int],
        memory: int,
        *,
        hmat: bool = False,
        has_main_backend: bool = False,
    ) -> None:
        self._places = tuple(places)
        self._backends = backends
        self._memory = memory
        self._hmat = hmat
        self._has_main_backend = has_main_backend
        self._nodes: dict[int, _Node] = {}
        self._cpu_nodes: dict[int, int] = {}
        self._distances: dict[tuple[int, int], int] = {}
        self._matrices: dict[_Key, dict[tuple[int, int], int]] = {}
        self._caches: dict[tuple[int, int], NumaHmatCacheOptions] = {}

    @classmethod
    def of(cls, config: MachineConfig, backends: Mapping[str, int] | None = None) -> NumaTopology:
        """The topology that a configuration's options amount to, not completed.

        backends: further memory back ends than the configuration's.
        """
        sizes = {backend.id: backend.size for backend in config.memory_backends} | dict(backends or {})
        main = config.memory_backend is not None
        topology = cls(cpu_places(config), sizes, config.memory, hmat=config.hmat, has_main_backend=main)
        topology.take(config.numa)
        return topology

    def take(self, options: Iterable[NumaOptions]) -> None:
        """Take options in order."""
        for option in options:
            self.add(option)

    def add(self, option: NumaOptions) -> None:
        """Take one option.  Nothing has changed where it is refused."""
        match option:
            case NumaNodeOptions():
                self._add_node(option)
            case NumaDistOptions():
                self._add_distance(option)
            case NumaCpuOptions():
                self._add_cpus(option)
            case NumaHmatLBOptions():
                self._need_hmat()
                self._add_entry(option)
            case NumaHmatCacheOptions():
                self._need_hmat()
                self._add_cache(option)

    def node_of(self, index: int) -> int | None:
        """The node that a vCPU was given; None if it was given none yet."""
        return self._cpu_nodes.get(index)

    def places(self) -> tuple[CpuInstanceProperties, ...]:
        """Where each vCPU is, its node included as far as it has one."""
        return tuple(attrs.evolve(at, node_id=self._cpu_nodes.get(n)) for n, at in enumerate(self._places))

    def sizes(self) -> tuple[int, ...]:
        """Bytes of each node's memory, in the order of the nodes."""
        return tuple(node.size for _, node in sorted(self._nodes.items()))

    def memdevs(self) -> tuple[str, ...]:
        """The back ends that are the nodes' memory, in the order of the nodes."""
        return tuple(node.memdev for _, node in sorted(self._nodes.items()) if node.memdev is not None)

    # --- options

    def _need_hmat(self) -> None:
        if not self._hmat:
            raise UsageError(
                "ACPI Heterogeneous Memory Attribute Table (HMAT) is disabled, enable it with -machine hmat=on before "
                "using any of hmat specific options"
            )

    def _add_node(self, option: NumaNodeOptions) -> None:
        number = len(self._nodes) if option.nodeid is None else option.nodeid
        if number >= MAX_NODES:
            raise UsageError(f"Max number of NUMA nodes reached: {number}")
        if number in self._nodes:
            raise UsageError(f"Duplicate NUMA nodeid: {number}")
        if option.initiator is not None:
            self._need_hmat()
            if option.initiator >= MAX_NODES:
                raise UsageError(
                    f"The initiator id {option.initiator} expects an integer between 0 and {MAX_NODES - 1}"
                )
        cpus = dict(self._cpu_nodes)
        for cpu in option.cpus or ():
            if cpu >= len(self._places):
                raise UsageError(f"CPU index ({cpu}) should be smaller than maxcpus ({len(self._places)})")
            self._assign(cpus, cpu, number)
        if cpus != self._cpu_nodes:
            self._check_own_initiator(number, option.initiator)
        memdevs = option.memdev is not None or bool(self.memdevs())
        if option.mem is not None and memdevs:
            raise UsageError("numa configuration should use either mem= or memdev=,mixing both is not allowed")
        if option.mem is not None:
            raise UsageError("Parameter -numa node,mem is not supported by this machine type")
        if option.memdev is not None and option.memdev not in self._backends:
            raise UsageError(f"memdev={option.memdev} is ambiguous")
        size = 0 if option.memdev is None else self._backends[option.memdev]
        self._cpu_nodes = cpus
        self._nodes[number] = _Node(size, option.memdev, option.initiator)

    def _assign(self, cpus: dict[int, int], cpu: int, node: int) -> None:
        if cpus.get(cpu, node) != node:
            raise UsageError(f"CPU is already assigned to node-id: {cpus[cpu]}")
        cpus[cpu] = node

    def _check_own_initiator(self, node: int, initiator: int | None) -> None:
        if initiator is not None and initiator != node:
            raise UsageError(f"The initiator of CPU NUMA node {node} should be itself (got {initiator})")

    def _add_distance(self, option: NumaDistOptions) -> None:
        for name, node in (("src", option.src), ("dst", option.dst)):
            if node >= MAX_NODES:
                raise UsageError(f"Parameter '{name}' expects an integer between 0 and {MAX_NODES - 1}")
        if option.src not in self._nodes or option.dst not in self._nodes:
            raise UsageError(
                "Source/Destination NUMA node is missing. Please use '-numa node' option to declare it first."
            )
        if option.val < LOCAL_DISTANCE:
            raise UsageError(f"NUMA distance ({option.val}) is invalid, it shouldn't be less than {LOCAL_DISTANCE}.")
        if option.src == option.dst and option.val != LOCAL_DISTANCE:
            raise UsageError(f"Local distance of node {option.src} should be {LOCAL_DISTANCE}.")
        self._distances[option.src, option.dst] = option.val

    def _add_cpus(self, option: NumaCpuOptions) -> None:
        node = option.node_id
        if node is None:
            raise UsageError("Missing mandatory node-id property")
        if node not in self._nodes:
            raise UsageError(
                f"Invalid node-id={node}, NUMA node must be defined with -numa node,nodeid=ID before it's used with "
                "-numa cpu,node-id=ID"
            )
        cpus, found = dict(self._cpu_nodes), False
        for cpu, place in enumerate(self._places):
            wanted = {name: getattr(option, name) for name in _PLACES if getattr(option, name) is not None}
            for name in wanted:
                if getattr(place, name) is None:
                    raise UsageError(f"{name.replace('_', '-')} is not supported")
            if all(getattr(place, name) == value for name, value in wanted.items()):
                self._assign(cpus, cpu, node)
                found = True
        if not found:
            raise UsageError("no match found")
        self._check_own_initiator(node, self._nodes[node].initiator)
        self._cpu_nodes = cpus

    def _add_entry(self, option: NumaHmatLBOptions) -> None:
        count = len(self._nodes)
        if option.initiator >= count:
            raise UsageError(f"Invalid initiator={option.initiator}, it should be less than {count}")
        if option.target >= count:
            raise UsageError(f"Invalid target={option.target}, it should be less than {count}")
        if option.initiator not in self._cpu_nodes.values():
            raise UsageError(f"Invalid initiator={option.initiator}, it isn't an initiator proximity domain")
        latency = option.data_type in _LATENCIES
        name, other = ("latency", "bandwidth") if latency else ("bandwidth", "latency")
        value: int | None = getattr(option, name)
        if value is None:
            raise UsageError(f"Missing '{name}' option")
        if getattr(option, other) is not None:
            raise UsageError(f"Invalid option '{other}' since the data type is {name}")
        pair = (option.initiator, option.target)
        between = f"between initiator={option.initiator} and target={option.target}"
        if not latency and value % MIB:
            raise UsageError(f"Bandwidth {value} {between} should be 1MB aligned")
        before = self._matrices.get((option.hierarchy, option.data_type), {})
        if pair in before:
            raise UsageError(
                f"Duplicate configuration of the {name} for initiator={option.initiator} and target={option.target}"
            )
        values = [*before.values(), value]
        if (
            any(values)
            and max(values) // (_latency_base(values) if latency else _bandwidth_base(values)) > LARGEST_ENTRY
        ):
            than = "previously entered min or max values" if latency else "previously entered values"
            raise UsageError(
                f"{name.capitalize()} {value} {between} should not differ from {than} on more than {LARGEST_ENTRY}"
            )
        self._matrices[option.hierarchy, option.data_type] = before | {pair: value}

    def _add_cache(self, option: NumaHmatCacheOptions) -> None:
        node, level = option.node_id, option.level
        if node >= len(self._nodes):
            raise UsageError(f"Invalid node-id={node}, it should be less than {len(self._nodes)}")
        if not (self._is_known(node, latency=True) and self._is_known(node, latency=False)):
            raise UsageError(
                f"The latency and bandwidth information of node-id={node} should be provided before memory side cache "
                "attributes"
            )
        if not 1 <= level <= CACHE_LEVELS:
            raise UsageError(
                f"Invalid level={level}, it should be larger than 0 and less than or equal to {CACHE_LEVELS}"
            )
        if (node, level) in self._caches:
            raise UsageError(f"Duplicate configuration of the side cache for node-id={node} and level={level}")
        if level > 1:
            below = self._caches.get((node, level - 1))
            if below is None:
                raise UsageError(f"Cache level={level - 1} shall be defined first")
            if option.size <= below.size:
                raise UsageError(
                    f"Invalid size={option.size}, the size of level={level} should be larger than the "
                    f"size({below.size}) of level={level - 1}"
                )
        above = self._caches.get((node, level + 1))
        if above is not None and option.size >= above.size:
            raise UsageError(
                f"Invalid size={option.size}, the size of level={level} should be less than the size({above.size}) of "
                f"level={level + 1}"
            )
        self._caches[node, level] = option

    def _is_known(self, node: int, *, latency: bool) -> bool:
        """Whether a latency (or bandwidth) to the memory of a node is known."""
        return any(
            value and target == node
            for (_, data_type), entries in self._matrices.items()
            if (data_type in _LATENCIES) is latency
            for (_, target), value in entries.items()
        )

    # --- all of it

    def complete(self) -> None:
        """See to it that nothing is missing, and give each vCPU that has no node one.

        If no vCPU was given a node, those of one socket come to one node, the sockets' in turn; else the rest comes
        to node 0.
        """
        count = len(self._nodes)
        if not count:
            return
        for node in range(max(self._nodes)):
            if node not in self._nodes:
                raise UsageError(f"numa: Node ID missing: {node}")
        given = bool(self._cpu_nodes)
        for cpu, place in enumerate(self._places):
            if cpu not in self._cpu_nodes:
                self._cpu_nodes[cpu] = 0 if given else (place.socket_id or 0) % count
        total = sum(node.size for node in self._nodes.values())
        if total != self._memory:
            raise UsageError(f"total memory for NUMA nodes ({total:#x}) should equal RAM size ({self._memory:#x})")
        if self._has_main_backend and self.memdevs():
            raise UsageError("'-machine memory-backend' and '-numa memdev' properties are mutually exclusive")
        for memdev in self.memdevs():
            if self._backends[memdev] % PAGE:
                raise UsageError(f"memory backend {memdev}: its size has to be whole pages of {PAGE:#x} bytes")
            if self.memdevs().count(memdev) > 1:
                raise UsageError(f"memory backend {memdev} can't be used multiple times.")
        if self._distances:
            self._complete_distances(count)
        if self._hmat:
            self._complete_initiators()

    def _complete_distances(self, count: int) -> None:
        asymmetrical = False
        for src in range(count):
            for dst in range(src, count):
                one, other = self._distances.get((src, dst)), self._distances.get((dst, src))
                if one is None and other is None and src != dst:
                    raise UsageError(
                        f"The distance between node {src} and {dst} is missing, at least one distance value between "
                        "each nodes should be provided."
                    )
                asymmetrical = asymmetrical or (one is not None and other is not None and one != other)
        for src in range(count):
            self._distances[src, src] = LOCAL_DISTANCE
            for dst in range(count):
                if (src, dst) not in self._distances:
                    if asymmetrical:
                        raise UsageError(
                            "At least one asymmetrical pair of distances is given, please provide distances for both "
                            "directions of all node pairs."
                        )
                    self._distances[src, dst] = self._distances[dst, src]

    def _complete_initiators(self) -> None:
        with_cpus = set(self._cpu_nodes.values())
        for number, node in self._nodes.items():
            if number in with_cpus:
                self._check_own_initiator(number, node.initiator)
                node.initiator = number
        for number, node in sorted(self._nodes.items()):
            if node.initiator is None:
                continue
            if node.initiator not in self._nodes:
                raise UsageError(f"NUMA node {node.initiator} is missing, use '-numa node' option to declare it first")
            if node.initiator not in with_cpus:
                raise UsageError(f"The initiator of NUMA node {number} is invalid")

    def layout(self, apic_ids: Callable[[int], int]) -> NumaLayout | None:
        """What firmware tells, of a topology that is complete; None without nodes.  apic_ids: of a vCPU's index."""
        if not self._nodes:
            return None
        nodes = [self._nodes[number] for number in sorted(self._nodes)]
        numbers = range(len(nodes))
        return NumaLayout(
            sizes=tuple(node.size for node in nodes),
            cpus=tuple((apic_ids(cpu), self._cpu_nodes[cpu]) for cpu in range(len(self._places))),
            distances=tuple(tuple(self._distances[src, dst] for dst in numbers) for src in numbers)
            if self._distances
            else None,
            initiators=tuple(node.initiator for node in nodes) if self._hmat else None,
            matrices=tuple(self._matrix(key) for key in sorted(self._matrices, key=_order) if self._matrices[key]),
            caches=tuple(self._cache(cache) for _, cache in sorted(self._caches.items())),
        )

    def _matrix(self, key: _Key) -> LatencyBandwidth:
        hierarchy, data_type = key
        entries = self._matrices[key]
        values = list(entries.values())
        latency = data_type in _LATENCIES
        base = 1 if not any(values) else _latency_base(values) if latency else _bandwidth_base(values)
        return LatencyBandwidth(
            hierarchy=_HIERARCHIES.index(hierarchy),
            data_type=_DATA_TYPES.index(data_type),
            base=base * PICOSECONDS if latency else max(base // MIB, 1),
            entries=tuple((*pair, value // base) for pair, value in sorted(entries.items())),
        )

    def _cache(self, option: NumaHmatCacheOptions) -> CacheInfo:
        return CacheInfo(
            node=option.node_id,
            size=option.size,
            level=option.level,
            levels=max(level for node, level in self._caches if node == option.node_id),
            associativity=_ASSOCIATIVITIES.index(option.associativity),
            policy=_POLICIES.index(option.policy),
            line=option.line,
        )


def _order(key: _Key) -> tuple[int, int]:
    return _HIERARCHIES.index(key[0]), _DATA_TYPES.index(key[1])


def _latency_base(values: Iterable[int]) -> int:
    """The largest power of ten that divides all latencies."""
    base = 1
    given = [value for value in values if value]
    while given and all(value % (base * 10) == 0 for value in given):
        base *= 10
    return base


def _bandwidth_base(values: Iterable[int]) -> int:
    """The largest power of two that divides all bandwidths."""
    joined = 0
    for value in values:
        joined |= value
    return joined & -joined or 1


def numa_layout(config: MachineConfig) -> NumaLayout | None:
    """What firmware tells about the nodes of a configuration.  UsageError where its options do not make a whole."""
    if not config.numa:
        return None
    topology = NumaTopology.of(config)
    topology.complete()
    return topology.layout(config.topology.apic_id)
