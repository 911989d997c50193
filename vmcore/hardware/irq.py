"""Interrupt lines: one wire from a device to whatever listens.

A line carries a level.  Whether the listener acts on edges or levels is its own matter (an 8259 or IOAPIC input).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final


class IrqLine:
    """A wire driven by one device.  The handler is called with the new level, and only when the level changes."""

    __slots__ = ("_handler", "level", "name")

    def __init__(self, handler: Callable[[bool], None], name: str) -> None:
        self._handler = handler
        self.name = name
        self.level = False
        """True while the line is asserted.  Read only; drive it with the methods."""

    @classmethod
    def unconnected(cls, name: str) -> IrqLine:
        """A line that leads nowhere: it keeps its level, and nobody hears of it."""
        return cls(_nobody, name)

    def set(self, level: bool) -> None:
        """Drive the line to `level`."""
        if level != self.level:
            self.level = level
            self._handler(level)

    def raise_(self) -> None:
        """Assert the line."""
        if not self.level:
            self.level = True
            self._handler(True)

    def lower(self) -> None:
        """Release the line."""
        if self.level:
            self.level = False
            self._handler(False)

    def pulse(self) -> None:
        """Assert and release: one edge."""
        self.raise_()
        self.lower()

    def assume(self, level: bool) -> None:
        """Take `level` without telling the handler.

        For `Device.restore` alone: the listener restores its own view of the line, and must not see an edge that never
        happened.
        """
        self.level = level

    def disconnect(self) -> None:
        """The device is pulled out: release the line for good."""
        self.lower()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {'high' if self.level else 'low'}>"


@final
class SharedLine:
    """A wired OR: the output is asserted while any of the inputs is."""

    __slots__ = ("_inputs", "output")

    def __init__(self, output: IrqLine) -> None:
        self.output = output
        self._inputs: list[IrqLine] = []

    def input(self, name: str) -> IrqLine:
        """A new line that drives the output together with all the others."""
        line = _SharedInput(self, name)
        self._inputs.append(line)
        return line

    def forget(self, line: IrqLine) -> None:
        """An input that is disconnected; see `IrqLine.disconnect`."""
        self._inputs.remove(line)

    @property
    def asserted(self) -> bool:
        """Whether any input is asserted."""
        return any(line.level for line in self._inputs)


@final
class _SharedInput(IrqLine):
    __slots__ = ("_shared",)

    def __init__(self, shared: SharedLine, name: str) -> None:
        super().__init__(lambda level: shared.output.set(level or shared.asserted), name)
        self._shared = shared

    def disconnect(self) -> None:
        super().disconnect()
        self._shared.forget(self)

    def assume(self, level: bool) -> None:
        super().assume(level)
        self._shared.output.assume(self._shared.asserted)


def _nobody(level: bool) -> None:
    pass
