"""Devices that come and go while the machine exists, by `vm.hotplug`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

from vmcore.machine.plug import Plugged, PlugValue, generic
from vmcore.machine.plug_cpu import cpu_type, place_properties
from vmcore.model.errors import UsageError
from vmcore.model.qom import DeviceDeleted, DeviceUnplugGuestError

if TYPE_CHECKING:
    from vmcore.shell.events import Expected
    from vmcore.vm import VirtualMachine

__all__ = ["Hotplug"]

_OUTCOMES: Final[Any] = DeviceDeleted | DeviceUnplugGuestError


@final
class Hotplug:
    """`vm.hotplug`.  CommandError, with the text that clients know, where a device cannot come or go."""

    __slots__ = ("_vm",)

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm

    # --- any device

    async def add(
        self, driver: str, *, id: str | None = None, bus: str | None = None, properties: Mapping[str, Any] | None = None
    ) -> Plugged:
        """Plug a device in.

        driver: its kind, such as "max-x86_64-cpu"; id: name by which it can be taken out again; bus: what to plug it
        into, if there is a choice; properties: what the driver is given.
        """
        kind = self._vm.qom.kind(driver)
        async with self._vm.parked() as machine:
            if driver not in machine.plug.drivers and kind is not None:
                if kind.abstract:
                    raise generic("Parameter 'driver' expects a non-abstract device type")
                raise generic("Parameter 'driver' expects a pluggable device type")
            return machine.device_add(driver, id=id, bus=bus, properties=_plain(properties or {}))

    async def remove(self, id: str) -> None:
        """Ask the guest to let go of a device: by its name or its path in the object tree.

        DeviceDeleted tells when it is gone; a guest need not obey.
        """
        async with self._vm.parked() as machine:
            machine.device_del(id)

    async def unplug(self, id: str) -> None:
        """Ask the guest to let go of a device, and wait until it is gone.

        id: its name, or its path in the object tree.  CommandError where the guest says that it keeps it; one that
        says nothing is waited for: `vm.fail_after` limits the patience.  A machine that is not free-running is driven.
        """
        async with self._vm.parked() as machine:
            path = machine.plug.check_removal(id).path

        outcome: Expected[DeviceDeleted | DeviceUnplugGuestError]
        async with self._vm.events.expect(_OUTCOMES, lambda event: event.path == path) as outcome:
            await self.remove(path)
        if isinstance(outcome.value, DeviceUnplugGuestError):
            raise generic(f"the guest keeps device {id}")

    # --- vCPUs

    async def add_cpu(self, index: int, *, id: str | None = None) -> Plugged:
        """Plug the vCPU of an index in.  The guest is told; most do not use it before somebody there asks them to."""
        config = self._vm.config
        if not 0 <= index < config.topology.total:
            raise UsageError(f"there is no place {index} for a vCPU: the machine has {config.topology.total}")
        return await self.add(
            cpu_type(config.cpu_model), id=id, properties=place_properties(config.topology.place(index))
        )

    async def remove_cpu(self, index: int) -> None:
        """Ask the guest to let go of the vCPU of an index, and wait until it is gone.

        As `unplug` does it with any device.
        """
        async with self._vm.parked() as machine:
            path = machine.cpu_path(index)
        await self.unplug(path)

    @property
    def cpus(self) -> tuple[int, ...]:
        """Indices of the vCPUs that there are."""
        return self._vm.peek().present_cpus


def _plain(properties: Mapping[str, Any]) -> dict[str, PlugValue]:
    """Properties as drivers take them.  Lists and objects are passed over, as QEMU does it."""
    return {
        name: str(value) if isinstance(value, float) else value
        for name, value in properties.items()
        if isinstance(value, bool | int | float | str)
    }
