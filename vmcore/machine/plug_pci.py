"""PCI functions as devices that are plugged in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, final

from vmcore.boards.board import Board, Bus
from vmcore.boards.device_properties import complete
from vmcore.boards.pci_models import PCI_MODELS
from vmcore.buses.pci import DEVICES, FUNCTIONS, PciBus, PciFunction
from vmcore.buses.pci_bridge import PciBridge
from vmcore.buses.pci_config import HEADER_TYPE, MULTIFUNCTION
from vmcore.devices.i6300esb_pci import I6300Esb
from vmcore.machine.plug import DevicePlug, Driver, Plugged, PlugValue, generic

__all__ = ["PciDriver"]

OF_BOARDS: Final = {"I440fx": "i440FX", "Piix3": "PIIX3", "Piix4Pm": "PIIX4_PM"}
"""What clients call functions of boards, where that is not their class in lower case."""
FIRST_FREE: Final = -1
BELOW: Final = "bus-name"


@final
class PciDriver(Driver):
    """The functions of one model.  plug: the record of what is plugged in."""

    bus_type = "PCI"
    asks_once = True

    def __init__(self, name: str, board: Board) -> None:
        self._name = name
        self._model = PCI_MODELS[name]
        self._board = board
        self.hotpluggable = self._model.hotpluggable
        self.record: DevicePlug | None = None
        """What is plugged in, for the names of those who are in the way."""

    def _bus(self, device: Plugged) -> PciBus:
        assert device.bus is not None
        return self._board.pci_buses[device.bus]

    def _function(self, device: Plugged) -> PciFunction[Any]:
        function = self._board.devices[device.path]
        assert isinstance(function, PciFunction)
        return function

    # --- coming

    def check(
        self, name: str, given: Mapping[str, PlugValue], bus: str | None = None, *, cold: bool = False
    ) -> Mapping[str, PlugValue]:
        values = complete(name, self._model.properties, given)
        assert bus is not None
        values["addr"] = self._slot(name, bus, int(values["addr"]), bool(values["multifunction"]), cold)
        self._model.check(values)
        if issubclass(self._model.cls, PciBridge):
            # What its bus is called, unless it has a name that does for both.
            values[BELOW] = next(name for n in count(1) if (name := f"pci.{n}") not in self._board.buses)
        return values

    def _slot(self, name: str, bus_name: str, wanted: int, multifunction: bool, cold: bool) -> int:
        """The place that a function gets."""
        there = self._board.pci_buses[bus_name].functions
        if wanted == FIRST_FREE:
            free = (place for place in range(0, DEVICES * FUNCTIONS, FUNCTIONS) if place not in there)
            wanted = next(free, FIRST_FREE)
            if wanted == FIRST_FREE:
                raise generic(f"PCI: no slot/function available for {name}, all in use or reserved")
        slot, number = divmod(wanted, FUNCTIONS)
        if wanted in there:
            model, id = self._who(there[wanted])
            raise generic(
                f"PCI: slot {slot} function {number} not available for {name}, in use by {model},id={id or '(null)'}"
            )
        first = there.get(slot * FUNCTIONS)
        if number and first is not None:
            if not cold:  # A guest that knows function 0 does not look again.
                raise generic(
                    f"PCI: slot {slot} function 0 already occupied by {self._who(first)[0]}, new func {name} cannot be "
                    "exposed to guest."
                )
            if not first.config.initial[HEADER_TYPE] & MULTIFUNCTION:
                raise generic(f"PCI: single function device can't be populated in function {slot:x}.{number:x}")
        if not number and not multifunction:
            for other in range(1, FUNCTIONS):
                if slot * FUNCTIONS + other in there:
                    raise generic(
                        f"PCI: {slot:x}.0 indicates single function, but {slot:x}.{other:x} is already populated."
                    )
        return wanted

    def _who(self, function: PciFunction[Any]) -> tuple[str, str | None]:
        """Model and name of a function."""
        for device in () if self.record is None else self.record.devices:
            if self._board.devices.get(device.path) is function:
                return device.driver, device.id
        kind = type(function).__name__
        return OF_BOARDS.get(kind) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", kind).lower(), None

    def place(self, device: Plugged) -> None:
        function = self._model.build(self._board.services, device.properties)
        if device.properties["multifunction"]:
            function.config.set(HEADER_TYPE, 1, function.config.initial[HEADER_TYPE] | MULTIFUNCTION)
        devfn = int(device.properties["addr"])
        self._bus(device).plug(function, *divmod(devfn, FUNCTIONS))
        self._board.add(device.path, function)
        if isinstance(function, I6300Esb):
            self._board.watchdogs.append(function)
        if isinstance(function, PciBridge):
            assert function.below is not None
            for name in self.buses(device):
                function.below.name = name
                # What is behind has no registers of its own by which the guest would hear of news.
                self._board.buses[name] = Bus("PCI")
                self._board.pci_buses[name] = function.below
        slots = self._board.pci_slots
        goes = self.hotpluggable and not (device.cold and isinstance(function, PciBridge))
        if slots is not None and function.bus is slots.bus and not goes:
            slots.fixed.add(devfn // FUNCTIONS)

    def buses(self, device: Plugged) -> tuple[str, ...]:
        if not issubclass(self._model.cls, PciBridge):
            return ()
        return (device.id or str(device.properties[BELOW]),)

    def plug(self, device: Plugged) -> None:
        assert self._board.pci_slots is not None
        self._board.pci_slots.plug(int(device.properties["addr"]))

    # --- going

    def take_out(self, device: Plugged) -> None:
        function, devfn = self._function(device), int(device.properties["addr"])
        self._bus(device).unplug(function)
        function.reset()  # Its timers stand still.
        if isinstance(function, I6300Esb):
            self._board.watchdogs.remove(function)
        for name in self.buses(device):
            del self._board.buses[name], self._board.pci_buses[name]
        self._board.remove(device.path)
        slots = self._board.pci_slots
        if slots is not None and device.bus == slots.bus.name:
            slots.gone(devfn)

    def check_removal(self, device: Plugged) -> None:
        if not self.hotpluggable:
            raise generic(f"Device '{device.driver}' does not support hotplugging")

    def ask_to_go(self, device: Plugged) -> None:
        assert self._board.pci_slots is not None
        self._board.pci_slots.ask_to_go(int(device.properties["addr"]))
