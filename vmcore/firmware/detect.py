"""Picks the loader by what is in the file."""

from __future__ import annotations

from collections.abc import Sequence

from vmcore.firmware import bootsector, linux, multiboot, pvh
from vmcore.firmware.boot_image import BootImage
from vmcore.firmware.elf import ElfFile, is_elf
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.linux import LinuxEntry, SetupData
from vmcore.firmware.linux_header import is_linux
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ConfigError

__all__ = ["load"]


def load(
    kernel: ImageFile,
    layout: PlatformLayout,
    *,
    initrd: ImageFile | None = None,
    append: str = "",
    entry: LinuxEntry | None = None,
    setup_data: Sequence[SetupData] = (),
) -> BootImage:
    """Loads a kernel of any kind that tells what it is.

    In this order: a Linux setup header (bzImage), a Multiboot header, an ELF file with a PVH note, any other ELF
    executable (started as vmlinux is), a boot sector.  A flat binary tells nothing: `flat.load` wants its address.
    The initial RAM disk becomes the first module where the kind of kernel speaks of modules; its text is its file name.
    entry and setup_data are for bzImages (setup_data for vmlinux too).
    """
    modules = [(initrd, initrd.name)] if initrd is not None else []
    if is_linux(kernel.data):
        return linux.load(kernel, layout, initrd=initrd, append=append, entry=entry, setup_data=setup_data)
    if entry is not None:
        raise ConfigError("entry", entry.value, f"none, as {kernel.name} is no bzImage")
    if multiboot.find_header(kernel.data) is not None:
        return multiboot.load(kernel, layout, modules=modules, append=append)
    if is_elf(kernel.data):
        if pvh.entry_point(ElfFile.parse(kernel)) is not None:
            return pvh.load(kernel, layout, modules=modules, append=append)
        return linux.load_vmlinux(kernel, layout, initrd=initrd, append=append, setup_data=setup_data)
    if bootsector.is_boot_sector(kernel.data):
        for name, given in (("initrd", initrd is not None), ("append", bool(append))):
            if given:
                raise ConfigError(name, "given", f"none: {kernel.name} is a boot sector")
        return bootsector.load(kernel, layout)
    kernel.fail(
        "format",
        kernel.data[:8],
        "a Linux bzImage, a Multiboot kernel, an ELF executable or a boot sector"
        " (a flat binary needs an address and a mode)",
    )
