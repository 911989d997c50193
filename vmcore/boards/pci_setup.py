"""What firmware does on PCI before it starts an operating system: addresses, interrupts, decoding.

For guests that are started without firmware.  Windows are given out from the largest to the smallest, so that each is
aligned by itself; memory from the top of the window for PCI downwards as chip sets have their fixed parts there.

Source: PCI Firmware Specification 3.0, section 3.5 (device state at the hand-over to the operating system).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from vmcore.buses.pci import ROM_BAR, PciBus, PciFunction
from vmcore.buses.pci_config import COMMAND, INTERRUPT_LINE, Command

__all__ = ["set_up"]

FIRST_PORT: Final = 0xC000
LAST_PORT: Final = 0x10000


def set_up(bus: PciBus, memory: tuple[int, int], irq: Callable[[int, int], int]) -> None:
    """Give every function of a root bus what it asks for, as far as it fits.

    memory: first address for windows, and the first behind; irq: the interrupt of a device number and a pin (0 for
    INTA#).
    """
    windows = sorted(
        ((window.size, devfn, window, function) for devfn, function in bus.functions.items()
         for window in function.windows if window.bar is not None),
        key=lambda one: (-one[0], one[1], one[2].register),
    )  # fmt: skip
    lowest, top = memory
    port = FIRST_PORT
    for size, _, window, function in windows:
        if window.space.is_memory:
            base = (top - size) & ~(size - 1)
            if base < lowest:
                continue
            top = base
        else:
            base = -(-port // size) * size
            if base + size > LAST_PORT:
                continue
            port = base + size
        function.config_write(window.register, base, 4)
        if window.wide:
            function.config_write(window.register + 4, 0, 4)
    for devfn, function in bus.functions.items():
        _enable(function)
        pin = function.PCI.interrupt_pin
        if pin:
            function.config_write(INTERRUPT_LINE, irq(devfn >> 3, pin - 1), 1)


def _enable(function: PciFunction[Any]) -> None:
    """Decode what has an address."""
    command = function.config.get(COMMAND, 2)
    for window in function.windows:
        if window.bar not in (None, ROM_BAR) and function.config.get(window.register, 4) & ~0xF:
            command |= Command.MEMORY if window.space.is_memory else Command.IO
    function.config_write(COMMAND, command, 2)
