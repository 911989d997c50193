"""Firmware images that distributions install: found by the names that users of QEMU know."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["DIRECTORIES", "LINUX_LOADER", "PC", "find"]

DIRECTORIES: Final = tuple(
    Path(root) / name
    for root in ("/usr/share", "/usr/local/share")
    for name in ("seabios", "qemu", "OVMF", "edk2/x64", "edk2/ovmf", "qemu-kvm")
)
"""Where they are looked for, in this order."""

PC: Final = "bios-256k.bin"
"""SeaBIOS, as QEMU's machines of today have it."""
LINUX_LOADER: Final = "linuxboot_dma.bin"
"""QEMU's option ROM that starts a kernel out of the firmware configuration device."""


def find(name: str) -> Path | None:
    """The image of this name; None where it is not installed."""
    return next((path for directory in DIRECTORIES if (path := directory / name).is_file()), None)
