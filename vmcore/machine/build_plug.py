"""What can be plugged into a machine, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from vmcore.boards.pci_models import PCI_MODELS
from vmcore.engine.models import model_names
from vmcore.firmware import tables
from vmcore.hardware.emit import Emit
from vmcore.machine.config import DEVICE_MODELS, DeviceOption
from vmcore.machine.memory_options import used_backends
from vmcore.machine.plug import NAMED, DevicePlug, Driver, IsaDriver, Plugged
from vmcore.machine.plug_cpu import CpuDriver, cpu_type, place_properties
from vmcore.machine.plug_dimm import DIMM, ConfiguredMemory, DimmDriver
from vmcore.machine.plug_pci import PciDriver
from vmcore.model.acpi import AcpiDeviceOst, ACPIOSTInfo, ACPISlotType
from vmcore.model.errors import CommandError, ConfigError
from vmcore.model.machine import MemUnplugError
from vmcore.model.qom import DeviceUnplugGuestError

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine

__all__ = ["build_plug", "cpu_ost", "dimm_ost_info", "dimms", "ost_info", "plugged_cpus", "rewrite_tables"]

EJECT_REQUESTS = (3, 0x103)
"""Events of _OST: a request by firmware, and one by the system itself (ACPI 6.5, table 6.27)."""
SUCCESS, IN_PROGRESS = 0, 0x84
"""Statuses of _OST after which a module is not known to stay."""


def build_plug(machine: Machine, emit: Emit) -> DevicePlug:
    """The drivers of a machine, whose board is built, and the record of the vCPUs that it begins with."""
    config, board, tree = machine.config, machine.board, machine.tree
    kind = cpu_type(config.cpu_model)

    def place_lapic(index: int, path: str) -> None:
        tree.add(f"{path}/lapic", board.devices[f"/machine/cpus/cpu{index}/lapic"])

    drivers: dict[str, Driver] = {name: IsaDriver() for name in DEVICE_MODELS}
    vcpus = CpuDriver(config.cpu_model, machine.cpus, config.topology, board.cpu_slots, tree, place_lapic)
    drivers |= {cpu_type(model): vcpus for model in model_names()}
    modules = _dimm_driver(machine)
    functions = {name: PciDriver(name, board) for name in PCI_MODELS}
    drivers |= {DIMM: modules, **functions}
    plug = DevicePlug(tree, board.buses, emit, drivers)
    modules.record = plug
    for driver in functions.values():
        driver.record = plug
    if board.pci_slots is not None:
        board.pci_slots.on_eject = lambda slot: _eject_slot(machine, slot)
    if board.memory_slots is not None:
        board.memory_slots.on_eject = lambda slot: _eject_module(machine, slot)
        board.memory_slots.on_status = lambda slot: _module_status(machine, slot, emit)
    for index in range(config.cpus):
        place = place_properties(config.topology.place(index))
        plug.note(Plugged(kind, f"/machine/cpus/cpu{index}", properties=place))
    for path, model in board.added.items():
        bus = next((name for name, found in board.buses.items() if found.type == IsaDriver.bus_type), None)
        plug.note(Plugged(model, path, path.rpartition("/")[2] if path.startswith(f"{NAMED}/") else None, bus))
    for index, option in enumerate(config.devices):
        if option.model not in DEVICE_MODELS:
            _put(plug, option, f"devices[{index}]")
    return plug


def _dimm_driver(machine: Machine) -> DimmDriver:
    config = machine.config
    source = machine.memory_source
    if source is None:
        sizes = {backend.id: backend.size for backend in config.memory_backends}
        source = ConfiguredMemory(sizes, frozenset(backend.id for backend in used_backends(config)))
    numa = machine.board.layout.numa
    nodes = 1 if numa is None else len(numa.sizes)
    room = machine.board.layout.max_memory - config.memory
    return DimmDriver(machine.board.memory_slots, nodes, room, source, machine.tree)


def _put(plug: DevicePlug, option: DeviceOption, where: str) -> None:
    """A device of the configuration that is plugged in like those that come later."""
    try:
        plug.put(plug.plan(option.model, option.id, option.bus, option.properties, cold=True))
    except CommandError as error:
        raise ConfigError(where, option.model, f"a device that fits: {error.desc}") from error


def _eject_slot(machine: Machine, slot: int) -> None:
    """What is in a slot of the root bus goes, whoever asked."""
    board, plug = machine.board, machine.plug
    assert board.pci_slots is not None
    name = board.pci_slots.bus.name
    for device in plug.devices:
        if device.bus == name and int(device.properties["addr"]) >> 3 == slot:
            plug.gone(device.path)


def dimms(machine: Machine) -> list[Plugged]:
    """The memory modules that there are, by address.  Also while the guest runs."""
    driver = machine.plug.drivers[DIMM]
    assert isinstance(driver, DimmDriver)
    return driver.modules()


def _module(machine: Machine, slot: int) -> Plugged | None:
    return next((each for each in dimms(machine) if each.properties["slot"] == slot), None)


def _eject_module(machine: Machine, slot: int) -> None:
    module = _module(machine, slot)
    assert module is not None
    machine.plug.gone(module.path)


def _module_status(machine: Machine, slot: int, emit: Emit) -> None:
    """The guest has said something about a slot: perhaps that it will not let go."""
    info = dimm_ost_info(machine, slot)
    emit(AcpiDeviceOst(info=info))
    module = _module(machine, slot)
    if module is None or not module.leaving or info.source not in EJECT_REQUESTS:
        return
    if info.status not in (SUCCESS, IN_PROGRESS):
        machine.plug.stays(module.path)
        text = f"the guest has not let go of memory module {module.id or module.path}: _OST status {info.status:#x}"
        emit(MemUnplugError(device=module.id or "", msg=text))
        emit(DeviceUnplugGuestError(device=module.id, path=module.path))


def dimm_ost_info(machine: Machine, slot: int) -> ACPIOSTInfo:
    """What the guest last said about a slot for a memory module."""
    slots = machine.board.memory_slots
    assert slots is not None
    module, said = _module(machine, slot), slots.device.slots[slot]
    return ACPIOSTInfo(
        device=None if module is None else module.id,
        slot=str(slot),
        slot_type=ACPISlotType.DIMM,
        source=said.ost_event,
        status=said.ost_status,
    )


def plugged_cpus(machine: Machine) -> dict[int, Plugged]:
    """The vCPUs that there are by their indices, in the order in which they came.  Also while the guest runs."""
    found = {}
    for device in machine.plug.devices:
        driver = machine.plug.drivers[device.driver]
        if isinstance(driver, CpuDriver):
            found[driver.index(device)] = device
    return found


def ost_info(machine: Machine, index: int) -> ACPIOSTInfo:
    """What the guest last said about a place for a vCPU."""
    slots = machine.board.cpu_slots
    assert slots is not None
    slot = slots.device.slots[index]
    device = plugged_cpus(machine).get(index)
    return ACPIOSTInfo(
        device=None if device is None else device.id,
        slot=str(index),
        slot_type=ACPISlotType.CPU,
        source=slot.ost_event,
        status=slot.ost_status,
    )


def cpu_ost(machine: Machine, index: int) -> AcpiDeviceOst:
    """The event of the guest's saying something about a place for a vCPU."""
    return AcpiDeviceOst(info=ost_info(machine, index))


def rewrite_tables(machine: Machine) -> None:
    """Make the tables that firmware gives to the guest right, where vCPUs have come or gone since they were made.

    They have the same size and place whichever are there.
    """
    layout, present = machine.board.layout, machine.board.present
    if present == layout.present:
        return
    for segment in tables.build(attrs.evolve(layout, present=present)).segments:
        machine.memory.load(segment.address, segment.data)
