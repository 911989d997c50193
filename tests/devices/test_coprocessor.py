"""x87 errors by IRQ 13."""

from __future__ import annotations

from workbench import Wire

from vmcore.devices.coprocessor import Coprocessor


def test_an_error_is_latched_into_the_interrupt_until_the_port_is_written(wire: Wire) -> None:
    ignored: list[bool] = []
    chip = Coprocessor(wire.line, lambda: ignored.append(True))
    chip.set_error(True)
    chip.set_error(False)
    assert wire.levels == [True]
    chip.port_write(0, 0, 1)
    assert wire.levels == [True, False]
    assert ignored == []


def test_a_write_lets_the_processor_ignore_an_error_that_is_still_there(wire: Wire) -> None:
    ignored: list[bool] = []
    chip = Coprocessor(wire.line, lambda: ignored.append(True))
    chip.set_error(True)
    chip.port_write(0, 0, 1)
    assert (wire.levels, ignored) == ([True, False], [True])
