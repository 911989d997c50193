"""The display adapter of the board `pc`, and what firmware does for it.

The adapter is function 0 of device 2, where QEMU's `pc` has it; its ports and its window below 1 MiB do not depend on
the command register, as on every PC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from vmcore.devices.vga import StdVga
from vmcore.devices.vga_memory import VideoMemory
from vmcore.devices.vga_pci import VgaFunction
from vmcore.devices.vga_picture import picture
from vmcore.firmware import video_bios
from vmcore.firmware.boot_image import BootImage

if TYPE_CHECKING:
    from vmcore.boards.pc import PcBoard
    from vmcore.screen.picture import Picture

__all__ = ["SLOT", "PcVga"]

SLOT: Final = 2
PORTS: Final = ((0x3B0, 0x0C, 0x00), (0x3C0, 0x10, 0x10), (0x3D0, 0x0C, 0x20), (0x1CE, 4, 0x30))
"""Ports, how many, and the offset in the adapter's registers."""

RESET_VECTOR: Final = 0xFFF0

READ_WRITE: Final = 0x33
"""In a PAM register: two segments of 16 KiB are RAM."""


@final
class PcVga:
    """Adds the adapter to a board.  rom: the video BIOS, empty for none."""

    def __init__(self, board: PcBoard, rom: bytes) -> None:
        self.rom = rom
        self._board = board
        self.adapter = StdVga(memory=VideoMemory(board.memory_decoder))
        self.function = VgaFunction(vga=self.adapter, rom=rom)
        board.add("/machine/vga", self.adapter)
        board.plug(self.function, "/machine/vga-pci", SLOT)
        for base, count, offset in PORTS:
            board.ports.claim(base, count, self.adapter, "vga" if base != 0x1CE else "bochs vbe", offset)

    def booted(self, image: BootImage) -> None:
        """Leave the adapter as firmware leaves it, in text mode.  A BIOS that runs itself finds the ROM in place."""
        if self.rom:
            # In RAM: a video BIOS keeps variables of its own there.
            bridge, first = self._board.pam
            for offset in range(first + 1, first + 3):
                bridge.config_write(offset, READ_WRITE, 1)
            shadow = self.rom.ljust(video_bios.SHADOW_SIZE, b"\0")
            self._board.services.memory.load(video_bios.ROM, shadow)
        if not self.rom or not (image.cpu.rip == RESET_VECTOR and image.cpu.cs.selector == 0xF000):
            video_bios.start_text(self.adapter, self.rom)

    def picture(self, now_ns: int) -> Picture:
        """What is to be seen at guest time `now_ns`."""
        return picture(self.adapter, now_ns)
