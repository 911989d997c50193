"""The numbers of a PC that firmware tells the operating system: where things are and how much there is.

A board owns these numbers: it builds its devices and this layout from the same constants, and the loaders, ACPI tables
and BIOS take them from here.  The defaults are those of the `pc` board; they follow the PC/AT (IBM PC AT Technical
Reference, 1985) and, for power management, the block at 0x600 which QEMU's `pc` gives to the PIIX4 function.
"""

from __future__ import annotations

from enum import IntEnum

from attrs import Factory, field, frozen

from vmcore.engine.topology import CpuTopology
from vmcore.firmware.numa import NumaLayout
from vmcore.model.errors import ConfigError
from vmcore.model.units import GIB, KIB, MIB

__all__ = [
    "MemoryKind",
    "MemoryRange",
    "PlatformLayout",
    "SerialPort",
]

EBDA_START = 0x9FC00
LEGACY_START = 0xA0000
FIRMWARE_START = 0xE0000
HIGH_MEMORY = 0x100000
FOUR_GIB = 1 << 32
ROM_ALIAS = 0xFFFF0000
LOWEST_PCI_MEMORY = 0x8000_0000
ECAM_SIZE = 256 * MIB
"""One MiB for each of 256 buses."""


class MemoryKind(IntEnum):
    """Address range types (ACPI 6.5, table 15.4)."""

    RAM = 1
    RESERVED = 2
    ACPI = 3
    NVS = 4


@frozen
class MemoryRange:
    """One line of the memory map: [start, start + size)."""

    start: int
    size: int
    kind: MemoryKind

    @property
    def end(self) -> int:
        """First address behind the range."""
        return self.start + self.size


@frozen
class SerialPort:
    """A 16550 UART at `base` (eight ports) on ISA interrupt `irq`."""

    base: int
    irq: int


@frozen(kw_only=True)
class PlatformLayout:
    """What the machine has.  Sizes in bytes, ports and addresses as the guest sees them."""

    uuid: bytes = bytes(16)
    """The machine's UUID, big-endian; zeros where it has none."""
    memory: int = 128 * MIB
    """RAM in all.  It lies from 0 to at most `low_ram_end`; the rest continues at 4 GiB."""
    low_ram_end: int = 0xC000_0000
    cpus: int = 1
    """vCPUs that the machine begins with."""
    topology: CpuTopology = field(default=Factory(lambda self: CpuTopology(cores=max(self.cpus, 1)), takes_self=True))
    """The places for vCPUs; their local APIC ids follow from it."""
    present: int = field(default=Factory(lambda self: (1 << max(self.cpus, 0)) - 1, takes_self=True))
    """The places with a vCPU in them, as a bit mask."""
    long_mode: bool = True
    """Whether the CPU model has 64-bit mode."""
    physical_bits: int = 40
    """Width of a physical address (CPUID 80000008h), for the memory type masks."""

    local_apic: int = 0xFEE0_0000
    io_apic: int = 0xFEC0_0000
    io_apic_id: int = 0
    hpet: int = 0xFED0_0000
    """High precision event timers; 0 where there are none."""

    pm1_event: int = 0x600
    pm1_control: int = 0x604
    pm_timer: int = 0x608
    pm_timer_bits: int = 24
    gpe0: int = 0xAFE0
    gpe0_length: int = 4
    smi_command: int = 0xB2
    acpi_enable: int = 0xF1
    acpi_disable: int = 0xF0
    cpu_hotplug: int = 0xAF00
    """First port of the block by which vCPUs come and go; 0 where the board has none."""
    pci_hotplug: int = 0
    """First port of the registers by which PCI devices come and go; 0 where the board has none."""
    pci_fixed: int = 0
    """Slots of the root bus whose devices cannot go, as a bit mask."""
    memory_hotplug: int = 0x0A00
    """First port of the registers by which memory modules come and go."""
    memory_slots: int = 0
    """Slots for memory modules."""
    max_memory: int = 0
    """Bytes of RAM with memory modules in the slots, at most."""
    sci_irq: int = 9
    s5_sleep_type: int = 0
    """SLP_TYP value of PM1 control that means S5 (power-off)."""
    s3_sleep_type: int | None = 1
    """The value that means S3 (suspend to RAM), or None where there is no S3."""
    s4_sleep_type: int | None = 2
    """The value that means S4 (suspend to disk), or None where there is no S4."""
    reset_register: int = 0xCF9
    reset_value: int = 0x06

    serial: tuple[SerialPort, ...] = (SerialPort(0x3F8, 4), SerialPort(0x2F8, 3))
    keyboard: bool = True
    """An 8042 with a keyboard (and `mouse` on its auxiliary port)."""
    mouse: bool = True
    floppies: bool = False
    """A floppy controller."""
    rtc: bool = True
    text_screen: bool = False
    """80x25 text memory at 0xB8000 with a VGA behind it."""
    pvpanic: int = 0
    """The port of a panic notifier; 0 where there is none."""
    bios_disk: int = 0x0D00
    """First port of the disk device through which the built-in BIOS reads and writes."""

    pci: bool = True
    """Whether there is a PCI bus."""
    numa: NumaLayout | None = None
    """NUMA nodes, None where the machine has none."""
    ich9: bool = False
    """Whether its south bridge is an ICH9, with eight interrupts and inputs of the IOAPIC for them, and not a PIIX."""
    ecam: int = 0
    """Where PCI configuration space shows in memory; 0: nowhere."""

    acpi: bool = True
    """Whether ACPI (and SMBIOS) tables are given to the guest."""
    acpi_size: int = field(default=64 * KIB)
    """RAM at the top of low memory that holds them."""

    def __attrs_post_init__(self) -> None:
        if not 64 * KIB <= self.memory <= 1 << 46 or self.memory % 4096:
            raise ConfigError("memory", self.memory, "whole 4 KiB pages, from 64 KiB to 64 TiB")
        if self.low_ram_end not in (0x8000_0000, 0xC000_0000, 0xE000_0000):
            raise ConfigError("low_ram_end", self.low_ram_end, "2, 3 or 3.5 GiB (one memory type range has the rest)")
        if not 1 <= self.cpus <= 255:
            raise ConfigError("cpus", self.cpus, "1 to 255")
        if not self.cpus <= self.topology.total <= 255:
            raise ConfigError("topology", self.topology, f"{self.cpus} to 255 places")
        if self.acpi_size % 4096 or self.acpi_size < 8192:
            raise ConfigError("acpi_size", self.acpi_size, "whole 4 KiB pages, at least two")

    @property
    def low_ram(self) -> int:
        """End of the RAM that starts at 0."""
        return min(self.memory, self.low_ram_end)

    @property
    def high_ram(self) -> int:
        """Bytes of RAM from 4 GiB upwards."""
        return self.memory - self.low_ram

    @property
    def module_memory(self) -> tuple[int, int]:
        """Where memory modules can be: first address, and bytes.  There is room to align each to a GiB."""
        base = -(-(FOUR_GIB + self.high_ram) // GIB) * GIB
        return base, self.max_memory - self.memory + self.memory_slots * GIB if self.memory_slots else 0

    @property
    def high_end(self) -> int:
        """First address above 4 GiB behind RAM and the room for memory modules."""
        base, size = self.module_memory
        return base + size if size else FOUR_GIB + self.high_ram

    @property
    def pci_memory(self) -> int:
        """First address of the window for PCI below 4 GiB, which ends at the IOAPIC."""
        return max(self.low_ram, LOWEST_PCI_MEMORY, self.ecam + ECAM_SIZE if self.ecam else 0)

    @property
    def conventional_end(self) -> int:
        """End of conventional memory, below the extended BIOS data area."""
        return min(self.memory, EBDA_START)

    @property
    def acpi_base(self) -> int:
        """Where the ACPI tables lie: at the top of low RAM, or in the firmware segment of a machine with little RAM."""
        if self.low_ram >= 4 * MIB:
            return self.low_ram - self.acpi_size
        return FIRMWARE_START

    @property
    def facs(self) -> int:
        """Where the firmware ACPI control structure lies: 0 where it is in ROM, or there are no tables.  Where the
        system sleeps it writes there how to wake it.
        """
        return self.acpi_base if self.acpi and self.acpi_base > HIGH_MEMORY else 0

    def memory_map(self) -> tuple[MemoryRange, ...]:
        """The E820 map, in address order.  The first ACPI page is NVS (it holds the FACS, which both sides write)."""
        ranges = [MemoryRange(0, self.conventional_end, MemoryKind.RAM)]
        if self.memory > EBDA_START:
            ranges.append(MemoryRange(EBDA_START, LEGACY_START - EBDA_START, MemoryKind.RESERVED))
        ranges.append(MemoryRange(FIRMWARE_START, HIGH_MEMORY - FIRMWARE_START, MemoryKind.RESERVED))
        if self.low_ram > HIGH_MEMORY:
            top = self.low_ram
            tables = self.acpi and self.acpi_base > HIGH_MEMORY
            if tables:
                top = self.acpi_base
            ranges.append(MemoryRange(HIGH_MEMORY, top - HIGH_MEMORY, MemoryKind.RAM))
            if tables:
                ranges.append(MemoryRange(top, 4096, MemoryKind.NVS))
                ranges.append(MemoryRange(top + 4096, self.acpi_size - 4096, MemoryKind.ACPI))
        if self.ecam:
            ranges.append(MemoryRange(self.ecam, ECAM_SIZE, MemoryKind.RESERVED))
        ranges.append(MemoryRange(ROM_ALIAS, FOUR_GIB - ROM_ALIAS, MemoryKind.RESERVED))
        if self.high_ram:
            ranges.append(MemoryRange(FOUR_GIB, self.high_ram, MemoryKind.RAM))
        return tuple(ranges)
