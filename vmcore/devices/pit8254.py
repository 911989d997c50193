"""8254 programmable interval timer, with the speaker port 0x61 of the PC/AT.

Sources: Intel 82C54 data sheet (231244-006); for port 0x61, Intel 82371AB data sheet 290562, section 4.2.7 (NMI status
and control), and for the refresh bit the PC/AT wiring: counter 1 divides by 18, and its pulses toggle the bit.

The counters do not run: what they would hold is computed when somebody asks, from the tick in which they were loaded.
Ticks are those of the 1193182 Hz oscillator since guest time 0.  A count written during tick n is loaded at tick n+1
("on the next CLK pulse").  Only counter 0 has a timer, for the rising edges of its output.
"""

from __future__ import annotations

from typing import final

from attrs import asdict, define, field, frozen

from vmcore.hardware import UNTIL, WO, Clock, Device, IrqLine, Register, Timer, ns_from_ticks, ticks_from_ns

PIT_HZ = 1_193_182
REFRESH_TICKS = 18

SYSTEM_PORT = 4
"""Offset of port 0x61 in the device's range."""

LOW_BYTE, HIGH_BYTE, BOTH_BYTES = 1, 2, 3


@frozen
class CounterState:
    """One counter.  Times are in ticks."""

    programmed: int
    mode: int
    bcd: bool
    access: int
    gate: bool
    initial: int | None
    low_written: int | None
    load_at: int | None
    start: int | None
    period: int
    frozen_at: int | None
    output: bool
    null_count: bool
    latched_count: int | None
    latched_status: int | None
    read_high: bool


@frozen
class Pit8254State:
    """Three counters, and port 0x61."""

    counters: tuple[CounterState, CounterState, CounterState]
    control: int
    irq: bool
    deadline: int | None


@final
@define(eq=False)
class Counter:
    """One of the three counters.  Every method takes the current tick, and none goes back in time."""

    programmed: int = 0x30
    """The low six bits of the control word as they were written: the status byte shows them."""
    mode: int = 0
    bcd: bool = False
    access: int = BOTH_BYTES
    gate: bool = True
    initial: int | None = None
    """The count register CR as a number of ticks; None until a count follows the control word."""
    low_written: int | None = None
    """Low byte of a two-byte count whose high byte is still to come."""
    load_at: int | None = None
    """Tick at which CR goes to the counting element."""
    start: int | None = None
    """Tick to which the running count is referred, None before the first load.

    At `start` it stood at `period`; in mode 3 a high half begins there.
    """
    period: int = 0
    frozen_at: int | None = None
    """Tick at which a low gate (or half a new count in mode 0) stopped the count."""
    output: bool = False
    """The output while nothing has been loaded."""
    null_count: bool = True
    """CR holds a count that the counting element does not have yet."""
    latched_count: int | None = None
    latched_status: int | None = None
    read_high: bool = False
    """The next byte read of a two-byte count is the high one."""

    def reset(self) -> None:
        """Power-on: undefined by the sheet; here mode 0 without a count.  The gate is others' output."""
        gate = self.gate
        self.restore(_POWER_ON)
        self.gate = gate

    def save(self) -> CounterState:
        return CounterState(**asdict(self))

    def restore(self, state: CounterState) -> None:
        for name in CounterState.__annotations__:
            setattr(self, name, getattr(state, name))

    # Writes

    def write_control(self, value: int) -> None:
        """A control word for this counter that is no latch command."""
        self.programmed = value & 0x3F
        mode = value >> 1 & 7
        self.mode = mode & 3 if mode > 5 else mode
        self.bcd = bool(value & 1)
        self.access = value >> 4 & 3
        self.initial = self.low_written = self.load_at = self.start = self.frozen_at = None
        self.latched_count = self.latched_status = None
        self.read_high = False
        self.output = self.mode != 0
        self.null_count = True

    def write_count(self, value: int, tick: int) -> None:
        """One byte for the count register."""
        self.sync(tick)
        if self.access == LOW_BYTE:
            self._count_written(value, tick)
        elif self.access == HIGH_BYTE:
            self._count_written(value << 8, tick)
        elif self.low_written is None:
            self.low_written = value
            if self.mode == 0:  # "Writing the first byte disables counting. OUT is set low immediately."
                self.load_at = None
                self.output = False
                self.start = None
        else:
            low, self.low_written = self.low_written, None
            self._count_written(value << 8 | low, tick)

    def set_gate(self, gate: bool, tick: int) -> None:
        """The gate input: a level in modes 0, 2, 3, 4, a rising edge in modes 1, 2, 3, 5."""
        if gate == self.gate:
            return
        self.sync(tick)
        self.gate = gate
        if gate:
            if self.mode in (1, 2, 3, 5):
                self.frozen_at = self.frozen_at if self.mode in (2, 3) else None
                if self.initial is not None:
                    self.load_at = tick + 1
            elif self.frozen_at is not None and self.start is not None:
                self.start += tick - self.frozen_at
                self.frozen_at = None
        elif self.mode not in (1, 5):
            self.frozen_at = tick
            if self.mode in (2, 3) and self.start is not None:
                self.load_at = None  # The cycle at whose end a new count waited does not end.

    def latch_count(self, tick: int) -> None:
        """Counter latch command; without effect while an earlier latch has not been read."""
        if self.latched_count is None:
            self.sync(tick)
            self.latched_count = self._visible(tick)

    def latch_status(self, tick: int) -> None:
        """Status half of the read-back command; likewise."""
        if self.latched_status is None:
            self.sync(tick)
            self.latched_status = self.out(tick) << 7 | self.null_count << 6 | self.programmed

    # Reads

    def read(self, tick: int) -> int:
        """One byte: latched status, latched count or the running count."""
        if self.latched_status is not None:
            value, self.latched_status = self.latched_status, None
            return value
        count = self.latched_count
        if count is None:
            self.sync(tick)
            count = self._visible(tick)
        if self.access == BOTH_BYTES:
            high = self.read_high
            self.read_high = not high
            if high:
                self.latched_count = None
        else:
            high = self.access == HIGH_BYTE
            self.latched_count = None
        return count >> 8 if high else count & 0xFF

    def out(self, tick: int) -> bool:
        """The level of the output."""
        self.sync(tick)
        start = self.start
        if start is None:
            return self.output
        mode = self.mode
        if mode in (2, 3):
            if self.frozen_at is not None or self.period == 1:
                return True
            phase = (tick - start) % self.period
            return phase != self.period - 1 if mode == 2 else phase < self.period + 1 >> 1
        count = self.period - ((tick if self.frozen_at is None else self.frozen_at) - start)
        return count != 0 if mode > 3 else count <= 0

    def next_change(self, tick: int) -> int | None:
        """A tick up to which the output stays as it is at `tick`, should nobody touch the counter; None: for ever."""
        self.sync(tick)
        mode, start, load = self.mode, self.start, self.load_at
        if start is None or self.frozen_at is not None or (mode in (2, 3) and self.period == 1):
            return load
        if mode in (2, 3):
            phase = (tick - start) % self.period
            first = self.period - 1 if mode == 2 else self.period + 1 >> 1
            change = tick - phase + (first if phase < first else self.period)
        else:
            change = start + self.period
            if tick >= change:
                change = change + 1 if mode > 3 and tick == change else -1
        if change < 0 or (load is not None and load < change):
            return load
        return change

    def next_rise(self, tick: int) -> int | None:
        """The first tick after `tick` at which the output rises, should nobody touch the counter until then."""
        self.sync(tick)
        mode, start, load = self.mode, self.start, self.load_at
        if mode in (2, 3):
            if load is not None and (start is None or self.frozen_at is not None):
                start, period = load, self.initial
                assert period is not None
            elif start is None or self.frozen_at is not None:
                return None
            elif load is not None:
                return self._rise_over_load(tick, start, load)
            else:
                period = self.period
            if period == 1:
                return None
            return start + period * ((max(tick, start) - start) // period + 1)
        if load is not None:
            assert self.initial is not None
            start, period = load, self.initial
            end = load + period
            old = self._end_of_count()
            if mode in (4, 5) and old is not None and tick < old + 1 <= load:
                return old + 1
        else:
            old = self._end_of_count()
            if old is None:
                return None
            end = old
        if mode in (4, 5):
            end += 1
        return end if end > tick else None

    def sync(self, tick: int) -> None:
        """Carry out a load that came due."""
        if self.load_at is not None and self.load_at <= tick:
            load, self.load_at = self.load_at, None
            assert self.initial is not None
            # At the end of a high half in mode 3: the low half follows, with the new count.
            if (
                self.mode == 3
                and self.start is not None
                and self.frozen_at is None
                and (load - self.start) % self.period
            ):
                load -= self.initial + 1 >> 1
            self.start = load
            self.period = self.initial
            self.frozen_at = None if self.gate or self.mode in (1, 5) else load
            self.null_count = False

    def _rise_over_load(self, tick: int, start: int, load: int) -> int | None:
        """The next rise in modes 2 and 3 while a new count waits for the end of a (half) cycle at `load` > tick."""
        assert self.initial is not None
        if self.mode == 2 or (load - start) % self.period == 0:
            return load
        low = self.initial >> 1  # The low half runs with the new count already.
        return load + low if low else None

    def _end_of_count(self) -> int | None:
        """The tick at which the running count of modes 0, 1, 4, 5 reaches 0."""
        if self.start is None or self.frozen_at is not None:
            return None
        return self.start + self.period

    def _count_written(self, raw: int, tick: int) -> None:
        if self.bcd:
            raw = (raw >> 12) * 1000 + (raw >> 8 & 15) * 100 + (raw >> 4 & 15) * 10 + (raw & 15)
        self.initial = raw or (10_000 if self.bcd else 0x10000)
        self.null_count = True
        mode = self.mode
        if mode in (0, 4):
            if mode == 0:
                self.output = False
                self.start = None
            self.load_at = tick + 1
        elif mode in (2, 3):
            if self.start is None:
                self.load_at = tick + 1
                if not self.gate:  # It waits for the gate with the count in place.
                    self.frozen_at = tick
            elif self.frozen_at is None:
                self.load_at = self._end_of_cycle(tick)

    def _end_of_cycle(self, tick: int) -> int:
        """The first tick after `tick` at which modes 2 and 3 reload: the end of a cycle, in mode 3 of a half one."""
        assert self.start is not None
        period = self.period
        phase = (tick - self.start) % period
        begin = tick - phase
        high = period + 1 >> 1
        if self.mode == 3 and phase < high < period:
            return begin + high
        return begin + period

    def _visible(self, tick: int) -> int:
        """The counting element as the guest reads it."""
        period = self.period
        if self.frozen_at is not None:
            tick = self.frozen_at
        if self.start is None:  # Undefined before the first load.  The count to come suits the impatient best.
            count = 0 if self.load_at is None or self.initial is None else self.initial
        elif self.mode == 2:
            count = period - (tick - self.start) % period
        elif self.mode == 3:  # It counts by twos, in either half from the initial count, less one where that is odd.
            phase = (tick - self.start) % period
            half = period + 1 >> 1
            count = (period & ~1) - 2 * (phase if phase < half else phase - half)
        else:
            count = period - (tick - self.start)
        if self.bcd:
            count %= 10_000
            return count // 1000 << 12 | count // 100 % 10 << 8 | count // 10 % 10 << 4 | count % 10
        return count & 0xFFFF


_POWER_ON = Counter().save()


@final
@define(eq=False)
class Pit8254(Device[Pit8254State]):
    """Three counters at ports 0-3 (0x40), and at port 4 the system control port (0x61).

    Counter 0 drives IRQ 0, counter 1 the memory refresh, counter 2 the speaker; bit 0 of port 0x61 is its gate.
    """

    irq: IrqLine
    clock: Clock

    _counters: tuple[Counter, Counter, Counter] = field(init=False, factory=lambda: (Counter(), Counter(), Counter()))
    _control: int = field(init=False, default=0)
    _timer: Timer = field(init=False)

    COUNTER0 = Register(offset=0, doc="Count of counter 0 (IRQ 0), or its latched status.")
    COUNTER1 = Register(offset=1, doc="Count of counter 1 (refresh), or its latched status.")
    COUNTER2 = Register(offset=2, doc="Count of counter 2 (speaker), or its latched status.")
    CONTROL = Register(offset=3, access=WO, doc="Control word, counter latch command, read-back command.")
    SYSTEM = Register(
        offset=4,
        writable=0x0F,
        bits={"GATE2": 0, "SPEAKER": 1, "SERR_OFF": 2, "IOCHK_OFF": 3, "REFRESH": 4, "OUT2": 5, "IOCHK": 6, "SERR": 7},
        doc="System control port.  REFRESH toggles every 18 ticks, OUT2 is the output of counter 2.",
    )

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self._edge, "pit")
        # Programs wait for OUT2 in loops.
        self.cells.allow(SYSTEM_PORT, 1, UNTIL)
        self._counters[2].gate = False

    def reset(self) -> None:
        """Power-on: no counter has a count, outputs are low, counter 2 has no gate."""
        for counter in self._counters:
            counter.reset()
        self.cells.until = 0
        self._control = 0
        self._counters[2].gate = False
        self._timer.cancel()
        self.irq.lower()

    def save(self) -> Pit8254State:
        """All counters and port 0x61."""
        tick = self._tick()
        for counter in self._counters:
            counter.sync(tick)  # So that equal devices have equal states.
        zero, one, two = self._counters
        return Pit8254State((zero.save(), one.save(), two.save()), self._control, self.irq.level, self._timer.deadline)

    def restore(self, state: Pit8254State) -> None:
        """Take a saved state."""
        for counter, saved in zip(self._counters, state.counters, strict=True):
            counter.restore(saved)
        self._control = state.control
        self.cells.until = 0
        self.irq.assume(state.irq)
        self._timer.restore(state.deadline)

    @property
    def speaker_hz(self) -> float:
        """The tone that the speaker gives now in Hz; 0.0 for silence."""
        counter = self._counters[2]
        counter.sync(self._tick())
        if self._control & 3 != 3 or counter.mode not in (2, 3) or counter.start is None or counter.period < 2:
            return 0.0
        return PIT_HZ / counter.period

    def port_read(self, offset: int, size: int) -> int:
        """Counters and the system control port; wider accesses are cut into bytes."""
        if size != 1:
            return sum(self.port_read(offset + lane, 1) << 8 * lane for lane in range(size))
        tick = self.clock.now * PIT_HZ // 1_000_000_000
        if offset < 3:
            return self._counters[offset].read(tick)
        return self._read_system(tick) if offset == SYSTEM_PORT else 0xFF

    def _read_system(self, tick: int) -> int:
        value = self._control | (tick // REFRESH_TICKS & 1) << 4 | self._counters[2].out(tick) << 5
        # The engine gives the same until one of the two changes.
        change = (tick // REFRESH_TICKS + 1) * REFRESH_TICKS
        out = self._counters[2].next_change(tick)
        self.cells.values[SYSTEM_PORT] = value
        self.cells.until = ns_from_ticks(change if out is None or out > change else out, PIT_HZ)
        return value

    def port_write(self, offset: int, value: int, size: int) -> None:
        """Counters, control word and the system control port; wider accesses are cut into bytes."""
        if size != 1:
            for lane in range(size):
                self.port_write(offset + lane, value >> 8 * lane & 0xFF, 1)
            return
        tick = self._tick()
        self.cells.until = 0
        if offset < 3:
            self._counters[offset].write_count(value, tick)
            if offset == 0:
                self._drive(tick)
        elif offset == 3:
            self._command(value, tick)
        elif offset == SYSTEM_PORT:
            self._control = value & 0x0F
            self._counters[2].set_gate(bool(value & 1), tick)

    def _tick(self) -> int:
        return ticks_from_ns(self.clock.now, PIT_HZ)

    def _command(self, value: int, tick: int) -> None:
        select = value >> 6
        if select == 3:  # Read-back: a zero in bit 5 latches counts, in bit 4 status, of the counters in bits 1-3.
            for index, counter in enumerate(self._counters):
                if value >> index + 1 & 1:
                    if not value & 0x20:
                        counter.latch_count(tick)
                    if not value & 0x10:
                        counter.latch_status(tick)
        elif not value & 0x30:
            self._counters[select].latch_count(tick)
        else:
            self._counters[select].write_control(value)
            if select == 0:
                self._drive(tick)

    def _drive(self, tick: int) -> None:
        """After a change of counter 0: give its output to the line, and await the next rise."""
        counter = self._counters[0]
        self.irq.set(counter.out(tick))
        self._await_rise(counter, tick)

    def _await_rise(self, counter: Counter, tick: int) -> None:
        rise = counter.next_rise(tick)
        if rise is None:
            self._timer.cancel()
        else:
            self._timer.arm(ns_from_ticks(rise, PIT_HZ))

    def _edge(self) -> None:
        """The output rises.  The fall before it had no timer: nothing can tell that the line fell only now."""
        self.irq.lower()
        self.irq.raise_()
        self._await_rise(self._counters[0], self._tick())
