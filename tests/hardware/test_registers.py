from __future__ import annotations

from typing import Any

import pytest
from attrs import define

from vmcore.hardware import Device, Register


@define(eq=False)
class Cell(Device[None]):
    PLAIN = Register(0)
    MIXED = Register(1, reset=0x3C, writable=0x0F, clears=0x30)

    def reset(self) -> None: ...
    def save(self) -> None: ...
    def restore(self, state: None) -> None: ...


def test_a_register_knows_its_name_and_size() -> None:
    assert Cell.PLAIN.name == "PLAIN"
    assert Register(0, width=32).size == 4
    assert Register(0, width=32).mask == 0xFFFFFFFF
    assert "MIXED at 0x1, 8 bits" in repr(Cell.MIXED)


@pytest.mark.parametrize(("written", "kept"), [(0x00, 0x30), (0x10, 0x20), (0xFF, 0x0F), (0xC5, 0x35)])
def test_a_stored_write_takes_some_bits_clears_some_and_leaves_the_rest(written: int, kept: int) -> None:
    cell = Cell()
    Cell.MIXED.store(cell, written)
    assert cell.port_read(1, 1) == kept


def test_bits_that_ones_clear_are_not_writable_unless_told_otherwise() -> None:
    assert Register(0, clears=0x0F).writable == 0xF0


def test_two_devices_have_registers_of_their_own() -> None:
    one, two = Cell(), Cell()
    one.PLAIN = 7
    assert (one.PLAIN, two.PLAIN) == (7, 0)


@pytest.mark.parametrize("arguments", [{"width": 7}, {"reset": 0x100}, {"writable": 0x1FF}, {"clears": -1}])
def test_a_declaration_that_cannot_be_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="register at 0x0"):
        Register(0, **arguments)


def test_an_inherited_register_can_be_replaced() -> None:
    @define(eq=False)
    class Other(Cell):
        PLAIN = Register(0, reset=9)

    assert Other().port_read(0, 1) == 9
    assert [register.name for register in Other.registers()] == ["PLAIN", "MIXED"]
