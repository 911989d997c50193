from __future__ import annotations

import pytest
from attrs import define, field
from workbench import GuestTime, Wire

from vmcore.devices.serial16550 import CABLE, Serial16550
from vmcore.devices.serial_backend import SerialBackend
from vmcore.hardware import COLLECT, READ, Clock, IrqLine, PortSpace

RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7

CHARACTER = 86_805
"""Nanoseconds of ten bits (8N1) at 115200."""


@define
class Listener(SerialBackend):
    data: bytearray = field(factory=bytearray)
    rooms: int = 0
    changes: list[tuple[bool, bool, bool]] = field(factory=list)

    def write(self, data: bytes) -> None:
        self.data += data

    def room(self) -> None:
        self.rooms += 1

    def lines(self, dtr: bool, rts: bool, break_: bool) -> None:
        self.changes.append((dtr, rts, break_))


@pytest.fixture
def far() -> Listener:
    return Listener()


@pytest.fixture
def uart(time: GuestTime, wire: Wire, far: Listener) -> Serial16550:
    uart = Serial16550(wire.line, time.clock, far)
    uart.port_write(LCR, 0x03, 1)
    return uart


def get(uart: Serial16550, offset: int) -> int:
    return uart.port_read(offset, 1)


def put(uart: Serial16550, offset: int, value: int) -> None:
    uart.port_write(offset, value, 1)


def test_reset_values_are_those_of_the_data_sheet(time: GuestTime) -> None:
    uart = Serial16550(IrqLine.unconnected("irq4"), time.clock)
    assert [get(uart, offset) for offset in range(8)] == [0, 0, 0x01, 0, 0, 0x60, 0xB0, 0]


# Sending


def test_sent_bytes_reach_the_back_end_and_the_transmitter_is_always_empty(uart: Serial16550, far: Listener) -> None:
    for byte in b"hello\xff":
        assert get(uart, LSR) & 0x60 == 0x60
        put(uart, THR, byte)
    assert far.data == b"hello\xff"


def test_string_output_arrives_in_one_piece(uart: Serial16550, far: Listener) -> None:
    ports = PortSpace()
    ports.claim(0x3F8, 8, uart)
    ports.write_bulk(0x3F8, 1, b"abc")
    put(uart, IER, 0x02)
    ports.write_bulk(0x3F8, 1, b"def")
    assert far.data == b"abcdef"
    assert ports.read_bulk(0x3FD, 1, 2) == b"\x60\x60"


def test_a_word_written_is_two_registers(uart: Serial16550, far: Listener) -> None:
    uart.port_write(THR, 0x0541, 2)
    assert far.data == b"A"
    assert get(uart, IER) == 0x05


def test_the_divisor_is_behind_the_latch_bit_and_sends_nothing(uart: Serial16550, far: Listener) -> None:
    put(uart, LCR, 0x83)
    put(uart, DLL, 0x0C)
    put(uart, DLM, 0x01)
    assert (get(uart, DLL), get(uart, DLM)) == (0x0C, 0x01)
    put(uart, LCR, 0x03)
    assert far.data == b""
    assert get(uart, IER) == 0


def test_the_scratch_register_keeps_its_byte_and_unused_bits_read_as_zero(uart: Serial16550) -> None:
    for offset, kept in (SCR, 0xFF), (IER, 0x0F), (MCR, 0x1F), (LCR, 0xFF):
        put(uart, offset, 0xFF)
        assert get(uart, offset) == kept


def test_read_only_registers_swallow_writes(uart: Serial16550) -> None:
    put(uart, LSR, 0)
    put(uart, MSR, 0)
    assert (get(uart, LSR), get(uart, MSR)) == (0x60, 0xB0)


# Transmitter interrupt


def test_enabling_the_transmitter_interrupt_raises_it_and_identification_takes_it_back(
    uart: Serial16550, wire: Wire
) -> None:
    put(uart, IER, 0x02)
    assert wire.levels == [True]
    assert get(uart, IIR) == 0x02
    assert get(uart, IIR) == 0x01
    assert wire.levels == [True, False]


def test_disabling_and_enabling_it_again_raises_it_again(uart: Serial16550) -> None:
    # Linux tells a working UART from a broken one this way.
    put(uart, IER, 0x02)
    assert get(uart, IIR) == 0x02
    put(uart, IER, 0x00)
    assert get(uart, IIR) == 0x01
    put(uart, IER, 0x02)
    assert get(uart, IIR) == 0x02


def test_writing_the_same_enables_does_not_raise_it(uart: Serial16550) -> None:
    put(uart, IER, 0x02)
    get(uart, IIR)
    put(uart, IER, 0x03)
    assert get(uart, IIR) == 0x01


def test_each_byte_sent_gives_a_new_edge(uart: Serial16550, wire: Wire) -> None:
    put(uart, IER, 0x02)
    put(uart, THR, 0x41)
    put(uart, THR, 0x42)
    assert wire.levels == [True, False, True, False, True]
    assert get(uart, IIR) == 0x02


# Receiving


def test_a_byte_takes_a_character_time_to_come_in(uart: Serial16550, time: GuestTime) -> None:
    assert uart.receive(b"x") == 1
    time.advance(CHARACTER - 1)
    assert get(uart, LSR) == 0x60
    time.advance(1)
    assert get(uart, LSR) == 0x61
    assert get(uart, RBR) == ord("x")
    assert get(uart, LSR) == 0x60


def test_the_character_time_follows_divisor_and_format(uart: Serial16550, time: GuestTime) -> None:
    put(uart, LCR, 0x8F)  # 8 bits, parity, 2 stop bits: 12 bits; 300 baud
    put(uart, DLL, 0x80)
    put(uart, DLM, 0x01)
    put(uart, LCR, 0x0F)
    uart.receive(b"x")
    time.advance(39_999_999)
    assert get(uart, LSR) == 0x60
    time.advance(1)
    assert get(uart, LSR) == 0x61


def test_a_new_speed_holds_for_the_character_under_way(uart: Serial16550, time: GuestTime) -> None:
    put(uart, LCR, 0x83)
    put(uart, DLM, 0xFF)
    uart.receive(b"x")
    put(uart, DLM, 0x00)
    put(uart, LCR, 0x03)
    time.advance(CHARACTER)
    assert get(uart, LSR) == 0x61


@pytest.mark.parametrize("fifo", [False, True])
def test_nothing_is_lost_however_slow_the_guest_is(uart: Serial16550, time: GuestTime, fifo: bool) -> None:
    put(uart, FCR, int(fifo))
    sent = bytes(range(256)) * 2
    assert uart.receive(sent) == len(sent)
    time.advance(10 * len(sent) * CHARACTER)
    got = bytearray()
    while len(got) < len(sent):
        status = get(uart, LSR)
        assert not status & 0x1E
        if status & 1:
            got.append(get(uart, RBR))
        else:
            time.advance(CHARACTER)
    assert got == sent
    assert get(uart, LSR) == 0x60


def test_the_cable_takes_what_it_has_room_for_and_says_when_it_has_room_again(
    uart: Serial16550, time: GuestTime, far: Listener
) -> None:
    assert uart.receive(bytes(CABLE + 100)) == CABLE
    assert uart.room == 0
    assert uart.receive(b"x") == 0
    assert not uart.receive_break()
    while far.rooms == 0:
        time.advance(CHARACTER)
        get(uart, RBR)
    assert uart.room == CABLE // 2
    while uart.room < CABLE:
        time.advance(CHARACTER)
        get(uart, RBR)
    assert far.rooms == 1


def test_received_data_interrupts_and_reading_takes_it_back(uart: Serial16550, time: GuestTime, wire: Wire) -> None:
    put(uart, IER, 0x01)
    uart.receive(b"x")
    time.advance(CHARACTER)
    assert wire.levels == [True]
    assert get(uart, IIR) == 0x04
    get(uart, RBR)
    assert get(uart, IIR) == 0x01
    assert wire.levels == [True, False]


@pytest.mark.parametrize(("code", "level"), [(0x01, 1), (0x41, 4), (0x81, 8), (0xC1, 14)])
def test_the_fifo_interrupts_at_its_trigger_level(uart: Serial16550, time: GuestTime, code: int, level: int) -> None:
    put(uart, FCR, code)
    put(uart, IER, 0x01)
    uart.receive(bytes(level))
    time.advance((level - 1) * CHARACTER)
    assert get(uart, IIR) == 0xC1
    time.advance(CHARACTER)
    assert get(uart, IIR) == 0xC4
    get(uart, RBR)
    assert get(uart, IIR) == 0xC1


def test_fewer_characters_than_the_trigger_level_time_out(uart: Serial16550, time: GuestTime, wire: Wire) -> None:
    put(uart, FCR, 0xC1)
    put(uart, IER, 0x01)
    uart.receive(b"ab")
    time.advance(6 * CHARACTER - 1)
    assert wire.levels == []
    time.advance(1)
    assert wire.levels == [True]
    assert get(uart, IIR) == 0xCC
    get(uart, RBR)  # Reading restarts the timer.
    assert get(uart, IIR) == 0xC1
    time.advance(4 * CHARACTER)
    assert get(uart, IIR) == 0xCC
    get(uart, RBR)
    time.advance(100 * CHARACTER)
    assert get(uart, IIR) == 0xC1


def test_the_fifo_is_emptied_by_its_clear_bit_and_by_switching(uart: Serial16550, time: GuestTime) -> None:
    for control in 0x03, 0x00, 0x01:
        uart.receive(b"x")
        time.advance(CHARACTER)
        assert get(uart, LSR) & 1
        put(uart, FCR, control)
        assert not get(uart, LSR) & 1
    uart.receive(b"x")
    time.advance(CHARACTER)
    put(uart, FCR, 0x02)
    put(uart, FCR, 0x05)
    assert not get(uart, LSR) & 1


def test_fifo_control_without_the_enable_bit_is_ignored_but_for_that_bit(uart: Serial16550) -> None:
    put(uart, FCR, 0xC1)
    assert get(uart, IIR) & 0xC0 == 0xC0
    put(uart, FCR, 0xC0)
    assert get(uart, IIR) & 0xC0 == 0


def test_a_break_is_a_null_with_its_error_shown_when_it_is_next(uart: Serial16550, time: GuestTime, wire: Wire) -> None:
    put(uart, FCR, 0x81)
    put(uart, IER, 0x04)
    uart.receive(b"a")
    uart.receive_break()
    uart.receive(b"b")
    time.advance(3 * CHARACTER)
    assert wire.levels == []
    assert get(uart, LSR) == 0xE1  # An error is in the FIFO, but not at its head.
    assert get(uart, RBR) == ord("a")
    assert wire.levels == [True]
    assert get(uart, IIR) == 0xC6
    assert get(uart, LSR) == 0xF9
    assert get(uart, LSR) == 0x61
    assert get(uart, IIR) == 0xC1
    assert get(uart, RBR) == 0
    assert get(uart, RBR) == ord("b")


def test_with_flow_control_input_waits_for_request_to_send(time: GuestTime) -> None:
    uart = Serial16550(IrqLine.unconnected("irq4"), time.clock, flow_control=True)
    uart.receive(b"x")
    time.advance(100 * CHARACTER)
    assert not get(uart, LSR) & 1
    put(uart, MCR, 0x02)
    time.advance(CHARACTER)
    assert get(uart, LSR) & 1


# Modem lines and loop-back


def test_modem_lines_show_their_levels_and_changes(uart: Serial16550, wire: Wire) -> None:
    put(uart, IER, 0x08)
    uart.set_modem_lines(dcd=False, cts=False)
    assert wire.levels == [True]
    assert get(uart, IIR) == 0x00
    assert get(uart, MSR) == 0x29
    assert get(uart, MSR) == 0x20
    assert wire.levels == [True, False]


def test_only_the_end_of_a_ring_is_a_change(uart: Serial16550) -> None:
    uart.set_modem_lines(ri=True)
    assert get(uart, MSR) == 0xF0
    uart.set_modem_lines(ri=False)
    assert get(uart, MSR) == 0xB4


def test_the_back_end_hears_of_outgoing_lines_once(uart: Serial16550, far: Listener) -> None:
    put(uart, MCR, 0x03)
    put(uart, MCR, 0x0B)
    put(uart, LCR, 0x43)
    put(uart, MCR, 0x13)
    put(uart, MCR, 0x00)
    assert far.changes == [(True, True, False), (True, True, True), (False, False, False), (False, False, True)]


@pytest.mark.parametrize(("control", "status"), [(0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80), (0x1A, 0x90)])
def test_in_loop_back_the_outgoing_modem_lines_come_back(uart: Serial16550, control: int, status: int) -> None:
    put(uart, MCR, control)
    assert get(uart, MSR) & 0xF0 == status


def test_in_loop_back_what_is_sent_is_received_and_nothing_leaves(uart: Serial16550, far: Listener) -> None:
    put(uart, MCR, 0x10)
    put(uart, THR, 0xA5)
    assert get(uart, LSR) == 0x61
    assert get(uart, RBR) == 0xA5
    assert far.data == b""


def test_in_loop_back_an_overrun_is_an_error(uart: Serial16550) -> None:
    put(uart, MCR, 0x10)
    put(uart, IER, 0x04)
    put(uart, THR, 1)
    put(uart, THR, 2)
    assert get(uart, IIR) == 0x06
    assert get(uart, LSR) == 0x63
    assert get(uart, IIR) == 0x01
    assert get(uart, RBR) == 2  # Without FIFO the later character overwrites the earlier.
    put(uart, FCR, 0x01)
    for value in range(17):
        put(uart, THR, value)
    assert get(uart, LSR) == 0x63
    assert [get(uart, RBR) for _ in range(16)] == list(range(16))
    assert get(uart, LSR) == 0x60


def test_in_loop_back_input_from_outside_waits(uart: Serial16550, time: GuestTime) -> None:
    uart.receive(b"x")
    put(uart, MCR, 0x10)
    time.advance(10 * CHARACTER)
    assert get(uart, LSR) == 0x60
    put(uart, MCR, 0x00)
    time.advance(CHARACTER)
    assert get(uart, RBR) == ord("x")


def test_causes_are_identified_in_order_of_priority(uart: Serial16550, time: GuestTime) -> None:
    put(uart, IER, 0x0F)
    uart.set_modem_lines(cts=False)
    uart.receive_break()
    time.advance(CHARACTER)
    assert get(uart, IIR) == 0x06
    get(uart, LSR)
    assert get(uart, IIR) == 0x04
    get(uart, RBR)
    assert get(uart, IIR) == 0x02
    assert get(uart, IIR) == 0x00
    get(uart, MSR)
    assert get(uart, IIR) == 0x01


# State


def test_reset_leaves_what_is_in_the_cable(uart: Serial16550, time: GuestTime, far: Listener) -> None:
    uart.receive(b"ab")
    time.advance(CHARACTER)
    put(uart, MCR, 0x03)
    put(uart, IER, 0x0F)
    uart.reset()
    assert get(uart, LSR) == 0x60
    assert not uart.irq.level
    assert far.changes[-1] == (False, False, False)
    time.advance(CHARACTER)
    assert get(uart, RBR) == ord("b")


def test_a_restored_uart_goes_on_where_the_saved_one_was(uart: Serial16550, time: GuestTime, wire: Wire) -> None:
    put(uart, FCR, 0x81)
    put(uart, IER, 0x05)
    uart.receive(b"abcdef")
    time.advance(2 * CHARACTER + 1000)
    saved = uart.save()
    other_time, other_wire = GuestTime(), Wire()
    other_time.now = time.now
    other = Serial16550(other_wire.line, other_time.clock)
    other.restore(saved)
    assert other.save() == saved
    assert other_wire.levels == []
    for now, one in (time, uart), (other_time, other):
        now.advance(8 * CHARACTER)
        assert get(one, IIR) == 0xCC
        assert bytes(get(one, RBR) for _ in range(6)) == b"abcdef"
    assert other.save() == uart.save()
    assert wire.levels == other_wire.levels


def test_restoring_a_pending_interrupt_makes_no_edge(time: GuestTime, wire: Wire) -> None:
    uart = Serial16550(wire.line, time.clock)
    put(uart, IER, 0x02)
    saved = uart.save()
    other_wire = Wire()
    other = Serial16550(other_wire.line, Clock(lambda: 0))
    other.restore(saved)
    assert other_wire.line.level
    assert other_wire.levels == []


def test_sent_bytes_are_collected_only_while_sending_is_all_there_is_to_a_write(uart: Serial16550) -> None:
    assert not uart.cells.rules[THR]
    uart.collect(True)
    assert uart.cells.rules[THR] == COLLECT
    for register, value in (LCR, 0x83), (MCR, 0x10), (IER, 0x02):
        before = get(uart, register)
        put(uart, register, value)
        assert not uart.cells.rules[THR]
        put(uart, register, before)
        assert uart.cells.rules[THR] == COLLECT
    uart.collect(False)
    assert not uart.cells.rules[THR]


def test_bytes_that_come_together_are_sent_like_single_ones(uart: Serial16550, far: Listener) -> None:
    before = uart.save()
    uart.write_bulk(THR, 1, b"hello")
    assert bytes(far.data) == b"hello"
    assert uart.save() == before


def test_line_and_modem_status_are_read_freely_until_reading_has_an_effect(uart: Serial16550, time: GuestTime) -> None:
    assert uart.cells.rules[LSR] == uart.cells.rules[MSR] == READ
    uart.set_modem_lines(cts=True, dsr=False)
    uart.receive_break()
    time.advance(2 * CHARACTER)
    assert uart.cells.rules[LSR] == uart.cells.rules[MSR] == 0
    assert (get(uart, LSR), get(uart, MSR)) == (0x79, 0x92)
    assert uart.cells.rules[LSR] == uart.cells.rules[MSR] == READ
    assert (uart.cells.values[LSR], uart.cells.values[MSR]) == (0x61, 0x90)
