"""The VGA as a PCI function: linear frame buffer, registers in memory, expansion ROM.

Numbers and the layout of the register window are those of QEMU's standard VGA (its documentation, "QEMU Standard VGA"):
EDID from 0 on, the VGA's ports 3C0h to 3DFh at 400h, the Bochs VBE registers as words from 500h on, and at 600h the
size of a block of QEMU's own with the byte order of the frame buffer at 604h.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader, Space
from vmcore.devices.vga import StdVga
from vmcore.hardware.decoding import HiddenMemory
from vmcore.model.units import KIB
from vmcore.screen.edid import edid

__all__ = ["VgaFunction", "VgaFunctionState"]

EDID_SIZE: Final = 0x400
PORTS, PORTS_END, FIRST_PORT = 0x400, 0x420, 0x10
DISPI, DISPI_END = 0x500, 0x516
EXTENDED, EXTENDED_SIZE = 0x600, 8
LITTLE_ENDIAN, BIG_ENDIAN = 0x1E1E1E1E, 0xBEBEBEBE

EDID: Final = edid(1024, 768)


@frozen
class VgaFunctionState:
    """pci: configuration space.  The adapter itself is a device of its own."""

    pci: PciFunctionState


@final
@define(eq=False)
class VgaFunction(PciFunction[VgaFunctionState]):
    """Base address register 0 shows the video memory, 2 the registers.  rom: the video BIOS, empty for none."""

    vga: StdVga
    rom: bytes = b""

    PCI = PciHeader(vendor=0x1234, device=0x1111, class_code=0x030000, revision=2)

    def __attrs_post_init__(self) -> None:
        memory = self.vga.memory
        frame = self.add_bar(0, memory.size, Space.PREFETCHABLE)
        frame.target = HiddenMemory(memory.vram.home, memory.size)
        self.add_bar(2, 4 * KIB)
        if self.rom:
            self.add_rom(self.rom)

    def mmio_read(self, offset: int, size: int) -> int:
        """EDID, ports, Bochs VBE registers, or QEMU's block."""
        vga = self.vga
        if offset + size <= EDID_SIZE:
            return int.from_bytes(EDID[offset : offset + size].ljust(size, b"\0"), "little")
        if offset >= PORTS and offset + size <= PORTS_END:
            return vga.port_read(offset - PORTS + FIRST_PORT, size)
        if DISPI <= offset < DISPI_END and size == 2:
            return vga.dispi.read(offset - DISPI >> 1)
        if offset >= EXTENDED and offset + size <= EXTENDED + EXTENDED_SIZE:
            block = EXTENDED_SIZE.to_bytes(4, "little") + LITTLE_ENDIAN.to_bytes(4, "little")
            return int.from_bytes(block[offset - EXTENDED :][:size], "little")
        return (1 << 8 * size) - 1

    def mmio_write(self, offset: int, value: int, size: int) -> None:
        """Ports or Bochs VBE registers; the byte order cannot be changed."""
        if offset >= PORTS and offset + size <= PORTS_END:
            self.vga.port_write(offset - PORTS + FIRST_PORT, value, size)
        elif DISPI <= offset < DISPI_END and size == 2:
            self.vga.write_dispi(offset - DISPI >> 1, value)

    def reset(self) -> None:
        """Power-on."""
        super().reset()

    def save(self) -> VgaFunctionState:
        return VgaFunctionState(self.save_pci())

    def restore(self, state: VgaFunctionState) -> None:
        self.restore_pci(state.pci)
