"""What device tests share: guest time that the test moves, and a line that keeps a record."""

from __future__ import annotations

from attrs import define, field

from vmcore.hardware import Clock, IrqLine


class GuestTime:
    """Guest time under the test's control.  Timers fire at their exact deadlines."""

    def __init__(self) -> None:
        self.now = 0
        self.clock = Clock(lambda: self.now)

    def advance(self, ns: int) -> None:
        """Let `ns` nanoseconds pass."""
        end = self.now + ns
        while (deadline := self.clock.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.clock.run_due(self.now)
        self.now = end


@define
class Wire:
    """An interrupt line and the levels that it took, in order."""

    levels: list[bool] = field(factory=list)
    line: IrqLine = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.line = IrqLine(self.levels.append, "test")

    def high(self) -> bool:
        """Whether the line is asserted.  (A call, so that a type checker does not think it constant.)"""
        return self.line.level
