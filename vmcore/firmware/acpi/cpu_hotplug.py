r"""AML for vCPUs: processor devices that come and go, by the port block of `vmcore.devices.cpu_hotplug`.

Sources: ACPI specification 6.5, 8.4 (processor devices), 6.2.10 (_MAT), 6.2.15 (_PXM), 6.3 (_EJ0, _OST, _STA),
5.6.4.1 (GPE methods) and 5.6.6 (notifications); for the ports QEMU's specification "QEMU<->ACPI BIOS CPU hotplug
interface".

In `\_SB.CPUS`: the fields of the port block (CPEN to CDAT), a mutex around each use of its selector, the devices
(C000 ...), and methods by place: CSTA gives the status, CEJC ejects, COST passes on what the system says, CTFY
notifies.
The event of the port block calls CSCN, which looks for places with news until there are none.
"""

from __future__ import annotations

from vmcore.firmware.acpi import aml
from vmcore.firmware.acpi.aml import argument, integer, local
from vmcore.firmware.acpi.tables import CPU_ENABLED, local_apic
from vmcore.firmware.platform import PlatformLayout

__all__ = ["EVENT", "container", "event_method"]

EVENT = 2
"""General-purpose event of the port block."""

PORTS = 12
NEXT, OST_EVENT, OST_STATUS = integer(0), integer(1), integer(2)
DEVICE_CHECK, EJECT_REQUEST = integer(1), integer(3)
PRESENT = integer(0xF)
"""_STA: present, enabled, shown, working."""
ONE, ZERO = integer(1), integer(0)


def _name(number: int) -> str:
    return f"C{number:03X}"


def container(layout: PlatformLayout) -> bytes:
    """The device CPUS with everything of the vCPUs in it."""
    numbers = range(layout.topology.total)
    return aml.device(
        "CPUS",
        aml.name("_HID", aml.string("ACPI0010")),
        aml.name("_CID", aml.eisa_id("PNP0A05")),
        aml.port_region("PRST", layout.cpu_hotplug, PORTS),
        aml.field(
            "PRST",
            aml.Access.BYTE,
            ("", 32),
            *(("CPEN", 1), ("CINS", 1), ("CRMV", 1), ("CEJ0", 1), ("", 4), ("CCMD", 8)),
            zeros=True,
        ),
        aml.field("PRST", aml.Access.DWORD, ("CSEL", 32), ("", 32), ("CDAT", 32)),
        aml.mutex("CPLK"),
        # Zero in the selector turns the block to its modern form.
        aml.method("_INI", aml.store(ZERO, aml.name_string("CSEL")), serialized=True),
        _notify(layout),
        _status(),
        _eject(),
        _scan(),
        _tell(),
        *(_processor(layout, number) for number in numbers),
    )


def event_method() -> bytes:
    """What the general-purpose event does, for the scope \\_GPE."""
    return aml.method(f"_E{EVENT:02X}", aml.call("\\_SB.CPUS.CSCN"))


def _set(name: str, value: bytes) -> bytes:
    return aml.store(value, aml.name_string(name))


def _notify(layout: PlatformLayout) -> bytes:
    """CTFY (number, value)."""
    return aml.method(
        "CTFY",
        *(
            aml.if_(aml.equal(argument(0), integer(number)), aml.notify(_name(number), argument(1)))
            for number in range(layout.topology.total)
        ),
        arguments=2,
    )


def _status() -> bytes:
    """CSTA (number)."""
    return aml.method(
        "CSTA",
        aml.acquire("CPLK"),
        _set("CSEL", argument(0)),
        aml.store(ZERO, local(0)),
        aml.if_(aml.equal(aml.name_string("CPEN"), ONE), aml.store(PRESENT, local(0))),
        aml.release("CPLK"),
        aml.return_(local(0)),
        arguments=1,
        serialized=True,
    )


def _eject() -> bytes:
    """CEJC (number)."""
    return aml.method(
        "CEJC",
        aml.acquire("CPLK"),
        _set("CSEL", argument(0)),
        _set("CEJ0", ONE),
        aml.release("CPLK"),
        arguments=1,
        serialized=True,
    )


def _tell() -> bytes:
    """COST (number, event, status)."""
    return aml.method(
        "COST",
        aml.acquire("CPLK"),
        _set("CSEL", argument(0)),
        _set("CCMD", OST_EVENT),
        _set("CDAT", argument(1)),
        _set("CCMD", OST_STATUS),
        _set("CDAT", argument(2)),
        aml.release("CPLK"),
        arguments=3,
        serialized=True,
    )


def _scan() -> bytes:
    """CSCN: tell the system of each place with news, and the port block that it was told."""

    def news(flag: str, value: bytes) -> bytes:
        return aml.if_(
            aml.equal(aml.name_string(flag), ONE),
            aml.call("CTFY", aml.name_string("CDAT"), value),
            _set(flag, ONE),
            aml.store(ONE, local(0)),
        )

    return aml.method(
        "CSCN",
        aml.acquire("CPLK"),
        aml.store(ONE, local(0)),
        aml.while_(
            aml.equal(local(0), ONE),
            aml.store(ZERO, local(0)),
            _set("CCMD", NEXT),
            news("CINS", DEVICE_CHECK),
            aml.else_(news("CRMV", EJECT_REQUEST)),
        ),
        aml.release("CPLK"),
        serialized=True,
    )


def _processor(layout: PlatformLayout, number: int) -> bytes:
    """One processor device.  _UID is the processor's number in the MADT; the first one cannot be ejected."""
    this = integer(number)
    terms = [
        aml.name("_HID", aml.string("ACPI0007")),
        aml.name("_UID", this),
        aml.method("_STA", aml.return_(aml.call("CSTA", this)), serialized=True),
        aml.name("_MAT", aml.buffer(local_apic(number, layout.topology.apic_id(number), CPU_ENABLED))),
        aml.method("_OST", aml.call("COST", this, argument(0), argument(1)), arguments=3, serialized=True),
    ]
    if layout.numa is not None:
        node = dict(layout.numa.cpus)[layout.topology.apic_id(number)]
        terms.append(aml.name("_PXM", integer(node)))
    if number:
        terms.append(aml.method("_EJ0", aml.call("CEJC", this), arguments=1))
    return aml.device(_name(number), *terms)
