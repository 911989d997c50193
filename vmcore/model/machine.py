"""Types of the management model around targets, vCPUs, machines, NUMA and memory.

Where the documents and later versions of QEMU differ, members of both are here; what was dropped later is marked
deprecated.  Source: the management documents, "Machines"; members that came later from the schema of QEMU 7.2.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from attrs import frozen

from vmcore.model.events import Event, event
from vmcore.model.wire import (
    DEPRECATED,
    Int,
    Named,
    Size,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    branch,
    enum,
    struct,
    union,
)

__all__ = [
    "BalloonChange",
    "BalloonInfo",
    "CpuInfo",
    "CpuInfoArch",
    "CpuInfoFast",
    "CpuInfoFastS390",
    "CpuInfoMIPS",
    "CpuInfoPPC",
    "CpuInfoRISCV",
    "CpuInfoS390",
    "CpuInfoSPARC",
    "CpuInfoTricore",
    "CpuInfoX86",
    "CpuInstanceProperties",
    "CpuS390State",
    "CurrentMachineParams",
    "DummyForceArrays",
    "GuidInfo",
    "HmatCacheAssociativity",
    "HmatCacheWritePolicy",
    "HmatLBDataType",
    "HmatLBMemoryHierarchy",
    "HostMemPolicy",
    "HotpluggableCPU",
    "HumanReadableText",
    "KvmInfo",
    "MachineInfo",
    "MemUnplugError",
    "Memdev",
    "MemoryDeviceInfo",
    "MemoryDeviceInfoKind",
    "MemoryDeviceSizeChange",
    "MemoryInfo",
    "NumaCpuOptions",
    "NumaDistOptions",
    "NumaHmatCacheOptions",
    "NumaHmatLBOptions",
    "NumaNodeOptions",
    "NumaOptions",
    "NumaOptionsType",
    "PCDIMMDeviceInfo",
    "PCDIMMDeviceInfoWrapper",
    "SgxEPCDeviceInfo",
    "SgxEPCDeviceInfoWrapper",
    "SysEmuTarget",
    "TargetInfo",
    "UuidInfo",
    "VirtioMEMDeviceInfo",
    "VirtioMEMDeviceInfoWrapper",
    "VirtioPMEMDeviceInfo",
    "VirtioPMEMDeviceInfoWrapper",
    "X86CPUFeatureWordInfo",
    "X86CPURegister32",
]


# --- targets and vCPUs -----------------------------------------------------------------------------------------------


@enum(value_features={"lm32": DEPRECATED, "moxie": DEPRECATED, "unicore32": DEPRECATED})
class SysEmuTarget(StrEnum):
    """A machine's architecture, as it is part of the names of QEMU's programs.

    Three were dropped by later versions of QEMU and are deprecated.
    """

    AARCH64 = "aarch64"
    ALPHA = "alpha"
    ARM = "arm"
    AVR = "avr"
    CRIS = "cris"
    HPPA = "hppa"
    I386 = "i386"
    LM32 = "lm32"
    LOONGARCH64 = "loongarch64"
    M68K = "m68k"
    MICROBLAZE = "microblaze"
    MICROBLAZEEL = "microblazeel"
    MIPS = "mips"
    MIPS64 = "mips64"
    MIPS64EL = "mips64el"
    MIPSEL = "mipsel"
    MOXIE = "moxie"
    NIOS2 = "nios2"
    OR1K = "or1k"
    PPC = "ppc"
    PPC64 = "ppc64"
    RISCV32 = "riscv32"
    RISCV64 = "riscv64"
    RX = "rx"
    S390X = "s390x"
    SH4 = "sh4"
    SH4EB = "sh4eb"
    SPARC = "sparc"
    SPARC64 = "sparc64"
    TRICORE = "tricore"
    UNICORE32 = "unicore32"
    X86_64 = "x86_64"
    XTENSA = "xtensa"
    XTENSAEB = "xtensaeb"


@enum
class CpuInfoArch(StrEnum):
    """Family of a vCPU, which decides what else is told about it."""

    X86 = "x86"
    SPARC = "sparc"
    PPC = "ppc"
    MIPS = "mips"
    TRICORE = "tricore"
    S390 = "s390"
    RISCV = "riscv"
    OTHER = "other"


@struct
@frozen(kw_only=True)
class CpuInstanceProperties:
    """Where a vCPU is: what `device_add` wants to be told to plug it.  A member that the board has not is None."""

    node_id: Int | None = None
    socket_id: Int | None = None
    die_id: Int | None = None
    cluster_id: Int | None = None
    core_id: Int | None = None
    thread_id: Int | None = None


@enum
class CpuS390State(StrEnum):
    """State of an s390 processor."""

    UNINITIALIZED = "uninitialized"
    STOPPED = "stopped"
    CHECK_STOP = "check-stop"
    OPERATING = "operating"
    LOAD = "load"


@union("arch")
@frozen(kw_only=True)
class CpuInfo:
    """A vCPU, as the old query tells it.

    cpu: its index; current: of no meaning any more; halted: it sleeps until an interrupt; qom_path: in the object
    tree; thread_id: of the host's thread that executes it; props: where it is; arch: which subclass tells more.
    """

    cpu: Annotated[Int, Named("CPU")]
    current: bool
    halted: bool
    qom_path: Annotated[str, Named("qom_path")]
    thread_id: Annotated[Int, Named("thread_id")]
    props: CpuInstanceProperties | None = None
    arch: CpuInfoArch


@branch(CpuInfoArch.X86)
@frozen(kw_only=True)
class CpuInfoX86(CpuInfo):
    """pc: the instruction pointer."""

    arch: CpuInfoArch = CpuInfoArch.X86
    pc: Int


@branch(CpuInfoArch.SPARC)
@frozen(kw_only=True)
class CpuInfoSPARC(CpuInfo):
    """pc, npc: the instruction pointer and that of the next instruction."""

    arch: CpuInfoArch = CpuInfoArch.SPARC
    pc: Int
    npc: Int


@branch(CpuInfoArch.PPC)
@frozen(kw_only=True)
class CpuInfoPPC(CpuInfo):
    """nip: the instruction pointer."""

    arch: CpuInfoArch = CpuInfoArch.PPC
    nip: Int


@branch(CpuInfoArch.MIPS)
@frozen(kw_only=True)
class CpuInfoMIPS(CpuInfo):
    """pc: the instruction pointer, in capitals on the wire."""

    arch: CpuInfoArch = CpuInfoArch.MIPS
    pc: Annotated[Int, Named("PC")]


@branch(CpuInfoArch.TRICORE)
@frozen(kw_only=True)
class CpuInfoTricore(CpuInfo):
    """pc: the instruction pointer, in capitals on the wire."""

    arch: CpuInfoArch = CpuInfoArch.TRICORE
    pc: Annotated[Int, Named("PC")]


@branch(CpuInfoArch.S390)
@frozen(kw_only=True)
class CpuInfoS390(CpuInfo):
    """cpu_state: what the processor does."""

    arch: CpuInfoArch = CpuInfoArch.S390
    cpu_state: CpuS390State


@branch(CpuInfoArch.RISCV)
@frozen(kw_only=True)
class CpuInfoRISCV(CpuInfo):
    """pc: the instruction pointer."""

    arch: CpuInfoArch = CpuInfoArch.RISCV
    pc: Int


@union("target")
@frozen(kw_only=True)
class CpuInfoFast:
    """A vCPU, as far as it can be told without stopping it.

    cpu_index: its index; qom_path: in the object tree; thread_id: of the host's thread that executes it; props:
    where it is; arch: its family, superseded by target; target: its architecture.
    """

    cpu_index: Int
    qom_path: str
    thread_id: Int
    props: CpuInstanceProperties | None = None
    arch: Annotated[CpuInfoArch, DEPRECATED]
    target: SysEmuTarget


@branch(SysEmuTarget.S390X, struct="CpuInfoS390")
@frozen(kw_only=True)
class CpuInfoFastS390(CpuInfoFast):
    """cpu_state: what the processor does."""

    target: SysEmuTarget = SysEmuTarget.S390X
    cpu_state: CpuS390State


@struct
@frozen(kw_only=True)
class HotpluggableCPU:
    """A place for a vCPU.

    type: of the object to plug; vcpus_count: vCPUs that come with it; props: where it is; qom_path: the vCPU that is
    there, None if none is.
    """

    type: str
    vcpus_count: Int
    props: CpuInstanceProperties
    qom_path: str | None = None


@enum
class X86CPURegister32(StrEnum):
    """A register in which CPUID returns something."""

    EAX = "EAX"
    EBX = "EBX"
    ECX = "ECX"
    EDX = "EDX"
    ESP = "ESP"
    EBP = "EBP"
    ESI = "ESI"
    EDI = "EDI"


@struct
@frozen(kw_only=True)
class X86CPUFeatureWordInfo:
    """One word of feature bits.

    cpuid_input_eax, cpuid_input_ecx: the leaf and subleaf of CPUID; cpuid_register: where it is returned; features:
    its bits.
    """

    cpuid_input_eax: Int
    cpuid_input_ecx: Int | None = None
    cpuid_register: X86CPURegister32
    features: Int


@struct
@frozen(kw_only=True)
class DummyForceArrays:
    """Never sent: it is in the documents so that there is a list of feature words."""

    unused: tuple[X86CPUFeatureWordInfo, ...]


# --- machines --------------------------------------------------------------------------------------------------------


@struct
@frozen(kw_only=True)
class MachineInfo:
    """A machine that can be had.

    name, alias: what it is called; is_default: it is what one gets without asking; cpu_max: vCPUs at most;
    hotpluggable_cpus: vCPUs can be plugged while it runs; numa_mem_supported: NUMA nodes can be given by their size
    alone; deprecated: do not begin to use it; default_cpu_type: object type of its vCPUs if none is asked for;
    default_ram_id: name of its memory back end.
    """

    name: str
    alias: str | None = None
    is_default: bool | None = None
    cpu_max: Int
    hotpluggable_cpus: bool
    numa_mem_supported: bool
    deprecated: bool
    default_cpu_type: str | None = None
    default_ram_id: str | None = None


@struct
@frozen(kw_only=True)
class CurrentMachineParams:
    """wakeup_suspend_support: the machine can be woken from ACPI S3."""

    wakeup_suspend_support: bool


@struct
@frozen(kw_only=True)
class TargetInfo:
    """arch: the architecture of the machine."""

    arch: SysEmuTarget


@struct
@frozen(kw_only=True)
class UuidInfo:
    """uuid: of the machine, in text form; all zeros if it has none."""

    uuid: Annotated[str, Named("UUID")]


@struct
@frozen(kw_only=True)
class GuidInfo:
    """guid: the generation identifier that the guest sees."""

    guid: str


@struct
@frozen(kw_only=True)
class KvmInfo:
    """Whether the host's hypervisor KVM executes the guest (enabled) and whether it could (present)."""

    enabled: bool
    present: bool


@struct
@frozen(kw_only=True)
class HumanReadableText:
    """A text for people, whose form is no promise."""

    human_readable_text: str


# --- NUMA ------------------------------------------------------------------------------------------------------------


@enum
class NumaOptionsType(StrEnum):
    """What a NUMA option is about."""

    NODE = "node"
    DIST = "dist"
    CPU = "cpu"
    HMAT_LB = "hmat-lb"
    HMAT_CACHE = "hmat-cache"


@union("type")
@frozen(kw_only=True)
class NumaOptions:
    """One statement about the machine's NUMA topology: one of the subclasses."""

    type: NumaOptionsType


@branch(NumaOptionsType.NODE)
@frozen(kw_only=True)
class NumaNodeOptions(NumaOptions):
    """A node.

    nodeid: its number, the next free one if None; cpus: indices of its vCPUs; mem: bytes of memory; memdev: name of
    the back end that is its memory; initiator: the node whose processors are nearest to this memory.
    """

    type: NumaOptionsType = NumaOptionsType.NODE
    nodeid: UInt16 | None = None
    cpus: tuple[UInt16, ...] | None = None
    mem: Size | None = None
    memdev: str | None = None
    initiator: UInt16 | None = None


@branch(NumaOptionsType.DIST)
@frozen(kw_only=True)
class NumaDistOptions(NumaOptions):
    """val: the distance from node src to node dst; 10 to itself, 255 if it cannot be reached."""

    type: NumaOptionsType = NumaOptionsType.DIST
    src: UInt16
    dst: UInt16
    val: UInt8


@branch(NumaOptionsType.CPU)
@frozen(kw_only=True)
class NumaCpuOptions(NumaOptions):
    """The vCPUs that these properties describe belong to node_id."""

    type: NumaOptionsType = NumaOptionsType.CPU
    node_id: Int | None = None
    socket_id: Int | None = None
    die_id: Int | None = None
    cluster_id: Int | None = None
    core_id: Int | None = None
    thread_id: Int | None = None


@enum
class HmatLBMemoryHierarchy(StrEnum):
    """Which memory a latency or bandwidth is about: main memory or a memory-side cache (ACPI 6.3, 5.2.27.4)."""

    MEMORY = "memory"
    FIRST_LEVEL = "first-level"
    SECOND_LEVEL = "second-level"
    THIRD_LEVEL = "third-level"


@enum
class HmatLBDataType(StrEnum):
    """What is told about a memory (ACPI 6.3, 5.2.27.4)."""

    ACCESS_LATENCY = "access-latency"
    READ_LATENCY = "read-latency"
    WRITE_LATENCY = "write-latency"
    ACCESS_BANDWIDTH = "access-bandwidth"
    READ_BANDWIDTH = "read-bandwidth"
    WRITE_BANDWIDTH = "write-bandwidth"


@branch(NumaOptionsType.HMAT_LB)
@frozen(kw_only=True)
class NumaHmatLBOptions(NumaOptions):
    """Latency (nanoseconds) or bandwidth (bytes per second) from node initiator to the memory of node target."""

    type: NumaOptionsType = NumaOptionsType.HMAT_LB
    initiator: UInt16
    target: UInt16
    hierarchy: HmatLBMemoryHierarchy
    data_type: HmatLBDataType
    latency: UInt64 | None = None
    bandwidth: Size | None = None


@enum
class HmatCacheAssociativity(StrEnum):
    """How a memory-side cache is organised (ACPI 6.3, 5.2.27.5)."""

    NONE = "none"
    DIRECT = "direct"
    COMPLEX = "complex"


@enum
class HmatCacheWritePolicy(StrEnum):
    """When a memory-side cache writes (ACPI 6.3, 5.2.27.5)."""

    NONE = "none"
    WRITE_BACK = "write-back"
    WRITE_THROUGH = "write-through"


@branch(NumaOptionsType.HMAT_CACHE)
@frozen(kw_only=True)
class NumaHmatCacheOptions(NumaOptions):
    """A memory-side cache of node node_id.  size, line: bytes; level: 1 is nearest to the memory."""

    type: NumaOptionsType = NumaOptionsType.HMAT_CACHE
    node_id: UInt32
    size: Size
    level: UInt8
    associativity: HmatCacheAssociativity
    policy: HmatCacheWritePolicy
    line: UInt16


# --- memory ----------------------------------------------------------------------------------------------------------


@enum
class HostMemPolicy(StrEnum):
    """How the host is to place a back end's memory on its own nodes."""

    DEFAULT = "default"
    PREFERRED = "preferred"
    BIND = "bind"
    INTERLEAVE = "interleave"


@struct
@frozen(kw_only=True)
class Memdev:
    """A memory back end.

    id: its name; size: bytes; merge: equal pages may be merged by the host; dump: it is part of core dumps of this
    process; prealloc: all its pages were touched when it was made; share: it is mapped shared; reserve: swap space is
    reserved for it; host_nodes, policy: where the host places it.
    """

    id: str | None = None
    size: Size
    merge: bool
    dump: bool
    prealloc: bool
    share: bool
    reserve: bool | None = None
    host_nodes: tuple[UInt16, ...]
    policy: HostMemPolicy


@struct
@frozen(kw_only=True)
class MemoryInfo:
    """base_memory: bytes that the machine started with; plugged_memory: bytes plugged since, None if none can be."""

    base_memory: Size
    plugged_memory: Size | None = None


@enum
class MemoryDeviceInfoKind(StrEnum):
    """Kind of a memory device."""

    DIMM = "dimm"
    NVDIMM = "nvdimm"
    VIRTIO_PMEM = "virtio-pmem"
    VIRTIO_MEM = "virtio-mem"
    SGX_EPC = "sgx-epc"


@struct
@frozen(kw_only=True)
class PCDIMMDeviceInfo:
    """A memory module.

    addr: where it is in guest memory; slot, node: its slot and NUMA node; memdev: path of its back end; hotplugged:
    it came after the start; hotpluggable: it may be unplugged.
    """

    id: str | None = None
    addr: Int
    size: Int
    slot: Int
    node: Int
    memdev: str
    hotplugged: bool
    hotpluggable: bool


@union("type")
@frozen(kw_only=True)
class MemoryDeviceInfo:
    """A memory device: one of the subclasses."""

    type: MemoryDeviceInfoKind


@branch(MemoryDeviceInfoKind.DIMM, MemoryDeviceInfoKind.NVDIMM)
@frozen(kw_only=True)
class PCDIMMDeviceInfoWrapper(MemoryDeviceInfo):
    """A module, volatile or not as `type` says."""

    data: PCDIMMDeviceInfo


@struct
@frozen(kw_only=True)
class VirtioPMEMDeviceInfo:
    """A virtio device of persistent memory.  memaddr: where it is in guest memory; memdev: path of its back end."""

    id: str | None = None
    memaddr: Size
    size: Size
    memdev: str


@branch(MemoryDeviceInfoKind.VIRTIO_PMEM)
@frozen(kw_only=True)
class VirtioPMEMDeviceInfoWrapper(MemoryDeviceInfo):
    """A virtio device of persistent memory."""

    type: MemoryDeviceInfoKind = MemoryDeviceInfoKind.VIRTIO_PMEM
    data: VirtioPMEMDeviceInfo


@struct
@frozen(kw_only=True)
class VirtioMEMDeviceInfo:
    """A virtio device of memory that grows and shrinks.

    memaddr: where it is in guest memory; requested_size, size, max_size: bytes wanted, used and possible; block_size:
    its unit; node: its NUMA node; memdev: path of its back end.
    """

    id: str | None = None
    memaddr: Size
    requested_size: Size
    size: Size
    max_size: Size
    block_size: Size
    node: Int
    memdev: str


@branch(MemoryDeviceInfoKind.VIRTIO_MEM)
@frozen(kw_only=True)
class VirtioMEMDeviceInfoWrapper(MemoryDeviceInfo):
    """A virtio device of memory that grows and shrinks."""

    type: MemoryDeviceInfoKind = MemoryDeviceInfoKind.VIRTIO_MEM
    data: VirtioMEMDeviceInfo


@struct
@frozen(kw_only=True)
class SgxEPCDeviceInfo:
    """Memory for SGX enclaves.  memaddr: where it is in guest memory; node: its NUMA node; memdev: its back end."""

    id: str | None = None
    memaddr: Size
    size: Size
    node: Int
    memdev: str


@branch(MemoryDeviceInfoKind.SGX_EPC)
@frozen(kw_only=True)
class SgxEPCDeviceInfoWrapper(MemoryDeviceInfo):
    """Memory for SGX enclaves."""

    type: MemoryDeviceInfoKind = MemoryDeviceInfoKind.SGX_EPC
    data: SgxEPCDeviceInfo


@event("MEMORY_DEVICE_SIZE_CHANGE")
@frozen(kw_only=True)
class MemoryDeviceSizeChange(Event):
    """The guest changed how much of a memory device it uses.  size: bytes."""

    id: str | None = None
    size: Size
    qom_path: str


@event("MEM_UNPLUG_ERROR", features=DEPRECATED)
@frozen(kw_only=True)
class MemUnplugError(Event):
    """The guest did not let go of a memory device.  msg: why."""

    device: str
    msg: str


@struct
@frozen(kw_only=True)
class BalloonInfo:
    """actual: bytes of memory that the guest has left itself."""

    actual: Int


@event("BALLOON_CHANGE")
@frozen(kw_only=True)
class BalloonChange(Event):
    """The guest gave memory back or took some.  actual: bytes that it has now."""

    actual: Int
