"""The scheduler, on vCPUs that are scripts: one step is one instruction."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import define, field

from vmcore.engine import RunExit
from vmcore.machine.scheduler import YIELD_AFTER, Cut, CutReason, Scheduler

QUANTUM = 5_000


Step = Callable[["ScriptedCpu"], RunExit | None]


@define(eq=False)
class ScriptedCpu:
    """A vCPU whose instructions are calls of `step`; HALT lasts until `wake`."""

    step: Step = lambda cpu: None
    instructions: int = 0
    yields: int = 0
    halted: bool = False
    stop: bool = False
    broken: bool = False
    times: list[tuple[int, int]] = field(factory=list)

    def run(self, instructions: int) -> RunExit:
        for _ in range(instructions):
            if self.stop:
                self.stop = False
                return RunExit.STOP
            if self.broken:
                self.broken = False
                return RunExit.BREAK
            if self.halted:
                return RunExit.HALT
            reason = self.step(self)
            self.instructions += 1
            if reason is RunExit.HALT:
                self.halted = True
            if reason is not None and (reason is not RunExit.YIELD or self.yields):
                return reason
        return RunExit.BUDGET

    def request_stop(self) -> None:
        self.stop = True

    def break_run(self) -> None:
        self.broken = True

    def set_time(self, base_ns: int) -> None:
        self.times.append((self.instructions, base_ns))


def halt(cpu: ScriptedCpu) -> RunExit:
    return RunExit.HALT


def scheduler(*cpus: ScriptedCpu, instruction_ns: int = 1) -> Scheduler:
    made = Scheduler(cpus, instruction_ns, QUANTUM * instruction_ns)
    for index in range(1, len(cpus)):
        made.notice(index)
    return made


def waking(made: Scheduler, cpu: ScriptedCpu, index: int) -> Callable[[], None]:
    def wake() -> None:
        cpu.halted = False
        made.notice(index)

    return wake


def test_a_budget_of_instructions_is_exact_and_time_follows_it() -> None:
    cpu = ScriptedCpu()
    made = scheduler(cpu, instruction_ns=3)
    assert made.run(1000) == Cut(CutReason.INSTRUCTIONS)
    assert (cpu.instructions, made.instructions, made.time()) == (1000, 1000, 3000)


def test_a_limit_of_time_ends_at_the_first_instruction_at_or_after_it() -> None:
    made = scheduler(ScriptedCpu(), instruction_ns=3)
    assert made.run(until_ns=1000) == Cut(CutReason.TIME)
    assert made.time() == 1002


def test_a_timer_fires_at_its_deadline_and_not_before_the_instruction_that_reaches_it() -> None:
    made = scheduler(ScriptedCpu(), instruction_ns=3)
    fired: list[int] = []
    made.clock.timer(lambda: fired.append(made.clock.now), "t").arm(100)
    made.run(1000)
    assert fired == [102]


def test_a_timer_armed_by_the_guest_itself_is_exact() -> None:
    fired: list[int] = []

    def step(cpu: ScriptedCpu) -> None:
        if cpu.instructions == 10:
            timer.arm(made.clock.now + 50)

    made = scheduler(ScriptedCpu(step))
    timer = made.clock.timer(lambda: fired.append(made.clock.now), "t")
    made.run(1000)
    assert fired == [60]


def test_idle_time_is_skipped_to_the_next_timer() -> None:
    cpu = ScriptedCpu(halt)
    made = scheduler(cpu)
    made.clock.timer(waking(made, cpu, 0), "t").arm(1_000_000)
    assert made.run(2) == Cut(CutReason.INSTRUCTIONS)
    assert made.time() == 1_000_001
    assert cpu.times[-1] == (1, 1_000_000)


def test_idle_without_a_timer_ends_the_run_for_ever() -> None:
    made = scheduler(ScriptedCpu(halt))
    assert made.run() == Cut(CutReason.IDLE, until_ns=None)
    assert made.run() == Cut(CutReason.IDLE, until_ns=None)


def test_idle_up_to_a_limit_of_time_arrives_there() -> None:
    made = scheduler(ScriptedCpu(halt))
    assert made.run(until_ns=700) == Cut(CutReason.TIME)
    assert made.time() == 700


def test_idle_time_is_not_skipped_when_the_caller_paces() -> None:
    made = scheduler(ScriptedCpu(halt))
    made.clock.timer(lambda: None, "t").arm(500)
    assert made.run(warp=False) == Cut(CutReason.IDLE, until_ns=500)
    assert made.time() == 1


def test_two_busy_vcpus_take_turns_of_one_quantum() -> None:
    order: list[int] = []
    first = ScriptedCpu(lambda cpu: order.append(0))
    second = ScriptedCpu(lambda cpu: order.append(1))
    made = scheduler(first, second)
    made.run(3 * QUANTUM)
    assert order == [0] * QUANTUM + [1] * QUANTUM + [0] * QUANTUM
    assert made.time() == 3 * QUANTUM


def test_time_never_goes_back_from_one_vcpu_to_the_next() -> None:
    seen: list[int] = []

    def look(cpu: ScriptedCpu) -> None:
        seen.append(made.time())

    made = scheduler(ScriptedCpu(look), ScriptedCpu(look), ScriptedCpu(look))
    made.run(4 * QUANTUM)
    assert seen == list(range(4 * QUANTUM))


def test_pause_passes_the_turn_on_but_not_at_the_beginning_of_a_turn() -> None:
    spinning = ScriptedCpu(lambda cpu: RunExit.YIELD)
    working = ScriptedCpu()
    made = scheduler(spinning, working)
    made.run(YIELD_AFTER + 1)
    assert spinning.instructions == YIELD_AFTER + 1
    made.run(QUANTUM)
    assert (spinning.instructions, working.instructions) == (YIELD_AFTER + 1, QUANTUM)


def test_pause_means_nothing_where_only_one_vcpu_is_busy() -> None:
    cpu = ScriptedCpu(lambda cpu: RunExit.YIELD)
    made = scheduler(cpu, ScriptedCpu(halt))
    made.run(2 * QUANTUM)
    before, yields = made.exits[RunExit.BUDGET], made.exits[RunExit.YIELD]
    made.run(10 * QUANTUM)
    assert made.exits[RunExit.BUDGET] == before + 1
    assert made.exits[RunExit.YIELD] == yields


def test_a_vcpu_that_is_woken_gets_its_turn_at_that_very_instruction() -> None:
    sleeper = ScriptedCpu()
    sleeper.halted = True

    def step(cpu: ScriptedCpu) -> None:
        if cpu.instructions == 20_000:
            sleeper.halted = False
            made.notice(1)

    made = scheduler(ScriptedCpu(step), sleeper)
    made.run(20_001)
    assert sleeper.instructions == 0
    made.run(1)
    assert sleeper.instructions == 1


def test_a_stop_asked_for_before_the_run_is_not_lost_and_is_used_up() -> None:
    made = scheduler(ScriptedCpu(), ScriptedCpu())
    made.request_stop()
    assert made.run(10) == Cut(CutReason.STOP)
    assert made.run(2 * QUANTUM).reason is CutReason.INSTRUCTIONS
    assert made.instructions == 2 * QUANTUM


def test_an_interruption_from_a_device_ends_the_run_after_the_instruction() -> None:
    made = scheduler(ScriptedCpu(lambda cpu: made.interrupt() if cpu.instructions == 7 else None))
    assert made.run(100) == Cut(CutReason.REQUEST)
    assert made.instructions == 8


def test_an_interruption_from_a_timer_ends_the_run() -> None:
    made = scheduler(ScriptedCpu(halt))
    made.clock.timer(made.interrupt, "t").arm(900)
    assert made.run() == Cut(CutReason.REQUEST)
    assert made.time() == 900


def test_a_triple_fault_ends_the_run_and_names_the_vcpu() -> None:
    made = scheduler(ScriptedCpu(halt), ScriptedCpu(lambda cpu: RunExit.SHUTDOWN))
    assert made.run() == Cut(CutReason.SHUTDOWN, cpu=1)


def busy_machine() -> tuple[Scheduler, list[tuple[int, int]]]:
    """Three vCPUs that work, spin, halt and wake one another, and a log of (vCPU, time) of all they do."""
    log: list[tuple[int, int]] = []

    def script(index: int) -> Step:
        def step(cpu: ScriptedCpu) -> RunExit | None:
            log.append((index, made.time()))
            number = cpu.instructions * 7 + index
            if number % 1009 == 0:
                other = (index + 1) % 3
                cpus[other].halted = False
                made.notice(other)
            if number % 2503 == 0:
                timers[index].arm(made.time() + 300)
                return RunExit.HALT
            return RunExit.YIELD if number % 11 == 0 else None

        return step

    cpus = [ScriptedCpu(script(index)) for index in range(3)]
    made = scheduler(*cpus)
    timers = [made.clock.timer(waking(made, cpu, index), f"t{index}") for index, cpu in enumerate(cpus)]
    return made, log


@pytest.mark.parametrize("piece", [1, 7, 1999, QUANTUM + 1])
def test_cutting_a_run_into_pieces_does_not_show_in_the_guest(piece: int) -> None:
    whole, whole_log = busy_machine()
    whole.run(30_000)
    cut, cut_log = busy_machine()
    while (left := 30_000 - cut.instructions) > 0:
        if left % 3 == 0:
            cut.request_stop()
            cut.run(left)
        cut.run(min(piece, left))
    assert cut_log == whole_log
    assert cut.save() == whole.save()


def test_a_restored_scheduler_runs_on_as_the_saved_one_does() -> None:
    made, _ = busy_machine()
    made.run(12_345)
    state = made.save()
    other, _ = busy_machine()
    other.run(12_345)
    other.run(777)
    for mine, theirs in zip(made.cpus, other.cpus, strict=True):
        assert isinstance(mine, ScriptedCpu)
        assert isinstance(theirs, ScriptedCpu)
        theirs.instructions, theirs.halted = mine.instructions, mine.halted
    other.restore(state)
    assert other.save() == state
    assert (other.time(), other.instructions) == (made.time(), made.instructions)


def test_exits_are_counted_by_reason() -> None:
    made = scheduler(ScriptedCpu(halt))
    made.run()
    assert {reason for reason, count in made.exits.items() if count} == {RunExit.HALT}
    assert made.exits[RunExit.HALT] == 1
