"""Which boards there are, as facts that can be told without building one."""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = ["BOARDS", "BoardKind", "board_name"]


@frozen(kw_only=True)
class BoardKind:
    """A board.

    name: as the configuration calls it; version: what QEMU calls the machine of that name, None where it has no other;
    max_cpus: vCPUs at most; hotpluggable_cpus: vCPUs can be plugged while it
    runs; ram: name of its main memory for management.
    """

    name: str
    version: str | None = None
    max_cpus: int
    hotpluggable_cpus: bool = False
    ram: str = "pc.ram"


BOARDS: Final[dict[str, BoardKind]] = {
    kind.name: kind
    for kind in (
        BoardKind(name="pc", version="pc-i440fx-7.2", max_cpus=64, hotpluggable_cpus=True),
        BoardKind(name="q35", version="pc-q35-7.2", max_cpus=64, hotpluggable_cpus=True),
        BoardKind(name="none", max_cpus=64, ram="ram"),
    )
}
"""Every board by its name; the first is what one gets without asking."""


def board_name(name: str) -> str:
    """The configuration's name for a board that may be called by its versioned one."""
    return next((kind.name for kind in BOARDS.values() if name in (kind.name, kind.version)), name)
