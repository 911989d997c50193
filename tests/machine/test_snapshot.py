"""A snapshot holds everything: what is restored goes on as the original does."""

from __future__ import annotations

import pickle
from random import Random

import pytest
from guests import ECHO, SPIN, WORK, config, machine

from vmcore.machine.config import FlatMode, MachineConfig
from vmcore.machine.inputs import MouseButton, MouseMove
from vmcore.machine.machine import Machine
from vmcore.machine.snapshot import Snapshot
from vmcore.model.errors import UsageError
from vmcore.model.exits import DebugExit

TICKS = """
    xor ax, ax
    mov ds, ax
    mov word ptr [0x20], 0x7d00
    mov word ptr [0x22], ax
    mov al, 0x11; out 0x20, al
    mov al, 0x08; out 0x21, al
    mov al, 0x04; out 0x21, al
    mov al, 0x01; out 0x21, al
    mov al, 0xfe; out 0x21, al
    mov al, 0x34; out 0x43, al
    mov al, 0xa9; out 0x40, al
    mov al, 0x04; out 0x40, al
    xor bx, bx
    sti
again:
    hlt
    jmp again
"""
HANDLER = bytes.fromhex("43 b0 20 e6 20 cf")  # inc bx; mov al, 0x20; out 0x20, al; iret


def ticking() -> Machine:
    made = machine(TICKS, FlatMode.REAL)
    made.memory.write(0x7D00, HANDLER)
    return made


def test_restoring_gives_back_the_same_digest() -> None:
    made = ticking()
    made.run(until_ns=10_000_000)
    digest, snapshot = made.digest(), made.save()
    made.run(until_ns=33_000_000)
    assert made.digest() != digest
    made.restore(snapshot)
    assert made.digest() == digest
    assert made.save() == snapshot


@pytest.mark.parametrize("seed", range(4))
def test_a_restored_machine_runs_on_as_the_original_does(seed: int) -> None:
    random = Random(seed)
    made = ticking()
    made.run(until_ns=random.randrange(1, 5_000_000))
    snapshot = made.save()
    copy = Machine.from_snapshot(snapshot)
    made.run(until_ns=50_000_000)
    copy.run(until_ns=50_000_000)
    assert made.cpus[0].bx == copy.cpus[0].bx > 40
    assert copy.digest() == made.digest()


def test_a_snapshot_is_a_value_that_survives_pickling() -> None:
    made = machine(WORK)
    made.run(5_000)
    snapshot = made.save()
    before = pickle.dumps(snapshot)
    made.run(5_000)
    assert pickle.dumps(snapshot) == before
    copy = pickle.loads(before)
    assert isinstance(copy, Snapshot)
    assert copy == snapshot
    other = Machine.from_snapshot(copy)
    other.run(5_000)
    assert other.digest() == made.digest()


def test_memory_that_was_zero_is_zero_again() -> None:
    made = machine(SPIN)
    snapshot = made.save()
    made.memory.write(0x500000, b"dirt")
    made.restore(snapshot)
    assert made.memory.read(0x500000, 4) == bytes(4)


def test_pages_of_zeros_are_not_kept() -> None:
    made = machine(SPIN, memory="64M")
    made.memory.write(0x500000, bytes(4096))
    assert 0x500000 not in made.save().pages
    assert len(made.save().pages) < 100


def test_input_that_waits_for_the_guest_is_part_of_the_state() -> None:
    made = machine(ECHO, instruction_ns=10_000)
    data = Random(1).randbytes(5000)
    made.serial[0].send(data)
    snapshot = made.save()
    assert made.serial[0].waiting > 0
    copy = Machine.from_snapshot(snapshot)
    copy.run(until_ns=10**9)
    assert copy.serial[0].take() == data


def test_a_machine_that_is_off_is_restored_off_and_can_be_restored_on() -> None:
    made = machine("mov eax, 3; out 0xf4, eax; spin: jmp spin")
    alive = made.save()
    assert made.run() == DebugExit(3)
    dead = made.save()
    made.restore(alive)
    assert made.off is None
    assert made.run() == DebugExit(3)
    copy = Machine.from_snapshot(dead)
    assert copy.off == DebugExit(3)
    with pytest.raises(UsageError, match="off"):
        copy.run()


def test_many_vcpus_are_restored_in_the_middle_of_their_turns() -> None:
    made = machine(WORK, cpus=4)
    made.run(123_457)
    copy = Machine.from_snapshot(made.save())
    for each in (made, copy):
        each.run(200_000)
    assert copy.digest() == made.digest()


def test_a_snapshot_of_another_configuration_is_refused() -> None:
    with pytest.raises(UsageError, match="another configuration"):
        machine(SPIN).restore(machine(SPIN, seed=1).save())
    Machine(config(SPIN)).restore(machine(SPIN).save())


def test_the_mouse_is_an_input_that_replays() -> None:
    machine = Machine(MachineConfig(uuid="12345678-9abc-def0-1234-56789abcdef0"))
    before = machine.digest()
    assert machine.apply(MouseMove(dx=3, dy=-4))
    assert machine.apply(MouseButton("left", True))
    assert machine.digest() != before
    assert Machine.replay(machine.config, machine.inputs).digest() == machine.digest()
    assert not Machine(MachineConfig(board="none")).apply(MouseMove(dx=1))
