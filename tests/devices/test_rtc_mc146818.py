from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest
from workbench import GuestTime, Wire

from vmcore.devices.rtc_mc146818 import RtcMc146818
from vmcore.model.events import Event, RtcChange

A, B, C, D = 10, 11, 12, 13
SECOND = 1_000_000_000
START = int(datetime(2026, 2, 28, 23, 59, 58, tzinfo=UTC).timestamp())


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def rtc(time: GuestTime, wire: Wire, events: list[Event]) -> RtcMc146818:
    return RtcMc146818(wire.line, time.clock, events.append, start=START, contents={0x14: 0x2F})


def read(rtc: RtcMc146818, index: int) -> int:
    rtc.port_write(0, index, 1)
    return rtc.port_read(1, 1)


def write(rtc: RtcMc146818, index: int, value: int) -> None:
    rtc.port_write(0, index, 1)
    rtc.port_write(1, value, 1)


def show(rtc: RtcMc146818) -> str:
    century, year, month, day, hour, minute, second = (read(rtc, index) for index in (0x32, 9, 8, 7, 4, 2, 0))
    return f"{century:02x}{year:02x}-{month:02x}-{day:02x} {hour:02x}:{minute:02x}:{second:02x}"


def set_clock(rtc: RtcMc146818, *values: int) -> None:
    """Second, minute, hour, weekday, day, month, year, century."""
    write(rtc, B, read(rtc, B) | 0x80)
    for index, value in zip((0, 2, 4, 6, 7, 8, 9, 0x32), values, strict=True):
        write(rtc, index, value)
    write(rtc, B, read(rtc, B) & 0x7F)


def test_it_shows_the_configured_start_and_goes_on_in_guest_time(rtc: RtcMc146818, time: GuestTime) -> None:
    assert show(rtc) == "2026-02-28 23:59:58"
    time.advance(1_999_999_999)
    assert show(rtc) == "2026-02-28 23:59:59"
    time.advance(1)
    assert show(rtc) == "2026-03-01 00:00:00"


def test_the_day_of_the_week_is_right_and_counts_from_sunday(rtc: RtcMc146818, time: GuestTime) -> None:
    assert read(rtc, 6) == 7  # 2026-02-28 is a Saturday.
    time.advance(2 * SECOND)
    assert read(rtc, 6) == 1


def test_power_on_values(rtc: RtcMc146818) -> None:
    assert (read(rtc, A), read(rtc, B), read(rtc, C), read(rtc, D)) == (0x26, 0x02, 0, 0x80)
    assert read(rtc, 0x14) == 0x2F
    assert rtc.port_read(0, 1) == 0xFF


def test_memory_is_storage_and_the_index_wraps_at_128(rtc: RtcMc146818) -> None:
    write(rtc, 0x7F, 0x5A)
    assert read(rtc, 0x7F) == 0x5A
    rtc.poke(0x34, 0x99)
    assert read(rtc, 0x34) == 0x99


def test_registers_c_and_d_cannot_be_written(rtc: RtcMc146818) -> None:
    write(rtc, C, 0xFF)
    write(rtc, D, 0x00)
    assert (read(rtc, C), read(rtc, D)) == (0, 0x80)


def test_bit_7_of_the_index_masks_nmi(time: GuestTime, wire: Wire) -> None:
    masks: list[bool] = []
    rtc = RtcMc146818(wire.line, time.clock, on_nmi_mask=masks.append)
    assert read(rtc, 0x80 | D) == 0x80
    assert rtc.nmi_masked
    read(rtc, 0x80 | D)
    read(rtc, D)
    assert masks == [True, False]


def test_update_in_progress_covers_the_end_of_each_second(rtc: RtcMc146818, time: GuestTime) -> None:
    time.advance(SECOND - 2_228_000 - 1)
    assert not read(rtc, A) & 0x80
    time.advance(1)
    assert read(rtc, A) & 0x80
    time.advance(2_227_999)
    assert read(rtc, A) & 0x80
    assert read(rtc, 0) == 0x58
    time.advance(1)
    assert not read(rtc, A) & 0x80
    assert read(rtc, 0) == 0x59


def test_binary_mode_and_twelve_hours(rtc: RtcMc146818, time: GuestTime) -> None:
    write(rtc, B, 0x06)
    assert [read(rtc, index) for index in (4, 2, 0)] == [23, 59, 58]
    write(rtc, B, 0x00)
    assert read(rtc, 4) == 0x91  # 11 PM
    time.advance(2 * SECOND)
    assert read(rtc, 4) == 0x12  # 12 AM
    time.advance(3600 * SECOND)
    assert read(rtc, 4) == 0x01
    time.advance(11 * 3600 * SECOND)
    assert read(rtc, 4) == 0x92  # 12 PM
    write(rtc, B, 0x04)
    assert read(rtc, 4) == 0x8C


def test_setting_the_clock_keeps_the_phase_of_the_second(rtc: RtcMc146818, time: GuestTime) -> None:
    time.advance(300_000_000)
    set_clock(rtc, 0x59, 0x59, 0x23, 0x05, 0x31, 0x12, 0x99, 0x19)
    assert show(rtc) == "1999-12-31 23:59:59"
    time.advance(699_999_999)
    assert show(rtc) == "1999-12-31 23:59:59"
    time.advance(1)
    assert show(rtc) == "2000-01-01 00:00:00"
    assert read(rtc, 6) == 6


def test_setting_the_clock_tells_by_how_much(rtc: RtcMc146818, time: GuestTime, events: list[Event]) -> None:
    time.advance(10 * SECOND)
    set_clock(rtc, 0x08, 0x00, 0x01, 0x01, 0x01, 0x03, 0x26, 0x20)
    assert events == [RtcChange(offset=3600, qom_path="/machine/rtc")]
    assert rtc.seconds == START + 10 + 3600


def test_a_write_without_set_takes_effect_at_once(rtc: RtcMc146818, time: GuestTime, events: list[Event]) -> None:
    write(rtc, 4, 0x20)
    assert show(rtc) == "2026-02-28 20:59:58"
    assert events == [RtcChange(offset=-3 * 3600, qom_path="/machine/rtc")]


def test_set_without_a_write_tells_nothing(rtc: RtcMc146818, time: GuestTime, events: list[Event]) -> None:
    write(rtc, B, 0x82)
    time.advance(5 * SECOND)
    assert show(rtc) == "2026-02-28 23:59:58"
    assert not read(rtc, A) & 0x80
    write(rtc, B, 0x02)
    time.advance(SECOND)
    assert show(rtc) == "2026-02-28 23:59:59"
    assert events == []


def test_bytes_read_back_as_written_while_set(rtc: RtcMc146818) -> None:
    write(rtc, B, 0x82)
    for index in (0, 2, 4, 6, 7, 8, 9, 0x32):
        write(rtc, index, 0xEE)
    assert [read(rtc, index) for index in (0, 2, 4, 6, 7, 8, 9, 0x32)] == [0xEE] * 8
    write(rtc, B, 0x02)
    assert read(rtc, 0) <= 0x59


def test_every_set_of_bytes_runs_on_without_an_error(rtc: RtcMc146818, time: GuestTime) -> None:
    for value in range(256):
        for mode in (0x00, 0x02, 0x04, 0x06):
            write(rtc, B, 0x80 | mode)
            for index in (0, 2, 4, 6, 7, 8, 9, 0x32):
                write(rtc, index, value)
            write(rtc, B, mode)
            time.advance(SECOND)
            assert 1 <= (read(rtc, 7) & 0x3F) <= 0x31


def test_an_impossible_date_counts_on(rtc: RtcMc146818) -> None:
    set_clock(rtc, 0, 0, 0, 1, 0x31, 0x02, 0x24, 0x20)
    assert show(rtc) == "2024-03-02 00:00:00"


def test_the_divider_in_reset_stops_the_clock_and_the_first_update_comes_half_a_second_later(
    rtc: RtcMc146818, time: GuestTime
) -> None:
    write(rtc, A, 0x76)
    time.advance(10 * SECOND)
    assert show(rtc) == "2026-02-28 23:59:58"
    write(rtc, A, 0x26)
    time.advance(499_999_999)
    assert read(rtc, 0) == 0x58
    time.advance(1)
    assert read(rtc, 0) == 0x59


# Interrupts


def test_the_update_ended_interrupt_comes_each_second_until_set_clears_its_enable(
    rtc: RtcMc146818, time: GuestTime, wire: Wire
) -> None:
    write(rtc, B, 0x12)
    time.advance(SECOND - 1)
    assert wire.levels == []
    time.advance(1)
    assert wire.levels == [True]
    assert read(rtc, C) == 0x90 | 0x40  # The periodic flag is set all the same.
    assert wire.levels == [True, False]
    write(rtc, B, 0x92)
    assert read(rtc, B) == 0x82


def test_the_periodic_interrupt_has_the_chosen_rate(rtc: RtcMc146818, time: GuestTime, wire: Wire) -> None:
    write(rtc, B, 0x42)
    edges = 0
    for _ in range(1024):
        time.advance(SECOND // 1024 + 1)
        edges += wire.high()
        read(rtc, C)
    assert edges == 1024


@pytest.mark.parametrize(
    ("rate", "hz"), [(0, 0), (1, 256), (2, 128)] + [(rate, 32768 >> rate - 1) for rate in range(3, 16)]
)
def test_the_rates_of_the_periodic_interrupt(rtc: RtcMc146818, time: GuestTime, rate: int, hz: int) -> None:
    write(rtc, A, 0x20 | rate)
    write(rtc, B, 0x42)
    read(rtc, C)
    interrupts = []
    for _ in range(5):
        deadline = time.clock.next_deadline()
        if deadline is not None:
            time.advance(deadline - time.now)
            assert read(rtc, C) & 0xC0 == 0xC0
            interrupts.append(time.now)
    assert interrupts == ([-(-number * SECOND // hz) for number in range(1, 6)] if hz else [])


def test_flags_are_set_without_their_enables_and_do_not_raise_the_line(
    rtc: RtcMc146818, time: GuestTime, wire: Wire
) -> None:
    time.advance(3 * SECOND)
    assert time.clock.next_deadline() is None
    assert read(rtc, C) == 0x70  # The alarm bytes are 0: it was midnight.
    assert read(rtc, C) == 0
    assert wire.levels == []


def test_enabling_an_interrupt_whose_flag_is_set_raises_the_line(rtc: RtcMc146818, time: GuestTime, wire: Wire) -> None:
    time.advance(SECOND)
    write(rtc, B, 0x12)
    assert wire.levels == [True]


@pytest.mark.parametrize(
    ("hour", "minute", "second", "after"),
    [
        (0x00, 0x00, 0x05, 7),
        (0x23, 0x59, 0x59, 1),
        (0x23, 0x59, 0x58, 86_400),
        (0xFF, 0x00, 0x05, 7),
        (0xC0, 0xFF, 0x57, 59),
        (0xFF, 0xFF, 0xFF, 1),
        (0x01, 0xFF, 0xFF, 3602),
        (0x01, 0xFF, 0x07, 3609),
        (0xFF, 0x30, 0xFF, 1802),
    ],
)
def test_the_alarm_comes_when_all_bytes_match(
    rtc: RtcMc146818, time: GuestTime, wire: Wire, hour: int, minute: int, second: int, after: int
) -> None:
    for index, value in ((5, hour), (3, minute), (1, second)):
        write(rtc, index, value)
    write(rtc, B, 0x22)
    time.advance(after * SECOND - 1)
    assert wire.levels == []
    time.advance(1)
    assert wire.levels == [True]
    assert read(rtc, C) & 0xA0 == 0xA0


@pytest.mark.parametrize("seed", range(60))
def test_alarms_at_random_come_at_the_first_second_that_matches(time: GuestTime, wire: Wire, seed: int) -> None:
    random = Random(seed)
    start = random.randrange(86_400)
    rtc = RtcMc146818(wire.line, time.clock, start=START // 86_400 * 86_400 + start)
    write(rtc, B, random.choice((0x02, 0x06)))
    alarm = [random.choice((0xC5, random.randrange(limit), random.randrange(limit))) for limit in (24, 60, 60)]
    for index, value in zip((5, 3, 1), alarm, strict=True):
        binary = read(rtc, B) & 4 or value == 0xC5
        write(rtc, index, value if binary else value // 10 << 4 | value % 10)
    write(rtc, B, read(rtc, B) | 0x20)
    hours, minutes, seconds = (
        range(limit) if value == 0xC5 else (value,) for value, limit in zip(alarm, (24, 60, 60), strict=True)
    )
    matches = [h * 3600 + m * 60 + s for h in hours for m in minutes for s in seconds]
    after = min((match - start - 1) % 86_400 + 1 for match in matches)
    assert time.clock.next_deadline() == after * SECOND


def test_an_alarm_that_cannot_match_never_comes(rtc: RtcMc146818, time: GuestTime, wire: Wire) -> None:
    write(rtc, 5, 0x24)
    write(rtc, B, 0x22)
    assert time.clock.next_deadline() is None
    time.advance(2 * 86_400 * SECOND)
    assert not read(rtc, C) & 0x20


def test_an_alarm_in_twelve_hour_mode(rtc: RtcMc146818, time: GuestTime, wire: Wire) -> None:
    write(rtc, B, 0x20)
    read(rtc, C)
    write(rtc, 5, 0x12)
    write(rtc, 3, 0x00)
    write(rtc, 1, 0x00)
    time.advance(2 * SECOND)
    assert wire.levels == [True]


def test_reset_clears_enables_and_flags_but_not_the_time(rtc: RtcMc146818, time: GuestTime, wire: Wire) -> None:
    write(rtc, 0x40, 0x77)
    write(rtc, B, 0x76)
    time.advance(SECOND)
    assert wire.high()
    rtc.reset()
    assert not wire.high()
    assert read(rtc, B) == 0x06
    assert read(rtc, C) == 0
    assert read(rtc, 0x40) == 0x77
    assert read(rtc, 0) == 59


def test_reset_opens_nmi_again(rtc: RtcMc146818) -> None:
    rtc.port_write(0, 0x8F, 1)
    rtc.reset()
    assert not rtc.nmi_masked


def test_a_month_beyond_december_counts_into_the_next_year(rtc: RtcMc146818) -> None:
    set_clock(rtc, 0, 0, 0, 1, 0x10, 0x14, 0x99, 0x19)
    assert show(rtc) == "2000-02-10 00:00:00"
    assert rtc.seconds == int(datetime(2000, 2, 10, tzinfo=UTC).timestamp())


def test_what_it_shows_while_it_stands_is_what_the_bytes_say(rtc: RtcMc146818) -> None:
    write(rtc, B, 0x82)
    write(rtc, 4, 0x12)
    assert rtc.seconds == START - 11 * 3600
    assert rtc.peek(4) == 0x12


def test_looking_at_register_c_from_outside_clears_nothing(rtc: RtcMc146818, time: GuestTime) -> None:
    write(rtc, B, 0x12)
    time.advance(SECOND)
    assert rtc.peek(C) & 0x90 == 0x90
    assert read(rtc, C) & 0x90 == 0x90


def test_a_restored_clock_interrupts_when_the_saved_one_would(rtc: RtcMc146818, time: GuestTime, wire: Wire) -> None:
    write(rtc, A, 0x2B)
    write(rtc, B, 0x52)
    time.advance(10_000_000)
    state = rtc.save()
    other = Wire()
    copy = RtcMc146818(other.line, time.clock, start=START)
    copy.restore(state)
    assert copy.save() == state
    for _ in range(100):
        time.advance(12_345_678)
        assert other.levels == wire.levels
        assert read(copy, C) == read(rtc, C)
    assert len(wire.levels) > 50
