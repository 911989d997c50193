"""Exit statuses, and the live line that says how the machine is doing."""

from __future__ import annotations

import os
import sys
import time
from enum import IntEnum
from typing import final

from vmcore.model.errors import DeviceModelError

__all__ = ["ExitStatus", "StatusLine", "describe"]


class ExitStatus(IntEnum):
    """Statuses that are not the guest's: all even, as isa-debug-exit gives odd ones."""

    USAGE = 2
    BUDGET = 4
    IDLE = 6
    FAULT = 8
    INTERNAL = 70
    INTERRUPTED = 130


def describe(error: DeviceModelError) -> list[str]:
    """Lines about a device model's failure: what, and its notes."""
    notes = "\n".join(getattr(error, "__notes__", ())).splitlines()
    return [f"vmcore: {error}", *(f"  {line}" for line in notes)]


@final
class StatusLine:
    """One line on the terminal, about guest time, speed and state; it never mixes with the guest's output.

    Where standard output is the same terminal, the last row is set apart by a scrolling region and the guest's
    output scrolls above it.
    Without a terminal at standard error it shows nothing.
    """

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._apart = self._shown and sys.stdout.isatty()
        self._rows = 0
        self._begin = self._since = time.monotonic()
        self._instructions = 0
        self._mips = 0.0

    @property
    def shown(self) -> bool:
        return self._shown

    def __enter__(self) -> StatusLine:
        if self._apart:
            self._rows = os.get_terminal_size(sys.stderr.fileno()).lines
            # A free row below the cursor, then the region above it; the cursor goes back to where it was.
            self._write(f"\n\x1b[A\x1b7\x1b[1;{self._rows - 1}r\x1b8")
        return self

    def __exit__(self, *_error: object) -> None:
        if self._apart:
            self._write(f"\x1b7\x1b[r\x1b[{self._rows};1H\x1b[2K\x1b8")
        elif self._shown:
            self._write("\r\x1b[2K")

    def show(self, guest_ns: int, instructions: int, state: str) -> None:
        """Bring the line up to date."""
        if not self._shown:
            return
        now = time.monotonic()
        if now > self._since:
            self._mips = (instructions - self._instructions) / (now - self._since) / 1e6
        self._since, self._instructions = now, instructions
        text = f"[vmcore: {state}, {guest_ns / 1e9:.3f} s guest time, {now - self._begin:.1f} s, {self._mips:.0f} MIPS]"
        if self._apart:
            self._write(f"\x1b7\x1b[{self._rows};1H\x1b[2K{text}\x1b8")
        else:
            self._write(f"\r\x1b[2K{text}")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
