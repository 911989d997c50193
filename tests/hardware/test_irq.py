from __future__ import annotations

from vmcore.hardware import IrqLine, SharedLine


def recorded(name: str = "irq") -> tuple[IrqLine, list[bool]]:
    levels: list[bool] = []
    return IrqLine(levels.append, name), levels


def test_the_handler_hears_changes_only() -> None:
    line, levels = recorded()
    line.lower()
    line.raise_()
    line.raise_()
    line.set(True)
    line.set(False)
    line.set(False)
    assert levels == [True, False]


def test_a_pulse_is_one_edge() -> None:
    line, levels = recorded()
    line.pulse()
    assert levels == [True, False]
    line.raise_()
    line.pulse()
    assert levels == [True, False, True, False]


def test_an_unconnected_line_keeps_its_level() -> None:
    line = IrqLine.unconnected("nowhere")
    line.raise_()
    assert line.level


def test_assuming_a_level_tells_nobody() -> None:
    line, levels = recorded()
    line.assume(True)
    assert line.level
    line.raise_()
    assert levels == []
    line.lower()
    assert levels == [False]


def test_a_shared_line_is_up_while_any_input_is() -> None:
    output, levels = recorded()
    shared = SharedLine(output)
    one, two = shared.input("one"), shared.input("two")
    one.raise_()
    two.raise_()
    one.lower()
    assert levels == [True]
    assert shared.asserted
    two.lower()
    assert levels == [True, False]


def test_assuming_a_level_of_a_shared_input_carries_over_to_the_output_in_silence() -> None:
    output, levels = recorded()
    shared = SharedLine(output)
    one, two = shared.input("one"), shared.input("two")
    one.assume(True)
    two.assume(False)
    assert output.level
    one.lower()
    assert levels == [False]
