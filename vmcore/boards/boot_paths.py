"""How firmware's boot order names drives: Open Firmware device paths, as SeaBIOS matches them (IEEE 1275, 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmcore.boards.pc import PcBoard

__all__ = ["boot_paths"]


def boot_paths(board: PcBoard) -> tuple[str, ...]:
    """The drives that have a boot index, in its order."""
    found: list[tuple[int, str]] = []
    for place, drive in board.services.ide.items():
        if drive.boot_index is not None:
            found.append((drive.boot_index, board.adapter_path.format(place // 2, place % 2, place)))
    for place, drive in board.services.floppies.items():
        if drive.boot_index is not None:
            found.append((drive.boot_index, f"{board.isa_path}/fdc@03f0/floppy@{place}"))
    return tuple(path for _, path in sorted(found))
