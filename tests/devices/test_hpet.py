"""The event timers: the counter, comparators, interrupts and legacy replacement."""

from __future__ import annotations

import pytest
from factories import Surroundings

from vmcore.devices.hpet import Hpet

CONF, STATUS, COUNTER = 0x10, 0x20, 0xF0
CONFIG, COMPARATOR = 0x100, 0x108
ENABLE, LEGACY = 1, 2
LEVEL, INTERRUPT, PERIODIC, SET_VALUE, MODE_32 = 2, 4, 8, 0x40, 0x100


def made() -> tuple[Hpet, Surroundings]:
    around = Surroundings()
    inputs = [around.told(f"input{number}") for number in range(24)]
    return Hpet(around.clock, around.line("irq0"), around.line("irq8"), inputs, 0xF00000), around


def test_the_capabilities_tell_three_timers_and_ten_nanoseconds() -> None:
    chip, _ = made()
    assert chip.mmio_read(0, 8) == 0x0098_9680_8086_A201
    assert chip.mmio_read(4, 4) == 10_000_000
    assert chip.mmio_read(CONFIG, 8) == 0x00F0_0000_0000_0030


def test_the_counter_runs_while_it_is_enabled_and_can_be_set_while_it_stands() -> None:
    chip, around = made()
    around.time.advance(1000)
    assert chip.mmio_read(COUNTER, 8) == 0
    chip.mmio_write(COUNTER, 0xFFFF_FFFF, 8)
    chip.mmio_write(CONF, ENABLE, 4)
    around.time.advance(25)
    assert chip.mmio_read(COUNTER, 8) == 0x1_0000_0001
    assert chip.mmio_read(COUNTER + 4, 4) == 1
    chip.mmio_write(CONF, 0, 4)
    around.time.advance(1000)
    assert chip.mmio_read(COUNTER, 8) == 0x1_0000_0001


def test_the_first_timers_take_the_lines_of_the_8254_and_the_rtc() -> None:
    chip, around = made()
    chip.pit.pulse()
    assert around.log == [("irq0", True), ("irq0", False)]
    around.log.clear()
    chip.mmio_write(CONF, ENABLE | LEGACY, 4)
    chip.pit.pulse()
    chip.rtc.pulse()
    assert around.log == []
    for timer, irq in ((0, "irq0"), (1, "irq8")):
        chip.mmio_write(CONFIG + 0x20 * timer, INTERRUPT, 8)
        now = chip.mmio_read(COUNTER, 8)
        chip.mmio_write(COMPARATOR + 0x20 * timer, now + 100, 8)
        around.time.advance(999)
        assert around.log == []
        around.time.advance(1)
        assert around.log == [(irq, True), (irq, False)]
        around.log.clear()


@pytest.mark.parametrize("width", [0, MODE_32])
def test_a_periodic_timer_starts_where_it_is_told_and_goes_on_by_its_period(width: int) -> None:
    chip, around = made()
    chip.mmio_write(CONF, ENABLE | LEGACY, 4)
    chip.mmio_write(CONFIG, INTERRUPT | PERIODIC | SET_VALUE | width, 4)
    chip.mmio_write(COMPARATOR, 50, 4 if width else 8)
    chip.mmio_write(COMPARATOR, 30, 4 if width else 8)
    fired = []
    for _ in range(200):
        around.time.advance(10)
        if around.log:
            fired.append(chip.mmio_read(COUNTER, 8))
            around.log.clear()
    assert fired == [50, 80, 110, 140, 170, 200]
    assert chip.mmio_read(COMPARATOR, 8) == 230


def test_a_level_interrupt_stays_until_its_status_is_cleared() -> None:
    chip, around = made()
    chip.mmio_write(CONF, ENABLE, 4)
    chip.mmio_write(CONFIG + 0x40, INTERRUPT | LEVEL | 21 << 9, 4)
    chip.mmio_write(COMPARATOR + 0x40, 10, 8)
    around.time.advance(200)
    assert around.log == [("input21", True)]
    assert chip.mmio_read(STATUS, 4) == 4
    chip.mmio_write(STATUS, 4, 4)
    assert around.log[1:] == [("input21", False)]


def test_a_comparator_of_32_bits_fires_again_after_the_counter_has_come_round() -> None:
    chip, around = made()
    chip.mmio_write(COUNTER, 0xFFFF_FF00, 8)
    chip.mmio_write(CONFIG, INTERRUPT | MODE_32, 4)
    chip.mmio_write(COMPARATOR, 0x10, 4)
    chip.mmio_write(CONF, ENABLE | LEGACY, 4)
    around.time.advance(0x110 * 10)
    assert around.log == [("irq0", True), ("irq0", False)]
    around.time.advance((1 << 32) * 10 - 1)
    assert len(around.log) == 2
    around.time.advance(1)
    assert len(around.log) == 4


def test_the_engines_counter_is_the_devices() -> None:
    chip, _ = made()
    counter = chip.counter
    assert counter is not None
    assert counter.state[0] == 0
    chip.mmio_write(CONF, ENABLE, 4)
    assert counter.state[0] == 1
    chip.reset()
    assert counter.state[0] == 0
