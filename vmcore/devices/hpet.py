"""High precision event timers: a counter of 100 MHz and three comparators.

Source: IA-PC HPET specification 1.0a, chapters 2 and 3.

The counter does not run: it is computed from guest time when somebody looks.  In legacy replacement mode the first
two timers take the place of the 8254 and of the RTC's interrupt (2.2.2), whose lines lead through here for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, final

from attrs import define, field, frozen

from vmcore.hardware import READ, RO, WRITE, Clock, Counter, Device, IrqLine, Register, Timer

__all__ = ["Hpet", "HpetState"]

PERIOD_NS: Final = 10
HZ: Final = 100_000_000
PERIOD_FS: Final = 10_000_000
TIMERS: Final = 3
MASK_32: Final = (1 << 32) - 1
MASK_64: Final = (1 << 64) - 1
FAR: Final = 1 << 56
"""Ticks after which no run comes."""

ENABLE, LEGACY = 1, 2
LEVEL, INTERRUPT, PERIODIC, CAN_PERIODIC, CAN_64, SET_VALUE, MODE_32 = 2, 4, 8, 0x10, 0x20, 0x40, 0x100
ROUTE_SHIFT: Final = 9
WRITABLE_TIMER: Final = LEVEL | INTERRUPT | PERIODIC | SET_VALUE | MODE_32 | 31 << ROUTE_SHIFT
CAPABILITIES: Final = PERIOD_FS << 32 | 0x8086 << 16 | 1 << 15 | 1 << 13 | TIMERS - 1 << 8 | 1


@frozen
class HpetState:
    """Registers; timers: configuration, comparator and period of each; counter: its value when it was last set or
    stopped; since: guest time of that; legacy: levels of the 8254's and the RTC's outputs; deadlines: of the
    comparators.
    """

    configuration: int
    status: int
    counter: int
    since: int
    timers: tuple[tuple[int, int, int], ...]
    legacy: tuple[bool, bool]
    deadlines: tuple[int | None, ...]


@final
@define(eq=False)
class Hpet(Device[HpetState]):
    """One KiB of memory."""

    clock: Clock
    timer_irq: IrqLine
    """The line of the 8254, for itself: the first timer's in legacy replacement mode."""
    rtc_irq: IrqLine
    """The line of the RTC, likewise: the second timer's."""
    inputs: Sequence[Callable[[bool], None]] = ()
    """Inputs of the IOAPIC."""
    routes: int = 4
    """Those of them that a timer can be routed to, a bit each."""
    pit: IrqLine = field(init=False)
    """What the 8254 drives."""
    rtc: IrqLine = field(init=False)
    """What the RTC drives."""

    _since: int = field(init=False, default=0)
    _periods: list[int] = field(init=False, factory=lambda: [0] * TIMERS)
    _routed: int = field(init=False, default=0)
    """Levels of the inputs of the IOAPIC, a bit each."""
    _clocks: list[Timer] = field(init=False)
    _running: Counter = field(init=False)

    CAPABILITIES = Register(
        offset=0x000,
        width=64,
        access=RO,
        reset=CAPABILITIES,
        bits={
            "REV_ID": (0, 7),
            "NUM_TIM": (8, 12),
            "COUNT_SIZE": 13,
            "LEG_RT": 15,
            "VENDOR": (16, 31),
            "PERIOD": (32, 63),
        },
        doc="What there is: three timers, 64 bits, femtoseconds in a tick.",
    )
    CONFIGURATION = Register(
        offset=0x010,
        width=64,
        writable=ENABLE | LEGACY,
        bits={"ENABLE": 0, "LEG_RT": 1},
        doc="Lets the counter run; legacy replacement.",
    )
    STATUS = Register(
        offset=0x020,
        width=64,
        writable=0,
        clears=7,
        bits={"T0": 0, "T1": 1, "T2": 2},
        doc="Level interrupts that wait.",
    )
    COUNTER = Register(offset=0x0F0, width=64, doc="The main counter; written while it stands.")
    CONFIG_0 = Register(offset=0x100, width=64, doc="Configuration of timer 0.")
    COMPARATOR_0 = Register(offset=0x108, width=64, reset=MASK_64, doc="Comparator of timer 0, or its period.")
    CONFIG_1 = Register(offset=0x120, width=64, doc="Configuration of timer 1.")
    COMPARATOR_1 = Register(offset=0x128, width=64, reset=MASK_64, doc="Comparator of timer 1, or its period.")
    CONFIG_2 = Register(offset=0x140, width=64, doc="Configuration of timer 2.")
    COMPARATOR_2 = Register(offset=0x148, width=64, reset=MASK_64, doc="Comparator of timer 2, or its period.")

    def __attrs_post_init__(self) -> None:
        self.pit = IrqLine(self._legacy_changed, "8254 output")
        self.rtc = IrqLine(self._legacy_changed, "rtc output")
        self._clocks = [self.clock.timer(self._fire_of(index), f"hpet-{index}") for index in range(TIMERS)]
        for index in range(TIMERS):
            self._allow(index)
        self._running = self.count_by(Counter(Hpet.COUNTER.offset, Hpet.COUNTER.size, HZ, 64))

    # --- registers

    @CONFIGURATION.on_write
    def _write_configuration(self, value: int) -> None:
        was = self.CONFIGURATION
        if was & ENABLE and not value & ENABLE:
            self.COUNTER = self._count()
            self._running.stop()
        if value & ENABLE and not was & ENABLE:
            self._since = self.clock.now
            self._running.run(self.COUNTER, self._since)
        Hpet.CONFIGURATION.store(self, value)
        for index in range(TIMERS):
            self._arm(index)
        self._update()

    @STATUS.on_write
    def _write_status(self, value: int) -> None:
        Hpet.STATUS.store(self, value)
        self._update()

    @COUNTER.on_read
    def _read_counter(self) -> int:
        return self._count()

    @COUNTER.on_write
    def _write_counter(self, value: int) -> None:
        if not self.CONFIGURATION & ENABLE:  # While it runs, what a write does is undefined (2.3.7): nothing.
            self.COUNTER = value

    @CONFIG_0.on_read
    def _read_config_0(self) -> int:
        return self.CONFIG_0 | self._fixed

    @CONFIG_1.on_read
    def _read_config_1(self) -> int:
        return self.CONFIG_1 | self._fixed

    @CONFIG_2.on_read
    def _read_config_2(self) -> int:
        return self.CONFIG_2 | self._fixed

    @CONFIG_0.on_write
    def _write_config_0(self, value: int) -> None:
        self._configure(0, value)

    @CONFIG_1.on_write
    def _write_config_1(self, value: int) -> None:
        self._configure(1, value)

    @CONFIG_2.on_write
    def _write_config_2(self, value: int) -> None:
        self._configure(2, value)

    @COMPARATOR_0.on_write
    def _write_comparator_0(self, value: int) -> None:
        self._compare(0, value)

    @COMPARATOR_1.on_write
    def _write_comparator_1(self, value: int) -> None:
        self._compare(1, value)

    @COMPARATOR_2.on_write
    def _write_comparator_2(self, value: int) -> None:
        self._compare(2, value)

    @property
    def _fixed(self) -> int:
        return self.routes << 32 | CAN_PERIODIC | CAN_64

    def _configure(self, index: int, value: int) -> None:
        CONFIGS[index].__set__(self, value & WRITABLE_TIMER)
        if value & MODE_32:
            COMPARATORS[index].__set__(self, COMPARATORS[index].load(self) & MASK_32)
        self._allow(index)
        self._arm(index)
        self._update()

    def _allow(self, index: int) -> None:
        """A comparator that interrupts nobody and does not move by itself is storage."""
        config, register = CONFIGS[index].load(self), COMPARATORS[index]
        mask = MASK_32 if config & MODE_32 else MASK_64
        self.cells.writable[register.offset : register.offset + 8] = mask.to_bytes(8, "little")
        moves = config & (INTERRUPT | LEVEL | PERIODIC)
        self.cells.allow(register.offset, 8, READ if moves else READ | WRITE)

    def _compare(self, index: int, value: int) -> None:
        """A periodic timer takes a period, and a value to start from only after SET_VALUE (2.3.9.2.2)."""
        config = CONFIGS[index].load(self)
        mask = MASK_32 if config & MODE_32 else MASK_64
        if config & PERIODIC:
            self._periods[index] = value & mask
        if not config & PERIODIC or config & SET_VALUE:
            COMPARATORS[index].__set__(self, value & mask)
            CONFIGS[index].__set__(self, config & ~SET_VALUE)
        self._arm(index)

    # --- time

    def _ticks(self) -> int:
        """Since the counter was let go."""
        return (self.clock.now - self._since) // PERIOD_NS

    def _count(self) -> int:
        running = self._ticks() if self.CONFIGURATION & ENABLE else 0
        return self.COUNTER + running & MASK_64

    def _arm(self, index: int) -> None:
        """For the next time at which the counter comes to the comparator; where it stands now is past."""
        timer, config = self._clocks[index], CONFIGS[index].load(self)
        if not self.CONFIGURATION & ENABLE or not config & (INTERRUPT | LEVEL | PERIODIC):
            timer.cancel()
            return
        mask = MASK_32 if config & MODE_32 else MASK_64
        away = COMPARATORS[index].load(self) - self._count() & mask or mask + 1
        if away > FAR:
            timer.cancel()
        else:
            timer.arm(self._since + (self._ticks() + away) * PERIOD_NS)

    def _fire_of(self, index: int) -> Callable[[], None]:
        return lambda: self._fire(index)

    def _fire(self, index: int) -> None:
        config, period = CONFIGS[index].load(self), self._periods[index]
        if config & PERIODIC and period:
            mask = MASK_32 if config & MODE_32 else MASK_64
            old = COMPARATORS[index].load(self)
            steps = (self._count() - old & mask) // period + 1
            COMPARATORS[index].__set__(self, old + steps * period & mask)
        self._arm(index)
        if config & LEVEL:
            self.STATUS |= 1 << index
            self._update()
        elif config & INTERRUPT:
            self._pulse(index, config)

    # --- interrupts

    def _legacy_changed(self, level: bool) -> None:
        self._update()

    def _pulse(self, index: int, config: int) -> None:
        if self.CONFIGURATION & LEGACY and index < 2:
            (self.timer_irq, self.rtc_irq)[index].pulse()
            return
        route = config >> ROUTE_SHIFT & 31
        if self.routes >> route & 1 and self.inputs and not self._routed >> route & 1:
            self.inputs[route](True)
            self.inputs[route](False)

    def _levels(self) -> tuple[bool, bool, int]:
        """What the outputs should be: the 8254's line, the RTC's, inputs of the IOAPIC."""
        levels = [
            bool(self.STATUS >> index & 1 and config & INTERRUPT and config & LEVEL)
            for index, config in enumerate(each.load(self) for each in CONFIGS)
        ]
        legacy = bool(self.CONFIGURATION & LEGACY)
        routed = 0
        for index in range(2 if legacy else 0, TIMERS):
            route = CONFIGS[index].load(self) >> ROUTE_SHIFT & 31
            if levels[index] and self.routes >> route & 1:
                routed |= 1 << route
        if legacy:
            return levels[0], levels[1], routed
        return self.pit.level, self.rtc.level, routed

    def _update(self) -> None:
        timer, rtc, routed = self._levels()
        self.timer_irq.set(timer)
        self.rtc_irq.set(rtc)
        changed, self._routed = self._routed ^ routed, routed
        for route in range(changed.bit_length()):
            if changed >> route & 1 and self.inputs:
                self.inputs[route](bool(routed >> route & 1))

    # --- state

    def reset(self) -> None:
        """The counter stands at zero; the 8254 and the RTC have their lines.  Their outputs keep their levels."""
        super().reset()
        self._periods[:] = [0] * TIMERS
        self._since = 0
        for index in range(TIMERS):
            self._allow(index)
        self._running.stop()
        for timer in self._clocks:
            timer.cancel()
        self._update()

    def save(self) -> HpetState:
        """Registers, levels and deadlines."""
        return HpetState(
            configuration=self.CONFIGURATION,
            status=self.STATUS,
            counter=self.COUNTER,
            since=self._since,
            timers=tuple(
                (config.load(self), comparator.load(self), period)
                for config, comparator, period in zip(CONFIGS, COMPARATORS, self._periods, strict=True)
            ),
            legacy=(self.pit.level, self.rtc.level),
            deadlines=tuple(timer.deadline for timer in self._clocks),
        )

    def restore(self, state: HpetState) -> None:
        """Take a saved state."""
        self.CONFIGURATION, self.STATUS, self.COUNTER = state.configuration, state.status, state.counter
        self._since = state.since
        if self.CONFIGURATION & ENABLE:
            self._running.run(self.COUNTER, self._since)
        else:
            self._running.stop()
        for index, (config, comparator, period) in enumerate(state.timers):
            CONFIGS[index].__set__(self, config)
            COMPARATORS[index].__set__(self, comparator)
            self._periods[index] = period
            self._allow(index)
        self.pit.assume(state.legacy[0])
        self.rtc.assume(state.legacy[1])
        for timer, deadline in zip(self._clocks, state.deadlines, strict=True):
            timer.restore(deadline)
        pit, rtc, self._routed = self._levels()
        self.timer_irq.assume(pit)
        self.rtc_irq.assume(rtc)


CONFIGS: Final = (Hpet.CONFIG_0, Hpet.CONFIG_1, Hpet.CONFIG_2)
COMPARATORS: Final = (Hpet.COMPARATOR_0, Hpet.COMPARATOR_1, Hpet.COMPARATOR_2)
