"""What a user does with keyboard and mouse, by `vm.input`: key sequences in guest time, single events at once.

Sequences go through a queue, one key after the other, each held for its time of the guest's clock; they are inputs of
the machine like any other.  What the guest has no room for is lost, as on a real keyboard whose buffer is full.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final, final

from vmcore.devices.scancodes import EXTENDED, KEYS, sequence
from vmcore.machine.inputs import KeyInput, MouseButton, MouseMove
from vmcore.model.errors import CommandError
from vmcore.model.ui import (
    InputAbsEvent,
    InputAxis,
    InputBtnEvent,
    InputButton,
    InputEvent,
    InputKeyEvent,
    InputRelEvent,
    IntWrapper,
    KeyValue,
    MouseInfo,
    QKeyCodeWrapper,
)

if TYPE_CHECKING:
    from vmcore.machine.inputs import Input as MachineInput
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["HOLD_SECONDS", "Input", "key_name"]

HOLD_SECONDS: Final = 0.1
"""How long keys are held unless something else is asked for."""

QUEUE_LIMIT: Final = 1024
"""Steps that wait at most; what comes then is lost."""

_WHEEL: Final = {InputButton.WHEEL_UP: -1, InputButton.WHEEL_DOWN: 1}
"""Direction of the wheel, towards the user being positive."""


def _scan_codes() -> dict[int, str]:
    codes: dict[int, str] = {}
    for name in KEYS:
        made = sequence(name, True, 1)
        if len(made) == 1:
            codes.setdefault(made[0], name)
        elif len(made) == 2 and made[0] == EXTENDED:
            codes.setdefault(made[1] | 0x80, name)
    return codes


_BY_NUMBER: Final = _scan_codes()


def key_name(key: KeyValue) -> str | None:
    """The keyboard's name of a key; None where the keyboard has no such key."""
    match key:
        case QKeyCodeWrapper(data=code):
            return code.value if code.value in KEYS else None
        case IntWrapper(data=number):
            return _BY_NUMBER.get(number)
    raise TypeError(f"{key!r} is not one of the kinds of keys")


@final
class Input:
    """`vm.input`."""

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm
        self._queue: deque[tuple[str, bool, float]] = deque()
        self._held = False

    async def press(self, keys: Iterable[KeyValue], hold: float = HOLD_SECONDS) -> None:
        """Push keys down one by one, each `hold` guest seconds after the one before, and let them go in reverse.

        Returns when the first is down; the rest follows while the guest runs.
        """
        names = [name for name in map(key_name, keys) if name is not None]
        steps = [(name, True, hold) for name in names] + [(name, False, hold) for name in reversed(names)]
        async with self._vm.parked() as machine:
            if len(self._queue) + len(steps) <= QUEUE_LIMIT:
                self._queue.extend(steps)
            if not self._held:
                self._next(machine)

    def _next(self, machine: Machine) -> None:
        """The next step; the machine is parked."""
        self._held = False
        if self._queue:
            key, pressed, hold = self._queue.popleft()
            machine.apply(KeyInput(key, pressed))
            self._held = True
            self._vm.call_later(hold, lambda: self._next(machine))

    async def send(self, events: Sequence[InputEvent]) -> None:
        """Let events happen at once, in order.  CommandError where nothing in the machine takes one of their kind."""
        async with self._vm.parked() as machine:
            for event in events:
                if isinstance(event, InputAbsEvent) or not self._taken(machine, event):
                    raise CommandError("GenericError", f"Input handler not found for event type {event.type.value}")
            for event in events:
                for what in self._inputs(event):
                    machine.apply(what)

    async def move_mouse(self, dx: int, dy: int, dz: int = 0) -> None:
        """Move the mouse: to the right, down, and its wheel towards the user.  Nothing happens without a mouse."""
        async with self._vm.parked() as machine:
            machine.apply(MouseMove(dx, -dy, dz))

    async def set_buttons(self, state: int) -> None:
        """Push and let go buttons of the mouse: left, middle, right in bits 0 to 2."""
        async with self._vm.parked() as machine:
            for bit, button in enumerate((InputButton.LEFT, InputButton.MIDDLE, InputButton.RIGHT)):
                machine.apply(MouseButton(button.value, bool(state >> bit & 1)))

    @staticmethod
    def _taken(machine: Machine, event: InputEvent) -> bool:
        return machine.board.has_keyboard if isinstance(event, InputKeyEvent) else machine.board.has_mouse

    @staticmethod
    def _inputs(event: InputEvent) -> Iterable[MachineInput]:
        match event:
            case InputKeyEvent(data=data):
                name = key_name(data.key)
                return () if name is None else (KeyInput(name, data.down),)
            case InputBtnEvent(data=data) if data.button in _WHEEL:
                return (MouseMove(dz=_WHEEL[data.button]),) if data.down else ()
            case InputBtnEvent(data=data):
                return (MouseButton(data.button.value, data.down),)
            case InputRelEvent(data=data):
                # A PS/2 mouse counts upwards, screens count downwards.
                return (MouseMove(dx=data.value) if data.axis is InputAxis.X else MouseMove(dy=-data.value),)
        return ()

    async def mice(self) -> tuple[MouseInfo, ...]:
        """The pointing devices."""
        if not self._vm.peek().board.has_mouse:
            return ()
        return (MouseInfo(name="PS/2 Mouse", index=0, current=True, absolute=False),)
