"""The VGA's registers, what its window shows, and the drawing that the engine does."""

from __future__ import annotations

import pytest

from vmcore.devices.vga import StdVga
from vmcore.devices.vga_memory import GRAPHICS, LATCHES, SEQUENCER, Kind, VideoMemory
from vmcore.devices.vga_pci import VgaFunction
from vmcore.devices.vga_picture import picture
from vmcore.engine import Activity, Cpu, PhysicalMemory, assemble, can_assemble
from vmcore.engine.registers import Segment
from vmcore.firmware import video_bios
from vmcore.hardware.decoding import MemoryDecoder
from vmcore.hardware.memory_map import MemoryMap
from vmcore.screen.picture import Blank, IndexedPicture, PlanarPicture, TextPicture

FIRST = 0x3B0
GRAPHICS_64K, TEXT_32K = 0x05, 0x0E


class Bench:
    """An adapter, its memory and a processor that reaches both."""

    def __init__(self) -> None:
        self.memory = PhysicalMemory()
        self.decoder = MemoryDecoder(self.memory, MemoryMap())
        self.decoder.connect()
        self.memory.map_ram(0, 0x10000)
        self.vga = vga = StdVga(memory=VideoMemory(self.decoder))
        vga.reset()
        for base, count, offset in ((0x3B0, 0x30, 0), (0x1CE, 4, 0x30)):
            self.memory.map_port(
                base,
                count,
                vga.port_read,
                vga.port_write,
                offset=offset,
                cells=vga.cells.buffers,
                readers=vga.readers(),
                writers=vga.writers(),
                indexed=[registers.buffers for registers in vga.indexed()],
            )

    def out(self, port: int, value: int, size: int = 1) -> None:
        self.vga.port_write(port - FIRST, value, size)

    def graphics(self, index: int, value: int) -> None:
        self.out(0x3CE, index | value << 8, 2)

    def sequencer(self, index: int, value: int) -> None:
        self.out(0x3C4, index | value << 8, 2)

    def dispi(self, index: int, value: int) -> None:
        self.vga.write_dispi(index, value)

    def planar(self) -> None:
        """16 colours at A0000h, all planes written."""
        self.sequencer(4, 0x06)
        self.sequencer(2, 0x0F)
        self.graphics(5, 0x00)
        self.graphics(6, GRAPHICS_64K)
        self.graphics(8, 0xFF)

    def run(self, text: str) -> Cpu:
        """Run real-mode code that has ES at A0000h."""
        self.memory.load(0x1000, assemble(text + "\nhlt", 16, 0x1000))
        cpu = Cpu(self.memory)
        cpu.cs = cpu.ds = cpu.ss = Segment(0, 0, 0xFFFF, 0x93)
        cpu.es = Segment(0xA000, 0xA0000, 0xFFFF, 0x93)
        cpu.rip, cpu.rsp, cpu.rflags = 0x1000, 0x1000, 2
        cpu.run(100_000)
        assert cpu.activity == Activity.HALTED
        return cpu

    def planes(self, at: int) -> list[int]:
        return list(self.vga.memory.read(4 * at, 4))


@pytest.fixture
def bench() -> Bench:
    if not can_assemble():
        pytest.skip("needs keystone")
    return Bench()


def test_the_window_is_what_the_registers_say(bench: Bench) -> None:
    def window() -> tuple[Kind, int, int]:
        found = bench.vga.memory.window
        return found.kind, found.base, found.size

    assert window() == (Kind.PLANES, 0xA0000, 0x20000)
    bench.planar()
    assert window() == (Kind.PLANES, 0xA0000, 0x10000)
    bench.sequencer(4, 0x0E)
    assert window() == (Kind.LINEAR, 0xA0000, 0x10000)
    bench.sequencer(2, 0x03)
    assert window() == (Kind.PLANES, 0xA0000, 0x10000)
    bench.sequencer(4, 0x02)
    bench.graphics(5, 0x10)
    bench.graphics(6, TEXT_32K)
    assert window() == (Kind.TEXT, 0xB8000, 0x8000)
    bench.graphics(4, 2)
    assert window() == (Kind.PLANES, 0xB8000, 0x8000)
    bench.graphics(4, 0)
    bench.graphics(6, 0x0A)
    assert window() == (Kind.TEXT, 0xB0000, 0x8000)


def test_text_is_in_the_planes_when_the_mode_ends(bench: Bench) -> None:
    bench.sequencer(2, 0x03)
    bench.graphics(5, 0x10)
    bench.graphics(6, TEXT_32K)
    bench.memory.write(0xB8000, b"A\x07B\x1e")
    assert bench.vga.memory.read(0, 8) == b"A\x07\0\0B\x1e\0\0"
    bench.planar()
    assert bench.planes(0) == [0x41, 0x07, 0, 0]
    bench.run("mov byte ptr es:[1], 0x43")
    bench.sequencer(2, 0x03)
    bench.graphics(5, 0x10)
    bench.graphics(6, TEXT_32K)
    assert bench.memory.read(0xB8000, 4) == b"A\x07CC"


@pytest.mark.parametrize(
    ("registers", "latched", "written", "expected"),
    [
        ({}, [1, 2, 3, 4], 0x5A, [0x5A] * 4),
        ({3: 0x03}, [0] * 4, 0x81, [0x30] * 4),
        ({8: 0x0F}, [0xA0, 0xB0, 0xC0, 0xD0], 0x5C, [0xAC, 0xBC, 0xCC, 0xDC]),
        ({3: 0x08}, [0xF0, 0x0F, 0xFF, 0x00], 0x3C, [0x30, 0x0C, 0x3C, 0x00]),
        ({3: 0x10}, [0xF0, 0x0F, 0xFF, 0x00], 0x3C, [0xFC, 0x3F, 0xFF, 0x3C]),
        ({3: 0x18}, [0xF0, 0x0F, 0xFF, 0x00], 0x3C, [0xCC, 0x33, 0xC3, 0x3C]),
        ({0: 0x05, 1: 0x03}, [0] * 4, 0x11, [0xFF, 0x00, 0x11, 0x11]),
        ({5: 0x01}, [1, 2, 3, 4], 0xEE, [1, 2, 3, 4]),
        ({5: 0x02, 8: 0xF0}, [0x0A, 0x0B, 0x0C, 0x0D], 0x05, [0xFA, 0x0B, 0xFC, 0x0D]),
        ({0: 0x09, 5: 0x03, 8: 0x3C}, [0x11, 0x22, 0x33, 0x44], 0xF0, [0x31, 0x02, 0x03, 0x74]),
    ],
)
def test_write_modes(
    bench: Bench, registers: dict[int, int], latched: list[int], written: int, expected: list[int]
) -> None:
    bench.planar()
    bench.vga.memory.write(40, bytes(latched))
    for index, value in registers.items():
        bench.graphics(index, value)
    bench.run(f"mov al, byte ptr es:[10]\nmov byte ptr es:[20], {written}")
    assert list(bench.vga.memory.shared[LATCHES : LATCHES + 4]) == latched
    assert bench.planes(20) == expected


def test_the_map_mask_guards_planes(bench: Bench) -> None:
    bench.planar()
    bench.sequencer(2, 0x05)
    bench.run("mov word ptr es:[0], 0xffff")
    assert bench.planes(0) == bench.planes(1) == [0xFF, 0, 0xFF, 0]


def test_reads_choose_a_plane_or_compare_colours(bench: Bench) -> None:
    bench.planar()
    bench.vga.memory.write(0, bytes((0b1010, 0b1100, 0, 0b1111)))
    bench.graphics(4, 1)
    assert bench.run("mov al, byte ptr es:[0]").al == 0b1100
    bench.graphics(5, 0x08)
    bench.graphics(2, 0b1011)  # Planes 0, 1 and 3 set, 2 clear: only the dot of bit 3.
    bench.graphics(7, 0x0F)
    assert bench.run("mov al, byte ptr es:[0]").al == 0b1000
    bench.graphics(7, 0x08)  # Only plane 3 matters.
    assert bench.run("mov al, byte ptr es:[0]").al == 0b1111


def test_the_engine_writes_registers_that_only_matter_for_drawing(bench: Bench) -> None:
    bench.planar()
    bench.run("mov dx, 0x3ce\nmov ax, 0x3c08\nout dx, ax\nmov ax, 0x0205\nout dx, ax\nmov al, 3\nout dx, al\ninc dx")
    assert bench.vga.memory.shared[GRAPHICS + 8] == 0x3C
    assert bench.vga.memory.shared[GRAPHICS + 5] == 0x02
    assert bench.vga.GRAPHICS_INDEX == 3
    bench.run("mov dx, 0x3c4\nmov ax, 0xff02\nout dx, ax")
    assert bench.vga.memory.shared[SEQUENCER + 2] == 0x0F
    # What decides about the window goes to the device.
    bench.run("mov dx, 0x3c4\nmov ax, 0x0e04\nout dx, ax")
    assert bench.vga.memory.window.kind.value == "linear"
    bench.run("mov dx, 0x3c4\nmov ax, 0x0102\nout dx, ax")
    assert bench.vga.memory.window.kind.value == "planes"


def test_chained_planes_are_bytes_in_their_order(bench: Bench) -> None:
    bench.planar()
    bench.sequencer(4, 0x0E)
    bench.run("mov word ptr es:[5], 0x1234")
    assert bench.vga.memory.read(4, 4) == bytes((0, 0x34, 0x12, 0))
    bench.sequencer(2, 0x02)  # By the planes' mask, too.
    bench.run("mov word ptr es:[5], 0xffff")
    assert bench.vga.memory.read(4, 4) == bytes((0, 0xFF, 0x12, 0))


def test_protected_registers_of_the_crt_controller(bench: Bench) -> None:
    bench.out(0x3C2, 1)
    bench.out(0x3D4, 0x8011, 2)
    bench.out(0x3D4, 0x5500, 2)
    bench.out(0x3D4, 0xFF07, 2)
    assert bench.vga.crtc[0] == 0
    assert bench.vga.crtc[7] == 0x10
    bench.out(0x3D4, 0x0011, 2)
    bench.out(0x3D4, 0x5500, 2)
    assert bench.vga.crtc[0] == 0x55
    assert bench.vga.port_read(0x3B5 - FIRST, 1) == 0xFF
    bench.out(0x3C2, 0)
    assert bench.vga.port_read(0x3B5 - FIRST, 1) == 0x55
    assert bench.vga.port_read(0x3D5 - FIRST, 1) == 0xFF


def test_index_and_data_of_the_attribute_controller_take_turns(bench: Bench) -> None:
    bench.out(0x3C2, 1)
    bench.vga.port_read(0x3DA - FIRST, 1)
    bench.out(0x3C0, 0x10)
    bench.out(0x3C0, 0xFF)
    assert bench.vga.attributes[0x10] == 0xEF
    bench.out(0x3C0, 0x11)
    bench.vga.port_read(0x3DA - FIRST, 1)
    bench.out(0x3C0, 0x30)
    assert bench.vga.attribute_index == 0x30
    assert bench.vga.port_read(0x3C1 - FIRST, 1) == 0xEF


def test_the_palette_is_written_and_read_in_threes(bench: Bench) -> None:
    bench.out(0x3C8, 0xFF)
    for value in (1, 2, 3, 4, 5, 6):
        bench.out(0x3C9, value)
    assert bench.vga.palette[765:] == bytes((1, 2, 3))
    assert bench.vga.palette[:3] == bytes((4, 5, 6))
    bench.out(0x3C7, 0)
    assert bench.vga.port_read(0x3C7 - FIRST, 1) == 3
    assert [bench.vga.port_read(0x3C9 - FIRST, 1) for _ in range(3)] == [4, 5, 6]


def test_modes_of_the_bochs_extensions_are_made_to_fit(bench: Bench) -> None:
    read = bench.vga.dispi.read
    assert read(0) == 0xB0C5
    assert read(10) == 256
    bench.dispi(4, 2)
    assert [read(index) for index in (1, 2, 3)] == [16000, 12000, 32]
    bench.dispi(4, 0)
    bench.dispi(1, 1027)
    bench.dispi(2, 70000 & 0xFFFF)
    bench.dispi(3, 7)
    bench.vga.memory.write(0, b"\xff" * 64)
    bench.dispi(4, 0x41)
    assert [read(index) for index in (1, 2, 3, 6)] == [1024, 4464, 8, 1024]
    assert bench.vga.memory.read(0, 64) == bytes(64)
    bench.dispi(6, 2048)
    bench.dispi(9, 100)
    assert bench.vga.dispi.start == 100 * 2048
    bench.dispi(9, 60000)
    assert bench.vga.dispi.start == 0
    bench.dispi(5, 0xFFFF)
    assert read(5) == 255
    assert bench.vga.memory.bank == 255 << 16


def test_the_height_of_narrow_lines_is_cut_to_the_register(bench: Bench) -> None:
    for index, value in ((1, 8), (2, 1), (3, 8), (4, 0x41)):
        bench.dispi(index, value)
    assert bench.vga.dispi.read(7) == 0xFFFF


def test_a_bank_of_the_window(bench: Bench) -> None:
    for index, value in ((1, 640), (2, 480), (3, 32), (4, 1), (5, 3)):
        bench.dispi(index, value)
    bench.run("mov dword ptr es:[8], 0x11223344")
    assert bench.vga.memory.read(3 << 16 | 8, 4) == bytes.fromhex("44332211")


def test_pictures(bench: Bench) -> None:
    assert picture(bench.vga, 0) == Blank(640, 480)
    video_bios.start_text(bench.vga, b"")
    shown = picture(bench.vga, 0)
    assert isinstance(shown, TextPicture)
    assert (shown.columns, shown.rows, shown.width, shown.height) == (80, 25, 720, 400)
    assert shown.cursor is not None
    assert shown.cursor.shown
    hidden = picture(bench.vga, 150_000_000)
    assert isinstance(hidden, TextPicture)
    assert hidden.cursor is not None
    assert not hidden.cursor.shown
    bench.out(0x3C4, 0x2001, 2)
    assert isinstance(picture(bench.vga, 0), Blank)
    bench.out(0x3C4, 0x0001, 2)
    bench.planar()
    assert isinstance(picture(bench.vga, 0), PlanarPicture)
    bench.graphics(5, 0x40)
    assert isinstance(picture(bench.vga, 0), IndexedPicture)


def test_registers_in_memory(bench: Bench) -> None:
    function = VgaFunction(vga=bench.vga)
    function.mmio_write(0x502, 800, 2)
    assert bench.vga.dispi.read(1) == 800
    assert function.mmio_read(0x502, 2) == 800
    function.mmio_write(0x402, 0x67, 1)
    assert function.mmio_read(0x40C, 1) == bench.vga.misc == 0x67
    assert function.mmio_read(0x600, 4) == 8
    assert function.mmio_read(0x604, 4) == 0x1E1E1E1E
    assert function.mmio_read(0, 4) == 0xFFFFFF00
    assert function.mmio_read(0x700, 4) == 0xFFFFFFFF
