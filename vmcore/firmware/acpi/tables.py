"""The fixed ACPI tables: RSDP, RSDT, XSDT, FADT, MADT, FACS.

Source: ACPI specification 6.5, section 5.2 (each function names its own part).  The FADT is of revision 4: what later
revisions add concerns machines without the legacy hardware that this one has.
"""

from __future__ import annotations

import struct

from attrs import frozen

from vmcore.firmware.platform import PlatformLayout

__all__ = ["GenericAddress", "facs", "fadt", "hpet", "local_apic", "madt", "mcfg", "rsdp", "rsdt", "table", "xsdt"]

OEM_ID = b"VMCORE"
OEM_TABLE_ID = b"VMCOREPC"
OEM_REVISION = 1
CREATOR_ID = b"VMCR"
CREATOR_REVISION = 1
HEADER_SIZE = 36
CHECKSUM = 9
"""Offset of the checksum in a header."""

# (offset, bytes) of pointers to other tables, for those who move them; (offset, bytes covered) of checksums.
FADT_POINTERS = ((36, 4), (40, 4), (140, 8))
RSDP_POINTERS = ((16, 4), (24, 8))
RSDP_CHECKSUMS = ((8, 20), (32, 36))

SYSTEM_IO = 1
BYTE_ACCESS = 1

# FADT flags (table 5.10).
WBINVD = 1 << 0
PROC_C1 = 1 << 2
SLP_BUTTON = 1 << 5
RTC_S4 = 1 << 7
TMR_VAL_EXT = 1 << 8
RESET_REG_SUP = 1 << 10

# IAPC_BOOT_ARCH flags (table 5.11).
LEGACY_DEVICES = 1 << 0
HAS_8042 = 1 << 1
VGA_NOT_PRESENT = 1 << 2
RTC_NOT_PRESENT = 1 << 5

# MADT (table 5.19 and those after it).
PCAT_COMPAT = 1
CPU_ENABLED, CPU_ONLINE_CAPABLE = 1, 2
ACTIVE_HIGH_LEVEL = 0x0D
CONFORMING = 0x00
EVERY_PROCESSOR = 0xFF


def _checksum(data: bytes | bytearray) -> int:
    """The byte that makes the sum of all bytes zero."""
    return -sum(data) & 0xFF


def table(signature: bytes, revision: int, body: bytes, *, table_id: bytes = OEM_TABLE_ID) -> bytes:
    """A system description table: header (5.2.6) and body."""
    head = struct.pack(
        "<4sIBB6s8sI4sI",
        signature,
        HEADER_SIZE + len(body),
        revision,
        0,
        OEM_ID,
        table_id,
        OEM_REVISION,
        CREATOR_ID,
        CREATOR_REVISION,
    )
    whole = bytearray(head + body)
    whole[9] = _checksum(whole)
    return bytes(whole)


def rsdp(rsdt_address: int, xsdt_address: int) -> bytes:
    """Root system description pointer, revision 2 (5.2.5.3)."""
    first = bytearray(struct.pack("<8sB6sBI", b"RSD PTR ", 0, OEM_ID, 2, rsdt_address))
    first[8] = _checksum(first)
    whole = bytearray(bytes(first) + struct.pack("<IQB3x", 36, xsdt_address, 0))
    whole[32] = _checksum(whole)
    return bytes(whole)


def rsdt(addresses: list[int]) -> bytes:
    """Root table with 32-bit addresses (5.2.7)."""
    return table(b"RSDT", 1, struct.pack(f"<{len(addresses)}I", *addresses))


def xsdt(addresses: list[int]) -> bytes:
    """Root table with 64-bit addresses (5.2.8)."""
    return table(b"XSDT", 1, struct.pack(f"<{len(addresses)}Q", *addresses))


def facs() -> bytes:
    """Firmware ACPI control structure, version 2 (5.2.10); it has no checksum."""
    return struct.pack("<4sIIIIIQB3xI24x", b"FACS", 64, 0, 0, 0, 0, 0, 2, 0)


@frozen
class GenericAddress:
    """Generic address structure (5.2.3.2) for a port; all zero means that there is none."""

    port: int = 0
    bits: int = 0

    def pack(self) -> bytes:
        if not self.bits:
            return bytes(12)
        return struct.pack("<BBBBQ", SYSTEM_IO, self.bits, 0, BYTE_ACCESS if self.bits == 8 else 0, self.port)


def fadt(layout: PlatformLayout, facs_address: int, dsdt_address: int) -> bytes:
    """Fixed ACPI description table, revision 4 (5.2.9)."""
    flags = WBINVD | PROC_C1 | SLP_BUTTON | RTC_S4 | RESET_REG_SUP
    if layout.pm_timer_bits == 32:
        flags |= TMR_VAL_EXT
    boot = LEGACY_DEVICES
    if layout.keyboard:
        boot |= HAS_8042
    if not layout.text_screen:
        boot |= VGA_NOT_PRESENT
    if not layout.rtc:
        boot |= RTC_NOT_PRESENT
    body = struct.pack(
        "<IIBBHIBBBBIIIIIIIIBBBBBBBBHHHHBBBBBHBI",
        facs_address,
        dsdt_address,
        0,  # reserved (INT_MODEL in ACPI 1.0)
        1,  # Preferred_PM_Profile: desktop
        layout.sci_irq,
        layout.smi_command,
        layout.acpi_enable,
        layout.acpi_disable,
        0,  # S4BIOS_REQ
        0,  # PSTATE_CNT
        layout.pm1_event,
        0,  # PM1b_EVT_BLK
        layout.pm1_control,
        0,  # PM1b_CNT_BLK
        0,  # PM2_CNT_BLK
        layout.pm_timer,
        layout.gpe0,
        0,  # GPE1_BLK
        4,  # PM1_EVT_LEN
        2,  # PM1_CNT_LEN
        0,  # PM2_CNT_LEN
        4,  # PM_TMR_LEN
        layout.gpe0_length,
        0,  # GPE1_BLK_LEN
        0,  # GPE1_BASE
        0,  # CST_CNT
        0xFFF,  # P_LVL2_LAT: no C2
        0xFFF,  # P_LVL3_LAT: no C3
        0,  # FLUSH_SIZE
        0,  # FLUSH_STRIDE
        0,  # DUTY_OFFSET
        0,  # DUTY_WIDTH
        0,  # DAY_ALRM
        0,  # MON_ALRM
        0x32 if layout.rtc else 0,  # CENTURY: CMOS byte
        boot,
        0,  # reserved
        flags,
    )
    body += GenericAddress(layout.reset_register, 8).pack()
    body += struct.pack("<BHB", layout.reset_value, 0, 0)  # RESET_VALUE, ARM_BOOT_ARCH, FADT minor version
    body += struct.pack("<QQ", 0, dsdt_address)  # X_FIRMWARE_CTRL must be zero while FIRMWARE_CTRL is not
    body += GenericAddress(layout.pm1_event, 32).pack()
    body += GenericAddress().pack()
    body += GenericAddress(layout.pm1_control, 16).pack()
    body += GenericAddress().pack()
    body += GenericAddress().pack()
    body += GenericAddress(layout.pm_timer, 32).pack()
    body += GenericAddress(layout.gpe0, layout.gpe0_length * 8).pack()
    body += GenericAddress().pack()
    return table(b"FACP", 4, body)


def local_apic(number: int, apic_id: int, flags: int) -> bytes:
    """Processor local APIC structure (5.2.12.2)."""
    return struct.pack("<BBBBI", 0, 8, number, apic_id, flags)


def hpet(layout: PlatformLayout) -> bytes:
    """Where the event timers are (IA-PC HPET specification 1.0a, 3.2.4): the first word of their capabilities, their
    address, the fewest ticks between two interrupts.
    """
    return table(b"HPET", 1, struct.pack("<IBBBBQBHB", 0x8086_A201, 0, 0, 0, 0, layout.hpet, 0, 100, 0))


def mcfg(layout: PlatformLayout) -> bytes:
    """Where PCI configuration space shows in memory (PCI Firmware Specification 3.0, table 4-2)."""
    return table(b"MCFG", 1, struct.pack("<8xQHBB4x", layout.ecam, 0, 0, 255))


def madt(layout: PlatformLayout) -> bytes:
    """Multiple APIC description table, revision 5 (5.2.12).

    A place without a vCPU is capable of coming online, not enabled.
    """
    body = struct.pack("<II", layout.local_apic, PCAT_COMPAT)
    for number in range(layout.topology.total):
        flags = CPU_ENABLED if layout.present >> number & 1 else CPU_ONLINE_CAPABLE
        body += local_apic(number, layout.topology.apic_id(number), flags)
    body += struct.pack("<BBBBII", 1, 12, layout.io_apic_id, 0, layout.io_apic, 0)
    # The timer's interrupt arrives at input 2, where on a PC the cascade would be.
    body += struct.pack("<BBBBIH", 2, 10, 0, 0, 2, CONFORMING)
    body += struct.pack("<BBBBIH", 2, 10, 0, layout.sci_irq, layout.sci_irq, ACTIVE_HIGH_LEVEL)
    body += struct.pack("<BBBHB", 4, 6, EVERY_PROCESSOR, CONFORMING, 1)
    return table(b"APIC", 5, body)
