"""The registers of memory hot-plug against their document (docs/specs/acpi_mem_hotplug of QEMU)."""

from __future__ import annotations

from vmcore.devices.memory_hotplug import MemoryHotplug, MemorySlot

GIB = 1 << 30


class Bench:
    def __init__(self) -> None:
        self.log: list[object] = []
        self.device = MemoryHotplug(
            3,
            lambda: self.log.append("event"),
            lambda slot: self.log.append(("eject", slot)),
            lambda slot: self.log.append(("status", slot)),
        )

    def select(self, slot: int) -> None:
        self.device.port_write(0, slot, 4)

    def read(self) -> tuple[int, ...]:
        """Address, size, node, status."""
        low, high, size, more, node = (self.device.port_read(offset, 4) for offset in range(0, 0x14, 4))
        return low | high << 32, size | more << 32, node, self.device.port_read(0x14, 1)


def test_a_module_is_told_of_in_its_slot() -> None:
    bench = Bench()
    bench.device.plug(1, 5 * GIB, 6 * GIB + 4096, 2)
    assert bench.log == ["event"]
    bench.select(0)
    assert bench.read() == (0, 0, 0, 0)
    bench.select(1)
    assert bench.read() == (5 * GIB, 6 * GIB + 4096, 2, 0b011)
    bench.device.port_write(0x14, 0b010, 1)
    assert bench.read()[3] == 0b001
    bench.device.place(2, 4 * GIB, GIB, 0)
    bench.select(2)
    assert bench.read() == (4 * GIB, GIB, 0, 0b001)


def test_a_slot_that_there_is_not_reads_as_zero_and_takes_nothing() -> None:
    bench = Bench()
    bench.select(3)
    assert bench.read() == (0, 0, 0, 0)
    for offset, size in ((4, 4), (8, 4), (0x14, 1)):
        bench.device.port_write(offset, 0xF, size)
    assert bench.log == []
    assert bench.device.slots == (MemorySlot(),) * 3
    # Reserved.
    assert [bench.device.port_read(offset, 1) for offset in (0x15, 0x16, 0x17)] == [0xFF] * 3


def test_a_module_goes_with_words() -> None:
    bench = Bench()
    bench.device.plug(0, 4 * GIB, GIB, 0)
    bench.device.port_write(0x14, 0b010, 1)
    bench.device.ask_to_go(0)
    assert bench.read()[3] == 0b101
    bench.device.port_write(0x14, 0b100, 1)
    assert bench.read()[3] == 0b001
    bench.device.port_write(0x04, 3, 4)
    bench.device.port_write(0x08, 0x84, 4)
    slot = bench.device.slots[0]
    assert (slot.ost_event, slot.ost_status) == (3, 0x84)
    bench.device.port_write(0x14, 0b1000, 1)
    assert bench.read() == (0, 0, 0, 0)
    bench.device.port_write(0x14, 0b1000, 1)
    assert bench.log == ["event", "event", ("status", 0), ("eject", 0)]
    slot = bench.device.slots[0]
    assert (slot.ost_event, slot.ost_status) == (3, 0x84)


def test_a_reset_changes_nothing() -> None:
    bench = Bench()
    bench.device.plug(0, 4 * GIB, GIB, 0)
    bench.device.ask_to_go(0)
    before = bench.device.save()
    bench.device.reset()
    assert bench.device.save() == before
