"""Equal machines do equal things: digests, cuts, replay."""

from __future__ import annotations

from random import Random

import pytest
from guests import ECHO, SPIN, WORK, config, machine

from vmcore.machine.config import MachineConfig
from vmcore.machine.inputs import InputRecord, SerialInput
from vmcore.machine.machine import Machine
from vmcore.model.errors import UsageError
from vmcore.model.exits import BudgetSpent, Idle

RANDOM = """
    mov ebx, 0x200000
next:
    rdrand eax
    mov dword ptr [rbx], eax
    add ebx, 4
    cmp ebx, 0x200400
    jne next
    cli
    hlt
"""


def test_equal_runs_have_equal_digests_and_different_ones_have_not() -> None:
    one, other, third = machine(WORK), machine(WORK), machine(WORK)
    one.run(100_000)
    other.run(100_000)
    third.run(100_001)
    assert one.digest() == other.digest()
    assert one.digest() != third.digest()


def test_a_digest_sees_memory_registers_and_devices() -> None:
    made = machine(SPIN)
    seen = {made.digest()}
    made.memory.write(0x300000, b"x")
    seen.add(made.digest())
    made.cpus[0].rax = 7
    seen.add(made.digest())
    made.board.ports.write(0x21, 0x55, 1)
    seen.add(made.digest())
    made.serial[0].send(b"x")
    seen.add(made.digest())
    assert len(seen) == 5


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cpus", [1, 3])
def test_cutting_a_run_into_pieces_changes_nothing(seed: int, cpus: int) -> None:
    total = 300_000
    whole = machine(WORK, cpus=cpus)
    whole.run(total)
    cut = machine(WORK, cpus=cpus)
    random = Random(seed)
    while cut.instructions < total:
        if random.random() < 0.2:
            cut.request_stop()
            cut.run()
        assert cut.run(min(random.choice((1, 10, 1000, 50_000)), total - cut.instructions)) == BudgetSpent()
    assert cut.digest() == whole.digest()


def test_the_seed_decides_what_is_random() -> None:
    def drawn(seed: int) -> bytes:
        made = machine(RANDOM, seed=seed)
        assert made.run() == Idle(None)
        return made.memory.read(0x200000, 0x400)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) > 100


def test_a_replay_of_the_inputs_gives_the_same_machine() -> None:
    settings = config(ECHO, instruction_ns=1000)
    first = Machine(settings)
    random = Random(1)
    for _ in range(30):
        first.run(random.randrange(3000))
        first.serial[0].send(random.randbytes(random.randrange(1, 20)))
    first.keyboard.press("a")
    first.power_button()
    again = Machine.replay(settings, first.inputs)
    assert again.inputs == first.inputs
    assert again.digest() == first.digest()
    first.run(10_000)
    again.run(10_000)
    assert again.digest() == first.digest()
    assert first.serial[0].take() == again.serial[0].take()


def test_a_replay_comes_by_inputs_in_the_middle_of_idle_time() -> None:
    settings = config("sti; again: hlt; jmp again")
    first = Machine(settings)
    first.run(until_ns=500_000)
    first.serial[0].send(b"x")
    first.run(until_ns=700_000)
    assert Machine.replay(settings, first.inputs).now_ns == 500_000


def test_a_replay_of_another_runs_log_is_refused() -> None:
    log = [InputRecord(1000, 999_999, SerialInput(0, b"x"))]
    with pytest.raises(UsageError, match="another run"):
        Machine.replay(config(SPIN), log)


def test_the_real_time_clock_starts_where_the_configuration_says() -> None:
    text = "mov al, {}; out 0x70, al; in al, 0x71; cli; hlt"
    for register, expected in ((0, 0x56), (2, 0x34), (4, 0x12), (7, 0x31), (8, 0x12), (9, 0x99)):
        made = machine(text.format(register), rtc="1999-12-31T12:34:56")
        made.run(until_ns=1000)
        assert made.cpus[0].al == expected


def test_an_idle_machine_without_a_guest_stays_what_it_is() -> None:
    one, other = Machine(MachineConfig(memory="64M")), Machine(MachineConfig(memory="64M"))
    assert one.digest() == other.digest()
