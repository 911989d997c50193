from __future__ import annotations

import pytest
from workbench import Wire

from vmcore.devices.pic8259 import Pic8259

MASTER, SLAVE = 0, 2
EOI, ROTATE_EOI = 0x20, 0xA0
READ_IRR, READ_ISR = 0x0A, 0x0B


@pytest.fixture
def pic(wire: Wire) -> Pic8259:
    return Pic8259(wire.line)


def out(pic: Pic8259, port: int, *values: int) -> None:
    for value in values:
        pic.port_write(port, value, 1)


def initialise(pic: Pic8259, master_icw4: int = 0x01, slave_icw4: int = 0x01) -> None:
    """As the PC's firmware does it: vectors 0x08 and 0x70, edges, cascade on input 2."""
    out(pic, 0, 0x11)
    out(pic, 1, 0x08, 0x04, master_icw4)
    out(pic, 2, 0x11)
    out(pic, 3, 0x70, 0x02, slave_icw4)


def irr(pic: Pic8259, chip: int) -> int:
    out(pic, chip, READ_IRR)
    return pic.port_read(chip, 1)


def isr(pic: Pic8259, chip: int) -> int:
    out(pic, chip, READ_ISR)
    return pic.port_read(chip, 1)


def pulse(pic: Pic8259, irq: int) -> None:
    pic.set_input(irq, True)
    pic.set_input(irq, False)


def test_before_initialisation_nothing_interrupts(pic: Pic8259, wire: Wire) -> None:
    pic.set_input(1, True)
    assert wire.levels == []
    assert irr(pic, MASTER) == 0x02


def test_icw1_clears_the_mask_and_forgets_edges(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    out(pic, 1, 0xFF)
    pic.set_input(3, True)
    assert irr(pic, MASTER) == 0x08
    initialise(pic)
    assert pic.port_read(1, 1) == 0
    assert irr(pic, MASTER) == 0  # "An IR input must make a low-to-high transition to generate an interrupt."
    assert not wire.high()
    pic.set_input(3, False)
    pic.set_input(3, True)
    assert wire.high()


def test_icw4_is_not_awaited_when_icw1_does_not_announce_it(pic: Pic8259) -> None:
    out(pic, 0, 0x10)
    out(pic, 1, 0x20, 0x04)
    out(pic, 1, 0x5A)
    assert pic.port_read(1, 1) == 0x5A


def test_a_single_chip_takes_no_icw3(pic: Pic8259) -> None:
    out(pic, 0, 0x12)
    out(pic, 1, 0x20)
    out(pic, 1, 0x5A)
    assert pic.port_read(1, 1) == 0x5A


def test_the_mask_reads_back_as_the_probe_of_linux_wants_it(pic: Pic8259) -> None:
    out(pic, 3, 0xFF)
    out(pic, 1, 0xFB)
    assert pic.port_read(1, 1) == 0xFB
    assert pic.port_read(3, 1) == 0xFF


def test_an_acknowledge_gives_the_vector_and_moves_the_request_into_service(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pic.set_input(4, True)
    assert wire.high()
    assert pic.acknowledge() == 0x0C
    assert not wire.high()
    assert irr(pic, MASTER) == 0
    assert isr(pic, MASTER) == 0x10
    out(pic, 0, EOI)
    assert isr(pic, MASTER) == 0
    assert not wire.high()  # The input is still high, but there was no new edge.


def test_lower_numbers_have_priority_and_preempt(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pulse(pic, 5)
    pulse(pic, 3)
    assert pic.acknowledge() == 0x0B
    assert not wire.high()
    pulse(pic, 1)
    assert wire.high()
    assert pic.acknowledge() == 0x09
    out(pic, 0, EOI)
    assert isr(pic, MASTER) == 0x08
    assert not wire.high()
    out(pic, 0, EOI)
    assert pic.acknowledge() == 0x0D


def test_a_specific_eoi_ends_just_that_level(pic: Pic8259) -> None:
    initialise(pic)
    pulse(pic, 5)
    pic.acknowledge()
    pulse(pic, 3)
    pic.acknowledge()
    out(pic, 0, 0x60 | 5)
    assert isr(pic, MASTER) == 0x08


def test_a_slave_interrupt_is_in_service_in_both_chips(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pic.set_input(8, True)
    assert irr(pic, MASTER) == 0x04
    assert pic.acknowledge() == 0x70
    assert (isr(pic, MASTER), isr(pic, SLAVE)) == (0x04, 0x01)
    pulse(pic, 12)
    assert not wire.high()
    out(pic, SLAVE, EOI)
    assert not wire.high()  # The master still serves the cascade.
    out(pic, MASTER, EOI)
    assert pic.acknowledge() == 0x74


def test_special_fully_nested_mode_lets_the_slave_interrupt_its_own_service(pic: Pic8259, wire: Wire) -> None:
    initialise(pic, master_icw4=0x11)
    pulse(pic, 12)
    assert pic.acknowledge() == 0x74
    pulse(pic, 3)
    assert not wire.high()  # Below the cascade nothing changes.
    pulse(pic, 8)
    assert wire.high()
    assert pic.acknowledge() == 0x70


def test_without_special_fully_nested_mode_the_slave_waits(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pulse(pic, 12)
    pic.acknowledge()
    pulse(pic, 8)
    assert not wire.high()


def test_an_acknowledge_without_a_request_is_spurious_level_7(pic: Pic8259) -> None:
    initialise(pic)
    assert pic.acknowledge() == 0x0F
    assert isr(pic, MASTER) == 0


def test_masking_a_request_takes_the_interrupt_away_and_unmasking_brings_it_back(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pic.set_input(4, True)
    out(pic, 1, 0x10)
    assert not wire.high()
    assert irr(pic, MASTER) == 0x10
    out(pic, 1, 0)
    assert wire.high()


def test_a_masked_slave_input_does_not_reach_the_master(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    out(pic, 3, 0xFF)
    pic.set_input(8, True)
    assert not wire.high()
    assert (irr(pic, MASTER), irr(pic, SLAVE)) == (0, 1)


def test_a_slave_request_that_is_masked_before_the_acknowledge_is_spurious_irq_15(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pic.set_input(8, True)
    out(pic, 3, 0xFF)
    assert wire.high()
    assert pic.acknowledge() == 0x77
    assert (isr(pic, MASTER), isr(pic, SLAVE)) == (0x04, 0)
    assert not wire.high()


def test_a_level_input_requests_as_long_as_it_is_high(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    out(pic, 4, 0xFF)
    out(pic, 5, 0xFF)
    assert (pic.port_read(4, 1), pic.port_read(5, 1)) == (0xF8, 0xDE)
    pic.set_input(5, True)
    assert pic.acknowledge() == 0x0D
    assert irr(pic, MASTER) == 0x20
    out(pic, 0, EOI)
    assert wire.high()
    pic.set_input(5, False)
    assert not wire.high()
    assert irr(pic, MASTER) == 0
    assert pic.acknowledge() == 0x0F


def test_a_level_of_the_slave_that_falls_before_the_acknowledge_is_spurious_irq_15(pic: Pic8259) -> None:
    initialise(pic)
    out(pic, 5, 0x08)
    pic.set_input(11, True)
    pic.set_input(11, False)
    assert pic.acknowledge() == 0x77


def test_a_slave_with_automatic_eoi_makes_an_edge_for_each_request(pic: Pic8259, wire: Wire) -> None:
    initialise(pic, slave_icw4=0x03)
    pulse(pic, 8)
    pulse(pic, 9)
    assert pic.acknowledge() == 0x70
    assert irr(pic, MASTER) == 0x04
    out(pic, MASTER, EOI)
    assert pic.acknowledge() == 0x71


def test_the_slave_is_polled_on_its_own(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pulse(pic, 9)
    out(pic, MASTER, 0x0C)
    assert pic.port_read(MASTER, 1) == 0x82
    out(pic, SLAVE, 0x0C)
    assert pic.port_read(SLAVE, 1) == 0x81
    assert (isr(pic, MASTER), isr(pic, SLAVE)) == (0x04, 0x02)


def test_automatic_eoi_leaves_nothing_in_service(pic: Pic8259, wire: Wire) -> None:
    initialise(pic, master_icw4=0x03)
    pulse(pic, 0)
    pulse(pic, 1)
    assert pic.acknowledge() == 0x08
    assert isr(pic, MASTER) == 0
    assert wire.high()
    assert pic.acknowledge() == 0x09
    # The output fell with the first acknowledge, so an edge-triggered listener sees two interrupts.
    assert wire.levels == [True, False, True, False]


def test_rotation_on_automatic_eoi(pic: Pic8259) -> None:
    initialise(pic, master_icw4=0x03)
    out(pic, 0, 0x80)
    for irq in (3, 4):
        pulse(pic, irq)
    assert pic.acknowledge() == 0x0B
    pulse(pic, 3)
    assert pic.acknowledge() == 0x0C
    out(pic, 0, 0x00)
    pulse(pic, 4)
    assert pic.acknowledge() == 0x0B
    assert pic.acknowledge() == 0x0C


def test_rotation_on_eoi_gives_the_ended_level_the_lowest_priority(pic: Pic8259) -> None:
    initialise(pic)
    pulse(pic, 3)
    pic.acknowledge()
    out(pic, 0, ROTATE_EOI)
    pulse(pic, 3)
    pulse(pic, 4)
    assert pic.acknowledge() == 0x0C
    out(pic, 0, EOI)
    assert pic.acknowledge() == 0x0B


def test_set_priority_names_the_lowest_level(pic: Pic8259) -> None:
    initialise(pic)
    out(pic, 0, 0xC0 | 4)
    pulse(pic, 0)
    pulse(pic, 5)
    assert pic.acknowledge() == 0x0D
    out(pic, 0, 0xE0 | 5)  # Rotate on specific EOI.
    assert isr(pic, MASTER) == 0
    pulse(pic, 5)
    assert pic.acknowledge() == 0x08


def test_special_mask_mode_opens_all_levels_but_the_masked_one(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pulse(pic, 3)
    pic.acknowledge()
    out(pic, 1, 0x08)
    out(pic, 0, 0x68)
    pulse(pic, 6)
    assert wire.high()
    assert pic.acknowledge() == 0x0E
    out(pic, 0, EOI)  # A masked level in service is out of the reach of a non-specific EOI.
    assert isr(pic, MASTER) == 0x08
    out(pic, 0, EOI)
    assert isr(pic, MASTER) == 0x08
    out(pic, 0, 0x48)
    out(pic, 0, EOI)
    assert isr(pic, MASTER) == 0


def test_poll_acknowledges_by_a_read(pic: Pic8259, wire: Wire) -> None:
    initialise(pic)
    pulse(pic, 6)
    out(pic, 0, 0x0C)
    assert pic.port_read(0, 1) == 0x86
    assert not wire.high()
    assert isr(pic, MASTER) == 0x40
    out(pic, 0, EOI)
    out(pic, 0, 0x0C)
    assert pic.port_read(0, 1) & 0x80 == 0


def test_reads_of_irr_and_isr_stay_selected(pic: Pic8259) -> None:
    initialise(pic)
    pulse(pic, 4)
    pic.acknowledge()
    pulse(pic, 5)
    assert pic.port_read(0, 1) == 0x20  # IRR is selected by ICW1.
    out(pic, 0, READ_ISR)
    assert pic.port_read(0, 1) == 0x10
    out(pic, 0, 0x08)  # No read command: the selection stays.
    assert pic.port_read(0, 1) == 0x10


def test_a_word_access_reaches_both_ports_of_a_chip(pic: Pic8259) -> None:
    initialise(pic)
    pic.port_write(4, 0x0820, 2)
    assert pic.port_read(4, 2) == 0x0820


def test_restoring_tells_nobody_and_goes_on_where_it_was(pic: Pic8259) -> None:
    initialise(pic)
    pulse(pic, 12)
    pic.set_input(4, True)
    state = pic.save()
    wire = Wire()
    other = Pic8259(wire.line)
    other.restore(state)
    assert other.save() == state
    assert wire.levels == []
    assert wire.high()
    assert [other.acknowledge(), pic.acknowledge()] == [0x74, 0x74]
    out(other, MASTER, EOI)
    assert other.acknowledge() == 0x0C


def test_a_non_specific_eoi_ends_the_level_of_highest_priority_after_a_rotation(pic: Pic8259) -> None:
    initialise(pic)
    out(pic, 0, 0xC0 | 4)  # 5, 6, 7, 0, 1, 2, 3, 4
    for irq in (3, 1, 7, 5):
        pulse(pic, irq)
        assert pic.acknowledge() == 0x08 + irq
    for left in (0x8A, 0x0A, 0x08, 0x00):
        out(pic, 0, EOI)
        assert isr(pic, MASTER) == left


def test_icw1_takes_back_what_icw4_and_the_operation_words_chose(pic: Pic8259) -> None:
    initialise(pic, master_icw4=0x13)
    out(pic, 0, 0x80)
    out(pic, 0, 0xC0 | 3)
    out(pic, 0, 0x68)
    out(pic, 0, 0x10)
    out(pic, 1, 0x08, 0x04)  # No ICW4.
    state = pic.save().master
    assert (state.auto_eoi, state.rotate_on_auto_eoi, state.fully_nested, state.special_mask) == (False,) * 4
    assert state.lowest == 7


def test_a_poll_makes_room_for_a_new_edge_of_the_output(pic: Pic8259, wire: Wire) -> None:
    initialise(pic, master_icw4=0x03)
    pulse(pic, 4)
    pulse(pic, 5)
    out(pic, 0, 0x0C)
    assert pic.port_read(0, 1) == 0x84
    assert wire.levels == [True, False, True]


def test_power_on_forgets_everything_but_the_inputs(pic: Pic8259, wire: Wire) -> None:
    fresh = pic.save()
    initialise(pic, master_icw4=0x13, slave_icw4=0x03)
    out(pic, 4, 0xF8)
    pic.set_input(4, True)
    pic.set_input(14, True)
    out(pic, 1, 0xF0)
    pic.reset()
    assert not wire.high()
    pic.set_input(4, False)
    pic.set_input(14, False)
    assert pic.save() == fresh
