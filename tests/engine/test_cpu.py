"""Cpu: registers by name, running and stopping, breakpoints, states, and what it says to bad arguments."""

from __future__ import annotations

import pickle
import threading

import pytest
from attrs import evolve

from vmcore.engine import Activity, Attributes, Cpu, Flags, PhysicalMemory, RunExit, Segment, TableRegister, assemble
from vmcore.model.errors import GuestError, UsageError


def machine(code: str | bytes = "", at: int = 0x1000, model: str = "max") -> Cpu:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x10000)
    if code:
        memory.load(at, assemble(code, 16, at) if isinstance(code, str) else code)
    cpu = Cpu(memory, model=model)
    cpu.cs = Segment(0, 0, 0xFFFF, 0x9B)
    cpu.rip = at
    return cpu


# Registers


def test_reset_values_are_those_of_the_manual() -> None:
    cpu = Cpu(PhysicalMemory())
    assert cpu.rip == 0xFFF0
    assert cpu.cs == Segment(0xF000, 0xFFFF0000, 0xFFFF, 0x93)
    assert cpu.ds == Segment(0, 0, 0xFFFF, 0x93)
    assert cpu.idtr == TableRegister(0, 0xFFFF)
    assert cpu.rflags == 2
    assert cpu.cr0 == 0x6000_0010
    assert cpu.dr6 == 0xFFFF_0FF0
    assert cpu.dr7 == 0x400
    assert cpu.mxcsr == 0x1F80
    assert cpu.fcw == 0x40
    assert cpu.activity == Activity.ACTIVE


def test_parts_of_a_register_are_parts_of_it() -> None:
    cpu = machine()
    cpu.rax = 0x1122334455667788
    assert (cpu.eax, cpu.ax, cpu.al, cpu.ah) == (0x55667788, 0x7788, 0x88, 0x77)
    cpu.al = 0xAA
    cpu.ah = 0xBB
    assert cpu.rax == 0x112233445566BBAA
    cpu.ax = 0xCCDD
    assert cpu.rax == 0x112233445566CCDD
    cpu.eax = 1
    assert cpu.rax == 1
    cpu.r9 = (1 << 64) - 1
    cpu.r9b, cpu.r9w = 0, 0x1234
    assert cpu.r9 == 0xFFFFFFFFFFFF1234
    cpu.r9d = 5
    assert cpu.r9 == 5


def test_wide_registers_are_unsigned_integers() -> None:
    cpu = machine()
    cpu.xmm3 = (1 << 128) - 2
    cpu.st0 = 0x3FFF_8000_0000_0000_0000
    assert cpu.xmm3 == (1 << 128) - 2
    assert cpu.st0 == 0x3FFF << 64 | 1 << 63
    assert cpu.mm0 == 1 << 63
    cpu.mm1 = 7
    assert cpu.st1 == 0xFFFF << 64 | 7
    cpu.fsw = 0x3800
    assert cpu.fsw & 0x3800 == 0x3800
    assert cpu.st2 == 0xFFFF << 64 | 7


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("rax", 1 << 64, OverflowError),
        ("rax", -1, OverflowError),
        ("al", 256, OverflowError),
        ("rip", 1.5, TypeError),
        ("rax", "1", TypeError),
        ("rax", True, TypeError),
        ("xmm0", 1 << 128, OverflowError),
        ("xmm0", -1, OverflowError),
        ("xmm0", None, TypeError),
        ("rflags", 1 << 22, OverflowError),
        ("cr8", 16, OverflowError),
        ("cpl", 4, OverflowError),
        ("yields", 2, OverflowError),
        ("acknowledge", 5, TypeError),
        ("instructions", 5, AttributeError),
    ],
)
def test_bad_values_are_refused_by_name(name: str, value: object, error: type[Exception]) -> None:
    cpu = machine()
    before = cpu.save()
    with pytest.raises(error, match=name):
        setattr(cpu, name, value)
    assert cpu.save() == before


def test_registers_cannot_be_deleted() -> None:
    cpu = machine()
    for name in ("rax", "cr0", "xmm0", "acknowledge", "rflags"):
        with pytest.raises(TypeError, match=name):
            delattr(cpu, name)


def test_control_registers_have_their_consequences_and_refuse_nonsense() -> None:
    cpu = machine()
    with pytest.raises(ValueError, match="cr0: 0x80000000: the processor answers with exception 13"):
        cpu.cr0 = 0x8000_0000
    cpu.efer = 0x100
    cpu.cr4 = 0x20
    cpu.cr3 = 0x2000
    cpu.cr0 = 0x8000_0001
    assert cpu.efer & 0x400, "LMA follows from LME and PG"
    with pytest.raises(ValueError, match="efer"):
        cpu.efer = 1 << 63


def test_segments_are_values_that_can_be_set() -> None:
    cpu = machine()
    cpu.cr0 = 0x11
    cpu.ss = Segment(0x1B, 0x1000, 0xFFFFF, Attributes.P | Attributes.S | Attributes.WRITABLE | 3 << 5)
    assert cpu.ss.privilege == 3
    assert cpu.cpl == 3
    with pytest.raises(OverflowError, match="limit"):
        cpu.ds = Segment(0, 0, 1 << 32, 0x93)
    with pytest.raises(OverflowError, match="selector"):
        cpu.ds = Segment(0x10000, 0, 0, 0x93)
    cpu.gdtr = TableRegister(0x3000, 0x27)
    assert cpu.gdtr == TableRegister(0x3000, 0x27)
    with pytest.raises(OverflowError, match="limit"):
        cpu.idtr = TableRegister(0, 0x10000)


def test_flags_are_worked_out_when_they_are_read() -> None:
    cpu = machine("mov ax, 0xffff; add ax, 1; hlt")
    cpu.run(2)
    assert Flags(cpu.rflags) == Flags.CF | Flags.PF | Flags.AF | Flags.ZF | Flags(2)


def test_model_specific_registers_by_number() -> None:
    cpu = machine()
    cpu.write_msr(0xC0000082, 0xFFFF800000001000)
    assert cpu.read_msr(0xC0000082) == 0xFFFF800000001000
    with pytest.raises(KeyError, match="no MSR"):
        cpu.read_msr(0x12345678)
    with pytest.raises(ValueError, match="MSR 0xc0000082"):
        cpu.write_msr(0xC0000082, 1 << 60)


def test_hooked_msrs_ask_first() -> None:
    cpu = machine(bytes.fromhex("66b91b000000 0f32 0f30 f4"))
    asked: list[tuple[int, ...]] = []

    def read(index: int) -> int | None:
        asked.append((index,))
        return 0xFEE00900

    def write(index: int, value: int) -> bool | None:
        asked.append((index, value))
        return True

    cpu.set_msr_hooks({0x1B}, read, write)
    assert cpu.run(10) is RunExit.HALT
    assert asked == [(0x1B,), (0x1B, 0xFEE00900)]
    assert cpu.eax == 0xFEE00900


# Running


def test_budget_is_exact() -> None:
    cpu = machine("l: inc ax; jmp l")
    for budget in (0, 1, 2, 3, 100, 12345):
        before = cpu.instructions
        assert cpu.run(budget) is RunExit.BUDGET
        assert cpu.instructions - before == budget
    cpu.step()
    cpu.step(5)
    assert cpu.instructions == 1 + 2 + 3 + 100 + 12345 + 6


def test_bad_budgets_are_refused() -> None:
    cpu = machine("hlt")
    for bad, error in ((-1, OverflowError), (1 << 63, OverflowError), (1.0, TypeError), (None, TypeError)):
        with pytest.raises(error, match="instructions"):
            cpu.run(bad)  # type: ignore[arg-type]


def test_instruction_count_is_exact_inside_callbacks() -> None:
    cpu = machine("nop; nop; in al, 0x60; nop; in al, 0x60; hlt")
    counts: list[int] = []

    def read(offset: int, size: int) -> int:
        counts.append(cpu.instructions)
        return 0

    cpu.memory.map_port(0x60, 1, read, None)
    assert cpu.run(100) is RunExit.HALT
    assert counts == [2, 4]


def test_stop_from_another_thread_ends_a_spinning_guest() -> None:
    cpu = machine("l: jmp l")
    results: list[RunExit] = []
    thread = threading.Thread(target=lambda: results.append(cpu.run(1 << 40)))
    thread.start()
    while cpu.instructions == 0 and thread.is_alive():
        cpu.request_stop()
    cpu.request_stop()
    thread.join(10)
    assert not thread.is_alive()
    assert results == [RunExit.STOP]


def test_stop_before_a_run_ends_the_next_one_at_once_unless_taken_back() -> None:
    cpu = machine("l: jmp l")
    cpu.request_stop()
    assert cpu.run(10) is RunExit.STOP
    assert cpu.instructions == 0
    cpu.request_stop()
    cpu.cancel_stop()
    assert cpu.run(10) is RunExit.BUDGET


def test_break_ends_the_run_after_the_instruction() -> None:
    cpu = machine("out 0x80, al; inc ax; hlt")
    cpu.memory.map_port(0x80, 1, None, lambda offset, value, size: cpu.break_run())
    assert cpu.run(100) is RunExit.BREAK
    assert (cpu.instructions, cpu.rip, cpu.ax) == (1, 0x1002, 0)
    cpu.break_run()  # outside of a run: nothing
    assert cpu.run(100) is RunExit.HALT


def test_registers_can_be_read_but_not_set_inside_a_callback() -> None:
    cpu = machine("mov ax, 5; out 0x80, al; hlt")
    seen: list[object] = []

    def write(offset: int, value: int, size: int) -> None:
        seen.append((cpu.ax, cpu.rip))
        for attempt in (lambda: setattr(cpu, "rax", 1), cpu.reset, lambda: cpu.run(1)):
            with pytest.raises(UsageError):
                attempt()

    cpu.memory.map_port(0x80, 1, None, write)
    assert cpu.run(100) is RunExit.HALT
    assert seen == [(5, 0x1003)]


def test_interrupts_are_acknowledged_and_taken() -> None:
    cpu = machine("sti; l: inc ax; jmp l")
    cpu.memory.load(4 * 0x20, (0x2000).to_bytes(4, "little"))
    cpu.memory.load(0x2000, assemble("mov bx, 7; hlt", 16, 0x2000))
    cpu.rsp = 0x8000
    acknowledged: list[int] = []

    def acknowledge() -> int:
        acknowledged.append(cpu.instructions)
        cpu.set_interrupt(False)
        return 0x20

    cpu.acknowledge = acknowledge
    cpu.run(10)
    cpu.set_interrupt(True)
    assert cpu.run(100) is RunExit.HALT
    assert acknowledged == [10]
    assert cpu.bx == 7


def test_bad_answer_to_acknowledge_is_an_error() -> None:
    cpu = machine("sti; nop; hlt")
    cpu.acknowledge = lambda: 256
    cpu.set_interrupt(True)
    with pytest.raises(ValueError, match="acknowledge answered 256"):
        cpu.run(10)


def test_halted_vcpu_says_so_again_and_goes_on_by_nmi() -> None:
    cpu = machine("hlt; inc ax; hlt")
    cpu.memory.load(4 * 2, (0x2000).to_bytes(4, "little"))
    cpu.memory.load(0x2000, assemble("iret", 16, 0x2000))
    cpu.rsp = 0x8000
    assert cpu.run(10) is RunExit.HALT
    assert cpu.run(10) is RunExit.HALT
    assert cpu.activity == Activity.HALTED
    cpu.nmi()
    assert cpu.run(10) is RunExit.HALT
    assert cpu.ax == 1


def test_start_up_ipi_starts_a_waiting_vcpu_alone() -> None:
    first = machine()
    first.sipi(0x12)
    assert first.rip == 0x1000
    cpu = Cpu(first.memory, 1)
    assert cpu.run(10) is RunExit.WAIT
    cpu.sipi(0x34)
    cpu.init()
    cpu.sipi(0x12)
    assert cpu.activity == Activity.ACTIVE
    assert (cpu.cs.selector, cpu.cs.base, cpu.rip) == (0x1200, 0x12000, 0)
    with pytest.raises(OverflowError, match="vector"):
        cpu.sipi(256)


def test_triple_fault_is_a_shutdown() -> None:
    cpu = machine("int3")
    cpu.idtr = TableRegister(0, 0)
    assert cpu.run(10) is RunExit.SHUTDOWN
    assert cpu.run(10) is RunExit.SHUTDOWN
    cpu.reset()
    assert cpu.rip == 0xFFF0
    assert cpu.activity == Activity.ACTIVE


def test_time_follows_from_instructions() -> None:
    cpu = machine("l: jmp l")
    cpu.set_time(1_000, 5, 1, 3, 0)
    cpu.run(10)
    assert cpu.guest_ns == 1_025
    before = cpu.tsc
    cpu.run(2)
    assert cpu.tsc - before == 15
    cpu.set_time(5_000)
    assert cpu.guest_ns == 5_000
    cpu.tsc = 77
    assert cpu.tsc == 77
    with pytest.raises(OverflowError, match="ns_shift"):
        cpu.set_time(0, 1, 64)


# Breakpoints


def test_breakpoint_stops_before_its_instruction_and_lets_it_go_on() -> None:
    cpu = machine("mov cx, 3; l: inc ax; loop l; hlt")
    cpu.add_breakpoint(0x1003)
    for count in range(3):
        assert cpu.run(100) is RunExit.BREAKPOINT
        assert (cpu.rip, cpu.ax) == (0x1003, count)
    assert cpu.run(100) is RunExit.HALT
    with pytest.raises(UsageError, match="no breakpoint at 0x1004"):
        cpu.remove_breakpoint(0x1004)
    cpu.remove_breakpoint(0x1003)
    cpu.rip, cpu.activity = 0x1000, 0
    assert cpu.run(100) is RunExit.HALT


def test_breakpoint_in_code_that_already_ran_is_noticed() -> None:
    cpu = machine("l: inc ax; inc bx; inc dx; jmp l")
    cpu.run(1000)
    cpu.add_breakpoint(0x1002)
    assert cpu.run(1000) is RunExit.BREAKPOINT
    assert cpu.rip == 0x1002


def test_watchpoint_stops_after_the_access() -> None:
    cpu = machine("mov al, [0x5000]; mov [0x5001], al; mov [0x5004], al; mov al, [0x5004]; hlt")
    cpu.add_watchpoint(0x5004)
    assert cpu.run(100) is RunExit.WATCHPOINT
    assert (cpu.instructions, cpu.watch_hit) == (3, 0x5004)
    assert cpu.run(100) is RunExit.HALT
    cpu.remove_watchpoint(0x5004)
    cpu.add_watchpoint(0x5004, 2, read=True, write=False)
    cpu.rip, cpu.activity = 0x1000, 0
    assert cpu.run(100) is RunExit.WATCHPOINT
    assert cpu.instructions == 5 + 4
    for bad in ({"size": 0}, {"write": False}):
        with pytest.raises(ValueError, match="watchpoint"):
            cpu.add_watchpoint(0, **bad)


# Virtual memory


def test_virtual_memory_goes_through_the_page_tables() -> None:
    cpu = machine()
    memory = cpu.memory
    memory.write(0x2000, (0x3000 | 7).to_bytes(4, "little"))
    memory.write(0x3000 + 4 * 5, (0x7000 | 5).to_bytes(4, "little"))
    memory.write(0x3000 + 4 * 6, (0x4000 | 5).to_bytes(4, "little"))
    cpu.cr3 = 0x2000
    cpu.cr0 = 0x8000_0011
    assert cpu.translate(0x5123) == 0x7123
    assert cpu.translate(0x7000) is None
    assert cpu.translate(1 << 40) is None
    cpu.write_virtual(0x5FFE, b"abcd")
    assert (memory.read(0x7FFE, 2), memory.read(0x4000, 2)) == (b"ab", b"cd")
    assert cpu.read_virtual(0x5FFE, 4) == b"abcd"
    with pytest.raises(GuestError) as caught:
        cpu.write_virtual(0x6FFE, b"1234")
    assert (caught.value.address, caught.value.access) == (0x7000, "write")
    assert memory.read(0x4FFE, 2) == bytes(2)
    # No accessed bits were set.
    assert memory.read(0x3000 + 4 * 5, 1) == b"\x05"


# State


def test_saved_state_is_a_value_and_comes_back() -> None:
    cpu = machine("mov ax, 0x8000; add ax, ax; fld1; movd xmm1, eax; hlt")
    cpu.cr4 = 0x200
    cpu.run(4)
    cpu.set_interrupt(True)
    state = cpu.save()
    digest = cpu.digest()
    assert pickle.loads(pickle.dumps(state)) == state
    assert state.rflags & 1
    other = Cpu(cpu.memory, 1)
    other.restore(state)
    assert other.save() == state
    assert other.digest() == digest
    cpu.step()
    assert cpu.digest() != digest
    cpu.restore(state)
    assert cpu.save() == state


def test_state_that_cannot_be_is_refused_and_changes_nothing() -> None:
    cpu = machine()
    cpu.rax = 1
    before = cpu.save()
    good = evolve(before, rip=5)
    for change in (
        {"gpr": (0,) * 15},
        {"gpr": (1 << 64,) * 16},
        {"cpl": 4},
        {"activity": 9},
        {"fpu_top": 8},
        {"segments": ((0, 0, 0),) * 8},
        {"vectors": b"short"},
        {"fpu_registers": (1 << 80,) * 8},
        {"instructions": -1},
        {"ns_shift": 64},
        {"gdtr": (0, 1 << 16)},
    ):
        with pytest.raises((ValueError, OverflowError)):
            cpu.restore(evolve(good, **change))
        assert cpu.save() == before
    cpu.restore(good)
    assert cpu.rip == 5


def test_packed_context_is_the_registers_of_a_program() -> None:
    cpu = machine()
    cpu.rcx, cpu.xmm15, cpu.mm7 = 3, 1 << 100, 9
    context = cpu.context()
    other = machine()
    other.set_context(context)
    assert (other.rcx, other.xmm15, other.mm7, other.rip) == (3, 1 << 100, 9, 0x1000)
    with pytest.raises(ValueError, match="656 bytes"):
        cpu.set_context(context[:-1])


def test_vcpus_of_one_memory_see_each_other_s_code() -> None:
    cpu = machine("mov ax, 1; hlt")
    other = Cpu(cpu.memory, 1)
    other.activity, other.cs, other.rip = Activity.ACTIVE, cpu.cs, cpu.rip
    assert other.run(10) is RunExit.HALT
    assert other.ax == 1
    cpu.memory.write(0x1001, b"\x02")
    assert cpu.run(10) is RunExit.HALT
    assert cpu.ax == 2


def test_unknown_models_and_memories_are_refused() -> None:
    with pytest.raises(UsageError, match="i8008"):
        Cpu(PhysicalMemory(), model="i8008")
    with pytest.raises(TypeError, match="memory: expected a PhysicalMemory"):
        Cpu(object())  # type: ignore[arg-type]
    with pytest.raises(OverflowError, match="index"):
        Cpu(PhysicalMemory(), 255)


def test_statistics_count() -> None:
    cpu = machine("in al, 0x60; out 0x60, al; int3; hlt")
    cpu.memory.load(4 * 3, (0x2000).to_bytes(4, "little"))
    cpu.memory.load(0x2000, b"\xf4")
    cpu.rsp = 0x8000
    assert cpu.run(100) is RunExit.HALT
    statistics = cpu.statistics()
    assert statistics["instructions"] == cpu.instructions
    assert (statistics["port_reads"], statistics["port_writes"]) == (1, 1)
    assert statistics["blocks_decoded"] > 0
