"""The host's end of a serial port, without a guest."""

from __future__ import annotations

import pytest

from vmcore.devices.serial16550 import CABLE, Serial16550
from vmcore.hardware import Clock, IrqLine
from vmcore.machine.serial_port import KEPT, TAIL, SerialPort


def port() -> SerialPort:
    made = SerialPort(0, lambda index, data: made.apply(data), lambda hook, data: hook(data))
    return made


def test_output_waits_until_it_is_taken() -> None:
    made = port()
    made.write(b"one ")
    made.write(b"two")
    assert made.take() == b"one two"
    assert made.take() == b""
    assert made.sent == 7


def test_a_listener_gets_output_at_once_and_nothing_is_kept() -> None:
    made, heard = port(), bytearray()
    made.on_output = heard.extend
    made.write(b"x")
    assert heard == b"x"
    assert made.take() == b""


def test_output_that_nobody_takes_is_bounded_and_what_gave_way_is_counted() -> None:
    made = port()
    made.write(bytes(KEPT))
    made.write(b"end")
    assert made.dropped == 3
    assert len(data := made.take()) == KEPT
    assert data.endswith(b"end")


@pytest.mark.parametrize("listening", [False, True])
def test_the_tail_is_the_end_of_what_was_sent_whoever_took_it(listening: bool) -> None:
    made = port()
    if listening:
        made.on_output = lambda data: None
    for number in range(20_000):
        made.write(b"%d\n" % number)
    assert made.tail.endswith(b"19998\n19999\n")
    assert len(made.tail) == TAIL


def test_input_waits_until_the_uart_has_room_and_is_part_of_the_state() -> None:
    made = port()
    uart = Serial16550(IrqLine.unconnected("irq"), Clock(lambda: 0), made)
    made.plug(uart)
    made.send(bytes(CABLE + 100))
    assert made.waiting >= 100 - 1
    saved = made.save()
    other = port()
    other.restore(saved)
    assert other.waiting == made.waiting


def test_restoring_forgets_output_of_the_time_that_was_left() -> None:
    made = port()
    saved = made.save()
    made.write(b"later")
    made.restore(saved)
    assert made.take() == b""
    assert made.tail == b""
