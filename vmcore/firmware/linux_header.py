"""The setup header of a Linux kernel image and the boot_params page ("zero page").

Source: the kernel's documentation, "The Linux/x86 Boot Protocol" (Documentation/arch/x86/boot.rst), protocols 2.00 to
2.15, and "Zero Page" (zero-page.rst).  Offsets are those in the file, which are also those in boot_params.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

from attrs import frozen

from vmcore.firmware.image_file import ImageFile

__all__ = ["BOOT_FLAG", "MAGIC", "BootField", "LoadFlag", "SetupHeader", "XLoadFlag", "is_linux", "video_mode"]

BOOT_FLAG = 0xAA55
MAGIC = 0x53726448
"""The letters HdrS."""

SECTOR = 512


class BootField(IntEnum):
    """Offsets in boot_params; those from 1F1h to 26Ch are the setup header's."""

    SCREEN_INFO = 0x000
    ACPI_RSDP_ADDR = 0x070
    ALT_MEM_K = 0x1E0
    E820_ENTRIES = 0x1E8
    SETUP_SECTS = 0x1F1
    ROOT_FLAGS = 0x1F2
    SYSSIZE = 0x1F4
    VID_MODE = 0x1FA
    BOOT_FLAG = 0x1FE
    JUMP = 0x200
    HEADER = 0x202
    VERSION = 0x206
    TYPE_OF_LOADER = 0x210
    LOADFLAGS = 0x211
    SETUP_MOVE_SIZE = 0x212
    CODE32_START = 0x214
    RAMDISK_IMAGE = 0x218
    RAMDISK_SIZE = 0x21C
    HEAP_END_PTR = 0x224
    CMD_LINE_PTR = 0x228
    INITRD_ADDR_MAX = 0x22C
    KERNEL_ALIGNMENT = 0x230
    RELOCATABLE_KERNEL = 0x234
    MIN_ALIGNMENT = 0x235
    XLOADFLAGS = 0x236
    CMDLINE_SIZE = 0x238
    SETUP_DATA = 0x250
    PREF_ADDRESS = 0x258
    INIT_SIZE = 0x260
    E820_TABLE = 0x2D0


_MODE_NAMES: Final = {"normal": 0xFFFF, "ext": 0xFFFE, "ask": 0xFFFD}


def video_mode(append: str) -> int | None:
    """The mode that `vga=` on a command line asks the setup code for; the last one counts (boot.rst, "Special Command
    Line Options").  None without one, or where it is no number.
    """
    given = [word.removeprefix("vga=") for word in append.split() if word.startswith("vga=")]
    if not given:
        return None
    text = given[-1].lower()
    if text in _MODE_NAMES:
        return _MODE_NAMES[text]
    base = 16 if text.startswith("0x") else 8 if text.startswith("0") else 10
    try:
        number = int(text, base)
    except ValueError:
        return None
    return number if 0 <= number <= 0xFFFF else None


class LoadFlag(IntFlag):
    """Bits of `loadflags`."""

    LOADED_HIGH = 0x01
    CAN_USE_HEAP = 0x80


class XLoadFlag(IntFlag):
    """Bits of `xloadflags`."""

    KERNEL_64 = 0x01
    CAN_BE_LOADED_ABOVE_4G = 0x02


def is_linux(data: bytes) -> bool:
    """Whether a file has a Linux setup header (protocol 2.00 or later)."""
    return data[0x202:0x206] == b"HdrS" and data[0x1FE:0x200] == b"\x55\xaa"


@frozen(kw_only=True)
class SetupHeader:
    """The setup header, with the meaning that older protocols give to what they lack."""

    version: int
    setup_size: int
    """Bytes of boot sector and real-mode code before the protected-mode code."""
    header_end: int
    """End of the header in the file."""
    payload_size: int
    loadflags: LoadFlag
    xloadflags: XLoadFlag
    code32_start: int
    initrd_addr_max: int
    alignment: int
    min_alignment: int
    relocatable: bool
    pref_address: int
    init_size: int
    cmdline_size: int

    @classmethod
    def parse(cls, file: ImageFile) -> SetupHeader:
        """Reads and checks the header; ImageError names the field that is wrong."""
        boot_flag = file.u16(BootField.BOOT_FLAG, "boot_flag")
        if boot_flag != BOOT_FLAG:
            file.fail("boot_flag", boot_flag, f"{BOOT_FLAG:#x}")
        magic = file.u32(BootField.HEADER, "header")
        if magic != MAGIC:
            file.fail("header", magic, f"{MAGIC:#x} (HdrS): a kernel with boot protocol 2.00 or later")
        version = file.u16(BootField.VERSION, "version")
        if not 0x200 <= version <= 0x2FF:
            file.fail("version", version, "a boot protocol 2.xx (0x200-0x2ff)")

        def since(protocol: int, offset: BootField, size: int, otherwise: int) -> int:
            return file.number(offset, size, offset.name.lower()) if version >= protocol else otherwise

        setup_sects = file.u8(BootField.SETUP_SECTS, "setup_sects") or 4
        setup_size = (setup_sects + 1) * SECTOR
        if setup_size >= len(file):
            file.fail("setup_sects", setup_sects, f"setup code and kernel within the file of {len(file):#x} bytes")
        loadflags = LoadFlag(file.u8(BootField.LOADFLAGS, "loadflags"))
        payload_size = len(file) - setup_size
        syssize = file.number(BootField.SYSSIZE, 4 if version >= 0x204 else 2, "syssize")
        if syssize > (payload_size + 15) // 16:
            file.fail("syssize", syssize, f"at most {(payload_size + 15) // 16:#x}: the file is cut short")
        alignment = since(0x205, BootField.KERNEL_ALIGNMENT, 4, 0x100000) or 0x1000
        if alignment & (alignment - 1) or not 0x1000 <= alignment <= 1 << 30:
            file.fail("kernel_alignment", alignment, "a power of two from 0x1000 to 0x40000000")
        min_alignment = since(0x20A, BootField.MIN_ALIGNMENT, 1, 0)
        if min_alignment > 30:
            file.fail("min_alignment", min_alignment, "at most 0x1e")
        high = LoadFlag.LOADED_HIGH in loadflags
        code32_start = (file.u32(BootField.CODE32_START, "code32_start") or 0x100000) if high else 0x10000
        return cls(
            version=version,
            setup_size=setup_size,
            header_end=min(0x202 + file.u8(0x201, "jump"), 0x290),
            payload_size=payload_size,
            loadflags=loadflags,
            xloadflags=XLoadFlag(since(0x20C, BootField.XLOADFLAGS, 2, 0)),
            code32_start=code32_start,
            initrd_addr_max=since(0x203, BootField.INITRD_ADDR_MAX, 4, 0x37FF_FFFF),
            alignment=alignment,
            min_alignment=1 << min_alignment if min_alignment else alignment,
            relocatable=bool(since(0x205, BootField.RELOCATABLE_KERNEL, 1, 0)),
            pref_address=since(0x20A, BootField.PREF_ADDRESS, 8, 0) or code32_start,
            init_size=max(since(0x20A, BootField.INIT_SIZE, 4, 0), payload_size),
            cmdline_size=since(0x206, BootField.CMDLINE_SIZE, 4, 0) or 255,
        )
