"""The board `none`: nothing but vCPUs, RAM and what the configuration adds."""

from __future__ import annotations

import pytest

from vmcore.machine.config import FlatImage, FlatMode, MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.exits import BudgetSpent, DebugExit, Idle
from vmcore.model.units import GIB, MIB

# mov eax, 5; out 0xf4, eax; hlt
LEAVE = bytes.fromhex("b805000000 e7f4 f4")


def test_all_of_the_memory_is_ram() -> None:
    made = Machine(MachineConfig(board="none", memory="2M"))
    assert made.memory.regions() == [(0, 2 * MIB, "RAM")]
    large = Machine(MachineConfig(board="none", memory="5G"))
    assert large.memory.regions() == [(0, 3 * GIB, "RAM"), (4 * GIB, 2 * GIB, "RAM")]


def test_ports_read_as_ones_and_no_device_is_there() -> None:
    made = Machine(MachineConfig(board="none"))
    assert made.board.ports.read(0x3F8, 4) == 0xFFFFFFFF
    assert made.board.devices == {}


@pytest.mark.parametrize("devices", [[], ["isa-debug-exit,iobase=0xf4,iosize=4"]])
def test_devices_are_those_of_the_configuration(devices: list[str]) -> None:
    flat = FlatImage(LEAVE, 0x1000, mode=FlatMode.PROTECTED)
    made = Machine(MachineConfig(board="none", flat=flat, devices=devices))
    assert made.run(10) == (DebugExit(5) if devices else Idle(None))


def test_a_flat_image_starts_at_its_address() -> None:
    made = Machine(MachineConfig(board="none", memory="2M", flat=FlatImage(b"\xeb\xfe", 0x9000)))
    assert made.run(10) == BudgetSpent()
    assert made.cpus[0].cs.base + made.cpus[0].rip == 0x9000
