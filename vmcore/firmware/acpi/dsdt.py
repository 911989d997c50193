"""The definition block (DSDT) of the PC: processors, PCI, ISA devices, sleep states.

Sources: ACPI specification 6.5, chapters 5, 6 and 7; plug-and-play ids from Microsoft's list of EISA ids.
"""

from __future__ import annotations

from vmcore.firmware.acpi import aml, cpu_hotplug, memory_hotplug, pci_hotplug
from vmcore.firmware.acpi.pci_root import pci_root
from vmcore.firmware.platform import ECAM_SIZE, PlatformLayout

__all__ = ["definition_block"]


def definition_block(layout: PlatformLayout) -> bytes:
    """The AML of the DSDT, without the table's header."""
    bus = pci_root(layout) if layout.pci else []
    devices = [*_processors(layout), *bus, *_isa_devices(layout), _motherboard(layout)]
    if layout.memory_slots:
        devices.append(memory_hotplug.container(layout))
    slots = pci_hotplug.slots(layout) if layout.pci_hotplug else b""
    return aml.scope("\\_SB", *devices) + slots + _events(layout) + _sleep_states(layout)


def _events(layout: PlatformLayout) -> bytes:
    """What general-purpose events do."""
    methods = {
        pci_hotplug.event_method: layout.pci_hotplug,
        cpu_hotplug.event_method: layout.cpu_hotplug,
        memory_hotplug.event_method: layout.memory_slots,
    }
    there = [method() for method, wanted in methods.items() if wanted]
    return aml.scope("\\_GPE", *there) if there else b""


def _sleep_states(layout: PlatformLayout) -> bytes:
    """What to write to SLP_TYP for each sleep state (7.4.2).  S3 needs a FACS that can be written."""
    types = {"\\_S3": layout.s3_sleep_type if layout.facs else None, "\\_S4": layout.s4_sleep_type}
    types["\\_S5"] = layout.s5_sleep_type
    return b"".join(
        aml.name(name, aml.package(aml.integer(value) for value in (kind, kind, 0, 0)))
        for name, kind in types.items()
        if kind is not None
    )


def _processors(layout: PlatformLayout) -> list[bytes]:
    """One processor device per vCPU; _UID is the processor's number in the MADT."""
    if layout.cpu_hotplug:
        return [cpu_hotplug.container(layout)]
    return [
        aml.device(
            f"C{number:03X}",
            aml.name("_HID", aml.string("ACPI0007")),
            aml.name("_UID", aml.integer(number)),
        )
        for number in range(layout.topology.total)
    ]


def _isa(path: str, hid: str, *resources: bytes, more: bytes = b"") -> bytes:
    """A device on the ISA bus with fixed resources."""
    current = aml.name("_CRS", aml.resource_template(*resources))
    return aml.device(path, aml.name("_HID", aml.eisa_id(hid)), more, current)


def _isa_devices(layout: PlatformLayout) -> list[bytes]:
    devices = [
        _isa("PIC", "PNP0000", aml.io(0x20, 2), aml.io(0xA0, 2), aml.io(0x4D0, 2), aml.irq(2)),
        _isa("PIT", "PNP0100", aml.io(0x40, 4), aml.irq(0)),
        _isa("SPKR", "PNP0800", aml.io(0x61, 1)),
        _isa("FPU", "PNP0C04", aml.io(0xF0, 1), aml.irq(13)),
    ]
    if layout.rtc:
        devices.append(_isa("RTC", "PNP0B00", aml.io(0x70, 2), aml.irq(8)))
    if layout.hpet:
        devices.append(_isa("HPET", "PNP0103", aml.memory32_fixed(layout.hpet, 0x400)))
    if layout.keyboard:
        devices.append(_isa("KBD", "PNP0303", aml.io(0x60, 1), aml.io(0x64, 1), aml.irq(1)))
        if layout.mouse:
            devices.append(_isa("MOU", "PNP0F13", aml.irq(12)))
    if layout.floppies:
        devices.append(_isa("FDC", "PNP0700", aml.io(0x3F0, 6), aml.io(0x3F7, 1), aml.irq(6), aml.dma(2)))
    if layout.pvpanic:
        # The id by which systems know QEMU's pvpanic.
        resources = aml.name("_CRS", aml.resource_template(aml.io(layout.pvpanic, 1)))
        devices.append(aml.device("PEVT", aml.name("_HID", aml.string("QEMU0001")), resources))
    for number, port in enumerate(layout.serial, 1):
        unique = aml.name("_UID", aml.integer(number))
        devices.append(_isa(f"COM{number}", "PNP0501", aml.io(port.base, 8), aml.irq(port.irq), more=unique))
    return devices


def _motherboard(layout: PlatformLayout) -> bytes:
    """Ports that belong to the board itself, so that nothing else is put there."""
    ports = [
        aml.io(layout.pm1_event & ~0x3F, 0x40),
        aml.io(layout.gpe0, layout.gpe0_length),
        aml.io(layout.smi_command, 2),
        aml.io(layout.bios_disk, 0x20),
    ]
    if layout.cpu_hotplug:
        ports.append(aml.io(layout.cpu_hotplug, cpu_hotplug.PORTS))
    if layout.ecam:
        ports.append(aml.memory32_fixed(layout.ecam, ECAM_SIZE))
    if layout.pci_hotplug:
        ports.append(aml.io(layout.pci_hotplug, pci_hotplug.PORTS))
    return _isa("MB", "PNP0C02", *ports)
