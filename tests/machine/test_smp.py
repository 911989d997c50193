"""Several vCPUs: start-up, interrupts from one to another, shared memory, fairness."""

from __future__ import annotations

import pytest
from guests import DEBUG_EXIT, EXIT_PORT

from vmcore.engine import Activity, assemble, can_assemble
from vmcore.machine.config import FlatImage, FlatMode, MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.exits import BudgetSpent, DebugExit, Idle
from vmcore.model.units import SECOND

COUNTER, START = 0x9000, 0x8000
# Where the started processors begin: real mode, at a page that the start-up IPI names.
JOIN = "xor ax, ax; mov ds, ax; lock inc word ptr [0x9000]"
BROADCAST = """
    mov ebx, 0xfee00000
    mov dword ptr [rbx + 0xf0], 0x1ff
    mov dword ptr [rbx + 0x300], 0xc4500
    mov dword ptr [rbx + 0x300], 0xc4608
    mov dword ptr [rbx + 0x300], 0xc4608
"""


def machine(first: str, others: str, cpus: int) -> Machine:
    if not can_assemble():
        pytest.skip("keystone has no wheel here: guests cannot be assembled")
    flat = FlatImage(assemble(first, 64, 0x100000), 0x100000, mode=FlatMode.LONG)
    made = Machine(MachineConfig(memory="16M", cpus=cpus, flat=flat, devices=[DEBUG_EXIT]))
    made.memory.write(START, assemble(others, 16, START))
    return made


def test_only_the_first_vcpu_runs_before_the_others_are_started() -> None:
    made = machine("spin: jmp spin", "hlt", 3)
    made.run(10_000)
    assert [cpu.instructions for cpu in made.cpus] == [10_000, 0, 0]
    assert [cpu.activity for cpu in made.cpus[1:]] == [Activity.WAIT_SIPI] * 2


@pytest.mark.parametrize("cpus", [2, 4, 16])
def test_start_up_interrupts_start_all_the_others_once(cpus: int) -> None:
    wait = f"""
    again:
        pause
        movzx eax, word ptr [{COUNTER}]
        cmp eax, {cpus - 1}
        jne again
        out {EXIT_PORT:#x}, eax
    """
    made = machine(BROADCAST + wait, JOIN + "; hang: cli; hlt; jmp hang", cpus)
    assert made.run(until_ns=SECOND) == DebugExit(cpus - 1)
    assert all(cpu.instructions > 0 for cpu in made.cpus)


def test_locked_increments_of_many_vcpus_are_all_counted() -> None:
    work = "mov cx, 20000; more: lock inc word ptr [0x9002]; loop more; lock inc word ptr [0x9004]; hang: cli; hlt"
    made = machine(BROADCAST + "cli; hlt", JOIN + ";" + work, 4)
    assert made.run() == Idle(None)
    assert made.memory.read(0x9000, 6) == (3).to_bytes(2, "little") + (60000).to_bytes(2, "little") + b"\3\0"


def test_busy_vcpus_get_equal_shares() -> None:
    made = machine(BROADCAST + "spin: jmp spin", "spin: jmp spin", 4)
    made.run(4_000_000)
    shares = [cpu.instructions for cpu in made.cpus]
    assert max(shares) - min(shares) <= 50_000


def test_a_fixed_interrupt_wakes_a_halted_vcpu() -> None:
    # The second processor sets up its vector 0x21, waits, and answers.
    answer = """
        mov word ptr [0x84], 0x8100
        mov word ptr [0x86], ax
        lock inc word ptr [0x9000]
        sti
    sleep:
        hlt
        jmp sleep
    """
    first = f"""
    ready:
        pause
        cmp word ptr [0x9004], 1
        jne ready
        mov dword ptr [rbx + 0x310], 0x01000000
        mov dword ptr [rbx + 0x300], 0x4021
    wait:
        pause
        cmp word ptr [0x9002], 0
        je wait
        movzx eax, word ptr [0x9002]
        out {EXIT_PORT:#x}, eax
    """
    made = machine(BROADCAST + first, JOIN + ";" + answer, 2)
    made.memory.write(0x8100, assemble("mov word ptr [0x9002], 0x77; iret", 16, 0x8100))
    # A local APIC takes fixed interrupts once it is enabled; real mode does not reach it, so that is done from outside.
    while made.memory.read(COUNTER, 1) != b"\2":
        assert made.run(100) == BudgetSpent()
    made.board.devices["/machine/cpus/cpu1/lapic"].mmio_write(0xF0, 0x1FF, 4)
    made.memory.write(0x9004, b"\1")
    assert made.run(until_ns=SECOND) == DebugExit(0x77)


def test_each_vcpu_sees_its_own_local_apic() -> None:
    flat_segments = bytes(8) + bytes.fromhex("ffff0000009acf00 ffff00000092cf00")
    # LGDT [8200h]; protected mode; a far jump to 8:8300h.
    enter = ".byte 0x0f, 0x01, 0x16, 0, 0x82; mov eax, cr0; or al, 1; mov cr0, eax; .byte 0xea, 0, 0x83, 8, 0"
    made = machine(BROADCAST + "mov eax, dword ptr [0xfee00020]; cli; hlt", "xor ax, ax; mov ds, ax;" + enter, 3)
    made.memory.write(0x8200, (23).to_bytes(2, "little") + (0x8210).to_bytes(4, "little"))
    made.memory.write(0x8210, flat_segments)
    read = "mov ax, 16; mov ds, ax; mov eax, dword ptr [0xfee00020]; cli; hlt"
    made.memory.write(0x8300, assemble(read, 32, 0x8300))
    assert made.run() == Idle(None)
    assert [cpu.eax for cpu in made.cpus] == [0 << 24, 1 << 24, 2 << 24]


def test_a_reset_sends_the_others_back_to_wait() -> None:
    made = machine(BROADCAST + "spin: jmp spin", "spin: jmp spin", 3)
    made.run(200_000)
    assert made.cpus[2].instructions > 0
    made.reset()
    before = [cpu.instructions for cpu in made.cpus]
    assert [cpu.activity for cpu in made.cpus[1:]] == [Activity.WAIT_SIPI] * 2
    made.run(3)
    assert [cpu.instructions for cpu in made.cpus] == [before[0] + 3, before[1], before[2]]
