"""A guest that programs configuration space at random and uses what shows: nothing breaks, and a copy goes on alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "devices"))

from pci_bench import Bridge, Widget

from vmcore.boards.pc import PcBoard
from vmcore.engine import assemble, can_assemble
from vmcore.machine.config import FlatImage, FlatMode, MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.events import Event, GuestFault
from vmcore.model.exits import BudgetSpent, Idle, ResetRequested

pytestmark = pytest.mark.skipif(not can_assemble(), reason="keystone has no wheel here")

AT = 0x200000
SHIFTS = (("shl", 13), ("shr", 17), ("shl", 5))
RANDOM = "; ".join(f"mov eax, esi; {shift} eax, {count}; xor esi, eax" for shift, count in SHIFTS)
TABLE = 0x210000
PROGRAM = f"""
mov esi, {{seed}}
mov edi, {{rounds}}
again:
{RANDOM}
mov ecx, esi; and ecx, 7; mov ebp, [{TABLE} + ecx * 4]
{RANDOM}
mov eax, esi; and eax, 0x3c; test esi, 0x80000; jz low
and eax, 0x1c
or eax, 0x50
low:
test esi, 0x100000; jz choose
mov eax, 4
choose:
or eax, ebp; mov dx, 0xcf8; out dx, eax
{RANDOM}
mov eax, esi; test esi, 1; jz write
and eax, 0x001f7007
or eax, 0xe0000000
write:
mov dx, 0xcfc; out dx, eax; in eax, dx
{RANDOM}
mov ebx, esi; and ebx, 0x001ffffc; or ebx, 0xe0000000; mov [ebx], esi; mov eax, [ebx]; add esi, eax; or esi, 1
{RANDOM}
mov ebx, esi; and ebx, 0x0003fffc; or ebx, 0xc0000; mov [ebx], esi; mov eax, [ebx]
mov edx, esi; and edx, 0x1ffc; or edx, 0xc000; in eax, dx
dec edi; jnz again
cli
hlt
"""
MOVER = """
mov edi, 0xe0000000
mov ecx, {size}
mov esi, {source}
rep movsb
mov eax, 0xe0000000
jmp eax
"""
IN_THE_WINDOW = """
mov eax, 0x80002018; mov dx, 0xcf8; out dx, eax
mov eax, 0xe1000000; mov dx, 0xcfc; out dx, eax
mov ebx, 0x1234
cli
hlt
"""


def with_widgets(code: bytes, data: bytes = b"") -> Machine:
    image = code.ljust(TABLE - AT, b"\0") + data
    made = Machine(MachineConfig(memory="16M", flat=FlatImage(image, AT, mode=FlatMode.PROTECTED), serials=0))
    board = cast("PcBoard", made.board)
    board.plug(Widget(), "/machine/widget", 4)
    board.plug(bridge := Bridge(), "/machine/bridge", 5)
    assert bridge.below is not None
    bridge.below.plug(behind := Widget(), 1)
    board.add("/machine/behind", behind)
    made.reset()
    return made


@pytest.mark.parametrize("seed", [1, 0xBEEF, 0x1234567])
def test_a_guest_that_programs_at_random_breaks_nothing(seed: int) -> None:
    places = [0x00, 0x08, 0x0B, 0x20, 0x20, 0x28, 0x28, 0x108]
    table = b"".join((1 << 31 | place << 8).to_bytes(4, "little") for place in places)
    made = with_widgets(assemble(PROGRAM.format(seed=seed, rounds=6000), 32, AT), table)
    assert isinstance(made.run(instructions=200_000), BudgetSpent)
    twin = with_widgets(assemble(PROGRAM.format(seed=seed, rounds=6000), 32, AT), table)
    twin.restore(made.save())
    assert twin.digest() == made.digest()
    shown = [(base, size) for base, size, _ in cast("PcBoard", made.board).memory_decoder.shown]
    assert shown == [(base, size) for base, size, _ in cast("PcBoard", twin.board).memory_decoder.shown]
    assert isinstance(made.run(), Idle)
    assert isinstance(twin.run(), Idle)
    assert twin.digest() == made.digest()


def test_code_may_move_the_window_that_it_runs_in() -> None:
    inside = assemble(IN_THE_WINDOW, 32, 0xE0000000)
    code = assemble(MOVER.format(size=len(inside), source=TABLE), 32, AT)
    made = with_widgets(code, inside)
    widget = made.board.devices["/machine/widget"]
    assert isinstance(widget, Widget)
    widget.config_write(0x18, 0xE000_0000, 4)
    widget.config_write(0x1C, 0, 4)
    widget.config_write(0x04, 2, 2)
    faults: list[Event] = []
    made.on_event = faults.append
    assert isinstance(made.run(stop_on_reset=True), ResetRequested)
    assert faults[0] == GuestFault(0, 0xE000_0014, 12), "the next instruction is not there any more"
    home = widget.frame.memory
    assert home is not None
    assert made.memory.read(home.home, len(inside)) == inside
