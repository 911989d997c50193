"""The PCI devices that can be plugged into a board, by the names that users of QEMU know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import field, frozen

from vmcore.boards.board import BoardServices
from vmcore.boards.device_properties import DeviceProperty, PropertyValue
from vmcore.buses.pci import PciFunction
from vmcore.devices.i6300esb_pci import I6300Esb
from vmcore.devices.plain_bridge import PlainBridge
from vmcore.devices.pvpanic_pci import PvPanicPci
from vmcore.model.errors import CommandError
from vmcore.model.events import GuestCrashloaded
from vmcore.model.run_state import GuestPanicAction

__all__ = ["COMMON", "PCI_MODELS", "PciModel"]

Properties = Mapping[str, PropertyValue]

COMMON: Final[Mapping[str, DeviceProperty]] = {
    "addr": DeviceProperty("slot", -1, "Slot and optional function number, example: 06.0 or 06"),
    "multifunction": DeviceProperty("bool", False, "on/off"),
}
"""Properties of all of them."""


def _nothing(properties: Properties) -> None:
    """Every combination of values is fine."""


@frozen
class PciModel:
    """A model.

    build: makes the function; cls: its class; own: properties beside those that all have; check: CommandError where
    they do not fit together; hotpluggable: it comes and goes while the machine exists.
    """

    cls: type[PciFunction[Any]]
    build: Callable[[BoardServices, Properties], PciFunction[Any]]
    own: Mapping[str, DeviceProperty] = field(factory=dict)
    check: Callable[[Properties], None] = _nothing
    hotpluggable: bool = True

    @property
    def properties(self) -> Mapping[str, DeviceProperty]:
        """All properties."""
        return {**COMMON, **self.own}


def _pvpanic(services: BoardServices, properties: Properties) -> PciFunction[Any]:
    return PvPanicPci(
        lambda: services.panicked(None),
        lambda: services.emit(GuestCrashloaded(GuestPanicAction.RUN)),
        int(properties["events"]),
    )


def _i6300esb(services: BoardServices, properties: Properties) -> PciFunction[Any]:
    return I6300Esb(services.clock, services.watchdog_expired)


def _bridge(services: BoardServices, properties: Properties) -> PciFunction[Any]:
    return PlainBridge(int(properties["chassis_nr"]))


def _check_bridge(properties: Properties) -> None:
    if not properties["chassis_nr"]:
        text = "Bridge chassis not specified. Each bridge is required to be assigned a unique chassis id > 0."
        raise CommandError("GenericError", text)


PCI_MODELS: Final[Mapping[str, PciModel]] = {
    "pvpanic-pci": PciModel(PvPanicPci, _pvpanic, {"events": DeviceProperty("uint8", 3)}),
    "i6300esb": PciModel(I6300Esb, _i6300esb),
    "pci-bridge": PciModel(PlainBridge, _bridge, {"chassis_nr": DeviceProperty("uint8", 0)}, _check_bridge),
}
"""Every model by its name."""
