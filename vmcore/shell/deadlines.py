"""Deadlines in guest time: they fire at an exact guest nanosecond, however fast or slow the host is.

The machine's clock is the only clock here.  An alarm is a timer on it whose callback stops the run in progress at that
very instruction and hands the rest to the trio thread.  Alarms never show in the guest.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import final

from vmcore.machine.machine import Machine
from vmcore.model.errors import UsageError
from vmcore.model.units import SECOND


@final
class Alarms:
    """The host's alarms on one machine's clock.  All calls need the machine parked."""

    def __init__(self, machine: Machine, due: Callable[[Alarm], None]) -> None:
        self._machine = machine
        self._due = due
        self._timer = machine.clock.timer(self._fire, "host alarm")
        self._heap: list[tuple[int, int, Alarm]] = []
        self._made = 0

    def set(self, at_ns: int, what: Callable[[], object]) -> Alarm:
        """Call `what` in the trio thread when guest time reaches `at_ns`; at once if it has."""
        self._made += 1
        alarm = Alarm(at_ns, what)
        heapq.heappush(self._heap, (at_ns, self._made, alarm))
        self._arm()
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Forget an alarm; one that has gone off is fine."""
        alarm.cancelled = True
        self._arm()

    def _arm(self) -> None:
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        if self._heap:
            self._timer.arm(self._heap[0][0])
        else:
            self._timer.cancel()

    def _fire(self) -> None:
        now = self._machine.now_ns
        while self._heap and self._heap[0][0] <= now:
            alarm = heapq.heappop(self._heap)[2]
            if not alarm.cancelled:
                self._machine.stop(alarm)
                self._due(alarm)
        self._arm()


@final
class Alarm:
    """One alarm: guest time in ns at which it goes off, and what it does then."""

    __slots__ = ("at_ns", "cancelled", "what")

    def __init__(self, at_ns: int, what: Callable[[], object]) -> None:
        self.at_ns = at_ns
        self.what = what
        self.cancelled = False


@final
class AlarmHandle:
    """An alarm that may not be set yet, because the machine was running when it was asked for."""

    def __init__(self) -> None:
        self.alarm: Alarm | None = None


def guest_ns(seconds: float) -> int:
    """Nanoseconds of so many seconds of guest time.  UsageError for what is no number from 0 up."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise UsageError(f"{seconds!r}: expected a number of seconds from 0 up")
    return round(seconds * SECOND)
