"""The PCI root of a board: its windows, its interrupt links and what pin leads to which.

Source: PCI Firmware Specification 3.0, section 4.1; ACPI specification 6.5, sections 6.2.13 (_PRT) and 6.2 (links).
"""

from __future__ import annotations

from collections.abc import Callable

from vmcore.firmware.acpi import aml, aml_code, aml_resources
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.units import GIB

__all__ = ["pci_root"]

CONFIGURATION_PORTS = 0xCF8
VIDEO = 0xA0000, 0xBFFFF
ROUTES = (5, 10, 11)
"""Interrupts that a link can be set to."""
PIIX, ICH9 = 1, 31
"""Devices of the south bridges."""
ICH9_OWN = 25
"""Devices from here on are the ICH9's own."""
FIRST_INPUT = 16
"""Of the IOAPIC, for the first of the ICH9's interrupts."""
PIRQ = 0x60
DISABLED = 0x80
ENABLED_AND_WORKING, WORKING = 0x0B, 0x09
HIGH_WINDOW = 32 * GIB
NUMBER_AT = 5
"""Offset of the first interrupt in an extended interrupt descriptor (table 6.55)."""


def pci_root(layout: PlatformLayout) -> list[bytes]:
    """Device PCI0 with the ISA bridge, and the links LNKA to LNKD (of an ICH9: to LNKH) beside it."""
    if layout.ich9:
        letters, place = "ABCDEFGH", ICH9 << 16
        fields = [*((f"PRQ{letter}", 8) for letter in "ABCD"), ("", 32), *((f"PRQ{letter}", 8) for letter in "EFGH")]
        ids = [aml.name("_HID", aml.eisa_id("PNP0A08")), aml.name("_CID", aml.eisa_id("PNP0A03"))]
        routes = _choice(_routes(layout, _ich9_link), _inputs(layout))
    else:
        letters, place = "ABCD", PIIX << 16
        fields = [(f"PRQ{letter}", 8) for letter in letters]
        ids = [aml.name("_HID", aml.eisa_id("PNP0A03"))]
        routes = aml.name("_PRT", aml.package(_routes(layout, _piix_link)))
    bits = sum(width for _, width in fields)
    bridge = aml.device(
        "ISA",
        aml.name("_ADR", aml.integer(place)),
        aml_code.region("PIRQ", aml_code.PCI_CONFIG, PIRQ, bits // 8),
        aml_code.field("PIRQ", fields),
    )
    current = aml.name("_CRS", aml.resource_template(*_windows(layout)))
    root = aml.device("PCI0", *ids, aml.name("_UID", aml.integer(0)), current, routes, bridge)
    return [root, *(_link(number, letter) for number, letter in enumerate(letters))]


def _piix_link(slot: int, pin: int) -> str:
    """Pins of neighbouring slots begin one link later."""
    return "ABCD"[slot - 1 + pin & 3]


def _ich9_link(slot: int, pin: int) -> str:
    """The ICH9's own functions use links A to D, all others E to H in turn."""
    return "ABCD"[pin] if slot >= ICH9_OWN else "EFGH"[slot + pin & 3]


def _choice(links: list[bytes], inputs: list[bytes]) -> bytes:
    """Routes by links with 8259s, and to the inputs of the IOAPIC once the system says that it uses that (5.8.1)."""
    return b"".join(
        (
            aml.name("PRTP", aml.package(links)),
            aml.name("PRTA", aml.package(inputs)),
            aml.name("PICF", aml.integer(0)),
            aml.method("\\_PIC", aml_code.store(aml_code.ARGUMENT_0, aml.name_string("\\_SB.PCI0.PICF")), arguments=1),
            aml.method(
                "_PRT",
                aml_code.if_(aml.name_string("PICF"), aml.return_(aml.name_string("PRTA"))),
                aml.return_(aml.name_string("PRTP")),
            ),
        )
    )


def _inputs(layout: PlatformLayout) -> list[bytes]:
    """Each link's input of the IOAPIC, from 16 on."""
    return [
        aml.package(
            [
                aml.integer(slot << 16 | 0xFFFF),
                aml.integer(pin),
                aml.integer(0),
                aml.integer(FIRST_INPUT + "ABCDEFGH".index(_ich9_link(slot, pin))),
            ]
        )
        for slot in range(1, 32)
        for pin in range(4)
    ]


def _windows(layout: PlatformLayout) -> list[bytes]:
    windows = [
        aml_resources.bus_numbers(0, 0xFF),
        aml.io(CONFIGURATION_PORTS, 8),
        aml_resources.bus_ports(0, CONFIGURATION_PORTS - 1),
        aml_resources.bus_ports(CONFIGURATION_PORTS + 8, 0xFFFF),
        aml_resources.dword_memory(*VIDEO, cacheable=True),
        aml_resources.dword_memory(layout.pci_memory, layout.io_apic - 1),
    ]
    first = -(-layout.high_end // GIB) * GIB
    last = min(first + HIGH_WINDOW, 1 << layout.physical_bits) - 1
    if layout.long_mode and last > first:
        windows.append(aml_resources.qword_memory(first, last))
    return windows


def _routes(layout: PlatformLayout, link_of: Callable[[int, int], str]) -> list[bytes]:
    """For each slot and pin the link."""
    routes = []
    for slot in range(1, 32):
        for pin in range(4):
            address = aml.integer(slot << 16 | 0xFFFF)
            link = aml.name_string(f"LNK{link_of(slot, pin)}")
            if not layout.ich9 and (slot, pin) == (PIIX, 0):  # Power management has the system control interrupt.
                routes.append(aml.package([address, aml.integer(pin), aml.integer(0), aml.integer(layout.sci_irq)]))
            else:
                routes.append(aml.package([address, aml.integer(pin), link, aml.integer(0)]))
    return routes


def _link(number: int, letter: str) -> bytes:
    register = aml.name_string(f"\\_SB.PCI0.ISA.PRQ{letter}")
    disabled = aml.integer(DISABLED)
    template = aml.resource_template(aml_resources.interrupts(0))
    return aml.device(
        f"LNK{letter}",
        aml.name("_HID", aml.eisa_id("PNP0C0F")),
        aml.name("_UID", aml.integer(number + 1)),
        aml.name("_PRS", aml.resource_template(aml_resources.interrupts(*ROUTES))),
        aml.method(
            "_STA",
            aml_code.if_(aml_code.and_(register, disabled), aml.return_(aml.integer(WORKING))),
            aml.return_(aml.integer(ENABLED_AND_WORKING)),
        ),
        aml.method("_DIS", aml_code.or_(register, disabled, register)),
        aml.method(
            "_CRS",
            aml_code.store(template, aml_code.LOCAL_1),
            aml_code.dword_field_of(aml_code.LOCAL_1, NUMBER_AT, "NUMB"),
            aml_code.and_(register, aml.integer(0x8F), aml_code.LOCAL_0),
            aml_code.if_(
                aml_code.and_(aml_code.LOCAL_0, disabled),
                aml_code.store(aml.integer(0), aml_code.LOCAL_0),
            ),
            aml_code.store(aml_code.LOCAL_0, aml.name_string("NUMB")),
            aml.return_(aml_code.LOCAL_1),
            serialized=True,
        ),
        aml.method(
            "_SRS",
            aml_code.dword_field_of(aml_code.ARGUMENT_0, NUMBER_AT, "NUMB"),
            aml_code.store(aml.name_string("NUMB"), register),
            arguments=1,
            serialized=True,
        ),
    )
