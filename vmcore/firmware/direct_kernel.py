"""A Linux kernel for firmware to start: cut as an option ROM takes it from the firmware configuration device.

Source: Documentation/arch/x86/boot.rst of Linux (the boot protocol: setup header, memory layout).
"""

from __future__ import annotations

import struct
from typing import Final

from vmcore.firmware.fw_cfg import DirectKernel
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.linux_header import BootField, SetupHeader, is_linux, video_mode
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ImageError
from vmcore.model.units import KIB

__all__ = ["cut"]

SECTOR: Final = 512
SETUP_AT: Final = 0x10000
COMMAND_LINE_AT: Final = 0x20000
KERNEL_AT: Final = 0x100000
LOADED_BY_OTHER: Final = 0xB0
"""Loader type that QEMU is registered under."""
CAN_USE_HEAP: Final = 0x80
OLDEST: Final = 0x202
"""Protocol from which on the command line has a pointer."""
TABLES: Final = 160 * KIB
"""Kept free at the top of RAM, where firmware puts its tables."""
USUAL_INITRD_END: Final = 0x37FF_FFFF


def cut(kernel: ImageFile, initrd: ImageFile | None, append: str, layout: PlatformLayout) -> DirectKernel:
    """The parts of a bzImage with what a loader writes into its header."""
    if not is_linux(kernel.data):
        raise ImageError(kernel.name, "setup header", "none", "a Linux bzImage, as firmware is to start it")
    header = SetupHeader.parse(kernel)
    if header.version < OLDEST:
        kernel.fail("boot protocol", header.version, f"at least {OLDEST:#x} where firmware starts it")
    sectors = kernel.data[0x1F1] or 4
    size = (sectors + 1) * SECTOR
    setup = bytearray(kernel.data[:size])
    disk = b"" if initrd is None else initrd.data
    end = struct.unpack_from("<I", setup, 0x22C)[0] if header.version >= 0x203 else USUAL_INITRD_END
    end = min(end, layout.low_ram - TABLES - 1)
    initrd_at = (end - len(disk)) & ~0xFFF
    if initrd is not None and initrd_at < KERNEL_AT + len(kernel.data) - size:
        raise ImageError(initrd.name, "size", len(disk), f"room for it below {end:#x}, above the kernel")
    mode = video_mode(append)
    if mode is not None:
        struct.pack_into("<H", setup, BootField.VID_MODE, mode)
    setup[0x210] = LOADED_BY_OTHER
    setup[0x211] |= CAN_USE_HEAP
    struct.pack_into("<II", setup, 0x218, initrd_at if disk else 0, len(disk))
    struct.pack_into("<H", setup, 0x224, COMMAND_LINE_AT - SETUP_AT - 0x200)
    struct.pack_into("<I", setup, 0x228, COMMAND_LINE_AT)
    return DirectKernel(
        setup=bytes(setup),
        kernel=kernel.data[size:],
        initrd=disk,
        command_line=append.encode() + b"\0",
        setup_address=SETUP_AT,
        kernel_address=KERNEL_AT,
        initrd_address=initrd_at,
        command_line_address=COMMAND_LINE_AT,
    )
