"""The keyboard by `vm.keyboard`: keys by name, and whole texts in guest time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from vmcore.shell.layouts import strokes

if TYPE_CHECKING:
    from vmcore.machine.keyboard import Keyboard
    from vmcore.vm import VirtualMachine

__all__ = ["KeyboardFacet"]

STEP_SECONDS: Final = 0.01
"""Guest time between pressing and releasing, and before the next key."""


@final
class KeyboardFacet:
    """`vm.keyboard`.  `press`, `release` and `tap` act at once, on a parked machine; `type` takes guest time."""

    __slots__ = ("_parked", "_vm")

    def __init__(self, vm: VirtualMachine, parked: Callable[[], Keyboard]) -> None:
        self._vm = vm
        self._parked = parked

    def press(self, key: str) -> bool:
        """Push a key down ("a", "ret", "shift", ...; the names are QKeyCode's).

        False when the guest has not taken earlier keys and there is no room: let it run and try again.  UsageError for
        a key that there is not.
        """
        return self._parked().press(key)

    def release(self, key: str) -> bool:
        """Let a key go; False as for `press`."""
        return self._parked().release(key)

    def tap(self, *keys: str) -> bool:
        """Push keys down in order and let them go in reverse: `tap("ctrl", "c")`.  False if not all were taken."""
        return self._parked().tap(*keys)

    async def type(self, text: str, layout: str = "us", *, step: float = STEP_SECONDS) -> None:
        """Type a text as on a keyboard of this layout ("us", "gb", "de" or "fr"), which the guest must have set, too.

        step: guest seconds between two changes of keys.  While the guest has no room the next key waits.  A machine
        that is not free-running is driven meanwhile.  UsageError for characters that the layout has not.
        """
        for stroke in strokes(text, layout):
            for key in stroke.keys:
                await self._change(key, True, step)
            for key in reversed(stroke.keys):
                await self._change(key, False, step)

    async def _change(self, key: str, down: bool, step: float) -> None:
        while True:
            async with self._vm.parked() as machine:
                taken = machine.keyboard.press(key) if down else machine.keyboard.release(key)
            await self._vm.sleep(step)
            if taken:
                return
