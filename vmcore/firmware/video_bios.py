"""The video BIOS: where it comes from, and what it leaves behind.

A machine whose firmware runs as code calls the video BIOS from the ROM at C0000h, as every PC does.  A kernel that is
started without firmware still finds the adapter as firmware would have left it, in text mode 3: the same ROM has done
its work once before, on a small machine of its own, and what that left in the adapter is put in place.

Without a ROM the adapter gets the registers of mode 3 from a table (IBM PS/2 Hardware Interface Technical Reference,
"Video Subsystem"); it then shows text to programs, but it has no fonts to show it to eyes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from attrs import evolve, frozen

from vmcore.devices.vga import StdVga, StdVgaState
from vmcore.devices.vga_memory import VideoMemory
from vmcore.engine import Activity, Cpu, PhysicalMemory
from vmcore.firmware.image_file import ImageFile
from vmcore.hardware.decoding import MemoryDecoder
from vmcore.hardware.memory_map import MemoryMap
from vmcore.model.units import KIB

__all__ = ["FAR_CALL", "ROM", "SHADOW_SIZE", "VideoStart", "check", "find", "start_text", "started"]

PLACES: Final = ("/usr/share/seabios", "/usr/share/qemu", "/usr/share/vgabios", "/usr/local/share/qemu")
NAME: Final = "vgabios-stdvga.bin"

ROM: Final = 0xC0000
"""Where the BIOS lies for the processor."""
SHADOW_SIZE: Final = 64 * KIB
FAR_CALL: Final = 3
"""Offset of the entry at which a ROM is initialised."""

PROGRAM: Final = 0x7C00
INSTRUCTIONS: Final = 20_000_000
FONT_END: Final = 4 * 64 * KIB


@cache
def find() -> bytes:
    """The video BIOS that is installed on this host; empty if there is none."""
    for place in PLACES:
        try:
            return (Path(place) / NAME).read_bytes()
        except OSError:
            continue
    return b""


def check(image: ImageFile) -> bytes:
    """The bytes of an expansion ROM for C0000h.  ImageError for anything else."""
    data = image.data
    if data[:2] != b"\x55\xaa":
        image.fail("signature", data[:2].hex(), "55aa, an expansion ROM")
    if not 512 <= data[2] * 512 <= min(len(data), SHADOW_SIZE):
        image.fail("size", data[2] * 512, f"a length within the file's {len(data)} bytes and 64 KiB")
    return data


@frozen
class VideoStart:
    """The adapter as firmware leaves it.  memory: the first 256 KiB of video memory, as planes."""

    vga: StdVgaState
    memory: bytes


@cache
def started(rom: bytes) -> VideoStart:
    """What `rom` leaves behind after its initialisation and a switch to mode 3."""
    memory = PhysicalMemory()
    decoder = MemoryDecoder(memory, MemoryMap())
    decoder.connect()
    memory.map_ram(0, 640 * KIB)
    memory.map_ram(ROM, SHADOW_SIZE, contents=rom)
    vga = StdVga(memory=VideoMemory(decoder))
    vga.reset()
    if not rom:
        _text_mode(vga)
        return VideoStart(vga.save(), vga.memory.read(0, FONT_END))
    for base, length, offset in ((0x3B0, 0x30, 0), (0x1CE, 4, 0x30)):
        memory.map_port(
            base, length, vga.port_read, vga.port_write, offset=offset, readers=vga.readers(), writers=vga.writers()
        )
    # call far C000:0003 with no PCI address; mov ax, 3; int 10h; hlt
    program = bytes((0x31, 0xC0, 0x9A, FAR_CALL, 0x00, 0x00, 0xC0, 0xB8, 0x03, 0x00, 0xCD, 0x10, 0xF4))
    memory.load(PROGRAM, program)
    cpu = Cpu(memory)
    cpu.cs = evolve(cpu.cs, selector=0, base=0)
    cpu.ss = evolve(cpu.ss, selector=0, base=0)
    cpu.rsp, cpu.rip, cpu.rflags = PROGRAM, PROGRAM, 0x0002
    cpu.run(INSTRUCTIONS)
    if cpu.activity != Activity.HALTED:  # A ROM for something else: the table is better than half of its work.
        vga.reset()
        _text_mode(vga)
    return VideoStart(vga.save(), vga.memory.read(0, FONT_END))


def start_text(vga: StdVga, rom: bytes) -> None:
    """Leave the adapter as firmware does."""
    state = started(rom)
    vga.memory.show(evolve(vga.memory.window, kind=type(vga.memory.window.kind).NONE, base=0, size=0))
    vga.memory.write(0, state.memory)
    # As planes first: what is shown as text comes from them.
    target = state.vga.window
    vga.restore(evolve(state.vga, window=("none", 0, 0)))
    vga.show_window()
    assert (vga.memory.window.kind.value, vga.memory.window.base, vga.memory.window.size) == target


# Registers of mode 3, 80x25 in 16 colours with characters of 9x16 dots.
SEQUENCER_VALUES: Final = bytes((0x03, 0x00, 0x03, 0x00, 0x02))
MISC_VALUE: Final = 0x67
CRTC_VALUES: Final = bytes.fromhex("5f4f50558281bf1f004f0d0e000000009c8e8f281f96b9a3ff")
ATTRIBUTE_VALUES: Final = bytes.fromhex("000102030405140738393a3b3c3d3e3f0c000f0800")
GRAPHICS_VALUES: Final = bytes.fromhex("0000000000100e0fff")
BLANK_CELLS: Final = b"\x20\x07\x00\x00" * (2 * KIB)


def _text_mode(vga: StdVga) -> None:
    first = 0x3B0

    def out(port: int, value: int) -> None:
        vga.port_write(port - first, value, 1)

    out(0x3C2, MISC_VALUE)
    for index, value in enumerate(SEQUENCER_VALUES):
        out(0x3C4, index)
        out(0x3C5, value)
    out(0x3D4, 0x11)
    out(0x3D5, 0x0E)  # Registers 0 to 7 are protected otherwise.
    for index, value in enumerate(CRTC_VALUES):
        out(0x3D4, index)
        out(0x3D5, value)
    vga.port_read(0x3DA - first, 1)
    for index, value in enumerate(ATTRIBUTE_VALUES):
        out(0x3C0, index)
        out(0x3C0, value)
    out(0x3C0, 0x20)
    for index, value in enumerate(GRAPHICS_VALUES):
        out(0x3CE, index)
        out(0x3CF, value)
    out(0x3C6, 0xFF)
    out(0x3C8, 0)
    for color in range(64):
        # Two bits for each of red, green and blue: the bright one adds a third, the other two thirds.
        for bit in (2, 1, 0):
            out(0x3C9, (color >> bit & 1) * 0x2A + (color >> bit + 3 & 1) * 0x15)
    vga.memory.show(evolve(vga.memory.window, kind=type(vga.memory.window.kind).NONE, base=0, size=0))
    vga.memory.write(0, BLANK_CELLS)
    vga.show_window()
