from __future__ import annotations

import pytest
from workbench import GuestTime, Wire

from vmcore.devices.acpi_pm import PM_TIMER_HZ, PWRBTN, AcpiPm, SleepState
from vmcore.hardware import ns_from_ticks

PM1_STS, PM1_EN, PM1_CNT, PM_TMR, GPE0_STS, GPE0_EN, SMI_CMD = 0, 2, 4, 8, 0x20, 0x22, 0x40


@pytest.fixture
def slept() -> list[SleepState]:
    return []


@pytest.fixture
def pm(time: GuestTime, wire: Wire, slept: list[SleepState]) -> AcpiPm:
    return AcpiPm(wire.line, time.clock, slept.append)


def acpi_mode(pm: AcpiPm) -> None:
    pm.port_write(SMI_CMD, 0xF1, 1)


def test_the_timer_counts_at_3579545_hz_and_wraps_at_24_bits(pm: AcpiPm, time: GuestTime) -> None:
    assert pm.port_read(PM_TMR, 4) == 0
    time.advance(1_000_000_000)
    assert pm.port_read(PM_TMR, 4) == 3_579_545
    time.advance(ns_from_ticks(1 << 24, PM_TIMER_HZ) - 1 - time.now)
    assert pm.port_read(PM_TMR, 4) == 0xFF_FFFF
    time.advance(1)
    assert pm.port_read(PM_TMR, 4) == 0


def test_the_timer_can_have_32_bits(time: GuestTime, wire: Wire) -> None:
    pm = AcpiPm(wire.line, time.clock, lambda state: None, timer_bits=32)
    time.advance(ns_from_ticks(1 << 24, PM_TIMER_HZ))
    assert pm.port_read(PM_TMR, 4) == 1 << 24


def test_the_timer_ignores_writes_and_reads_in_parts(pm: AcpiPm, time: GuestTime) -> None:
    time.advance(1_000_000_000)
    pm.port_write(PM_TMR, 0, 4)
    assert pm.port_read(PM_TMR, 2) == 3_579_545 & 0xFFFF
    assert pm.port_read(PM_TMR + 2, 1) == 3_579_545 >> 16


def test_the_command_port_turns_acpi_mode_on_and_off(pm: AcpiPm) -> None:
    assert pm.port_read(PM1_CNT, 2) == 0
    acpi_mode(pm)
    assert pm.port_read(PM1_CNT, 2) == 1
    assert pm.acpi_mode
    pm.port_write(SMI_CMD, 0xF0, 1)
    assert pm.port_read(PM1_CNT, 2) == 0


def test_other_commands_go_to_firmware(time: GuestTime, wire: Wire) -> None:
    commands: list[int] = []
    pm = AcpiPm(wire.line, time.clock, lambda state: None, on_smi=commands.append)
    pm.port_write(SMI_CMD, 0x42, 1)
    pm.port_write(SMI_CMD + 1, 0x17, 1)
    assert commands == [0x42]
    assert pm.port_read(SMI_CMD, 2) == 0x1742


def test_the_power_button_raises_the_sci_when_enabled(pm: AcpiPm, wire: Wire) -> None:
    acpi_mode(pm)
    pm.power_button()
    assert wire.levels == []
    assert pm.port_read(PM1_STS, 2) == PWRBTN
    pm.port_write(PM1_EN, PWRBTN, 2)
    assert wire.levels == [True]
    pm.port_write(PM1_STS, 0, 2)
    assert wire.levels == [True]
    pm.port_write(PM1_STS, PWRBTN, 2)
    assert wire.levels == [True, False]
    assert pm.port_read(PM1_STS, 2) == 0


def test_outside_acpi_mode_there_is_no_sci(pm: AcpiPm, wire: Wire) -> None:
    pm.port_write(PM1_EN, PWRBTN, 2)
    pm.power_button()
    assert wire.levels == []
    acpi_mode(pm)
    assert wire.levels == [True]


def test_clearing_by_bytes_leaves_the_other_byte_alone(pm: AcpiPm) -> None:
    pm.power_button()
    pm.woken()
    pm.port_write(PM1_STS + 1, 0x80, 1)
    assert pm.port_read(PM1_STS, 2) == PWRBTN


def test_nothing_can_be_set_in_the_status_by_a_write(pm: AcpiPm) -> None:
    pm.port_write(PM1_STS, 0xFFFF, 2)
    pm.port_write(GPE0_STS, 0xFFFF, 2)
    assert (pm.port_read(PM1_STS, 2), pm.port_read(GPE0_STS, 2)) == (0, 0)


def test_only_events_can_be_enabled(pm: AcpiPm) -> None:
    pm.port_write(PM1_EN, 0xFFFF, 2)
    assert pm.port_read(PM1_EN, 2) == 0x0721


def test_the_carry_of_the_timer_sets_its_status_at_each_change_of_the_highest_bit(pm: AcpiPm, time: GuestTime) -> None:
    half = ns_from_ticks(1 << 23, PM_TIMER_HZ)
    time.advance(half - 1)
    assert not pm.port_read(PM1_STS, 2) & 1
    time.advance(1)
    assert pm.port_read(PM1_STS, 2) & 1
    pm.port_write(PM1_STS, 1, 2)
    assert not pm.port_read(PM1_STS, 2) & 1
    time.advance(half)
    assert pm.port_read(PM1_STS, 2) & 1
    assert time.clock.next_deadline() is None


def test_the_carry_interrupts_when_enabled(pm: AcpiPm, time: GuestTime, wire: Wire) -> None:
    acpi_mode(pm)
    pm.port_write(PM1_EN, 1, 2)
    assert time.clock.next_deadline() == ns_from_ticks(1 << 23, PM_TIMER_HZ)
    time.advance(3_000_000_000)
    assert wire.levels == [True]
    assert time.clock.next_deadline() is None
    pm.port_write(PM1_STS, 1, 2)
    assert wire.levels == [True, False]
    assert time.clock.next_deadline() == ns_from_ticks(2 << 23, PM_TIMER_HZ)


def test_sleep_type_0_is_power_off(pm: AcpiPm, slept: list[SleepState]) -> None:
    pm.port_write(PM1_CNT, 0x0001, 2)
    assert slept == []
    pm.port_write(PM1_CNT, 0x2000, 2)
    assert slept == [SleepState.S5]
    assert pm.port_read(PM1_CNT, 2) == 0


def test_other_sleep_types_are_what_the_board_says(pm: AcpiPm, slept: list[SleepState]) -> None:
    pm.port_write(PM1_CNT, 0x2401, 2)
    pm.port_write(PM1_CNT, 0x3C01, 2)
    assert slept == [SleepState.S3]
    assert pm.port_read(PM1_CNT, 2) == 0x1C01


def test_waking_sets_its_status(pm: AcpiPm) -> None:
    pm.woken(by=PWRBTN)
    assert pm.port_read(PM1_STS, 2) == 0x8100
    pm.rtc_alarm()
    pm.sleep_button()
    assert pm.port_read(PM1_STS, 2) == 0x8700


def test_general_purpose_events_share_the_sci(pm: AcpiPm, wire: Wire) -> None:
    acpi_mode(pm)
    pm.port_write(GPE0_EN, 0x0002, 2)
    pm.general_event(0)
    assert wire.levels == []
    pm.general_event(1)
    assert wire.levels == [True]
    assert pm.port_read(GPE0_STS, 2) == 3
    pm.port_write(GPE0_STS, 2, 1)
    assert wire.levels == [True, False]
    assert pm.port_read(GPE0_STS, 2) == 1


def test_reset_leaves_acpi_mode(pm: AcpiPm, time: GuestTime, wire: Wire) -> None:
    acpi_mode(pm)
    pm.port_write(PM1_EN, PWRBTN, 2)
    pm.power_button()
    time.advance(2_500_000_000)
    pm.reset()
    assert wire.levels == [True, False]
    assert [pm.port_read(port, 2) for port in (PM1_STS, PM1_EN, PM1_CNT)] == [0, 0, 0]
    assert pm.port_read(PM_TMR, 4) == 2_500_000_000 * PM_TIMER_HZ // 1_000_000_000


def test_a_restored_timer_carries_when_the_saved_one_would(pm: AcpiPm, time: GuestTime, wire: Wire) -> None:
    acpi_mode(pm)
    pm.port_write(PM1_EN, 1, 2)
    time.advance(1_000_000)
    state = pm.save()
    other = Wire()
    copy = AcpiPm(other.line, time.clock, lambda sleep: None)
    copy.restore(state)
    assert copy.save() == state
    time.advance(3_000_000_000)
    assert other.levels == wire.levels == [True]
