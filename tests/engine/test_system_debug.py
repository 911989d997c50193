"""Breakpoints, single-stepping and DR6/DR7 (SDM Vol. 3B chapter 18)."""

from __future__ import annotations

import pytest
from system_bench import CODE, DATA, HANDLERS, Bench

DR6_RESET = 0xFFFF0FF0
BS, BD, BT = 1 << 14, 1 << 13, 1 << 15


def dr7(index: int, kind: int, length: int, *, enable: int = 1) -> int:
    """kind: 0 execution, 1 write, 2 port, 3 read or write; length: 0 to 3 for 1, 2, 8, 4 bytes."""
    return 0x400 | enable << 2 * index | kind << 16 + 4 * index | length << 18 + 4 * index


@pytest.mark.parametrize("mode", ["prot", "long"])
def test_an_instruction_breakpoint_faults_before_the_instruction(mode: str) -> None:
    bench = Bench(mode)
    bench.write("nop; inc eax; nop")
    bench.cpu.dr0 = CODE + 1
    bench.cpu.dr7 = dr7(0, 0, 0)
    assert bench.step(3) == "DB"
    trap = bench.trap()
    assert trap is not None
    assert (trap.ip, trap.flags & 0x10000, bench.cpu.eax) == (CODE + 1, 0, 0)
    assert bench.cpu.dr6 == DR6_RESET | 1


def test_rf_lets_the_instruction_on_a_breakpoint_run_once() -> None:
    bench = Bench("long")
    # The handler sets RF in the pushed flags and returns.
    bench.memory.load(HANDLERS + 16, bytes.fromhex("488144241000000100 48cf".replace(" ", "")))
    bench.write(bytes.fromhex("ffc0ffc0ebfa"))
    bench.cpu.dr0 = CODE + 2
    bench.cpu.dr7 = dr7(0, 0, 0)
    bench.cpu.run(40)
    # Each round: two increments, a jump, two instructions of the handler.
    assert bench.cpu.eax == 16


@pytest.mark.parametrize(
    ("kind", "length", "place", "code", "hit"),
    [
        (1, 0, 0, "mov [0xa000], al", True),
        (1, 0, 1, "mov [0xa000], al", False),
        (1, 3, 0, "mov [0xa003], al", True),
        (1, 3, 0, "mov [0xa004], al", False),
        (1, 1, 2, "mov [0xa000], eax", True),
        (1, 0, 0, "mov al, [0xa000]", False),
        (3, 0, 0, "mov al, [0xa000]", True),
        (3, 3, 4, "mov eax, [0xa002]", True),
        (1, 0, 0, "inc dword ptr [0xa000]", True),
        (3, 0, 0, "cmp al, [0xa000]", True),
        (1, 3, 0, "push eax", False),
    ],
)
def test_a_data_breakpoint_traps_after_the_access(kind: int, length: int, place: int, code: str, hit: bool) -> None:
    bench = Bench("prot")
    size = bench.write(code + "; nop")
    bench.cpu.dr1 = DATA + place
    bench.cpu.dr7 = dr7(1, kind, length)
    bench.cpu.run(2)
    trap = bench.trap()
    if not hit:
        assert trap is None
        assert bench.cpu.dr6 == DR6_RESET
        return
    assert trap is not None
    assert str(trap) == "DB"
    assert trap.ip == CODE + size - 1
    assert bench.cpu.dr6 == DR6_RESET | 2


def test_a_data_breakpoint_also_sees_the_stack_and_a_warm_tlb() -> None:
    bench = Bench("prot", paging=True)
    bench.write("push eax; push eax; push eax; nop")
    bench.cpu.run(1)
    bench.cpu.dr3 = bench.cpu.rsp - 8
    bench.cpu.dr7 = dr7(3, 1, 3)
    bench.cpu.run(1)
    assert bench.trap() is None
    bench.cpu.run(2)
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == CODE + 3


def test_a_port_breakpoint_needs_cr4_de() -> None:
    for de, expected in ((0, ""), (8, "DB")):
        bench = Bench("prot")
        bench.cpu.cr4 = de
        bench.write("in al, 0x60; nop")
        bench.cpu.dr2 = 0x60
        bench.cpu.dr7 = dr7(2, 2, 0)
        assert bench.step(2) == expected


def test_single_step_traps_after_each_instruction() -> None:
    bench = Bench("long")
    bench.write("nop; nop")
    bench.cpu.rflags |= 0x100
    bench.cpu.run(1)
    trap = bench.trap()
    assert trap is not None
    assert (trap.vector, trap.ip, trap.flags & 0x100) == (1, CODE + 1, 0x100)
    assert bench.cpu.dr6 == DR6_RESET | BS
    assert not bench.cpu.rflags & 0x100


def test_popf_that_sets_tf_traps_after_the_next_instruction() -> None:
    bench = Bench("prot")
    bench.write("push 0x102; popfd; nop; nop")
    bench.step(2)
    assert bench.trap() is None
    assert bench.step(1) == "DB"
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == CODE + 7


def test_an_interrupt_instruction_does_not_trap_when_stepped() -> None:
    bench = Bench("prot")
    bench.write("int 0x20")
    bench.cpu.rflags |= 0x100
    assert bench.step(1) == "20"
    assert bench.cpu.dr6 == DR6_RESET


def test_a_load_of_ss_holds_traps_back_for_one_instruction() -> None:
    bench = Bench("prot")
    bench.cpu.rax = 0x10
    bench.write(bytes.fromhex("8ed09090"))
    bench.cpu.rflags |= 0x100
    bench.cpu.run(2)
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == CODE + 3


def test_general_detect_faults_on_access_to_debug_registers() -> None:
    bench = Bench("prot")
    bench.cpu.dr7 = 0x2400
    assert bench.run("mov eax, dr0") == "DB"
    assert bench.cpu.dr6 == DR6_RESET | BD
    assert not bench.cpu.dr7 & 0x2000


def test_dr4_and_dr5_are_aliases_or_undefined() -> None:
    bench = Bench("prot")
    assert bench.run(bytes.fromhex("0f21e0")) == ""  # mov eax, dr4
    assert bench.cpu.eax == DR6_RESET
    bench = Bench("prot")
    bench.cpu.cr4 = 8
    assert bench.run(bytes.fromhex("0f21e0")) == "UD"


def test_reserved_bits_of_dr6_and_dr7_are_fixed() -> None:
    bench = Bench("prot")
    bench.cpu.rax = 0xFFFFFFFF
    assert bench.run("mov dr6, eax") == ""
    assert bench.cpu.dr6 == 0xFFFFEFFF
    bench.cpu.rax = 0
    assert bench.run("mov dr6, eax") == ""
    assert bench.cpu.dr6 == DR6_RESET
    assert bench.run("mov dr7, eax") == ""
    assert bench.cpu.dr7 == 0x400


def test_icebp_traps_without_a_trace_in_dr6_and_without_a_privilege_check() -> None:
    bench = Bench("prot", 3)
    assert bench.run(b"\xf1") == "DB"
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == CODE + 1
    assert bench.cpu.dr6 == DR6_RESET


def test_a_breakpoint_on_a_repeated_string_instruction_hits_once() -> None:
    bench = Bench("long")
    bench.memory.load(HANDLERS + 16, bytes.fromhex("ffc348814424100000010048cf"))  # inc ebx; set RF; iretq
    bench.write("rep stosb; nop; nop")
    bench.cpu.rdi, bench.cpu.rcx = DATA, 300
    bench.cpu.dr0 = CODE
    bench.cpu.dr7 = dr7(0, 0, 0)
    for _ in range(20):
        bench.cpu.run(1)
        if bench.cpu.rip > CODE + 1 and bench.cpu.rip < HANDLERS:
            break
    assert bench.cpu.rcx == 0
    assert bench.cpu.ebx == 1
