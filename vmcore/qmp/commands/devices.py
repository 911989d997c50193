"""Devices that come and go while the machine exists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmcore.model.acpi import ACPIOSTInfo
from vmcore.model.errors import CommandError
from vmcore.model.wire import Int
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


def _text(value: Any) -> str | None:
    """A name among arguments that are no JSON of their own, as QEMU's options are not: numbers and switches are text,
    and what is neither is not there.
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value) if isinstance(value, str | int | float) else None


@command("device_add", features=("json-cli", "json-cli-hotplug"), since="0.13")
async def device_add(
    vm: VirtualMachine, *, driver: str, bus: str | None = None, id: str | None = None, **parameters: Any
) -> None:
    """Plug a device in.

    driver: its kind; bus: what to plug it into, if there is a choice; id: name by which it can be taken out again.
    Any other argument is a property of the device, as device-list-properties lists them.
    """
    kind = _text(driver)
    if kind is None:
        raise CommandError("GenericError", "Parameter 'driver' is missing")
    await vm.hotplug.add(kind, id=_text(id), bus=_text(bus), properties=parameters)


@command("device_del", since="0.14")
async def device_del(vm: VirtualMachine, *, id: str) -> None:
    """Ask the guest to let go of a device.  DEVICE_DELETED tells when it is gone; a guest need not obey.

    id: the name that it was given, or its path in the object tree.
    """
    await vm.hotplug.remove(id)


@command("cpu-add", features=("deprecated",), since="1.5")
async def cpu_add(vm: VirtualMachine, *, id: Int) -> None:
    """Plug the vCPU of an index in.  Superseded by device_add, which takes what query-hotpluggable-cpus lists.

    id: the index, from 0 up.
    """
    places = vm.config.topology.total
    if not 0 <= id < places:
        raise CommandError("GenericError", f"Invalid CPU index: {id} must be in range 0:{places - 1}")
    await vm.hotplug.add_cpu(id)


@command("query-acpi-ospm-status", since="2.1")
async def query_acpi_ospm_status(vm: VirtualMachine) -> tuple[ACPIOSTInfo, ...]:
    """What the guest last said with _OST about each place for a vCPU."""
    return await vm.query.ospm_status()
