"""The LPC bridge of the ICH9: routes of PCI interrupts, and where the ports of power management and watchdog and the
chipset configuration registers are.

Source: Intel ICH9 data sheet 316972, section 13.1 (configuration registers), 13.8.3 (power management ports) and 13.9
(TCO).

System management mode is not there: SMI_EN says from the start that writes to the APM port make SMIs, by which
firmware knows that somebody else has taken care of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

from attrs import define, field, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader, Space, Window
from vmcore.buses.pci_config import Command
from vmcore.devices.acpi_pm import AcpiPm
from vmcore.devices.ich9_chipset import PAGE, PAGE_SIZE, Ich9Chipset
from vmcore.devices.piix3 import NOT_ROUTED, ROUTABLE
from vmcore.devices.tco import Tco
from vmcore.hardware import Device, IrqLine, Register, SharedLine

__all__ = [
    "ACPI_CONTROL",
    "PIRQS",
    "PM_BASE",
    "ROOT_COMPLEX",
    "Ich9Lpc",
    "Ich9LpcState",
    "SmiControl",
    "SmiControlState",
    "route",
]

PIRQS: Final = (0x60, 0x61, 0x62, 0x63, 0x68, 0x69, 0x6A, 0x6B)
"""Registers that route PIRQA to PIRQH to ISA interrupts (13.1.14)."""
PM_BASE: Final = 0x40
ACPI_CONTROL: Final = 0x44
ACPI_ENABLE: Final = 0x80
ROOT_COMPLEX: Final = 0xF0
"""RCBA (13.1.35): bit 0 lets 16 KiB of chipset configuration registers be decoded."""
FIXED, GPE0, SMI, TCO = (0x00, 0x0C), (0x20, 4), (0x30, 8), (0x60, 0x20)
"""What is decoded at the base: offset and ports."""
ON_BOARD: Final = 25
"""Devices from here on are the ICH9's own."""


def route(device: int, pin: int) -> int:
    """Which PIRQ a pin leads to: slots use E to H in turn, the ICH9's own functions A to D (10.1.33, after reset)."""
    return pin if device >= ON_BOARD else 4 + (device + pin & 3)


@frozen
class SmiControlState:
    """Nothing: the registers cannot be changed."""


@final
@define(eq=False)
class SmiControl(Device[SmiControlState]):
    """SMI_EN and SMI_STS (13.8.3.7 and 13.8.3.8); a guest cannot change them here."""

    SMI_EN = Register(
        offset=0,
        width=32,
        reset=0x20,
        writable=0,
        bits={"GBL_SMI_EN": 0, "APMC_EN": 5},
        doc="Which events make SMIs: APMC_EN is set for good.",
    )
    SMI_STS = Register(offset=4, width=32, writable=0, doc="Events that made SMIs: there are none.")

    def reset(self) -> None:
        """Power-on."""
        super().reset()

    def save(self) -> SmiControlState:
        """Nothing."""
        return SmiControlState()

    def restore(self, state: SmiControlState) -> None:
        """Nothing."""


@frozen
class Ich9LpcState:
    """pci: configuration space; levels: of the eight PCI interrupts, a bit each."""

    pci: PciFunctionState
    levels: int


@final
@define(eq=False)
class Ich9Lpc(PciFunction[Ich9LpcState]):
    """Function 0 of device 31.  `pirqs` are what the slots' interrupt pins are wired to; each also leads to an input of
    the IOAPIC of its own, 16 to 23.
    """

    pm: AcpiPm
    smi: SmiControl
    tco: Tco
    chipset: Ich9Chipset
    irqs: Mapping[int, IrqLine] = field(factory=dict)
    """A line of its own to each routable ISA interrupt."""
    inputs: Sequence[Callable[[bool], None]] = ()
    """Inputs 16 to 23 of the IOAPIC."""
    pirqs: Sequence[SharedLine] = field(init=False)
    _levels: int = field(init=False, default=0)
    _windows: list[tuple[int, Window]] = field(init=False, factory=list)
    _chipset_window: Window = field(init=False)

    PCI = PciHeader(
        vendor=0x8086,
        device=0x2918,
        class_code=0x060100,
        revision=2,
        header_type=0x80,
        command=Command.IO | Command.MEMORY | Command.MASTER,
        status=0x0200,
    )

    def __attrs_post_init__(self) -> None:
        config = self.config
        config.allow(0x0C, 2, 0)
        config.allow(0x3C, 1, 0)
        for offset in range(0x40, 0x100):
            config.allow(offset, 1, 0xFF)
        config.set(PM_BASE, 4, 1)
        config.allow(PM_BASE, 4, 0xFF80)
        for offset in PIRQS:
            config.set(offset, 1, NOT_ROUTED)
            config.allow(offset, 1, 0x8F)
        parts = (FIXED, self.pm, 0), (GPE0, self.pm, 0x20), (SMI, self.smi, 0), (TCO, self.tco, 0)
        for (at, count), device, first in parts:
            window = self.add_window(Space.IO, None, count, device=device, offset=first, gated=False)
            self._windows.append((at, window))
        config.set(ROOT_COMPLEX, 4, 0)
        config.allow(ROOT_COMPLEX, 4, 0xFFFF_C001)
        self._chipset_window = self.add_window(Space.MEMORY, None, PAGE_SIZE, device=self.chipset, gated=False)
        self.pirqs = [
            SharedLine(IrqLine(self._input(number), f"PIRQ{letter}")) for number, letter in enumerate("ABCDEFGH")
        ]

    def _input(self, number: int) -> Callable[[bool], None]:
        def handler(level: bool) -> None:
            self._levels = self._levels & ~(1 << number) | level << number
            self._route()
            if self.inputs:
                self.inputs[number](level)

        return handler

    def _asserted_irqs(self) -> set[int]:
        routes = [self.config.data[offset] for offset in PIRQS]
        return {
            one & 15
            for number, one in enumerate(routes)
            if self._levels >> number & 1 and not one & NOT_ROUTED and one & 15 in ROUTABLE
        }

    def _route(self) -> None:
        asserted = self._asserted_irqs()
        for number, line in self.irqs.items():
            line.set(number in asserted)

    def config_written(self, offset: int, size: int) -> None:
        """Routes may have changed, or the ports have moved."""
        if offset & ~3 in (0x60, 0x68):
            self._route()
        if offset & ~3 in (PM_BASE, ACPI_CONTROL, ROOT_COMPLEX):
            self._place()

    def _place(self) -> None:
        base = self.config.get(PM_BASE, 2) & 0xFF80
        shown = self.config.data[ACPI_CONTROL] & ACPI_ENABLE and base
        for at, window in self._windows:
            self.move(window, base=base + at if shown else None)
        root = self.config.get(ROOT_COMPLEX, 4)
        self.move(self._chipset_window, base=(root & 0xFFFF_C000) + PAGE if root & 1 else None)

    def reset(self) -> None:
        """Nothing routed, no ports.  The inputs keep their levels: those are others' outputs."""
        super().reset()
        self._route()
        self._place()

    def save(self) -> Ich9LpcState:
        """Configuration space and input levels."""
        return Ich9LpcState(self.save_pci(), self._levels)

    def restore(self, state: Ich9LpcState) -> None:
        """Take a saved state."""
        self.restore_pci(state.pci)
        self._levels = state.levels
        for number, shared in enumerate(self.pirqs):
            shared.output.assume(bool(state.levels >> number & 1))
        asserted = self._asserted_irqs()
        for number, line in self.irqs.items():
            line.assume(number in asserted)
        self._place()
