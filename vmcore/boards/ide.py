"""The IDE adapter of a PC, a function of its PIIX3: two channels at their usual ports and interrupts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmcore.block.drive import Drive, DriveKind
from vmcore.devices.ata_disk import AtaDisk
from vmcore.devices.ata_unit import AtaUnit
from vmcore.devices.atapi_cdrom import AtapiCdrom
from vmcore.devices.ide_channel import CONTROL, IdeChannel
from vmcore.devices.piix3_ide import Piix3Ide

if TYPE_CHECKING:
    from vmcore.boards.pc import PcBoard

__all__ = ["CHANNELS", "build_ide"]

SOUTH_BRIDGE: Final = 1
"""Device number of the PIIX3."""

CHANNELS: Final = ((0x1F0, 0x3F6, 14), (0x170, 0x376, 15))
"""Command block, control block and interrupt of each channel (T13 1510D, annex A)."""


def build_ide(board: PcBoard) -> Piix3Ide | None:
    """The adapter with the drives that there are.  A machine without drives has none."""
    drives = board.services.ide
    if not drives:
        return None
    channels = []
    for number, (command, control, irq) in enumerate(CHANNELS):
        first, second = (_unit(drives.get(2 * number + place), place) for place in range(2))
        channel = IdeChannel(board.isa_irq(irq, f"ide{number}"), board.services.clock, first, second)
        board.add(f"/machine/ide/ide{number}", channel)
        board.ports.claim(command, 8, channel, f"ide{number}")
        board.ports.claim(control, 1, channel, f"ide{number} control", CONTROL)
        for unit in (first, second):
            if unit is not None:
                unit.drive.qdev = f"/machine/ide/ide{number}/{unit.drive.name}"
                board.services.tree.add(unit.drive.qdev, unit)
        channels.append(channel)
    function = Piix3Ide(*channels)
    board.plug(function, "/machine/piix3-ide", SOUTH_BRIDGE, 1)
    return function


def _unit(drive: Drive | None, place: int) -> AtaUnit | None:
    if drive is None:
        return None
    return AtapiCdrom(drive, place) if drive.kind is DriveKind.CDROM else AtaDisk(drive, place)
