"""SSE: exceptions, MXCSR, memory operands, random numbers (SDM Vol. 1 chapters 10 and 11)."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from system_bench import DATA, Bench

from vmcore.engine import Cpu, PhysicalMemory, Segment

ONE = 0x3FF0000000000000
MASKED = 0x1F80


def bench(mode: str = "long", cpl: int = 0, paging: bool = False) -> Bench:
    b = Bench(mode, cpl, paging=paging)
    b.cpu.cr4 |= 0x600  # OSFXSR, OSXMMEXCPT
    return b


EXCEPTIONS = """
    divsd xmm0, xmm1 | 3ff0000000000000 | 0000000000000000 | 04
    mulsd xmm0, xmm1 | 7fe0000000000000 | 7fe0000000000000 | 08
    mulsd xmm0, xmm1 | 0010000000000000 | 3fe0000000000000 | 10
    addsd xmm0, xmm1 | 7ff0000000000000 | fff0000000000000 | 01
    addsd xmm0, xmm1 | 0000000000000001 | 3ff0000000000000 | 02
    divsd xmm0, xmm1 | 3ff0000000000000 | 4008000000000000 | 20
    sqrtsd xmm0, xmm1 | 0000000000000000 | bff0000000000000 | 01
    comisd xmm0, xmm1 | 7ff8000000000000 | 3ff0000000000000 | 01
    cvttsd2si eax, xmm1 | 0000000000000000 | 7ff8000000000000 | 01
"""


@pytest.mark.parametrize("case", [c.strip() for c in EXCEPTIONS.strip().splitlines()])
def test_an_unmasked_exception_comes_before_the_result(case: str) -> None:
    code, a, b_, flag_text = (c.strip() for c in case.split("|"))
    flag = int(flag_text, 16)
    b = bench()
    b.cpu.xmm0, b.cpu.xmm1 = int(a, 16), int(b_, 16)
    b.cpu.rax = 0x1234
    b.cpu.mxcsr = MASKED & ~(flag << 7)
    flags = b.cpu.rflags
    assert b.run(code) == "XM"
    assert b.cpu.xmm0 == int(a, 16)
    assert b.cpu.rax == 0x1234
    assert b.cpu.mxcsr & flag
    trap = b.trap()
    assert trap is not None
    assert (trap.flags ^ flags) & 0x8D5 == 0

    masked = bench()
    masked.cpu.xmm0, masked.cpu.xmm1 = int(a, 16), int(b_, 16)
    masked.cpu.mxcsr = MASKED
    assert masked.run(code) == ""
    # A tiny result that is exact is an underflow only while that is unmasked.
    assert masked.cpu.mxcsr == (MASKED | flag if flag != 0x10 else MASKED) | (0x20 if flag in (2, 8) else 0)


def test_without_osxmmexcpt_an_unmasked_exception_is_an_undefined_opcode() -> None:
    b = bench()
    b.cpu.cr4 &= ~0x400
    b.cpu.mxcsr = 0
    b.cpu.xmm0 = ONE
    assert b.run("divsd xmm0, xmm1") == "UD"


def test_exceptions_of_the_operands_hide_those_of_the_result() -> None:
    b = bench()
    b.cpu.mxcsr = MASKED & ~(0x04 << 7)
    b.cpu.xmm0 = ONE << 64 | ONE
    b.cpu.xmm1 = 0x4008000000000000  # 1/3 is inexact, 1/0 is a zero divide
    assert b.run("divpd xmm0, xmm1") == "XM"
    assert b.cpu.mxcsr & 0x3F == 0x04


def test_flags_are_sticky_and_seen_by_stmxcsr() -> None:
    b = bench()
    b.cpu.mxcsr = MASKED
    b.cpu.xmm0, b.cpu.xmm1 = ONE, 0x4008000000000000
    assert b.run(f"divsd xmm0, xmm1; stmxcsr [{DATA}]", 2) == ""
    assert b.get(DATA, 4) == MASKED | 0x20
    assert b.cpu.mxcsr == MASKED | 0x20


@pytest.mark.parametrize("value", [0x10000, 0x80000000, 0xFFFFFFFF])
def test_reserved_bits_of_mxcsr_are_refused(value: int) -> None:
    b = bench()
    b.memory.write(DATA, struct.pack("<I", value))
    assert b.run(f"ldmxcsr [{DATA}]") == "GP(0)"


@pytest.mark.parametrize("mode", range(4))
def test_a_callback_does_not_see_the_guest_s_rounding(mode: int) -> None:
    b = bench()
    seen: list[float] = []

    def write(port: int, value: int, size: int) -> None:
        seen.append(float("1.0") / float("3.0"))

    b.memory.set_port_handlers(lambda port, size: 0, write)
    b.cpu.mxcsr = MASKED | mode << 13
    b.cpu.xmm0, b.cpu.xmm1 = ONE, 0x4008000000000000
    b.cpu.xmm2 = ONE << 64 | ONE
    assert b.run("out 0x80, al; divsd xmm0, xmm1; addpd xmm2, xmm2", 3) == ""
    assert seen == [1 / 3]
    result = struct.unpack("<d", struct.pack("<Q", b.cpu.xmm0))[0]
    down = mode in (1, 3)
    nearest = Fraction(1 / 3)
    assert nearest < Fraction(1, 3)
    assert (Fraction(result) <= Fraction(1, 3)) == (down or mode == 0)
    assert b.cpu.mxcsr == MASKED | mode << 13 | 0x20


def test_a_callback_s_arithmetic_leaves_no_flags_in_the_guest() -> None:
    b = bench()
    b.memory.set_port_handlers(lambda port, size: 0, lambda port, value, size: float("1") / float("3"))
    b.cpu.mxcsr = MASKED
    assert b.run("out 0x80, al; nop", 2) == ""
    assert b.cpu.mxcsr == MASKED


ALIGNED = """
    movaps xmm0, [{}] | movapd xmm0, [{}] | movdqa xmm0, [{}] | movaps [{}], xmm0 | movntdq [{}], xmm0
    addps xmm0, [{}] | pxor xmm0, [{}]
    pshufd xmm0, [{}], 5 | cvtdq2ps xmm0, [{}] | punpcklbw xmm0, [{}] | pshufb xmm0, [{}]
    movntdqa xmm0, [{}] | cvtpd2pi mm0, [{}]
"""
UNALIGNED = """
    movups xmm0, [{}] | movupd xmm0, [{}] | movdqu xmm0, [{}] | movups [{}], xmm0 | lddqu xmm0, [{}]
    addsd xmm0, [{}] | movq xmm0, [{}]
    movhps xmm0, [{}] | cvtps2pd xmm0, [{}] | pmovzxbw xmm0, [{}] | pcmpistri xmm0, [{}], 0
    movd xmm0, [{}] | cvtps2pi mm0, [{}]
"""


def forms(text: str) -> list[str]:
    return [c.strip() for c in text.replace("\n", "|").split("|") if c.strip()]


@pytest.mark.parametrize("code", forms(ALIGNED))
def test_a_16_byte_operand_must_be_aligned(code: str) -> None:
    assert bench().run(code.format(DATA + 0x20)) == ""
    for offset in (1, 4, 8):
        assert bench().run(code.format(DATA + offset)) == "GP(0)"


@pytest.mark.parametrize("code", forms(UNALIGNED))
def test_other_operands_may_lie_anywhere(code: str) -> None:
    assert bench().run(code.format(DATA + 0xFF9)) == ""


def test_a_store_across_pages_changes_nothing_if_one_is_missing() -> None:
    b = bench("prot", paging=True)
    b.memory.write(0x45000 + 4 * 0xB, struct.pack("<I", 0xB000))  # not present
    b.memory.write(DATA + 0xFF0, b"\x55" * 16)
    b.cpu.xmm0 = 0
    assert b.run(f"movups [{DATA + 0xFF8:#x}], xmm0") == "PF(2)"
    assert b.cpu.cr2 == 0xB000
    assert b.memory.read(DATA + 0xFF0, 16) == b"\x55" * 16


def test_maskmovdqu_writes_only_the_chosen_bytes() -> None:
    b = bench()
    b.memory.write(DATA, b"\xee" * 16)
    b.cpu.rdi = DATA
    b.cpu.xmm0 = int.from_bytes(range(16), "little")
    b.cpu.xmm1 = int.from_bytes((0x80 if i % 3 == 0 else 0x7F for i in range(16)), "little")
    assert b.run("maskmovdqu xmm0, xmm1") == ""
    assert b.memory.read(DATA, 16) == bytes(i if i % 3 == 0 else 0xEE for i in range(16))


def test_reciprocals_are_within_the_manual_s_bound() -> None:
    b = bench()
    for value in (1.0, 3.0, -7.25, 1e-30, 123456.0, 2.0**-100, 1.9999999):
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
        (exact,) = struct.unpack("<f", struct.pack("<I", bits))
        for code, want in (("rcpss", 1 / exact), ("rsqrtss", abs(exact) ** -0.5)):
            if code == "rsqrtss" and value < 0:
                continue
            b.cpu.xmm1 = bits
            b.cpu.rip = 0x10000
            assert b.run(f"{code} xmm0, xmm1") == ""
            (got,) = struct.unpack("<f", struct.pack("<I", b.cpu.xmm0 & 0xFFFFFFFF))
            assert abs(got - want) <= abs(want) * 1.5 * 2**-12


def test_random_numbers_come_from_the_seed() -> None:
    def draw(seed: int) -> list[int]:
        memory = PhysicalMemory()
        code = b"\x66\x0f\xc7\xf0\x66\x0f\xc7\xfb\x0f\xc7\xf1"  # rdrand eax; rdseed ebx; rdrand cx
        memory.map_ram(0, 0x1000, contents=code)
        cpu = Cpu(memory, seed=seed)
        cpu.cs = Segment(0, 0, 0xFFFF, 0x9B)
        cpu.rip = 0
        cpu.run(3)
        assert cpu.rip == 11
        assert cpu.rflags & 1
        return [cpu.rax, cpu.rbx, cpu.rcx]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
