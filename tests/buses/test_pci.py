"""PCI functions on a bus: who they are, what they decode, whom they interrupt, and whether they may master."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "devices"))

from pci_bench import RAM_END, Bridge, PciBench, Widget

from vmcore.buses.pci import Space
from vmcore.buses.pci_config import ConfigSpace, Status
from vmcore.hardware.decoding import HiddenMemory, Registers
from vmcore.model.errors import ConfigError
from vmcore.model.units import MIB

COMMAND, BAR0, BAR1, BAR2, BAR4, ROM = 0x04, 0x10, 0x14, 0x18, 0x20, 0x30
IO, MEMORY, MASTER = 1, 2, 4


def shown(bench: PciBench) -> list[tuple[int, int]]:
    return [(base, size) for base, size, _ in bench.decoder.shown]


def shown_ports(bench: PciBench) -> list[tuple[int, int]]:
    return [(claimed.base, claimed.length) for claimed in bench.ports.ranges]


def test_the_header_says_who_the_function_is() -> None:
    widget = PciBench().put(Widget(), 5)
    assert widget.config_read(0, 4) == 0x5678_1234
    assert widget.config_read(8, 4) == 0xFF01_0203
    assert widget.config_read(0x2C, 4) == 0x1100_1AF4
    assert widget.config_read(0x3D, 1) == 1
    assert widget.config_read(6, 2) & 0x10, "it has capabilities"


def test_sizing_reads_back_the_size_and_the_kind() -> None:
    widget = PciBench().put(Widget())
    sizes = {}
    for register in (BAR0, BAR1, BAR2, BAR2 + 4, BAR4, 0x24, ROM):
        widget.config_write(register, 0xFFFF_FFFF, 4)
        sizes[register] = widget.config_read(register, 4)
    assert sizes == {
        BAR0: 0xFFFF_F000,
        BAR1: 0xFFFF_FFE1,
        BAR2: 0xFFFF_000C,
        BAR2 + 4: 0xFFFF_FFFF,
        BAR4: 0xFFFF_F000,
        0x24: 0,
        ROM: 0xFFFF_F001,
    }


def test_the_command_register_lets_windows_show_and_hides_them() -> None:
    bench = PciBench()
    widget = bench.put(Widget())
    widget.config_write(BAR0, 0xE000_0000, 4)
    widget.config_write(BAR1, 0xC000, 4)
    assert shown(bench) == []
    widget.config_write(COMMAND, MEMORY, 2)
    assert shown(bench) == [(0xE000_0000, 4096)]
    assert shown_ports(bench) == []
    widget.config_write(COMMAND, IO, 2)
    assert shown(bench) == []
    assert shown_ports(bench) == [(0x3C0, 16), (0xC000, 32)]
    assert bench.ports.read(0xC004, 4) == 0x7461_6721
    widget.config_write(COMMAND, 0, 2)
    assert bench.ports.read(0xC004, 4) == 0xFFFF_FFFF


def test_registers_that_nobody_set_and_those_of_sizing_decode_nothing() -> None:
    bench = PciBench()
    widget = bench.put(Widget())
    widget.config_write(COMMAND, MEMORY | IO, 2)
    assert shown(bench) == []
    for register in (BAR0, BAR1, BAR2, BAR2 + 4, ROM):
        widget.config_write(register, 0xFFFF_FFFF, 4)
    assert shown(bench) == []
    assert shown_ports(bench) == [(0x3C0, 16)]


def test_memory_behind_a_window_is_there_wherever_it_shows() -> None:
    bench = PciBench()
    widget = bench.put(Widget())
    widget.config_write(COMMAND, MEMORY, 2)
    widget.config_write(BAR2, 0xD000_0000, 4)
    bench.memory.write(0xD000_1234, b"frame")
    widget.config_write(BAR2 + 4, 0x10, 4)
    assert bench.memory.read(0xD000_1234, 5) == b"\xff" * 5
    assert bench.memory.read(0x10_D000_1234, 5) == b"frame"
    home = widget.frame.memory
    assert home is not None
    assert bench.memory.read(home.home + 0x1234, 5) == b"frame"


def test_the_rom_shows_once_its_own_bit_is_set_and_cannot_be_written() -> None:
    bench = PciBench()
    widget = bench.put(Widget())
    widget.config_write(COMMAND, MEMORY, 2)
    widget.config_write(ROM, 0xF000_0000, 4)
    assert bench.memory.read(0xF000_0000, 2) == b"\xff\xff"
    widget.config_write(ROM, 0xF000_0001, 4)
    bench.memory.write(0xF000_0000, b"\0\0")
    assert bench.memory.read(0xF000_0000, 6) == b"\x55\xaa\x08rom"


def test_a_fixed_window_can_be_moved_and_can_show_memory() -> None:
    bench = PciBench()
    widget = bench.put(Widget())
    window = widget.add_window(Space.MEMORY, None, 0x8000)
    widget.config_write(COMMAND, MEMORY, 2)
    assert shown(bench) == []
    memory = widget.frame.memory
    assert memory is not None
    widget.move(window, base=0x20_0000, target=memory.part(0x8000, 0x8000))
    bench.memory.write(0x20_0000, b"bank")
    assert bench.memory.read(memory.home + 0x8000, 4) == b"bank"
    widget.move(window, base=0x20_0000, target=memory.part(0, 0x8000))
    assert bench.memory.read(0x20_0000, 4) == bytes(4)


def test_ram_and_lower_places_win_where_windows_overlap() -> None:
    bench = PciBench()
    first, second = bench.put(Widget(), 1), bench.put(Widget(), 2)
    for widget in (second, first):
        widget.config_write(COMMAND, MEMORY, 2)
        widget.config_write(BAR2, MIB, 4)
    assert [(base, size) for base, size, claim in bench.decoder.shown] == [(RAM_END, 0x8000)]
    assert "bar2" in bench.decoder.shown[0][2].name
    assert bench.decoder.shown[0][2].order[1] == 8
    first.config_write(COMMAND, 0, 2)
    assert bench.decoder.shown[0][2].order[1] == 16


def test_an_interrupt_reaches_the_line_of_its_slot_unless_it_is_disabled() -> None:
    bench = PciBench()
    widget, other = bench.put(Widget(), 2), bench.put(Widget(), 6)
    widget.interrupt(True)
    other.interrupt(True)
    widget.interrupt(False)
    assert bench.log == [("line2", True)], "the line is shared"
    other.config_write(COMMAND, 1 << 10, 2)
    assert bench.log[1:] == [("line2", False)]
    assert other.config_read(6, 1) & 8, "the status tells of it all the same"
    other.config_write(COMMAND, 0, 2)
    other.reset()
    assert bench.log[2:] == [("line2", True), ("line2", False)]


def test_bus_mastering_needs_its_bit() -> None:
    bench = PciBench()
    widget = bench.put(Widget())
    widget.dma_write(0x1000, b"data")
    assert bench.memory.read(0x1000, 4) == bytes(4)
    assert widget.dma_read(0x1000, 2) == b"\xff\xff"
    widget.config_write(COMMAND, MASTER, 2)
    widget.dma_write(0x1000, b"data")
    assert widget.dma_read(0x1000, 4) == b"data"
    assert widget.dma_read(1 << 51, 4) == b"\xff" * 4, "the homes of hidden memory are out of reach"


def test_status_bits_are_cleared_by_ones() -> None:
    widget = PciBench().put(Widget())
    widget.set_status(Status.SIGNALLED_SYSTEM_ERROR | Status.PARITY_ERROR)
    widget.config_write(6, 0x8000, 2)
    assert widget.config_read(6, 2) & 0xC000 == 0x4000


def test_msi_sends_its_message_and_keeps_what_is_masked() -> None:
    bench = PciBench()
    widget = bench.put(Widget())
    at = widget.msi.at
    widget.config_write(COMMAND, MASTER, 2)
    widget.config_write(at + 4, 0xFEE0_1000, 4)
    widget.config_write(at + 12, 0x4041, 2)
    widget.msi.send(1)
    assert bench.log == [], "not enabled"
    widget.config_write(at + 2, 0x21, 2)
    widget.msi.send(2)
    assert bench.log == [("message", (0xFEE0_1000, 0x4042))]
    widget.config_write(at + 16, 0b1000, 4)
    widget.msi.send(3)
    assert widget.config_read(at + 20, 4) == 0b1000
    widget.config_write(at + 16, 0, 4)
    assert bench.log[1:] == [("message", (0xFEE0_1000, 0x4043))]
    assert widget.config_read(at + 20, 4) == 0


def test_msix_has_a_message_for_each_vector() -> None:
    bench = PciBench()
    widget = bench.put(Widget())
    at = widget.config.data.index(0x11, 0x40)
    widget.config_write(COMMAND, MASTER | MEMORY, 2)
    widget.config_write(BAR4, 0xE010_0000, 4)
    table = widget.msix
    table.mmio_write(16, 0xFEE0_0000, 4)
    table.mmio_write(24, 0x51, 4)
    widget.config_write(at + 2, 0x8000, 2)
    table.send(1)
    assert bench.log == []
    assert table.mmio_read(table.pba, 8) == 2
    table.mmio_write(28, 0, 4)
    assert bench.log == [("message", (0xFEE0_0000, 0x51))]
    assert table.mmio_read(table.pba, 8) == 0


def test_functions_of_one_device_make_it_multifunction() -> None:
    bench = PciBench()
    first = bench.put(Widget(), 3)
    assert first.config_read(0x0E, 1) == 0
    bench.put(Widget(), 3, 2)
    assert first.config_read(0x0E, 1) == 0x80


def test_a_slot_takes_one_function() -> None:
    bench = PciBench()
    bench.put(Widget(), 3)
    with pytest.raises(ConfigError, match=r"03\.0.*free slot"):
        bench.put(Widget(), 3)
    with pytest.raises(ConfigError, match=r"20\.0"):
        bench.put(Widget(), 32)


def test_what_is_pulled_out_is_gone() -> None:
    bench = PciBench()
    widget = bench.put(Widget(), 3)
    widget.config_write(COMMAND, MEMORY | IO, 2)
    widget.config_write(BAR2, 0xE000_0000, 4)
    widget.interrupt(True)
    regions = len(bench.memory.regions())
    bench.bus.unplug(widget)
    assert bench.log == [("line3", True), ("line3", False)]
    assert shown(bench) == []
    assert shown_ports(bench) == []
    assert len(bench.memory.regions()) == regions - 3, "the memory behind the window and the ROM went too"
    assert bench.bus.find(0, 24) is None
    bench.put(Widget(), 3)


def test_a_bridge_passes_what_its_windows_let_through() -> None:
    bench = PciBench()
    bridge = bench.put(Bridge(), 4)
    assert bridge.below is not None
    widget = Widget()
    bridge.below.plug(widget, 1)
    bridge.config_write(0x18, 0x00_03_02_00, 4)
    assert bench.bus.find(2, 8) is widget
    assert bench.bus.find(3, 8) is None
    widget.config_write(COMMAND, MEMORY | IO | MASTER, 2)
    widget.config_write(BAR0, 0xE000_0000, 4)
    widget.config_write(BAR1, 0xD000, 4)
    assert shown(bench) == []
    bridge.config_write(0x20, 0xE000_E000, 4)
    bridge.config_write(0x1C, 0xD0D0, 2)
    bridge.config_write(COMMAND, MEMORY | IO, 2)
    assert shown(bench) == [(0xE000_0000, 4096)]
    assert shown_ports(bench) == [(0xD000, 32)]
    widget.dma_write(0x1000, b"x")
    assert bench.memory.read(0x1000, 1) == b"\0"
    bridge.config_write(COMMAND, MEMORY | IO | MASTER, 2)
    widget.dma_write(0x1000, b"x")
    assert bench.memory.read(0x1000, 1) == b"x"
    bridge.config_write(0x3E, 8, 2)
    assert (0x3C0, 16) in shown_ports(bench)
    widget.interrupt(True)
    assert bench.log == [("line1", True)], "slot 1 behind slot 4: pin 1, then line 4 + 1"
    bridge.config_write(0x3E, 0x48, 2)
    assert shown(bench) == []
    assert bench.log[1:] == [("line1", False)]


def test_configuration_writes_change_writable_bits_of_the_bytes_that_they_reach() -> None:
    space = ConfigSpace(bytes.fromhex("11223344"), {1: 0xF0, 3: 0xFF})
    space.write(1, 0xAA, 1)
    space.write(2, 0xBBCC, 2)
    assert space.read(0, 4) == 0xBB33A211
    space.reset()
    assert space.read(0, 4) == 0x44332211


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_guest_programs_each_address_shows_what_the_rules_say(seed: int) -> None:
    bench, random = PciBench(), Random(seed)
    widgets = [bench.put(Widget(), device) for device in (1, 2, 3)]
    bridge = bench.put(Bridge(), 4)
    assert bridge.below is not None
    widgets.append(Widget())
    bridge.below.plug(widgets[-1], 1)
    places = [0, 0x1000, 0xF_8000, 0xF_F000, 0x10_0000, 0x10_8000, 0x11_0000, 0xFFFF_0000, 0xFFFF_FFFF, 0xFFFF_F000]
    registers = [COMMAND, COMMAND, BAR0, BAR1, BAR2, BAR2 + 4, BAR4, ROM, 0x1C, 0x3E, 0x24, 0x28]
    for step in range(400):
        function = random.choice([*widgets, bridge])
        size = random.choice((1, 2, 4))
        register = random.choice(registers)
        value = random.choice(places) | random.randrange(8) if register != COMMAND else random.randrange(8)
        function.config_write(register, value & (1 << 8 * size) - 1, size)
        if step % 20:
            continue
        pieces = bench.decoder.shown
        assert all(a + size <= b for (a, size, _), (b, _, _) in pairwise(pieces)), "disjoint"
        for base, size, claim in pieces:
            assert base >= RAM_END, "RAM wins"
            for other in bench.decoder._claims:
                hides = other.base < base + size and base < other.base + other.size
                assert not (hides and other.order < claim.order and isinstance(other.target, Registers)), "lower wins"
            if isinstance(claim.target, HiddenMemory):
                assert not (base | size) & 0xFFF
        kinds = {base: size for base, size, kind in bench.memory.regions() if base < 1 << 51 and base}
        assert kinds == {base: size for base, size, _ in pieces}, "the engine knows the same"
    saved = [function.save() for function in (*widgets, bridge)]
    before = [(base, size, claim.order) for base, size, claim in bench.decoder.shown]
    for function in (*widgets, bridge):
        function.reset()
    assert bench.decoder.shown == []
    for function, state in zip((bridge, *widgets), (saved[-1], *saved), strict=False):
        function.restore(state)
    assert [(base, size, claim.order) for base, size, claim in bench.decoder.shown] == before
