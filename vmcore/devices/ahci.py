"""The SATA adapter of an ICH9, in AHCI mode: six ports.

Source: Intel Serial ATA AHCI 1.3.1, sections 2 (configuration space) and 3.1 (generic host control); Intel ICH9 data
sheet 316972, section 15 (SATA controller, D31:F2), for ids and the index/data pair of ports.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from attrs import define, field, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, Space
from vmcore.buses.pci_config import PciHeader
from vmcore.devices.ahci_port import SLOTS, AhciPort, AhciPortState
from vmcore.devices.ata_unit import AtaUnit
from vmcore.hardware import Clock, Device, Register
from vmcore.hardware.registers import RO

__all__ = ["PORTS", "Ahci", "AhciState"]

PORTS: Final = 6
PORT_REGISTERS: Final = 0x100
PORT_SIZE: Final = 0x80
REGISTERS: Final = 0x1000
BAR_REGISTERS, BAR_INDEX = 5, 4
INDEX, DATA = 0x10, 0x14
"""Offsets of the index/data pair in its 32 ports."""

# Generic host control (3.1)
CAP, GHC, IS, PI, VS = 0x00, 0x04, 0x08, 0x0C, 0x10
HR, IE, AE = 1 << 0, 1 << 1, 1 << 31
# CAP: 64-bit addresses, queueing, AHCI only, 1.5 Gbit/s.
CAPABILITIES: Final = 1 << 31 | 1 << 30 | 1 << 20 | 1 << 18 | (SLOTS - 1) << 8 | (PORTS - 1)
VERSION: Final = 0x0001_0300

SATA_CAPABILITY: Final = 0x12
SATA_AT, MSI_AT = 0xA8, 0x80


@frozen
class AhciState:
    """control: GHC; pending: IS; told: a message was sent about it; index: of the index/data pair; ports: all."""

    pci: PciFunctionState
    control: int
    pending: int
    told: bool
    index: int
    ports: tuple[AhciPortState, ...]


@final
@define(eq=False)
class Ahci(PciFunction[AhciState]):
    """The adapter.  units: the drives at its ports, None where there is none."""

    PCI = PciHeader(vendor=0x8086, device=0x2922, revision=2, class_code=0x010601, interrupt_pin=1)

    clock: Clock
    units: Sequence[AtaUnit | None] = ()

    ports: tuple[AhciPort, ...] = field(init=False, default=())
    _pending: int = field(init=False, default=0)
    _told: bool = field(init=False, default=False)
    """Whether a message was sent about what is pending."""
    _index: AhciIndexData = field(init=False)

    CAP = Register(0x00, 32, access=RO, reset=CAPABILITIES, doc="What the adapter can.")
    GHC = Register(0x04, 32, reset=AE, bits={"HR": 0, "IE": 1, "AE": 31}, doc="Reset, interrupts; always AHCI.")
    IS = Register(0x08, 32, bits={"PORTS": (0, 5)}, doc="Ports with an interrupt pending; a one clears.")
    PI = Register(0x0C, 32, access=RO, reset=(1 << PORTS) - 1, doc="The ports that there are.")
    VS = Register(0x10, 32, access=RO, reset=VERSION, doc="1.3.")
    PORT = Register(0x100, 32, doc="Registers of port 0; 80h bytes for each port.")

    def __attrs_post_init__(self) -> None:
        units = [*self.units, *[None] * PORTS][:PORTS]
        self.ports = tuple(
            AhciPort(number, self.clock, self, self._port_changed, unit) for number, unit in enumerate(units)
        )
        self._index = AhciIndexData(self)
        self.add_bar(BAR_INDEX, 32, Space.IO, device=self._index)
        self.add_bar(BAR_REGISTERS, REGISTERS)
        self.add_msi(offset=MSI_AT)
        # Revision 1.0, the pair in BAR 4 from its fourth doubleword on (10.7.1 of AHCI, SATACR).
        self.config.add_capability(SATA_CAPABILITY, bytes((0x10, 0x00, 0x48, 0, 0, 0)), SATA_AT)

    # --- registers

    def port_read(self, offset: int, size: int) -> int:
        """All registers have 32 bits; parts of them can be read."""
        place = offset & ~3
        value = self._read(place) | self._read(place + 4) << 32
        return value >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def port_write(self, offset: int, value: int, size: int) -> None:
        """All registers have 32 bits, and are written as a whole; of narrower writes the rest is zeros."""
        place = offset & ~3
        wide = value << 8 * (offset & 3)
        while wide or place < offset + size:
            self._write(place, wide & 0xFFFF_FFFF)
            wide >>= 32
            place += 4

    def _read(self, offset: int) -> int:
        if offset >= PORT_REGISTERS:
            number, register = divmod(offset - PORT_REGISTERS, PORT_SIZE)
            return self.ports[number].read(register) if number < PORTS else 0
        return {CAP: CAPABILITIES, GHC: self.GHC, IS: self._pending, PI: (1 << PORTS) - 1, VS: VERSION}.get(offset, 0)

    def _write(self, offset: int, value: int) -> None:
        if offset >= PORT_REGISTERS:
            number, register = divmod(offset - PORT_REGISTERS, PORT_SIZE)
            if number < PORTS:
                self.ports[number].write(register, value)
        elif offset == GHC:
            if value & HR:
                self._host_reset()
            else:
                self.GHC = value & IE | AE
                self._update()
        elif offset == IS:
            self._pending &= ~value
            self._told = False  # What is still pending is worth another message (10.6.2.1).
            self._port_changed()

    def _host_reset(self) -> None:
        self.GHC, self._pending = AE, 0
        for port in self.ports:
            port.host_reset()
        self._pending = 0
        self._update()

    # --- interrupts

    def _port_changed(self) -> None:
        for port in self.ports:
            if port.interrupting:
                self._pending |= 1 << port.number
        self._update()

    def _update(self) -> None:
        level = bool(self._pending and self.GHC & IE)
        by_message = self.msi is not None and self.msi.enabled
        if by_message and level and not self._told:
            assert self.msi is not None
            self.msi.send()
        self._told = level
        self.interrupt(level and not by_message)

    # --- state

    def reset(self) -> None:
        """Power-on."""
        super().reset()
        self._index.reset()
        self.GHC = AE
        for port in self.ports:
            port.power_on()
        self._pending, self._told = 0, False
        self._update()

    def save(self) -> AhciState:
        """All ports with their drives."""
        ports = tuple(port.save() for port in self.ports)
        return AhciState(self.save_pci(), self.GHC, self._pending, self._told, self._index.INDEX, ports)

    def restore(self, state: AhciState) -> None:
        """Take a saved state."""
        self.GHC, self._pending, self._told = state.control, state.pending, state.told
        self._index.INDEX = state.index
        for port, saved in zip(self.ports, state.ports, strict=True):
            port.restore(saved)
        self.restore_pci(state.pci)


@frozen
class AhciIndexDataState:
    """index: the register that DATA is; all else is the adapter's."""

    index: int


@final
@define(eq=False)
class AhciIndexData(Device[AhciIndexDataState]):
    """The adapter's registers through two ports: INDEX says which, DATA is it (AHCI 10.7)."""

    adapter: Ahci = field(repr=False)

    INDEX = Register(INDEX, 32, writable=REGISTERS - 4, doc="Offset of a register of the adapter.")
    DATA = Register(DATA, 32, doc="That register.")

    @DATA.on_read
    def _read_data(self) -> int:
        return self.adapter.mmio_read(self.INDEX, 4)

    @DATA.on_write
    def _write_data(self, value: int) -> None:
        self.adapter.mmio_write(self.INDEX, value, 4)

    def reset(self) -> None:
        """Power-on."""
        super().reset()

    def save(self) -> AhciIndexDataState:
        """INDEX."""
        return AhciIndexDataState(self.INDEX)

    def restore(self, state: AhciIndexDataState) -> None:
        """Take a saved state."""
        self.INDEX = state.index
