"""The floppy controller of a PC, and what firmware is told about its drives.

Source: IBM PC AT Technical Reference (1985), "CMOS RAM Address Map" (10h and 14h) and "I/O address map"; 2880 KiB
drives, type 5, as later firmware has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from vmcore.block.drive import Drive
from vmcore.block.geometry import floppy
from vmcore.block.node import SECTOR
from vmcore.devices.fdc82077 import Fdc82077

if TYPE_CHECKING:
    from vmcore.boards.pc import PcBoard

__all__ = ["build_floppies", "floppy_cmos"]

PORT, INPUT_PORT = 0x3F0, 0x3F7
"""The port between is the control block of the first IDE channel."""
INPUT: Final = 7
IRQ: Final = 6
CHANNEL: Final = 2
DRIVES: Final = 2

TYPES, EQUIPMENT = 0x10, 0x14
FIVE_INCH, THREE_INCH, EXTRA_DENSITY = 2, 4, 5
INSTALLED: Final = 0x01


def build_floppies(board: PcBoard) -> None:
    """The controller with its drives.  A machine without floppy drives has none."""
    drives = board.services.floppies
    if not drives:
        return
    cable = [drives.get(number) for number in range(DRIVES)]
    controller = Fdc82077(board.isa_irq(IRQ, "floppy"), board.dma.channel(CHANNEL), board.services.clock, cable)
    board.add("/machine/fdc", controller)
    board.ports.claim(PORT, 6, controller, "floppy controller")
    board.ports.claim(INPUT_PORT, 1, controller, "floppy controller", INPUT)
    for drive in drives.values():
        drive.qdev = f"/machine/fdc/{drive.name}"
        board.services.tree.add(drive.qdev, drive)


def floppy_cmos(drives: Mapping[int, Drive], contents: dict[int, int]) -> dict[int, int]:
    """CMOS memory with the types of the drives, and how many there are."""
    if not drives:
        return contents
    types = _type(drives.get(0)) << 4 | _type(drives.get(1))
    return contents | {TYPES: types, EQUIPMENT: contents[EQUIPMENT] | INSTALLED | (max(drives) & 1) << 6}


def _type(drive: Drive | None) -> int:
    """The drive that reads what is in it at the beginning: one for 3.5" floppies of 1440 KiB unless that is unusual."""
    if drive is None:
        return 0
    if drive.medium is None:
        return THREE_INCH
    shape = floppy(drive.size // SECTOR)
    if shape.sectors == 36:
        return EXTRA_DENSITY
    return FIVE_INCH if shape.cylinders == 40 or shape.sectors == 15 else THREE_INCH
