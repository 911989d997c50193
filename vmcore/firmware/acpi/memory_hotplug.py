r"""AML for memory modules that come and go, by the registers of `vmcore.devices.memory_hotplug`.

Sources: ACPI specification 6.5, 9.11 (memory devices), 6.3 (_EJ0, _OST, _STA), 6.2.15 (_PXM), 6.4.3.5.1 (address space
descriptors), 5.6.4.1 (GPE methods) and 5.6.6 (notifications); QEMU's specification "QEMU<->ACPI BIOS memory hotplug
interface" for the ports.

In `\_SB.MHPD`: the fields of the registers (MSEL selects a slot), a mutex around each use of them, the slots (M000 on),
and methods by slot: MSTA gives the status, MCRS the resources, MPXM the proximity domain, MEJC ejects, MOST passes on
what the system says, MTFY notifies.  The event of the registers calls MSCN.
"""

from __future__ import annotations

from vmcore.firmware.acpi import aml, aml_code, aml_resources
from vmcore.firmware.acpi.aml import argument, integer, local
from vmcore.firmware.platform import PlatformLayout

__all__ = ["EVENT", "PORTS", "container", "event_method", "size"]

EVENT = 3
"""General-purpose event of the registers."""
PORTS = 24
DEVICE_CHECK, EJECT_REQUEST = integer(1), integer(3)
PRESENT = integer(0xF)
"""_STA: present, enabled, shown, working."""
ONE, ZERO = integer(1), integer(0)
MINIMUM_AT, MAXIMUM_AT, LENGTH_AT = 14, 22, 38
"""Offsets in a QWORD address space descriptor (table 6.47)."""
PER_SLOT = 160
"""Bytes of AML that a slot takes at most."""


def _name(number: int) -> str:
    return f"M{number:03X}"


def size(slots: int) -> int:
    """Bytes of AML for so many slots, at most."""
    return 1024 + PER_SLOT * slots


def container(layout: PlatformLayout) -> bytes:
    """The device MHPD with all slots in it."""
    numbers = range(layout.memory_slots)
    return aml.device(
        "MHPD",
        aml.name("_HID", aml.string("PNP0A06")),
        aml.name("_UID", aml.string("Memory hotplug resources")),
        aml.name("_CRS", aml.resource_template(aml.io(layout.memory_hotplug, PORTS))),
        aml.port_region("MREG", layout.memory_hotplug, PORTS),
        aml.field(
            "MREG",
            aml.Access.DWORD,
            *(("MADL", 32), ("MADH", 32), ("MSZL", 32), ("MSZH", 32), ("MNOD", 32)),
        ),
        aml.field("MREG", aml.Access.DWORD, ("MSEL", 32), ("MOEV", 32), ("MOSC", 32), zeros=True),
        aml.field("MREG", aml.Access.BYTE, ("", 160), ("MENB", 1), ("MINS", 1), ("MRMV", 1), ("MEJ0", 1), zeros=True),
        aml.mutex("MLCK"),
        _status(),
        _resources(),
        _locked("MPXM", aml.store(aml.name_string("MNOD"), local(0)), aml.release("MLCK"), aml.return_(local(0))),
        _locked("MEJC", _set("MEJ0", ONE), aml.release("MLCK")),
        _locked("MOST", _set("MOEV", argument(1)), _set("MOSC", argument(2)), aml.release("MLCK"), arguments=3),
        aml.method(
            "MTFY",
            *(aml.if_(aml.equal(argument(0), integer(n)), aml.notify(_name(n), argument(1))) for n in numbers),
            arguments=2,
        ),
        _scan(layout.memory_slots),
        *(_slot(number) for number in numbers),
    )


def event_method() -> bytes:
    """What the general-purpose event does, for the scope \\_GPE."""
    return aml.method(f"_E{EVENT:02X}", aml.call("\\_SB.MHPD.MSCN"))


def _set(name: str, value: bytes) -> bytes:
    return aml.store(value, aml.name_string(name))


def _locked(name: str, *terms: bytes, arguments: int = 1) -> bytes:
    """A method whose first argument is a slot, which it selects; `terms` release the mutex."""
    head = (aml.acquire("MLCK"), _set("MSEL", argument(0)))
    return aml.method(name, *head, *terms, arguments=arguments, serialized=True)


def _status() -> bytes:
    """MSTA (slot)."""
    return _locked(
        "MSTA",
        aml.store(ZERO, local(0)),
        aml.if_(aml.equal(aml.name_string("MENB"), ONE), aml.store(PRESENT, local(0))),
        aml.release("MLCK"),
        aml.return_(local(0)),
    )


def _resources() -> bytes:
    """MCRS (slot)."""

    def whole(high: str, low: str, target: bytes) -> bytes:
        upper = aml_code.shift_left(aml.name_string(high), integer(32))
        return aml_code.or_(upper, aml.name_string(low), target)

    template = aml.resource_template(aml_resources.device_memory())
    return _locked(
        "MCRS",
        aml.store(template, local(0)),
        aml_code.qword_field_of(local(0), MINIMUM_AT, "MMIN"),
        aml_code.qword_field_of(local(0), MAXIMUM_AT, "MMAX"),
        aml_code.qword_field_of(local(0), LENGTH_AT, "MLEN"),
        whole("MADH", "MADL", local(1)),
        whole("MSZH", "MSZL", local(2)),
        aml.release("MLCK"),
        _set("MMIN", local(1)),
        _set("MLEN", local(2)),
        aml_code.subtract(aml_code.add(local(1), local(2)), ONE, aml.name_string("MMAX")),
        aml.return_(local(0)),
    )


def _scan(slots: int) -> bytes:
    """MSCN: tell the system of each slot with news, and the registers that it was told."""

    def news(flag: str, value: bytes) -> bytes:
        return aml.if_(aml.equal(aml.name_string(flag), ONE), aml.call("MTFY", local(0), value), _set(flag, ONE))

    return aml.method(
        "MSCN",
        aml.acquire("MLCK"),
        aml.store(ZERO, local(0)),
        aml.while_(
            aml_code.less(local(0), integer(slots)),
            _set("MSEL", local(0)),
            news("MINS", DEVICE_CHECK),
            aml.else_(news("MRMV", EJECT_REQUEST)),
            aml_code.add(local(0), ONE, local(0)),
        ),
        aml.release("MLCK"),
        serialized=True,
    )


def _slot(number: int) -> bytes:
    this = integer(number)
    return aml.device(
        _name(number),
        aml.name("_HID", aml.eisa_id("PNP0C80")),
        aml.name("_UID", this),
        aml.method("_STA", aml.return_(aml.call("MSTA", this)), serialized=True),
        aml.method("_CRS", aml.return_(aml.call("MCRS", this)), serialized=True),
        aml.method("_PXM", aml.return_(aml.call("MPXM", this)), serialized=True),
        aml.method("_OST", aml.call("MOST", this, argument(0), argument(1)), arguments=3, serialized=True),
        aml.method("_EJ0", aml.call("MEJC", this), arguments=1),
    )
