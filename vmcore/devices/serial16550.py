"""16550A UART.

Source: National Semiconductor PC16550D data sheet (June 1995), section 8 (registers), 8.5-8.7 (interrupts, FIFOs).

What is sent leaves at once, so the transmitter is always empty and guests that poll never wait.  What is received comes
in at the speed that the guest has set, in guest time, and waits in the cable while the receiver is full: bytes from
outside are never lost to an overrun.  Interrupts do not depend on OUT2, which on a PC's board gates the line to the
interrupt controller; guests that expect that set OUT2 anyway.  Word length and parity affect timing alone.
"""

from __future__ import annotations

from collections import deque
from itertools import islice

from attrs import define, field, frozen

from vmcore.devices.serial_backend import SerialBackend
from vmcore.hardware import COLLECT, NS_PER_SECOND, READ, RO, WO, Clock, Device, IrqLine, Register, Timer

BAUD_BASE = 115_200
"""Bits per second at divisor 1: the PC's crystal of 1.8432 MHz over 16."""
CABLE = 4096
"""Bytes from outside that wait in front of the receiver."""
FIFO = 16
TRIGGER_LEVELS = (1, 4, 8, 14)

# Interrupt identification (data sheet, table IV), and its enabling bits.
NONE, MODEM, EMPTY, DATA, LINE, TIMEOUT = 0x01, 0x00, 0x02, 0x04, 0x06, 0x0C
ENABLE_DATA, ENABLE_EMPTY, ENABLE_LINE, ENABLE_MODEM = 0x01, 0x02, 0x04, 0x08

READY, OVERRUN, PARITY, FRAMING, BREAK, THRE, TEMT, FIFO_ERROR = (1 << bit for bit in range(8))
LINE_ERRORS = OVERRUN | PARITY | FRAMING | BREAK

DTR, RTS, OUT1, OUT2, LOOP = (1 << bit for bit in range(5))
CTS, DSR, RI, DCD = 0x10, 0x20, 0x40, 0x80
DELTAS, RING_ENDED = 0x0F, 0x04

DLAB, SEND_BREAK = 0x80, 0x40

_BYTES = tuple(bytes([value]) for value in range(256))


@frozen
class Serial16550State:
    """State of a 16550A.  Characters are a byte and its line errors (LSR bits 1-4) above it; deadlines in guest ns."""

    ier: int
    fcr: int
    lcr: int
    mcr: int
    lsr: int
    msr: int
    scr: int
    divisor: int
    modem_inputs: int
    empty_pending: bool
    timed_out: bool
    received: tuple[int, ...]
    cable: tuple[int, ...]
    arrival: int | None
    timeout: int | None


@define(eq=False)
class Serial16550(Device[Serial16550State]):
    """One UART: eight byte-wide registers, of which the first two are the divisor while DLAB is set."""

    irq: IrqLine
    clock: Clock
    backend: SerialBackend = field(factory=SerialBackend)
    flow_control: bool = False
    """Hold input back while the guest does not assert RTS, as a peer with hardware flow control does."""

    _modem_inputs: int = field(init=False, default=CTS | DSR | DCD)
    _fcr: int = field(init=False, default=0)
    _divisor: int = field(init=False, default=1)
    _straight: bool = field(init=False, default=True)  # A byte written to offset 0 goes out, and that is all.
    _collect: bool = field(init=False, default=False)
    _empty_pending: bool = field(init=False, default=False)
    _timed_out: bool = field(init=False, default=False)
    _received: deque[int] = field(init=False, factory=deque)
    _cable: deque[int] = field(init=False, factory=deque)
    _arrival: Timer = field(init=False)
    _timeout: Timer = field(init=False)

    DATA = Register(0, doc="Received byte on read, byte to send on write; low byte of the divisor while DLAB is set.")
    IER = Register(
        1,
        writable=0x0F,
        bits={"ERBFI": 0, "ETBEI": 1, "ELSI": 2, "EDSSI": 3},
        doc="Interrupts enabled; high byte of the divisor while DLAB is set.",
    )
    IIR = Register(
        2, access=RO, reset=NONE, bits={"NONE": 0, "CAUSE": (1, 3), "FIFO": (6, 7)}, doc="The most urgent interrupt."
    )
    FCR = Register(
        2, access=WO, bits={"ENABLE": 0, "CLEAR_RX": 1, "CLEAR_TX": 2, "TRIGGER": (6, 7)}, doc="Control of the FIFOs."
    )
    LCR = Register(
        3,
        bits={"WORD": (0, 1), "STOP": 2, "PARITY": (3, 5), "BREAK": 6, "DLAB": 7},
        doc="Format of characters, break, and access to the divisor.",
    )
    MCR = Register(
        4, writable=0x1F, bits={"DTR": 0, "RTS": 1, "OUT1": 2, "OUT2": 3, "LOOP": 4}, doc="Outgoing modem lines."
    )
    LSR = Register(
        5,
        access=RO,
        reset=THRE | TEMT,
        bits={"DR": 0, "OE": 1, "PE": 2, "FE": 3, "BI": 4, "THRE": 5, "TEMT": 6, "FIFO_ERROR": 7},
        doc="State of receiver and transmitter; reading clears the errors.",
    )
    MSR = Register(
        6,
        access=RO,
        bits={"DCTS": 0, "DDSR": 1, "TERI": 2, "DDCD": 3, "CTS": 4, "DSR": 5, "RI": 6, "DCD": 7},
        doc="Incoming modem lines and their changes; reading clears the changes.",
    )
    SCR = Register(7, doc="Scratch.")

    def __attrs_post_init__(self) -> None:
        self._arrival = self.clock.timer(self._character_arrived, f"{self.irq.name} character")
        self._timeout = self.clock.timer(self._character_timed_out, f"{self.irq.name} timeout")
        self._lsr = THRE | TEMT
        self._msr = self._modem_inputs

    # LSR and MSR are served by the engine for as long as reading them has no effect.

    @property
    def _lsr(self) -> int:
        return self.cells.values[5]

    @_lsr.setter
    def _lsr(self, value: int) -> None:
        cells = self.cells
        cells.values[5] = value
        cells.rules[5] = 0 if value & (LINE_ERRORS | FIFO_ERROR) else READ

    @property
    def _msr(self) -> int:
        return self.cells.values[6]

    @_msr.setter
    def _msr(self, value: int) -> None:
        cells = self.cells
        cells.values[6] = value
        cells.rules[6] = 0 if value & DELTAS else READ

    # The other end of the cable

    def collect(self, on: bool) -> None:
        """Whether the back end may get what is sent in pieces, a little later (see `COLLECT`), or must get each
        byte from within the guest's instruction, as it does at first.  The guest cannot tell.
        """
        self._collect = on
        self._recast()

    @property
    def room(self) -> int:
        """How many bytes `receive` takes now."""
        return CABLE - len(self._cable)

    def receive(self, data: bytes) -> int:
        """Take bytes from outside, as many as there is room for; the number of those taken.

        When it was not all of them, the back end hears by `SerialBackend.room` when to offer the rest.
        """
        taken = data[: self.room]
        self._cable.extend(taken)
        self._listen()
        return len(taken)

    def receive_break(self) -> bool:
        """The other end holds the line at space for longer than a character; False when there is no room for that."""
        if not self.room:
            return False
        self._cable.append((BREAK | FRAMING) << 8)
        self._listen()
        return True

    def set_modem_lines(
        self, *, cts: bool | None = None, dsr: bool | None = None, ri: bool | None = None, dcd: bool | None = None
    ) -> None:
        """Drive the incoming modem lines; those that are left out stay as they are."""
        for bit, level in (CTS, cts), (DSR, dsr), (RI, ri), (DCD, dcd):
            if level is not None:
                self._modem_inputs = self._modem_inputs & ~bit | (bit if level else 0)
        self._sense_modem()

    # Registers

    @DATA.on_read
    def _read_data(self) -> int:
        if self.cells.values[3] & DLAB:
            return self._divisor & 0xFF
        received = self._received
        if not received:
            return 0
        value = received.popleft() & 0xFF
        self._timed_out = False
        self._first_changed()
        if received and len(received) < self._trigger_level():
            self._timeout.arm(self.clock.now + 4 * self._character_ns())
        else:
            self._timeout.cancel()
        self._update()
        if self._cable:
            self._listen()
        return value

    @DATA.on_write
    def _transmit(self, value: int) -> None:
        if self._straight:
            self.backend.write(_BYTES[value])
            return
        if self.LCR & DLAB:
            self._divisor = self._divisor & 0xFF00 | value
            self._retime()
            return
        # The holding register fills, which takes back its interrupt, and empties again, which is a new one: an edge.
        if self._empty_pending:
            self._empty_pending = False
            if self._cause() == NONE:
                self.irq.lower()
        if self.MCR & LOOP:
            self._take(value)
        else:
            self.backend.write(_BYTES[value])
        self._empty_pending = True
        self._update()

    @IER.on_read
    def _read_ier(self) -> int:
        return self._divisor >> 8 if self.LCR & DLAB else self.IER

    @IER.on_write
    def _write_ier(self, value: int) -> None:
        if self.LCR & DLAB:
            self._divisor = self._divisor & 0x00FF | value << 8
            self._retime()
            return
        # Enabling the interrupt of an empty transmitter raises it (8.5: it is set whenever THRE is and the bit is).
        if value & ~self.IER & ENABLE_EMPTY:
            self._empty_pending = True
        Serial16550.IER.store(self, value)
        self._recast()
        self._update()

    @IIR.on_read
    def _read_iir(self) -> int:
        cause = self._cause()
        if cause == EMPTY:
            self._empty_pending = False
            self._update()
        return cause | (0xC0 if self._fcr & 1 else 0)

    @FCR.on_write
    def _write_fcr(self, value: int) -> None:
        switched = (value ^ self._fcr) & 1
        # The other bits count only along with bit 0; switching the FIFOs on or off empties them.
        self._fcr = value & 0xC1 if value & 1 else 0
        if switched or value & 3 == 3:
            self._clear_received()
        self._update()
        self._listen()

    @LCR.on_write
    def _write_lcr(self, value: int) -> None:
        before = self._outputs()
        self.LCR = value
        self._recast()
        self._retime()
        self._tell_outputs(before)

    @MCR.on_write
    def _write_mcr(self, value: int) -> None:
        before = self._outputs()
        Serial16550.MCR.store(self, value)
        self._recast()
        self._sense_modem()
        self._tell_outputs(before)
        self._listen()

    @LSR.on_read
    def _read_lsr(self) -> int:
        value = self._lsr
        if value & (LINE_ERRORS | FIFO_ERROR):
            self._lsr = value & ~LINE_ERRORS
            # The error of the first character has been seen; those of the ones behind it have not.
            if all(character <= 0xFF for character in islice(self._received, 1, None)):
                self._lsr &= ~FIFO_ERROR
            self._update()
        return value

    @MSR.on_read
    def _read_msr(self) -> int:
        value = self._msr
        if value & DELTAS:
            self._msr = value & ~DELTAS
            self._update()
        return value

    def read_bulk(self, offset: int, size: int, count: int) -> bytes:
        """String input is rare on a UART: one access after the other."""
        return b"".join(self.port_read(offset, size).to_bytes(size, "little") for _ in range(count))

    def write_bulk(self, offset: int, size: int, data: bytes) -> None:
        """String output of characters reaches the back end in one piece."""
        if offset == 0 and size == 1 and self._straight:
            self.backend.write(data)
            return
        for start in range(0, len(data), size):
            self.port_write(offset, int.from_bytes(data[start : start + size], "little"), size)

    # State

    def reset(self) -> None:
        """Master reset (data sheet, table III).  What is in the cable and the lines from outside are not the UART's."""
        before = self._outputs()
        super().reset()
        self._fcr = 0
        self._lsr = THRE | TEMT
        self._divisor = 1
        self._empty_pending = False
        self._clear_received()
        self._msr = self._modem_inputs
        self._recast()
        self._update()
        self._tell_outputs(before)
        self._arrival.cancel()
        self._listen()

    def save(self) -> Serial16550State:
        return Serial16550State(
            ier=self.IER,
            fcr=self._fcr,
            lcr=self.LCR,
            mcr=self.MCR,
            lsr=self._lsr,
            msr=self._msr,
            scr=self.SCR,
            divisor=self._divisor,
            modem_inputs=self._modem_inputs,
            empty_pending=self._empty_pending,
            timed_out=self._timed_out,
            received=tuple(self._received),
            cable=tuple(self._cable),
            arrival=self._arrival.deadline,
            timeout=self._timeout.deadline,
        )

    def restore(self, state: Serial16550State) -> None:
        self.IER, self.LCR, self.MCR, self.SCR = state.ier, state.lcr, state.mcr, state.scr
        self._fcr, self._lsr, self._msr, self._divisor = state.fcr, state.lsr, state.msr, state.divisor
        self._modem_inputs = state.modem_inputs
        self._empty_pending = state.empty_pending
        self._timed_out = state.timed_out
        self._received = deque(state.received)
        self._cable = deque(state.cable)
        self._arrival.restore(state.arrival)
        self._timeout.restore(state.timeout)
        self._recast()
        self.irq.assume(self._cause() != NONE)

    # Receiver

    def _listen(self) -> None:
        """Let the next character come in, if there is one and the receiver can take it."""
        if self._cable and self._arrival.deadline is None and self._can_take():
            self._arrival.arm(self.clock.now + self._character_ns())

    def _can_take(self) -> bool:
        if self.MCR & LOOP or (self.flow_control and not self.MCR & RTS):
            return False
        return len(self._received) < (FIFO if self._fcr & 1 else 1)

    def _character_arrived(self) -> None:
        if self._can_take():
            self._take(self._cable.popleft())
            if len(self._cable) == CABLE // 2:
                self.backend.room()
            self._listen()

    def _take(self, character: int) -> None:
        received = self._received
        if len(received) >= (FIFO if self._fcr & 1 else 1):
            self._lsr |= OVERRUN
            if not self._fcr & 1:
                received[0] = character
        else:
            received.append(character)
            if character > 0xFF and self._fcr & 1:
                self._lsr |= FIFO_ERROR
        if len(received) == 1:
            self._first_changed()
        if self._fcr & 1:
            self._timeout.arm(self.clock.now + 4 * self._character_ns())
        self._update()

    def _first_changed(self) -> None:
        """Another character is the next to be read: its errors show in the line status now."""
        received = self._received
        if received:
            self._lsr |= READY | received[0] >> 8
        else:
            self._lsr &= ~READY
        if self._lsr & FIFO_ERROR and all(character <= 0xFF for character in received):
            self._lsr &= ~FIFO_ERROR

    def _character_timed_out(self) -> None:
        """8.7: nothing was read and nothing came for four characters, and there is something to be read."""
        self._timed_out = True
        self._update()

    def _clear_received(self) -> None:
        self._received.clear()
        self._timed_out = False
        self._timeout.cancel()
        self._first_changed()

    def _trigger_level(self) -> int:
        return TRIGGER_LEVELS[self._fcr >> 6] if self._fcr & 1 else 1

    def _character_ns(self) -> int:
        lcr = self.LCR
        bits = 1 + 5 + (lcr & 3) + (lcr >> 3 & 1) + 1 + (lcr >> 2 & 1)
        return bits * (self._divisor or 1) * NS_PER_SECOND // BAUD_BASE

    def _retime(self) -> None:
        """The speed has changed: a character that is under way comes at the new one."""
        if self._arrival.deadline is not None:
            self._arrival.arm(self.clock.now + self._character_ns())

    # Modem lines

    def _outputs(self) -> tuple[bool, bool, bool]:
        """DTR, RTS and break, as they leave the UART: in loop-back mode all are idle (8.6)."""
        mcr = 0 if self.MCR & LOOP else self.MCR
        return bool(mcr & DTR), bool(mcr & RTS), bool(self.LCR & SEND_BREAK and not self.MCR & LOOP)

    def _tell_outputs(self, before: tuple[bool, bool, bool]) -> None:
        after = self._outputs()
        if after != before:
            self.backend.lines(*after)

    def _sense_modem(self) -> None:
        """Take in the incoming lines, or in loop-back mode the outgoing ones, and note what has changed."""
        mcr = self.MCR
        if mcr & LOOP:
            lines = (mcr & RTS) << 3 | (mcr & DTR) << 5 | (mcr & OUT1) << 4 | (mcr & OUT2) << 4
        else:
            lines = self._modem_inputs
        old = self._msr
        deltas = (old ^ lines) >> 4
        if lines & RI:
            deltas &= ~RING_ENDED  # Only the end of a ring is noted, not its beginning.
        self._msr = lines | (old | deltas) & DELTAS
        self._update()

    # Interrupts

    def _cause(self) -> int:
        ier = self.cells.values[1]
        if not ier:
            return NONE
        if ier & ENABLE_LINE and self._lsr & LINE_ERRORS:
            return LINE
        if ier & ENABLE_DATA and self._received:
            if len(self._received) >= self._trigger_level():
                return DATA
            if self._timed_out:
                return TIMEOUT
        if ier & ENABLE_EMPTY and self._empty_pending:
            return EMPTY
        if ier & ENABLE_MODEM and self._msr & DELTAS:
            return MODEM
        return NONE

    def _update(self) -> None:
        self.irq.set(self._cause() != NONE)

    def _recast(self) -> None:
        self._straight = not (self.LCR & DLAB or self.MCR & LOOP or self.IER & ENABLE_EMPTY)
        self.cells.rules[0] = COLLECT if self._straight and self._collect else 0
