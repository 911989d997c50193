"""Types and events of the management model around ACPI."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.wire import Int, enum, struct

__all__ = ["ACPIOSTInfo", "ACPISlotType", "AcpiDeviceOst"]


@enum
class ACPISlotType(StrEnum):
    """What is plugged into a slot."""

    DIMM = "DIMM"
    CPU = "CPU"


@struct
@frozen(kw_only=True)
class ACPIOSTInfo:
    """What the guest said about a plugged device with its _OST method (ACPI 6.3, 6.3.5).

    device: its name, None if it has none; slot: its number as text; source: the notification that it is about;
    status: the guest's answer.
    """

    device: str | None = None
    slot: str
    slot_type: ACPISlotType
    source: Int
    status: Int


@event("ACPI_DEVICE_OST")
@frozen(kw_only=True)
class AcpiDeviceOst(Event):
    """The guest evaluated a device's _OST method."""

    info: ACPIOSTInfo
