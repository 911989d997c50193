"""Properties of devices that users name, and what they can be set to: text from a command line, or values.

Types and the texts of refusals are those of QEMU 7.2, since clients know devices by its names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from attrs import frozen

from vmcore.model.errors import CommandError

__all__ = ["DeviceProperty", "PropertyValue", "complete", "read_slot", "shown"]

PropertyValue: TypeAlias = str | int | bool

RANGES: Final = {
    "uint8": (0, 0xFF),
    "uint16": (0, 0xFFFF),
    "uint32": (0, 0xFFFF_FFFF),
    "int32": (-0x8000_0000, 0x7FFF_FFFF),
    "uint64": (0, (1 << 64) - 1),
}
BOOLEANS: Final = {
    "on": True,
    "yes": True,
    "true": True,
    "y": True,
    "off": False,
    "no": False,
    "false": False,
    "n": False,
}
SLOT: Final = re.compile(r"(?:0x)?([0-9a-f]+)(?:\.(?:0x)?([0-9a-f]+))?", re.ASCII | re.IGNORECASE)


def _generic(text: str) -> CommandError:
    return CommandError("GenericError", text)


def shown(value: PropertyValue) -> str:
    """A value as text, as command lines have it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def read_slot(text: str) -> int | None:
    """Device and function number in hexadecimal, "1f.7" or "1f": device * 8 + function; None for what is none."""
    match = SLOT.fullmatch(text)
    if match is None:
        return None
    device, function = int(match[1], 16), int(match[2] or "0", 16)
    return device * 8 + function if device < 32 and function < 8 else None


@frozen
class DeviceProperty:
    """A property.  type: uint8 to uint64, int32, bool, str, or slot: a place on a PCI bus (-1: the first free one).

    default: None where there is none; settable: a user may give it.
    """

    type: str
    default: PropertyValue | None = None
    description: str | None = None
    settable: bool = True

    @property
    def type_name(self) -> str:
        """Type, as management clients call it."""
        return "int32" if self.type == "slot" else self.type

    def read(self, model: str, name: str, value: PropertyValue) -> PropertyValue:
        """The value that somebody gave, checked; CommandError for one that cannot be.

        model, name: of the device and the property, for the error.
        """
        if not self.settable:
            raise _generic(f"Property '{model}.{name}' is not writable")
        text = shown(value)
        if self.type == "bool":
            if isinstance(value, bool) or text in BOOLEANS:
                return BOOLEANS[text]
            raise _generic(f"Parameter '{name}' expects 'on' or 'off'")
        if self.type == "slot":
            place = read_slot(text)
            if place is None:
                raise _generic(f"Property '{model}.{name}' doesn't take value '{text}'")
            return place
        if self.type in RANGES:
            low, high = RANGES[self.type]
            try:
                number = int(text, 0)
            except ValueError:
                raise _generic(f"Parameter '{name}' expects integer") from None
            if not low <= number <= high:
                raise _generic(f"Parameter '{name}' expects {self.type}_t")
            return number
        return text


def complete(
    model: str, properties: Mapping[str, DeviceProperty], given: Mapping[str, PropertyValue]
) -> dict[str, PropertyValue]:
    """All properties of a device that have a value, checked; CommandError for one that there is not."""
    values = {name: kind.default for name, kind in properties.items() if kind.default is not None}
    for name, value in given.items():
        if name not in properties:
            raise _generic(f"Property '{model}.{name}' not found")
        values[name] = properties[name].read(model, name, value)
    return values
