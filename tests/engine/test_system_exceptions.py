"""Faults of system instructions by mode and privilege level, with their error codes (SDM Vol. 2; Vol. 3A 6.15).

One line a case: mode and CPL, the instruction, the exception ("ok" for none).  Selectors are those of `system_bench`.
"""

from __future__ import annotations

import pytest
from system_bench import CODE, FREE, GDT, HANDLERS, TSS, TSS_SEL, Bench, descriptor

from vmcore.engine import Segment

PRIVILEGED = """
    hlt | clts | lgdt [0xa000] | lidt [0xa000] | invd | wbinvd | rdmsr | wrmsr | invlpg [0xa000] | lmsw ax
    mov eax, cr0 | mov cr0, eax | mov eax, cr4 | mov cr3, eax | mov eax, dr7 | mov dr7, eax
"""


@pytest.mark.parametrize("mode", ["prot", "compat", "long", "v86"])
@pytest.mark.parametrize("code", [c.strip() for c in PRIVILEGED.replace("\n", "|").split("|") if c.strip()])
def test_a_privileged_instruction_is_refused_at_level_3(mode: str, code: str) -> None:
    if mode == "long":
        code = code.replace("eax", "rax")
    assert Bench(mode, 3).run(code) == "GP(0)"


CASES = """
    real 0   | sldt ax                       | UD
    real 0   | str ax                        | UD
    real 0   | lldt ax                       | UD
    real 0   | ltr ax                        | UD
    real 0   | verr ax                       | UD
    real 0   | lar ax, bx                    | UD
    real 0   | lsl ax, bx                    | UD
    v86 3    | sldt ax                       | UD
    v86 3    | verw ax                       | UD
    v86 3    | lar ax, bx                    | UD
    v86 3    | sysenter                      | GP(0)
    real 0   | sysenter                      | GP
    real 0   | sysexit                       | GP
    prot 0   | .byte 0x0f, 0xaa              | UD
    prot 0   | ud2                           | UD
    prot 3   | .byte 0x0f, 0xff, 0xc0        | UD
    prot 3   | .byte 0x0f, 0xb9, 0xc0        | UD
    prot 0   | syscall                       | UD
    prot 0   | sysret                        | UD
    prot 0   | swapgs                        | UD
    compat 0 | swapgs                        | UD
    long 0   | swapgs                        | ok
    long 3   | swapgs                        | GP(0)
    long 0   | rdfsbase rax                  | UD
    long 0   | syscall                       | ok
    compat 0 | syscall                       | UD
    long 3   | sysret                        | GP(0)
    prot 3   | sysexit                       | GP(0)
    prot 3   | cli                           | GP(0)
    prot 3   | sti                           | GP(0)
    prot 0   | cli                           | ok
    prot 3   | pushfd                        | ok
    v86 3    | pushf                         | GP(0)
    v86 3    | popf                          | GP(0)
    v86 3    | iret                          | GP(0)
    v86 3    | int 0x20                      | GP(0)
    prot 3   | in al, 0x60                   | GP(0)
    prot 3   | out dx, eax                   | GP(0)
    prot 0   | in al, 0x60                   | ok
    prot 3   | int3                          | GP(1a)
    prot 3   | int 0x80                      | GP(402)
    prot 0   | int 0x80                      | 80
    prot 3   | .byte 0xf1                    | DB
    prot 0   | mov eax, cr1                  | UD
    prot 0   | .byte 0x0f, 0x20, 0xe8        | UD
    prot 0   | .byte 0x0f, 0x20, 0x00        | ok
    long 0   | mov rax, cr8                  | ok
    long 0   | mov rax, dr4                  | ok
    prot 3   | monitor                       | UD
    prot 0   | clac                          | ok
    prot 3   | clac                          | UD
    prot 3   | stac                          | UD
    prot 3   | xgetbv                        | UD
    prot 0   | xsetbv                        | UD
    prot 3   | rdpmc                         | GP(0)
    prot 3   | rdtsc                         | ok
    long 3   | rdtscp                        | ok
    long 3   | .byte 0xf3,0x0f,0xc7,0xf8      | ok
    prot 3   | sgdt [0xa000]                 | ok
    prot 3   | smsw eax                      | ok
    long 3   | clflush [rip + 16]            | ok
    long 0   | .byte 0x06                    | UD
    long 0   | .byte 0x9a                    | UD
    long 0   | .byte 0xc4, 0x00              | UD
    long 0   | .byte 0xce                    | UD
    prot 0   | .byte 0xf0, 0x0f, 0x00, 0xc8  | UD
    prot 0   | .byte 0xf0, 0xcd, 0x20        | UD
    prot 0   | .byte 0xff, 0xd8              | UD
    prot 0   | .byte 0xff, 0xe8              | UD
    prot 0   | .byte 0x8e, 0xc8              | UD
    prot 0   | .byte 0x8e, 0xf0              | UD
    prot 0   | .byte 0x8c, 0xf8              | UD
    prot 0   | mov ax, 0x00; mov ds, ax      | ok
    prot 0   | mov ax, 0x00; mov ss, ax      | GP(0)
    prot 0   | mov ax, 0x13; mov ss, ax      | GP(10)
    prot 0   | mov ax, 0x08; mov ss, ax      | GP(8)
    prot 0   | mov ax, 0x2b; mov ss, ax      | GP(28)
    prot 3   | mov ax, 0x10; mov ds, ax      | GP(10)
    prot 3   | mov ax, 0x08; mov ds, ax      | GP(8)
    prot 3   | mov ax, 0x58; mov ds, ax      | ok
    prot 3   | mov ax, 0x23; mov ds, ax      | ok
    prot 0   | mov ax, 0x38; mov ds, ax      | GP(38)
    prot 0   | mov ax, 0x1000; mov ds, ax    | GP(1000)
    prot 0   | mov ax, 0x0c; mov ds, ax      | GP(c)
    long 0   | mov eax, 0; mov ss, ax        | ok
    long 0   | mov eax, 3; mov ss, ax        | GP(0)
    long 3   | mov eax, 3; mov ss, ax        | GP(0)
    compat 0 | mov eax, 0; mov ss, ax        | GP(0)
    prot 0   | jmp 0x10:0x10000              | GP(10)
    prot 0   | jmp 0:0x10000                 | GP(0)
    prot 0   | jmp 0x20:0x10000              | GP(20)
    prot 0   | jmp 0x9:0x10000               | GP(8)
    prot 0   | jmp 0x58:0x10000              | ok
    prot 3   | jmp 0x58:0x10000              | ok
    prot 3   | jmp 0x23:0x10000              | ok
    prot 3   | jmp 0x20:0x10000              | ok
    prot 0   | jmp 0x38:0                    | GP(38)
    prot 0   | jmp 0x48:0x1ffff              | GP(0)
    prot 0   | call 0x70:0                   | GP(70)
    prot 3   | call 0x60:0                   | GP(60)
    compat 0 | jmp 0x60:0                    | GP(60)
    prot 0   | lldt [0xa000]                 | ok
    prot 0   | mov ax, 0x70; lldt ax         | ok
    prot 0   | mov ax, 0x10; lldt ax         | GP(10)
    prot 0   | mov ax, 0x74; lldt ax         | GP(74)
    prot 0   | mov ax, 0; ltr ax             | GP(0)
    prot 0   | mov ax, 0x38; ltr ax          | GP(38)
    prot 0   | mov ax, 0x60; ltr ax          | ok
    prot 0   | push 0x10; push 0x10; retf    | GP(10)
    prot 0   | push 0; push 0x10; retf       | GP(0)
    prot 3   | push 0x08; push 0x10; retf    | GP(8)
    prot 0   | push 2; push 0x23; push 0; iretd | GP(0)
    prot 0   | mov eax, 0x80000001; mov cr0, eax | ok
    prot 0   | mov eax, 0x80000000; mov cr0, eax | GP(0)
    prot 0   | mov eax, 0x20000001; mov cr0, eax | GP(0)
    long 0   | mov eax, 0x11; mov cr0, rax   | GP(0)
    compat 0 | mov eax, 0x11; mov cr0, eax   | ok
    long 0   | mov rax, 0x180000011; mov cr0, rax | GP(0)
    long 0   | mov eax, 0; mov cr4, rax      | GP(0)
    prot 0   | mov eax, 0x1000; mov cr4, eax | GP(0)
    long 0   | mov rax, 0x20020; mov cr4, rax | ok
    prot 0   | mov eax, 0x20020; mov cr4, eax | GP(0)
    long 0   | mov rax, 0x8000000000040000; mov cr3, rax | GP(0)
    long 0   | mov rax, 0x0010000000040000; mov cr3, rax | GP(0)
    long 0   | mov eax, 16; mov cr8, rax     | GP(0)
    long 0   | mov rax, 0x100000000; mov dr7, rax | GP(0)
    long 0   | mov rax, 0x100000000; mov dr6, rax | GP(0)
    prot 0   | mov ecx, 0x12345678; rdmsr    | GP(0)
    prot 0   | mov ecx, 0xc0000080; mov eax, 2; wrmsr | GP(0)
    long 0   | mov ecx, 0xc0000080; mov eax, 0x800; mov edx, 0; wrmsr | GP(0)
    long 0   | mov ecx, 0xc0000100; mov edx, 0x8000; mov eax, 0; wrmsr | GP(0)
    prot 0   | mov ecx, 0x277; mov eax, 2; mov edx, 0; wrmsr | GP(0)
    prot 0   | mov ecx, 0x277; mov eax, 7; mov edx, 0; wrmsr | ok
    prot 0   | mov ecx, 0x1b; mov eax, 0xfee00400; mov edx, 0; wrmsr | GP(0)
    prot 0   | mov ecx, 0x1b; mov eax, 0xfee00800; mov edx, 0; wrmsr | ok
    prot 0   | mov ecx, 0x2ff; mov eax, 0x802; mov edx, 0; wrmsr | GP(0)
    prot 0   | mov ecx, 0x200; mov eax, 6; mov edx, 0x100; wrmsr | GP(0)
    prot 0   | mov ecx, 0x401; mov eax, 1; mov edx, 0; wrmsr | GP(0)
    prot 0   | mov ecx, 0x10a; wrmsr | GP(0)
"""


def _cases(text: str) -> list[tuple[str, int, str, str]]:
    result = []
    for line in text.strip().splitlines():
        where, code, expected = (part.strip() for part in line.split("|"))
        mode, cpl = where.split()
        result.append((mode, int(cpl), code, expected))
    return result


@pytest.mark.parametrize(("mode", "cpl", "code", "expected"), _cases(CASES))
def test_the_exception_is(mode: str, cpl: int, code: str, expected: str) -> None:
    bench = Bench(mode, cpl)
    assert (bench.run(code, code.count(";") + 1) or "ok") == expected
    trap = bench.trap()
    if trap and trap.vector in (6, 13) and mode != "real":
        assert trap.flags & 0x10000  # faults push RF


@pytest.mark.parametrize(
    ("access", "expected"),
    [(0x13, "NP(80)"), (0x93, "ok"), (0x91, "ok"), (0x98, "GP(80)"), (0x9A, "ok"), (0x82, "GP(80)"), (0x12, "NP(80)")],
)
def test_loading_a_data_segment_checks_type_and_presence(access: int, expected: str) -> None:
    bench = Bench("prot")
    bench.put(GDT + FREE, descriptor(0, 0xFFFF, access))
    bench.cpu.rax = FREE
    assert (bench.run("mov es, ax") or "ok") == expected
    if expected == "ok":
        assert bench.get(GDT + FREE + 5, 1) == access | 1  # accessed
        assert bench.cpu.es.selector == FREE


@pytest.mark.parametrize(
    ("access", "expected"), [(0x13, "SS(80)"), (0x93, "ok"), (0x97, "ok"), (0x91, "GP(80)"), (0x9B, "GP(80)")]
)
def test_loading_the_stack_segment_checks_type_and_presence(access: int, expected: str) -> None:
    bench = Bench("prot")
    bench.put(GDT + FREE, descriptor(0, 0xFFFFF, access, 0xC))
    bench.cpu.rax = FREE
    assert (bench.run("mov ss, ax") or "ok") == expected


@pytest.mark.parametrize(
    ("vector", "gate", "expected"),
    [
        (0x20, {"access": 0x0E}, "NP(102)"),
        (0x20, {"access": 0x85, "selector": 0x10}, "GP(10)"),
        (0x20, {"access": 0x8C}, "GP(102)"),
        (0x20, {"selector": 0}, "GP(0)"),
        (0x20, {"selector": 0x10}, "GP(10)"),
        (0x20, {"selector": 0x20}, "GP(20)"),
        (0x20, {"selector": 0x1000}, "GP(1000)"),
        (0x20, {"access": 0x86}, "20"),
        (0x20, {"access": 0x8F}, "20"),
    ],
)
def test_a_bad_gate_is_refused(vector: int, gate: dict[str, int], expected: str) -> None:
    bench = Bench("prot")
    if expected == "20":
        bench.gate(vector, **gate, offset=HANDLERS + 16 * vector if gate["access"] != 0x86 else None)
        if gate["access"] == 0x86:  # a 16-bit gate: the handler must lie below 64 KiB
            bench.gate(vector, **gate, offset=0xB000)
            bench.run(f"int {vector}")
            assert (bench.cpu.rip, bench.cpu.rsp & 0xFFFF) == (0xB000, 0x1000 - 6)
            return
    else:
        bench.gate(vector, **gate)
    assert bench.run(f"int {vector}") == expected


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        ({"access": 0x8C}, "GP(102)"),
        ({"access": 0x85}, "GP(102)"),
        ({"access": 0x86}, "GP(102)"),
        ({"access": 0x0F}, "NP(102)"),
        ({"selector": 0x08}, "GP(8)"),
        ({"selector": 0}, "GP(0)"),
        ({"selector": 0x33}, "GP(30)"),
        ({"offset": 0x800000000000}, "GP(0)"),
    ],
)
def test_a_bad_gate_is_refused_in_long_mode(gate: dict[str, int], expected: str) -> None:
    bench = Bench("long")
    bench.gate(0x20, **gate)
    assert bench.run("int 0x20") == expected


def test_a_fault_in_a_hardware_event_sets_the_external_bit() -> None:
    bench = Bench("prot", 3)
    bench.gate(6, selector=0x1000)
    assert bench.run("ud2") == "GP(1001)"


def test_contributory_faults_make_a_double_fault_and_then_a_shutdown() -> None:
    bench = Bench("prot")
    bench.gate(13, access=0x0E)
    assert bench.run("mov ax, 0x1000; mov ds, ax", 2) == "DF(0)"
    bench = Bench("prot")
    bench.gate(13, access=0x0E)
    bench.gate(8, access=0x0E)
    assert bench.run("mov ax, 0x1000; mov ds, ax", 2) == "SHUTDOWN"


def test_a_benign_first_exception_is_followed_by_the_second_alone() -> None:
    bench = Bench("prot")
    bench.gate(3, access=0x0E)
    assert bench.run("int3") == "NP(1a)"
    bench = Bench("prot")
    bench.gate(6, access=0x0E)
    assert bench.run("ud2") == "NP(33)"


def test_a_page_fault_while_delivering_a_page_fault_is_a_double_fault() -> None:
    bench = Bench("long")
    bench.gate(14, offset=HANDLERS + 0xE0)
    bench.cpu.idtr = type(bench.cpu.idtr)(0x500000, 0xFFF)  # not mapped
    assert bench.run("mov eax, [0x600000]") == "SHUTDOWN"
    bench = Bench("long")
    bench.put(TSS + 4, 0x700000)
    bench.gate(8, ist=1)
    bench.cpu.rsp = 0x700000
    assert bench.run("mov eax, [0x600000]") == "DF(0)"
    assert bench.cpu.cr2 == 0x700000 - 8


def test_the_stack_of_an_inner_level_is_checked() -> None:
    for selector, expected in ((0, "TS(0)"), (0x2B, "TS(28)"), (0x1000, "TS(1000)"), (0x08, "TS(8)"), (FREE, "SS(80)")):
        bench = Bench("prot", 3)
        bench.put(GDT + FREE, descriptor(0, 0xFFFFF, 0x13, 0xC))
        bench.gate(0x20, access=0xEE)
        # The fault itself is handled at level 3, where no stack is switched.
        bench.put(GDT + FREE + 0x10, descriptor(0, 0xFFFFF, 0xFB, 0xC))
        for vector in (10, 12):
            bench.gate(vector, selector=FREE + 0x10)
        bench.memory.load(TSS + 8, selector.to_bytes(2, "little"))
        assert bench.run("int 0x20") == expected


def test_a_tss_that_is_too_short_gives_ts() -> None:
    bench = Bench("long", 3)
    bench.gate(0x20, access=0xEE)
    bench.gate(10, selector=0x33)
    bench.cpu.tr = Segment(TSS_SEL, TSS, 8, 0x8B)
    assert bench.run("int 0x20") == f"TS({TSS_SEL:x})"


def test_an_instruction_that_faults_leaves_everything_as_it_was() -> None:
    bench = Bench("prot")
    bench.cpu.rsp = 2
    bench.cpu.ss = Segment(0x10, 0, 0xFFF, 0x4093)
    bench.cpu.rax = 0x1000
    before = bench.cpu.es
    bench.gate(13, offset=HANDLERS + 13 * 16)
    bench.run("mov es, ax")
    assert bench.cpu.es == before
    trap = bench.trap()
    assert trap is None or trap.ip == CODE
