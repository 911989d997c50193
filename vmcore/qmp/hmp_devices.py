"""The human monitor's commands by which devices come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmcore.model.errors import CommandError

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["device_add", "device_del"]


async def device_add(vm: VirtualMachine, text: str) -> str:
    """Plug a device in: its driver, and properties as on the command line."""
    driver, *pairs = text.strip().split(",")
    given: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        given[name] = value if equals else "on"
    driver = given.pop("driver", driver)
    if not driver:
        return "Error: Parameter 'driver' is missing\n"
    try:
        await vm.hotplug.add(driver, id=given.pop("id", None), bus=given.pop("bus", None), properties=given)
    except CommandError as error:
        return f"Error: {error.desc}\n"
    return ""


async def device_del(vm: VirtualMachine, id: str) -> str:
    """Ask the guest to let go of a device."""
    try:
        await vm.hotplug.remove(id)
    except CommandError as error:
        return f"Error: {error.desc}\n"
    return ""
