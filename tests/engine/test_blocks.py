"""Decoded code follows what is in memory: self-modifying code, stores beside code, writes from outside."""

from __future__ import annotations

from random import Random

import pytest
from system_bench import CODE, DATA, Bench

from vmcore.engine import RunExit, Segment, assemble


def put(bench: Bench, text: str) -> None:
    """Code with labels at CODE."""
    bench.write(assemble(text, bench.bits, CODE))


def run(bench: Bench, instructions: int = 10_000) -> RunExit:
    return bench.cpu.run(instructions)


@pytest.mark.parametrize("mode", ["long", "prot"])
def test_a_store_into_the_next_instruction_of_the_same_block_takes_effect(mode: str) -> None:
    bench = Bench(mode)
    # mov byte [target + 1], 7 ; target: mov al, 1
    bench.write(b"\xb3\x07\x88\x1c\x25" + (CODE + 10).to_bytes(4, "little") + b"\xb0\x01\xf4" if mode == "long"
                else b"\xb3\x07\x88\x1d" + (CODE + 9).to_bytes(4, "little") + b"\xb0\x01\xf4")  # fmt: skip
    assert run(bench) is RunExit.HALT
    assert bench.cpu.al == 7


@pytest.mark.parametrize("rounds", [3, 400])
def test_a_loop_that_rewrites_an_immediate_runs_the_new_one_every_time(rounds: int) -> None:
    bench = Bench("long")
    put(
        bench,
        f"mov ecx, {rounds}; xor eax, eax; again: mov [rip + patched + 1], ecx; "
        "patched: mov edx, 0x11223344; add eax, edx; dec ecx; jnz again; hlt",
    )
    assert run(bench, 10 * rounds) is RunExit.HALT
    assert bench.cpu.eax == rounds * (rounds + 1) // 2


def test_a_function_that_is_written_again_is_run_as_written() -> None:
    bench = Bench("long")
    put(bench, "again: mov [0xa001], ecx; mov rax, 0xa000; call rax; add ebx, edx; loop again; hlt")
    bench.memory.write(DATA, b"\xba\x00\x00\x00\x00\xc3")  # mov edx, imm32; ret
    bench.cpu.rcx = 500
    assert run(bench) is RunExit.HALT
    assert bench.cpu.ebx == 500 * 501 // 2


def test_stores_beside_code_do_not_disturb_it() -> None:
    bench = Bench("long")
    put(bench, "again: mov [0xa010], ecx; mov rax, 0xa000; call rax; loop again; hlt")
    bench.memory.write(DATA, b"\xff\xc2\xc3")  # inc edx; ret
    bench.cpu.rcx, bench.cpu.rdx = 1000, 0
    before = bench.cpu.statistics()["blocks_decoded"]
    assert run(bench) is RunExit.HALT
    assert bench.cpu.edx == 1000
    assert bench.cpu.statistics()["blocks_decoded"] - before < 10
    assert bench.get(DATA + 0x10, 4) == 1


def test_an_instruction_that_crosses_a_page_is_seen_to_change_in_its_second_part() -> None:
    bench = Bench("long")
    place = 0xAFFE
    bench.memory.write(place, b"\xb8\x01\x02\x03\x04\xc3")  # mov eax, 0x04030201; ret
    put(bench, "mov rdx, 0xaffe; call rdx; mov ebx, eax; mov byte ptr [0xb002], 0x77; call rdx; hlt")
    assert run(bench) is RunExit.HALT
    assert (bench.cpu.ebx, bench.cpu.eax) == (0x04030201, 0x77030201)


def test_an_instruction_that_crosses_a_page_follows_the_mapping_of_the_second() -> None:
    bench = Bench("prot", paging=True)
    bench.memory.write(0xAFFE, b"\xb8\x01\x02\x03\x04\xc3")
    bench.memory.write(0xC000, b"\x11\x22\x33\xc3")
    pte = 0x45000 + 4 * 0xB
    put(
        bench, f"mov edx, 0xaffe; call edx; mov ebx, eax; mov dword ptr [{pte}], 0xc007; invlpg [0xb000]; call edx; hlt"
    )
    assert run(bench) is RunExit.HALT
    assert (bench.cpu.ebx, bench.cpu.eax) == (0x04030201, 0x33221101)


@pytest.mark.parametrize("seed", range(8))
def test_functions_of_a_page_are_written_by_turns_and_run_as_written(seed: int) -> None:
    """Many functions on one page, some of them long; stores of all sizes into them and between them."""
    random = Random(seed)
    bench = Bench("long")
    code, starts, places = bytearray(b"\xcc" * 0x1000), [], []
    at = 0
    while at < 0xF00:
        starts.append(at)
        nops = random.choice((0, 0, 1, 5, 40))
        places.append(at + nops + 1)
        body = b"\x90" * nops + b"\xba" + random.randbytes(4) + b"\xc3"  # mov edx, imm32; ret
        code[at : at + len(body)] = body
        at += len(body) + random.choice((0, 1, 8, 100))
    bench.memory.write(DATA, bytes(code))
    put(
        bench,
        "call rbx; hlt; mov [rdi], al; call rbx; hlt; mov [rdi], ax; call rbx; hlt; mov [rdi], eax; call rbx; hlt",
    )
    entries = {0: 0, 1: 3, 2: 3 + 5, 4: 3 + 5 + 6}
    for _ in range(1500):
        which = random.randrange(len(starts))
        size = random.choice((0, 1, 2, 4))
        if random.random() < 0.7:
            place = places[random.randrange(len(places))] + random.randrange(5 - size if size else 1)
        else:  # Between functions: traps that nobody runs.
            place = random.randrange(0xF80, 0x1000 - size)
        value = random.randbytes(4)
        code[place : place + size] = value[:size]
        bench.cpu.rdi, bench.cpu.rax = DATA + place, int.from_bytes(value, "little")
        bench.cpu.rbx = DATA + starts[which]
        bench.cpu.rip = CODE + entries[size]
        bench.cpu.activity = type(bench.cpu.activity)(0)
        assert run(bench) is RunExit.HALT
        assert bench.cpu.edx == int.from_bytes(code[places[which] : places[which] + 4], "little")
    assert bench.memory.read(DATA, 0x1000) == bytes(code)


def test_changing_to_protected_mode_and_back_keeps_what_is_cached_and_right() -> None:
    bench = Bench("real")
    bench.memory.write(DATA, b"\x01\x00\x00\x00")
    bench.cpu.ds = Segment(0, 0, 0xFFFF, 0x93)
    bench.cpu.cx = 300
    put(
        bench,
        "again: mov eax, cr0; or al, 1; mov cr0, eax; jmp inside; inside: inc dword ptr [0xa000]; "
        "mov eax, cr0; and al, 0xfe; mov cr0, eax; jmp outside; outside: add dword ptr [0xa000], 2; loop again; hlt",
    )
    before = bench.cpu.statistics()["tlb_misses"]
    assert run(bench) is RunExit.HALT
    assert bench.get(DATA, 4) == 1 + 300 * 3
    assert bench.cpu.statistics()["tlb_misses"] - before < 50


@pytest.mark.parametrize("times", [1, 200])
def test_code_written_from_outside_is_decoded_again(times: int) -> None:
    bench = Bench("long")
    for value in (5, 6):
        bench.memory.write(CODE, b"\xb0" + bytes([value]) + b"\xeb\xfe")
        for _ in range(times):
            bench.cpu.rip = CODE
            assert run(bench, 3) is RunExit.BUDGET
            assert bench.cpu.al == value


def test_one_page_of_code_at_two_addresses_runs_relative_to_each() -> None:
    bench = Bench("prot", paging=True)
    bench.memory.write(0xA000, b"\xe8\x00\x00\x00\x00\x58\xc3")  # call next; pop eax; ret
    bench.memory.load(0x45000 + 4 * 0xB, (0xA007).to_bytes(4, "little"))
    bench.cpu.flush_tlb()
    put(bench, "mov edx, 0xa000; call edx; mov ebx, eax; mov edx, 0xb000; call edx; hlt")
    assert run(bench) is RunExit.HALT
    assert (bench.cpu.ebx, bench.cpu.eax) == (0xA005, 0xB005)


def test_code_of_another_mode_at_the_same_place_is_decoded_for_that_mode() -> None:
    # 48 in 64-bit mode is a prefix, elsewhere DEC EAX.
    for mode, expected in (("long", 0x1_0000_0000), ("prot", 0)):
        bench = Bench(mode)
        bench.write(b"\x48\xff\xc0\xf4")
        bench.cpu.rax = 0xFFFFFFFF if mode == "long" else 0
        assert run(bench) is RunExit.HALT
        assert bench.cpu.rax == expected


def test_a_jump_into_the_middle_of_an_instruction_decodes_from_there() -> None:
    bench = Bench("long")
    bench.write(b"\x31\xc0\xeb\x01\xb8\x40\x90\x90\x90\xf4")  # jumps behind the B8: 40 90 (nop) ...
    assert run(bench) is RunExit.HALT
    assert (bench.cpu.eax, bench.cpu.instructions) == (0, 6)


def test_decoded_code_does_not_outlive_its_mapping() -> None:
    bench = Bench("long")
    bench.memory.map_ram(0x800000, 0x1000)
    bench.put(0x42000 + 8 * 4, 4 << 21 | 0x87)
    for value in (1, 2, 3):
        bench.memory.load(0x800000, b"\xb0" + bytes([value]) + b"\xeb\xfe")
        bench.cpu.rip = 0x800000
        assert run(bench, 100) is RunExit.BUDGET
        assert bench.cpu.al == value
        bench.memory.unmap(0x800000, 0x1000)
        bench.memory.map_ram(0x800000, 0x1000)
