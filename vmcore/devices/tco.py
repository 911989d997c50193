"""TCO block of Intel's I/O controller hubs: a watchdog, and mailboxes between firmware and the system.

Source: Intel I/O Controller Hub 9 data sheet 316972, section 13.9 (TCO registers) and 5.14 (system management).

The timer counts down in steps of 0.6 s.  When it comes to zero the first time it sets TIMEOUT, which may raise an SMI,
and starts again; a second time before it is reloaded, the hub resets the system, unless the board forbids it
(NO_REBOOT).  It stands after a reset until the guest first reloads it: on a real board firmware halts it right away.

The count is computed when it is read; a timer is armed for zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, field, frozen

from vmcore.hardware import RO, Clock, Device, Register, Timer

__all__ = ["Tco", "TcoState"]

TICK_NS: Final = 600_000_000
COUNT: Final = 0x3FF

# TCO1_STS
SW_TCO_SMI, TCO_INT, TIMEOUT = 1 << 1, 1 << 2, 1 << 3
STS1_CLEARS: Final = SW_TCO_SMI | TCO_INT | TIMEOUT | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12
# TCO2_STS
INTRUDER, SECOND_TO, BOOT = 1 << 0, 1 << 1, 1 << 2
# TCO1_CNT
NMI_NOW, HALT, LOCK = 1 << 8, 1 << 11, 1 << 12
CNT1_WRITABLE: Final = 1 << 9 | HALT


@frozen
class TcoState:
    """registers: all that are stored, by offset, but TCO2_STS; status2: that one; deadline: when the count is zero,
    None while it stands; left: ticks left while it is halted, None before the first reload.
    """

    registers: bytes
    status2: int
    deadline: int | None
    left: int | None


def _quiet() -> None:
    pass


@final
@define(eq=False)
class Tco(Device[TcoState]):
    """The 32 ports at PMBASE + 60h."""

    clock: Clock
    expired: Callable[[], None]
    """The second time-out: the system is to be reset."""
    on_smi: Callable[[], None] = _quiet
    """Something happened that raises an SMI where TCO_EN lets it."""
    on_nmi: Callable[[], None] = _quiet
    """The guest asked for an NMI (NMI_NOW)."""
    no_reboot: Callable[[], bool] = lambda: False
    """Whether the second time-out does nothing: NO_REBOOT, which is not among these registers."""

    _timer: Timer = field(init=False)
    _left: int | None = field(init=False, default=None)

    TCO_RLD = Register(offset=0x00, width=16, bits={"TMR": (0, 9)}, doc="Reads the count; a write reloads it.")
    TCO_DAT_IN = Register(offset=0x02, doc="A message for firmware: a write raises an SMI.")
    TCO_DAT_OUT = Register(offset=0x03, doc="A message of firmware's to the system.")
    TCO1_STS = Register(
        offset=0x04,
        width=16,
        writable=0,
        clears=STS1_CLEARS,
        bits={
            "NMI2SMI_STS": 0,
            "SW_TCO_SMI": 1,
            "TCO_INT_STS": 2,
            "TIMEOUT": 3,
            "NEWCENTURY_STS": 7,
            "BIOSWR_STS": 8,
            "DMISCI_STS": 9,
            "DMISMI_STS": 10,
            "DMISERR_STS": 12,
        },
        doc="What happened; a one clears.",
    )
    TCO2_STS = Register(
        offset=0x06,
        width=16,
        writable=0,
        clears=INTRUDER | SECOND_TO | BOOT,
        bits={"INTRD_DET": 0, "SECOND_TO_STS": 1, "BOOT_STS": 2},
        doc="A second time-out without a reload; a one clears.  A reset of the system leaves it.",
    )
    TCO1_CNT = Register(
        offset=0x08,
        width=16,
        writable=CNT1_WRITABLE,
        bits={"NMI_NOW": 8, "NMI2SMI_EN": 9, "TCO_TMR_HLT": 11, "TCO_LOCK": 12},
        doc="TCO_TMR_HLT halts the timer; TCO_LOCK, once set, stays.",
    )
    TCO2_CNT = Register(
        offset=0x0A,
        width=16,
        reset=0x0008,
        writable=0x003E,
        bits={"INTRD_SEL": (1, 2), "OS_POLICY": (4, 5)},
        doc="Policy.",
    )
    TCO_MESSAGE1 = Register(offset=0x0C, doc="A message that reaches the outside.")
    TCO_MESSAGE2 = Register(offset=0x0D, doc="A message that reaches the outside.")
    TCO_WDCNT = Register(offset=0x0E, doc="How far the system has booted, for whoever watches from outside.")
    SW_IRQ_GEN = Register(
        offset=0x10, reset=0x03, writable=0x03, bits={"IRQ1": 0, "IRQ12": 1}, doc="Interrupts by software."
    )
    TCO_TMR = Register(
        offset=0x12,
        width=16,
        reset=0x0004,
        writable=COUNT,
        bits={"TMR": (0, 9)},
        doc="Ticks of 0.6 s from a reload on.",
    )
    RESERVED = Register(offset=0x1E, width=16, access=RO, doc="Zero.")

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self._zero, "tco")

    @property
    def running(self) -> bool:
        """Whether it will expire unless the guest does something."""
        return self._timer.deadline is not None and not self.no_reboot()

    @TCO_RLD.on_read
    def _count(self) -> int:
        deadline = self._timer.deadline
        if deadline is None:
            return self.TCO_TMR if self._left is None else self._left
        return max(-(-(deadline - self.clock.now) // TICK_NS), 0) & COUNT

    @TCO_RLD.on_write
    def _reload(self, value: int) -> None:
        self.TCO1_STS &= ~TIMEOUT
        self._start(self._ticks())

    @TCO_DAT_IN.on_write
    def _message_in(self, value: int) -> None:
        self.TCO_DAT_IN = value
        self.TCO1_STS |= SW_TCO_SMI
        self.on_smi()

    @TCO_DAT_OUT.on_write
    def _message_out(self, value: int) -> None:
        self.TCO_DAT_OUT = value
        self.TCO1_STS |= TCO_INT

    @TCO1_CNT.on_write
    def _control(self, value: int) -> None:
        locked = (self.TCO1_CNT | value) & LOCK
        Tco.TCO1_CNT.store(self, value)
        self.TCO1_CNT |= locked
        if value & NMI_NOW:
            self.on_nmi()
        if value & HALT and self._timer.deadline is not None:
            self._left = self._count()
            self._timer.cancel()
        elif not value & HALT and self._timer.deadline is None and self._left is not None:
            self._start(self._left)

    @TCO_TMR.on_write
    def _write_initial(self, value: int) -> None:
        if value & COUNT > 1:  # 0 and 1 are ignored.
            self.TCO_TMR = value & COUNT

    def _ticks(self) -> int:
        return self.TCO_TMR

    def _start(self, ticks: int) -> None:
        if self.TCO1_CNT & HALT:
            self._left = ticks
            self._timer.cancel()
        else:
            self._left = None
            self._timer.arm(self.clock.now + ticks * TICK_NS)

    def _zero(self) -> None:
        if not self.TCO1_STS & TIMEOUT:
            self.TCO1_STS |= TIMEOUT
            self.on_smi()
        elif not self.no_reboot():
            self.TCO2_STS |= SECOND_TO | BOOT
            self._left = None
            self.expired()
            return
        else:
            self.TCO2_STS |= SECOND_TO
        self._start(self._ticks())

    def reset(self) -> None:
        """Everything but TCO2_STS, by which the system learns why it was reset."""
        kept = self.TCO2_STS
        super().reset()
        self.TCO2_STS = kept
        self._left = None
        self._timer.cancel()

    def save(self) -> TcoState:
        """All registers and the count."""
        registers = bytearray(self.cells.values)
        registers[Tco.TCO2_STS.offset : Tco.TCO2_STS.offset + 2] = bytes(2)
        return TcoState(bytes(registers), self.TCO2_STS, self._timer.deadline, self._left)

    def restore(self, state: TcoState) -> None:
        """Take a saved state."""
        self.cells.values[:] = state.registers
        self.TCO2_STS = state.status2
        self._left = state.left
        self._timer.restore(state.deadline)
