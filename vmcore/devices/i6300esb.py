"""Watchdog timer of the Intel 6300ESB I/O controller hub: its registers, apart from the bus that they are on.

Source: Intel 6300ESB I/O Controller Hub data sheet 300641, chapter 16 (watchdog timer, device 29 function 4): two
stages of a down-counter with a preload value each.  The first stage may interrupt, the second drives WDT_TOUT#.

A PCI function shows the registers through its base address register 0, and passes words of its configuration space on:
60h to `write_configuration`, 68h to `write_lock`.

The counter does not run: a timer is armed for the end of the stage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, field, frozen

from vmcore.hardware import Clock, Device, IrqLine, Register, Timer, ns_from_ticks

__all__ = ["I6300EsbState", "I6300EsbWatchdog"]

PCI_HZ: Final = 33_000_000
PRELOAD: Final = 0xFFFFF

# Configuration register (config space, 60h).
INTERRUPT_TYPE: Final = 0x03
BY_IRQ, BY_SMI, SILENT = 0, 2, 3
FINE: Final = 1 << 2
"""WDT_PRE_SEL: a tick is 2^5 PCI clocks (about a microsecond) instead of 2^15 (about a millisecond)."""
OUTPUT_OFF: Final = 1 << 5
"""WDT_OUTPUT: WDT_TOUT# is not driven."""
CONFIGURATION: Final = INTERRUPT_TYPE | FINE | OUTPUT_OFF

# Lock register (config space, 68h).
LOCKED: Final = 1 << 0
ENABLE: Final = 1 << 1
FREE_RUNNING: Final = 1 << 2

# Reload register.
RELOAD_NOW: Final = 1 << 8
TIMEOUT: Final = 1 << 9

UNLOCK: Final = (0x80, 0x86)
INTERRUPT: Final = 1 << 0


@frozen
class I6300EsbState:
    """preload: values of both stages; key: how much of the unlocking sequence has come; configuration, lock: the
    registers in configuration space; stage: 1 or 2; deadline: when it ends.
    """

    preload: tuple[int, int]
    key: int
    interrupt: bool
    timed_out: bool
    configuration: int
    lock: int
    stage: int
    irq: bool
    deadline: int | None


@final
@define(eq=False)
class I6300EsbWatchdog(Device[I6300EsbState]):
    """The 16 bytes at base address register 0.  A write to a preload value, and one to RELOAD, counts only right behind
    the writes of 80h and 86h to RELOAD.
    """

    clock: Clock
    expired: Callable[[], None]
    """The second stage ended and WDT_TOUT# is driven: the guest has hung."""
    irq: IrqLine
    """The interrupt of the first stage."""
    on_smi: Callable[[], None] | None = None
    """The first stage ended and is to raise an SMI."""

    _timer: Timer = field(init=False)
    _stage: int = field(init=False, default=1)
    _key: int = field(init=False, default=0)
    _timed_out: bool = field(init=False, default=False)
    _configuration: int = field(init=False, default=0)
    _lock: int = field(init=False, default=0)

    PRELOAD1 = Register(
        offset=0x0, width=32, reset=PRELOAD, writable=PRELOAD, doc="Ticks of the first stage, less one."
    )
    PRELOAD2 = Register(
        offset=0x4, width=32, reset=PRELOAD, writable=PRELOAD, doc="Ticks of the second stage, less one."
    )
    GIS = Register(
        offset=0x8,
        width=32,
        writable=0,
        clears=INTERRUPT,
        bits={"WDT_INT_ACT": 0},
        doc="The first stage has ended and interrupted; a one clears.",
    )
    RELOAD = Register(
        offset=0xC,
        width=16,
        writable=0,
        bits={"WDT_RELOAD": 8, "WDT_TIMEOUT": 9},
        doc="Takes the unlocking sequence.  WDT_RELOAD starts the first stage anew; WDT_TIMEOUT: the second has ended.",
    )

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self._stage_over, "i6300esb")

    @property
    def running(self) -> bool:
        """Whether it will expire unless the guest does something."""
        return self._timer.deadline is not None and not self._configuration & OUTPUT_OFF

    # --- configuration space

    @property
    def configuration(self) -> int:
        """WDT Configuration Register (60h)."""
        return self._configuration

    def write_configuration(self, value: int) -> None:
        """The guest writes the WDT Configuration Register."""
        self._configuration = value & CONFIGURATION

    @property
    def lock(self) -> int:
        """WDT Lock Register (68h)."""
        return self._lock

    def write_lock(self, value: int) -> None:
        """The guest writes the WDT Lock Register: nothing happens once it is locked."""
        if self._lock & LOCKED:
            return
        was = self._lock
        self._lock = value & (LOCKED | ENABLE | FREE_RUNNING)
        if not value & ENABLE:
            self._timer.cancel()
        elif not was & ENABLE:
            self._begin()

    # --- registers

    @PRELOAD1.on_write
    def _write_preload1(self, value: int) -> None:
        if self._unlocked():
            self.PRELOAD1 = value & PRELOAD

    @PRELOAD2.on_write
    def _write_preload2(self, value: int) -> None:
        if self._unlocked():
            self.PRELOAD2 = value & PRELOAD

    @GIS.on_write
    def _write_gis(self, value: int) -> None:
        I6300EsbWatchdog.GIS.store(self, value)
        self.irq.set(bool(self.GIS & INTERRUPT))

    @RELOAD.on_read
    def _read_reload(self) -> int:
        return TIMEOUT if self._timed_out else 0

    @RELOAD.on_write
    def _write_reload(self, value: int) -> None:
        if value in UNLOCK and self._key == UNLOCK.index(value):
            self._key += 1
        elif value == UNLOCK[0]:
            self._key = 1
        elif self._unlocked():
            if value & TIMEOUT:
                self._timed_out = False
            if value & RELOAD_NOW and self._lock & ENABLE:
                self._begin()

    def _unlocked(self) -> bool:
        """Whether this write comes behind the whole sequence; the next one does not."""
        unlocked = self._key == len(UNLOCK)
        self._key = 0
        return unlocked

    # --- the counter

    def _begin(self) -> None:
        # "Free running" has no first stage.
        self._arm(2 if self._lock & FREE_RUNNING else 1)

    def _arm(self, stage: int) -> None:
        self._stage = stage
        ticks = (self.PRELOAD1 if stage == 1 else self.PRELOAD2) + 1
        clocks = ticks << (5 if self._configuration & FINE else 15)
        self._timer.arm(self.clock.now + ns_from_ticks(clocks, PCI_HZ))

    def _stage_over(self) -> None:
        if self._stage == 1:
            kind = self._configuration & INTERRUPT_TYPE
            if kind == BY_IRQ:
                self.GIS |= INTERRUPT
                self.irq.raise_()
            elif kind == BY_SMI:
                self.GIS |= INTERRUPT
                if self.on_smi is not None:
                    self.on_smi()
            self._arm(2)
            return
        self._timed_out = True
        if self._lock & FREE_RUNNING:
            self._arm(2)
        if not self._configuration & OUTPUT_OFF:
            self.expired()

    # --- state

    def reset(self) -> None:
        """Everything but WDT_TIMEOUT, which has a battery: so the guest learns why it was reset."""
        super().reset()
        self._stage = 1
        self._key = self._configuration = self._lock = 0
        self.irq.lower()
        self._timer.cancel()

    def save(self) -> I6300EsbState:
        """All registers, and when the stage ends."""
        return I6300EsbState(
            preload=(self.PRELOAD1, self.PRELOAD2),
            key=self._key,
            interrupt=bool(self.GIS),
            timed_out=self._timed_out,
            configuration=self._configuration,
            lock=self._lock,
            stage=self._stage,
            irq=self.irq.level,
            deadline=self._timer.deadline,
        )

    def restore(self, state: I6300EsbState) -> None:
        """Take a saved state."""
        self.PRELOAD1, self.PRELOAD2 = state.preload
        self._key = state.key
        self.GIS = INTERRUPT if state.interrupt else 0
        self._timed_out = state.timed_out
        self._configuration = state.configuration
        self._lock = state.lock
        self._stage = state.stage
        self.irq.assume(state.irq)
        self._timer.restore(state.deadline)
