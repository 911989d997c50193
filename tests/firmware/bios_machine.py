"""A machine on which single BIOS calls are made: registers in, registers out."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from images import boot_sector

from vmcore.block.raw import SECTOR
from vmcore.boards.pc import PcBoard
from vmcore.engine import Segment
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.exits import Breakpoint, Exit

SECTORS = 2000
CODE = 0x600
BUFFER = 0x1000
START = int(datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC).timestamp())

CARRY, ZERO = 1, 0x40

DISK = boot_sector(b"\xfb\xf4\xeb\xfc") + Random(7).randbytes((SECTORS - 1) * SECTOR)
"""A boot sector that halts with interrupts on, and content behind it."""

MILLISECOND = 1_000_000
LIMIT = 5_000 * MILLISECOND
"""Guest time that the machine may take to come to a breakpoint."""


class Result:
    """Registers after a call; `ah`, `al` and so on for their halves."""

    def __init__(self, registers: dict[str, int], flags: int) -> None:
        self.registers = registers
        self.carry = bool(flags & CARRY)
        self.zero = bool(flags & ZERO)
        self.flags = flags

    def __getattr__(self, name: str) -> int:
        registers = self.__dict__["registers"]
        if name[0] == "e" and name != "es":
            return int(registers["r" + name[1:]] & 0xFFFFFFFF)
        if name[1] == "h":
            return int(registers[f"r{name[0]}x"] >> 8 & 0xFF)
        if name[1] == "l":
            return int(registers[f"r{name[0]}x"] & 0xFF)
        if name in ("es", "ds"):
            return int(registers[name])
        return int(registers["r" + name] & 0xFFFF)


class BiosMachine:
    """A `pc` that has booted `disk` and waits for calls."""

    def __init__(self, disk: bytes = DISK, *, memory: str = "16M", boots: bool = True) -> None:
        self.machine = Machine(MachineConfig(bootsector=disk, memory=memory, rtc=START, vga="none"))
        board = self.machine.board
        assert isinstance(board, PcBoard)
        self.board = board
        self.cpu = self.machine.cpus[0]
        self.disk = disk
        if boots:
            self.run_to(0x7C00)

    def run_to(self, address: int) -> Exit:
        """Runs to a linear address."""
        self.cpu.add_breakpoint(address)
        result = self.machine.run(until_ns=self.machine.now_ns + LIMIT)
        self.cpu.remove_breakpoint(address)
        assert isinstance(result, Breakpoint), result
        assert result.pc == address
        return result

    def idle(self, milliseconds: int = 20) -> Exit:
        """Lets the machine run for so much guest time."""
        return self.machine.run(until_ns=self.machine.now_ns + milliseconds * MILLISECOND)

    def begin(self, vector: int, **registers: int) -> None:
        """Sets up a call without running it."""
        cpu = self.cpu
        self.write(CODE, bytes([0xCD, vector, 0xFB, 0xF4, 0xEB, 0xFC]))
        values = dict.fromkeys(("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"), 0)
        es = ds = 0
        for name, value in registers.items():
            if name == "es":
                es = value
            elif name == "ds":
                ds = value
            elif name[1] == "h":
                values[f"r{name[0]}x"] |= value << 8
            elif name[1] == "l":
                values[f"r{name[0]}x"] |= value
            else:
                values["r" + name.removeprefix("e")] |= value
        for name, value in values.items():
            setattr(cpu, name, value)
        for name, value in (("cs", 0), ("ss", 0), ("es", es), ("ds", ds)):
            setattr(cpu, name, Segment(value, value << 4, 0xFFFF, 0x9B if name == "cs" else 0x93))
        cpu.rsp = 0x7C00
        cpu.rip = CODE
        cpu.rflags = 0x202

    def finish(self) -> Result:
        """Runs the call that was set up."""
        self.run_to(CODE + 2)
        cpu = self.cpu
        names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp")
        registers = {name: getattr(cpu, name) for name in names}
        registers["es"], registers["ds"] = cpu.es.selector, cpu.ds.selector
        assert cpu.rsp == 0x7C00
        return Result(registers, cpu.rflags)

    def call(self, vector: int, **registers: int) -> Result:
        """INT vector with these registers, the others zero."""
        self.begin(vector, **registers)
        return self.finish()

    def read(self, address: int, size: int) -> bytes:
        return self.machine.memory.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        self.machine.memory.write(address, data)

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 2), "little")

    def row(self, number: int, columns: int = 80) -> str:
        """The characters of a row of the screen."""
        return self.read(0xB8000 + number * 160, columns * 2)[::2].decode("latin-1")

    def sector(self, number: int, count: int = 1) -> bytes:
        """What the disk image holds."""
        return self.disk[number * SECTOR : (number + count) * SECTOR]
