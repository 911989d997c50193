"""Which device raised is read off the traceback."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import define, field, frozen

from vmcore.hardware import Clock, Device, IrqLine, ObjectTree, Register, Timer
from vmcore.machine.blame import blame


@frozen
class WidgetState:
    pass


@define(eq=False)
class Widget(Device[WidgetState]):
    clock: Clock
    irq: IrqLine
    timer: Timer = field(init=False)

    CONTROL = Register(0, doc="Raises on a write.")
    SIGNAL = Register(1, doc="Raises its interrupt on a write.")

    def __attrs_post_init__(self) -> None:
        self.timer = self.clock.timer(self._fail, "widget")

    @CONTROL.on_write
    def _write(self, value: int) -> None:
        self._fail()

    @SIGNAL.on_write
    def _signal(self, value: int) -> None:
        self.irq.set(bool(value))

    def _fail(self) -> None:
        raise RuntimeError("oops")

    def reset(self) -> None:
        super().reset()

    def save(self) -> WidgetState:
        return WidgetState()

    def restore(self, state: WidgetState) -> None:
        pass


def found(tree: ObjectTree, action: Callable[[], object]) -> tuple[str, str | None] | None:
    with pytest.raises(RuntimeError) as caught:
        action()
    return blame(caught.value.__traceback__, tree)


def widget(handler: Callable[[bool], None] = lambda level: None) -> tuple[Widget, Clock, ObjectTree]:
    clock, tree = Clock(lambda: 0), ObjectTree()
    made = Widget(clock, IrqLine(handler, "test"))
    tree.add("/machine/widget", made)
    return made, clock, tree


def test_an_access_names_the_device_and_the_register() -> None:
    made, _, tree = widget()
    assert found(tree, lambda: made.port_write(0, 1, 1)) == ("/machine/widget", "CONTROL")
    assert found(tree, lambda: made.mmio_write(0, 1, 1)) == ("/machine/widget", "CONTROL")


def test_a_timer_names_the_device_and_the_timer() -> None:
    made, clock, tree = widget()
    made.timer.arm(5)
    assert found(tree, lambda: clock.run_due(5)) == ("/machine/widget", "timer widget")


def test_the_innermost_device_is_to_blame() -> None:
    inner, _, tree = widget()
    outer = Widget(Clock(lambda: 0), IrqLine(lambda level: inner.port_write(0, 1, 1), "to inner"))
    tree.add("/machine/outer", outer)
    assert found(tree, lambda: outer.port_write(1, 1, 1)) == ("/machine/widget", "CONTROL")


def test_a_device_without_a_place_is_called_by_its_class() -> None:
    made = Widget(Clock(lambda: 0), IrqLine.unconnected("test"))
    assert found(ObjectTree(), lambda: made.port_write(0, 1, 1)) == ("Widget", "CONTROL")


def test_nobody_is_to_blame_where_no_device_was_at_work() -> None:
    def fail() -> None:
        raise RuntimeError

    assert found(ObjectTree(), fail) is None
