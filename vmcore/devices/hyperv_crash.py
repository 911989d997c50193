"""Hyper-V's way for a guest to report its crash: five parameters and a control register, all model-specific registers.

Source: Hypervisor Top-Level Functional Specification 6.0b, section 3.8 (guest crash enlightenment interface).  A guest
that finds the feature bit in CPUID leaf 4000_0003h writes the parameters and then CrashNotify.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, field, frozen

from vmcore.hardware import Device
from vmcore.model.events import GuestPanicInformationHyperV

__all__ = ["MSRS", "HyperVCrash", "HyperVCrashState"]

P0: Final = 0x4000_0100
CONTROL: Final = 0x4000_0105
PARAMETERS: Final = 5
NOTIFY: Final = 1 << 63
MSRS: Final = tuple(range(P0, CONTROL + 1))


@frozen
class HyperVCrashState:
    """The parameters as the guest has written them."""

    parameters: tuple[int, ...]


@final
@define(eq=False)
class HyperVCrash(Device[HyperVCrashState]):
    """The registers, the same for all processors.  They are reached by RDMSR and WRMSR, not by an address."""

    crashed: Callable[[GuestPanicInformationHyperV], None]
    """The guest reports its crash."""

    _parameters: list[int] = field(init=False, factory=lambda: [0] * PARAMETERS)

    def read_msr(self, index: int) -> int:
        """A register out of MSRS; the control register tells what it can do."""
        return NOTIFY if index == CONTROL else self._parameters[index - P0]

    def write_msr(self, index: int, value: int) -> bool:
        """The guest writes one of MSRS.  True: there is nothing that cannot be written."""
        if index != CONTROL:
            self._parameters[index - P0] = value
        elif value & NOTIFY:
            first, second, third, fourth, fifth = self._parameters
            self.crashed(GuestPanicInformationHyperV(arg1=first, arg2=second, arg3=third, arg4=fourth, arg5=fifth))
        return True

    def reset(self) -> None:
        """All zero."""
        super().reset()
        self._parameters[:] = [0] * PARAMETERS

    def save(self) -> HyperVCrashState:
        """The parameters."""
        return HyperVCrashState(tuple(self._parameters))

    def restore(self, state: HyperVCrashState) -> None:
        """Take saved parameters."""
        self._parameters[:] = state.parameters
