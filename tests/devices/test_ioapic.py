from __future__ import annotations

import pytest
from workbench import GuestTime, Wire

from vmcore.devices.apic_bus import ApicBus
from vmcore.devices.ioapic import IoApic
from vmcore.devices.local_apic import LocalApic

SELECT, WINDOW, EOI = 0x00, 0x10, 0x40
LEVEL, MASKED, REMOTE_IRR, LOW = 1 << 15, 1 << 16, 1 << 14, 1 << 13


@pytest.fixture
def bus() -> ApicBus:
    return ApicBus()


@pytest.fixture
def ioapic(bus: ApicBus) -> IoApic:
    return IoApic(bus, apic_id=2)


@pytest.fixture
def cpu(bus: ApicBus, time: GuestTime, wire: Wire) -> LocalApic:
    apic = LocalApic(bus, time.clock, wire.line, acknowledge_extint=lambda: 0x08)
    apic.mmio_write(0xF0, 0x1FF, 4)
    return apic


def read(ioapic: IoApic, index: int) -> int:
    ioapic.mmio_write(SELECT, index, 4)
    return ioapic.mmio_read(WINDOW, 4)


def write(ioapic: IoApic, index: int, value: int) -> None:
    ioapic.mmio_write(SELECT, index, 4)
    ioapic.mmio_write(WINDOW, value, 4)


def program(ioapic: IoApic, pin: int, entry: int, destination: int = 0) -> None:
    write(ioapic, 0x11 + 2 * pin, destination << 24)
    write(ioapic, 0x10 + 2 * pin, entry)


def finish(cpu: LocalApic) -> int:
    vector = cpu.acknowledge()
    cpu.mmio_write(0xB0, 0, 4)
    return vector


def test_power_on_values(ioapic: IoApic) -> None:
    assert read(ioapic, 0) == 2 << 24
    assert read(ioapic, 1) == 0x0017_0020
    assert read(ioapic, 2) == 2 << 24
    assert [read(ioapic, 0x10 + index) for index in range(48)] == [MASKED, 0] * 24
    assert read(ioapic, 0x40) == read(ioapic, 5) == 0


def test_the_id_has_four_bits(ioapic: IoApic) -> None:
    write(ioapic, 0, 0xFFFF_FFFF)
    assert read(ioapic, 0) == read(ioapic, 2) == 0x0F00_0000


def test_read_only_bits_and_registers_do_not_change(ioapic: IoApic) -> None:
    for index in (1, 2, 0x40):
        write(ioapic, index, 0xFFFF_FFFF)
    assert (read(ioapic, 1), read(ioapic, 2)) == (0x0017_0020, 2 << 24)
    program(ioapic, 3, 0xFFFF_FFFF, 0xFF)
    assert (read(ioapic, 0x16), read(ioapic, 0x17)) == (0x0001_AFFF, 0xFF00_0000)


def test_the_select_register_is_a_byte(ioapic: IoApic) -> None:
    ioapic.mmio_write(SELECT, 0xABCD_0001, 4)
    assert ioapic.mmio_read(SELECT, 4) == 1
    ioapic.mmio_write(SELECT, 0x10, 1)
    assert ioapic.mmio_read(WINDOW, 4) == MASKED


def test_an_edge_sends_once(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 2, 0x30)
    ioapic.set_input(2, True)
    assert finish(cpu) == 0x30
    assert not wire.high()
    ioapic.set_input(2, False)
    ioapic.set_input(2, True)
    assert finish(cpu) == 0x30


def test_an_edge_at_a_masked_input_is_lost(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 2, 0x30 | MASKED)
    ioapic.set_input(2, True)
    program(ioapic, 2, 0x30)
    assert not wire.high()


def test_a_level_sends_until_it_falls_and_waits_for_each_eoi(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 9, 0x39 | LEVEL)
    ioapic.set_input(9, True)
    assert read(ioapic, 0x10 + 18) == 0x39 | LEVEL | REMOTE_IRR
    assert cpu.acknowledge() == 0x39
    ioapic.set_input(9, False)
    ioapic.set_input(9, True)
    assert not wire.high()
    cpu.mmio_write(0xB0, 0, 4)
    assert finish(cpu) == 0x39
    assert wire.high()
    ioapic.set_input(9, False)
    assert finish(cpu) == 0x39
    assert not wire.high()
    assert read(ioapic, 0x10 + 18) == 0x39 | LEVEL


def test_unmasking_a_level_that_is_asserted_sends_it(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 9, 0x39 | LEVEL | MASKED)
    ioapic.set_input(9, True)
    assert not wire.high()
    program(ioapic, 9, 0x39 | LEVEL)
    assert wire.high()


def test_masking_keeps_remote_irr_and_the_eoi_then_sends_nothing(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 9, 0x39 | LEVEL)
    ioapic.set_input(9, True)
    program(ioapic, 9, 0x39 | LEVEL | MASKED)
    assert read(ioapic, 0x10 + 18) & REMOTE_IRR
    assert finish(cpu) == 0x39
    assert not wire.high()
    program(ioapic, 9, 0x39 | LEVEL)
    assert wire.high()


def test_the_eoi_register_ends_a_vector(ioapic: IoApic, cpu: LocalApic) -> None:
    program(ioapic, 9, 0x39 | LEVEL)
    ioapic.set_input(9, True)
    ioapic.set_input(9, False)
    ioapic.mmio_write(EOI, 0x38, 4)
    assert read(ioapic, 0x10 + 18) & REMOTE_IRR
    ioapic.mmio_write(EOI, 0x39, 4)
    assert not read(ioapic, 0x10 + 18) & REMOTE_IRR


def test_turning_an_entry_to_edge_clears_remote_irr(ioapic: IoApic, cpu: LocalApic) -> None:
    program(ioapic, 9, 0x39 | LEVEL)
    ioapic.set_input(9, True)
    program(ioapic, 9, 0x39 | MASKED)
    program(ioapic, 9, 0x39 | LEVEL | MASKED)
    assert not read(ioapic, 0x10 + 18) & REMOTE_IRR


def test_a_level_that_nobody_accepts_stays_pending(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 9, 0x39 | LEVEL, destination=7)
    ioapic.set_input(9, True)
    assert not read(ioapic, 0x10 + 18) & REMOTE_IRR
    program(ioapic, 9, 0x39 | LEVEL, destination=0)
    assert wire.high()


def test_polarity_is_kept_and_inputs_mean_assertion(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 10, 0x40 | LEVEL | LOW)
    assert read(ioapic, 0x10 + 20) == 0x40 | LEVEL | LOW
    assert not wire.high()
    ioapic.set_input(10, True)
    assert wire.high()


def test_logical_destinations(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    cpu.mmio_write(0xD0, 0x01 << 24, 4)
    program(ioapic, 4, 0x34 | 1 << 11 | 1 << 8, destination=0x03)
    ioapic.input(4)(True)
    assert finish(cpu) == 0x34


def test_extint_asks_the_8259s(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 0, 7 << 8)
    ioapic.set_input(0, True)
    assert cpu.acknowledge() == 0x08
    assert not wire.high()


def test_reset_masks_everything_and_keeps_the_inputs(ioapic: IoApic, cpu: LocalApic, wire: Wire) -> None:
    program(ioapic, 9, 0x39 | LEVEL)
    write(ioapic, 0, 5 << 24)
    ioapic.set_input(9, True)
    finish(cpu)
    cpu.reset()
    ioapic.reset()
    assert [read(ioapic, index) for index in (0, 0x10 + 18)] == [2 << 24, MASKED]
    cpu.mmio_write(0xF0, 0x1FF, 4)
    program(ioapic, 9, 0x39 | LEVEL)
    assert wire.high()


def test_restoring_sends_nothing_and_goes_on_where_it_was(ioapic: IoApic, cpu: LocalApic, bus: ApicBus) -> None:
    program(ioapic, 9, 0x39 | LEVEL)
    ioapic.set_input(9, True)
    ioapic.set_input(4, True)
    state = ioapic.save()
    copy = IoApic(ApicBus())
    copy.restore(state)
    assert copy.save() == state
    assert read(copy, 0x10 + 18) == 0x39 | LEVEL | REMOTE_IRR
