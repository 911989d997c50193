"""FXSAVE and the XSAVE family (SDM Vol. 1 10.5 and chapter 13)."""

from __future__ import annotations

import struct

import pytest
from system_bench import DATA, Bench

AREA = DATA & ~63


def bench(mode: str = "long") -> Bench:
    b = Bench(mode)
    b.cpu.cr4 |= 0x40600  # OSXSAVE, OSXMMEXCPT, OSFXSR
    b.cpu.xcr0 = 3
    b.cpu.rax, b.cpu.rdx = 3, 0
    return b


def fill(b: Bench) -> dict[str, int]:
    """Recognisable x87 and SSE state."""
    b.cpu.fcw, b.cpu.fpu_valid, b.cpu.fsw = 0x27F, 0x3F, 0x2800
    for i in range(8):
        setattr(b.cpu, f"st{i}", (0x4000 + i) << 64 | 1 << 63 | i)
    for i in range(16):
        setattr(b.cpu, f"xmm{i}", (i + 1) * 0x0101_0101_0101_0101_0101_0101_0101_0101 & (1 << 128) - 1)
    b.cpu.mxcsr = 0x1FA0
    return state(b)


def state(b: Bench) -> dict[str, int]:
    names = ["fcw", "fsw", "fpu_valid", "mxcsr", *(f"st{i}" for i in range(8)), *(f"xmm{i}" for i in range(16))]
    return {name: getattr(b.cpu, name) for name in names}


def clear(b: Bench) -> None:
    assert b.run("fninit") == ""
    for i in range(16):
        setattr(b.cpu, f"xmm{i}", 0)
    b.cpu.mxcsr = 0x1F80


@pytest.mark.parametrize(
    ("save", "load"),
    [
        ("fxsave", "fxrstor"),
        ("xsave", "xrstor"),
        ("xsaveopt", "xrstor"),
        ("xsavec", "xrstor"),
        ("fxsave64", "fxrstor64"),
    ],
)
def test_what_is_saved_comes_back(save: str, load: str) -> None:
    b = bench()
    before = fill(b)
    assert b.run(f"{save} [{AREA}]") == ""
    clear(b)
    assert b.run(f"{load} [{AREA}]") == ""
    assert state(b) == before


def test_outside_64_bit_mode_only_eight_registers_are_saved() -> None:
    b = bench("prot")
    fill(b)
    b.memory.write(AREA, b"\xee" * 512)
    assert b.run(f"fxsave [{AREA}]") == ""
    area = b.memory.read(AREA, 512)
    assert area[160:288] == b"".join(bytes([i + 1] * 16) for i in range(8))
    assert area[288:] == b"\xee" * 224


def test_the_header_tells_which_components_are_in_use() -> None:
    b = bench()
    b.memory.write(AREA + 512, bytes(64))
    clear(b)
    assert b.run(f"xsave [{AREA}]") == ""
    assert b.get(AREA + 512) == 0
    b.cpu.xmm7 = 1
    b.cpu.rip = 0x10000
    assert b.run(f"xsave [{AREA}]") == ""
    assert b.get(AREA + 512) == 2


def test_the_compacted_form_names_its_components() -> None:
    b = bench()
    fill(b)
    b.cpu.rax = 2
    assert b.run(f"xsavec [{AREA}]") == ""
    assert (b.get(AREA + 512), b.get(AREA + 520)) == (2, 1 << 63 | 2)


def test_xrstor_initialises_what_the_header_leaves_out() -> None:
    b = bench()
    fill(b)
    b.memory.write(AREA, bytes(576))
    b.memory.write(AREA + 24, struct.pack("<I", 0x1F80))
    assert b.run(f"xrstor [{AREA}]") == ""
    assert (b.cpu.fcw, b.cpu.fpu_valid, b.cpu.xmm3, b.cpu.st2) == (0x37F, 0, 0, 0)


FAULTS = """
    520 | 0000000000000001 | XCOMP_BV of the standard form
    512 | 0000000000000004 | a component that XCR0 lacks
    528 | 0000000000000001 | reserved header
    520 | 8000000000000004 | a compacted component that XCR0 lacks
    24  | 0000ffff00010000 | reserved bit of MXCSR
"""


@pytest.mark.parametrize("line", FAULTS.strip().splitlines())
def test_xrstor_refuses(line: str) -> None:
    offset, value, _ = line.split("|")
    b = bench()
    before = fill(b)
    b.memory.write(AREA, bytes(576))
    b.memory.write(AREA + 24, struct.pack("<I", 0x1F80))
    b.put(AREA + int(offset), int(value, 16))
    assert b.run(f"xrstor [{AREA}]") == "GP(0)"
    assert state(b) == before


def test_xsave_wants_osxsave_and_64_byte_alignment() -> None:
    b = bench()
    assert b.run(f"xsave [{AREA + 16}]") == "GP(0)"
    b = bench()
    b.cpu.cr4 &= ~0x40000
    assert b.run(f"xsave [{AREA}]") == "UD"
    b = bench()
    b.cpu.cr0 |= 8
    assert b.run(f"xsave [{AREA}]") == "NM"


@pytest.mark.parametrize("bit", [4, 8])
def test_fxsave_is_not_available_with_em_or_ts(bit: int) -> None:
    b = bench()
    b.cpu.cr0 |= bit
    assert b.run(f"fxsave [{AREA}]") == "NM"
    assert bench().run(f"fxsave [{AREA + 8}]") == "GP(0)"


def test_xgetbv_reports_use() -> None:
    b = bench()
    clear(b)
    b.cpu.rcx = 1
    assert b.run("xgetbv") == ""
    assert b.cpu.rax == 0
    b.cpu.xmm15 = 5
    assert b.run("xgetbv") == ""
    assert b.cpu.rax == 2
