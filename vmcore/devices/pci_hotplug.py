"""Slots of PCI buses as the guest's ACPI code sees them: what was plugged in, what is to go, what can be ejected.

Source: QEMU's specification "QEMU<->ACPI BIOS PCI hotplug interface" (docs/specs/acpi_pci_hotplug), and for BUS, by
which the other registers are about one of several buses, what QEMU 7.2 does.  Slots are bits of the registers.  Reading
UP tells of each device once; DOWN tells of it until it is ejected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, field, frozen

from vmcore.hardware import RO, Device, Register

__all__ = ["PORTS", "PciHotplug", "PciHotplugState"]

PORTS: Final = 24
SLOTS: Final = 32
NONE_THERE: Final = 0xFFFF_FFFF
"""Removability of a bus that is not there."""


@frozen
class PciHotplugState:
    """up, down: slots by bus; bus: the one that the registers are about."""

    up: tuple[int, ...]
    down: tuple[int, ...]
    bus: int


@final
@define(eq=False)
class PciHotplug(Device[PciHotplugState]):
    """The registers."""

    event: Callable[[], None]
    """Raises the general-purpose event that lets the guest look here."""
    on_eject: Callable[[int, int], None]
    """The guest ejects what is in a slot of a bus."""
    removable: Callable[[int], int]
    """The slots of a bus whose devices can be ejected, or that are empty."""
    buses: int = 1

    _up: list[int] = field(init=False)
    _down: list[int] = field(init=False)
    _bus: int = field(init=False, default=0)

    UP = Register(offset=0x00, width=32, access=RO, doc="Slots with new devices; reading clears it.")
    DOWN = Register(offset=0x04, width=32, access=RO, doc="Slots whose devices are to go.")
    EJECT = Register(
        offset=0x08, width=32, doc="A write ejects what is in the lowest of the slots; reads as zero."
    )
    REMOVABLE = Register(offset=0x0C, width=32, access=RO, doc="Slots whose devices can be ejected, and empty ones.")
    BUS = Register(offset=0x10, width=32, doc="The bus that the others are about; 0 is the root bus.")
    INDEX = Register(offset=0x14, width=32, access=RO, doc="The index of a device for its name: none has one.")

    def __attrs_post_init__(self) -> None:
        self._up, self._down = [0] * self.buses, [0] * self.buses

    # --- the host's side

    def plug(self, bus: int, slot: int) -> None:
        """A device has come into a slot: tell the guest."""
        self._up[bus] |= 1 << slot
        self.event()

    def ask_to_go(self, bus: int, slot: int) -> None:
        """Ask the guest to let go of what is in a slot."""
        self._down[bus] |= 1 << slot
        self.event()

    def forget(self, bus: int, slot: int) -> None:
        """A slot is empty: there is nothing to tell of it any more."""
        self._up[bus] &= ~(1 << slot)
        self._down[bus] &= ~(1 << slot)

    def eject_pending(self) -> None:
        """A reset takes everything out that the guest was asked to let go of."""
        for bus in range(self.buses):
            for slot in range(SLOTS):
                if self._down[bus] >> slot & 1:
                    self._eject(bus, slot)

    def _eject(self, bus: int, slot: int) -> None:
        self._down[bus] &= ~(1 << slot)
        self.on_eject(bus, slot)

    # --- the guest's side

    @UP.on_read
    def _new(self) -> int:
        if self._bus >= self.buses:
            return 0
        up, self._up[self._bus] = self._up[self._bus], 0
        return up

    @DOWN.on_read
    def _leaving(self) -> int:
        return self._down[self._bus] if self._bus < self.buses else 0

    @EJECT.on_read
    def _features(self) -> int:
        return 0

    @EJECT.on_write
    def _take_out(self, slots: int) -> None:
        if slots and self._bus < self.buses:
            self._eject(self._bus, (slots & -slots).bit_length() - 1)

    @REMOVABLE.on_read
    def _can_go(self) -> int:
        return self.removable(self._bus) if self._bus < self.buses else NONE_THERE

    @BUS.on_read
    def _selected(self) -> int:
        return self._bus

    @BUS.on_write
    def _select(self, bus: int) -> None:
        self._bus = bus

    # --- state

    def reset(self) -> None:
        """The root bus is selected, and nothing is new.  What is to go has gone before (`eject_pending`)."""
        super().reset()
        self._up, self._down, self._bus = [0] * self.buses, [0] * self.buses, 0

    def save(self) -> PciHotplugState:
        """The slots that there is something to tell of."""
        return PciHotplugState(tuple(self._up), tuple(self._down), self._bus)

    def restore(self, state: PciHotplugState) -> None:
        """Take a saved state."""
        if (len(state.up), len(state.down)) != (self.buses, self.buses):
            raise ValueError(f"{len(state.up)} and {len(state.down)} buses: expected {self.buses}")
        self._up, self._down, self._bus = list(state.up), list(state.down), state.bus
