"""The board `pc`: what lies where, and how interrupts and lines run."""

from __future__ import annotations

from typing import cast

import pytest

from vmcore.boards.cmos import cmos_contents
from vmcore.boards.pc import PcBoard, pc_layout
from vmcore.devices.pic8259 import Pic8259
from vmcore.engine import assemble, can_assemble
from vmcore.hardware.decoding import HOMES
from vmcore.machine.config import FlatImage, FlatMode, MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.exits import DebugExit, Idle
from vmcore.model.units import GIB, KIB, MIB, SECOND

needs_assembler = pytest.mark.skipif(not can_assemble(), reason="keystone has no wheel here")


def board(memory: int = 16 * MIB, serials: int = 1) -> PcBoard:
    return cast("PcBoard", Machine(MachineConfig(memory=memory, serials=serials)).board)


def started(text: str, mode: FlatMode, at: int = 0x7C00) -> Machine:
    code = assemble(text, {FlatMode.REAL: 16, FlatMode.LONG: 64}[mode], at)
    devices = ["isa-debug-exit,iobase=0xf4,iosize=4"]
    return Machine(MachineConfig(memory="16M", flat=FlatImage(code, at, mode=mode), devices=devices))


# --- memory


@pytest.mark.parametrize(
    ("memory", "ram"),
    [
        (512 * KIB, [(0, 512 * KIB)]),
        (1 * MIB, [(0, 640 * KIB)]),
        (64 * MIB, [(0, 640 * KIB), (MIB, 63 * MIB)]),
        (4 * GIB, [(0, 640 * KIB), (MIB, 3 * GIB - MIB), (4 * GIB, GIB)]),
    ],
)
def test_ram_leaves_out_the_upper_memory_area_and_the_hole_below_four_gib(
    memory: int, ram: list[tuple[int, int]]
) -> None:
    regions = board(memory).services.memory.regions()
    video = range(0xA0000, 0xC0000)
    found = [(start, size) for start, size, kind in regions if kind == "RAM" and start not in video]
    assert [region for region in found if region[0] < HOMES] == ram


def test_the_rom_shows_again_where_the_processor_starts() -> None:
    memory = board().services.memory
    memory.load(0xFFFF0, b"reset vector")
    assert memory.read(0xFFFFFFF0, 12) == b"reset vector"


@needs_assembler
def test_guests_cannot_write_to_rom_and_find_ones_where_nothing_is() -> None:
    text = "mov byte ptr [0xff000], 0x55; mov al, [0xff000]; mov ebx, 0xa0000; mov cl, [rbx]; cli; hlt"
    made = started(text, FlatMode.LONG, 0x100000)
    made.run()
    assert (made.cpus[0].al, made.cpus[0].cl) == (0, 0xFF)


def test_cmos_tells_the_sizes_of_memory() -> None:
    contents = cmos_contents(pc_layout(memory=5 * GIB, cpus=2, serials=1))
    assert contents[0x15] | contents[0x16] << 8 == 639
    assert contents[0x30] | contents[0x31] << 8 == 0xFFFF
    assert contents[0x34] | contents[0x35] << 8 == (3 * GIB - 16 * MIB) // (64 * KIB)
    assert contents[0x5B] | contents[0x5C] << 8 | contents[0x5D] << 16 == 2 * GIB // (64 * KIB)
    assert contents[0x5F] == 1


# --- ports and A20


def test_the_pcs_ports_are_where_they_have_always_been() -> None:
    made = board(serials=4)
    owners = {port: claimed.name for port in range(0x10000) if (claimed := made.ports.at(port)) is not None}
    for port, name in {
        0x20: "8259 master",
        0x40: "8254",
        0x60: "8042 data",
        0x61: "system control port B",
        0x64: "8042 command",
        0x70: "rtc",
        0x80: "post",
        0x92: "system control port A",
        0xA0: "8259 slave",
        0xF0: "coprocessor",
        0x2E8: "serial3",
        0x2F8: "serial1",
        0x3E8: "serial2",
        0x3F8: "serial0",
        0x4D0: "edge/level control",
        0xCF8: "pci configuration",
        0xCF9: "pci configuration",
    }.items():
        assert owners[port] == name, hex(port)


def test_both_a20_gates_drive_the_same_line() -> None:
    made = board()
    memory, ports = made.services.memory, made.ports
    levels = [memory.a20]
    ports.write(0x92, 0, 1)
    levels.append(memory.a20)
    assert not ports.read(0x92, 1) & 2
    ports.write(0x64, 0xD1, 1)
    ports.write(0x60, 0xDF, 1)
    levels.append(memory.a20)
    assert ports.read(0x92, 1) & 2
    assert levels == [True, False, True]


@needs_assembler
def test_a_closed_a20_gate_folds_the_odd_megabytes_and_is_part_of_the_state() -> None:
    text = "mov al, 0; out 0x92, al; mov ax, 0xffff; mov es, ax; mov byte ptr es:[0x7e10], 0x55; cli; hlt"
    made = started(text, FlatMode.REAL)
    made.run()
    assert made.memory.read(0x7E00, 1) == b"\x55"
    copy = Machine.from_snapshot(made.save())
    assert not copy.memory.a20
    copy.reset()
    assert copy.memory.a20


# --- interrupts


def test_an_isa_interrupt_reaches_the_8259s_and_the_ioapic() -> None:
    made = board()
    pic = made.devices["/machine/pic"]
    assert isinstance(pic, Pic8259)
    for command, value in ((0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xFF)):
        made.ports.write(command, value, 1)
    made.ports.write(0x20, 0x0A, 1)  # Show the requests.
    made.isa_irq(5, "test").raise_()
    assert made.ports.read(0x20, 1) & 0x20
    assert made.ioapic.save().lines & 1 << 5
    assert not pic.intr.level


def test_serial_ports_share_their_interrupts() -> None:
    made = board(serials=4)
    for uart in made.uarts[::2]:
        uart.irq.raise_()
    assert made.ioapic.save().lines == 1 << 4
    made.uarts[0].irq.lower()
    assert made.ioapic.save().lines == 1 << 4
    made.uarts[2].irq.lower()
    assert made.ioapic.save().lines == 0


HANDLER = 0x7E00
INTERRUPT_13 = """
    xor ax, ax
    mov ds, ax
    mov word ptr [0x1d4], 0x7e00
    mov word ptr [0x1d6], ax
    mov al, 0x11; out 0x20, al; out 0xa0, al
    mov al, 0x08; out 0x21, al; mov al, 0x70; out 0xa1, al
    mov al, 4; out 0x21, al; mov al, 2; out 0xa1, al
    mov al, 1; out 0x21, al; out 0xa1, al
    mov al, 0xfb; out 0x21, al; mov al, 0xdf; out 0xa1, al
    mov eax, cr0
    and eax, 0xffffffdf
    mov cr0, eax
    fninit
    mov word ptr [0x7f00], 0x37b
    fldcw word ptr [0x7f00]
    sti
    fldz
    fld1
    fdiv st(0), st(1)
    fwait
    mov eax, 0x99
    out 0xf4, eax
"""


@needs_assembler
def test_an_x87_error_comes_as_interrupt_13_where_the_guest_wants_it_so() -> None:
    made = started(INTERRUPT_13, FlatMode.REAL)
    made.memory.write(HANDLER, assemble("fnstsw ax; and eax, 0x84; out 0xf4, eax", 16, HANDLER))
    assert made.run(until_ns=SECOND // 1000) == DebugExit(0x84)


@needs_assembler
def test_the_guest_can_take_the_interrupt_back_and_go_on() -> None:
    made = started(INTERRUPT_13, FlatMode.REAL)
    clear = "out 0xf0, al; fnclex; mov al, 0x20; out 0xa0, al; out 0x20, al; iret"
    made.memory.write(HANDLER, assemble(clear, 16, HANDLER))
    assert made.run(until_ns=SECOND // 1000) == DebugExit(0x99)


@needs_assembler
def test_a_moved_local_apic_answers_at_its_new_place() -> None:
    text = """
        mov ecx, 0x1b
        mov eax, 0xfeb00900
        xor edx, edx
        wrmsr
        mov esi, 0xfeb00030
        mov eax, dword ptr [rsi]
        mov esi, 0xfee00030
        mov ebx, dword ptr [rsi]
        cli
        hlt
    """
    made = started(text, FlatMode.LONG, 0x100000)
    assert made.run() == Idle(None)
    assert made.cpus[0].eax & 0xFF == 0x14
    assert made.cpus[0].ebx == 0xFFFFFFFF
    copy = Machine.from_snapshot(made.save())
    assert copy.digest() == made.digest()
    devices = [start for start, _, kind in copy.memory.regions() if kind == "device" and start >= 0xFE000000]
    assert devices == [0xFEB00000, 0xFEC00000, 0xFED00000]


@needs_assembler
def test_the_tsc_deadline_follows_a_counter_that_the_guest_has_set() -> None:
    # The counter is set back, then a deadline of a millisecond is asked for; the interrupt is found by polling IRR.
    text = """
        mov ebx, 0xfee00000
        mov dword ptr [rbx + 0xf0], 0x1ff
        mov dword ptr [rbx + 0x320], 0x40030
        mov ecx, 0x10
        xor eax, eax
        xor edx, edx
        wrmsr
        mov ecx, 0x6e0
        mov eax, 1000000
        wrmsr
    wait:
        test dword ptr [rbx + 0x210], 0x10000
        jz wait
        cli
        hlt
    """
    made = started(text, FlatMode.LONG, 0x100000)
    assert made.run() == Idle(None)
    assert 1_000_000 <= made.now_ns < 1_000_100


# --- state


def test_what_was_written_to_the_boot_disk_is_part_of_the_state() -> None:
    sector = b"\xeb\xfe".ljust(510, b"\0") + b"\x55\xaa"
    made = Machine(MachineConfig(memory="16M", bootsector=sector.ljust(4096, b"\0")))
    base = made.board.layout.bios_disk

    def choose(machine: Machine, command: int) -> None:
        for offset, value, size in ((0, 0x80, 1), (2, 1, 2), (4, 3, 4), (8, 0, 4), (1, command, 1)):
            machine.board.ports.write(base + offset, value, size)

    def read(machine: Machine) -> int:
        choose(machine, 1)
        return machine.board.ports.read(base + 0x0C, 2)

    empty = made.save()
    choose(made, 2)
    for _ in range(256):
        made.board.ports.write(base + 0x0C, 0xBEEF, 2)
    assert read(made) == 0xBEEF
    written = made.save()
    made.restore(empty)
    assert read(made) == 0
    assert read(Machine.from_snapshot(written)) == 0xBEEF
