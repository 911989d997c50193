"""The built-in BIOS finds its way back to a guest that slept: in the mode that the FACS asks for."""

from __future__ import annotations

from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.events import Suspend, Wakeup
from vmcore.model.exits import StopRequested

MEMORY = 8 << 20
FACS = MEMORY - 0x10000
VECTOR, LONG_VECTOR = 12, 24
SLEEP = bytes.fromhex("ba 04 06 b8 00 24 ef fa f4").ljust(510, b"\0") + b"\x55\xaa"
PLACE = 0x9ABC5
# In real mode: CS and 2Ah to COM1.
REAL = bytes.fromhex("8c c8 ba f8 03 ee 88 e0 ee b0 2a ee fa f4")
# In 32-bit mode: CR0.PE to COM1, 77h above the first megabyte, 2Ah to COM1.
FLAT = bytes.fromhex("66 ba f8 03 0f 20 c0 24 01 ee c6 05 00 00 20 00 77 b0 2a ee fa f4")


def sleeper() -> Machine:
    machine = Machine(MachineConfig(memory=MEMORY, bootsector=SLEEP))
    machine.on_event = lambda event: machine.stop(event) if isinstance(event, Suspend) else None
    assert machine.run(20_000_000) == StopRequested(Suspend())
    machine.on_event = None
    return machine


def test_in_real_mode_at_the_segment_of_the_waking_vector() -> None:
    with sleeper() as machine:
        kept = machine.memory.read(0, 0x400)
        machine.memory.load(PLACE, REAL)
        machine.memory.load(FACS + VECTOR, PLACE.to_bytes(4, "little"))
        assert machine.wake()
        machine.run(10_000)
        assert machine.serial[0].take() == (PLACE >> 4).to_bytes(2, "little") + b"\x2a"
        assert machine.take_events() == [Wakeup()]
        assert machine.memory.read(0, 0x400) == kept
        power = machine.board.devices["/machine/acpi"].save()
        assert power.control & 1, "ACPI mode is on"
        assert not machine.cpus[0].cr0 & 1


def test_in_flat_32_bit_mode_at_the_long_vector() -> None:
    with sleeper() as machine:
        machine.memory.load(PLACE, FLAT)
        machine.memory.load(FACS + LONG_VECTOR, PLACE.to_bytes(8, "little"))
        machine.wake()
        machine.run(10_000)
        assert machine.serial[0].take() == b"\x01\x2a"
        assert machine.memory.read(0x200000, 1) == b"\x77"


def test_without_a_vector_the_system_is_booted_again() -> None:
    with sleeper() as machine:
        machine.wake()
        machine.run(20_000_000)
        assert machine.take_events() == [Wakeup(), Suspend()]


def test_a_reset_while_it_sleeps_is_an_ordinary_reset() -> None:
    with sleeper() as machine:
        machine.memory.load(FACS + VECTOR, PLACE.to_bytes(4, "little"))
        machine.reset()
        assert not machine.asleep
        machine.run(20_000_000)
        assert Suspend() in machine.take_events(), "it has booted"
