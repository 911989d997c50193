"""A vCPU set up in a mode and at a privilege level of choice, for single instructions with their exceptions.

Everything lies in the first 4 MiB, mapped one to one: GDT, IDT, TSSs, code at CODE, stacks per level, and a handler
address per vector, so that after a step the place where the processor is says which exception it took.
"""

from __future__ import annotations

import re
import struct

from attrs import define, field, frozen

from vmcore.engine import Cpu, CpuModel, PhysicalMemory, RunExit, Segment, TableRegister, assemble

GDT, IDT, TSS, TASK, LDT = 0x1000, 0x2000, 0x5000, 0x8000, 0x9000
DATA, CODE, HANDLERS = 0xA000, 0x10000, 0x18000
STACKS = (0x21000, 0x22000, 0x23000, 0x24000)
IST1 = 0x25000
PML4, PDPT, PD, PD32, PT32 = 0x40000, 0x41000, 0x42000, 0x44000, 0x45000

# Selectors of the GDT.
CODE32, DATA32, CODE64, UCODE32, UDATA, UCODE64, TSS_SEL = 0x08, 0x10, 0x18, 0x23, 0x2B, 0x33, 0x38
CODE16, DATA16, CONFORMING, TASK_SEL, LDT_SEL, FREE = 0x48, 0x50, 0x58, 0x60, 0x70, 0x80

EXCEPTIONS = "DE DB NMI BP OF BR UD NM DF CSO TS NP SS GP PF 15 MF AC MC XM"
NAMES = dict(enumerate(EXCEPTIONS.split()))
WITH_ERROR = {8, 10, 11, 12, 13, 14, 17}


def descriptor(base: int, limit: int, access: int, flags: int = 0) -> int:
    """access: bits 40-47; flags: 8 granularity, 4 D/B, 2 L."""
    return (
        limit & 0xFFFF
        | (base & 0xFFFFFF) << 16
        | access << 40
        | (limit >> 16 & 15) << 48
        | flags << 52
        | (base >> 24 & 0xFF) << 56
    )


def gate(selector: int, offset: int, access: int, extra: int = 0) -> int:
    """extra: bits 32-39 (parameter count, IST)."""
    return offset & 0xFFFF | selector << 16 | extra << 32 | access << 40 | (offset >> 16 & 0xFFFF) << 48


@frozen
class Trap:
    """An exception or interrupt that was taken, and what lay on the handler's stack."""

    vector: int
    error: int | None
    ip: int
    cs: int
    flags: int
    sp: int | None
    ss: int | None
    more: tuple[int, ...] = ()

    def __str__(self) -> str:
        name = NAMES.get(self.vector, f"{self.vector:02x}")
        return name if self.error is None else f"{name}({self.error:x})"


@define
class Bench:
    """mode: real, v86, prot16, prot (32-bit), compat or long."""

    mode: str = "prot"
    cpl: int = 0
    model: str | CpuModel = "max"
    paging: bool = False
    memory: PhysicalMemory = field(init=False)
    cpu: Cpu = field(init=False)
    handler: Segment = field(init=False)
    ports: list[tuple[int, int]] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        self.memory = PhysicalMemory()
        self.memory.map_ram(0, 0x400000)
        self.memory.set_port_handlers(
            lambda port, size: 0x5A, lambda port, value, size: self.ports.append((port, value))
        )
        self.cpu = cpu = Cpu(self.memory, 0, model=self.model)
        self.tables()
        level = 3 if self.mode == "v86" else self.cpl
        if self.mode == "real":
            cpu.cs = Segment(CODE >> 4, CODE, 0xFFFF, 0x93)
            for name in ("ds", "es", "fs", "gs"):
                setattr(cpu, name, Segment(DATA >> 4, DATA, 0xFFFF, 0x93))
            cpu.ss = Segment(STACKS[0] - 0x1000 >> 4, STACKS[0] - 0x1000, 0xFFFF, 0x93)
            cpu.rsp = 0x1000
            cpu.rip = 0
            cpu.idtr = TableRegister(0, 0x3FF)
            return
        cpu.gdtr = TableRegister(GDT, 0xFFF)
        cpu.idtr = TableRegister(IDT, 0xFFF)
        long = self.mode in ("long", "compat")
        if long:
            cpu.cr4 = 0x20
            cpu.cr3 = PML4
            cpu.efer = 0xD01 & ~0x400
            cpu.tr = Segment(TSS_SEL, TSS, 0x2FFF, 0x8B)
            cpu.cr0 = 0x80000031
        else:
            cpu.tr = Segment(TSS_SEL, TSS, 0x2FFF, 0x8B)
            if self.paging:
                cpu.cr3 = PD32
            cpu.cr0 = 0x80000031 if self.paging else 0x31
        if self.mode == "v86":
            cpu.rflags = 0x20002
            for name in ("cs", "ds", "es", "fs", "gs"):
                base = CODE if name == "cs" else DATA
                setattr(cpu, name, Segment(base >> 4, base, 0xFFFF, 0xF3))
            cpu.ss = Segment(STACKS[3] - 0x1000 >> 4, STACKS[3] - 0x1000, 0xFFFF, 0xF3)
            cpu.rsp = 0x1000
            cpu.rip = 0
            return
        code = {
            "long": (CODE64, UCODE64, 0xA09B),
            "prot": (CODE32, UCODE32, 0xC09B),
            "compat": (CODE32, UCODE32, 0xC09B),
            "prot16": (CODE16, CODE16 | 3, 0x009B),
        }[self.mode]
        base = CODE if self.mode == "prot16" else 0
        limit = 0xFFFF if self.mode == "prot16" else 0xFFFFFFFF
        dpl = level << 5
        selector = (code[0] if level == 0 else code[1] & ~3) | level
        cpu.cs = Segment(selector, base, limit, code[2] | dpl)
        data = (DATA32 if level == 0 else UDATA & ~3) | level
        for name in ("ss", "ds", "es", "fs", "gs"):
            setattr(cpu, name, Segment(data, 0, 0xFFFFFFFF, 0xC093 | dpl))
        cpu.rsp = STACKS[level]
        cpu.rip = 0 if self.mode == "prot16" else CODE

    def tables(self) -> None:
        long = self.mode in ("long", "compat")
        self.put(GDT + CODE32, descriptor(0, 0xFFFFF, 0x9B, 0xC))
        self.put(GDT + DATA32, descriptor(0, 0xFFFFF, 0x93, 0xC))
        self.put(GDT + CODE64, descriptor(0, 0xFFFFF, 0x9B, 0xA))
        self.put(GDT + (UCODE32 & ~3), descriptor(0, 0xFFFFF, 0xFB, 0xC))
        self.put(GDT + (UDATA & ~3), descriptor(0, 0xFFFFF, 0xF3, 0xC))
        self.put(GDT + (UCODE64 & ~3), descriptor(0, 0xFFFFF, 0xFB, 0xA))
        self.put(GDT + TSS_SEL, descriptor(TSS, 0x2FFF, 0x8B))
        self.put(GDT + CODE16, descriptor(CODE, 0xFFFF, 0x9B))
        self.put(GDT + DATA16, descriptor(0, 0xFFFF, 0x93))
        self.put(GDT + CONFORMING, descriptor(0, 0xFFFFF, 0x9F, 0xA if long else 0xC))
        self.put(GDT + TASK_SEL, descriptor(TASK, 0x67, 0x89))
        self.put(GDT + LDT_SEL, descriptor(LDT, 0xFF, 0x82))
        for vector in range(256):
            self.gate(vector)
        self.memory.load(HANDLERS, b"\xeb\xfe" * 0x800)  # a faulting instruction is not counted: the next one runs
        # IVT for real mode, away from everything else.
        if self.mode == "real":
            for vector in range(256):
                self.memory.load(vector * 4, struct.pack("<HH", vector * 16, HANDLERS >> 4))
        if long:
            self.memory.load(TSS, struct.pack("<I3Q", 0, STACKS[0], STACKS[1], STACKS[2]))
            self.memory.load(TSS + 0x24, struct.pack("<Q", IST1))
        else:
            self.memory.load(
                TSS, struct.pack("<I6I", 0, STACKS[0], DATA32, STACKS[1], FREE | 1, STACKS[2], FREE + 8 | 2)
            )
        self.memory.load(TSS + 0x66, struct.pack("<H", 0x88))
        self.memory.load(TSS + 0x88, b"\xff" * 0x2001)
        # Page tables: one to one, the first 2 MiB by small pages in 32-bit paging.
        self.put(PML4, PDPT | 7)
        self.put(PDPT, PD | 7)
        for i in range(2):
            self.put(PD + 8 * i, i << 21 | 0x87)
        self.memory.load(PD32, struct.pack("<I", PT32 | 7))
        self.memory.load(PT32, struct.pack("<1024I", *(i << 12 | 7 for i in range(1024))))

    def put(self, address: int, value: int) -> None:
        self.memory.load(address, struct.pack("<Q", value))

    def get(self, address: int, size: int = 8) -> int:
        return int.from_bytes(self.memory.read(address, size), "little")

    def gate(
        self, vector: int, selector: int | None = None, access: int = 0x8E, ist: int = 0, offset: int | None = None
    ) -> None:
        """An interrupt gate (or what `access` says) to the vector's handler."""
        target = HANDLERS + 16 * vector if offset is None else offset
        if self.mode in ("long", "compat"):
            self.put(IDT + 16 * vector, gate(CODE64 if selector is None else selector, target, access, ist))
            self.put(IDT + 16 * vector + 8, target >> 32)
        else:
            self.put(IDT + 8 * vector, gate(CODE32 if selector is None else selector, target, access, ist))

    @property
    def bits(self) -> int:
        return {"real": 16, "v86": 16, "prot16": 16, "prot": 32, "compat": 32, "long": 64}[self.mode]

    def write(self, code: str | bytes) -> int:
        """Puts code at the instruction pointer; its length."""
        address = self.cpu.cs.base + self.cpu.rip
        data = code if isinstance(code, bytes) else self.assemble(code)
        self.memory.write(address & 0xFFFFFFFF, data)
        return len(data)

    def assemble(self, code: str) -> bytes:
        """Statement by statement, with far transfers (`jmp 8:0x1000`), which keystone lacks."""
        data = b""
        for statement in code.split(";"):
            far = re.fullmatch(r"\s*(jmp|call) (\w+):(\w+)\s*", statement)
            if far:
                opcode = b"\xea" if far[1] == "jmp" else b"\x9a"
                data += opcode + struct.pack("<HH" if self.bits == 16 else "<IH", int(far[3], 0), int(far[2], 0))
            else:
                data += assemble(statement, self.bits, self.cpu.rip + len(data))
        return data

    def run(self, code: str | bytes, count: int = 1) -> str:
        """Runs `count` instructions of `code`.  "" or the exception, as in "GP(10)", or "SHUTDOWN"."""
        self.write(code)
        return self.step(count)

    def step(self, count: int = 1) -> str:
        for _ in range(count):
            reason = self.cpu.run(1)
            if reason == RunExit.SHUTDOWN:
                return "SHUTDOWN"
            trap = self.trap()
            if trap:
                return str(trap)
            if reason != RunExit.BUDGET:
                return reason.name
        return ""

    @property
    def linear(self) -> int:
        base: int = self.cpu.cs.base
        return base + self.cpu.rip

    def trap(self, width: int | None = None) -> Trap | None:
        """The exception whose handler the processor is in or has just halted in."""
        place = self.linear - HANDLERS
        if not 0 <= place < 0x1000:
            return None
        vector = place // 16
        if width is None:
            width = {"real": 2, "long": 8, "compat": 8}.get(self.mode, 4)
        sp = self.cpu.ss.base + (self.cpu.rsp & (0xFFFF if self.mode == "real" else 0xFFFFFFFFFFFFFFFF))
        count = 12
        words = [self.get(sp + i * width, width) for i in range(count)]
        error = words.pop(0) if vector in WITH_ERROR and self.mode != "real" else None
        inner = width == 8 or (words[1] & 3) != self.cpu.cpl or (words[2] & 0x20000 and width == 4)
        return Trap(
            vector,
            error,
            words[0],
            words[1] & 0xFFFF,
            words[2],
            words[3] if inner else None,
            words[4] & 0xFFFF if inner else None,
            tuple(words[5:]),
        )
