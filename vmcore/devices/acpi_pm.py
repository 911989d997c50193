"""ACPI fixed hardware: PM1 event and control blocks, PM timer, GPE0 block and the SMI command port.

Source: ACPI specification 6.5, section 4.8 (fixed hardware), 4.8.3.3 (PM timer), 4.8.4.1 (general-purpose events),
16.1 (sleep states); the command port is that of Intel chip sets (APM_CNT and APM_STS at 0xB2 and 0xB3).

The PM timer does not run: its count is computed from guest time when it is read.  A timer is armed for its carry only
while that can raise the SCI.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import final

from attrs import define, field, frozen

from vmcore.hardware import RO, Clock, Counter, Device, IrqLine, Register, Timer, ns_from_ticks, ticks_from_ns

PM_TIMER_HZ = 3_579_545

# PM1 status and enable (4.8.3.1)
TMR, GBL, PWRBTN, SLPBTN, RTC, WAK = 1 << 0, 1 << 5, 1 << 8, 1 << 9, 1 << 10, 1 << 15
BM = 1 << 4
STATUS_BITS = TMR | BM | GBL | PWRBTN | SLPBTN | RTC | WAK
ENABLE_BITS = TMR | GBL | PWRBTN | SLPBTN | RTC

# PM1 control (4.8.3.2.1)
SCI_EN, BM_RLD, GBL_RLS, SLP_EN = 1 << 0, 1 << 1, 1 << 2, 1 << 13
SLP_TYP_SHIFT = 10


class SleepState(IntEnum):
    """What the guest asks for by SLP_TYP and SLP_EN (16.1)."""

    S1 = 1
    S3 = 3
    S4 = 4
    S5 = 5


@frozen
class AcpiPmState:
    """The registers, and the carry of the timer up to which its status bit has been considered."""

    status: int
    enable: int
    control: int
    gpe_status: int
    gpe_enable: int
    apm_control: int
    apm_status: int
    carries: int
    sci: bool
    deadline: int | None


@final
@define(eq=False)
class AcpiPm(Device[AcpiPmState]):
    """Offsets: PM1 event block 0-3, PM1 control block 4-5, PM timer 8-11, GPE0 block 0x20-0x23, and at 0x40 and 0x41
    the command and status port (0xB2 and 0xB3), which the board puts elsewhere.
    """

    sci: IrqLine
    """The system control interrupt: a level, for a shared input."""
    clock: Clock
    on_sleep: Callable[[SleepState], None]
    """The guest enters a sleep state; S5 is power-off."""
    sleep_types: Mapping[int, SleepState] = field(factory=lambda: {0: SleepState.S5, 1: SleepState.S3})
    """Meaning of the SLP_TYP values; the DSDT names the same.  SLP_EN with any other does nothing."""
    timer_bits: int = 24
    """Width of the PM timer: 24, or 32 with TMR_VAL_EXT in the FADT."""
    acpi_enable: int = 0xF1
    """Value at the command port that turns to ACPI mode (FADT ACPI_ENABLE)."""
    acpi_disable: int = 0xF0
    on_smi: Callable[[int], None] | None = None
    """Any other value written to the command port, for firmware that lives in SMM."""

    _timer: Timer = field(init=False)
    _carries: int = field(init=False, default=0)
    """Carries out of the timer's highest bit but one that the status bit has seen."""

    PM1_STS = Register(
        offset=0x00,
        width=16,
        writable=0,
        clears=STATUS_BITS,
        bits={"TMR": 0, "BM": 4, "GBL": 5, "PWRBTN": 8, "SLPBTN": 9, "RTC": 10, "WAK": 15},
        doc="Fixed events that happened; a one clears.",
    )
    PM1_EN = Register(
        offset=0x02,
        width=16,
        writable=ENABLE_BITS,
        bits={"TMR": 0, "GBL": 5, "PWRBTN": 8, "SLPBTN": 9, "RTC": 10},
        doc="Fixed events that raise the SCI.",
    )
    PM1_CNT = Register(
        offset=0x04,
        width=16,
        writable=SCI_EN | BM_RLD | 7 << SLP_TYP_SHIFT,
        bits={"SCI_EN": 0, "BM_RLD": 1, "GBL_RLS": 2, "SLP_TYP": (10, 12), "SLP_EN": 13},
        doc="SCI_EN: ACPI mode.  A one in SLP_EN enters the state of SLP_TYP.",
    )
    PM_TMR = Register(offset=0x08, width=32, access=RO, doc="Counts at 3.579545 MHz.")
    GPE0_STS = Register(offset=0x20, width=16, clears=0xFFFF, doc="General-purpose events that happened; a one clears.")
    GPE0_EN = Register(offset=0x22, width=16, doc="General-purpose events that raise the SCI.")
    APM_CNT = Register(offset=0x40, doc="SMI command: turns ACPI mode on or off.")
    APM_STS = Register(offset=0x41, doc="Storage beside the command.")

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self._carry, "acpi-pm")
        count = Counter(AcpiPm.PM_TMR.offset, AcpiPm.PM_TMR.size, PM_TIMER_HZ, self.timer_bits)
        self.count_by(count).run(0, 0)
        self._carries = self._carries_now()

    # Events from outside

    def power_button(self) -> None:
        """The power button is pressed and let go."""
        self._happened(PWRBTN)

    def sleep_button(self) -> None:
        """The sleep button is pressed and let go."""
        self._happened(SLPBTN)

    def rtc_alarm(self) -> None:
        """The alarm of the RTC interrupts: sets RTC_STS."""
        self._happened(RTC)

    @property
    def wakes_by_rtc(self) -> bool:
        """Whether the alarm of the RTC ends a sleep: RTC_EN is set."""
        return bool(self.PM1_EN & RTC)

    @property
    def rtc_alarm_came(self) -> bool:
        """Whether an alarm that ends a sleep has come already and not been cleared."""
        return bool(self.PM1_STS & self.PM1_EN & RTC)

    def woken(self, by: int = 0) -> None:
        """The machine left a sleep state; `by` is the PM1 status bit of what woke it, if any."""
        self._happened(WAK | by)

    def general_event(self, number: int) -> None:
        """GPE0 event `number` (0-15) happened."""
        self.GPE0_STS |= 1 << number
        self._update()

    @property
    def acpi_mode(self) -> bool:
        """Whether the operating system has turned ACPI mode on."""
        return bool(self.PM1_CNT & SCI_EN)

    # Registers

    @PM1_STS.on_read
    def _read_status(self) -> int:
        self._look_at_timer()
        return self.PM1_STS

    @PM1_STS.on_write
    def _write_status(self, value: int) -> None:
        self._look_at_timer()
        AcpiPm.PM1_STS.store(self, value)
        self._update()

    @PM1_EN.on_write
    def _write_enable(self, value: int) -> None:
        AcpiPm.PM1_EN.store(self, value)
        self._update()

    @PM1_CNT.on_write
    def _write_control(self, value: int) -> None:
        AcpiPm.PM1_CNT.store(self, value)
        self._update()
        if value & SLP_EN:
            state = self.sleep_types.get(value >> SLP_TYP_SHIFT & 7)
            if state is not None:
                self.on_sleep(state)

    @PM_TMR.on_read
    def _read_timer(self) -> int:
        return self.clock.now * PM_TIMER_HZ // 1_000_000_000 & (1 << self.timer_bits) - 1

    @GPE0_STS.on_write
    def _write_gpe_status(self, value: int) -> None:
        AcpiPm.GPE0_STS.store(self, value)
        self._update()

    @GPE0_EN.on_write
    def _write_gpe_enable(self, value: int) -> None:
        self.GPE0_EN = value
        self._update()

    @APM_CNT.on_write
    def _write_command(self, value: int) -> None:
        self.APM_CNT = value
        if value == self.acpi_enable:
            self.PM1_CNT |= SCI_EN
            self._update()
        elif value == self.acpi_disable:
            self.PM1_CNT &= ~SCI_EN
            self._update()
        elif self.on_smi is not None:
            self.on_smi(value)

    # State

    def reset(self) -> None:
        """Legacy mode, no event enabled.  The PM timer runs on."""
        super().reset()
        self._carries = self._carries_now()
        self._update()

    def save(self) -> AcpiPmState:
        """All registers; the PM timer is a function of guest time."""
        self._look_at_timer()
        return AcpiPmState(
            status=self.PM1_STS,
            enable=self.PM1_EN,
            control=self.PM1_CNT,
            gpe_status=self.GPE0_STS,
            gpe_enable=self.GPE0_EN,
            apm_control=self.APM_CNT,
            apm_status=self.APM_STS,
            carries=self._carries,
            sci=self.sci.level,
            deadline=self._timer.deadline,
        )

    def restore(self, state: AcpiPmState) -> None:
        """Take a saved state."""
        self.PM1_STS = state.status
        self.PM1_EN = state.enable
        self.PM1_CNT = state.control
        self.GPE0_STS = state.gpe_status
        self.GPE0_EN = state.gpe_enable
        self.APM_CNT = state.apm_control
        self.APM_STS = state.apm_status
        self._carries = state.carries
        self.sci.assume(state.sci)
        self._timer.restore(state.deadline)

    def _happened(self, bits: int) -> None:
        self.PM1_STS |= bits
        self._update()

    def _carries_now(self) -> int:
        """How often the timer's highest bit has changed (4.8.3.3: TMR_STS is set at each change)."""
        return ticks_from_ns(self.clock.now, PM_TIMER_HZ) >> self.timer_bits - 1

    def _look_at_timer(self) -> None:
        carries = self._carries_now()
        if carries != self._carries:
            self._carries = carries
            self.PM1_STS |= TMR

    def _carry(self) -> None:
        self._update()

    def _update(self) -> None:
        self._look_at_timer()
        self.sci.set(
            bool(self.PM1_CNT & SCI_EN and (self.PM1_STS & self.PM1_EN & ENABLE_BITS or self.GPE0_STS & self.GPE0_EN))
        )
        if self.PM1_CNT & SCI_EN and self.PM1_EN & TMR and not self.PM1_STS & TMR:
            self._timer.arm(ns_from_ticks(self._carries + 1 << self.timer_bits - 1, PM_TIMER_HZ))
        else:
            self._timer.cancel()
