"""Memory modules as devices that are plugged in: `pc-dimm` with a back end, and a place if wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol, final

from vmcore.boards.device_properties import DeviceProperty, complete
from vmcore.boards.memory_slots import MemorySlots
from vmcore.devices.memory_module import MemoryModule
from vmcore.hardware.tree import ObjectTree
from vmcore.machine.plug import DevicePlug, Driver, Plugged, PlugValue, generic
from vmcore.model.errors import CommandError

__all__ = ["DIMM", "DIMM_PROPERTIES", "ConfiguredMemory", "DimmDriver", "MemorySource"]

DIMM: Final = "pc-dimm"

DIMM_PROPERTIES: Final[Mapping[str, DeviceProperty]] = {
    "memdev": DeviceProperty("str"),
    "node": DeviceProperty("uint32", 0),
    "addr": DeviceProperty("uint64", 0),
    "slot": DeviceProperty("int32", -1),
    "size": DeviceProperty("uint64", settable=False),
}
"""What a module is given."""

ALIGNMENT: Final = 0x20_0000
ANY_ADDRESS, ANY_SLOT = 0, -1


class MemorySource(Protocol):
    """Where the memory of modules comes from: back ends by name."""

    def size(self, id: str) -> int | None:
        """Bytes of a back end; None where there is none of that name."""

    def check(self, id: str) -> None:
        """CommandError where no module can be made of a back end that there is."""

    def lend(self, id: str, size: int) -> memoryview | None:
        """Its memory; None: the machine is to use memory of its own instead."""

    def give_back(self, id: str) -> None:
        """Nothing is made of it any more."""


@final
class ConfiguredMemory:
    """The back ends of a configuration, as far as their sizes go: a machine by itself has memory of its own."""

    def __init__(self, sizes: Mapping[str, int], used: frozenset[str]) -> None:
        self._sizes = sizes
        self._used = used

    def size(self, id: str) -> int | None:
        return self._sizes.get(id)

    def check(self, id: str) -> None:
        if id in self._used:
            raise generic(f"can't use already busy memdev: {id}")

    def lend(self, id: str, size: int) -> memoryview | None:
        return None

    def give_back(self, id: str) -> None:
        """Nothing was lent."""


@final
class DimmDriver(Driver):
    """Memory modules.

    slots: None where the board has none; nodes: how many NUMA nodes there are; room: bytes of memory that modules can
    have in all; source: where it comes from.
    """

    def __init__(
        self, slots: MemorySlots | None, nodes: int, room: int, source: MemorySource, tree: ObjectTree
    ) -> None:
        self._slots = slots
        self._nodes = nodes
        self._room = room
        self._source = source
        self._tree = tree
        self.record: DevicePlug | None = None
        """What is plugged in."""

    def modules(self) -> list[Plugged]:
        """What is plugged in of this kind, by address."""
        there = () if self.record is None else self.record.devices
        return sorted((each for each in there if each.driver == DIMM), key=lambda each: int(each.properties["addr"]))

    def in_slot(self, slot: int) -> Plugged | None:
        """The module in a slot."""
        return next((each for each in self.modules() if each.properties["slot"] == slot), None)

    # --- coming

    def check(
        self, name: str, given: Mapping[str, PlugValue], bus: str | None = None, *, cold: bool = False
    ) -> Mapping[str, PlugValue]:
        values = complete(name, DIMM_PROPERTIES, given)
        memdev = values.get("memdev")
        size = None
        if memdev is not None:
            size = self._source.size(str(memdev))
            if size is None:
                raise CommandError("DeviceNotFound", f"Device '{memdev}' not found")
        slot = self._find_slot(int(values["slot"]))
        if memdev is None or size is None:
            raise generic("'memdev' property must be set")
        address = self._find_address(int(values["addr"]), size)
        self._source.check(str(memdev))
        if any(each.properties["memdev"] == memdev for each in self.modules()):
            raise generic(f"can't use already busy memdev: {memdev}")
        if int(values["node"]) >= self._nodes:
            raise generic(
                f"'DIMM property node has value {values['node']}' which exceeds the number of numa nodes: {self._nodes}"
            )
        return values | {"slot": slot, "addr": address, "size": size}

    def _find_slot(self, wanted: int) -> int:
        count = 0 if self._slots is None else self._slots.count
        if not count:
            raise generic("no slots where allocated, please specify the 'slots' option")
        if wanted != ANY_SLOT and not 0 <= wanted < count:
            raise generic(f"invalid slot number {wanted}, valid range is [0-{count - 1}]")
        taken = {int(each.properties["slot"]) for each in self.modules()}
        if wanted in taken:
            raise generic(f"slot {wanted} is busy")
        if wanted != ANY_SLOT:
            return wanted
        free = next((slot for slot in range(count) if slot not in taken), None)
        if free is None:
            raise generic("no free slots available")
        return free

    def _find_address(self, wanted: int, size: int) -> int:
        assert self._slots is not None
        base, end = self._slots.base, self._slots.base + self._slots.size
        used = sum(int(each.properties["size"]) for each in self.modules())
        if used + size > self._room:
            raise generic(
                f"not enough space, currently {used:#x} in use of total space for memory devices {self._room:#x}"
            )
        if size % ALIGNMENT:
            raise generic(f"backend memory size must be multiple of {ALIGNMENT:#x}")
        if wanted % ALIGNMENT:
            raise generic(f"address must be aligned to {ALIGNMENT:#x} bytes")
        if wanted != ANY_ADDRESS and not (base <= wanted and wanted + size <= end):
            raise generic(
                f"can't add memory device [{wanted:#x}:{size:#x}], usable range for memory devices "
                f"[{base:#x}:{self._slots.size:#x}]"
            )
        address = wanted or base
        for each in self.modules():
            first = int(each.properties["addr"])
            behind = first + int(each.properties["size"])
            if address < behind and first < address + size:
                if wanted:
                    raise generic(f"address range conflicts with memory device id='{each.id or '(unnamed)'}'")
                address = behind
        if address + size > end:
            raise generic(
                "could not find position in guest address space for memory device - memory fragmented due to alignments"
            )
        return address

    def place(self, device: Plugged) -> None:
        assert self._slots is not None
        at = device.properties
        memdev, size, address, slot = str(at["memdev"]), int(at["size"]), int(at["addr"]), int(at["slot"])
        low, room = self._slots.base, self._slots.size
        if size < 1 or not low <= address <= low + room - size or not 0 <= slot < self._slots.count:
            raise ValueError(f"no room for a module of {size:#x} bytes at {address:#x} in slot {slot}")
        module = MemoryModule(
            addr=address,
            size=size,
            slot=slot,
            node=int(at["node"]),
            memdev=f"/objects/{memdev}",
            hotplugged=not device.cold,
        )
        self._slots.mount(module, self._source.lend(memdev, size))
        self._tree.add(device.path, module)
        if device.cold:
            self._slots.device.place(slot, address, size, module.node)

    def plug(self, device: Plugged) -> None:
        assert self._slots is not None
        at = {name: int(device.properties[name]) for name in ("slot", "addr", "size", "node")}
        self._slots.device.plug(at["slot"], at["addr"], at["size"], at["node"])

    # --- going

    def take_out(self, device: Plugged) -> None:
        assert self._slots is not None
        self._slots.unmount(int(device.properties["slot"]))
        self._tree.remove(device.path)
        self._source.give_back(str(device.properties["memdev"]))

    def check_removal(self, device: Plugged) -> None:
        """Each can go, as often as it is asked."""

    def ask_to_go(self, device: Plugged) -> None:
        assert self._slots is not None
        self._slots.device.ask_to_go(int(device.properties["slot"]))
