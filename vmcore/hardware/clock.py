"""Guest time and the timers on it.

Guest time is an integer number of nanoseconds since the machine was built.  It is a function of retired instructions
and of warped idle time, so the clock does not keep it: it asks its source, which the machine sets.  Nothing here knows
of the host's time.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import final

NS_PER_SECOND = 1_000_000_000


def ticks_from_ns(ns: int, hz: int) -> int:
    """Whole ticks of an oscillator of `hz` that have passed after `ns` nanoseconds."""
    return ns * hz // NS_PER_SECOND


def ns_from_ticks(ticks: int, hz: int) -> int:
    """The first nanosecond at which `ticks` ticks have passed; `ticks_from_ns` takes it back (hz up to 1 GHz)."""
    return -(-ticks * NS_PER_SECOND // hz)


@final
class Timer:
    """A one-shot timer: armed for a guest time, it calls back once and is idle again.  Made by `Clock.timer`."""

    __slots__ = ("_clock", "callback", "deadline", "name", "order")

    def __init__(self, clock: Clock, callback: Callable[[], None], name: str, order: int) -> None:
        self._clock = clock
        self.callback = callback
        self.name = name
        self.order = order
        self.deadline: int | None = None
        """Guest nanoseconds at which it fires; None while idle.  This is all the state that a device need save."""

    def arm(self, at_ns: int) -> None:
        """Fire at guest time `at_ns` (as soon as possible when that is past).  Arming again moves the deadline."""
        self._clock._arm(self, at_ns)

    def cancel(self) -> None:
        """Do not fire.  Cancelling an idle timer does nothing."""
        self._clock._cancel(self)

    def restore(self, deadline: int | None) -> None:
        """Take a saved `deadline`: arm for it, or fall idle for None."""
        if deadline is None:
            self.cancel()
        else:
            self.arm(deadline)

    def __repr__(self) -> str:
        return f"<Timer {self.name} {'idle' if self.deadline is None else f'at {self.deadline} ns'}>"


@final
class Clock:
    """Guest time for devices, and the queue of their timers.

    Timers fire in the order of their deadlines; those of one deadline in the order in which they were made.  (Not in
    the order in which they were armed: that would be state which a restored machine does not have.)
    """

    __slots__ = ("_armed", "_made", "firing", "on_rearm", "source")

    def __init__(self, source: Callable[[], int]) -> None:
        self.source = source
        """Gives the guest time in ns, exact at the current instruction."""
        self.on_rearm: Callable[[], None] | None = None
        """Called when the earliest deadline has moved to an earlier time: a run in progress must end sooner."""
        self.firing: Timer | None = None
        """The timer whose callback runs, or which raised: for the report of an error."""
        self._armed: list[Timer] = []  # Ordered; a machine has some twenty timers, so a list beats a heap.
        self._made = 0

    @property
    def now(self) -> int:
        """Guest time in nanoseconds."""
        return self.source()

    def timer(self, callback: Callable[[], None], name: str) -> Timer:
        """A new idle timer.  `callback` runs with `now` at the deadline or later, and may arm the timer again."""
        self._made += 1
        return Timer(self, callback, name, self._made)

    def next_deadline(self) -> int | None:
        """The earliest deadline in guest nanoseconds, or None when no timer is armed."""
        return self._armed[0].deadline if self._armed else None

    @property
    def made(self) -> int:
        """How many timers there are; the next one is given the following order."""
        return self._made

    @property
    def armed(self) -> tuple[Timer, ...]:
        """The timers that are armed, the earliest first."""
        return tuple(self._armed)

    def run_due(self, now: int) -> None:
        """Fire every timer whose deadline is at or before `now`, with those that become due by that."""
        armed = self._armed
        while armed and _position(armed[0])[0] <= now:
            timer = armed.pop(0)
            timer.deadline = None
            self.firing = timer
            timer.callback()
            self.firing = None

    def _arm(self, timer: Timer, at_ns: int) -> None:
        before = self.next_deadline()
        self._cancel(timer)
        timer.deadline = at_ns
        insort(self._armed, timer, key=_position)
        if self.on_rearm is not None and (before is None or at_ns < before):
            self.on_rearm()

    def _cancel(self, timer: Timer) -> None:
        if timer.deadline is not None:
            self._armed.remove(timer)
            timer.deadline = None


def _position(timer: Timer) -> tuple[int, int]:
    assert timer.deadline is not None
    return timer.deadline, timer.order
