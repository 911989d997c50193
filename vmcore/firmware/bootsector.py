"""Boot sectors: a disk image whose first sector the BIOS loads to 0000:7C00 and enters with DL = the drive.

Source: IBM PC AT Technical Reference (1985), "System BIOS", bootstrap loader (INT 19h).
"""

from __future__ import annotations

from vmcore.block.geometry import FLOPPIES
from vmcore.block.raw import SECTOR
from vmcore.firmware import tables
from vmcore.firmware.bios import rom as bios
from vmcore.firmware.boot_image import BootDisk, BootImage
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.modes import memory_types
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ConfigError

__all__ = ["from_disks", "is_boot_sector", "load"]

SIGNATURE = 0xAA55
FIRST_FLOPPY, FIRST_HARD_DISK = 0x00, 0x80


def is_boot_sector(data: bytes) -> bool:
    """Whether a file starts with a sector that has the boot signature."""
    return data[510:512] == b"\x55\xaa"


def load(
    disk: ImageFile,
    layout: PlatformLayout,
    *,
    unit: int | None = None,
    mirror_to_serial: bool = False,
) -> BootImage:
    """Boots a disk image (512 bytes are enough).

    unit: BIOS drive number, by default 0x00 for an image with the size of a floppy and else 0x80.
    mirror_to_serial: what the guest writes with INT 10h's teletype also goes to COM1.
    """
    if len(disk) < SECTOR:
        disk.fail("size", len(disk), "at least one sector of 0x200 bytes")
    signature = disk.u16(510, "boot signature")
    if signature != SIGNATURE:
        disk.fail("boot signature", signature, f"{SIGNATURE:#x} at 0x1fe")
    if unit is None:
        unit = 0x00 if len(disk) % SECTOR == 0 and len(disk) // SECTOR in FLOPPIES else 0x80
    if unit not in (0x00, 0x01) and not 0x80 <= unit <= 0x87:
        raise ConfigError("unit", hex(unit), "0x0 or 0x1 (floppies), or 0x80 to 0x87 (hard disks)")
    return _start(layout, unit, mirror_to_serial, (BootDisk(unit, disk.data),))


def from_disks(layout: PlatformLayout, *, floppy: bool = False) -> BootImage:
    """Boots the first hard disk that the board has, or its first floppy drive.  Where that has no boot sector, the BIOS
    says so.
    """
    return _start(layout, FIRST_FLOPPY if floppy else FIRST_HARD_DISK, False, ())


def _start(layout: PlatformLayout, unit: int, mirror_to_serial: bool, disks: tuple[BootDisk, ...]) -> BootImage:
    rom = bios.segment(layout, boot_unit=unit, mirror_to_serial=mirror_to_serial)
    return BootImage(
        kind="boot sector",
        segments=tuple(sorted((rom, *tables.build(layout).segments), key=lambda segment: segment.address)),
        cpu=bios.reset_state(),
        memory_map=layout.memory_map(),
        msrs=memory_types(layout),
        disks=disks,
    )
