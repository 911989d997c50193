"""Random 64-bit integer programs, in a loop so that their blocks get hot, and a digest of what they did.

`python random_programs.py FIRST LAST SLICE` prints one line a seed: the digest of the final state and memory, and the
number of instructions.  Run with different settings of VMCORE_NATIVE (see native.h) and different slices, the lines
must be the same.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
from typing import Final

from vmcore.engine import FEATURES, Cpu, CpuModel, PhysicalMemory, RunExit, Segment

CODE: Final = 0x10000
DATA: Final = 0x40000
STACK: Final = 0x60000
RBX, RSP, RBP, RSI = 3, 4, 5, 6
MODEL: Final = CpuModel("random programs", frozenset(FEATURES) - {"VENDOR_AMD"}, ())


class Program:
    """One program: RBX points to data, RBP counts the rounds, RSI stays below 256 where it is an index."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        r = self.random
        body = b"".join(self.instruction() for _ in range(r.randrange(4, 40)))
        body += r.choice((b"\xff\xcd", b"\x83\xed\x01", b"\x48\xff\xcd"))  # dec ebp; sub ebp, 1; dec rbp
        self.code = body + b"\x0f\x85" + struct.pack("<i", -len(body) - 6) + b"\xf4"

    def register(self, *, write: bool = True) -> int:
        choice = [0, 1, 2, 7, 8, 9, 10, 11, 12, 13, 14, 15, RSI]
        return self.random.choice(choice if write else [*choice, RBX, RBP])

    def modrm(self, reg: int, *, memory: bool | None = None, write_rm: bool = True) -> tuple[int, bytes]:
        """REX bits and the ModRM bytes with a random register or memory operand."""
        r = self.random
        rex = (reg >> 3) << 2
        if memory is None:
            memory = r.random() < 0.4
        if not memory:
            rm = self.register(write=write_rm)
            return rex | rm >> 3, bytes([0xC0 | (reg & 7) << 3 | rm & 7])
        displacement = r.randrange(0, 0x300) if r.random() < 0.9 else r.choice((0xFFC, 0xFFF, 0xFF9))
        if r.random() < 0.5:
            return rex, bytes([0x80 | (reg & 7) << 3 | RBX]) + struct.pack("<i", displacement)
        # [rbx + rsi * scale + displacement] with RSI made small by the instruction before.
        sib = r.randrange(4) << 6 | RSI << 3 | RBX
        return rex, bytes([0x84 | (reg & 7) << 3, sib]) + struct.pack("<i", displacement)

    def encode(
        self, opcode: bytes, reg: int, width: int, tail: bytes = b"", memory: bool | None = None, write_rm: bool = True
    ) -> bytes:
        rex, operand = self.modrm(reg, memory=memory, write_rm=write_rm)
        prefix = b"\x66" if width == 1 else b""
        rex |= 0x40 | (8 if width == 3 else 0)
        guard = b"\x81\xe6\xff\x00\x00\x00"  # and esi, 255
        return (guard if operand[0] & 0xC7 == 0x84 else b"") + prefix + bytes([rex]) + opcode + operand + tail

    def instruction(self) -> bytes:
        r = self.random
        width = r.choice((0, 1, 2, 2, 2, 3, 3, 3))
        wide = max(width, 1)
        big = 1 if width else 0
        immediate = struct.pack("<i", r.choice((0, 1, -1, 0x7F, 0x80, r.getrandbits(31), -r.getrandbits(31))))
        immediate = immediate[: (1, 2, 4, 4)[width]]
        reg = self.register()
        source = self.register(write=False)
        kind = r.randrange(30)
        if kind < 5:
            return self.encode(bytes([r.randrange(8) * 8 + big]), source, width)
        if kind < 8:
            return self.encode(bytes([r.randrange(8) * 8 + 2 + big]), reg, width, write_rm=False)
        if kind < 11:
            return self.encode(bytes([0x80 + big]), r.randrange(8), width, immediate)
        if kind == 11:
            return self.encode(b"\x83", r.randrange(8), wide, bytes([r.getrandbits(8)]))
        if kind == 12:
            return self.encode(bytes([0x88 + big]), source, width)
        if kind == 13:
            return self.encode(bytes([0x8A + big]), reg, width, write_rm=False)
        if kind == 14:
            return self.encode(bytes([0xC6 + big]), 0, width, immediate)
        if kind == 15:
            return self.encode(b"\x0f" + bytes([r.choice((0xB6, 0xB7, 0xBE, 0xBF))]), reg, wide, write_rm=False)
        if kind == 16:
            if r.random() < 0.2:
                return self.encode(b"\x63", reg, 3)
            return self.encode(b"\x8d", reg, max(wide, 2), memory=True)
        if kind == 17:
            return self.encode(bytes([0x84 + big]), source, width, write_rm=False)
        if kind == 18:
            return self.encode(bytes([0xFE + big]), r.randrange(2), width)
        if kind == 19:
            return self.encode(bytes([0xF6 + big]), r.choice((2, 3)), width)
        if kind in (20, 21):
            return self.encode(bytes([0xC0 + big]), r.choice((0, 1, 4, 5, 7)), width, bytes([r.randrange(34)]))
        if kind == 22:
            return self.encode(bytes([r.choice((0xD0, 0xD2)) + big]), r.randrange(8), width)
        if kind == 23:
            form = r.randrange(3)
            if form == 0:
                return self.encode(b"\x0f\xaf", reg, wide, write_rm=False)
            if form == 1:
                return self.encode(b"\x6b", reg, wide, bytes([r.getrandbits(8)]), write_rm=False)
            tail = struct.pack("<i", r.getrandbits(31))[: 2 if wide == 1 else 4]
            return self.encode(b"\x69", reg, wide, tail, write_rm=False)
        if kind == 24:
            return self.encode(b"\x0f" + bytes([0x40 + r.randrange(16)]), reg, wide, write_rm=False)
        if kind == 25:
            return self.encode(b"\x0f" + bytes([0x90 + r.randrange(16)]), 0, 0)
        if kind == 26:  # a jump over one instruction
            inner = self.instruction()
            if len(inner) > 100:
                return inner
            return bytes([r.choice([0xEB, *range(0x70, 0x80)] if r.random() < 0.9 else [0xEB]), len(inner)]) + inner
        if kind == 27:  # push, something, pop
            first, second = self.register(write=False), self.register()
            inner = self.instruction()
            return bytes([0x40 | first >> 3, 0x50 | first & 7]) + inner + bytes([0x40 | second >> 3, 0x58 | second & 7])
        if kind == 28:
            plain = "4898 98 99 4899 f5 f8 f9 0f1f00 91"  # CDQE CWDE CDQ CQO CMC CLC STC NOP XCHG
            return bytes.fromhex(r.choice(plain.split()))
        return self.encode(b"\x0f" + bytes([r.choice((0xA3, 0xAB, 0xB3, 0xBB))]), source, max(wide, 2), memory=False)


def machine(seed: int, rounds: int = 200) -> tuple[PhysicalMemory, Cpu]:
    """A vCPU in 64-bit mode, in front of the program of `seed`."""
    program = Program(seed)
    r = program.random
    memory = PhysicalMemory()
    memory.map_ram(0, 0x80000)
    memory.write(0x1000, struct.pack("<Q", 0x2003))
    memory.write(0x2000, struct.pack("<Q", 0x3003))
    memory.write(0x3000, struct.pack("<Q", 0x83))
    place = CODE + r.choice((0, 0, 0x7C0, 0xFE8))  # some cross a page
    memory.write(place, program.code)
    memory.write(DATA, r.randbytes(0x3000))
    cpu = Cpu(memory, model=MODEL)
    cpu.cr4, cpu.efer, cpu.cr3, cpu.cr0 = 0x20, 0x100, 0x1000, 0x80000011
    cpu.cs = Segment(8, 0, 0xFFFFFFFF, 0xA09B)
    cpu.ss = cpu.ds = cpu.es = Segment(16, 0, 0xFFFFFFFF, 0xC093)
    for name in ("rax", "rcx", "rdx", "rsi", "rdi", *(f"r{i}" for i in range(8, 16))):
        setattr(cpu, name, r.choice((0, 1, (1 << 64) - 1, r.getrandbits(64), r.getrandbits(32), r.getrandbits(8))))
    cpu.rbx, cpu.rbp, cpu.rsp, cpu.rip, cpu.rflags = DATA, rounds, STACK, place, 2 | r.getrandbits(12) & 0x8D5
    return memory, cpu


def outcome(seed: int, slice_: int) -> str:
    """Digest and instruction count after the program has run to its end in slices."""
    memory, cpu = machine(seed)
    digest = hashlib.blake2b(digest_size=12)
    for _ in range(100_000):
        if cpu.run(slice_) is not RunExit.BUDGET:
            break
    names = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "rip", "rflags")
    for name in (*names, *(f"r{i}" for i in range(8, 16))):
        digest.update(getattr(cpu, name).to_bytes(8, "little"))
    digest.update(memory.read(DATA, 0x3000))
    digest.update(memory.read(STACK - 0x100, 0x100))
    return f"{seed} {digest.hexdigest()} {cpu.instructions}"


def main(arguments: list[str]) -> None:
    first, last, slice_ = map(int, arguments)
    for seed in range(first, last):
        print(outcome(seed, slice_), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
