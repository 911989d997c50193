"""The way to PCI configuration space: ports 0xCF8 and 0xCFC, with bus 0 behind them.

Sources: PCI Local Bus Specification 3.0, section 3.2.2.3.2 (configuration mechanism #1) and 6.1 (the header); Intel
82441FX (440FX) data sheet 290549, section 3.2 (the host bridge's own header).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final, final

from attrs import define, field, frozen

from vmcore.hardware import Device, Register

__all__ = ["ConfigSpace", "PciHost", "PciHostState", "host_bridge"]

ENABLE: Final = 1 << 31
"""Bit of the address register that lets accesses through to configuration space."""
WRITABLE_ADDRESS: Final = 0x80FF_FFFC
HEADER: Final = 0x40
SPACE: Final = 256


@final
class ConfigSpace:
    """The 256 bytes of one function: power-on values, and which bits a guest's writes change."""

    __slots__ = ("_initial", "_writable", "data")

    def __init__(self, header: bytes, writable: Mapping[int, int]) -> None:
        """header: the first bytes; the rest is zero.  writable: masks of bytes by offset."""
        self._initial = header.ljust(SPACE, b"\0")
        masks = bytearray(SPACE)
        for offset, mask in writable.items():
            masks[offset] = mask
        self._writable = bytes(masks)
        self.data = bytearray(self._initial)
        """What the guest reads."""

    def reset(self) -> None:
        """Power-on."""
        self.data[:] = self._initial

    def read(self, offset: int, size: int) -> int:
        """Read `size` bytes that lie within one doubleword."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def write(self, offset: int, value: int, size: int) -> None:
        """Write `size` bytes that lie within one doubleword."""
        for at in range(offset, offset + size):
            mask = self._writable[at]
            self.data[at] = self.data[at] & ~mask | value & mask
            value >>= 8


def host_bridge() -> ConfigSpace:
    """The 440FX as function 0 of device 0: it decodes memory for the processor and masters the bus; both bits are
    fixed.
    """
    command, status = 0x0006, 0x0280  # Medium DEVSEL timing, fast back-to-back capable.
    header = struct.pack("<HHHHBBBB", 0x8086, 0x1237, command, status, 0x02, 0x00, 0x00, 0x06)
    return ConfigSpace(header, dict.fromkeys(range(HEADER, SPACE), 0xFF) | {0x0D: 0xF8})


@frozen
class PciHostState:
    """address: the address register; spaces: configuration space of each function by its device and function number."""

    address: int
    spaces: tuple[tuple[int, bytes], ...]


def _bridge_alone() -> dict[int, ConfigSpace]:
    return {0: host_bridge()}


@final
@define(eq=False)
class PciHost(Device[PciHostState]):
    """Eight ports.  The address register answers to doublewords alone; other accesses to its ports pass on to the
    ISA bus,
    where the reset control register has the second of them (PIIX: 0xCF9).
    """

    spaces: Mapping[int, ConfigSpace] = field(factory=_bridge_alone)
    """The functions of bus 0, by device number * 8 + function number."""
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
            return chosen[0].read(chosen[1] + offset - 4, size)
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
                chosen[0].write(chosen[1] + offset - 4, value, size)
        elif offset == 0 and size == 4:
            self.ADDRESS = value & WRITABLE_ADDRESS
        elif offset == 1 and size == 1:
            if self.isa is not None:
                self.isa.port_write(0, value, 1)
        elif size > 1:
            for lane in range(size):
                self.port_write(offset + lane, value >> 8 * lane & 0xFF, 1)

    def reset(self) -> None:
        """Power-on values in all configuration spaces."""
        super().reset()
        for space in self.spaces.values():
            space.reset()

    def save(self) -> PciHostState:
        """The address register and all configuration spaces."""
        return PciHostState(
            self.ADDRESS, tuple((number, bytes(space.data)) for number, space in sorted(self.spaces.items()))
        )

    def restore(self, state: PciHostState) -> None:
        """Take a saved state."""
        self.ADDRESS = state.address
        for number, data in state.spaces:
            self.spaces[number].data[:] = data

    def _chosen(self) -> tuple[ConfigSpace, int] | None:
        """The space and the offset that the address register chooses; None where there is no such function."""
        address = self.ADDRESS
        if not address & ENABLE or address >> 16 & 0xFF:
            return None
        space = self.spaces.get(address >> 8 & 0xFF)
        return None if space is None else (space, address & 0xFC)
