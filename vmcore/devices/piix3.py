"""The PCI-to-ISA bridge of the PIIX3: it routes PCI interrupts to ISA ones.

Source: Intel 82371SB (PIIX3) data sheet 290550, section 2.2.  Registers that set timings, chip selects and
distributed DMA are storage with the reset values of the data sheet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, final

from attrs import define, field, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader
from vmcore.buses.pci_config import Command
from vmcore.hardware.irq import IrqLine, SharedLine

__all__ = ["ROUTABLE", "Piix3", "Piix3State"]

PIRQ: Final = 0x60
"""PIRQRC[A:D]: bit 7 clear routes the interrupt to the IRQ in bits 3-0 (2.2.11)."""
PIRQS: Final = 4
NOT_ROUTED: Final = 0x80
ROUTABLE: Final = frozenset({3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15})
"""IRQs that a PCI interrupt can be routed to; the other values are reserved."""

RESET_VALUES: Final[Mapping[int, int]] = {
    0x4C: 0x4D,  # ISA I/O recovery
    0x4E: 0x03,  # X-bus chip selects
    0x69: 0x02,  # top of memory
    0x70: 0x80,  # motherboard device IRQ
    0x76: 0x0C,  # motherboard device DMA
    0x77: 0x0C,
    0x78: 0x02,  # programmable chip select
    0xA0: 0x08,  # SMI control
    0xA8: 0x0F,  # fast off timer
}


@frozen
class Piix3State:
    """pci: configuration space; levels: of the four PCI interrupts, a bit each."""

    pci: PciFunctionState
    levels: int


@final
@define(eq=False)
class Piix3(PciFunction[Piix3State]):
    """Function 0 of the south bridge.  `pirqs` are what the slots' interrupt pins are wired to."""

    irqs: Mapping[int, IrqLine] = field(factory=dict)
    """A line of its own to each routable ISA interrupt."""
    pirqs: Sequence[SharedLine] = field(init=False)
    _levels: int = field(init=False, default=0)

    PCI = PciHeader(
        vendor=0x8086,
        device=0x7000,
        class_code=0x060100,
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
        for offset in range(PIRQ, PIRQ + PIRQS):
            config.set(offset, 1, NOT_ROUTED)
            config.allow(offset, 1, 0x8F)
        for offset, value in RESET_VALUES.items():
            config.set(offset, 1, value)
        self.pirqs = [SharedLine(IrqLine(self._input(number), f"PIRQ{'ABCD'[number]}")) for number in range(PIRQS)]

    def _input(self, number: int) -> Callable[[bool], None]:
        def handler(level: bool) -> None:
            self._levels = self._levels & ~(1 << number) | level << number
            self._route()

        return handler

    def _asserted_irqs(self) -> set[int]:
        routes = self.config.data[PIRQ : PIRQ + PIRQS]
        return {
            route & 15
            for number, route in enumerate(routes)
            if self._levels >> number & 1 and not route & NOT_ROUTED and route & 15 in ROUTABLE
        }

    def _route(self) -> None:
        asserted = self._asserted_irqs()
        for number, line in self.irqs.items():
            line.set(number in asserted)

    def config_written(self, offset: int, size: int) -> None:
        """Routes may have changed."""
        if offset < PIRQ + PIRQS and offset + size > PIRQ:
            self._route()

    def reset(self) -> None:
        """Nothing routed.  The inputs keep their levels: those are others' outputs."""
        super().reset()
        self._route()

    def save(self) -> Piix3State:
        """Configuration space and input levels."""
        return Piix3State(self.save_pci(), self._levels)

    def restore(self, state: Piix3State) -> None:
        """Take a saved state."""
        self.restore_pci(state.pci)
        self._levels = state.levels
        for number, shared in enumerate(self.pirqs):
            shared.output.assume(bool(state.levels >> number & 1))
        asserted = self._asserted_irqs()
        for number, line in self.irqs.items():
            line.assume(number in asserted)
