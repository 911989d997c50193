"""The keyboard from outside: keys by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

__all__ = ["Keyboard"]


@final
class Keyboard:
    """Presses and releases keys.  Made by the machine; every key that is taken is an input of it."""

    __slots__ = ("_apply",)

    def __init__(self, apply: Callable[[str, bool], bool]) -> None:
        self._apply = apply

    def press(self, key: str) -> bool:
        """Push a key down ("a", "ret", "shift", ...; the names are QKeyCode's).

        False when the guest has not taken earlier keys and there is no room: let it run and try again.  UsageError
        for a
        key that there is not.
        """
        return self._apply(key, True)

    def release(self, key: str) -> bool:
        """Let a key go; False as for `press`."""
        return self._apply(key, False)

    def tap(self, *keys: str) -> bool:
        """Push keys down in order and let them go in reverse: `tap("ctrl", "c")`.  False if not all were taken."""
        taken = [self.press(key) for key in keys] + [self.release(key) for key in reversed(keys)]
        return all(taken)
