"""The way to PCI configuration space: ports 0xCF8 and 0xCFC.

Source: PCI Local Bus Specification 3.0, section 3.2.2.3.2 (configuration mechanism #1).
"""

from __future__ import annotations

from typing import Any, Final, final

from attrs import define, frozen

from vmcore.buses.pci import PciBus, PciFunction
from vmcore.hardware import Device, Register

__all__ = ["PciHost", "PciHostState"]

ENABLE: Final = 1 << 31
"""Bit of the address register that lets accesses through to configuration space."""
WRITABLE_ADDRESS: Final = 0x80FF_FFFC


@frozen
class PciHostState:
    """address: the address register."""

    address: int


@final
@define(eq=False)
class PciHost(Device[PciHostState]):
    """Eight ports.  The address register answers to doublewords alone; other accesses to its ports pass on to the
    ISA bus,
    where the reset control register has the second of them (PIIX: 0xCF9).
    """

    bus: PciBus
    """The root bus."""
    isa: Device[Any] | None = None
    """The device that byte accesses at offset 1 reach."""

    ADDRESS = Register(
        offset=0,
        width=32,
        writable=WRITABLE_ADDRESS,
        bits={"REGISTER": (2, 7), "FUNCTION": (8, 10), "DEVICE": (11, 15), "BUS": (16, 23), "ENABLE": 31},
        doc="The doubleword of configuration space that the data register shows.",
    )
    DATA = Register(offset=4, width=32, reset=0xFFFF_FFFF, doc="The doubleword chosen; ones where there is nothing.")

    def port_read(self, offset: int, size: int) -> int:
        """Address, data, or the device on the ISA bus."""
        if offset >= 4 and offset + size <= 8:
            chosen = self._chosen()
            if chosen is None:
                return (1 << 8 * size) - 1
            return chosen[0].config_read(chosen[1] + offset - 4, size)
        if offset == 0 and size == 4:
            return self.ADDRESS
        if offset == 1 and size == 1 and self.isa is not None:
            return self.isa.port_read(0, 1)
        if size == 1:
            return 0xFF
        return sum(self.port_read(offset + lane, 1) << 8 * lane for lane in range(size))

    def port_write(self, offset: int, value: int, size: int) -> None:
        """Address, data, or the device on the ISA bus."""
        if offset >= 4 and offset + size <= 8:
            chosen = self._chosen()
            if chosen is not None:
                chosen[0].config_write(chosen[1] + offset - 4, value, size)
        elif offset == 0 and size == 4:
            self.ADDRESS = value & WRITABLE_ADDRESS
        elif offset == 1 and size == 1:
            if self.isa is not None:
                self.isa.port_write(0, value, 1)
        elif size > 1:
            for lane in range(size):
                self.port_write(offset + lane, value >> 8 * lane & 0xFF, 1)

    def reset(self) -> None:
        """Nothing chosen."""
        super().reset()

    def save(self) -> PciHostState:
        """The address register."""
        return PciHostState(self.ADDRESS)

    def restore(self, state: PciHostState) -> None:
        """Take a saved state."""
        self.ADDRESS = state.address

    def _chosen(self) -> tuple[PciFunction[Any], int] | None:
        """The function and the offset that the address register chooses; None where there is no such function."""
        address = self.ADDRESS
        if not address & ENABLE:
            return None
        function = self.bus.find(address >> 16 & 0xFF, address >> 8 & 0xFF)
        return None if function is None else (function, address & 0xFC)
