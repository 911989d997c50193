"""The Linux x86 boot protocol: bzImage by its 16-, 32- and 64-bit entries, and vmlinux (ELF).

Sources: the kernel's documentation, "The Linux/x86 Boot Protocol" (boot.rst: memory layout, "32-bit Boot Protocol",
"64-bit Boot Protocol") and "Zero Page" (zero-page.rst).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum

from attrs import evolve, frozen

from vmcore.firmware import bda, tables
from vmcore.firmware.bios import rom as bios
from vmcore.firmware.boot_image import BootImage, LoadSegment
from vmcore.firmware.elf import ElfFile
from vmcore.firmware.image_file import ImageFile, command_line
from vmcore.firmware.linux_header import BOOT_FLAG, MAGIC, BootField, LoadFlag, SetupHeader, XLoadFlag, video_mode
from vmcore.firmware.modes import device_setup, long_state, memory_types, protected_state
from vmcore.firmware.placement import LOWEST, Placement
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ConfigError

__all__ = ["LinuxEntry", "SetupData", "load", "load_vmlinux"]

BOOT_PARAMS_SIZE = 4096
E820_MAX = 128
UNKNOWN_LOADER = 0xFF
HIGH_KERNEL = 0x100000

REAL_MODE_HEAP_END = 0xE000
"""Heap and stack of the real-mode code end here, counted from the start of its segment."""


class LinuxEntry(IntEnum):
    """By which of its three entries a bzImage is started."""

    REAL_MODE = 16
    PROTECTED_MODE = 32
    LONG_MODE = 64


@frozen
class SetupData:
    """One item for the kernel's `setup_data` list: its type (SETUP_* in the kernel's bootparam.h) and content."""

    kind: int
    data: bytes

    @classmethod
    def random_seed(cls, seed: bytes) -> SetupData:
        """Seed for the kernel's random number generator (SETUP_RNG_SEED, since Linux 6.0)."""
        return cls(9, seed)


def load(
    kernel: ImageFile,
    layout: PlatformLayout,
    *,
    initrd: ImageFile | None = None,
    append: str = "",
    entry: LinuxEntry | None = None,
    setup_data: Sequence[SetupData] = (),
) -> BootImage:
    """Loads a bzImage (or zImage).

    entry: None picks the 64-bit entry where kernel and CPU have it, else the 32-bit one, else the real-mode code; that
    one also where `vga=` in the command line asks for a video mode and there is a screen.
    """
    header = SetupHeader.parse(kernel)
    mode = video_mode(append)
    if entry is None and mode is not None and layout.text_screen:
        entry = LinuxEntry.REAL_MODE  # The setup code is what sets video modes.
    entry = _choose_entry(kernel, layout, header, entry)
    line = command_line(append)
    if len(line) - 1 > header.cmdline_size:
        raise ConfigError("append", f"{len(line) - 1} bytes", f"at most {header.cmdline_size} bytes for {kernel.name}")
    where = Placement(kernel.name, layout)
    real_mode = None
    if entry is LinuxEntry.REAL_MODE:
        # The protected-mode code of a zImage is at 64 KiB and its real-mode code therefore at 576 KiB; there it also
        # belongs by the oldest protocols.
        high = LoadFlag.LOADED_HIGH in header.loadflags and header.version >= 0x202
        real_mode = 0x10000 if high else 0x90000
        where.claim(real_mode, REAL_MODE_HEAP_END, "real-mode code and its heap")
    address = _place_kernel(kernel, where, header, entry)
    parameters = bytearray(kernel.data[: header.setup_size] if real_mode is not None else BOOT_PARAMS_SIZE)
    if real_mode is None:
        source = kernel.part(BootField.SETUP_SECTS, header.header_end - BootField.SETUP_SECTS, "setup header")
        parameters[BootField.SETUP_SECTS : header.header_end] = source
    if header.setup_size > REAL_MODE_HEAP_END - 0x1000 and real_mode is not None:
        kernel.fail("setup_sects", header.setup_size // 512 - 1, "at most 0x67 sectors of real-mode code")
    _put(parameters, BootField.TYPE_OF_LOADER, 1, UNKNOWN_LOADER)
    _put(parameters, BootField.CODE32_START, 4, address)
    if mode is not None:
        _put(parameters, BootField.VID_MODE, 2, mode)
    if initrd is not None:
        _place_initrd(initrd, where, parameters, header.initrd_addr_max)
    line_at = where.low(line, "command line", lowest=LOWEST if real_mode is None else real_mode + REAL_MODE_HEAP_END)
    if header.version >= 0x202:
        _put(parameters, BootField.CMD_LINE_PTR, 4, line_at)
    if header.version >= 0x209:
        _place_setup_data(where, parameters, setup_data)
    elif setup_data:
        kernel.fail("version", header.version, "at least 0x209 for setup data")
    if real_mode is not None:
        return _real_mode_image(kernel, where, header, parameters, real_mode, line_at)
    return _image(where, parameters, entry, address)


def load_vmlinux(
    kernel: ImageFile,
    layout: PlatformLayout,
    *,
    initrd: ImageFile | None = None,
    append: str = "",
    setup_data: Sequence[SetupData] = (),
) -> BootImage:
    """Loads an ELF file at its physical addresses and enters it as the 32- or 64-bit boot protocol says.

    Any freestanding ELF for i386 or x86-64 can be started this way: it gets boot_params in (R)SI.
    """
    elf = ElfFile.parse(kernel)
    where = Placement(kernel.name, layout)
    elf.place(where)
    parameters = bytearray(BOOT_PARAMS_SIZE)
    _put(parameters, BootField.BOOT_FLAG, 2, BOOT_FLAG)
    _put(parameters, BootField.HEADER, 4, MAGIC)
    _put(parameters, BootField.VERSION, 2, 0x20F)
    _put(parameters, BootField.TYPE_OF_LOADER, 1, UNKNOWN_LOADER)
    _put(parameters, BootField.LOADFLAGS, 1, LoadFlag.LOADED_HIGH)
    _put(parameters, BootField.KERNEL_ALIGNMENT, 4, 0x200000)
    line = command_line(append)
    if len(line) > 2048:
        raise ConfigError("append", f"{len(line) - 1} bytes", f"at most 2047 bytes for {kernel.name}")
    _put(parameters, BootField.CMDLINE_SIZE, 4, 2047)
    if initrd is not None:
        _place_initrd(initrd, where, parameters, 0x7FFF_FFFF)
    _put(parameters, BootField.CMD_LINE_PTR, 4, where.low(line, "command line"))
    _place_setup_data(where, parameters, setup_data)
    image = _image(where, parameters, LinuxEntry.LONG_MODE if elf.is_64 else LinuxEntry.PROTECTED_MODE, None, elf.entry)
    return evolve(image, kind=f"linux vmlinux {64 if elf.is_64 else 32}-bit")


def _put(parameters: bytearray, offset: int, size: int, value: int) -> None:
    parameters[offset : offset + size] = value.to_bytes(size, "little")


def _choose_entry(
    kernel: ImageFile, layout: PlatformLayout, header: SetupHeader, entry: LinuxEntry | None
) -> LinuxEntry:
    has_64 = XLoadFlag.KERNEL_64 in header.xloadflags
    high = LoadFlag.LOADED_HIGH in header.loadflags
    if entry is None:
        if has_64 and layout.long_mode:
            return LinuxEntry.LONG_MODE
        return LinuxEntry.PROTECTED_MODE if high else LinuxEntry.REAL_MODE
    if entry is LinuxEntry.LONG_MODE and not has_64:
        kernel.fail("xloadflags", int(header.xloadflags), "bit 0 (XLF_KERNEL_64) for the 64-bit entry")
    if entry is LinuxEntry.PROTECTED_MODE and not high:
        kernel.fail("loadflags", int(header.loadflags), "bit 0 (LOADED_HIGH) for the 32-bit entry")
    return entry


def _place_kernel(kernel: ImageFile, where: Placement, header: SetupHeader, entry: LinuxEntry) -> int:
    """Places the protected-mode code; its address.  It gets `init_size` bytes, as it unpacks itself there."""
    payload = kernel.part(header.setup_size, header.payload_size, "protected-mode code")
    if LoadFlag.LOADED_HIGH not in header.loadflags:
        return where.put(header.code32_start, payload, "protected-mode code")
    # The real-mode code moves nothing: it jumps to code32_start, so one choice serves all entries.
    wanted = header.pref_address
    candidates = [wanted]
    if header.relocatable:
        alignments = (header.alignment, max(header.min_alignment, 0x1000))
        candidates.extend(-(-HIGH_KERNEL // alignment) * alignment for alignment in alignments)
    for address in candidates:
        if address + header.init_size <= 1 << 32 and where.fits(address, header.init_size):
            return where.put(address, payload, "kernel", size=header.init_size)
    room = ", ".join(f"{address:#x}" for address in dict.fromkeys(candidates))
    return kernel.fail("init_size", header.init_size, f"RAM for as many bytes at {room}: the machine has too little")


def _place_initrd(initrd: ImageFile, where: Placement, parameters: bytearray, last: int) -> None:
    if not len(initrd):
        initrd.fail("size", 0, "an initial RAM disk that is not empty")
    address = where.high(initrd.data, "initrd", limit=last + 1, file=initrd.name)
    _put(parameters, BootField.RAMDISK_IMAGE, 4, address)
    _put(parameters, BootField.RAMDISK_SIZE, 4, len(initrd))


def _place_setup_data(where: Placement, parameters: bytearray, items: Sequence[SetupData]) -> None:
    following = 0
    for item in reversed(items):
        node = struct.pack("<QII", following, item.kind, len(item.data)) + item.data
        following = where.low(node, "setup data")
    _put(parameters, BootField.SETUP_DATA, 8, following)


def _image(
    where: Placement, parameters: bytearray, entry: LinuxEntry, address: int | None, elf_entry: int = 0
) -> BootImage:
    """The image for the 32- and 64-bit entries, with boot_params completed."""
    layout = where.layout
    described = tables.build(layout)
    _put(parameters, BootField.ACPI_RSDP_ADDR, 8, described.rsdp)
    _fill_memory(layout, parameters)
    _fill_screen(layout, parameters)
    at = where.low(bytes(parameters), "boot_params", alignment=4096)
    if entry is LinuxEntry.LONG_MODE:
        # The 64-bit entry lies 200h behind the 32-bit one.
        cpu = long_state(where, elf_entry if address is None else address + 0x200)
    else:
        cpu = protected_state(where, elf_entry if address is None else address)
    data_area = LoadSegment(bda.ADDRESS, bda.data_area(layout), "BIOS data area")
    return BootImage(
        kind=f"linux {entry.value}-bit",
        # The BIOS starts nothing here: it finds the way back from sleep.
        segments=where.segments(data_area, bios.segment(layout), *described.segments),
        cpu=evolve(cpu, rsi=at),
        memory_map=layout.memory_map(),
        msrs=memory_types(layout),
        port_writes=device_setup(layout),
    )


def _fill_memory(layout: PlatformLayout, parameters: bytearray) -> None:
    """The E820 table, and memory above 1 MiB in KiB for kernels that only know that."""
    ranges = layout.memory_map()[:E820_MAX]
    for number, line in enumerate(ranges):
        struct.pack_into("<QQI", parameters, BootField.E820_TABLE + 20 * number, line.start, line.size, line.kind)
    _put(parameters, BootField.E820_ENTRIES, 1, len(ranges))
    above = max(layout.low_ram - HIGH_KERNEL, 0) >> 10
    _put(parameters, BootField.ALT_MEM_K, 4, above)
    _put(parameters, 0x02, 2, min(above, 0xFFFF))


def _fill_screen(layout: PlatformLayout, parameters: bytearray) -> None:
    """screen_info: VGA text mode 3, or all zero for no screen."""
    if layout.text_screen:
        # orig_x, orig_y, ext_mem_k (kept), page, mode, columns, flags, -, ega_bx, -, lines, is_vga, points
        struct.pack_into("<BB", parameters, 0, 0, 0)
        struct.pack_into("<HBBBxHHBBH", parameters, 4, 0, 3, 80, 0, 3, 0, 25, 1, 16)


def _real_mode_image(
    kernel: ImageFile,
    where: Placement,
    header: SetupHeader,
    parameters: bytearray,
    real_mode: int,
    line_at: int,
) -> BootImage:
    """The image for the real-mode entry: the BIOS runs first and then jumps to the setup code."""
    layout = where.layout
    if header.version >= 0x201:
        _put(parameters, BootField.HEAP_END_PTR, 2, REAL_MODE_HEAP_END - 0x200)
        _put(parameters, BootField.LOADFLAGS, 1, header.loadflags | LoadFlag.CAN_USE_HEAP)
    if header.version < 0x202:
        # The old protocol: a magic number and the offset from the real-mode segment ("The Kernel Command Line").
        if not 0 <= line_at - real_mode < 0x10000:
            kernel.fail("version", header.version, "at least 0x202 to find the command line here")
        _put(parameters, 0x20, 2, 0xA33F)
        _put(parameters, 0x22, 2, line_at - real_mode)
    where.fill(real_mode, bytes(parameters), "real-mode code")
    segment = real_mode >> 4
    jump = bios.Jump(segment=segment + 0x20, offset=0, data=segment, stack=(segment, REAL_MODE_HEAP_END))
    return BootImage(
        kind="linux 16-bit",
        segments=where.segments(bios.segment(layout, start=jump), *tables.build(layout).segments),
        cpu=bios.reset_state(),
        memory_map=layout.memory_map(),
        msrs=memory_types(layout),
    )
