"""The demo guest's disk: assembled from its sources by keystone, or the same bytes as they are kept beside them.

It boots by the BIOS, goes from real to protected to 64-bit mode and tells on COM1 what it does: memory size, a disk
sector and clock ticks by BIOS calls, a page fault, timer interrupts, a key, a sieve, power-off by ACPI.
"""

from __future__ import annotations

from importlib.resources import files

from vmcore.block.raw import SECTOR
from vmcore.firmware import bootsector
from vmcore.firmware.boot_image import BootImage
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import UsageError

__all__ = ["KEY_PROMPT", "PARTS", "SECTORS", "assemble", "boot_image", "disk"]

KEY_PROMPT = b"press a key ... "
"""What the guest writes when it waits for a key; it waits half a second of guest time."""

MESSAGE = b"hello from sector 15\r\n\0"
MESSAGE_SECTOR = 15
SECTORS = 16

PARTS = (("real.s", 16, 0x7C00, 0x8000), ("protected.s", 32, 0x8000, 0x8400), ("long.s", 64, 0x8400, 0x9A00))
"""Source, bits, address of the first byte, address that it must not reach.  The disk holds memory from 7C00h on."""


def assemble() -> bytes:
    """The disk, assembled from the sources.  UsageError where keystone is not installed (`disk` needs none)."""
    try:
        import keystone
    except ImportError as error:
        raise UsageError("assembling needs keystone-engine, which has no wheel for this system") from error
    start = PARTS[0][2]
    image = bytearray(SECTORS * SECTOR)
    modes = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}
    for name, bits, address, limit in PARTS:
        source = files("vmcore.demo").joinpath(name).read_text()
        assembler = keystone.Ks(keystone.KS_ARCH_X86, modes[bits])
        code, _ = assembler.asm(source, address, as_bytes=True)
        if address + len(code) > limit:
            raise UsageError(f"{name} ends at {address + len(code):#x}: it must end at {limit:#x} or before")
        image[address - start : address - start + len(code)] = code
    image[MESSAGE_SECTOR * SECTOR : MESSAGE_SECTOR * SECTOR + len(MESSAGE)] = MESSAGE
    return bytes(image)


def disk() -> bytes:
    """The disk as it is kept beside the sources."""
    return files("vmcore.demo").joinpath("demo.bin").read_bytes()


def boot_image(layout: PlatformLayout) -> BootImage:
    """The guest, ready for a machine with this layout (4 MiB of memory suffice)."""
    return bootsector.load(ImageFile("the demo guest", disk()), layout, unit=0x80)
