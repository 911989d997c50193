"""Breakpoints and watchpoints through the machine."""

from __future__ import annotations

import pytest
from guests import machine

from vmcore.model.exits import Breakpoint, BudgetSpent, Watchpoint

LOOP = "again: inc eax; mov dword ptr [0x200000], eax; jmp again"
START, STORE = 0x100000, 0x100002


def test_a_breakpoint_stops_before_its_instruction_each_time_round() -> None:
    made = machine(LOOP)
    made.cpus[0].add_breakpoint(STORE)
    for turn in range(1, 5):
        assert made.run() == Breakpoint(cpu=0, pc=STORE)
        assert (made.cpus[0].eax, made.instructions) == (turn, 3 * turn - 2)


@pytest.mark.parametrize("piece", [1, 2, 3, 7])
def test_breakpoints_are_found_wherever_runs_are_cut(piece: int) -> None:
    made = machine(LOOP)
    made.cpus[0].add_breakpoint(STORE)
    stops = []
    while made.instructions < 30:
        exit_ = made.run(min(piece, 30 - made.instructions))
        if isinstance(exit_, Breakpoint):
            stops.append(made.instructions)
        else:
            assert exit_ == BudgetSpent()
    assert stops == list(range(1, 30, 3))


def test_a_removed_breakpoint_is_passed() -> None:
    made = machine(LOOP)
    made.cpus[0].add_breakpoint(STORE)
    made.run()
    made.cpus[0].remove_breakpoint(STORE)
    assert made.run(1000) == BudgetSpent()


def test_a_watchpoint_stops_after_the_access() -> None:
    made = machine(LOOP)
    made.cpus[0].add_watchpoint(0x200000, 4)
    exit_ = made.run()
    assert isinstance(exit_, Watchpoint)
    assert (exit_.cpu, exit_.address) == (0, 0x200000)
    assert made.memory.read(0x200000, 4) == b"\1\0\0\0"
    assert made.instructions == 2


def test_looking_for_stops_that_do_not_come_changes_nothing() -> None:
    plain, watched = machine(LOOP), machine(LOOP)
    watched.cpus[0].add_breakpoint(0x100800)
    watched.cpus[0].add_watchpoint(0x300000, 8)
    for made in (plain, watched):
        made.run(10_000)
    assert watched.digest() == plain.digest()
