from __future__ import annotations

import pytest
from attrs import define

from vmcore.hardware import Alias, Device, MemoryMap, Mmio, Ram, Rom
from vmcore.model.errors import ConfigError

LOW = Ram(0, 0xA0000, "low")
BIOS = Rom(0xF0000, 0x10000, "bios", bytes(0x10000))


@define(eq=False)
class Echo(Device[None]):
    written: tuple[int, int, int] | None = None

    def mmio_read(self, offset: int, size: int) -> int:
        return offset << 8 | size

    def mmio_write(self, offset: int, value: int, size: int) -> None:
        self.written = offset, value, size

    def reset(self) -> None: ...
    def save(self) -> None: ...
    def restore(self, state: None) -> None: ...


def test_regions_are_ordered_by_address() -> None:
    memory = MemoryMap()
    memory.add(BIOS)
    memory.add(LOW)
    assert list(memory) == [LOW, BIOS]
    assert len(memory) == 2


def test_addresses_find_their_region() -> None:
    memory = MemoryMap()
    memory.add(LOW)
    memory.add(BIOS)
    assert memory.at(0x9FFFF) is LOW
    assert memory.at(0xA0000) is None
    assert memory.at(0xFFFFF) is BIOS
    assert memory.at(0x100000) is None


def test_an_overlap_names_both_regions_in_hex() -> None:
    memory = MemoryMap()
    memory.add(LOW)
    with pytest.raises(ConfigError, match=r"MMIO vga at 0x9ffff-0xa0000.*RAM low at 0x0-0x9ffff"):
        memory.add(Mmio(0x9FFFF, 2, "vga", Echo()))
    assert list(memory) == [LOW]


@pytest.mark.parametrize(("base", "size"), [(-1, 4), (0, 0), ((1 << 52) - 1, 2)])
def test_a_region_outside_of_the_address_space_is_refused(base: int, size: int) -> None:
    with pytest.raises(ConfigError, match="0xfffffffffffff"):
        MemoryMap().add(Ram(base, size, "odd"))


def test_contents_of_a_rom_fill_it() -> None:
    with pytest.raises(ConfigError, match="0x1000 bytes, not 0x1"):
        MemoryMap().add(Rom(0, 0x1000, "short", b"\x00"))


def test_a_region_is_replaced_in_one_step_and_the_machine_hears_once() -> None:
    memory = MemoryMap()
    memory.add(BIOS)
    heard: list[list[object]] = []
    memory.on_change = lambda: heard.append(list(memory))
    shadow = Ram(0xF0000, 0x10000, "shadow", offset=0xF0000)
    memory.replace(BIOS, shadow)
    assert heard == [[shadow]]


def test_a_replacement_that_does_not_fit_changes_nothing() -> None:
    memory = MemoryMap()
    memory.add(LOW)
    memory.add(BIOS)
    with pytest.raises(ConfigError):
        memory.replace(BIOS, Ram(0x9F000, 0x1000, "bad"))
    assert list(memory) == [LOW, BIOS]


def test_removed_regions_leave_a_hole() -> None:
    memory = MemoryMap()
    memory.add(LOW)
    memory.remove(LOW)
    assert memory.at(0) is None


def test_device_regions_get_offsets_and_holes_read_as_ones() -> None:
    memory, device = MemoryMap(), Echo()
    memory.add(Mmio(0xFEC00000, 0x1000, "ioapic", device, offset=0x100))
    assert memory.read(0xFEC00010, 4) == 0x110 << 8 | 4
    memory.write(0xFEC00020, 7, 2)
    assert device.written == (0x120, 7, 2)
    assert memory.read(0x10, 4) == 0xFFFFFFFF
    memory.write(0x10, 1, 4)


def test_an_alias_shows_its_target() -> None:
    memory = MemoryMap()
    memory.add(BIOS)
    memory.add(Alias(0xFFFF0000, 0x10000, "bios-high", target=0xF0000))
    assert memory.resolve(0xFFFFFFF0) == (BIOS, 0xFFF0)


def test_aliases_that_lead_in_a_circle_show_nothing() -> None:
    memory = MemoryMap()
    memory.add(Alias(0, 0x1000, "a", target=0x1000))
    memory.add(Alias(0x1000, 0x1000, "b", target=0))
    assert memory.resolve(0) is None
    assert memory.read(0, 1) == 0xFF
