"""x87 state, exceptions and availability (SDM Vol. 1 chapter 8; Vol. 3A tables 2-2 and 6-1)."""

from __future__ import annotations

import struct

import pytest
from system_bench import CODE, DATA, Bench

QUIET = "fninit; fldz; fld1"


def bench(mode: str = "prot", cr0: int = 0, cpl: int = 0) -> Bench:
    """A vCPU with native x87 errors (CR0.NE) and `cr0` on top."""
    b = Bench(mode, cpl)
    b.cpu.cr0 |= 0x20 | cr0
    return b


def count(code: str) -> int:
    return len([part for part in code.split(";") if part.strip()])


def run(b: Bench, code: str) -> str:
    return b.run(code, count(code))


def words(b: Bench, size: int, number: int, at: int = DATA) -> list[int]:
    return [b.get(at + i * size, size) for i in range(number)]


def test_environment_of_32_bit_protected_mode() -> None:
    b = bench()
    assert run(b, f"fninit; fld1; fadd dword ptr [{DATA + 0x100:#x}]; fnstenv [{DATA:#x}]") == ""
    control, status, tags, fip, fcs_fop, fdp, fds = words(b, 4, 7)
    assert control == 0xFFFF037F
    assert status == 0xFFFF3800
    assert tags == 0xFFFF3FFF
    assert fip == CODE + 4
    assert fcs_fop & 0xFFFF == b.cpu.cs.selector
    assert fcs_fop >> 16 == 0x005  # D8 05
    assert fdp == DATA + 0x100
    assert fds == 0xFFFF0000 | b.cpu.ds.selector


def test_environment_of_16_bit_protected_mode() -> None:
    b = bench("prot16")
    assert run(b, "fninit; fldz; fnstenv [0xa000]") == ""
    assert words(b, 2, 5) == [0x037F, 0x3800, 0x7FFF, 2, b.cpu.cs.selector]


@pytest.mark.parametrize("mode", ["real", "v86"])
def test_environment_of_real_mode_has_linear_pointers(mode: str) -> None:
    b = bench(mode)
    assert run(b, "fninit; fld dword ptr [0x20]; fnstenv [0]") == ""
    control, status, tags, fip, upper, fdp, last = words(b, 2, 7)
    assert (control, status, tags) == (0x037F, 0x3800, 0x7FFF)
    assert (upper >> 12) << 16 | fip == CODE + 2
    assert upper & 0x7FF == 0x106  # D9 06
    assert (last >> 12) << 16 | fdp == DATA + 0x20


def test_environment_of_real_mode_with_32_bit_operands() -> None:
    b = bench("real")
    b.write(b"\xdb\xe3\xd9\x06\x20\x00\x66\xd9\x36\x00\x00")  # fninit; fld dword [20h]; fnstenvd [0]
    assert b.step(3) == ""
    fip, upper, fdp, last = words(b, 4, 7)[3:]
    assert fip & 0xFFFF | (upper >> 12 & 0xFFFF) << 16 == CODE + 2
    assert upper & 0x7FF == 0x106
    assert fdp & 0xFFFF | (last >> 12 & 0xFFFF) << 16 == DATA + 0x20


@pytest.mark.parametrize("mode", ["real", "prot16", "prot", "long"])
def test_frstor_undoes_fnsave(mode: str) -> None:
    b = bench(mode)
    area = {"real": "0", "prot16": "0xa000"}.get(mode, f"{DATA:#x}")
    assert run(b, "fninit; fldpi; fld1; fldl2e; ffree st(1); fdecstp") == ""
    before = (b.cpu.fsw, b.cpu.fpu_valid, [getattr(b.cpu, f"st{i}") for i in range(8)])
    assert run(b, f"fnsave [{area}]") == ""
    assert (b.cpu.fcw, b.cpu.fsw, b.cpu.fpu_valid) == (0x37F, 0, 0)
    assert run(b, f"frstor [{area}]") == ""
    assert (b.cpu.fsw, b.cpu.fpu_valid, [getattr(b.cpu, f"st{i}") for i in range(8)]) == before


def test_fnstenv_masks_every_exception() -> None:
    b = bench()
    b.cpu.fcw = 0x340
    assert run(b, f"fnstenv [{DATA:#x}]") == ""
    assert b.cpu.fcw == 0x37F


def unmasked_division(b: Bench) -> None:
    """1 / 0 with ZE unmasked: the error is pending afterwards."""
    b.memory.write(DATA, struct.pack("<H", 0x37B))
    assert run(b, f"fninit; fldcw [{DATA:#x}]; fldz; fld1; fdiv st, st(1)") == ""
    assert b.cpu.fsw & 0x84 == 0x84


@pytest.mark.parametrize("code", ["fwait", "fld1", "fadd st, st(1)", f"fldcw [{DATA:#x}]", "paddb mm0, mm1", "emms"])
def test_a_pending_error_is_raised_by_the_next_waiting_instruction(code: str) -> None:
    b = bench()
    unmasked_division(b)
    here = b.cpu.rip
    assert b.run(code) == "MF"
    trap = b.trap()
    assert trap is not None
    assert trap.ip == here


@pytest.mark.parametrize("code", ["fnstsw ax", f"fnstcw [{DATA:#x}]", "fnclex", "fninit", f"fnsave [{DATA:#x}]", "nop"])
def test_an_instruction_that_does_not_wait_leaves_the_error_pending(code: str) -> None:
    b = bench()
    unmasked_division(b)
    assert b.run(code) == ""


def test_an_unmasked_zero_divide_leaves_the_operands() -> None:
    b = bench()
    unmasked_division(b)
    assert b.cpu.st0 == 0x3FFF_8000000000000000
    assert b.cpu.st1 == 0


def test_an_unmasked_overflow_delivers_the_scaled_result() -> None:
    b = bench()
    b.memory.write(DATA, struct.pack("<H", 0x377))
    assert run(b, f"fninit; fldcw [{DATA:#x}]") == ""
    b.cpu.fpu_valid = 0x80
    b.cpu.fsw = 0x3800
    b.cpu.st0 = 0x7FFE_8000000000000000
    assert run(b, "fmul st, st(0)") == ""
    assert b.cpu.fsw & 0x88 == 0x88
    assert b.cpu.st0 == (2 * (0x7FFE - 0x3FFF) - 24576 + 0x3FFF) << 64 | 1 << 63


def test_stack_overflow_and_underflow_are_told_apart() -> None:
    b = bench()
    assert run(b, "fninit; fabs") == ""
    assert b.cpu.fsw & 0x241 == 0x041
    assert b.cpu.st0 == 0xFFFF_C000000000000000
    assert run(b, "fninit; " + "fld1; " * 9) == ""
    assert b.cpu.fsw & 0x241 == 0x241


AVAILABILITY = """
    EM TS MP | fld1  | fwait | paddb mm0, mm1 | addps xmm0, xmm1
    0  0  0  |       |       |                |
    0  0  1  |       |       |                |
    0  1  0  | NM    |       | NM             | NM
    0  1  1  | NM    | NM    | NM             | NM
    1  0  0  | NM    |       | UD             | UD
    1  0  1  | NM    |       | UD             | UD
    1  1  0  | NM    |       | UD             | UD
    1  1  1  | NM    | NM    | UD             | UD
"""


def availability() -> list[tuple[int, str, str]]:
    head, *lines = [[c.strip() for c in line.split("|")] for line in AVAILABILITY.strip().splitlines()]
    cases = []
    for bits, *results in lines:
        em, ts, mp = (int(b) for b in bits.split())
        cases += [(em << 2 | ts << 3 | mp << 1, code, want) for code, want in zip(head[1:], results, strict=True)]
    return cases


@pytest.mark.parametrize(("cr0", "code", "want"), availability())
def test_cr0_decides_who_may_compute(cr0: int, code: str, want: str) -> None:
    b = bench()
    b.cpu.cr4 |= 0x200
    b.cpu.cr0 = b.cpu.cr0 & ~0xE | cr0
    assert b.run(code) == want


def test_ldmxcsr_needs_osfxsr_and_fxsave_does_not() -> None:
    b = bench()
    b.memory.write(DATA, struct.pack("<I", 0x1F80))
    assert b.run(f"ldmxcsr [{DATA:#x}]") == "UD"
    assert bench().run(f"fxsave [{DATA:#x}]") == ""


# ------------------------------------------------------------------------------------------- errors by way of IRQ 13


def test_without_native_errors_ferr_is_asserted_and_the_interrupt_comes_before_the_waiting_instruction() -> None:
    b = Bench("prot")
    levels: list[bool] = []

    def ferr(level: bool) -> None:
        levels.append(level)
        b.cpu.set_interrupt(level)

    b.cpu.on_ferr = ferr
    b.cpu.acknowledge = lambda: 0x75
    b.cpu.cr0 &= ~0x20
    unmasked_division(b)
    assert levels == []
    b.cpu.rflags |= 0x200
    here = b.cpu.rip
    assert b.run("fwait") == "75"
    assert levels == [True]
    trap = b.trap()
    assert trap is not None
    assert trap.ip == here
    b.cpu.ignne = 1  # what a write to port F0h does
    assert run(b, "fnclex") == "75"  # still in the handler
    assert levels == [True, False]
    assert b.cpu.ferr == 0
    assert b.cpu.ignne == 0


def test_with_interrupts_off_the_waiting_instruction_is_executed() -> None:
    b = Bench("prot")
    b.cpu.cr0 &= ~0x20
    unmasked_division(b)
    assert b.run("fwait") == ""
    assert b.cpu.ferr == 1


# ------------------------------------------------------------------------------------------- MMX


def test_mmx_marks_every_register_valid_and_emms_frees_them() -> None:
    b = bench()
    assert run(b, "fninit; fld1; fld1; pxor mm3, mm3") == ""
    assert (b.cpu.fpu_valid, b.cpu.fsw & 0x3800) == (0xFF, 0)
    assert b.cpu.st3 == 0xFFFF_0000000000000000
    assert run(b, "emms") == ""
    assert b.cpu.fpu_valid == 0


def test_the_constants_follow_the_rounding_control() -> None:
    found = []
    for rounding in range(4):
        b = bench()
        b.memory.write(DATA, struct.pack("<H", 0x37F & ~0xC00 | rounding << 10))
        assert run(b, f"fninit; fldcw [{DATA:#x}]; fldpi") == ""
        found.append(b.cpu.st0 & 0xFF)
    assert found == [0x35, 0x34, 0x35, 0x34]
