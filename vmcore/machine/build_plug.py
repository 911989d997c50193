"""What can be plugged into a machine, and what follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from vmcore.engine.models import model_names
from vmcore.firmware import tables
from vmcore.hardware.emit import Emit
from vmcore.machine.config import DEVICE_MODELS
from vmcore.machine.plug import NAMED, DevicePlug, Driver, IsaDriver, Plugged
from vmcore.machine.plug_cpu import CpuDriver, cpu_type, place_properties
from vmcore.model.acpi import AcpiDeviceOst, ACPIOSTInfo, ACPISlotType

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine

__all__ = ["build_plug", "cpu_ost", "ost_info", "plugged_cpus", "rewrite_tables"]


def build_plug(machine: Machine, emit: Emit) -> DevicePlug:
    """The drivers of a machine, whose board is built, and the record of the vCPUs that it begins with."""
    config, board, tree = machine.config, machine.board, machine.tree
    kind = cpu_type(config.cpu_model)

    def place_lapic(index: int, path: str) -> None:
        tree.add(f"{path}/lapic", board.devices[f"/machine/cpus/cpu{index}/lapic"])

    drivers: dict[str, Driver] = {name: IsaDriver() for name in DEVICE_MODELS}
    vcpus = CpuDriver(config.cpu_model, machine.cpus, config.topology, board.cpu_slots, tree, place_lapic)
    drivers |= {cpu_type(model): vcpus for model in model_names()}
    plug = DevicePlug(tree, board.buses, emit, drivers)
    for index in range(config.cpus):
        place = place_properties(config.topology.place(index))
        plug.note(Plugged(kind, f"/machine/cpus/cpu{index}", properties=place))
    for path, model in board.added.items():
        bus = next((name for name, found in board.buses.items() if found.type == IsaDriver.bus_type), None)
        plug.note(Plugged(model, path, path.rpartition("/")[2] if path.startswith(NAMED) else None, bus))
    return plug


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
