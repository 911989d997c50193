"""What a PS/2 port and the device on it have in common.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final

from attrs import define, field, frozen

ACKNOWLEDGE: Final = 0xFA
RESEND: Final = 0xFE
PASSED: Final = 0xAA
"""The device has tested itself."""

REPORTS = 256
"""Bytes of keys or movements that wait for the guest."""


@frozen
class Ps2State:
    """State that all PS/2 devices have."""

    replies: bytes
    reports: bytes
    last: int
    command: int


def _nobody() -> None:
    pass


@define(eq=False)
class Ps2Device(ABC):
    """A device on a PS/2 port.  Bytes for the guest wait here until the controller takes them, replies first."""

    on_data: Callable[[], None] = field(init=False, default=_nobody)
    """Called when there are bytes to be taken; set by the controller."""
    _replies: deque[int] = field(init=False, factory=lambda: deque(maxlen=16))
    _reports: deque[int] = field(init=False, factory=deque)
    _last: int = field(init=False, default=0)
    _command: int = field(init=False, default=0)  # The command whose parameter comes next.

    def receive(self, byte: int) -> None:
        """A command or parameter from the guest.  Whatever comes, a device answers."""
        command, self._command = self._command, 0
        if byte == RESEND:
            self._replies.append(self._last)
            self._command = command
        elif not command or not self.parameter(command, byte):
            self.command(byte)
        self.on_data()

    def take(self) -> int | None:
        """The next byte for the guest, or None."""
        if self._replies:
            self._last = self._replies.popleft()
        elif self._reports:
            self._last = self._reports.popleft()
            if not self._reports:
                self.drained()
        else:
            return None
        return self._last

    @abstractmethod
    def command(self, byte: int) -> None:
        """Carry out a command, or begin one that has a parameter."""

    @abstractmethod
    def parameter(self, command: int, byte: int) -> bool:
        """The parameter of a command; False when it is none but a new command."""

    @abstractmethod
    def drained(self) -> None:
        """All reports have been taken."""

    @abstractmethod
    def reset(self) -> None:
        """Power-on: defaults, and nothing to say."""
        self._replies.clear()
        self._reports.clear()
        self._last = 0
        self._command = 0

    def reply(self, *codes: int) -> None:
        """Answer the guest."""
        self._replies.extend(codes)

    def report(self, codes: bytes) -> bool:
        """Queue what has happened; False, and nothing is queued, when there is no room for all of it."""
        if len(self._reports) + len(codes) > REPORTS:
            return False
        self._reports.extend(codes)
        return True

    def save_port(self) -> Ps2State:
        """The part of the state that is kept here."""
        return Ps2State(bytes(self._replies), bytes(self._reports), self._last, self._command)

    def restore_port(self, state: Ps2State) -> None:
        """Take back the part of the state that is kept here."""
        self._replies.clear()
        self._replies.extend(state.replies)
        self._reports = deque(state.reports)
        self._last, self._command = state.last, state.command
