from __future__ import annotations

from attrs import define, field, frozen

from vmcore.hardware import RO, WO, Device, Register


@frozen
class WidgetState:
    registers: tuple[tuple[str, int], ...]
    written: tuple[int, ...]


@define(eq=False)
class Widget(Device[WidgetState]):
    written: list[int] = field(factory=list)

    CONTROL = Register(offset=0, width=8, reset=0x81, writable=0x0F, bits={"ENABLE": 0})
    STATUS = Register(offset=1, width=8, access=RO, reset=0x40)
    COMMAND = Register(offset=1, width=8, access=WO)
    WIDE = Register(offset=4, width=32, reset=0x11223344)
    EVENTS = Register(offset=8, width=16, reset=0xFFFF, clears=0x00FF, writable=0x0F00)
    COUNT = Register(offset=10, width=16, access=RO)

    @COMMAND.on_write
    def _command(self, value: int) -> None:
        self.written.append(value)

    @COUNT.on_read
    def _count(self) -> int:
        self.written.append(-1)
        return 0xBEEF

    def reset(self) -> None:
        super().reset()
        self.written.clear()

    def save(self) -> WidgetState:
        return WidgetState(tuple(self.register_values.items()), tuple(self.written))

    def restore(self, state: WidgetState) -> None:
        self.register_values.update(state.registers)
        self.written[:] = state.written


def test_registers_hold_their_reset_values_from_the_start() -> None:
    widget = Widget()
    assert widget.CONTROL == 0x81
    assert widget.port_read(4, 4) == 0x11223344


def test_a_write_stores_the_writable_bits_alone() -> None:
    widget = Widget()
    widget.port_write(0, 0xFE, 1)
    assert widget.port_read(0, 1) == 0x8E


def test_the_device_itself_is_not_bound_by_the_rules_for_the_guest() -> None:
    widget = Widget()
    widget.STATUS = 0x1FF
    assert widget.port_read(1, 1) == 0xFF


def test_writing_ones_clears_and_zeros_keep() -> None:
    widget = Widget()
    widget.port_write(8, 0x0A0F, 2)
    assert widget.EVENTS == 0xFAF0


def test_a_byte_written_into_a_register_that_ones_clear_leaves_the_other_byte() -> None:
    widget = Widget()
    widget.port_write(8, 0x01, 1)
    assert widget.EVENTS == 0xFFFE
    widget.port_write(9, 0x00, 1)
    assert widget.EVENTS == 0xF0FE


def test_two_registers_of_one_offset_are_told_apart_by_direction() -> None:
    widget = Widget()
    widget.port_write(1, 0x55, 1)
    assert widget.written == [0x55]
    assert widget.port_read(1, 1) == 0x40
    assert Widget.register_at(1, without=WO) is Widget.STATUS
    assert Widget.register_at(1, without=RO) is Widget.COMMAND


def test_a_wide_access_is_cut_into_the_registers_under_it() -> None:
    widget = Widget()
    assert widget.port_read(0, 4) == 0xFFFF4081
    widget.port_write(0, 0xAABBCC03, 4)
    assert widget.CONTROL == 0x83
    assert widget.written == [0xCC]


def test_a_narrow_access_reaches_a_part_of_a_wide_register() -> None:
    widget = Widget()
    assert [widget.port_read(4 + lane, 1) for lane in range(4)] == [0x44, 0x33, 0x22, 0x11]
    widget.port_write(6, 0xABCD, 2)
    assert widget.WIDE == 0xABCD3344


def test_an_access_across_registers_reads_each_of_them_once() -> None:
    widget = Widget()
    assert widget.mmio_read(8, 4) == 0xBEEFFFFF
    assert widget.written == [-1]


def test_bytes_without_a_register_read_as_ones_and_swallow_writes() -> None:
    widget = Widget()
    before = widget.save()
    assert widget.port_read(0x100, 4) == 0xFFFFFFFF
    widget.port_write(0x100, 0, 4)
    widget.mmio_write(2, 0, 2)
    assert widget.save() == before


def test_a_read_only_register_swallows_writes() -> None:
    widget = Widget()
    widget.port_write(10, 0, 2)
    assert widget.port_read(10, 2) == 0xBEEF


def test_reset_takes_every_register_back() -> None:
    widget = Widget()
    fresh = widget.save()
    widget.port_write(0, 0, 8)
    widget.port_write(4, 0, 4)
    assert widget.save() != fresh
    widget.reset()
    assert widget.save() == fresh


def test_declarations_are_listed_by_offset_and_know_their_names() -> None:
    assert [register.name for register in Widget.registers()] == [
        "CONTROL", "STATUS", "COMMAND", "WIDE", "EVENTS", "COUNT",
    ]  # fmt: skip
