"""Which boards there are, as facts that can be told without building one."""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = ["BOARDS", "BoardKind"]


@frozen(kw_only=True)
class BoardKind:
    """A board.

    name: as the configuration calls it; max_cpus: vCPUs at most; hotpluggable_cpus: vCPUs can be plugged while it
    runs; ram: name of its main memory for management.
    """

    name: str
    max_cpus: int
    hotpluggable_cpus: bool = False
    ram: str = "pc.ram"


BOARDS: Final[dict[str, BoardKind]] = {
    kind.name: kind
    for kind in (
        BoardKind(name="pc", max_cpus=64, hotpluggable_cpus=True),
        BoardKind(name="none", max_cpus=64, ram="ram"),
    )
}
"""Every board by its name; the first is what one gets without asking."""
