"""Flat binaries: bytes at an address, entered in a mode of one's choice.  Nothing else is set up for them."""

from __future__ import annotations

from attrs import evolve

from vmcore.firmware.bios import rom as bios
from vmcore.firmware.boot_image import BootImage, CpuMode, InitialState, LoadSegment
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.modes import device_setup, long_state, memory_types, protected_state, real_state
from vmcore.firmware.placement import Placement
from vmcore.firmware.platform import HIGH_MEMORY, PlatformLayout
from vmcore.model.errors import ConfigError

__all__ = ["load"]

STACK = 0x1000
"""Bytes of stack below 640 KiB in protected and long mode."""


def load(
    binary: ImageFile,
    layout: PlatformLayout,
    *,
    address: int,
    mode: CpuMode = CpuMode.REAL,
    entry: int | None = None,
    with_bios: bool = False,
) -> BootImage:
    """Loads a flat binary at a physical address.

    entry: where it starts, by default its first byte.  In real mode CS:IP is a segment that begins at `address` if that
    is below 1 MiB, and SS:SP is 0:address (so the stack grows down from the program, as below a boot sector).
    with_bios: real mode only; the built-in BIOS sets up first, so that its interrupts work.
    """
    if not len(binary):
        binary.fail("size", 0, "a file that is not empty")
    if entry is None:
        entry = address
    if not address <= entry < address + len(binary):
        raise ConfigError("entry", hex(entry), f"an address within {address:#x}-{address + len(binary):#x}")
    if with_bios and mode is not CpuMode.REAL:
        raise ConfigError("mode", mode.value, "real: the BIOS starts programs in real mode only")
    where = Placement(binary.name, layout)
    where.put(address, binary.data, "program")
    more: list[LoadSegment] = []
    if mode is CpuMode.REAL:
        cpu = _real(where, address, entry, with_bios, more)
    else:
        state = protected_state if mode is CpuMode.PROTECTED else long_state
        cpu = evolve(state(where, entry), rsp=where.low(b"", "stack", size=STACK, alignment=STACK) + STACK)
    return BootImage(
        kind=f"flat {mode.value}",
        segments=where.segments(*more),
        cpu=cpu,
        memory_map=layout.memory_map(),
        msrs=memory_types(layout),
        port_writes=() if with_bios else device_setup(layout),
    )


def _real(where: Placement, address: int, entry: int, with_bios: bool, more: list[LoadSegment]) -> InitialState:
    segment, offset = address >> 4, entry - (address & ~0xF)
    if address < 0x10000 and entry < 0x10000:
        segment, offset = 0, entry
    if address >= HIGH_MEMORY or offset > 0xFFFF:
        raise ConfigError("address", hex(address), "below 1 MiB, with the entry in its first 64 KiB, in real mode")
    top = min(address & ~0xF, 0xFFF0)
    if not with_bios:
        return real_state(segment, offset, stack=(0, top))
    jump = bios.Jump(segment=segment, offset=offset, data=0, stack=(0, top))
    more.append(bios.segment(where.layout, start=jump))
    return bios.reset_state()
