"""What a loader hands to the machine: bytes to place in memory and the state of the first vCPU.

Everything here is plain data.  The machine writes the segments (again at each reset of the machine), applies the state
to vCPU 0 and leaves the other vCPUs waiting for a start-up IPI, as firmware leaves them (Intel SDM vol. 3, 9.4).
"""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from vmcore.firmware.platform import MemoryRange

__all__ = [
    "GENERAL_REGISTERS",
    "BootDisk",
    "BootImage",
    "CpuMode",
    "DescriptorTable",
    "InitialState",
    "LoadSegment",
    "SegmentState",
]

GENERAL_REGISTERS = (
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
)  # fmt: skip

RESET_VECTOR = 0xFFFF0
"""Where the processor's reset vector, below 4 GiB, shows in the first megabyte."""

# Control register bits (SDM vol. 3, 2.5) and EFER bits (2.2.1) that loaders set.
CR0_PE = 1 << 0
CR0_ET = 1 << 4
CR0_PG = 1 << 31
CR4_PAE = 1 << 5
EFER_LME = 1 << 8
EFER_LMA = 1 << 10


class CpuMode(StrEnum):
    """The mode in which the first instruction runs; the registers say the same, this is for people and for checks."""

    REAL = "real"
    PROTECTED = "protected"
    LONG = "long"


@frozen
class SegmentState:
    """One segment register with its hidden part.

    limit: in bytes, inclusive.  attributes: the access rights in the layout of descriptor bits 40-55 (SDM vol. 3,
    3.4.5): 0-3 type, 4 S, 5-6 DPL, 7 P, 12 AVL, 13 L, 14 D/B, 15 G.  The limit is already scaled: G only records it.
    """

    selector: int
    base: int = 0
    limit: int = 0xFFFF
    attributes: int = 0x93


@frozen
class DescriptorTable:
    """GDTR or IDTR."""

    base: int = 0
    limit: int = 0xFFFF


REAL_DATA = SegmentState(0)
UNUSED_LDT = SegmentState(0, attributes=0x82)
UNUSED_TASK = SegmentState(0, attributes=0x8B)


@frozen(kw_only=True)
class InitialState:
    """Registers of the first vCPU.  Whatever is not named here has its value after power-up (SDM vol. 3, table 9-1)."""

    mode: CpuMode
    rip: int
    rax: int = 0
    rcx: int = 0
    rdx: int = 0
    rbx: int = 0
    rsp: int = 0
    rbp: int = 0
    rsi: int = 0
    rdi: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rflags: int = 0x2
    cr0: int = CR0_ET
    cr3: int = 0
    cr4: int = 0
    efer: int = 0
    cs: SegmentState
    ds: SegmentState = REAL_DATA
    es: SegmentState = REAL_DATA
    fs: SegmentState = REAL_DATA
    gs: SegmentState = REAL_DATA
    ss: SegmentState = REAL_DATA
    ldtr: SegmentState = UNUSED_LDT
    tr: SegmentState = UNUSED_TASK
    gdtr: DescriptorTable = DescriptorTable()
    idtr: DescriptorTable = DescriptorTable()

    def general(self) -> dict[str, int]:
        """The sixteen general registers by name, in encoding order."""
        return {name: getattr(self, name) for name in GENERAL_REGISTERS}

    def segments(self) -> dict[str, SegmentState]:
        """The segment registers, LDTR and TR by name."""
        return {name: getattr(self, name) for name in ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")}


@frozen
class LoadSegment:
    """Bytes at a physical address.

    rom: the range behaves as ROM afterwards (guest writes are lost).  clear: so many bytes behind the data are zero;
    this matters where the machine is reset and its RAM holds what the guest left there.
    """

    address: int
    data: bytes = field(repr=lambda data: f"<{len(data):#x} bytes>")
    name: str
    rom: bool = False
    clear: int = 0

    @property
    def end(self) -> int:
        """First address behind the segment."""
        return self.address + len(self.data)


@frozen
class BootDisk:
    """A disk that belongs to the boot image: `unit` is its BIOS drive number (0x00 floppy, 0x80 first hard disk)."""

    unit: int
    data: bytes = field(repr=lambda data: f"<{len(data):#x} bytes>")
    read_only: bool = False


@frozen(kw_only=True)
class BootImage:
    """A loaded guest.

    kind: how it was loaded ("linux 64-bit", "multiboot", ...), for people.
    segments: disjoint, in address order.
    cpu: state of vCPU 0.
    memory_map: what the guest is told about physical memory (E820 or its equivalent).
    msrs: (index, value) for every vCPU, as firmware programs them before it starts an operating system (memory types,
        mainly); those that the CPU model does not have are left out by the machine.
    virtual_wire: LINT0 of the first local APIC is ExtINT and LINT1 NMI with the APIC software-enabled (MultiProcessor
        Specification 1.4, 3.6.2.2), as firmware leaves it; without it the 8259's INTR would not reach the processor.
    port_writes: (port, value, size) in this order: what firmware would have done to devices before it starts a guest.
    disks: units for the BIOS's disk device.
    """

    kind: str
    segments: tuple[LoadSegment, ...]
    cpu: InitialState
    memory_map: tuple[MemoryRange, ...] = ()
    msrs: tuple[tuple[int, int], ...] = ()
    virtual_wire: bool = True
    port_writes: tuple[tuple[int, int, int], ...] = ()
    disks: tuple[BootDisk, ...] = ()

    @property
    def has_firmware(self) -> bool:
        """Whether there is a program at the reset vector, to which the guest's firmware tables may refer."""
        return any(s.rom and s.address <= RESET_VECTOR < s.end for s in self.segments)
