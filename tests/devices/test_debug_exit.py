from __future__ import annotations

import pytest

from vmcore.devices.debug_exit import DebugExitPort
from vmcore.hardware import PortSpace


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_write_of_any_width_gives_its_value(size: int) -> None:
    values: list[int] = []
    ports = PortSpace()
    ports.claim(0xF4, 4, DebugExitPort(values.append))
    ports.write(0xF4, 0x10, size)
    assert values == [0x10]


def test_every_port_of_the_range_takes_a_write() -> None:
    values: list[int] = []
    ports = PortSpace()
    ports.claim(0xF4, 4, DebugExitPort(values.append))
    ports.write(0xF6, 0x21, 1)
    assert values == [0x21]


def test_reads_give_zero_and_end_nothing() -> None:
    values: list[int] = []
    ports = PortSpace()
    ports.claim(0xF4, 4, DebugExitPort(values.append))
    assert [ports.read(0xF4, size) for size in (1, 2, 4)] == [0, 0, 0]
    assert values == []
