r"""AML for the slots of the PCI root bus, by the registers of `vmcore.devices.pci_hotplug`.

Sources: ACPI specification 6.5, 6.1.1 (_ADR), 6.1.12 (_SUN), 6.3.3 (_EJ0), 5.6.4.1 (GPE methods) and 5.6.6
(notifications); QEMU's specification "QEMU<->ACPI BIOS PCI hotplug interface" for the ports.

In `\_SB.PCI0`: the fields of the registers (PCIU to BNUM), a mutex around each use of BNUM, a device for each slot
whose content can go (S10 for slot 2, ...), and methods: PCEJ (bus, slot) ejects, DVNT (slots, value) notifies.
The event of the registers calls PCNT.
"""

from __future__ import annotations

from vmcore.firmware.acpi import aml
from vmcore.firmware.acpi.aml import argument, integer
from vmcore.firmware.acpi.aml_code import and_, shift_left
from vmcore.firmware.platform import PlatformLayout

__all__ = ["EVENT", "PORTS", "event_method", "slots"]

EVENT = 1
"""General-purpose event of the registers."""
PORTS = 0x14
"""Those that the code here uses."""
SLOTS = 32
ROOT_BUS = integer(0)
DEVICE_CHECK, EJECT_REQUEST = integer(1), integer(3)


def _name(slot: int) -> str:
    return f"S{slot << 3:02X}"


def slots(layout: PlatformLayout) -> bytes:
    """Everything that is inside of PCI0."""
    numbers = [slot for slot in range(SLOTS) if not layout.pci_fixed >> slot & 1]
    return aml.scope(
        "\\_SB.PCI0",
        aml.port_region("PCST", layout.pci_hotplug, PORTS),
        aml.field(
            "PCST", aml.Access.DWORD, ("PCIU", 32), ("PCID", 32), ("B0EJ", 32), ("", 32), ("BNUM", 32), zeros=True
        ),
        aml.mutex("BLCK"),
        aml.method(
            "PCEJ",
            aml.acquire("BLCK"),
            aml.store(argument(0), aml.name_string("BNUM")),
            aml.store(shift_left(integer(1), argument(1)), aml.name_string("B0EJ")),
            aml.release("BLCK"),
            arguments=2,
            serialized=True,
        ),
        *(_slot(number) for number in numbers),
        aml.method(
            "DVNT",
            *(
                aml.if_(and_(argument(0), integer(1 << number)), aml.notify(_name(number), argument(1)))
                for number in numbers
            ),
            arguments=2,
        ),
        aml.method(
            "PCNT",
            aml.acquire("BLCK"),
            aml.store(ROOT_BUS, aml.name_string("BNUM")),
            aml.call("DVNT", aml.name_string("PCIU"), DEVICE_CHECK),
            aml.call("DVNT", aml.name_string("PCID"), EJECT_REQUEST),
            aml.release("BLCK"),
            serialized=True,
        ),
    )


def event_method() -> bytes:
    """What the general-purpose event does, for the scope \\_GPE."""
    return aml.method(f"_E{EVENT:02X}", aml.call("\\_SB.PCI0.PCNT"))


def _slot(number: int) -> bytes:
    """A slot: the functions in it go together."""
    return aml.device(
        _name(number),
        aml.name("_ADR", integer(number << 16)),
        aml.name("_SUN", integer(number)),
        aml.method("_EJ0", aml.call("PCEJ", ROOT_BUS, integer(number)), arguments=1),
    )
