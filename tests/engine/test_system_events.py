"""Interrupts from outside, what holds them back, and how a vCPU starts, waits and is reset."""

from __future__ import annotations

import pytest
from system_bench import CODE, HANDLERS, STACKS, Bench

from vmcore.engine import Activity, Cpu, PhysicalMemory, RunExit, Segment

IF = 0x200


def interrupt(bench: Bench, vector: int) -> None:
    """Raises INTR until it is acknowledged."""

    def acknowledge() -> int:
        bench.cpu.set_interrupt(False)
        return vector

    bench.cpu.acknowledge = acknowledge
    bench.cpu.set_interrupt(True)


@pytest.mark.parametrize("mode", ["real", "v86", "prot16", "prot", "compat", "long"])
def test_an_interrupt_is_taken_between_instructions(mode: str) -> None:
    bench = Bench(mode, 3 if mode == "v86" else 0)
    bench.write("nop; nop; nop")
    bench.cpu.rflags |= IF
    start = bench.cpu.rip
    bench.cpu.run(1)
    interrupt(bench, 0x55)
    bench.cpu.run(1)
    trap = bench.trap()
    assert trap is not None
    assert (trap.vector, trap.error, trap.ip, trap.flags & IF) == (0x55, None, start + 1, IF)
    assert not bench.cpu.rflags & IF


def test_an_interrupt_waits_for_the_flag_and_for_the_instruction_after_sti() -> None:
    bench = Bench("long")
    bench.write("nop; sti; nop; nop")
    interrupt(bench, 0x55)
    bench.cpu.run(2)
    assert bench.cpu.rip == CODE + 2
    bench.cpu.run(1)
    assert bench.cpu.rip == CODE + 3
    bench.cpu.run(1)
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == CODE + 3


def test_an_interrupt_waits_for_the_instruction_after_a_load_of_ss() -> None:
    bench = Bench("prot")
    bench.cpu.rax = 0x10
    bench.cpu.rflags |= IF
    bench.write(bytes.fromhex("8ed0 90 90"))
    bench.cpu.run(1)
    interrupt(bench, 0x55)
    bench.cpu.run(2)
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == CODE + 3


def test_halting_ends_with_an_interrupt() -> None:
    bench = Bench("long")
    bench.write("sti; hlt; nop")
    assert bench.cpu.run(10) == RunExit.HALT
    assert bench.cpu.activity == Activity.HALTED
    interrupt(bench, 0x55)
    bench.cpu.run(1)
    trap = bench.trap()
    assert trap is not None
    assert trap.ip == CODE + 2


def test_an_nmi_ignores_the_flag_and_blocks_the_next_until_iret() -> None:
    bench = Bench("long")
    bench.write("nop; nop; nop; nop")
    bench.memory.load(HANDLERS + 32, b"\xff\xc0\x48\xcf")  # inc eax; iretq
    bench.cpu.nmi()
    bench.cpu.run(1)
    assert bench.cpu.eax == 1
    bench.cpu.nmi()
    bench.cpu.run(1)  # IRET
    assert (bench.cpu.eax, bench.cpu.rip) == (1, CODE)
    bench.cpu.run(1)
    assert bench.cpu.eax == 2


def test_an_interrupt_from_outside_takes_the_interrupt_stack_table() -> None:
    bench = Bench("long", 3)
    bench.gate(0x55, ist=1)
    bench.write("nop; nop")
    bench.cpu.rflags |= IF
    interrupt(bench, 0x55)
    bench.cpu.run(1)
    trap = bench.trap()
    assert trap is not None
    assert bench.cpu.rsp == 0x25000 - 40
    assert (trap.sp, trap.ss) == (STACKS[3], 0x2B)
    assert bench.cpu.ss.selector == 0


def test_the_stack_is_aligned_to_16_bytes_in_long_mode() -> None:
    bench = Bench("long")
    bench.cpu.rsp = STACKS[0] - 3
    assert bench.run("int3") == "BP"
    assert bench.cpu.rsp == STACKS[0] - 16 - 40
    trap = bench.trap()
    assert trap is not None
    assert trap.sp == STACKS[0] - 3


def test_a_shut_down_processor_wakes_for_a_reset_alone() -> None:
    bench = Bench("prot")
    bench.cpu.idtr = type(bench.cpu.idtr)(0, 0)
    assert bench.run("ud2") == "SHUTDOWN"
    assert bench.cpu.activity == Activity.SHUTDOWN
    assert bench.cpu.run(1) == RunExit.SHUTDOWN
    bench.cpu.reset()
    assert bench.cpu.activity == Activity.ACTIVE


def test_after_reset_the_registers_are_those_of_the_manual() -> None:
    cpu = Cpu(PhysicalMemory(), 0, model="Nehalem")
    assert (cpu.rip, cpu.rflags, cpu.cr0, cpu.cr4, cpu.efer) == (0xFFF0, 2, 0x60000010, 0, 0)
    assert cpu.cs == Segment(0xF000, 0xFFFF0000, 0xFFFF, 0x93)
    assert cpu.ds == cpu.ss == cpu.gs == Segment(0, 0, 0xFFFF, 0x93)
    assert (cpu.rdx, cpu.rax) == (0x106A3, 0)
    assert (cpu.dr6, cpu.dr7, cpu.mxcsr, cpu.fcw, cpu.xcr0) == (0xFFFF0FF0, 0x400, 0x1F80, 0x40, 1)
    assert cpu.read_msr(0x277) == 0x0007040600070406
    assert cpu.read_msr(0x1B) == 0xFEE00900


def test_init_keeps_what_reset_clears() -> None:
    bench = Bench("long")
    cpu = bench.cpu
    cpu.write_msr(0x277, 0x0101010101010101)
    cpu.xmm3 = 77
    cpu.rax = 5
    cpu.init()
    cpu.run(1)
    assert (cpu.rax, cpu.cr0 & 1, cpu.efer) == (0, 0, 0)
    assert cpu.xmm3 == 77
    assert cpu.read_msr(0x277) == 0x0101010101010101
    cpu.reset()
    assert cpu.xmm3 == 0
    assert cpu.read_msr(0x277) == 0x0007040600070406


def test_other_processors_wait_for_a_start_up_message() -> None:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x100000)
    memory.load(0x9A000, b"\x40\xf4")  # inc ax; hlt
    Cpu(memory, 0)
    cpu = Cpu(memory, 1)
    assert cpu.run(10) == RunExit.WAIT
    cpu.sipi(0x9A)
    assert cpu.cs == Segment(0x9A00, 0x9A000, 0xFFFF, 0x93)
    assert cpu.run(10) == RunExit.HALT
    assert cpu.ax == 1
    cpu.sipi(0x10)
    assert cpu.rip == 2
    cpu.init()
    assert cpu.run(10) == RunExit.WAIT


def test_an_uncorrected_machine_check_is_delivered_once() -> None:
    bench = Bench("long")
    bench.cpu.cr4 |= 0x40
    bench.write("nop; nop; nop")
    bench.cpu.inject_machine_check(2, 1 << 61 | 0x135, 0x1234000, 0, 3)
    bench.cpu.run(1)
    trap = bench.trap()
    assert trap is not None
    assert str(trap) == "MC"
    assert trap.ip == CODE
    assert bench.cpu.read_msr(0x17A) == 7
    assert bench.cpu.read_msr(0x409) == 1 << 63 | 1 << 61 | 0x135
    assert bench.cpu.read_msr(0x40A) == 0x1234000
    bench.cpu.inject_machine_check(3, 1 << 61, 0, 0, 3)
    assert bench.cpu.run(1) == RunExit.SHUTDOWN  # while one is in progress


def test_a_machine_check_without_cr4_mce_shuts_down() -> None:
    bench = Bench("long")
    bench.write("nop; nop")
    bench.cpu.inject_machine_check(0, 1 << 61, 0, 0, 3)
    assert bench.cpu.run(1) == RunExit.SHUTDOWN


def test_a_corrected_error_is_only_recorded_and_an_uncorrected_one_replaces_it() -> None:
    bench = Bench("long")
    bench.cpu.cr4 |= 0x40
    bench.write("nop; nop; nop")
    bench.cpu.inject_machine_check(1, 0x150, 0, 0, 0)
    bench.cpu.run(1)
    assert bench.trap() is None
    assert bench.cpu.read_msr(0x405) == 1 << 63 | 0x150
    bench.cpu.inject_machine_check(1, 0x151, 0, 0, 0)
    assert bench.cpu.read_msr(0x405) == 1 << 63 | 1 << 62 | 0x150
    bench.cpu.inject_machine_check(1, 1 << 61 | 0x200, 0, 0, 1)
    assert bench.cpu.read_msr(0x405) == 1 << 63 | 1 << 62 | 1 << 61 | 0x200
