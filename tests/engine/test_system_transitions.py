"""Far transfers, tasks and fast system calls: what each leaves in registers, segments and memory."""

from __future__ import annotations

import struct

import pytest
from system_bench import (
    CODE,
    CODE64,
    DATA32,
    FREE,
    GDT,
    HANDLERS,
    IDT,
    STACKS,
    TASK,
    TASK_SEL,
    TSS,
    TSS_SEL,
    UCODE32,
    Bench,
    gate,
)
from system_bench import descriptor as make

from vmcore.engine import Segment, TableRegister

IF, NT, RF, VM, IOPL = 0x200, 0x4000, 0x10000, 0x20000, 0x3000


def words(bench: Bench, count: int, width: int) -> list[int]:
    sp = bench.cpu.ss.base + bench.cpu.rsp
    return [bench.get(sp + i * width, width) for i in range(count)]


def test_a_call_gate_to_an_inner_level_copies_parameters_and_switches_stacks() -> None:
    bench = Bench("prot", 3)
    bench.put(GDT + FREE, gate(0x08, 0x12345, 0xEC, 2))
    bench.write("push 0x11; push 0x22; call 0x83:0")
    assert bench.step(3) == ""
    assert (bench.cpu.cs.selector, bench.cpu.rip, bench.cpu.cpl) == (0x08, 0x12345, 0)
    assert bench.cpu.ss.selector == DATA32
    assert words(bench, 6, 4) == [CODE + 11, UCODE32, 0x22, 0x11, STACKS[3] - 8, 0x2B]
    # RETF 8 back out: both stacks lose the parameters, segments of level 0 are dropped.
    bench.cpu.es = Segment(DATA32, 0, 0xFFFFFFFF, 0xC093)
    assert bench.run("retf 8") == ""
    assert (bench.cpu.cs.selector, bench.cpu.rip, bench.cpu.cpl) == (UCODE32, CODE + 11, 3)
    assert bench.cpu.rsp == STACKS[3]
    assert bench.cpu.es.selector == 0
    assert bench.cpu.ds.selector == 0x2B


def test_a_16_bit_call_gate_pushes_words() -> None:
    bench = Bench("prot", 3)
    bench.put(GDT + FREE, gate(0x08, 0xB000, 0xE4, 1))
    bench.write(bytes.fromhex("666877779a000000008300"))
    assert bench.step(2) == ""
    assert words(bench, 5, 2) == [CODE + 11 & 0xFFFF, UCODE32, 0x7777, STACKS[3] - 2 & 0xFFFF, 0x2B]


def test_a_64_bit_call_gate_needs_both_halves_and_loads_a_null_stack_segment() -> None:
    bench = Bench("long", 3)
    bench.put(GDT + FREE, gate(CODE64, 0x12345, 0xEC))
    bench.put(GDT + FREE + 8, 0x1234)
    bench.memory.load(0xA000, struct.pack("<IH", 0, FREE | 3))
    assert bench.run(bytes.fromhex("ff1c2500a00000")) == ""
    assert bench.cpu.rip == 0x123400012345
    assert (bench.cpu.cs.selector, bench.cpu.ss.selector, bench.cpu.cpl) == (CODE64, 0, 0)
    assert words(bench, 4, 8) == [CODE + 7, 0x33, STACKS[3], 0x2B]


@pytest.mark.parametrize("access", [0x8E, 0x8F])
def test_only_an_interrupt_gate_clears_the_interrupt_flag(access: int) -> None:
    bench = Bench("prot")
    bench.gate(0x20, access=access)
    bench.cpu.rflags = 0x2 | IF | NT
    assert bench.run("int 0x20") == "20"
    assert bool(bench.cpu.rflags & IF) == (access == 0x8F)
    assert not bench.cpu.rflags & NT


def test_iret_leaves_for_virtual_8086_mode_and_an_interrupt_comes_back() -> None:
    bench = Bench("prot")
    frame = [0x55, CODE >> 4, 2 | VM | IF, 0xFFC, 0x2300, 0x111, 0x222, 0x333, 0x444]
    bench.cpu.rsp -= 4 * len(frame)
    bench.memory.load(bench.cpu.rsp, struct.pack("<9I", *frame))
    bench.memory.load(CODE + 0x55, b"\x0f\x0b")
    assert bench.run("iretd") == ""
    cpu = bench.cpu
    assert (cpu.cs.selector, cpu.rip, cpu.ss.selector, cpu.rsp) == (CODE >> 4, 0x55, 0x2300, 0xFFC)
    assert cpu.es == Segment(0x111, 0x1110, 0xFFFF, 0xF3)
    assert [s.selector for s in (cpu.ds, cpu.fs, cpu.gs)] == [0x222, 0x333, 0x444]
    assert cpu.cpl == 3
    assert bench.step() == "UD"
    assert words(bench, 9, 4) == [0x55, CODE >> 4, 2 | VM | IF | RF, 0xFFC, 0x2300, 0x111, 0x222, 0x333, 0x444]
    assert (cpu.cpl, cpu.rflags & VM, cpu.ds.selector, cpu.gs.selector) == (0, 0, 0, 0)
    assert cpu.rsp == STACKS[0] - 36


def test_nested_privileges_of_iret() -> None:
    # At level 3 IF, IOPL, VIF and VIP stay; at level 0 they are taken.
    value = 0x2 | IF | IOPL | 0x180000 | 0x200CD5
    for cpl, expected in ((3, 0x200CD5 | 2), (0, value)):
        bench = Bench("prot", cpl)
        cs = bench.cpu.cs.selector
        bench.cpu.rsp -= 12
        bench.memory.load(bench.cpu.rsp, struct.pack("<3I", 0x12345, cs, value))
        assert bench.run("iretd") == ""
        assert bench.cpu.rflags == expected


def test_iretq_to_the_user_and_back_by_an_interrupt() -> None:
    bench = Bench("long")
    bench.gate(0x20, access=0xEE)
    frame = [0x12345, 0x33, 0x202, STACKS[3] - 8, 0x2B]
    bench.cpu.rsp -= 40
    bench.memory.load(bench.cpu.rsp, struct.pack("<5Q", *frame))
    bench.memory.load(0x12345, b"\xcd\x20")
    assert bench.run("iretq") == ""
    assert (bench.cpu.cpl, bench.cpu.rip, bench.cpu.rsp, bench.cpu.ss.selector) == (3, 0x12345, STACKS[3] - 8, 0x2B)
    assert bench.step() == "20"
    assert words(bench, 5, 8) == [0x12347, 0x33, 0x202, STACKS[3] - 8, 0x2B]


def test_syscall_and_sysret() -> None:
    bench = Bench("long", 3)
    cpu = bench.cpu
    cpu.write_msr(0xC0000081, 0x00230018 << 32)
    cpu.write_msr(0xC0000082, 0x12340)
    cpu.write_msr(0xC0000084, 0x4700)
    bench.memory.load(0x12340, b"\x48\x0f\x07")
    cpu.rflags = 0xED7
    flags = cpu.rflags
    assert bench.run("syscall") == ""
    assert (cpu.rip, cpu.rcx, cpu.r11, cpu.cpl) == (0x12340, CODE + 2, flags, 0)
    assert cpu.rflags == flags & ~0x4700
    assert cpu.cs == Segment(0x18, 0, 0xFFFFFFFF, 0xA09B)
    assert cpu.ss == Segment(0x20, 0, 0xFFFFFFFF, 0xC093)
    assert cpu.rsp == STACKS[3]
    assert bench.step() == ""
    assert (cpu.rip, cpu.rflags, cpu.cpl) == (CODE + 2, flags, 3)
    assert cpu.cs == Segment(0x33, 0, 0xFFFFFFFF, 0xA0FB)
    assert cpu.ss == Segment(0x2B, 0, 0xFFFFFFFF, 0xC0F3)


def test_syscall_outside_64_bit_mode_is_amds_alone() -> None:
    for model, expected in (("qemu64", ""), ("Nehalem", "UD")):
        bench = Bench("compat", 3, model=model)
        bench.cpu.write_msr(0xC0000081, 0x00230018 << 32)
        bench.cpu.write_msr(0xC0000083, 0x12340)
        assert bench.run("syscall") == expected
        if not expected:
            assert (bench.cpu.rip, bench.cpu.cs.selector, bench.cpu.cs.attributes & 0x2000) == (0x12340, 0x18, 0x2000)


def test_sysenter_and_sysexit() -> None:
    bench = Bench("prot", 3)
    cpu = bench.cpu
    for index, value in ((0x174, 0x08), (0x175, 0x20800), (0x176, 0x12340)):
        cpu.write_msr(index, value)
    cpu.rflags = 0x202
    assert bench.run("sysenter") == ""
    assert (cpu.rip, cpu.rsp, cpu.cs.selector, cpu.ss.selector, cpu.cpl, cpu.rflags & IF) == (
        0x12340,
        0x20800,
        8,
        0x10,
        0,
        0,
    )
    cpu.rdx, cpu.rcx = 0x23456, 0x30000
    assert bench.run("sysexit") == ""
    assert (cpu.rip, cpu.rsp, cpu.cs.selector, cpu.ss.selector, cpu.cpl) == (0x23456, 0x30000, 0x1B, 0x23, 3)


def test_sysenter_in_long_mode_is_intels_alone() -> None:
    for model, expected in (("Nehalem", ""), ("qemu64", "UD")):
        bench = Bench("long", 3, model=model)
        bench.cpu.write_msr(0x174, 0x18)
        assert bench.run("sysenter") == expected


def test_swapgs_exchanges_the_bases() -> None:
    bench = Bench("long")
    bench.cpu.write_msr(0xC0000101, 0xA000)
    bench.cpu.write_msr(0xC0000102, 0xFFFF800000001234)
    bench.memory.load(0xA010, b"\x42")
    bench.write("mov al, gs:[0x10]; swapgs; rdmsr")
    assert bench.step(2) == ""
    assert bench.cpu.al == 0x42
    assert bench.cpu.read_msr(0xC0000101) == 0xFFFF800000001234
    assert bench.cpu.read_msr(0xC0000102) == 0xA000


def test_a_far_jump_switches_between_64_bit_and_compatibility_mode() -> None:
    bench = Bench("long")
    bench.memory.load(0xA000, struct.pack("<IH", 0x12340, 0x08))
    assert bench.run(bytes.fromhex("ff2c2500a00000")) == ""
    assert (bench.cpu.cs.selector, bench.cpu.rip) == (8, 0x12340)
    bench.memory.load(0x12340, b"\x40\xea\x00\x00\x01\x00\x18\x00")  # inc eax (no REX here); jmp 18h:10000h
    bench.memory.load(CODE, b"\x48\xff\xc0")
    bench.cpu.rax = 0xFFFFFFFF
    assert bench.step(3) == ""
    assert (bench.cpu.rax, bench.cpu.rip) == (1, CODE + 3)


# Hardware tasks


def task(bench: Bench, address: int = TASK, **fields: int) -> None:
    """A 32-bit TSS at level 0 that starts at 12345h, with other fields by offset, as in x24=flags."""
    values = {0x1C: 0, 0x20: 0x12345, 0x24: 2, 0x28: 0xAAAA, 0x38: STACKS[0] - 0x100, 0x4C: 8}
    values |= dict.fromkeys((72, 80, 84, 88, 92), DATA32) | {int(k[1:], 16): v for k, v in fields.items()}
    for offset, value in values.items():
        bench.memory.load(address + offset, struct.pack("<I", value))


def busy(bench: Bench, selector: int) -> bool:
    return bool(bench.get(GDT + selector + 5, 1) & 2)


def test_a_jump_to_a_task_saves_the_old_and_loads_the_new() -> None:
    bench = Bench("prot")
    task(bench)
    bench.cpu.rbx = 0x5555
    bench.cpu.rflags = 0x2 | 0x41
    assert bench.run("jmp 0x60:0") == ""
    cpu = bench.cpu
    assert (cpu.rip, cpu.eax, cpu.rsp, cpu.tr.selector) == (0x12345, 0xAAAA, STACKS[0] - 0x100, TASK_SEL)
    assert cpu.cr0 & 8
    assert not cpu.rflags & NT
    assert (busy(bench, TSS_SEL), busy(bench, TASK_SEL)) == (False, True)
    assert bench.get(TSS + 0x20, 4) == CODE + 7
    assert bench.get(TSS + 0x24, 4) == 0x43
    assert bench.get(TSS + 0x34, 4) == 0x5555
    assert bench.get(TSS + 0x4C, 2) == 8


def test_a_called_task_returns_by_iret() -> None:
    bench = Bench("prot")
    task(bench)
    bench.memory.load(0x12345, b"\xcf")
    assert bench.run("call 0x60:0") == ""
    assert bench.cpu.rflags & NT
    assert (busy(bench, TSS_SEL), busy(bench, TASK_SEL)) == (True, True)
    assert bench.get(TASK, 2) == TSS_SEL
    assert bench.step() == ""
    assert (bench.cpu.rip, bench.cpu.tr.selector, bench.cpu.rflags & NT) == (CODE + 7, TSS_SEL, 0)
    assert (busy(bench, TSS_SEL), busy(bench, TASK_SEL)) == (True, False)
    assert bench.get(TASK + 0x20, 4) == 0x12346
    assert not bench.get(TASK + 0x24, 4) & NT


def test_a_double_fault_through_a_task_gate_gets_its_error_code_on_the_new_stack() -> None:
    bench = Bench("prot")
    task(bench)
    bench.put(IDT + 8 * 8, gate(TASK_SEL, 0, 0x85))
    bench.gate(13, access=0x0E)
    bench.cpu.rsp = 0xFFFFFFF0
    bench.memory.load(0x12345, b"\x90")
    bench.cpu.rax = 0xFFF8
    bench.run("mov ds, ax")
    assert (bench.cpu.rip, bench.cpu.tr.selector) == (0x12346, TASK_SEL)
    assert bench.cpu.rsp == STACKS[0] - 0x104
    assert bench.get(STACKS[0] - 0x104, 4) == 0
    assert bench.get(TSS + 0x20, 4) == CODE


def test_a_task_that_asks_for_it_starts_with_a_debug_trap() -> None:
    bench = Bench("prot")
    task(bench, x64=1)
    assert bench.run("jmp 0x60:0") in ("", "DB")
    bench.cpu.run(1)
    trap = bench.trap()
    assert trap is not None
    assert (trap.vector, trap.ip) == (1, 0x12345)
    assert bench.cpu.dr6 & 1 << 15


def test_a_task_loads_its_page_directory() -> None:
    bench = Bench("prot", paging=True)
    task(bench, x1c=0x47000)
    bench.memory.load(0x47000, struct.pack("<I", 0x45007))
    assert bench.run("jmp 0x60:0") == ""
    assert bench.cpu.cr3 == 0x47000


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"x60": 0x10}, "TS(10)"),
        ({"x60": 0x1000}, "TS(1000)"),
        ({"x54": 0x08 | 3}, "TS(8)"),
        ({"x48": 0x1000}, "TS(1000)"),
        ({"x58": 0}, ""),
        ({"x60": 0x70}, ""),
    ],
)
def test_a_fault_while_loading_a_task_happens_in_the_new_one(fields: dict[str, int], expected: str) -> None:
    bench = Bench("prot")
    task(bench, **fields, x4=STACKS[0] - 0x400, x8=DATA32)
    bench.put(GDT + 8 + 0, make(0, 0xFFFFF, 0x99, 0xC) if "x54" in fields else bench.get(GDT + 8))
    assert bench.run("jmp 0x60:0") == expected
    assert bench.cpu.tr.selector == TASK_SEL
    if expected:
        trap = bench.trap()
        assert trap is not None
        assert trap.ip == 0x12345


def test_a_task_in_virtual_8086_mode() -> None:
    bench = Bench("prot")
    task(bench, x24=2 | VM | IOPL, x4c=0x1234, x48=0x111, x50=0x2300, x54=0x222, x38=0xFF0, x20=0x10)
    assert bench.run("jmp 0x60:0") == ""
    assert bench.cpu.cs == Segment(0x1234, 0x12340, 0xFFFF, 0xF3)
    assert (bench.cpu.cpl, bench.cpu.rip) == (3, 0x10)


# Virtual-8086 mode extensions (VME) and protected-mode virtual interrupts (PVI)

VIF, VIP = 1 << 19, 1 << 20


def vme(flags: int = 0, *, bitmap_bit: int = 0) -> Bench:
    bench = Bench("v86", 3)
    bench.cpu.cr4 |= 1
    bench.cpu.rflags |= flags
    # The redirection bitmap lies below the I/O bitmap.
    bench.memory.load(TSS + 0x88 - 32, bytes([0xFF if bitmap_bit else 0]) * 32)
    return bench


def test_vme_gives_cli_sti_pushf_and_popf_a_virtual_flag() -> None:
    bench = vme()
    assert bench.run("sti; pushf; cli; pushf; popf", 5) == ""
    assert bench.get(STACKS[3] - 0x1000 + 0xFFE, 2) & (IF | IOPL) == IF | IOPL
    assert bench.get(STACKS[3] - 0x1000 + 0xFFC, 2) & (IF | IOPL) == IOPL
    assert not bench.cpu.rflags & VIF
    assert not bench.cpu.rflags & IF


def test_vme_refuses_to_unmask_while_an_interrupt_is_pending() -> None:
    assert vme(VIP).run("sti") == "GP(0)"
    bench = vme(VIP)
    assert bench.run("push 0x202; popf", 2) == "GP(0)"
    assert vme().run(bytes.fromhex("669c")) == "GP(0)"


def test_vme_redirects_software_interrupts_to_the_tasks_own_vectors() -> None:
    bench = vme(VIF)
    bench.memory.load(4 * 0x21, struct.pack("<HH", 0x123, 0xA00))
    assert bench.run("int 0x21") == ""
    assert (bench.cpu.cs.selector, bench.cpu.rip) == (0xA00, 0x123)
    assert not bench.cpu.rflags & VIF
    flags = bench.get(STACKS[3] - 0x1000 + 0xFFE, 2)
    assert flags & (IF | IOPL) == IF | IOPL
    assert bench.get(STACKS[3] - 0x1000 + 0xFFA, 2) == 2
    bench.memory.load(0xA123, b"\xcf")
    assert bench.step() == ""
    assert (bench.cpu.cs.selector, bench.cpu.rip, bool(bench.cpu.rflags & VIF)) == (CODE >> 4, 2, True)
    assert vme(bitmap_bit=1).run("int 0x21") == "GP(0)"


def test_pvi_gives_level_3_a_virtual_flag() -> None:
    bench = Bench("prot", 3)
    bench.cpu.cr4 |= 2
    assert bench.run("sti") == ""
    assert bench.cpu.rflags & VIF
    assert bench.run("cli") == ""
    assert not bench.cpu.rflags & VIF


# Real mode


def test_an_interrupt_in_real_mode_and_its_return() -> None:
    bench = Bench("real")
    bench.cpu.rflags = 0x2 | IF | 0x41
    assert bench.run("int 0x21") == "21"
    trap = bench.trap()
    assert trap is not None
    assert (trap.ip, trap.cs, trap.flags) == (2, CODE >> 4, 0x243)
    bench.memory.load(HANDLERS + 16 * 0x21, b"\xcf")
    assert bench.step() == ""
    assert (bench.cpu.rip, bench.cpu.rflags) == (2, 0x243)


def test_a_vector_beyond_the_limit_is_a_double_fault_and_then_a_shutdown() -> None:
    bench = Bench("real")
    bench.cpu.idtr = TableRegister(0, 8 * 4 + 3)
    assert bench.run("int 0x21") == "DF"
    bench = Bench("real")
    bench.cpu.idtr = TableRegister(0, 3)
    assert bench.run("int 0x21") == "SHUTDOWN"


def test_limits_from_protected_mode_stay_in_real_mode() -> None:
    bench = Bench("real")
    bench.cpu.es = Segment(0, 0, 0xFFFFFFFF, 0x8093)
    bench.memory.load(0x123456, b"\x77")
    assert bench.run(bytes.fromhex("8ec0") + bytes.fromhex("2667a056341200"), 2) == ""
    assert bench.cpu.al == 0x77


def test_every_segment_ends_at_64_kib_after_reset() -> None:
    bench = Bench("real")
    assert bench.run(bytes.fromhex("67a056341200")) == "GP"
    assert bench.run(bytes.fromhex("a1ffff")) == "GP"
