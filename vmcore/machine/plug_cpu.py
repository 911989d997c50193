"""vCPUs as devices that are plugged in: `<model>-x86_64-cpu` with socket-id, die-id, core-id and thread-id.

A machine has a vCPU for each of its places from the beginning; plugging one in lets it take part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

from vmcore.boards.cpu_slots import CpuSlots
from vmcore.engine import Cpu
from vmcore.engine.topology import CpuPlace, CpuTopology
from vmcore.hardware.tree import ObjectTree
from vmcore.machine.plug import Driver, Plugged, PlugValue, generic

__all__ = ["CPU_PROPERTIES", "CpuDriver", "cpu_type", "place_properties"]

CPU_PROPERTIES: Final[Mapping[str, tuple[str, int]]] = {
    "apic-id": ("uint32", 0xFFFF_FFFF),
    "socket-id": ("int32", -1),
    "die-id": ("int32", -1),
    "core-id": ("int32", -1),
    "thread-id": ("int32", -1),
    "node-id": ("int32", -1),
}
"""Properties that say where a vCPU goes: type and value where not given."""

UNSET: Final = -1
NO_APIC_ID: Final = CPU_PROPERTIES["apic-id"][1]


def cpu_type(model: str) -> str:
    """Type of the vCPUs of a CPU model, as clients name it."""
    return f"{model}-x86_64-cpu"


def place_properties(place: CpuPlace) -> dict[str, PlugValue]:
    """A place as properties."""
    return {
        "socket-id": place.socket,
        "die-id": place.die,
        "core-id": place.core,
        "thread-id": place.thread,
    }


@final
class CpuDriver(Driver):
    """The vCPUs of one CPU model.  place_lapic: puts the local APIC of a vCPU's index below a path of the tree."""

    def __init__(
        self,
        model: str,
        cpus: Sequence[Cpu],
        topology: CpuTopology,
        slots: CpuSlots | None,
        tree: ObjectTree,
        place_lapic: Callable[[int, str], None],
    ) -> None:
        self._type = cpu_type(model)
        self._cpus = cpus
        self._topology = topology
        self._slots = slots
        self._tree = tree
        self._place_lapic = place_lapic

    def index(self, device: Plugged) -> int:
        """Index of the vCPU that a device is."""
        at = device.properties
        numbers = (int(at[name]) for name in ("socket-id", "die-id", "core-id", "thread-id"))
        return self._topology.index(CpuPlace(*numbers))

    # --- coming

    def check(
        self, name: str, given: Mapping[str, PlugValue], bus: str | None = None, *, cold: bool = False
    ) -> Mapping[str, PlugValue]:
        values = {known: default for known, (_, default) in CPU_PROPERTIES.items()}
        for key in given:
            if key not in values:
                raise generic(f"Property '{name}.{key}' not found")
        for key, value in given.items():
            values[key] = _integer(key, value)
        if name != self._type:
            raise generic(f"Invalid CPU type, expected cpu type: '{self._type}'")
        index = self._find(values)
        if self._slots is None:
            raise generic("CPU hotplug is not supported without ACPI")
        if self._slots.device.slots[index].present:
            raise generic(f"CPU[{index}] with APIC ID {self._topology.apic_id(index)} exists")
        return place_properties(self._topology.place(index))

    def _find(self, values: Mapping[str, int]) -> int:
        topology = self._topology
        if values["apic-id"] != NO_APIC_ID:
            return self._find_by_apic_id(values)
        numbers = []
        for name, count in self._ranges():
            number = values[name]
            if number == UNSET and name == "die-id" and count == 1:
                number = 0
            if number < 0:
                raise generic(f"CPU {name} is not set")
            if number >= count:
                raise generic(f"Invalid CPU {name}: {number} must be in range 0:{count - 1}")
            numbers.append(number)
        return topology.index(CpuPlace(*numbers))

    def _find_by_apic_id(self, values: Mapping[str, int]) -> int:
        topology, wanted = self._topology, values["apic-id"]
        ids = [topology.apic_id(index) for index in range(topology.total)]
        if wanted not in ids:
            shifts = (0, topology.core_shift, topology.die_shift, topology.package_shift)
            ends = (*shifts[1:], 32)
            thread, core, die, socket = (
                wanted >> low & (1 << high - low) - 1 for low, high in zip(shifts, ends, strict=True)
            )
            raise generic(
                f"Invalid CPU [socket: {socket}, die: {die}, core: {core}, thread: {thread}] with APIC ID {wanted}, "
                f"valid index range 0:{topology.total - 1}"
            )
        index = ids.index(wanted)
        for (name, _), number in zip(self._ranges(), place_properties(topology.place(index)).values(), strict=True):
            if values[name] not in (UNSET, number):
                raise generic(
                    f"property {name}: {values[name]} doesn't match set apic-id: {wanted:#x} ({name}: {number})"
                )
        return index

    def _ranges(self) -> tuple[tuple[str, int], ...]:
        topology = self._topology
        return (
            ("socket-id", topology.sockets),
            ("die-id", topology.dies),
            ("core-id", topology.cores),
            ("thread-id", topology.threads),
        )

    def place(self, device: Plugged) -> None:
        index = self.index(device)
        self._tree.add(device.path, self._cpus[index])
        self._place_lapic(index, device.path)

    def take_out(self, device: Plugged) -> None:
        self._tree.remove(device.path)

    def plug(self, device: Plugged) -> None:
        assert self._slots is not None
        self._slots.plug(self.index(device))

    # --- going

    def check_removal(self, device: Plugged) -> None:
        if self.index(device) == 0:
            raise generic("Boot CPU is unpluggable")
        if self._slots is None:
            raise generic("CPU hot unplug not supported without ACPI")
        if self._slots.device.legacy:
            # A guest that has not turned to the modern form of the port block would never hear of it.
            raise generic(f"acpi: device unplug request for not supported device type: {device.driver}")

    def ask_to_go(self, device: Plugged) -> None:
        assert self._slots is not None
        self._slots.device.ask_to_go(self.index(device))


def _integer(name: str, value: PlugValue) -> int:
    if isinstance(value, str):
        try:
            value = int(value, 0)
        except ValueError:
            raise generic(f"Parameter '{name}' expects integer") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise generic(f"Parameter '{name}' expects integer")
    kind = CPU_PROPERTIES[name][0]
    low, high = (0, 0xFFFF_FFFF) if kind == "uint32" else (-0x8000_0000, 0x7FFF_FFFF)
    if not low <= value <= high:
        raise generic(f"Parameter '{name}' expects {kind}_t")
    return value
