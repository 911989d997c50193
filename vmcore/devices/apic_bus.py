"""The bus between local APICs and IOAPICs: who gets a message.

Source: Intel SDM volume 3, sections 11.6.2 (determining IPI destination) and 11.11 (message signalled interrupts).
Delivery is at once and in the order of attachment, so it is the same in every run.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from vmcore.devices.ioapic import IoApic
    from vmcore.devices.local_apic import LocalApic

BROADCAST = 0xFF


class Delivery(IntEnum):
    """Delivery modes of ICR, LVT, redirection entries and MSI data (table 11-3; 3 is reserved)."""

    FIXED = 0
    LOWEST_PRIORITY = 1
    SMI = 2
    NMI = 4
    INIT = 5
    STARTUP = 6
    EXTINT = 7


@final
class ApicBus:
    """Routes messages.  It has no state of its own: IDs and destination registers are the APICs'."""

    __slots__ = ("io", "local")

    def __init__(self) -> None:
        self.local: list[LocalApic] = []
        self.io: list[IoApic] = []

    def attach_local(self, apic: LocalApic) -> None:
        """Add a local APIC; the order settles ties of lowest-priority delivery."""
        self.local.append(apic)

    def attach_io(self, apic: IoApic) -> None:
        """Add an IOAPIC: it hears of every end of a level-triggered interrupt."""
        self.io.append(apic)

    def send(self, destination: int, logical: bool, mode: int, vector: int, level: bool = False) -> bool:
        """Deliver a message to the APICs that `destination` names; whether any accepted it."""
        if logical:
            targets = [apic for apic in self.local if apic.is_logical_destination(destination)]
        else:
            targets = [apic for apic in self.local if destination in (apic.current_id, BROADCAST) and apic.enabled]
        return self.deliver(targets, mode, vector, level)

    def deliver(self, targets: list[LocalApic], mode: int, vector: int, level: bool = False) -> bool:
        """Deliver a message to given APICs; of lowest priority, to one of them."""
        if mode == Delivery.LOWEST_PRIORITY:
            ready = [apic for apic in targets if apic.software_enabled]
            if not ready:
                return False
            return min(ready, key=_priority_class).accept(vector, level)
        accepted = False
        for apic in targets:
            if mode == Delivery.FIXED:
                accepted |= apic.accept(vector, level)
            else:
                accepted |= apic.accept_special(mode, vector)
        return accepted

    def message(self, address: int, data: int) -> None:
        """A message signalled interrupt: a device writes `data` to `address`, 0xFEE00000-0xFEEFFFFF."""
        if data & 0x8000 and not data & 0x4000:
            return  # The deassertion of a level means nothing.
        self.send(address >> 12 & 0xFF, bool(address & 4), data >> 8 & 7, data & 0xFF, bool(data & 0x8000))

    def end_of_interrupt(self, vector: int) -> None:
        """A local APIC ended a level-triggered interrupt."""
        for apic in self.io:
            apic.end_of_interrupt(vector)


def _priority_class(apic: LocalApic) -> int:
    return apic.arbitration_priority >> 4
