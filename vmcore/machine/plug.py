"""Devices that come and go while the machine exists: what `device_add` and `device_del` do.

A `Driver` knows one kind of device: what it is given, whether that can be had now, how it is put in and taken out.
`DevicePlug` has what is the same for all: names, buses, the record of what is there.  Adding has two steps.  `plan`
checks everything and changes nothing; what it gives is logged as an input of the machine, and `plug` carries it out.
Texts of errors are those of QEMU 7.2, since clients know devices by its names.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Final, final

from attrs import evolve, field, frozen

from vmcore.boards.board import Bus
from vmcore.boards.device_properties import PropertyValue
from vmcore.hardware.device import Device
from vmcore.hardware.tree import Node, ObjectTree
from vmcore.model.errors import CommandError, UsageError
from vmcore.model.events import Event
from vmcore.model.qom import DeviceDeleted

__all__ = ["NAMED", "DevicePlug", "Driver", "PlugValue", "Plugged", "generic"]

PlugValue = PropertyValue

ANONYMOUS: Final = "/machine/peripheral-anon"
NAMED: Final = "/machine/peripheral"
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")


def generic(text: str) -> CommandError:
    """An error of the class that most errors are of."""
    return CommandError("GenericError", text)


@frozen
class Plugged:
    """A device that is plugged in, or is to be.

    driver: its kind; id: the name that it was given; path: where it is in the object tree; bus: what it is plugged
    into, by name; properties: what it was given, as its driver keeps them; cold: it was there from the beginning;
    leaving: the guest was asked to let go of it.
    """

    driver: str
    path: str
    id: str | None = None
    bus: str | None = None
    properties: Mapping[str, PlugValue] = field(factory=dict, hash=False)
    cold: bool = False
    leaving: bool = False


class Driver(ABC):
    """One kind of device.

    bus_type: the kind of bus that it is plugged into, None for none; hotpluggable: it comes and goes while the machine
    exists; asks_once: it is an error to ask the guest again before it has let go.
    """

    bus_type: str | None = None
    hotpluggable: bool = True
    asks_once: bool = False

    @abstractmethod
    def check(
        self, name: str, given: Mapping[str, PlugValue], bus: str | None = None, *, cold: bool = False
    ) -> Mapping[str, PlugValue]:
        """The properties of a device to come, complete and of the right types; CommandError where it cannot come.

        name: as which driver it was asked for; given: strings stand for numbers and truth values, too; bus: what it is
        to be plugged into; cold: the machine is being built.
        """

    @abstractmethod
    def place(self, device: Plugged) -> None:
        """Put the device into the object tree, building it if it is not there; its state is restored afterwards."""

    @abstractmethod
    def take_out(self, device: Plugged) -> None:
        """The opposite of `place`: nothing of the device is left.  What is plugged into its buses has gone before."""

    def buses(self, device: Plugged) -> tuple[str, ...]:
        """Names of the buses that the device brings with it."""
        return ()

    @abstractmethod
    def plug(self, device: Plugged) -> None:
        """Plug the device in, which is in the object tree already, and tell the guest."""

    @abstractmethod
    def check_removal(self, device: Plugged) -> None:
        """CommandError where the device cannot go."""

    @abstractmethod
    def ask_to_go(self, device: Plugged) -> None:
        """Ask the guest to let go of the device, or take it out: `DevicePlug.gone` is told in either case."""


@final
class IsaDriver(Driver):
    """A device of the ISA bus, into which nothing is plugged while the machine exists."""

    bus_type = "ISA"

    def check(
        self, name: str, given: Mapping[str, PlugValue], bus: str | None = None, *, cold: bool = False
    ) -> Mapping[str, PlugValue]:
        raise generic(f"Device '{name}' does not support hotplugging")

    def place(self, device: Plugged) -> None:
        raise AssertionError("check has refused it")

    def take_out(self, device: Plugged) -> None:
        raise AssertionError("check_removal has refused it")

    def plug(self, device: Plugged) -> None:
        raise AssertionError("check has refused it")

    def check_removal(self, device: Plugged) -> None:
        raise generic(f"Device '{device.driver}' does not support hotplugging")

    def ask_to_go(self, device: Plugged) -> None:
        raise AssertionError("check_removal has refused it")


@final
class DevicePlug:
    """What is plugged into a machine, by `machine.plugged`."""

    def __init__(
        self,
        tree: ObjectTree,
        buses: Mapping[str, Bus],
        emit: Callable[[Event], None],
        drivers: Mapping[str, Driver],
    ) -> None:
        self._tree = tree
        self._buses = buses
        self._emit = emit
        self.drivers: Final = dict(drivers)
        """Every kind of device by its name."""
        self._devices: dict[str, Plugged] = {}

    @property
    def devices(self) -> tuple[Plugged, ...]:
        """What is plugged in, in the order in which it came."""
        return tuple(self._devices.values())

    # --- coming

    def plan(
        self,
        driver: str,
        id: str | None = None,
        bus: str | None = None,
        properties: Mapping[str, PlugValue] | None = None,
        *,
        cold: bool = False,
    ) -> Plugged:
        """A device to come, checked.  Changes nothing; CommandError where it cannot come.

        cold: the machine is being built, so that it may come where nothing comes later.
        """
        if id is not None and not _IDENTIFIER.fullmatch(id):
            raise generic("Parameter 'id' expects an identifier")
        kind = self.drivers.get(driver)
        if kind is None:
            raise generic(f"'{driver}' is not a valid device model name")
        if not kind.hotpluggable and not cold:
            raise generic("Parameter 'driver' expects a pluggable device type")
        bus = self._find_bus(driver, kind, bus)
        if bus is not None and not self._buses[bus].hotpluggable and not cold:
            raise generic(f"Bus '{bus}' does not support hotplugging")
        if id is not None and id in self._tree.container(NAMED).children:
            raise generic(f"Duplicate device ID '{id}'")
        checked = kind.check(driver, properties or {}, bus, cold=cold)
        return Plugged(driver, self._path(id), id, bus, checked, cold)

    def _find_bus(self, driver: str, kind: Driver, wanted: str | None) -> str | None:
        if wanted is not None:
            found = self._buses.get(wanted)
            if found is None:
                raise generic(f"Bus '{wanted}' not found")
            if not _fits(kind, found):
                raise generic(f"Device '{driver}' can't go on {found.type} bus")
            return wanted
        if kind.bus_type is None:
            return None
        for name, found in self._buses.items():
            if _fits(kind, found):
                return name
        raise generic(f"No '{kind.bus_type}' bus found for device '{driver}'")

    def _path(self, id: str | None) -> str:
        if id is not None:
            return f"{NAMED}/{id}"
        taken = self._tree.container(ANONYMOUS).children
        number = next(n for n in range(len(taken) + 1) if f"device[{n}]" not in taken)
        return f"{ANONYMOUS}/device[{number}]"

    def plug(self, device: Plugged) -> None:
        """Carry out what `plan` has checked."""
        self._devices[device.path] = device
        driver = self.drivers[device.driver]
        driver.place(device)
        driver.plug(device)

    def note(self, device: Plugged) -> None:
        """Record a device that is there already, put in by who built the machine."""
        self._devices[device.path] = device

    def put(self, device: Plugged) -> None:
        """Put a device in that is there from the beginning: nobody is told."""
        self._devices[device.path] = device
        self.drivers[device.driver].place(device)

    # --- going

    def find(self, id: str) -> Plugged:
        """The device of a name, or at an absolute path.  CommandError where there is none or it cannot go."""
        node = self._node(id)
        if node is None:
            raise CommandError("DeviceNotFound", f"Device '{id}' not found")
        device = self._devices.get(node.path)
        if device is None:
            raise self._fixed(id, node)
        return device

    def check_removal(self, id: str) -> Plugged:
        """The device that is asked to go.  CommandError where there is none or it cannot go."""
        device = self.find(id)
        if device.bus is not None and not self._buses[device.bus].hotpluggable:
            raise generic(f"Bus '{device.bus}' does not support hotplugging")
        driver = self.drivers[device.driver]
        driver.check_removal(device)
        if driver.asks_once and device.leaving:
            raise generic(f"Device {id} is already in the process of unplug")
        return device

    def _node(self, id: str) -> Node | None:
        path = id if id.startswith("/") else f"{NAMED}/{id}"
        try:
            return self._tree.node(path)
        except UsageError:
            return None

    def _fixed(self, id: str, node: Node) -> CommandError:
        """The error for what belongs to the board."""
        if not isinstance(node.value, Device):
            return generic(f"{id} is not a hotpluggable device")
        return generic("Bus 'main-system-bus' does not support hotplugging")

    def ask_to_go(self, path: str) -> None:
        """Ask the guest to let go of a device, or take it out if it has no say."""
        device = self._devices[path] = evolve(self._devices[path], leaving=True)
        self.drivers[device.driver].ask_to_go(device)

    def gone(self, path: str) -> None:
        """A device is out of the machine: forget it and say so, of what was behind it and of its parts first."""
        device = self._devices[path]
        driver = self.drivers[device.driver]
        behind = driver.buses(device)
        for other in self.devices:
            if other.bus in behind:
                self.gone(other.path)
        del self._devices[path]
        parts = [node.path for node in self._tree.node(path).walk() if isinstance(node.value, Device)]
        driver.take_out(device)
        for part in reversed(parts):
            if part != path:
                self._emit(DeviceDeleted(path=part))
        self._emit(DeviceDeleted(device=device.id, path=path))

    def stays(self, path: str) -> None:
        """The guest will not let go of a device that it was asked for."""
        self._devices[path] = evolve(self._devices[path], leaving=False)

    # --- state

    def restore(self, devices: tuple[Plugged, ...]) -> None:
        """Take the record of a snapshot: what is in the object tree follows it.

        From the first difference on all is taken out and put in anew, so that the order is that of the snapshot.
        """
        before = self.devices
        same = 0
        while same < min(len(before), len(devices)) and _equal(before[same], devices[same]):
            same += 1
        for device in reversed(before[same:]):
            self.drivers[device.driver].take_out(device)
            del self._devices[device.path]
        for device in devices[same:]:
            self.drivers[device.driver].place(device)
            self._devices[device.path] = device
        self._devices = {device.path: device for device in devices}


def _fits(kind: Driver, bus: Bus) -> bool:
    """Whether a device can be plugged into a bus: PCI Express takes those of PCI, too."""
    return bus.type == kind.bus_type or (bus.type, kind.bus_type) == ("PCIE", "PCI")


def _equal(one: Plugged, other: Plugged) -> bool:
    """Whether two records are of one device, be it on its way out or not."""
    return evolve(one, leaving=False) == evolve(other, leaving=False)
