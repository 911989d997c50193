"""The board `none`: vCPUs and RAM from 0 upwards, nothing else.  For code that needs no PC, and for tests of the
processor.

There are no interrupts, no time but what the processor has, and no firmware: a flat image starts where it is told to.
Without a reset circuit a triple fault is the end.  Devices can be added by the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from vmcore.boards.added import add_devices
from vmcore.boards.board import AddedDevice, Board, BoardServices
from vmcore.boards.msrs import give_hyperv
from vmcore.engine.topology import CpuTopology
from vmcore.firmware.boot_image import BootImage
from vmcore.firmware.platform import PlatformLayout
from vmcore.hardware.device import Device
from vmcore.hardware.memory_map import Ram
from vmcore.model.units import GIB

__all__ = ["NoneBoard", "none_layout"]


def none_layout(
    *,
    memory: int,
    cpus: int,
    topology: CpuTopology | None = None,
    long_mode: bool = True,
    physical_bits: int = 40,
) -> PlatformLayout:
    """A machine that has nothing but RAM: from 0 to at most 3 GiB, the rest from 4 GiB on."""
    return PlatformLayout(
        memory=memory,
        cpus=cpus,
        topology=topology or CpuTopology(cores=cpus),
        long_mode=long_mode,
        physical_bits=physical_bits,
        serial=(),
        keyboard=False,
        mouse=False,
        rtc=False,
        acpi=False,
        pci=False,
        cpu_hotplug=0,
        hpet=0,
    )


@final
class NoneBoard(Board):
    """vCPUs and RAM."""

    def __init__(
        self,
        services: BoardServices,
        layout: PlatformLayout,
        added: Sequence[AddedDevice] = (),
        hyperv: Sequence[str] = (),
    ) -> None:
        super().__init__(services, layout)
        self.memory_map.add(Ram(0, layout.low_ram, "ram"))
        if layout.high_ram:
            self.memory_map.add(Ram(4 * GIB, layout.high_ram, "above 4 GiB", layout.low_ram))
        add_devices(self, added)
        give_hyperv(self, hyperv)
        self.connect()

    @property
    def resets_after_triple_fault(self) -> bool:
        return False

    def reset(self, keep: Sequence[Device[Any]] = ()) -> None:
        self.reset_devices(keep)

    def booted(self, image: BootImage) -> None:
        pass
