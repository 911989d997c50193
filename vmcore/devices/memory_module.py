"""A memory module, as the object tree tells of it: the property names are those of QEMU's `pc-dimm`."""

from __future__ import annotations

from typing import final

from attrs import define, frozen

from vmcore.hardware import Device

__all__ = ["MemoryModule", "MemoryModuleState"]


@frozen
class MemoryModuleState:
    """Its content is memory of the machine, where it is kept."""


@final
@define(eq=False)
class MemoryModule(Device[MemoryModuleState]):
    """A module.  addr: where it is in guest memory; size: bytes; slot: its slot; node: its NUMA node."""

    addr: int
    size: int
    slot: int
    node: int
    memdev: str
    """Path of the back end that it is made of."""
    hotplugged: bool
    hotpluggable: bool = True

    def reset(self) -> None:
        """It keeps its content."""
        super().reset()

    def save(self) -> MemoryModuleState:
        """Nothing of its own."""
        return MemoryModuleState()

    def restore(self, state: MemoryModuleState) -> None:
        """Nothing to do."""
