from __future__ import annotations

from random import Random

import pytest
from workbench import GuestTime, Wire

from vmcore.devices.pit8254 import PIT_HZ, Pit8254
from vmcore.hardware import ns_from_ticks


@pytest.fixture
def pit(time: GuestTime, wire: Wire) -> Pit8254:
    return Pit8254(wire.line, time.clock)


def out(pit: Pit8254, port: int, *values: int) -> None:
    for value in values:
        pit.port_write(port, value, 1)


def to_tick(time: GuestTime, tick: int) -> None:
    time.advance(ns_from_ticks(tick, PIT_HZ) - time.now)


def status(pit: Pit8254, counter: int) -> int:
    out(pit, 3, 0xE0 | 2 << counter)
    return pit.port_read(counter, 1)


def count(pit: Pit8254, counter: int) -> int:
    """The count of a counter that is read as two bytes."""
    out(pit, 3, counter << 6)
    return pit.port_read(counter, 1) | pit.port_read(counter, 1) << 8


def output(pit: Pit8254, counter: int) -> int:
    return status(pit, counter) >> 7


def outputs(pit: Pit8254, time: GuestTime, counter: int, ticks: range) -> str:
    text = ""
    for tick in ticks:
        to_tick(time, tick)
        text += str(output(pit, counter))
    return text


def counts(pit: Pit8254, time: GuestTime, counter: int, ticks: range) -> list[int]:
    values = []
    for tick in ticks:
        to_tick(time, tick)
        values.append(count(pit, counter))
    return values


def start(pit: Pit8254, counter: int, mode: int, value: int, bcd: int = 0) -> None:
    out(pit, 3, counter << 6 | 0x30 | mode << 1 | bcd)
    out(pit, counter, value & 0xFF, value >> 8)


# Waveforms of the data sheet, figures 15-20.  A count written in tick 0 is loaded at tick 1.


def test_mode_0_raises_its_output_n_plus_one_ticks_after_the_count(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 0, 4)
    assert outputs(pit, time, 0, range(8)) == "00000111"


def test_mode_0_counts_on_below_zero(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 0, 4)
    assert counts(pit, time, 0, range(1, 8)) == [4, 3, 2, 1, 0, 0xFFFF, 0xFFFE]


def test_mode_0_stops_while_the_gate_is_low(pit: Pit8254, time: GuestTime) -> None:
    out(pit, 4, 1)
    start(pit, 2, 0, 5)
    to_tick(time, 3)
    out(pit, 4, 0)
    assert counts(pit, time, 2, range(3, 6)) == [3, 3, 3]
    out(pit, 4, 1)
    assert counts(pit, time, 2, range(6, 9)) == [2, 1, 0]
    assert output(pit, 2) == 1


def test_mode_0_loads_with_the_gate_low_and_counts_when_it_rises(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 2, 0, 3)
    to_tick(time, 10)
    assert count(pit, 2) == 3
    out(pit, 4, 1)
    assert outputs(pit, time, 2, range(10, 15)) == "00011"


def test_mode_0_lowers_its_output_with_the_first_byte_of_a_new_count(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 0, 2)
    to_tick(time, 5)
    assert output(pit, 0) == 1
    out(pit, 0, 3)
    assert output(pit, 0) == 0
    to_tick(time, 50)
    assert output(pit, 0) == 0
    out(pit, 0, 0)
    assert outputs(pit, time, 0, range(50, 56)) == "000011"


def test_mode_1_is_a_one_shot_started_by_the_gate(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 2, 1, 3)
    assert outputs(pit, time, 2, range(4)) == "1111"
    out(pit, 4, 1)
    assert outputs(pit, time, 2, range(3, 9)) == "100011"
    out(pit, 4, 0)
    out(pit, 4, 1)
    assert outputs(pit, time, 2, range(8, 11)) == "100"
    out(pit, 4, 0)
    out(pit, 4, 1)  # Retriggered in tick 10.
    assert outputs(pit, time, 2, range(11, 16)) == "00011"


def test_mode_2_is_low_for_the_last_tick_of_each_period(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 2, 3)
    assert outputs(pit, time, 0, range(1, 10)) == "110110110"
    assert counts(pit, time, 0, range(10, 16)) == [3, 2, 1, 3, 2, 1]


def test_mode_2_takes_a_new_count_at_the_end_of_the_period(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 2, 4)
    to_tick(time, 2)
    out(pit, 0, 3, 0)
    assert counts(pit, time, 0, range(3, 10)) == [2, 1, 3, 2, 1, 3, 2]


def test_mode_2_restarts_with_the_gate(pit: Pit8254, time: GuestTime) -> None:
    out(pit, 4, 1)
    start(pit, 2, 2, 3)
    to_tick(time, 3)
    assert output(pit, 2) == 0
    out(pit, 4, 0)
    assert outputs(pit, time, 2, range(3, 9)) == "111111"
    out(pit, 4, 1)
    assert outputs(pit, time, 2, range(9, 13)) == "1101"


def test_mode_3_with_an_even_count_is_a_square_wave(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 3, 4)
    assert outputs(pit, time, 0, range(1, 10)) == "110011001"
    assert counts(pit, time, 0, range(13, 18)) == [4, 2, 4, 2, 4]


def test_mode_3_with_an_odd_count_is_high_one_tick_longer(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 3, 5)
    assert outputs(pit, time, 0, range(1, 12)) == "11100111001"
    assert counts(pit, time, 0, range(16, 22)) == [4, 2, 0, 4, 2, 4]


def test_mode_3_takes_a_new_count_at_the_end_of_the_half_cycle(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 3, 8)
    to_tick(time, 2)
    out(pit, 0, 4, 0)
    assert outputs(pit, time, 0, range(3, 13)) == "1100110011"


def test_mode_4_strobes_once(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 4, 3)
    assert outputs(pit, time, 0, range(8)) == "11110111"


def test_mode_5_strobes_after_the_gate(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 2, 5, 3)
    to_tick(time, 6)
    out(pit, 4, 1)
    assert outputs(pit, time, 2, range(6, 13)) == "1111011"


def test_modes_6_and_7_are_2_and_3_and_read_back_as_written(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 6, 3)
    to_tick(time, 2)
    assert status(pit, 0) == 0xBC
    assert outputs(pit, time, 0, range(2, 6)) == "1011"


def test_bcd_counts_in_decades(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 0, 0x1000, bcd=1)
    assert counts(pit, time, 0, range(1, 4)) == [0x1000, 0x0999, 0x0998]
    start(pit, 0, 2, 0, bcd=1)
    to_tick(time, 5)
    assert count(pit, 0) == 0x9999
    to_tick(time, 4 + 10_000)
    assert count(pit, 0) == 0


def test_a_count_of_zero_is_65536(pit: Pit8254, time: GuestTime, wire: Wire) -> None:
    start(pit, 0, 0, 0)
    to_tick(time, 65536)
    assert wire.levels == []
    to_tick(time, 65537)
    assert wire.levels == [True]


# Programming


def test_a_latched_count_stays_until_both_bytes_are_read(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 2, 0x1234)
    to_tick(time, 1)
    out(pit, 3, 0x00)
    to_tick(time, 100)
    out(pit, 3, 0x00)  # "The second Counter Latch Command is ignored."
    assert (pit.port_read(0, 1), pit.port_read(0, 1)) == (0x34, 0x12)
    assert (pit.port_read(0, 1), pit.port_read(0, 1)) == (0xD1, 0x11)  # Running: 0x1234 - 99.


def test_read_back_latches_several_counters_and_gives_the_status_first(pit: Pit8254, time: GuestTime) -> None:
    out(pit, 4, 1)
    start(pit, 0, 2, 0x0203)
    start(pit, 2, 3, 0x0405)
    to_tick(time, 1)
    out(pit, 3, 0xC0 | 0x0A)
    to_tick(time, 50)
    assert [pit.port_read(0, 1) for _ in range(3)] == [0xB4, 0x03, 0x02]
    assert [pit.port_read(2, 1) for _ in range(3)] == [0xB6, 0x04, 0x04]


def test_the_null_count_flag_tells_that_the_count_is_not_loaded_yet(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 2, 100)
    assert status(pit, 0) & 0x40
    to_tick(time, 1)
    assert not status(pit, 0) & 0x40
    out(pit, 0, 50, 0)
    assert status(pit, 0) & 0x40
    to_tick(time, 100)
    assert status(pit, 0) & 0x40
    to_tick(time, 101)
    assert not status(pit, 0) & 0x40


def test_single_byte_counts(pit: Pit8254, time: GuestTime) -> None:
    out(pit, 3, 0x14)
    out(pit, 0, 0x80)
    to_tick(time, 1)
    assert [pit.port_read(0, 1) for _ in range(2)] == [0x80, 0x80]
    out(pit, 3, 0x24)
    out(pit, 0, 0x80)
    to_tick(time, 3)
    assert pit.port_read(0, 1) == 0x7F  # High byte of 0x8000 less one tick.


def test_the_control_port_is_write_only(pit: Pit8254) -> None:
    assert pit.port_read(3, 1) == 0xFF


# The board's wiring


def test_counter_0_interrupts_at_the_exact_nanosecond_without_drift(pit: Pit8254, time: GuestTime) -> None:
    edges: list[int] = []
    pit = Pit8254(_Edges(time, edges).line, time.clock)
    start(pit, 0, 2, 11932)  # 100 Hz as old kernels do it.
    edges.clear()
    time.advance(10_000_000_000)
    assert edges == [ns_from_ticks(1 + 11932 * n, PIT_HZ) for n in range(1, 1001) if 1 + 11932 * n <= PIT_HZ * 10]


class _Edges(Wire):
    def __init__(self, time: GuestTime, edges: list[int]) -> None:
        super().__init__()
        self.line._handler = lambda level: edges.append(time.now) if level else None


def test_mode_3_interrupts_once_per_period(pit: Pit8254, time: GuestTime, wire: Wire) -> None:
    start(pit, 0, 3, 1000)
    to_tick(time, 1 + 5000)
    assert wire.levels.count(True) == 1 + 5  # The output is high from the control word on.


def test_mode_4_interrupts_when_the_strobe_ends(pit: Pit8254, time: GuestTime, wire: Wire) -> None:
    start(pit, 0, 4, 100)
    assert wire.levels == [True]
    to_tick(time, 101)
    assert wire.levels == [True]
    to_tick(time, 102)
    assert wire.levels == [True, False, True]
    to_tick(time, 1_000_000)
    assert wire.levels == [True, False, True]


def test_counters_1_and_2_need_no_timer(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 1, 2, 18)
    out(pit, 4, 1)
    start(pit, 2, 3, 1000)
    assert time.clock.next_deadline() is None


def test_a_one_shot_is_silent_after_its_end(pit: Pit8254, time: GuestTime, wire: Wire) -> None:
    start(pit, 0, 0, 1000)
    time.advance(10_000_000)
    assert wire.levels == [True]
    assert time.clock.next_deadline() is None


def test_a_divider_of_one_does_not_interrupt_for_ever(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 0, 2, 1)
    to_tick(time, 2)
    assert time.clock.next_deadline() is None
    assert output(pit, 0) == 1


def test_port_61_gates_and_reads_counter_2(pit: Pit8254, time: GuestTime) -> None:
    """The calibration loop of Linux: mode 0 on counter 2, wait for OUT2."""
    out(pit, 4, (pit.port_read(4, 1) & ~0x02) | 0x01)
    start(pit, 2, 0, 59659)
    assert not pit.port_read(4, 1) & 0x20
    to_tick(time, 59659)
    assert not pit.port_read(4, 1) & 0x20
    to_tick(time, 59660)
    assert pit.port_read(4, 1) & 0x20


def test_the_count_reads_as_written_right_after_the_write(pit: Pit8254) -> None:
    """The quick calibration of Linux reads without a pause that its guest time would notice."""
    out(pit, 4, 1)
    start(pit, 2, 0, 0xFFFF)
    assert (pit.port_read(2, 1), pit.port_read(2, 1)) == (0xFF, 0xFF)


def test_the_refresh_bit_toggles_every_18_ticks(pit: Pit8254, time: GuestTime) -> None:
    bits = []
    for tick in range(0, 72, 9):
        to_tick(time, tick)
        bits.append(pit.port_read(4, 1) >> 4 & 1)
    assert bits == [0, 0, 1, 1, 0, 0, 1, 1]


def test_port_61_keeps_its_low_four_bits_only(pit: Pit8254) -> None:
    out(pit, 4, 0xFF)
    assert pit.port_read(4, 1) & 0xCF == 0x0F


def test_the_speaker_sounds_with_both_bits_and_a_square_wave(pit: Pit8254, time: GuestTime) -> None:
    start(pit, 2, 3, 1193)
    assert pit.speaker_hz == 0.0
    out(pit, 4, 3)
    to_tick(time, 5)
    assert pit.speaker_hz == pytest.approx(1000.15, abs=0.01)
    out(pit, 4, 1)
    assert pit.speaker_hz == 0.0


def test_a_restored_timer_goes_on_as_the_saved_one(pit: Pit8254, time: GuestTime, wire: Wire) -> None:
    start(pit, 0, 3, 1000)
    out(pit, 0, 0xF4, 0x01)
    out(pit, 4, 1)
    start(pit, 2, 2, 77)
    to_tick(time, 300)
    state = pit.save()
    copied = Wire()
    other = Pit8254(copied.line, time.clock)
    other.restore(state)
    assert other.save() == state
    assert copied.levels == []
    wire.levels.clear()
    to_tick(time, 5000)
    assert copied.levels == wire.levels
    assert len(wire.levels) > 8
    assert other.save() == pit.save()
    assert count(other, 2) == count(pit, 2)


@pytest.mark.parametrize("seed", range(40))
def test_port_61_reads_the_same_until_it_says_so(seed: int) -> None:
    """What the engine may answer by itself is what the device would have answered."""
    random = Random(seed)
    time = GuestTime()
    pit = Pit8254(Wire().line, time.clock)
    promises = 0
    for _ in range(60):
        match random.randrange(4):
            case 0:
                start(pit, 2, random.randrange(6), random.choice((1, 2, 3, 5, 17, 40, 300)), 0)
            case 1:
                out(pit, 4, random.randrange(4))
            case 2:
                out(pit, 2, *random.choices((0, 1, 2, 9, 30), k=random.randrange(3)))
            case _:
                pass
        for _ in range(random.randrange(4)):
            value, until = pit.port_read(4, 1), pit.cells.until
            assert until > time.now
            assert pit.cells.values[4] == value
            # At all ticks up to there another PIT in the same state gives it too.
            other = Pit8254(Wire().line, time.clock)
            other.restore(pit.save())
            while time.now < until:
                assert other.port_read(4, 1) == value
                promises += 1
                time.advance(min(ns_from_ticks(1, PIT_HZ), until - time.now))
    assert promises > 20


@pytest.mark.parametrize("port", range(5))
def test_every_write_ends_what_port_61_has_promised(pit: Pit8254, port: int) -> None:
    pit.port_read(4, 1)
    assert pit.cells.until > 0
    out(pit, port, 0)
    assert pit.cells.until == 0
