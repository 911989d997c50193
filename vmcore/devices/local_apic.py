"""Local APIC of one processor, in xAPIC mode.

Source: Intel SDM volume 3 (325384-081), chapter 11; section numbers below are its.  Register layout of section 11.4.1,
version 0x14 with six LVT entries, no CMCI, no suppression of EOI broadcasts.

The processor gets one line (`intr`) and asks `acknowledge` for the vector.  NMI, SMI, INIT and start-up go through
functions.  The timer does not count: counts are computed from guest time, and a clock timer is armed only while its
expiry would raise an interrupt that is not pending already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import final

from attrs import define, field, frozen

from vmcore.devices.apic_bus import ApicBus, Delivery
from vmcore.hardware import KEEP, NS_PER_SECOND, READ, RO, WO, Clock, Device, IrqLine, Register, Timer

VERSION = 0x0005_0014
DEFAULT_BASE = 0xFEE0_0000

MASKED = 1 << 16
LEVEL = 1 << 15
REMOTE_IRR = 1 << 14
SOFTWARE_ENABLE = 1 << 8

# IA32_APIC_BASE (11.4.4)
BASE_BSP = 1 << 8
BASE_X2APIC = 1 << 10
BASE_ENABLE = 1 << 11

# Error status (11.5.3)
SEND_ILLEGAL_VECTOR = 1 << 5
RECEIVED_ILLEGAL_VECTOR = 1 << 6
ILLEGAL_REGISTER = 1 << 7

# Timer modes in bits 17 and 18 of its LVT entry (11.5.4)
TIMER_MODE = 3 << 17
ONE_SHOT, PERIODIC, TSC_DEADLINE = 0 << 17, 1 << 17, 2 << 17

# ICR (11.6.1)
ICR_LEVEL_DEASSERT = LEVEL  # Trigger mode level, and bit 14 (assert) clear.
ICR_ASSERT = 1 << 14
ICR_WRITABLE = 0x000C_CFFF

LVT_VECTOR_MASK = 0x0001_00FF
LVT_LOCAL = 0x0001_07FF
LVT_LINT = 0x0001_A7FF

EXTINT_LINT0 = Delivery.EXTINT << 8
NMI_LINT1 = Delivery.NMI << 8


@frozen
class LocalApicState:
    """Registers; timer_base is the guest time from which timer_count counts down."""

    base: int
    apic_id: int
    tpr: int
    ldr: int
    dfr: int
    svr: int
    irr: int
    isr: int
    tmr: int
    errors: int
    esr: int
    icr: int
    icr_high: int
    lvt: tuple[int, ...]
    divide: int
    initial: int
    timer_base: int
    timer_count: int
    tsc_deadline: int
    lint0: bool
    lint1: bool
    extint: bool
    intr: bool
    deadline: int | None


def _ignore() -> None:
    pass


def _ignore_number(number: int) -> None:
    pass


@final
@define(eq=False)
class LocalApic(Device[LocalApicState]):
    """The 4 KiB page of one processor's local APIC.

    Besides the declared registers, ISR, TMR and IRR are at 0x100, 0x180 and 0x200: eight words each, 0x10 bytes apart.
    """

    bus: ApicBus
    clock: Clock
    intr: IrqLine
    """To the processor: an interrupt awaits `acknowledge`."""
    apic_id: int = 0
    """The initial ID."""
    bsp: bool = True
    """Whether this is the bootstrap processor's.  Its LINT0 passes the 8259s' interrupts right after reset, as a PC's
    firmware leaves it (virtual wire mode)."""
    acknowledge_extint: Callable[[], int] = lambda: 0xFF
    """INTA cycles to the external interrupt controller: gives its vector."""
    on_nmi: Callable[[], None] = _ignore
    on_smi: Callable[[], None] = _ignore
    on_init: Callable[[], None] = _ignore
    on_startup: Callable[[int], None] = _ignore_number
    """SIPI with its vector: the processor, if it waits for one, starts at `vector << 12`."""
    on_task_priority: Callable[[int], None] = _ignore_number
    """A write to TPR changed the class of the task priority: the processor's CR8 follows."""
    on_base: Callable[[int, bool], None] | None = None
    """IA32_APIC_BASE changed: the new physical address of the page, and whether the APIC is enabled."""
    timer_hz: int = 1_000_000_000
    """Frequency of the timer before the divider."""
    tsc_to_ns: Callable[[int], int] = lambda tsc: tsc
    """First guest time at which this processor's time stamp counter stands at the given value or higher."""
    physical_bits: int = 46
    """MAXPHYADDR: bounds the address in IA32_APIC_BASE."""

    enabled: bool = field(init=False, default=True)
    """Bit 11 of IA32_APIC_BASE."""
    current_id: int = field(init=False, default=0)
    """What the ID register holds; the guest may change it."""

    _base: int = field(init=False, default=0)
    _tpr: int = field(init=False, default=0)
    _ppr: int = field(init=False, default=0)
    _ldr: int = field(init=False, default=0)
    _dfr: int = field(init=False, default=0)
    _svr: int = field(init=False, default=0)
    _irr: int = field(init=False, default=0)
    _isr: int = field(init=False, default=0)
    _tmr: int = field(init=False, default=0)
    _errors: int = field(init=False, default=0)
    _esr: int = field(init=False, default=0)
    _icr: int = field(init=False, default=0)
    _icr_high: int = field(init=False, default=0)
    _lvt_timer: int = field(init=False, default=MASKED)
    _lvt_thermal: int = field(init=False, default=MASKED)
    _lvt_counters: int = field(init=False, default=MASKED)
    _lvt_lint0: int = field(init=False, default=MASKED)
    _lvt_lint1: int = field(init=False, default=MASKED)
    _lvt_error: int = field(init=False, default=MASKED)
    _divide: int = field(init=False, default=0)
    _divisor: int = field(init=False, default=2)
    _initial: int = field(init=False, default=0)
    _timer_base: int = field(init=False, default=0)
    _timer_count: int = field(init=False, default=0)
    """Count at `_timer_base`; zero while the timer stands."""
    _tsc_deadline: int = field(init=False, default=0)
    _lint0: bool = field(init=False, default=False)
    _lint1: bool = field(init=False, default=False)
    _extint: bool = field(init=False, default=False)
    """An ExtINT message came in and was not acknowledged."""
    _timer: Timer = field(init=False)

    ID = Register(offset=0x020, width=32, writable=0xFF00_0000, bits={"ID": (24, 31)}, doc="Local APIC ID.")
    VERSION = Register(offset=0x030, width=32, access=RO, reset=VERSION, doc="Version, highest LVT entry in 16-23.")
    TPR = Register(offset=0x080, width=32, writable=0xFF, doc="Task priority; CR8 is bits 4-7.")
    APR = Register(offset=0x090, width=32, access=RO, doc="Arbitration priority.")
    PPR = Register(offset=0x0A0, width=32, access=RO, doc="Processor priority: of task and service, the higher one.")
    EOI = Register(offset=0x0B0, width=32, access=WO, doc="Ends the interrupt of highest priority in service.")
    RRD = Register(offset=0x0C0, width=32, access=RO, doc="Remote read; there is none.")
    LDR = Register(offset=0x0D0, width=32, writable=0xFF00_0000, doc="Logical destination.")
    DFR = Register(
        offset=0x0E0, width=32, reset=0xFFFF_FFFF, writable=0xF000_0000, doc="Flat (1111) or cluster (0000)."
    )
    SVR = Register(
        offset=0x0F0, width=32, reset=0xFF, writable=0x3FF, bits={"ENABLE": 8, "FOCUS": 9}, doc="Spurious vector."
    )
    ESR = Register(offset=0x280, width=32, doc="Errors up to the last write to this register.")
    ICR_LOW = Register(offset=0x300, width=32, writable=ICR_WRITABLE, doc="A write sends an interrupt command.")
    ICR_HIGH = Register(offset=0x310, width=32, writable=0xFF00_0000, doc="Destination of interrupt commands.")
    LVT_TIMER = Register(offset=0x320, width=32, reset=MASKED, writable=LVT_VECTOR_MASK | TIMER_MODE, doc="Timer.")
    LVT_THERMAL = Register(offset=0x330, width=32, reset=MASKED, writable=LVT_LOCAL, doc="Thermal sensor.")
    LVT_COUNTERS = Register(offset=0x340, width=32, reset=MASKED, writable=LVT_LOCAL, doc="Performance counters.")
    LVT_LINT0 = Register(offset=0x350, width=32, reset=MASKED, writable=LVT_LINT, doc="Local input 0.")
    LVT_LINT1 = Register(offset=0x360, width=32, reset=MASKED, writable=LVT_LINT, doc="Local input 1.")
    LVT_ERROR = Register(offset=0x370, width=32, reset=MASKED, writable=LVT_VECTOR_MASK, doc="Errors.")
    INITIAL_COUNT = Register(offset=0x380, width=32, doc="A write starts the timer; zero stops it.")
    CURRENT_COUNT = Register(offset=0x390, width=32, access=RO, doc="What is left of the count.")
    DIVIDE = Register(offset=0x3E0, width=32, writable=0x0B, doc="Divider of the timer, bits 0, 1 and 3.")

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self._expired, f"local-apic-{self.apic_id}")
        self.cells.allow(0x30, 4, READ)
        self.cells.allow(0x80, 4, READ | KEEP)
        self._power_on()
        self.bus.attach_local(self)

    # The processor's side

    @property
    def interrupt_pending(self) -> bool:
        """Whether `acknowledge` would give an interrupt: the level of `intr`."""
        return self.intr.level

    def acknowledge(self) -> int:
        """The processor takes an interrupt: gives its vector.  Without one, the spurious vector (11.9)."""
        irr = self._irr
        if irr:
            vector = irr.bit_length() - 1
            if vector & 0xF0 > self._ppr & 0xF0:
                bit = 1 << vector
                self._irr = irr ^ bit
                self._isr |= bit
                self._ppr = vector & 0xF0
                if vector == self._lvt_timer & 0xFF and self._timer.deadline is None:
                    self._arm()
                self._update()
                return vector
        if self._extint or self._lint0_extint():
            self._extint = False
            vector = self.acknowledge_extint()
            self._update()
            return vector
        return self._svr & 0xFF

    def read_cr8(self) -> int:
        """CR8: the class of the task priority (11.8.6)."""
        return self._tpr >> 4

    def write_cr8(self, value: int) -> None:
        """CR8 <- value (0-15)."""
        self._set_tpr(value << 4 & 0xF0)

    def read_base(self) -> int:
        """IA32_APIC_BASE."""
        return self._base

    def write_base(self, value: int) -> bool:
        """IA32_APIC_BASE <- value.  False, and no change, where the processor is to raise #GP: reserved bits set."""
        if value & ~(BASE_BSP | BASE_ENABLE | (1 << self.physical_bits) - 0x1000):
            return False
        value = value & ~BASE_BSP | self._base & BASE_BSP
        if value == self._base:
            return True
        was_enabled = self.enabled
        self._base = value
        self.enabled = bool(value & BASE_ENABLE)
        if was_enabled and not self.enabled:
            self._initialise()  # Enabled again, it comes up as after power-on (11.4.3).
        if self.on_base is not None:
            self.on_base(value & ~0xFFF, self.enabled)
        self._update()
        return True

    def read_tsc_deadline(self) -> int:
        """IA32_TSC_DEADLINE: zero unless armed (11.5.4.1)."""
        if self._tsc_deadline and self.tsc_to_ns(self._tsc_deadline) <= self.clock.now and self._timer.deadline is None:
            self._tsc_deadline = 0  # It expired while masked.
        return self._tsc_deadline

    def write_tsc_deadline(self, value: int) -> None:
        """IA32_TSC_DEADLINE <- value: arms the timer, zero disarms it.  Without effect in other timer modes."""
        if self._lvt_timer & TIMER_MODE == TSC_DEADLINE:
            self._tsc_deadline = value
            self._arm()

    def tsc_changed(self) -> None:
        """The time stamp counter was written: `tsc_to_ns` gives other answers now."""
        if self._tsc_deadline:
            self._arm()

    # Inputs

    def set_lint0(self, level: bool) -> None:
        """Local input 0: the output of the 8259s."""
        if level != self._lint0:
            self._lint0 = level
            if level and self.enabled:
                self._lvt_lint0 = self._local_input(self._lvt_lint0)
            self._update()

    def set_lint1(self, level: bool) -> None:
        """Local input 1: NMI."""
        if level != self._lint1:
            self._lint1 = level
            if level:
                if self.enabled:
                    self._lvt_lint1 = self._local_input(self._lvt_lint1)
                else:
                    self.on_nmi()

    def counters_overflowed(self) -> None:
        """A performance counter overflowed: its LVT entry fires, and is masked thereby (11.5.1)."""
        entry = self._lvt_counters
        if self.enabled and not entry & MASKED:
            self._lvt_counters |= MASKED
            self._local_interrupt(entry)

    # The bus's side

    @property
    def software_enabled(self) -> bool:
        """Whether it accepts fixed interrupts."""
        return self.enabled and bool(self._svr & SOFTWARE_ENABLE)

    @property
    def arbitration_priority(self) -> int:
        """APR (11.6.2.4): the higher of task priority and of the classes in service and requested."""
        requested = self._irr.bit_length() - 1 & 0xF0 if self._irr else 0
        serving = self._isr.bit_length() - 1 & 0xF0 if self._isr else 0
        if self._tpr & 0xF0 >= requested and self._tpr & 0xF0 > serving:
            return self._tpr
        return max(self._tpr & 0xF0, serving, requested)

    def is_logical_destination(self, destination: int) -> bool:
        """Whether a logical destination names this APIC (11.6.2.2)."""
        if not self.enabled:
            return False
        ldr = self._ldr >> 24
        if self._dfr >> 28 == 15:
            return bool(ldr & destination)
        return destination >> 4 in (ldr >> 4, 15) and bool(ldr & destination & 15)

    def accept(self, vector: int, level: bool) -> bool:
        """A fixed interrupt; whether it was accepted."""
        if not self.software_enabled:
            return False
        if vector < 16:
            self._error(RECEIVED_ILLEGAL_VECTOR)
            return False
        bit = 1 << vector
        if level:
            self._tmr |= bit
        else:
            self._tmr &= ~bit
        self._irr |= bit
        if vector & 0xF0 > self._ppr & 0xF0:
            self.intr.raise_()
        return True

    def accept_special(self, mode: int, vector: int) -> bool:
        """SMI, NMI, INIT, start-up and ExtINT: they pass whatever the software enable says."""
        if not self.enabled:
            return False
        if mode == Delivery.NMI:
            self.on_nmi()
        elif mode == Delivery.SMI:
            self.on_smi()
        elif mode == Delivery.INIT:
            self.init()
        elif mode == Delivery.STARTUP:
            self.on_startup(vector)
        elif mode == Delivery.EXTINT:
            self._extint = True
            self._update()
        else:
            return False
        return True

    def init(self) -> None:
        """INIT: the APIC but for its ID, and then the processor (11.4.7.3)."""
        self._initialise()
        self._update()
        self.on_init()

    # Guest accesses

    def mmio_read(self, offset: int, size: int) -> int:
        """Registers are 32 bits on 16-byte boundaries; narrower reads see a part, what lies between reads as zero."""
        if size == 8:
            return self.mmio_read(offset, 4) | self.mmio_read(offset + 4, 4) << 32
        if size != 4 or offset & 3:
            within = offset & 3
            return self.mmio_read(offset & ~3, 4) >> 8 * within & (1 << 8 * size) - 1
        reader = self._readers.get((offset, 4))
        if reader is not None:
            return reader()
        if offset & 15:
            return 0
        if 0x100 <= offset < 0x280:
            word = (self._isr, self._tmr, self._irr)[(offset - 0x100) // 0x80]
            return word >> (offset >> 4 & 7) * 32 & 0xFFFF_FFFF
        if offset != 0x0B0:
            self._error(ILLEGAL_REGISTER)
        return 0

    def mmio_write(self, offset: int, value: int, size: int) -> None:
        """Registers take 32-bit writes only (11.4.1); others are lost."""
        if offset == 0x0B0 and size == 4:
            self._end_of_interrupt(value)
            return
        if size == 8:
            self.mmio_write(offset, value & 0xFFFF_FFFF, 4)
        elif size == 4 and not offset & 15:
            writer = self._writers.get((offset, 4))
            if writer is not None:
                writer(value)
            elif (offset, 4) not in self._readers and not 0x100 <= offset < 0x280:
                self._error(ILLEGAL_REGISTER)

    def readers(self) -> Mapping[tuple[int, int], Callable[[], int]]:
        """Registers are where they are declared; only what lies between them is special."""
        return self._readers

    def writers(self) -> Mapping[tuple[int, int], Callable[[int], None]]:
        """Registers are where they are declared; only what lies between them is special."""
        return self._writers

    def port_read(self, offset: int, size: int) -> int:
        """The same registers."""
        return self.mmio_read(offset, size)

    def port_write(self, offset: int, value: int, size: int) -> None:
        """The same registers."""
        self.mmio_write(offset, value, size)

    # Registers

    @ID.on_read
    def _read_id(self) -> int:
        return self.current_id << 24

    @ID.on_write
    def _write_id(self, value: int) -> None:
        self.current_id = value >> 24

    @TPR.on_read
    def _read_tpr(self) -> int:
        return self._tpr

    @TPR.on_write
    def _write_tpr(self, value: int) -> None:
        changed = (value ^ self._tpr) & 0xF0
        self._set_tpr(value & 0xFF)
        if changed:
            self.on_task_priority(value >> 4 & 15)

    @APR.on_read
    def _read_apr(self) -> int:
        return self.arbitration_priority

    @PPR.on_read
    def _read_ppr(self) -> int:
        return self._ppr

    @EOI.on_write
    def _end_of_interrupt(self, value: int) -> None:
        isr = self._isr
        if not isr:
            return
        vector = isr.bit_length() - 1
        self._isr = isr = isr ^ 1 << vector
        tpr = self._tpr
        serving = isr.bit_length() - 1 & 0xF0 if isr else 0
        self._ppr = tpr if tpr & 0xF0 >= serving else serving
        if self._tmr >> vector & 1:
            self._end_of_level(vector)
        if self._irr:
            self._update()

    @LDR.on_read
    def _read_ldr(self) -> int:
        return self._ldr

    @LDR.on_write
    def _write_ldr(self, value: int) -> None:
        self._ldr = value & 0xFF00_0000

    @DFR.on_read
    def _read_dfr(self) -> int:
        return self._dfr

    @DFR.on_write
    def _write_dfr(self, value: int) -> None:
        self._dfr = value | 0x0FFF_FFFF

    @SVR.on_read
    def _read_svr(self) -> int:
        return self._svr

    @SVR.on_write
    def _write_svr(self, value: int) -> None:
        self._svr = value & 0x3FF
        if not value & SOFTWARE_ENABLE:  # "The mask bits for all the LVT entries are set" (11.4.7.2).
            self._lvt_timer |= MASKED
            self._lvt_thermal |= MASKED
            self._lvt_counters |= MASKED
            self._lvt_lint0 |= MASKED
            self._lvt_lint1 |= MASKED
            self._lvt_error |= MASKED
            self._arm()
        self._update()

    @ESR.on_read
    def _read_esr(self) -> int:
        return self._esr

    @ESR.on_write
    def _write_esr(self, value: int) -> None:
        self._esr, self._errors = self._errors, 0

    @ICR_LOW.on_read
    def _read_icr_low(self) -> int:
        return self._icr  # Delivery is at once: the status bit is always "idle".

    @ICR_LOW.on_write
    def _write_icr_low(self, value: int) -> None:
        self._icr = value & ICR_WRITABLE
        mode = value >> 8 & 7
        vector = value & 0xFF
        if mode == Delivery.INIT and value & (LEVEL | ICR_ASSERT) == ICR_LEVEL_DEASSERT:
            return  # INIT level de-assert: only older processors' arbitration IDs heed it.
        if mode <= Delivery.LOWEST_PRIORITY and vector < 16:
            self._error(SEND_ILLEGAL_VECTOR)
            return
        shorthand = value >> 18 & 3
        if shorthand == 0:
            self.bus.send(self._icr_high >> 24, bool(value & 0x800), mode, vector)
        elif shorthand == 1:
            if mode <= Delivery.LOWEST_PRIORITY:
                self.accept(vector, False)
            elif mode == Delivery.NMI:
                self.on_nmi()
        else:
            others = [apic for apic in self.bus.local if apic is not self or shorthand == 2]
            self.bus.deliver(others, mode, vector)

    @ICR_HIGH.on_read
    def _read_icr_high(self) -> int:
        return self._icr_high

    @ICR_HIGH.on_write
    def _write_icr_high(self, value: int) -> None:
        self._icr_high = value & 0xFF00_0000

    @LVT_TIMER.on_read
    def _read_lvt_timer(self) -> int:
        return self._lvt_timer

    @LVT_TIMER.on_write
    def _write_lvt_timer(self, value: int) -> None:
        old = self._lvt_timer
        if (old ^ value) & TIMER_MODE:
            self._change_timer_mode(value)
        self._lvt_timer = self._lvt(value & (LVT_VECTOR_MASK | TIMER_MODE))
        self._arm()

    @LVT_THERMAL.on_read
    def _read_lvt_thermal(self) -> int:
        return self._lvt_thermal

    @LVT_THERMAL.on_write
    def _write_lvt_thermal(self, value: int) -> None:
        self._lvt_thermal = self._lvt(value & LVT_LOCAL)

    @LVT_COUNTERS.on_read
    def _read_lvt_counters(self) -> int:
        return self._lvt_counters

    @LVT_COUNTERS.on_write
    def _write_lvt_counters(self, value: int) -> None:
        self._lvt_counters = self._lvt(value & LVT_LOCAL)

    @LVT_LINT0.on_read
    def _read_lvt_lint0(self) -> int:
        return self._lvt_lint0

    @LVT_LINT0.on_write
    def _write_lvt_lint0(self, value: int) -> None:
        self._lvt_lint0 = self._new_lint(self._lvt_lint0, value, self._lint0)
        self._update()

    @LVT_LINT1.on_read
    def _read_lvt_lint1(self) -> int:
        return self._lvt_lint1

    @LVT_LINT1.on_write
    def _write_lvt_lint1(self, value: int) -> None:
        # LINT1 heeds edges only, whatever its entry says (11.5.1, trigger mode).
        self._lvt_lint1 = self._new_lint(self._lvt_lint1, value, False)

    @LVT_ERROR.on_read
    def _read_lvt_error(self) -> int:
        return self._lvt_error

    @LVT_ERROR.on_write
    def _write_lvt_error(self, value: int) -> None:
        self._lvt_error = self._lvt(value & LVT_VECTOR_MASK)

    @INITIAL_COUNT.on_read
    def _read_initial_count(self) -> int:
        return self._initial

    @INITIAL_COUNT.on_write
    def _write_initial_count(self, value: int) -> None:
        if self._lvt_timer & TIMER_MODE == TSC_DEADLINE:
            return
        self._initial = self._timer_count = value
        self._timer_base = self.clock.now
        if value and not self._lvt_timer & MASKED:
            self._timer.arm(self._after(value))
        else:
            self._timer.cancel()

    @CURRENT_COUNT.on_read
    def _read_current_count(self) -> int:
        if not self._timer_count:
            return 0
        left = self._timer_count - self._elapsed()
        if left > 0:
            return left
        if self._lvt_timer & TIMER_MODE == PERIODIC:
            return self._initial - -left % self._initial
        return 0

    @DIVIDE.on_read
    def _read_divide(self) -> int:
        return self._divide

    @DIVIDE.on_write
    def _write_divide(self, value: int) -> None:
        if (value ^ self._divide) & 0x0B:
            self._timer_count = self._read_current_count()
            self._timer_base = self.clock.now
            self._divide = value & 0x0B
            self._divisor = _divisor(self._divide)
            self._arm()

    # State

    def reset(self) -> None:
        """Power-on: the initial ID, the default base, and the inputs at the levels that others drive."""
        self._power_on()
        if self.on_base is not None:
            self.on_base(DEFAULT_BASE, True)
        self._update()

    def save(self) -> LocalApicState:
        """All registers, and the timer."""
        return LocalApicState(
            base=self._base,
            apic_id=self.current_id,
            tpr=self._tpr,
            ldr=self._ldr,
            dfr=self._dfr,
            svr=self._svr,
            irr=self._irr,
            isr=self._isr,
            tmr=self._tmr,
            errors=self._errors,
            esr=self._esr,
            icr=self._icr,
            icr_high=self._icr_high,
            lvt=(
                self._lvt_timer,
                self._lvt_thermal,
                self._lvt_counters,
                self._lvt_lint0,
                self._lvt_lint1,
                self._lvt_error,
            ),
            divide=self._divide,
            initial=self._initial,
            timer_base=self._timer_base,
            timer_count=self._timer_count,
            tsc_deadline=self._tsc_deadline,
            lint0=self._lint0,
            lint1=self._lint1,
            extint=self._extint,
            intr=self.intr.level,
            deadline=self._timer.deadline,
        )

    def restore(self, state: LocalApicState) -> None:
        """Take a saved state.  `on_base` is told when the page moves thereby: the map is not the APIC's to save."""
        moved = state.base != self._base
        self._base = state.base
        self.enabled = bool(state.base & BASE_ENABLE)
        self.current_id = state.apic_id
        self._ldr, self._dfr, self._svr = state.ldr, state.dfr, state.svr
        self._irr, self._isr, self._tmr = state.irr, state.isr, state.tmr
        self._errors, self._esr = state.errors, state.esr
        self._icr, self._icr_high = state.icr, state.icr_high
        self._lvt_timer, self._lvt_thermal, self._lvt_counters = state.lvt[:3]
        self._lvt_lint0, self._lvt_lint1, self._lvt_error = state.lvt[3:]
        self._divide = state.divide
        self._divisor = _divisor(state.divide)
        self._initial, self._timer_base, self._timer_count = state.initial, state.timer_base, state.timer_count
        self._tsc_deadline = state.tsc_deadline
        self._lint0, self._lint1, self._extint = state.lint0, state.lint1, state.extint
        self._tpr = self.cells.values[0x80] = state.tpr
        self._ppr = self._processor_priority()
        self.intr.assume(state.intr)
        self._timer.restore(state.deadline)
        if moved and self.on_base is not None:
            self.on_base(self._base & ~0xFFF, self.enabled)

    def _power_on(self) -> None:
        self.current_id = self.apic_id
        self._base = DEFAULT_BASE | BASE_ENABLE | (BASE_BSP if self.bsp else 0)
        self.enabled = True
        self._initialise()

    def _initialise(self) -> None:
        """What INIT does (11.4.7.1 and 11.4.7.3)."""
        self._tpr = self._ppr = self._ldr = self._irr = self._isr = self._tmr = 0
        self.cells.values[0x80] = 0
        self._dfr = 0xFFFF_FFFF
        self._svr = 0xFF
        self._errors = self._esr = self._icr = self._icr_high = 0
        self._lvt_timer = self._lvt_thermal = self._lvt_counters = self._lvt_error = MASKED
        self._lvt_lint0 = EXTINT_LINT0 if self.bsp else MASKED
        self._lvt_lint1 = NMI_LINT1 if self.bsp else MASKED
        self._divide, self._divisor = 0, 2
        self._initial = self._timer_base = self._timer_count = self._tsc_deadline = 0
        self._extint = False
        self._timer.cancel()

    # Interrupts

    def _processor_priority(self) -> int:
        """PPR (11.8.3.1)."""
        serving = self._isr.bit_length() - 1 & 0xF0 if self._isr else 0
        return self._tpr if self._tpr & 0xF0 >= serving else serving

    def _set_tpr(self, value: int) -> None:
        self._tpr = self.cells.values[0x80] = value
        isr = self._isr
        serving = isr.bit_length() - 1 & 0xF0 if isr else 0
        self._ppr = value if value & 0xF0 >= serving else serving
        if self._irr:  # Without a request the priority decides nothing.
            self._update()

    def _lint0_extint(self) -> bool:
        if not self.enabled:
            return self._lint0
        return self._lint0 and self._lvt_lint0 & (MASKED | 0x700) == EXTINT_LINT0

    def _update(self) -> None:
        """Drive the line to the processor."""
        irr = self._irr
        self.intr.set(
            (irr != 0 and irr.bit_length() - 1 & 0xF0 > self._ppr & 0xF0) or self._extint or self._lint0_extint()
        )

    def _error(self, bit: int) -> None:
        new = bit & ~self._errors
        self._errors |= bit
        entry = self._lvt_error
        if new and not entry & MASKED:
            self.accept(entry & 0xFF, False)

    def _local_interrupt(self, entry: int) -> None:
        """An unmasked LVT entry fires as an edge."""
        mode = entry >> 8 & 7
        if mode == Delivery.FIXED:
            self.accept(entry & 0xFF, False)
        else:
            self.accept_special(mode, entry & 0xFF)

    def _local_input(self, entry: int) -> int:
        """LINT0 or LINT1 rises, or is found high; gives the entry, with remote IRR when it sent a level."""
        if entry & MASKED:
            return entry
        mode = entry >> 8 & 7
        if mode == Delivery.EXTINT:
            return entry  # The line itself is looked at.
        if mode == Delivery.FIXED and entry & LEVEL:
            if not entry & REMOTE_IRR and self.accept(entry & 0xFF, True):
                entry |= REMOTE_IRR
            return entry
        self._local_interrupt(entry)
        return entry

    def _new_lint(self, old: int, value: int, asserted: bool) -> int:
        entry = self._lvt(value & LVT_LINT | old & REMOTE_IRR)
        if entry & (LEVEL | 0x700) != LEVEL:
            return entry & ~REMOTE_IRR
        return self._local_input(entry) if asserted and self.enabled else entry

    def _lvt(self, value: int) -> int:
        return value if self._svr & SOFTWARE_ENABLE else value | MASKED

    def _end_of_level(self, vector: int) -> None:
        """A level-triggered interrupt ends: local input 0 or an IOAPIC may send it again."""
        entry = self._lvt_lint0
        if entry & REMOTE_IRR and entry & 0xFF == vector:
            self._lvt_lint0 = entry & ~REMOTE_IRR
            if self._lint0:
                self._lvt_lint0 = self._local_input(self._lvt_lint0)
        self.bus.end_of_interrupt(vector)

    # Timer

    def _elapsed(self) -> int:
        """Counts since `_timer_base`."""
        return (self.clock.now - self._timer_base) * self.timer_hz // (NS_PER_SECOND * self._divisor)

    def _after(self, counts: int) -> int:
        """Guest time at which `counts` counts have passed since `_timer_base`."""
        return self._timer_base - -counts * self._divisor * NS_PER_SECOND // self.timer_hz

    def _arm(self) -> None:
        """Await the next expiry, if it will be seen."""
        entry = self._lvt_timer
        count = self._timer_count
        if entry & MASKED:
            self._timer.cancel()
        elif entry & TIMER_MODE == TSC_DEADLINE:
            self._arm_tsc_deadline()
        elif not count:
            self._timer.cancel()
        elif (beyond := self._elapsed() - count) < 0:
            self._timer.arm(self._after(count))
        elif entry & TIMER_MODE == PERIODIC:
            self._timer.arm(self._after(count + (beyond // self._initial + 1) * self._initial))
        else:
            self._timer.cancel()

    def _arm_tsc_deadline(self) -> None:
        if not self._tsc_deadline:
            self._timer.cancel()
            return
        at = self.tsc_to_ns(self._tsc_deadline)
        if at > self.clock.now:
            self._timer.arm(at)
        else:
            self._timer.cancel()
            self._expired()

    def _expired(self) -> None:
        entry = self._lvt_timer
        self._tsc_deadline = 0
        # While the interrupt is pending, another expiry would not be seen: `acknowledge` arms the timer again.
        self.accept(entry & 0xFF, False)
        if entry & TIMER_MODE == PERIODIC and not self._irr >> (entry & 0xFF) & 1:
            self._arm()

    def _change_timer_mode(self, value: int) -> None:
        """Between one-shot and periodic the count runs on; to and from TSC-deadline the timer is disarmed."""
        old = self._lvt_timer & TIMER_MODE
        new = value & TIMER_MODE
        if TSC_DEADLINE in (old, new):
            self._initial = self._timer_count = self._tsc_deadline = 0
        elif self._initial:  # A one-shot that is over stays so; a periodic count becomes a last one.
            self._timer_count = self._read_current_count()
            self._timer_base = self.clock.now


def _divisor(divide: int) -> int:
    """The divider: bits 3, 1 and 0 of the register (figure 11-10); 111 is by one."""
    code = divide >> 1 & 4 | divide & 3
    return 1 if code == 7 else 2 << code
