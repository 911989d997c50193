"""Disassembling x86 code, with capstone."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from attrs import frozen

from vmcore.model.errors import UsageError

__all__ = ["Instruction", "disassemble"]

BITS: Final = (16, 32, 64)


@frozen
class Instruction:
    """One instruction.  address: linear, as it was given; data: its bytes; mnemonic and operands: Intel syntax.

    Bytes that are no instruction are one byte each with the mnemonic `db`.
    """

    address: int
    data: bytes
    mnemonic: str
    operands: str

    @property
    def text(self) -> str:
        """Mnemonic and operands."""
        return f"{self.mnemonic} {self.operands}".rstrip()

    def __str__(self) -> str:
        return f"{self.address:#x}: {self.data.hex(' ')}: {self.text}"


@cache
def _capstone(bits: int) -> Any:
    import capstone

    mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[bits]
    return capstone.Cs(capstone.CS_ARCH_X86, mode)


def disassemble(data: bytes, address: int = 0, bits: int = 64, count: int = 0) -> list[Instruction]:
    """The instructions in `data`, which lies at `address`; at most `count` of them if that is not 0.

    A cut instruction at the end shows as `db` like any other bytes that are none.
    """
    if bits not in BITS:
        raise UsageError(f"bits: {bits!r}: expected 16, 32 or 64")
    engine = _capstone(bits)
    found: list[Instruction] = []
    done = 0
    while done < len(data) and (not count or len(found) < count):
        left = count - len(found) if count else 0
        for at, size, mnemonic, operands in engine.disasm_lite(bytes(data[done:]), address + done, left):
            found.append(Instruction(at, bytes(data[done : done + size]), mnemonic, operands))
            done += size
        if done < len(data) and (not count or len(found) < count):
            found.append(Instruction(address + done, bytes(data[done : done + 1]), "db", f"{data[done]:#04x}"))
            done += 1
    return found
