"""MC146818 real-time clock with the CMOS memory of the PC/AT.

Sources: Motorola MC146818 data sheet (registers A-D, update cycle, interrupts); Intel 82371AB data sheet 290562,
section 4.2.9 (index port with the NMI mask); the century byte 0x32 is that of the PC/AT's BIOS.

The clock does not run: the time of day is a number of seconds, counted from the divider's last start, and register
contents are made when they are read.  Flags of register C are found when somebody looks; a timer is armed only while
an enabled interrupt could raise the line.  While updates are inhibited (SET, or a divider that is not running) the time
is in the registers as bytes, exactly as the guest wrote them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import final

from attrs import define, field, frozen

from vmcore.hardware import (
    KEEP,
    READ,
    WO,
    Clock,
    Device,
    Emit,
    IrqLine,
    Register,
    Timer,
    discard,
    ns_from_ticks,
    ticks_from_ns,
)
from vmcore.model.events import RtcChange

RTC_HZ = 32_768
SECOND = 1_000_000_000
UPDATE_NS = 244_000 + 1_984_000
"""UIP is set 244 us before an update cycle, which takes 1984 us and ends with the new second (table 5)."""

SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR = range(10)
REG_A, REG_B, REG_C, REG_D = range(10, 14)
CENTURY = 0x32
TIME_BYTES = frozenset((SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR, CENTURY))
ALARM_BYTES = frozenset((SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM))

UIP = 0x80
SET, PIE, AIE, UIE, SQWE, BINARY, HOURS_24, DAYLIGHT = 0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 0x01
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10
VALID_RAM = 0x80

DIVIDER = 0x70
DIVIDER_RUNS = 0x20
DIVIDER_RESET = 0x60

_DAY = 86_400
_YEARS_400 = 146_097
_BASE = date(2000, 1, 1).toordinal()
_EPOCH = date(1970, 1, 1).toordinal() - _BASE


@frozen
class RtcState:
    """cmos: bytes as stored (time bytes only while the clock stands); offset: seconds of day and date less seconds of
    the divider, which started at guest time `origin`; seen: up to when the flags of register C are known.
    """

    cmos: bytes
    index: int
    nmi_masked: bool
    register_a: int
    register_b: int
    flags: int
    origin: int
    offset: int
    weekday_shift: int
    touched: bool
    seen: int
    irq: bool
    deadline: int | None


@final
@define(eq=False)
class RtcMc146818(Device[RtcState]):
    """Index port (0x70) and data port (0x71).

    A reset leaves time, memory and registers A, B (but for its enables) alone: they live from the battery.
    """

    irq: IrqLine
    clock: Clock
    emit: Emit = discard
    start: int = 0
    """What the clock shows at guest time 0: seconds since 1970-01-01T00:00:00."""
    qom_path: str = "/machine/rtc"
    """Where the device is in the object tree: RTC_CHANGE tells it."""
    contents: Mapping[int, int] = field(factory=dict)
    """CMOS bytes of the board: equipment, memory sizes and so on, by index."""
    on_nmi_mask: Callable[[bool], None] | None = None
    """Called with the new state when the NMI mask (bit 7 of the index port) changes."""
    on_alarm: Callable[[], None] | None = None
    """Called when the alarm comes while it is enabled to interrupt."""

    _cmos: bytearray = field(init=False, factory=lambda: bytearray(128))
    _index: int = field(init=False, default=0)
    _nmi_masked: bool = field(init=False, default=False)
    _a: int = field(init=False, default=0x26)
    _b: int = field(init=False, default=HOURS_24)
    _flags: int = field(init=False, default=0)
    _origin: int = field(init=False, default=0)
    _offset: int = field(init=False, default=0)
    _weekday_shift: int = field(init=False, default=6)
    """1970-01-01 was a Thursday, the fifth day of a week that starts on Sunday; 2000-01-01 a Saturday."""
    _touched: bool = field(init=False, default=False)
    """The guest wrote a time byte while the clock stood."""
    _seen: int = field(init=False, default=0)
    _timer: Timer = field(init=False)

    INDEX = Register(offset=0, access=WO, bits={"INDEX": (0, 6), "NMI_MASK": 7}, doc="Chooses the byte; masks NMI.")
    DATA = Register(offset=1, doc="The byte that was chosen.")

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self._due, "rtc")
        self._offset = self.start
        for index, value in self.contents.items():
            self._cmos[index] = value
        self._show()

    # The outside

    @property
    def nmi_masked(self) -> bool:
        """Bit 7 of the last write to the index port."""
        return self._nmi_masked

    @property
    def seconds(self) -> int:
        """What the clock shows, as seconds since 1970-01-01T00:00:00."""
        if self._stands():
            return self._decoded()[0]
        return self._divider_second(self.clock.now) + self._offset

    def poke(self, index: int, value: int) -> None:
        """Set a byte of the memory (0x0E-0x7F, not the century) as the board's firmware would."""
        self._cmos[index] = value & 0xFF
        self._show()

    def peek(self, index: int) -> int:
        """What the guest would read at `index`, without the side effects of a read."""
        if index == REG_C:
            flags = self._flags_at(self.clock.now)
            return flags | (IRQF if flags & self._b else 0)
        return self._byte(index)

    # Guest accesses

    @INDEX.on_write
    def _write_index(self, value: int) -> None:
        self._index = value & 0x7F
        masked = bool(value & 0x80)
        if masked != self._nmi_masked:
            self._nmi_masked = masked
            if self.on_nmi_mask is not None:
                self.on_nmi_mask(masked)
        self._show()

    @DATA.on_read
    def _read_data(self) -> int:
        if self._index != REG_C:
            return self._byte(self._index)
        self._settle()
        flags, self._flags = self._flags, 0
        value = flags | (IRQF if flags & self._b else 0)
        self._update()
        return value

    @DATA.on_write
    def _write_data(self, value: int) -> None:
        index = self._index
        if index in TIME_BYTES:
            self._write_time(index, value)
        elif index in ALARM_BYTES:
            self._settle()
            self._cmos[index] = value
            self._update()
        elif index == REG_A:
            self._write_a(value & ~UIP)
        elif index == REG_B:
            self._write_b(value)
        elif index not in (REG_C, REG_D):
            self._cmos[index] = value
            self._show()

    # State

    def reset(self) -> None:
        """The RESET pin: interrupts and the square wave are disabled, flags cleared; all else has a battery."""
        self._settle()
        self._b &= ~(PIE | AIE | UIE | SQWE)
        self._flags = 0
        self._index = 0
        if self._nmi_masked:
            self._write_index(0)
        self._show()
        self._update()

    def save(self) -> RtcState:
        """Memory, registers and the base of the time."""
        self._settle()
        return RtcState(
            cmos=bytes(self._cmos),
            index=self._index,
            nmi_masked=self._nmi_masked,
            register_a=self._a,
            register_b=self._b,
            flags=self._flags,
            origin=self._origin,
            offset=self._offset,
            weekday_shift=self._weekday_shift,
            touched=self._touched,
            seen=self._seen,
            irq=self.irq.level,
            deadline=self._timer.deadline,
        )

    def restore(self, state: RtcState) -> None:
        """Take a saved state."""
        self._cmos[:] = state.cmos
        self._index = state.index
        self._nmi_masked = state.nmi_masked
        self._a = state.register_a
        self._b = state.register_b
        self._flags = state.flags
        self._origin = state.origin
        self._offset = state.offset
        self._weekday_shift = state.weekday_shift
        self._touched = state.touched
        self._seen = state.seen
        self.irq.assume(state.irq)
        self._timer.restore(state.deadline)
        self._show()

    # Registers

    def _show(self) -> None:
        """Let the engine serve what is mere memory: the data port while a byte without life of its own is chosen, and
        a choice that changes nothing.
        """
        cells, index = self.cells, self._index
        cells.values[0] = index | (0x80 if self._nmi_masked else 0)
        cells.values[1] = self._cmos[index]
        cells.rules[0] = KEEP
        cells.rules[1] = READ if index > REG_D and index != CENTURY else 0

    def _byte(self, index: int) -> int:
        if index in TIME_BYTES:
            return self._cmos[index] if self._stands() else self._encoded()[index]
        if index == REG_A:
            return self._a | (UIP if self._updating() else 0)
        if index == REG_B:
            return self._b
        return VALID_RAM if index == REG_D else self._cmos[index]

    def _write_time(self, index: int, value: int) -> None:
        if self._stands():
            self._touched = True
            self._cmos[index] = value
            return
        self._settle()
        for place, byte in self._encoded().items():
            self._cmos[place] = byte
        self._cmos[index] = value
        self._run_from_bytes(tell=True)
        self._update()

    def _write_a(self, value: int) -> None:
        self._settle()
        ran, runs = self._a & DIVIDER == DIVIDER_RUNS, value & DIVIDER == DIVIDER_RUNS
        stood = self._stands()
        if not stood and not runs:
            self._stand()
        if runs and not ran:
            # "The first update cycle begins one-half second later" after the divider is let go (register A, DV).
            self._origin = self._seen - SECOND // 2
        self._a = value
        if stood and not self._stands():
            self._run_from_bytes(tell=self._touched)
        self._update()

    def _write_b(self, value: int) -> None:
        self._settle()
        stood = self._stands()
        if value & SET:
            value &= ~UIE  # "UIE is cleared ... by the SET bit going high."
            if not stood:
                self._stand()
        self._b = value
        if stood and not self._stands():
            self._run_from_bytes(tell=self._touched)
        self._update()

    def _stands(self) -> bool:
        return bool(self._b & SET) or self._a & DIVIDER != DIVIDER_RUNS

    def _updating(self) -> bool:
        return not self._stands() and (self.clock.now - self._origin) % SECOND >= SECOND - UPDATE_NS

    def _divider_second(self, ns: int) -> int:
        return (ns - self._origin) // SECOND

    # Time of day and bytes

    def _stand(self) -> None:
        """Updates stop: the time goes to the bytes."""
        for place, byte in self._encoded().items():
            self._cmos[place] = byte
        self._touched = False

    def _run_from_bytes(self, tell: bool) -> None:
        """Updates go on, from what the bytes say."""
        seconds, weekday_shift = self._decoded()
        self._offset = seconds - self._divider_second(self._seen)
        self._weekday_shift = weekday_shift
        self._touched = False
        if tell:
            self.emit(RtcChange(offset=seconds - self.start - self._seen // SECOND, qom_path=self.qom_path))

    def _encoded(self) -> dict[int, int]:
        """The time bytes as they read now."""
        days, second = divmod(self._divider_second(self.clock.now) + self._offset, _DAY)
        cycle, day_of_cycle = divmod(days + _EPOCH, _YEARS_400)
        day = date.fromordinal(_BASE) + timedelta(day_of_cycle)
        year = day.year + 400 * cycle
        code = self._code
        return {
            SECONDS: code(second % 60),
            MINUTES: code(second // 60 % 60),
            HOURS: self._code_hour(second // 3600),
            WEEKDAY: code((days + _EPOCH + self._weekday_shift) % 7 + 1),
            DAY: code(day.day),
            MONTH: code(day.month),
            YEAR: code(year % 100),
            CENTURY: code(year // 100 % 100),
        }

    def _decoded(self) -> tuple[int, int]:
        """Seconds since 1970 that the bytes mean, and the shift that makes the day of the week come out as written.

        Impossible dates count on: February 30th is March 1st or 2nd.
        """
        value = {index: self._value(self._cmos[index]) for index in TIME_BYTES}
        year = value[CENTURY] * 100 + value[YEAR]
        carry, month = divmod(value[MONTH] - 1, 12)
        cycle, year_of_cycle = divmod(year + carry, 400)
        days = date(2000 + year_of_cycle, month + 1, 1).toordinal() - _BASE + value[DAY] - 1
        days += _YEARS_400 * (cycle - 5)
        hour = self._hour(self._cmos[HOURS])
        seconds = (days - _EPOCH) * _DAY + hour * 3600 + value[MINUTES] * 60 + value[SECONDS]
        return seconds, (value[WEEKDAY] - 1 - seconds // _DAY - _EPOCH) % 7

    def _code(self, value: int) -> int:
        return value if self._b & BINARY else value // 10 << 4 | value % 10

    def _value(self, byte: int) -> int:
        return byte if self._b & BINARY else (byte >> 4) * 10 + (byte & 15)

    def _code_hour(self, hour: int) -> int:
        if self._b & HOURS_24:
            return self._code(hour)
        return self._code((hour + 11) % 12 + 1) | (0x80 if hour >= 12 else 0)

    def _hour(self, byte: int) -> int:
        if self._b & HOURS_24:
            return self._value(byte)
        return self._value(byte & 0x7F) % 12 + (12 if byte & 0x80 else 0)

    # Interrupts

    def _period(self) -> int:
        """Ticks of the oscillator between two periodic interrupts; 0 for none (table 4)."""
        rate = self._a & 15
        if not rate or self._a & DIVIDER != DIVIDER_RUNS:
            return 0
        return 1 << rate - 1 if rate > 2 else 64 << rate

    def _ticks(self, ns: int) -> int:
        return ticks_from_ns(ns - self._origin, RTC_HZ)

    def _flags_at(self, now: int) -> int:
        """The flags of register C at `now`, from those at the time that has been looked at."""
        flags, seen = self._flags, self._seen
        period = self._period()
        if period and self._ticks(now) // period != self._ticks(seen) // period:
            flags |= PF
        if not self._stands():
            last, this = self._divider_second(seen), self._divider_second(now)
            if last != this:
                flags |= UF
                if not flags & AF:
                    alarm = self._next_alarm(last + self._offset)
                    if alarm is not None and alarm <= this + self._offset:
                        flags |= AF
        return flags

    def _settle(self) -> None:
        now = self.clock.now
        self._flags = self._flags_at(now)
        self._seen = now

    def _next_alarm(self, after: int) -> int | None:
        """The first second (since 1970) behind `after` that matches the alarm bytes; 0xC0-0xFF match anything."""
        hour, minute, second = self._cmos[HOURS_ALARM], self._cmos[MINUTES_ALARM], self._cmos[SECONDS_ALARM]
        hours = range(24) if hour >= 0xC0 else (self._hour(hour),)
        minutes = range(60) if minute >= 0xC0 else (self._value(minute),)
        seconds = range(60) if second >= 0xC0 else (self._value(second),)
        if hours[0] > 23 or minutes[0] > 59 or seconds[0] > 59:
            return None
        day, now = divmod(after, _DAY)
        for h in hours:
            if h * 3600 + minutes[-1] * 60 + seconds[-1] <= now:
                continue
            for m in minutes:
                at = h * 3600 + m * 60
                if at + seconds[-1] > now:
                    return day * _DAY + max(at + seconds[0], now + 1 if len(seconds) > 1 else 0)
        return (day + 1) * _DAY + hours[0] * 3600 + minutes[0] * 60 + seconds[0]

    def _update(self) -> None:
        """After any change, with the flags settled: drive the line and await the next enabled interrupt."""
        raised = bool(self._flags & self._b & (PIE | AIE | UIE))
        self.irq.set(raised)
        # A raised line stays so until register C is read: until then nothing more can be seen of further interrupts,
        # but for the alarm by who is told of it.
        if raised:
            deadline = None if self.on_alarm is None or self._flags & AF else self._next_alarm_interrupt()
        else:
            deadline = self._next_interrupt()
        if deadline is None:
            self._timer.cancel()
        else:
            self._timer.arm(deadline)

    def _next_interrupt(self) -> int | None:
        deadlines = []
        period = self._period()
        if self._b & PIE and period:
            tick = (self._ticks(self._seen) // period + 1) * period
            deadlines.append(self._origin + ns_from_ticks(tick, RTC_HZ))
        if self._b & UIE and not self._stands():
            deadlines.append(self._origin + (self._divider_second(self._seen) + 1) * SECOND)
        alarm = self._next_alarm_interrupt()
        if alarm is not None:
            deadlines.append(alarm)
        return min(deadlines, default=None)

    def _next_alarm_interrupt(self) -> int | None:
        if self._stands() or not self._b & AIE:
            return None
        alarm = self._next_alarm(self._divider_second(self._seen) + self._offset)
        return None if alarm is None else self._origin + (alarm - self._offset) * SECOND

    @property
    def alarm_pending(self) -> bool:
        """Whether an alarm will come that is enabled to interrupt."""
        return self._next_alarm_interrupt() is not None

    def _due(self) -> None:
        before = self._flags
        self._settle()
        self._update()
        if self.on_alarm is not None and self._b & AIE and self._flags & ~before & AF:
            self.on_alarm()
