"""The watchdog of the Intel 6300ESB as a PCI function: device 29, function 4 of that hub, here in any slot.

Source: Intel 6300ESB I/O Controller Hub data sheet 300641, chapter 16.  The registers are `I6300EsbWatchdog`'s; the
interrupt of the first stage goes to an input of the hub's second IOAPIC, which no board here has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, field, frozen

from vmcore.buses.pci import PciFunction, PciFunctionState, PciHeader
from vmcore.devices.i6300esb import I6300EsbState, I6300EsbWatchdog
from vmcore.hardware import Clock, IrqLine

__all__ = ["I6300Esb", "I6300EsbPciState"]

CONFIGURATION: Final = 0x60
LOCK: Final = 0x68


@frozen
class I6300EsbPciState:
    """pci: configuration space; watchdog: the registers."""

    pci: PciFunctionState
    watchdog: I6300EsbState


@final
@define(eq=False)
class I6300Esb(PciFunction[I6300EsbPciState]):
    """Sixteen bytes of memory at base address register 0, and two registers in configuration space."""

    clock: Clock
    expired: Callable[[], None]
    """The guest has hung."""
    watchdog: I6300EsbWatchdog = field(init=False)

    PCI = PciHeader(vendor=0x8086, device=0x25AB, class_code=0x088000, status=0x0280)

    def __attrs_post_init__(self) -> None:
        self.watchdog = I6300EsbWatchdog(self.clock, self.expired, IrqLine.unconnected("6300esb"))
        self.add_bar(0, 16, device=self.watchdog)
        self.config.allow(CONFIGURATION, 2, 0xFFFF)
        self.config.allow(LOCK, 1, 0xFF)

    @property
    def running(self) -> bool:
        """Whether it will expire unless the guest does something."""
        return self.watchdog.running

    def config_written(self, offset: int, size: int) -> None:
        """The two registers."""
        if offset & ~3 == CONFIGURATION:
            self.watchdog.write_configuration(self.config.get(CONFIGURATION, 2))
            self.config.put(CONFIGURATION, 2, self.watchdog.configuration)
        elif offset & ~3 == LOCK:
            self.watchdog.write_lock(self.config.get(LOCK, 1))
            self.config.put(LOCK, 1, self.watchdog.lock)

    def reset(self) -> None:
        """All but WDT_TIMEOUT."""
        super().reset()
        self.watchdog.reset()

    def save(self) -> I6300EsbPciState:
        """Configuration space and registers."""
        return I6300EsbPciState(self.save_pci(), self.watchdog.save())

    def restore(self, state: I6300EsbPciState) -> None:
        """Take a saved state."""
        self.watchdog.restore(state.watchdog)
        self.restore_pci(state.pci)
