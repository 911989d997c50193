"""The outer loop: exact stops, halts, interrupts and their shadow, single steps, faults of the fetch."""

from __future__ import annotations

import pytest
from system_bench import CODE, Bench

from vmcore.engine import RunExit, assemble

LOOP = """
    again: mov eax, [0xa000]; add eax, 3; mov [0xa000], eax; test al, 8; jz even; inc ebx
    even: push rax; pop rdx; call f; loop again; hlt
    f: xor edx, ecx; ret
"""


def trace(slices: list[int]) -> list[tuple[int, int, int, int]]:
    bench = Bench("long")
    bench.write(assemble(LOOP, 64, CODE))
    bench.cpu.rcx = 300
    states = []
    for n in slices:
        assert bench.cpu.run(n) is RunExit.BUDGET
        states.append((bench.cpu.rip, bench.cpu.eax, bench.cpu.rflags, bench.cpu.instructions))
    return states


def test_a_run_stops_after_exactly_the_instructions_asked_for() -> None:
    single = trace([1] * 1500)
    for step in (2, 3, 7, 11, 64, 65, 149):
        count = 1500 // step
        assert trace([step] * count) == single[step - 1 : count * step : step]


def test_a_halt_ends_the_run_and_an_interrupt_ends_the_halt() -> None:
    bench = Bench("long")
    bench.write("sti; hlt; inc eax; hlt")
    assert bench.cpu.run(100) is RunExit.HALT
    assert (bench.cpu.rip, bench.cpu.instructions) == (CODE + 2, 2)
    assert bench.cpu.run(100) is RunExit.HALT
    assert bench.cpu.instructions == 2


def test_a_fault_is_not_counted_as_an_instruction() -> None:
    bench = Bench("long")
    bench.write("nop; ud2")
    bench.gate(6, offset=CODE + 0x100)
    bench.memory.write(CODE + 0x100, b"\xf4")
    assert bench.cpu.run(100) is RunExit.HALT
    assert bench.cpu.instructions == 2


def test_a_handler_that_faults_at_once_for_ever_does_not_hang_the_run() -> None:
    bench = Bench("long")
    bench.write("ud2")
    bench.gate(6, offset=CODE, ist=1)
    assert bench.cpu.run(3) is RunExit.BUDGET


@pytest.mark.parametrize("slice_", [1, 1000])
def test_a_breakpoint_stops_before_its_instruction_and_can_be_left(slice_: int) -> None:
    bench = Bench("long")
    bench.write(assemble("mov ecx, 3; again: inc eax; loop again; hlt", 64, CODE))
    bench.cpu.add_breakpoint(CODE + 5)
    hits = 0
    for _ in range(100):
        reason = bench.cpu.run(slice_)
        if reason is RunExit.BREAKPOINT:
            assert bench.cpu.rip == CODE + 5
            hits += 1
        elif reason is RunExit.HALT:
            break
    assert (hits, bench.cpu.eax) == (3, 3)


def test_the_fetch_of_a_page_that_is_not_present_faults_at_the_instruction_behind_the_jump() -> None:
    bench = Bench("prot", paging=True)
    bench.memory.load(0x45000 + 4 * 0xB, bytes(4))
    bench.cpu.flush_tlb()
    bench.write("mov eax, 0xb123; jmp eax")
    assert bench.step(3) == "PF(0)" or bench.step(1) == "PF(0)"
    trap = bench.trap()
    assert trap is not None
    assert (trap.ip, bench.cpu.cr2) == (0xB123, 0xB123)


def test_an_instruction_that_reaches_into_a_page_that_is_not_present_faults_at_its_start() -> None:
    bench = Bench("prot", paging=True)
    bench.memory.write(0xAFFE, b"\xb8\x01")
    bench.memory.load(0x45000 + 4 * 0xB, bytes(4))
    bench.cpu.flush_tlb()
    bench.write("mov eax, 0xaffe; jmp eax")
    assert bench.step(3) == "PF(0)"
    trap = bench.trap()
    assert trap is not None
    assert (trap.ip, bench.cpu.cr2) == (0xAFFE, 0xB000)


@pytest.mark.parametrize("jump", ["jmp rax", "call rax", "push rax; ret"])
def test_a_jump_to_an_address_that_is_not_canonical_faults_at_the_jump(jump: str) -> None:
    bench = Bench("long")
    bench.write(f"mov rax, 0x800000000000; {jump}")
    bench.cpu.run(1 + jump.count(";"))
    at, sp = bench.cpu.rip, bench.cpu.rsp
    assert bench.step(1) == "GP(0)"
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == at
    assert sp >= bench.cpu.rsp


def test_an_access_that_runs_over_a_page_border_is_whole() -> None:
    bench = Bench("prot", paging=True)
    bench.write("mov eax, 0x11223344; mov [0xaffe], eax; mov ebx, [0xaffe]; add dword ptr [0xaffd], 1; hlt")
    assert bench.cpu.run(10) is RunExit.HALT
    assert (bench.cpu.ebx, bench.get(0xAFFD, 5)) == (0x11223344, 0x1122334401)


def test_an_access_that_faults_on_its_second_page_changes_nothing() -> None:
    bench = Bench("prot", paging=True)
    bench.memory.load(0x45000 + 4 * 0xB, bytes(4))
    bench.cpu.flush_tlb()
    bench.write("mov dword ptr [0xaffe], 0x11223344")
    assert bench.step(1) == "PF(2)"
    assert (bench.cpu.cr2, bench.get(0xAFFE, 2)) == (0xB000, 0)


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_a_repeated_string_instruction_counts_once(count: int) -> None:
    bench = Bench("long")
    bench.write("rep stosb; hlt")
    bench.cpu.rcx, bench.cpu.rdi, bench.cpu.rax = count, 0x200000, 0x5A
    assert bench.cpu.run(10) is RunExit.HALT
    assert (bench.cpu.instructions, bench.cpu.rcx, bench.cpu.rdi) == (2, 0, 0x200000 + count)
    assert bench.memory.read(0x200000, count + 1) == b"\x5a" * count + b"\0"


def test_a_string_copy_that_faults_in_the_middle_has_done_what_came_before() -> None:
    bench = Bench("prot", paging=True)
    bench.memory.load(0x45000 + 4 * 0xB, bytes(4))
    bench.cpu.flush_tlb()
    bench.memory.write(0x100000, bytes(range(256)))
    bench.write("rep movsb")
    bench.cpu.ecx, bench.cpu.esi, bench.cpu.edi = 64, 0x100000, 0xAFF0
    assert bench.step(1) == "PF(2)"
    assert (bench.cpu.ecx, bench.cpu.esi, bench.cpu.edi) == (48, 0x100010, 0xB000)
    assert bench.memory.read(0xAFF0, 16) == bytes(range(16))


@pytest.mark.parametrize("direction", ["cld", "std"])
@pytest.mark.parametrize("distance", [-3, -1, 1, 3, 9])
@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_overlapping_string_copies_go_element_by_element(direction: str, distance: int, width: int) -> None:
    data = bytearray(range(1, 101))
    bench = Bench("long")
    bench.memory.write(0x200000, bytes(data))
    movs = {1: b"\xa4", 2: b"\x66\xf3\xa5", 4: b"\xf3\xa5", 8: b"\xf3\x48\xa5"}[width]
    bench.write((b"\xfc" if direction == "cld" else b"\xfd") + (b"\xf3" if width == 1 else b"") + movs + b"\xf4")
    start = 20 if direction == "cld" else 60
    bench.cpu.rsi, bench.cpu.rdi, bench.cpu.rcx = 0x200000 + start, 0x200000 + start + distance, 5
    assert bench.cpu.run(10) is RunExit.HALT
    step = width if direction == "cld" else -width
    for i in range(5):
        at = start + step * i
        data[at + distance : at + distance + width] = data[at : at + width]
    assert bench.memory.read(0x200000, 100) == bytes(data)


def test_a_near_jump_outside_of_the_code_segment_faults_before_it_is_done() -> None:
    bench = Bench("prot16")
    bench.cpu.cs = bench.cpu.cs.__class__(bench.cpu.cs.selector, bench.cpu.cs.base, 0xFFF, bench.cpu.cs.attributes)
    bench.write(b"\xe9\x00\x20")  # jmp +0x2000
    assert bench.step(1) == "GP(0)"
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == 0
