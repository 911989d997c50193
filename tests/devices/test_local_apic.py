from __future__ import annotations

import pytest
from attrs import define, field
from workbench import GuestTime, Wire

from vmcore.devices.apic_bus import ApicBus
from vmcore.devices.local_apic import LocalApic

ID, VERSION, TPR, APR, PPR, EOI, LDR, DFR, SVR = 0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xD0, 0xE0, 0xF0
ISR, TMR, IRR, ESR, ICR, ICR2 = 0x100, 0x180, 0x200, 0x280, 0x300, 0x310
LVT_TIMER, LVT_COUNTERS, LVT0, LVT1, LVT_ERROR = 0x320, 0x340, 0x350, 0x360, 0x370
INITIAL, CURRENT, DIVIDE = 0x380, 0x390, 0x3E0
BY_ONE = 0x0B


@define
class Processor:
    """A local APIC with a record of what it does to its processor."""

    bus: ApicBus
    time: GuestTime
    number: int = 0
    calls: list[str] = field(factory=list)
    wire: Wire = field(factory=Wire)
    extint: list[int] = field(factory=list)
    apic: LocalApic = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.apic = LocalApic(
            self.bus,
            self.time.clock,
            self.wire.line,
            apic_id=self.number,
            bsp=self.number == 0,
            acknowledge_extint=lambda: self.extint.pop(),
            on_nmi=lambda: self.calls.append("nmi"),
            on_smi=lambda: self.calls.append("smi"),
            on_init=lambda: self.calls.append("init"),
            on_startup=lambda vector: self.calls.append(f"startup {vector:#x}"),
            on_task_priority=lambda number: self.calls.append(f"cr8 {number}"),
            on_base=lambda base, enabled: self.calls.append(f"base {base:#x} {enabled}"),
        )

    def enable(self) -> Processor:
        self[SVR] = 0x1FF
        return self

    def __getitem__(self, offset: int) -> int:
        return self.apic.mmio_read(offset, 4)

    def __setitem__(self, offset: int, value: int) -> None:
        self.apic.mmio_write(offset, value, 4)

    def bits(self, start: int) -> set[int]:
        """The vectors in ISR, TMR or IRR."""
        return {word * 32 + bit for word in range(8) for bit in range(32) if self[start + word * 16] >> bit & 1}

    def pending(self) -> bool:
        return self.wire.high()


@pytest.fixture
def bus() -> ApicBus:
    return ApicBus()


@pytest.fixture
def cpu(bus: ApicBus, time: GuestTime) -> Processor:
    return Processor(bus, time).enable()


@pytest.fixture
def four(bus: ApicBus, time: GuestTime) -> list[Processor]:
    return [Processor(bus, time, number).enable() for number in range(4)]


# Registers


def test_power_on_values(bus: ApicBus, time: GuestTime) -> None:
    cpu = Processor(bus, time, 3)
    assert {offset: cpu[offset] for offset in (ID, VERSION, TPR, PPR, LDR, DFR, SVR, ICR, ESR, INITIAL, DIVIDE)} == {
        ID: 3 << 24,
        VERSION: 0x50014,
        TPR: 0,
        PPR: 0,
        LDR: 0,
        DFR: 0xFFFF_FFFF,
        SVR: 0xFF,
        ICR: 0,
        ESR: 0,
        INITIAL: 0,
        DIVIDE: 0,
    }
    assert [cpu[offset] for offset in range(LVT_TIMER, INITIAL, 16)] == [0x10000] * 6
    assert cpu.apic.read_base() == 0xFEE0_0800


def test_the_bootstrap_processor_starts_in_virtual_wire_mode(bus: ApicBus, time: GuestTime) -> None:
    cpu = Processor(bus, time)
    assert cpu.apic.read_base() == 0xFEE0_0900
    assert (cpu[LVT0], cpu[LVT1]) == (0x700, 0x400)
    cpu.extint.append(0x08)
    cpu.apic.set_lint0(True)
    assert cpu.pending()
    assert cpu.apic.acknowledge() == 0x08
    cpu.apic.set_lint0(False)
    assert not cpu.pending()


def test_only_writable_bits_are_stored(cpu: Processor) -> None:
    for offset, expected in {
        TPR: 0xFF,
        LDR: 0xFF00_0000,
        DFR: 0xFFFF_FFFF,
        SVR: 0x3FF,
        ICR2: 0xFF00_0000,
        LVT_TIMER: 0x700FF,
        LVT_COUNTERS: 0x107FF,
        LVT0: 0x1A7FF,
        LVT_ERROR: 0x100FF,
        DIVIDE: 0x0B,
        VERSION: 0x50014,
    }.items():
        cpu[offset] = 0xFFFF_FFFF
        assert cpu[offset] == expected, hex(offset)
    cpu[DFR] = 0
    assert cpu[DFR] == 0x0FFF_FFFF


def test_narrow_reads_see_a_part_and_narrow_writes_are_lost(cpu: Processor) -> None:
    assert cpu.apic.mmio_read(VERSION + 2, 1) == 5
    assert cpu.apic.mmio_read(VERSION, 2) == 0x14
    assert cpu.apic.mmio_read(VERSION, 8) == 0x50014
    assert cpu.apic.mmio_read(VERSION + 4, 4) == 0
    cpu.apic.mmio_write(TPR, 0x20, 1)
    assert cpu[TPR] == 0


def test_a_reserved_register_is_an_error_that_the_status_shows_after_a_write(cpu: Processor) -> None:
    cpu[LVT_ERROR] = 0xFE
    assert cpu[0x40] == 0
    assert cpu.bits(IRR) == {0xFE}
    assert cpu[ESR] == 0
    cpu[ESR] = 0
    assert cpu[ESR] == 0x80
    cpu[ESR] = 0
    assert cpu[ESR] == 0


# Interrupts and priorities


def test_an_interrupt_goes_from_request_to_service_to_end(cpu: Processor) -> None:
    assert cpu.apic.accept(0x51, level=False)
    assert cpu.bits(IRR) == {0x51}
    assert cpu.pending()
    assert bool(cpu.apic.interrupt_pending)
    assert cpu.apic.acknowledge() == 0x51
    assert not cpu.pending()
    assert (cpu.bits(IRR), cpu.bits(ISR), cpu[PPR]) == (set(), {0x51}, 0x50)
    cpu[EOI] = 0
    assert (cpu.bits(ISR), cpu[PPR]) == (set(), 0)


def test_only_a_higher_class_preempts(cpu: Processor) -> None:
    cpu.apic.accept(0x51, level=False)
    cpu.apic.acknowledge()
    cpu.apic.accept(0x5F, level=False)
    assert not cpu.pending()
    cpu.apic.accept(0x60, level=False)
    assert cpu.apic.acknowledge() == 0x60
    cpu[EOI] = 0
    assert cpu.bits(ISR) == {0x51}
    assert not cpu.pending()
    cpu[EOI] = 0
    assert cpu.pending()
    assert cpu.apic.acknowledge() == 0x5F


def test_the_task_priority_holds_interrupts_of_its_class_and_below(cpu: Processor) -> None:
    cpu[TPR] = 0x51
    cpu.apic.accept(0x5F, level=False)
    assert not cpu.pending()
    assert cpu[PPR] == 0x51
    cpu.apic.write_cr8(4)
    assert cpu[TPR] == 0x40
    assert cpu.apic.read_cr8() == 4
    assert cpu.pending()
    cpu.apic.write_cr8(15)
    assert not cpu.pending()
    assert cpu.apic.acknowledge() == 0xFF  # Too late: the spurious vector.
    assert cpu.bits(ISR) == set()


def test_the_processors_cr8_follows_writes_to_the_task_priority(cpu: Processor) -> None:
    cpu[TPR] = 0x51
    cpu[TPR] = 0x52
    cpu.apic.write_cr8(3)
    cpu[TPR] = 0x30
    cpu[TPR] = 0
    assert cpu.calls == ["cr8 5", "cr8 0"]


def test_an_eoi_with_nothing_in_service_does_nothing(cpu: Processor) -> None:
    cpu[EOI] = 0
    assert cpu.bits(ISR) == set()


def test_a_software_disabled_apic_accepts_no_fixed_interrupts_but_nmi_init_and_startup(
    bus: ApicBus, time: GuestTime
) -> None:
    cpu = Processor(bus, time, 1)
    assert not cpu.apic.accept(0x51, level=False)
    for mode in (2, 4, 5, 6):
        bus.send(1, False, mode, 0x9A)
    assert cpu.calls == ["smi", "nmi", "init", "startup 0x9a"]
    assert cpu.bits(IRR) == set()


def test_software_disable_masks_all_local_entries(cpu: Processor) -> None:
    cpu[LVT_TIMER] = 0x30
    cpu[LVT0] = 0x700
    cpu[SVR] = 0xFF
    assert [cpu[offset] >> 16 & 1 for offset in range(LVT_TIMER, INITIAL, 16)] == [1] * 6
    cpu[LVT0] = 0x700
    assert cpu[LVT0] == 0x10700
    cpu[SVR] = 0x1FF
    cpu[LVT0] = 0x700
    assert cpu[LVT0] == 0x700


def test_illegal_vectors_are_errors_of_the_receiver(cpu: Processor) -> None:
    assert not cpu.apic.accept(0x0F, level=False)
    cpu[ESR] = 0
    assert cpu[ESR] == 0x40


def test_arbitration_priority_is_the_highest_of_task_service_and_request(cpu: Processor) -> None:
    cpu[TPR] = 0x35
    assert cpu[APR] == 0x35
    cpu.apic.accept(0x41, level=False)
    assert cpu[APR] == 0x40


# Messages


def test_physical_destinations_and_the_broadcast(four: list[Processor], bus: ApicBus) -> None:
    assert bus.send(2, False, 0, 0x61)
    assert [cpu.pending() for cpu in four] == [False, False, True, False]
    assert bus.send(0xFF, False, 0, 0x62)
    assert all(0x62 in cpu.bits(IRR) for cpu in four)
    assert not bus.send(9, False, 0, 0x61)


def test_the_guest_can_change_the_id(four: list[Processor], bus: ApicBus) -> None:
    four[1][ID] = 0x07 << 24
    bus.send(7, False, 0, 0x61)
    assert four[1].pending()
    assert not bus.send(1, False, 0, 0x61)


def test_flat_logical_destinations(four: list[Processor], bus: ApicBus) -> None:
    for number, cpu in enumerate(four):
        cpu[LDR] = 1 << 24 + number
    bus.send(0b1010, True, 0, 0x61)
    assert [cpu.pending() for cpu in four] == [False, True, False, True]


def test_cluster_logical_destinations(four: list[Processor], bus: ApicBus) -> None:
    for cpu, ldr in zip(four, (0x11, 0x12, 0x21, 0x22), strict=True):
        cpu[DFR] = 0
        cpu[LDR] = ldr << 24
    bus.send(0x23, True, 0, 0x61)
    assert [cpu.pending() for cpu in four] == [False, False, True, True]
    bus.send(0xF1, True, 0, 0x71)
    assert [0x71 in cpu.bits(IRR) for cpu in four] == [True, False, True, False]


def test_lowest_priority_goes_to_the_least_busy_and_then_to_the_first(four: list[Processor], bus: ApicBus) -> None:
    four[0][TPR] = 0x20
    four[1][TPR] = 0x10
    bus.send(0xFF, False, 1, 0x61)
    assert [0x61 in cpu.bits(IRR) for cpu in four] == [False, False, True, False]
    bus.send(0xFF, False, 1, 0x62)
    assert [0x62 in cpu.bits(IRR) for cpu in four] == [False, False, False, True]
    four[1][SVR] = 0xFF
    bus.send(0xFF, False, 1, 0x63)
    assert [0x63 in cpu.bits(IRR) for cpu in four] == [True, False, False, False]


def test_message_signalled_interrupts(four: list[Processor], bus: ApicBus) -> None:
    bus.message(0xFEE0_3000, 0x4061)
    assert four[3].bits(IRR) == {0x61}
    four[1][LDR] = 0x02 << 24
    bus.message(0xFEE0_200C, 0xC062)
    assert four[1].bits(TMR) == {0x62}
    bus.message(0xFEE0_200C, 0x8063)
    assert 0x63 not in four[1].bits(IRR)


def test_a_level_interrupt_sets_its_bit_in_tmr_and_an_edge_clears_it(cpu: Processor) -> None:
    cpu.apic.accept(0x61, level=True)
    assert cpu.bits(TMR) == {0x61}
    cpu.apic.accept(0x61, level=False)
    assert cpu.bits(TMR) == set()


# Interrupt commands


def test_a_command_goes_to_its_destination(four: list[Processor]) -> None:
    four[0][ICR2] = 2 << 24
    four[0][ICR] = 0x000_40FD
    assert [cpu.pending() for cpu in four] == [False, False, True, False]
    assert (four[0][ICR], four[0][ICR2]) == (0x40FD, 2 << 24)  # Idle: it was delivered at once.


@pytest.mark.parametrize(("shorthand", "expected"), [(1, "1000"), (2, "1111"), (3, "0111")])
def test_shorthands(four: list[Processor], shorthand: int, expected: str) -> None:
    four[0][ICR] = shorthand << 18 | 0x4061
    assert "".join(str(int(cpu.pending())) for cpu in four) == expected


def test_the_startup_sequence_of_the_mp_specification(four: list[Processor]) -> None:
    for cpu in four:
        cpu.calls.clear()
    four[1][TPR] = 0x02
    four[0][ICR2] = 1 << 24
    four[0][ICR] = 0x0000_C500
    four[0][ICR] = 0x0000_8500
    four[0][ICR] = 0x0000_0699
    four[0][ICR] = 0x0000_0699
    assert four[1].calls == ["init", "startup 0x99", "startup 0x99"]
    assert four[1][TPR] == 0
    assert four[1][SVR] == 0xFF
    assert four[1][ID] == 1 << 24
    assert [cpu.calls for cpu in (four[0], four[2], four[3])] == [[], [], []]


def test_nmi_to_all_but_self(four: list[Processor]) -> None:
    four[2][ICR] = 0x000C_4402
    assert [cpu.calls[-1:] for cpu in four] == [["nmi"], ["nmi"], [], ["nmi"]]


def test_an_illegal_vector_is_an_error_of_the_sender(cpu: Processor) -> None:
    cpu[ICR] = 0x0004_4005
    cpu[ESR] = 0
    assert cpu[ESR] == 0x20
    assert cpu.bits(IRR) == set()


# Local inputs


def test_lint0_as_extint_needs_no_eoi(cpu: Processor) -> None:
    cpu[LVT0] = 0x700
    cpu.extint += [0x09, 0x08]
    cpu.apic.set_lint0(True)
    assert cpu.apic.acknowledge() == 0x08
    assert cpu.bits(ISR) == set()
    assert cpu.pending()  # The line is still high: there is another.
    assert cpu.apic.acknowledge() == 0x09
    cpu[LVT0] = 0x10700
    assert not cpu.pending()


def test_interrupts_of_the_apic_come_before_extint(cpu: Processor) -> None:
    cpu[LVT0] = 0x700
    cpu.extint.append(0x08)
    cpu.apic.set_lint0(True)
    cpu.apic.accept(0x31, level=False)
    assert cpu.apic.acknowledge() == 0x31
    assert cpu.apic.acknowledge() == 0x08


def test_lint0_as_a_fixed_edge(cpu: Processor) -> None:
    cpu[LVT0] = 0x31
    cpu.apic.set_lint0(True)
    cpu.apic.set_lint0(False)
    assert cpu.apic.acknowledge() == 0x31
    assert cpu.bits(TMR) == set()


def test_lint0_as_a_fixed_level_sends_again_after_the_eoi(cpu: Processor) -> None:
    cpu[LVT0] = 0x8031
    cpu.apic.set_lint0(True)
    assert cpu[LVT0] == 0xC031
    assert cpu.apic.acknowledge() == 0x31
    cpu[EOI] = 0
    assert cpu.apic.acknowledge() == 0x31
    cpu.apic.set_lint0(False)
    cpu[EOI] = 0
    assert not cpu.pending()
    assert cpu[LVT0] == 0x8031


def test_lint1_is_nmi(cpu: Processor) -> None:
    cpu[LVT1] = 0x400
    cpu.apic.set_lint1(True)
    cpu.apic.set_lint1(False)
    cpu[LVT1] = 0x10400
    cpu.apic.set_lint1(True)
    assert cpu.calls == ["nmi"]


def test_an_extint_message_is_pending_until_it_is_acknowledged(cpu: Processor, bus: ApicBus) -> None:
    cpu.extint.append(0x70)
    bus.send(0, False, 7, 0)
    assert cpu.pending()
    assert cpu.apic.acknowledge() == 0x70
    assert not cpu.pending()


def test_a_counter_overflow_fires_once_and_masks_itself(cpu: Processor) -> None:
    cpu[LVT_COUNTERS] = 0x400
    cpu.apic.counters_overflowed()
    cpu.apic.counters_overflowed()
    assert cpu.calls == ["nmi"]
    assert cpu[LVT_COUNTERS] == 0x10400


# IA32_APIC_BASE


def test_the_base_register_moves_and_disables(cpu: Processor, bus: ApicBus) -> None:
    assert cpu.apic.write_base(0xFEC8_0800)
    assert cpu.apic.read_base() == 0xFEC8_0900  # The BSP flag is read only.
    assert cpu.apic.write_base(0xFEE0_0000)
    assert cpu.calls == ["base 0xfec80000 True", "base 0xfee00000 False"]
    assert not bus.send(0, False, 4, 0)
    cpu.extint.append(0x0A)
    cpu.apic.set_lint0(True)  # Disabled, LINT0 is INTR and LINT1 is NMI.
    assert cpu.apic.acknowledge() == 0x0A
    cpu.apic.set_lint1(True)
    assert cpu.calls[-1] == "nmi"
    assert cpu.apic.write_base(0xFEE0_0800)
    assert cpu[SVR] == 0xFF


@pytest.mark.parametrize("value", [0xFEE0_0C00, 0xFEE0_0801, 0x40_0000_0000_0800 << 8])
def test_reserved_bits_of_the_base_register_fault(cpu: Processor, value: int) -> None:
    assert not cpu.apic.write_base(value)
    assert cpu.apic.read_base() == 0xFEE0_0900


# Timer


def test_one_shot_counts_down_and_interrupts_once(cpu: Processor, time: GuestTime) -> None:
    cpu[DIVIDE] = BY_ONE
    cpu[LVT_TIMER] = 0xEC
    cpu[INITIAL] = 1000
    time.advance(999)
    assert cpu[CURRENT] == 1
    assert not cpu.pending()
    time.advance(1)
    assert cpu.pending()
    assert cpu[CURRENT] == 0
    assert cpu[INITIAL] == 1000
    assert cpu.apic.acknowledge() == 0xEC
    cpu[EOI] = 0
    time.advance(10_000)
    assert not cpu.pending()
    assert time.clock.next_deadline() is None


@pytest.mark.parametrize(("code", "divisor"), [(0, 2), (1, 4), (2, 8), (3, 16), (8, 32), (9, 64), (10, 128), (11, 1)])
def test_the_divider(cpu: Processor, time: GuestTime, code: int, divisor: int) -> None:
    cpu[DIVIDE] = code
    cpu[INITIAL] = 1_000_000
    time.advance(1280)
    assert cpu[CURRENT] == 1_000_000 - 1280 // divisor


def test_periodic_expiries_do_not_drift(bus: ApicBus, time: GuestTime) -> None:
    wire = Wire()
    apic = LocalApic(bus, time.clock, wire.line, timer_hz=66_666_667)
    apic.mmio_write(SVR, 0x1FF, 4)
    apic.mmio_write(DIVIDE, BY_ONE, 4)
    apic.mmio_write(LVT_TIMER, 0x200EC, 4)
    time.advance(17)
    apic.mmio_write(INITIAL, 66_667, 4)
    for number in range(1, 1001):
        deadline = 17 - (-number * 66_667 * 1_000_000_000 // 66_666_667)
        time.advance(deadline - 1 - time.now)
        assert not wire.high()
        assert apic.mmio_read(CURRENT, 4) == 1
        time.advance(1)
        assert wire.high()
        assert apic.mmio_read(CURRENT, 4) == 66_667
        assert apic.acknowledge() == 0xEC
        apic.mmio_write(EOI, 0, 4)


def test_a_periodic_timer_needs_no_clock_while_its_interrupt_is_pending(cpu: Processor, time: GuestTime) -> None:
    cpu[DIVIDE] = BY_ONE
    cpu[LVT_TIMER] = 0x200EC
    cpu[INITIAL] = 1000
    time.advance(10_500)
    assert time.clock.next_deadline() is None
    assert cpu[CURRENT] == 500
    assert cpu.apic.acknowledge() == 0xEC
    assert time.clock.next_deadline() == 11_000
    cpu[EOI] = 0
    assert not cpu.pending()


def test_a_masked_timer_counts_without_a_clock_timer(cpu: Processor, time: GuestTime) -> None:
    cpu[DIVIDE] = BY_ONE
    cpu[INITIAL] = 0xFFFF_FFFF
    assert time.clock.next_deadline() is None
    time.advance(12_345)
    assert cpu[CURRENT] == 0xFFFF_FFFF - 12_345
    cpu[LVT_TIMER] = 0xEC
    assert time.clock.next_deadline() == 0xFFFF_FFFF


def test_an_expiry_while_masked_is_lost(cpu: Processor, time: GuestTime) -> None:
    cpu[INITIAL] = 100
    time.advance(1000)
    cpu[LVT_TIMER] = 0xEC
    time.advance(1000)
    assert not cpu.pending()


def test_an_initial_count_of_zero_stops_the_timer(cpu: Processor, time: GuestTime) -> None:
    cpu[LVT_TIMER] = 0x200EC
    cpu[INITIAL] = 100
    cpu[INITIAL] = 0
    assert time.clock.next_deadline() is None
    assert cpu[CURRENT] == 0


def test_a_new_divider_goes_on_from_the_current_count(cpu: Processor, time: GuestTime) -> None:
    cpu[DIVIDE] = BY_ONE
    cpu[LVT_TIMER] = 0xEC
    cpu[INITIAL] = 1000
    time.advance(400)
    cpu[DIVIDE] = 0
    assert cpu[CURRENT] == 600
    assert time.clock.next_deadline() == 400 + 1200


def test_a_one_shot_that_is_over_does_not_start_again_as_periodic(cpu: Processor, time: GuestTime) -> None:
    cpu[LVT_TIMER] = 0x000EC
    cpu[INITIAL] = 100
    time.advance(1000)
    cpu[LVT_TIMER] = 0x200EC
    assert time.clock.next_deadline() is None
    assert cpu[CURRENT] == 0


def test_tsc_deadline(bus: ApicBus, time: GuestTime) -> None:
    wire = Wire()
    apic = LocalApic(bus, time.clock, wire.line, tsc_to_ns=lambda tsc: -(-tsc // 3))
    apic.mmio_write(SVR, 0x1FF, 4)
    apic.write_tsc_deadline(3000)
    assert apic.read_tsc_deadline() == 0  # Not in this mode.
    apic.mmio_write(LVT_TIMER, 0x400EC, 4)
    apic.write_tsc_deadline(3001)
    assert apic.read_tsc_deadline() == 3001
    apic.mmio_write(INITIAL, 5, 4)
    assert apic.mmio_read(INITIAL, 4) == apic.mmio_read(CURRENT, 4) == 0
    time.advance(1000)
    assert not wire.high()
    time.advance(1)
    assert wire.high()
    assert apic.read_tsc_deadline() == 0
    apic.acknowledge()
    apic.mmio_write(EOI, 0, 4)
    apic.write_tsc_deadline(1)  # Past: at once.
    assert wire.high()
    apic.acknowledge()
    apic.mmio_write(EOI, 0, 4)
    apic.write_tsc_deadline(30_000)
    apic.write_tsc_deadline(0)
    assert time.clock.next_deadline() is None
    apic.write_tsc_deadline(30_000)
    apic.mmio_write(LVT_TIMER, 0x000EC, 4)
    assert time.clock.next_deadline() is None
    assert apic.read_tsc_deadline() == 0


def test_a_masked_tsc_deadline_passes_in_silence(cpu: Processor, time: GuestTime) -> None:
    cpu[LVT_TIMER] = 0x500EC
    cpu.apic.write_tsc_deadline(500)
    time.advance(499)
    assert cpu.apic.read_tsc_deadline() == 500
    time.advance(1)
    assert cpu.apic.read_tsc_deadline() == 0
    cpu[LVT_TIMER] = 0x400EC
    assert not cpu.pending()


def test_writing_the_tsc_moves_the_deadline(bus: ApicBus, time: GuestTime) -> None:
    offset = 0
    wire = Wire()
    apic = LocalApic(bus, time.clock, wire.line, tsc_to_ns=lambda tsc: tsc - offset)
    apic.mmio_write(SVR, 0x1FF, 4)
    apic.mmio_write(LVT_TIMER, 0x400EC, 4)
    apic.write_tsc_deadline(1000)
    offset = 400
    apic.tsc_changed()
    assert time.clock.next_deadline() == 600
    offset = 2000
    apic.tsc_changed()
    assert wire.high()


# State


def test_reset_is_power_on(cpu: Processor, time: GuestTime) -> None:
    cpu[LVT_TIMER] = 0x200EC
    cpu[INITIAL] = 100
    cpu.apic.accept(0x51, level=True)
    cpu[ID] = 9 << 24
    cpu.apic.write_base(0xFEC8_0800)
    cpu.apic.reset()
    fresh = Processor(ApicBus(), time)
    assert cpu.apic.save() == fresh.apic.save()
    assert cpu.calls[-1] == "base 0xfee00000 True"
    assert not cpu.pending()


def test_a_restored_apic_goes_on_as_the_saved_one(cpu: Processor, time: GuestTime) -> None:
    cpu[DIVIDE] = 3
    cpu[LVT_TIMER] = 0x200EC
    cpu[INITIAL] = 777
    cpu[TPR] = 0x30
    for vector in (0x41, 0x61, 0x31):
        cpu.apic.accept(vector, level=True)
    cpu.apic.acknowledge()
    time.advance(5000)
    state = cpu.apic.save()
    copy = Processor(ApicBus(), time)
    copy.apic.restore(state)
    assert copy.apic.save() == state
    assert copy.wire.levels == []
    assert copy.pending() == cpu.pending()
    time.advance(20_000)
    for each in (cpu, copy):
        assert each.apic.acknowledge() == 0xEC
        each[EOI] = 0
        each[EOI] = 0
        assert each.apic.acknowledge() == 0x41
    assert copy.apic.save() == cpu.apic.save()


def test_vector_16_is_the_first_legal_one(cpu: Processor) -> None:
    cpu[ICR] = 0x0004_4010
    assert cpu.bits(IRR) == {0x10}
    cpu[ESR] = 0
    assert cpu[ESR] == 0


def test_a_level_at_lint0_is_found_when_its_entry_is_unmasked(cpu: Processor) -> None:
    cpu[LVT0] = 0x10000
    cpu.apic.set_lint0(True)
    assert not cpu.pending()
    cpu[LVT0] = 0x8031
    assert cpu.pending()
    cpu[LVT0] = 0x0031  # As an edge it has no remote IRR.
    assert cpu[LVT0] == 0x0031
    assert cpu.bits(TMR) == {0x31}


def test_leaving_tsc_deadline_mode_disarms_for_good(cpu: Processor, time: GuestTime) -> None:
    cpu[LVT_TIMER] = 0x400EC
    cpu.apic.write_tsc_deadline(500)
    cpu[LVT_TIMER] = 0x000EC
    cpu[LVT_TIMER] = 0x400EC
    assert cpu.apic.read_tsc_deadline() == 0
    assert time.clock.next_deadline() is None


def test_entering_tsc_deadline_mode_stops_the_count(cpu: Processor, time: GuestTime) -> None:
    cpu[LVT_TIMER] = 0x000EC
    cpu[INITIAL] = 1000
    cpu[LVT_TIMER] = 0x400EC
    cpu[LVT_TIMER] = 0x000EC
    assert (cpu[INITIAL], cpu[CURRENT]) == (0, 0)
    assert time.clock.next_deadline() is None


def test_one_shot_becomes_periodic_while_it_runs(cpu: Processor, time: GuestTime) -> None:
    cpu[DIVIDE] = BY_ONE
    cpu[LVT_TIMER] = 0x000EC
    cpu[INITIAL] = 1000
    time.advance(400)
    cpu[LVT_TIMER] = 0x200EC
    assert cpu[CURRENT] == 600
    time.advance(600)
    assert cpu.apic.acknowledge() == 0xEC
    cpu[EOI] = 0
    assert time.clock.next_deadline() == 2000


def test_local_entries_can_send_nmi_and_smi(cpu: Processor, time: GuestTime) -> None:
    cpu[LVT0] = 0x200
    cpu.apic.set_lint0(True)
    cpu[LVT1] = 0x31
    cpu.apic.set_lint1(True)
    assert cpu.calls == ["smi"]
    assert cpu.bits(IRR) == {0x31}
