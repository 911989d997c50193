from __future__ import annotations

import pytest

from vmcore.hardware import Clock, ns_from_ticks, ticks_from_ns


def clock_at(now: list[int]) -> Clock:
    return Clock(lambda: now[0])


def test_now_is_what_the_source_says() -> None:
    now = [5]
    clock = clock_at(now)
    assert clock.now == 5
    now[0] = 7
    assert clock.now == 7


def test_timers_fire_in_order_of_deadline_then_of_making() -> None:
    fired: list[str] = []
    clock = Clock(lambda: 0)
    first, second, third = (clock.timer(lambda name=name: fired.append(name), name) for name in "abc")  # type: ignore[misc]
    third.arm(10)
    second.arm(20)
    first.arm(20)
    assert clock.next_deadline() == 10
    clock.run_due(19)
    assert fired == ["c"]
    clock.run_due(20)
    assert fired == ["c", "a", "b"]
    assert clock.next_deadline() is None


def test_a_timer_is_idle_when_its_callback_runs_and_may_arm_itself_again() -> None:
    now = [0]
    clock = clock_at(now)
    seen: list[int | None] = []

    def tick() -> None:
        seen.append(timer.deadline)
        timer.arm(len(seen) * 10)

    timer = clock.timer(tick, "tick")
    timer.arm(0)
    clock.run_due(35)
    assert seen == [None] * 4
    assert timer.deadline == 40


def test_arming_again_moves_the_deadline_and_cancelling_removes_it() -> None:
    fired: list[int] = []
    clock = Clock(lambda: 0)
    timer = clock.timer(lambda: fired.append(1), "t")
    timer.arm(10)
    timer.arm(30)
    clock.run_due(29)
    assert not fired
    timer.cancel()
    timer.cancel()
    clock.run_due(100)
    assert not fired
    assert timer.deadline is None


def test_the_machine_hears_of_an_earlier_deadline_only() -> None:
    clock = Clock(lambda: 0)
    heard: list[int | None] = []
    clock.on_rearm = lambda: heard.append(clock.next_deadline())
    one, two = clock.timer(lambda: None, "1"), clock.timer(lambda: None, "2")
    one.arm(100)
    two.arm(200)
    two.arm(100)
    two.arm(50)
    one.cancel()
    two.arm(70)
    assert heard == [100, 50]


def test_an_error_in_a_callback_names_its_timer() -> None:
    clock = Clock(lambda: 0)

    def fail() -> None:
        raise ZeroDivisionError

    timer = clock.timer(fail, "broken")
    timer.arm(1)
    with pytest.raises(ZeroDivisionError):
        clock.run_due(1)
    assert clock.firing is timer


def test_restoring_a_deadline_arms_or_cancels() -> None:
    clock = Clock(lambda: 0)
    timer = clock.timer(lambda: None, "t")
    timer.restore(5)
    assert clock.next_deadline() == 5
    timer.restore(None)
    assert clock.next_deadline() is None


@pytest.mark.parametrize("hz", [1, 32_768, 1_193_182, 3_579_545, 14_318_180, 999_999_999])
@pytest.mark.parametrize("ticks", [0, 1, 2, 3, 1000, 65_536, 10**12 + 7])
def test_the_time_of_a_tick_is_the_first_at_which_it_has_passed(hz: int, ticks: int) -> None:
    ns = ns_from_ticks(ticks, hz)
    assert ticks_from_ns(ns, hz) == ticks
    assert ticks == 0 or ticks_from_ns(ns - 1, hz) == ticks - 1
