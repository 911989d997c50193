"""Debug exit: a write ends the machine, and the value written is the result.

QEMU's `isa-debug-exit`: `iosize` ports from `iobase` on, any of which takes a write of any width; reads give zero.
That the process's exit status is `(value << 1) | 1` is a matter of the command line, not of the device.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, frozen

from vmcore.hardware import Device, Register


@frozen
class DebugExitState:
    """A debug exit has no state: the first write is its last."""


@define(eq=False)
class DebugExitPort(Device[DebugExitState]):
    """Up to four ports that all do the same."""

    exit: Callable[[int], None]
    """Gets the value written.  Must return; the machine ends afterwards."""

    EXIT = Register(0, width=32, doc="A write ends the machine; reads give zero.")

    def port_read(self, offset: int, size: int) -> int:
        return 0

    def port_write(self, offset: int, value: int, size: int) -> None:
        self.exit(value)

    def reset(self) -> None:
        """Nothing to do: no state."""
        super().reset()

    def save(self) -> DebugExitState:
        return DebugExitState()

    def restore(self, state: DebugExitState) -> None:
        pass
