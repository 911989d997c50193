"""The BIOS of one machine: the assembled bytes with the table `config` of bios.asm filled in."""

from __future__ import annotations

import struct
from functools import cache
from importlib.resources import files

from attrs import frozen

from vmcore.firmware.boot_image import InitialState, LoadSegment
from vmcore.firmware.modes import real_state
from vmcore.firmware.platform import EBDA_START, HIGH_MEMORY, PlatformLayout
from vmcore.model.errors import ConfigError
from vmcore.model.units import KIB, MIB

__all__ = ["ROM_ADDRESS", "Jump", "assembled", "reset_state", "segment"]

ROM_ADDRESS = 0xFE000
"""Where the ROM starts; it ends at 1 MiB."""
CONFIG = 0x1C00
WAKING = CONFIG + 0x2A
MAP = CONFIG + 0x40
MAP_LINES = 32

MIRROR = 1
SCREEN = 2
DIRECT = 4


@frozen
class Jump:
    """Where the BIOS goes instead of booting from a disk.  data: for DS, ES, FS and GS; stack: SS and SP."""

    segment: int
    offset: int
    data: int
    stack: tuple[int, int]


@cache
def assembled() -> bytes:
    """The bytes of bios.asm as they are kept beside it."""
    return files("vmcore.firmware.bios").joinpath("bios.bin").read_bytes()


def segment(
    layout: PlatformLayout,
    *,
    boot_unit: int = 0x80,
    start: Jump | None = None,
    mirror_to_serial: bool = False,
) -> LoadSegment:
    """The ROM for a machine.

    boot_unit: BIOS drive number to boot from.  start: go there instead, with DL = boot_unit.
    mirror_to_serial: what is written by INT 10h's teletype also goes to COM1, at 115200 baud.
    """
    rom = bytearray(assembled())
    ranges = layout.memory_map()
    if len(ranges) > MAP_LINES:
        raise ConfigError("memory", len(ranges), f"a memory map of at most {MAP_LINES} ranges for the BIOS")
    flags = MIRROR * mirror_to_serial | SCREEN * layout.text_screen | DIRECT * (start is not None)
    above = max(layout.low_ram - HIGH_MEMORY, 0)
    if layout.acpi and layout.acpi_base > HIGH_MEMORY:
        above = layout.acpi_base - HIGH_MEMORY
    ports = [port.base for port in layout.serial[:4]]
    # The coprocessor is there; 80x25 colour; serial ports; a PS/2 mouse.
    equipment = 0x0022 | len(ports) << 9 | (4 if layout.mouse else 0)
    fixed = struct.pack(
        "<BBHHHHHHH4HHH",
        boot_unit,
        flags,
        layout.bios_disk,
        layout.pm_timer,
        layout.conventional_end // KIB,
        min(above // KIB, 63 * KIB),
        min(above, 15 * MIB) // KIB,
        min(max(above - 15 * MIB, 0) // (64 * KIB), 0xFFFF),
        equipment,
        *(ports + [0] * 4)[:4],
        EBDA_START >> 4 if layout.memory > EBDA_START else 0,
        len(ranges),
    )
    if start is not None:
        fixed += struct.pack("<HHHHH", start.offset, start.segment, start.data, start.stack[1], start.stack[0])
    rom[CONFIG + 4 : CONFIG + 4 + len(fixed)] = fixed
    struct.pack_into("<HIB", rom, WAKING, layout.smi_command, layout.facs, layout.acpi_enable)
    for number, line in enumerate(ranges):
        struct.pack_into("<QQI", rom, MAP + 20 * number, line.start, line.size, line.kind)
    return LoadSegment(ROM_ADDRESS, bytes(rom), "BIOS", rom=True)


def reset_state() -> InitialState:
    """The processor at the reset vector, F000:FFF0."""
    return real_state(0xF000, 0xFFF0)
