"""The IDE function of the PIIX3: bus mastering for its two channels.

Source: Intel 82371SB (PIIX3) data sheet 290550, section 2.3 (configuration space) and 2.6 (bus master registers).
The channels are at their usual ports and interrupts whatever the registers for timing say.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader, Space
from vmcore.devices.ide_bus_master import BusMasterState, IdeBusMaster
from vmcore.devices.ide_channel import IdeChannel

__all__ = ["DECODE", "TIMING", "Piix3Ide", "Piix3IdeState"]

TIMING: Final = 0x40
"""IDETIM: two bytes for each channel (2.3.9)."""
SLAVE_TIMING: Final = 0x44
DECODE: Final = 0x8000
"""Bit of IDETIM: the channel is decoded.  Operating systems look whether the firmware has set it."""
BUS_MASTER: Final = 4
"""Index of the base address register of the bus master registers."""
PORTS: Final = 16
CHANNEL_PORTS: Final = 8


@frozen
class Piix3IdeState:
    """pci: configuration space; first, second: the bus masters."""

    pci: PciFunctionState
    first: BusMasterState
    second: BusMasterState


class _Memory:
    """Memory as the function's bus masters reach it."""

    def __init__(self, function: Piix3Ide) -> None:
        self._function = function

    def read(self, address: int, size: int, /) -> bytes:
        return self._function.dma_read(address, size)

    def write(self, address: int, data: bytes, /) -> None:
        self._function.dma_write(address, data)


@final
@define(eq=False)
class Piix3Ide(PciFunction[Piix3IdeState]):
    """Function 1 of the south bridge.  first, second: the channels."""

    first: IdeChannel
    second: IdeChannel
    masters: tuple[IdeBusMaster, IdeBusMaster] = field(init=False, repr=False)

    PCI = PciHeader(vendor=0x8086, device=0x7010, class_code=0x010180, status=0x0280)

    def __attrs_post_init__(self) -> None:
        self.config.allow(TIMING, 4, 0xFFFF_FFFF)
        self.config.allow(SLAVE_TIMING, 1, 0xFF)
        self.config.allow(0x3C, 1, 0)
        self.add_bar(BUS_MASTER, PORTS, Space.IO)
        self.masters = (self._master(self.first), self._master(self.second))

    def _master(self, channel: IdeChannel) -> IdeBusMaster:
        return IdeBusMaster(channel, _Memory(self), lambda: self.can_master)

    def port_read(self, offset: int, size: int) -> int:
        """Eight ports of each channel's bus master."""
        if offset // CHANNEL_PORTS != (offset + size - 1) // CHANNEL_PORTS:
            return sum(self.port_read(offset + lane, 1) << 8 * lane for lane in range(size))
        which, port = divmod(offset, CHANNEL_PORTS)
        return self.masters[which].port_read(port, size) if which < 2 else (1 << 8 * size) - 1

    def port_write(self, offset: int, value: int, size: int) -> None:
        """Eight ports of each channel's bus master."""
        if offset // CHANNEL_PORTS != (offset + size - 1) // CHANNEL_PORTS:
            for lane in range(size):
                self.port_write(offset + lane, value >> 8 * lane & 0xFF, 1)
            return
        which, port = divmod(offset, CHANNEL_PORTS)
        if which < 2:
            self.masters[which].port_write(port, value, size)

    def enable_channels(self) -> None:
        """What firmware does: let both channels be decoded."""
        for number in range(2):
            self.config_write(TIMING + 2 * number, DECODE, 2)

    def reset(self) -> None:
        """Power-on: nothing under way."""
        super().reset()
        self.stop()

    def stop(self) -> None:
        """No transfer goes on; configuration stays."""
        for master in self.masters:
            master.reset()

    def save(self) -> Piix3IdeState:
        """Configuration space and bus masters."""
        return Piix3IdeState(self.save_pci(), self.masters[0].save(), self.masters[1].save())

    def restore(self, state: Piix3IdeState) -> None:
        """Take a saved state."""
        self.restore_pci(state.pci)
        self.masters[0].restore(state.first)
        self.masters[1].restore(state.second)
