"""vmcore's engine behind the same interface as the oracles: cases in, results out.

The guest is a program at privilege level 3 in long mode, with the address space of the host oracle.  Every exception
goes through
the guest's IDT to a HLT of its own, so delivery, error codes and the pushed frame are part of what is compared.
"""

from __future__ import annotations

import struct
from typing import Final, final

from host_oracle import (
    CASE,
    CODE,
    CODE_SIZE,
    CONTEXT,
    DATA,
    DATA_SIZE,
    RESULT,
    VECTOR_NEVER,
    VECTOR_TIMEOUT,
    WINDOW,
    WINDOW_SIZE,
)

from vmcore.engine import Cpu, CpuModel, PhysicalMemory, RunExit, Segment

PML4, PDPT, DIRECTORY, HIGH_PDPT, CODE_TABLE, DATA_TABLE = 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000
HIGH: Final = 0xFFFF_8000_0000_0000
"""The linear address of physical address 0, in the upper half as a kernel would have it."""
GDT, IDT, TSS, HANDLERS, HIGH_DIRECTORY, STACK = 0x7000, 0x8000, 0x9000, 0xA000, 0xB000, 0xF000
HANDLER_SIZE: Final = 16
WITH_ERROR: Final = frozenset({8, 10, 11, 12, 13, 14, 17, 21})
CODE64: Final = Segment(0x33, 0, 0xFFFF_FFFF, 0xA0FB)
CODE32: Final = Segment(0x23, 0, 0xFFFF_FFFF, 0xC0FB)
CODE16: Final = Segment(0x07, CODE, 0xFFFF, 0x00FB)
DATA32: Final = Segment(0x2B, 0, 0xFFFF_FFFF, 0xC0F3)
DATA16: Final = Segment(0x0F, DATA, DATA_SIZE - 1, 0x00F3)
KERNEL_CODE: Final = 0x08
LIMIT: Final = 200
"""Instructions that a case may take."""


def _table(entries: dict[int, int]) -> bytes:
    page = bytearray(4096)
    for index, entry in entries.items():
        struct.pack_into("<Q", page, index * 8, entry)
    return bytes(page)


@final
class EngineUnderTest:
    """One vCPU, used again for every case."""

    def __init__(self, model: CpuModel) -> None:
        memory = PhysicalMemory()
        memory.map_ram(0, 0x10000)
        memory.map_ram(CODE, CODE_SIZE)
        memory.map_ram(DATA, DATA_SIZE)
        user, kernel = 7, 3
        memory.write(PML4, _table({0: PDPT | user, 256: HIGH_PDPT | kernel}))
        memory.write(PDPT, _table({0: DIRECTORY | user}))
        memory.write(DIRECTORY, _table({CODE >> 21: CODE_TABLE | user, DATA >> 21: DATA_TABLE | user}))
        memory.write(HIGH_PDPT, _table({0: HIGH_DIRECTORY | kernel}))
        memory.write(HIGH_DIRECTORY, _table({0: 0x80 | kernel}))
        memory.write(CODE_TABLE, _table({page: CODE + (page << 12) | user for page in range(CODE_SIZE >> 12)}))
        # The host's data pages cannot be executed.
        memory.write(
            DATA_TABLE, _table({page: DATA + (page << 12) | user | 1 << 63 for page in range(DATA_SIZE >> 12)})
        )
        memory.write(GDT + KERNEL_CODE, struct.pack("<Q", 0x00AF9B000000FFFF))
        for vector in range(256):
            handler = HIGH + HANDLERS + vector * HANDLER_SIZE
            attributes = 0xEE00 if vector in (3, 4) else 0x8E00
            gate = struct.pack(
                "<HHHHII", handler & 0xFFFF, KERNEL_CODE, attributes, handler >> 16 & 0xFFFF, handler >> 32, 0
            )
            memory.write(IDT + 16 * vector, gate)
            memory.write(handler - HIGH, b"\xf4")
        memory.write(TSS + 4, struct.pack("<Q", HIGH + STACK))
        memory.write(TSS + 0x66, struct.pack("<H", 0x68))  # no I/O bitmap: no port is allowed
        cpu = Cpu(memory, model=model)
        cpu.efer = 0x100 | 0x800  # LME, NXE
        cpu.cr4 = 0x620 | 0x40000 * ("XSAVE" in model.features)  # PAE, OSFXSR, OSXMMEXCPT, OSXSAVE
        cpu.cr3 = PML4
        cpu.cr0 = 0x8005_0033  # PG, AM, WP, NE, ET, MP, PE
        cpu.gdtr = type(cpu.gdtr)(HIGH + GDT, 0x2F)
        cpu.idtr = type(cpu.idtr)(HIGH + IDT, 0xFFF)
        cpu.tr = Segment(0x18, HIGH + TSS, 0x67, 0x8B)
        cpu.ldtr = Segment(0, 0, 0xFFFF, 0x82)
        self.cpu = cpu
        self.memory = memory
        self._blank = bytes(DATA_SIZE)

    def run(self, cases: list[bytes]) -> list[bytes]:
        """Run cases; their results."""
        self.memory.write(CODE, bytes(CODE_SIZE))  # as in a new child of the host oracle
        return [self.run_one(case) for case in cases]

    def run_one(self, case: bytes) -> bytes:
        """Run one case."""
        cpu, memory = self.cpu, self.memory
        context, mode, code, window = CASE.unpack(case)
        memory.write(DATA, self._blank)
        memory.write(WINDOW, window)
        (rip,) = struct.unpack_from("<Q", context, 128)
        memory.write(CODE + rip if mode == 16 else rip, code)
        cpu.activity = 0
        if mode == 64:
            cpu.cs, data = CODE64, DATA32
        elif mode == 32:
            cpu.cs, data = CODE32, DATA32
        else:
            cpu.cs, data = CODE16, DATA16
        cpu.ss = cpu.ds = cpu.es = data
        cpu.set_context(context)
        reason = cpu.run(LIMIT)
        after = bytearray(cpu.context())
        vector, error, cr2 = VECTOR_NEVER, 0, 0
        if reason is RunExit.HALT:
            vector = (cpu.rip - 1 - HIGH - HANDLERS) // HANDLER_SIZE
            frame = memory.read(STACK - 48, 48)
            (error,) = struct.unpack_from("<Q", frame, 0) if vector in WITH_ERROR else (0,)
            rip, _, flags, rsp, _ = struct.unpack_from("<5Q", frame, 8)
            struct.pack_into("<QQ", after, 128, rip, flags)
            struct.pack_into("<Q", after, 32, rsp)
            cr2 = cpu.cr2 if vector == 14 else 0
        elif reason is RunExit.BUDGET:
            vector = VECTOR_TIMEOUT
        return RESULT.pack(bytes(after), vector, error, cr2, memory.read(WINDOW, WINDOW_SIZE))


def describe_context(context: bytes) -> dict[str, int]:
    """The registers of a packed context by name."""
    values = CONTEXT.unpack(context)
    names = [
        "rax",
        "rcx",
        "rdx",
        "rbx",
        "rsp",
        "rbp",
        "rsi",
        "rdi",
        "r8",
        "r9",
        "r10",
        "r11",
        "r12",
        "r13",
        "r14",
        "r15",
        "rip",
        "rflags",
    ]
    found = dict(zip(names, values, strict=False))
    fx = values[18]
    found["fcw"], found["fsw"], found["ftw"] = struct.unpack_from("<HHB", fx)
    (found["mxcsr"],) = struct.unpack_from("<I", fx, 24)
    for i in range(8):
        found[f"st{i}"] = int.from_bytes(fx[32 + 16 * i : 42 + 16 * i], "little")
    for i in range(16):
        found[f"xmm{i}"] = int.from_bytes(fx[160 + 16 * i : 176 + 16 * i], "little")
    return found
