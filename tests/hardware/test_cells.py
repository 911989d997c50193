from __future__ import annotations

import pytest
from attrs import define

from vmcore.hardware import KEEP, READ, RO, WO, WRITE, Cells, Device, Register


class Plain(Device[None]):
    def reset(self) -> None: ...
    def save(self) -> None: ...
    def restore(self, state: None) -> None: ...


@define(eq=False)
class Gauge(Plain):
    STORAGE = Register(0, reset=0x5A, writable=0x0F, clears=0xF0)
    WATCHED = Register(1)
    COMPUTED = Register(2, access=RO)
    FIXED = Register(3, access=RO, reset=0x33)
    WIDE = Register(4, width=32)
    COMMAND = Register(3, access=WO)

    @WATCHED.on_write
    def _watch(self, value: int) -> None: ...

    @COMPUTED.on_read
    def _compute(self) -> int:
        return 1


def test_registers_without_handlers_are_served_by_the_engine() -> None:
    cells = Gauge().cells
    assert list(cells.rules) == [READ | WRITE, READ, 0, READ, *[READ | WRITE] * 4]
    assert list(cells.values) == [0x5A, 0, 0, 0x33, 0, 0, 0, 0]
    assert (cells.writable[0], cells.clears[0]) == (0x0F, 0xF0)


def test_a_device_with_dispatch_of_its_own_gives_nothing_away() -> None:
    @define(eq=False)
    class Own(Gauge):
        def port_read(self, offset: int, size: int) -> int:
            return 0

    own = Own()
    assert list(own.cells.rules) == [WRITE, 0, 0, 0, *[WRITE] * 4]
    assert own.readers() == {}
    assert (0, 1) in own.writers()


def test_what_the_engine_stores_is_what_the_device_sees() -> None:
    gauge = Gauge()
    gauge.cells.values[0] = 0x77
    gauge.cells.values[4:8] = b"\x78\x56\x34\x12"
    assert (gauge.STORAGE, gauge.WIDE) == (0x77, 0x12345678)
    assert gauge.port_read(4, 2) == 0x5678


def test_a_write_only_register_does_not_show_in_the_one_that_is_read_there() -> None:
    gauge = Gauge()
    gauge.port_write(3, 0x99, 1)
    assert (gauge.COMMAND, gauge.port_read(3, 1)) == (0x99, 0x33)


def test_rules_of_some_bytes_can_be_changed() -> None:
    cells = Cells(4)
    cells.allow(1, 2, READ | KEEP)
    assert list(cells.rules) == [0, READ | KEEP, READ | KEEP, 0]
    cells.allow(1, 1, 0)
    assert list(cells.rules) == [0, 0, READ | KEEP, 0]


def test_registers_can_be_had_as_a_mapping_by_name() -> None:
    gauge = Gauge()
    assert dict(gauge.register_values) == {
        "STORAGE": 0x5A, "WATCHED": 0, "COMPUTED": 0, "FIXED": 0x33, "COMMAND": 0, "WIDE": 0,
    }  # fmt: skip
    gauge.register_values.update(WIDE=7)
    assert gauge.WIDE == 7
    with pytest.raises(TypeError, match="cannot be taken away"):
        del gauge.register_values["WIDE"]
