"""What the registers of a vCPU hold, as values."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from attrs import field, frozen

__all__ = [
    "GPR_NAMES",
    "SEGMENT_NAMES",
    "Activity",
    "Attributes",
    "CpuState",
    "Flags",
    "RunExit",
    "Segment",
    "TableRegister",
]

GPR_NAMES: Final = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
"""The general-purpose registers in the order of their numbers."""

SEGMENT_NAMES: Final = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")
"""The segment registers in the order of their numbers."""


class RunExit(IntEnum):
    """Why a run came back."""

    BUDGET = 0
    """The instructions that were asked for are retired."""
    STOP = 1
    """`request_stop()` was called."""
    HALT = 2
    """HLT or MWAIT, and nothing is pending that would go on from it."""
    SHUTDOWN = 3
    """A triple fault."""
    YIELD = 4
    """PAUSE, while `yields` is set."""
    WAIT = 5
    """The vCPU waits for a start-up IPI."""
    BREAK = 6
    """A callback called `break_run()`."""
    BREAKPOINT = 7
    """The next instruction lies on a breakpoint."""
    WATCHPOINT = 8
    """The last instruction touched watched bytes; `watch_hit` says where."""
    ERROR = 9
    """A callback raised; never seen, since `run()` raises that exception."""
    INTERNAL = 10
    """The engine met something that it does not know."""
    STUCK = 11
    """Delivering an exception raises another without end (#AC in a handler's own entry): only a reset helps."""


class Activity(IntEnum):
    """What a vCPU does (SDM Vol. 3C 25.4.2)."""

    ACTIVE = 0
    HALTED = 1
    WAIT_SIPI = 2
    SHUTDOWN = 3
    STUCK = 4
    """Ours: the processor delivers exceptions without end, and nothing but a reset gets it out (SDM Vol. 3A 6.15,
    #AC while #AC is delivered).
    """


class Flags(IntFlag):
    """Bits of RFLAGS (SDM Vol. 1 3.4.3)."""

    CF = 1 << 0
    PF = 1 << 2
    AF = 1 << 4
    ZF = 1 << 6
    SF = 1 << 7
    TF = 1 << 8
    IF = 1 << 9
    DF = 1 << 10
    OF = 1 << 11
    IOPL = 3 << 12
    NT = 1 << 14
    RF = 1 << 16
    VM = 1 << 17
    AC = 1 << 18
    VIF = 1 << 19
    VIP = 1 << 20
    ID = 1 << 21


class Attributes(IntFlag):
    """Bits of a segment's attributes: bits 40-55 of its descriptor (SDM Vol. 3A 3.4.5) and one of our own.

    The type is in bits 0-3, the privilege level in bits 5-6.
    """

    ACCESSED = 1 << 0
    WRITABLE = 1 << 1
    EXPAND_DOWN = 1 << 2
    CODE = 1 << 3
    S = 1 << 4
    P = 1 << 7
    AVL = 1 << 12
    L = 1 << 13
    DB = 1 << 14
    G = 1 << 15
    NULL = 1 << 16
    """Loaded with a null selector: any use faults."""


@frozen
class Segment:
    """A segment register with its hidden part.  limit: in bytes, granularity applied; attributes: see `Attributes`."""

    selector: int
    base: int
    limit: int
    attributes: int

    @property
    def privilege(self) -> int:
        """The descriptor's privilege level, 0 to 3."""
        return self.attributes >> 5 & 3


@frozen
class TableRegister:
    """GDTR or IDTR: linear address and limit (size - 1) of a descriptor table."""

    base: int
    limit: int


@frozen
class CpuState:
    """The whole state of a vCPU between two instructions, as plain values.

    Made by `Cpu.save()`, taken by `Cpu.restore()`.  Equal states of equal models on equal memories go on alike.
    Registers of the FPU are physical (R0 to R7), each 80 bits as in memory; `vectors` has room for 32 registers of 64
    bytes, XMM the low 16.
    """

    gpr: tuple[int, ...]
    rip: int
    rflags: int
    cpl: int
    activity: int
    shadow: int
    nmi_blocked: int
    pending: int
    instructions: int
    segments: tuple[tuple[int, int, int, int], ...]
    gdtr: tuple[int, int]
    idtr: tuple[int, int]
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    cr8: int
    efer: int
    xcr0: int
    dr: tuple[int, ...]
    dr6_pending: int
    pdpte: tuple[int, ...]
    star: int
    lstar: int
    cstar: int
    fmask: int
    kernel_gs_base: int
    tsc_aux: int
    sysenter_cs: int
    sysenter_esp: int
    sysenter_eip: int
    pat: int
    apic_base: int
    misc_enable: int
    tsc_deadline: int
    tsc_adjust: int
    mtrr_def: int
    mtrr_fixed: tuple[int, ...]
    mtrr_base: tuple[int, ...]
    mtrr_mask: tuple[int, ...]
    mcg_cap: int
    mcg_status: int
    mcg_ctl: int
    mc_bank: tuple[int, ...]
    feature_control: int
    debugctl: int
    syscfg: int
    hwcr: int
    top_mem: int
    top_mem2: int
    microcode: int
    tsc_hz: int
    tsc_offset: int
    time_base_ns: int
    time_base_insns: int
    ns_mul: int
    ns_shift: int
    tsc_mul: int
    tsc_shift: int
    rng_state: int
    monitor_armed: int
    monitor_address: int
    fpu_registers: tuple[int, ...]
    fcw: int
    fpu_sw: int
    fpu_top: int
    fpu_valid: int
    fop: int
    fip: int
    fdp: int
    fcs: int
    fds: int
    mxcsr: int
    ferr: int
    ignne: int
    yields: int
    vectors: bytes = field(repr=False)
