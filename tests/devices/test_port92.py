from __future__ import annotations

import pytest
from workbench import Wire

from vmcore.devices.port92 import Port92


@pytest.fixture
def resets() -> list[None]:
    return []


@pytest.fixture
def port(wire: Wire, resets: list[None]) -> Port92:
    return Port92(wire.line, lambda: resets.append(None))


def test_bit_one_opens_and_shuts_the_a20_gate(port: Port92, wire: Wire, resets: list[None]) -> None:
    port.port_write(0, 0x02, 1)
    assert port.port_read(0, 1) == 0x02
    port.port_write(0, 0x00, 1)
    assert port.port_read(0, 1) == 0x00
    assert wire.levels == [True, False]
    assert not resets


def test_the_gate_is_read_from_the_line_whoever_drove_it(port: Port92, wire: Wire) -> None:
    wire.line.raise_()
    assert port.port_read(0, 1) == 0x02


def test_a_rising_bit_zero_resets_once(port: Port92, resets: list[None]) -> None:
    port.port_write(0, 0x01, 1)
    port.port_write(0, 0x01, 1)
    assert len(resets) == 1
    port.port_write(0, 0x00, 1)
    port.port_write(0, 0x03, 1)
    assert len(resets) == 2


def test_the_other_bits_are_kept_until_reset(port: Port92) -> None:
    port.port_write(0, 0xCC, 1)
    assert port.port_read(0, 1) == 0xCC
    port.reset()
    assert port.port_read(0, 1) == 0


def test_restoring_sets_the_gate_in_silence(port: Port92, wire: Wire) -> None:
    port.port_write(0, 0x42, 1)
    saved = port.save()
    port.port_write(0, 0x00, 1)
    port.restore(saved)
    assert port.port_read(0, 1) == 0x42
    assert wire.levels == [True, False]
