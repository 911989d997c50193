"""The SATA adapter of a q35, a function of its ICH9: six ports with a drive each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmcore.block.drive import Drive, DriveKind
from vmcore.devices.ahci import PORTS, Ahci
from vmcore.devices.ata_disk import AtaDisk
from vmcore.devices.ata_unit import AtaUnit
from vmcore.devices.atapi_cdrom import AtapiCdrom

if TYPE_CHECKING:
    from vmcore.boards.pc import PcBoard

__all__ = ["build_sata"]

SOUTH_BRIDGE: Final = 31
FUNCTION: Final = 2


def build_sata(board: PcBoard) -> None:
    """The adapter with the drives that there are.  A machine without drives has none."""
    drives = board.services.ide
    if not drives:
        return
    units = [_unit(drives.get(number)) for number in range(PORTS)]
    board.plug(Ahci(board.services.clock, units), "/machine/ahci", SOUTH_BRIDGE, FUNCTION)
    for number, unit in enumerate(units):
        if unit is not None:
            unit.drive.qdev = f"/machine/ahci/port{number}/{unit.drive.name}"
            board.services.tree.add(unit.drive.qdev, unit)


def _unit(drive: Drive | None) -> AtaUnit | None:
    if drive is None:
        return None
    return AtapiCdrom(drive) if drive.kind is DriveKind.CDROM else AtaDisk(drive, sata=True)
