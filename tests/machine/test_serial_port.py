"""The host's end of a serial port."""

from __future__ import annotations

import pytest
from guests import machine

from vmcore.devices.serial16550 import CABLE, Serial16550
from vmcore.hardware import COLLECT, Clock, IrqLine
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


def test_the_uart_may_collect_output_unless_somebody_wants_each_byte_at_once() -> None:
    made = port()
    uart = Serial16550(IrqLine.unconnected("irq"), Clock(lambda: 0), made)
    made.plug(uart)
    assert uart.cells.rules[0] == COLLECT
    made.on_output = lambda data: None
    assert made.at_once
    assert uart.cells.rules[0] == 0
    made.at_once = False
    assert uart.cells.rules[0] == COLLECT
    made.at_once = True
    made.on_output = None
    assert uart.cells.rules[0] == COLLECT


PRINT = """
    mov rbx, 100000
next:
    mov dx, 0x3fd
wait:
    in al, dx
    test al, 0x20
    jz wait
    mov dx, 0x3f8
    mov al, bl
    out dx, al
    dec rbx
    jnz next
spin: jmp spin
"""


def test_collecting_output_shows_neither_in_the_guest_nor_in_what_it_sent() -> None:
    seen = []
    for at_once in True, False, None:
        with machine(PRINT) as made:
            data = bytearray()
            if at_once is not None:
                made.serial[0].on_output = data.extend
                made.serial[0].at_once = at_once
            for step in 7, 12_345, 1, 70_001:
                made.run(step)
                if at_once is None:
                    data += made.serial[0].take()
                seen.append((made.instructions, made.now_ns, made.digest(), made.serial[0].sent, bytes(data)))
    assert seen[:4] == seen[4:8] == seen[8:]
    assert seen[3][4] == bytes(number & 0xFF for number in range(100_000, 100_000 - seen[3][3], -1))


def test_a_hook_that_wants_bytes_in_pieces_gets_them_in_few() -> None:
    with machine(PRINT) as made:
        pieces: list[bytes] = []
        made.serial[0].on_output = pieces.append
        made.serial[0].at_once = False
        made.run(80_000)
    assert sum(map(len, pieces)) == made.serial[0].sent > 8_000
    assert len(pieces) < 100
