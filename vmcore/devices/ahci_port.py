"""A port of an AHCI adapter: command lists, frames (FISes), and the drive behind the cable.

Source: Intel Serial ATA AHCI 1.3.1, section 3.3 (registers), 4 (structures in memory), 5 (operation), 6 (errors);
Serial ATA 3.2, section 10.5 (frames), 13.6 (native command queueing).

The link is always up where there is a drive.  Commands are carried out one after the other; queued commands are
accepted at once, as a drive does it, and done in the order in which they came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final

from attrs import define, field, frozen

from vmcore.devices.ata_unit import AtaStatus, AtaUnit, AtaUnitState, Phase
from vmcore.hardware import Clock, Timer

__all__ = ["SLOTS", "AhciPort", "AhciPortState", "Memory"]

SLOTS: Final = 32

# Registers by their offset within the port's 80h bytes (3.3).
CLB, CLBU, FB, FBU, IS, IE, CMD = 0x00, 0x04, 0x08, 0x0C, 0x10, 0x14, 0x18
TFD, SIG, SSTS, SCTL, SERR, SACT, CI, SNTF = 0x20, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x38, 0x3C

# PxIS, PxIE
DHRS, PSS, DSS, SDBS, DPS, PCS = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 5, 1 << 6
OFS, TFES = 1 << 24, 1 << 30
ENABLES: Final = 0xFDC0_00FF
CLEARABLE: Final = 0xFD80_00AF
"""Bits of PxIS that a one clears; the others show something that is cleared elsewhere."""

# PxCMD
ST, SUD, POD, CLO, FRE, FR, CR, ATAPI = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 14, 1 << 15, 1 << 24
CMD_WRITABLE: Final = ST | SUD | POD | FRE | ATAPI | 1 << 25 | 1 << 26 | 1 << 27
CURRENT_SLOT: Final = 8

EXCHANGED: Final = 1 << 26
"""DIAG.X of PxSERR: a device has come to the port."""
LINK_UP: Final = 0x113
"""PxSSTS: device there, 1.5 Gbit/s, active."""
NO_SIGNATURE: Final = 0xFFFF_FFFF
NO_DEVICE: Final = 0x7F

# Frames, by their type, and where they are received (4.2.1).
REGISTER_H2D, REGISTER_D2H, PIO_SETUP, DEVICE_BITS = 0x27, 0x34, 0x5F, 0xA1
RFIS, PSFIS, SDBFIS = 0x40, 0x20, 0x58
INTERRUPT: Final = 0x40
TO_HOST: Final = 0x20

READ_QUEUED, WRITE_QUEUED = 0x60, 0x61
READ_DMA_EXT, WRITE_DMA_EXT = 0x25, 0x35
READ_LOG, READ_LOG_DMA = 0x2F, 0x47
QUEUED_ERROR_LOG: Final = 0x10
SRST: Final = 0x04

# Command header (4.2.2)
FRAME_LENGTH, IS_ATAPI, CLEAR_BUSY = 0x1F, 1 << 5, 1 << 10
REGIONS: Final = 64
"""Entries of a table of regions that are read in one go."""


class Memory(Protocol):
    """Memory as the adapter reaches it."""

    def dma_read(self, address: int, size: int) -> bytes: ...

    def dma_write(self, address: int, data: bytes | bytearray | memoryview) -> None: ...


@frozen
class AhciPortState:
    """State of a port.

    registers: by offset; slot: the command that the drive carries out, None while there is none; queued: accepted
    commands that wait, each with its slot; moved: bytes of the command that were moved; table: next entry of its table
    of regions, entries left, and where in the present region it is with how many bytes left; error_log: what the log
    of queued errors says; reset: the host has asserted the drive's software reset; signed: the drive's signature has
    been received; due: when the drive goes on; unit: the drive.
    """

    registers: tuple[tuple[int, int], ...]
    slot: int | None
    is_queued: bool
    queued: tuple[int, ...]
    moved: int
    table: tuple[int, int, int, int, bool]
    error_log: bytes
    reset: bool
    signed: bool
    due: int | None
    unit: AtaUnitState | None


@final
@define(eq=False)
class AhciPort:
    """One port.  changed: called when its interrupt condition may have changed."""

    number: int
    clock: Clock
    memory: Memory = field(repr=False)
    changed: Callable[[], None] = field(repr=False)
    unit: AtaUnit | None = None

    registers: dict[int, int] = field(init=False, factory=dict)
    _slot: int | None = field(init=False, default=None)
    _is_queued: bool = field(init=False, default=False)
    _queued: list[int] = field(init=False, factory=list)
    _moved: int = field(init=False, default=0)
    _entry: int = field(init=False, default=0)
    _entries: int = field(init=False, default=0)
    _address: int = field(init=False, default=0)
    _left: int = field(init=False, default=0)
    _tell: bool = field(init=False, default=False)
    _error_log: bytes = field(init=False, default=bytes(512))
    _reset: bool = field(init=False, default=False)
    _signed: bool = field(init=False, default=False)
    _timer: Timer = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self._proceed, f"ahci port {self.number}")
        if self.unit is not None:
            self.unit.port = self
        self.power_on()

    # --- resets

    def power_on(self) -> None:
        """All registers, and the drive."""
        self.registers = dict.fromkeys((CLB, CLBU, FB, FBU, IS, IE, SCTL, SERR, SACT, CI, SNTF), 0)
        self.registers |= {CMD: SUD | POD, TFD: NO_DEVICE, SIG: NO_SIGNATURE, SSTS: 0}
        self._link_reset()

    def host_reset(self) -> None:
        """The adapter's reset (10.4.3): everything but what firmware has set up."""
        kept = {place: self.registers[place] for place in (CLB, CLBU, FB, FBU)}
        self.power_on()
        self.registers |= kept

    def _abandon(self) -> None:
        """The command list stands still: nothing of it goes on."""
        self._timer.cancel()
        self._slot, self._queued = None, []
        if self.unit is not None:
            self.unit.abandon()

    def _link_reset(self) -> None:
        """COMRESET: the drive begins anew and sends its signature (5.2)."""
        self._abandon()
        self._signed = self._reset = False
        self._error_log = bytes(512)
        r = self.registers
        r[SIG] = NO_SIGNATURE
        if self.unit is None:
            r[SSTS], r[TFD] = 0, NO_DEVICE
            return
        self.unit.reset()
        r[SSTS] = LINK_UP
        r[TFD] = AtaStatus.BSY
        r[SERR] |= EXCHANGED
        self._sign()

    def _sign(self) -> None:
        """The drive's first frame, once there is a place for it."""
        unit, r = self.unit, self.registers
        if unit is None or self._signed or not r[CMD] & FRE or r[SCTL] & 0xF:
            return
        self._signed = True
        self._send_registers(interrupt=False)
        r[SIG] = unit.high << 24 & 0xFF00_0000 | (unit.mid & 0xFF) << 16 | (unit.low & 0xFF) << 8 | unit.count & 0xFF

    # --- registers

    def read(self, offset: int) -> int:
        """A register of the port."""
        r = self.registers
        if offset == IS:
            return r[IS] | (PCS if r[SERR] & EXCHANGED else 0)
        if offset == CMD:
            value = r[CMD] | (FR if r[CMD] & FRE else 0) | (CR if r[CMD] & ST else 0)
            return value | (self._slot or 0) << CURRENT_SLOT
        return r.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """The guest writes a register of the port."""
        r = self.registers
        if offset == CLB:
            r[CLB] = value & 0xFFFF_FC00
        elif offset == FB:
            r[FB] = value & 0xFFFF_FF00
        elif offset in (CLBU, FBU):
            r[offset] = value
        elif offset == IS:
            r[IS] &= ~(value & CLEARABLE)
        elif offset == IE:
            r[IE] = value & ENABLES
        elif offset == CMD:
            self._write_command(value)
        elif offset == SCTL:
            self._write_control(value)
        elif offset in (SERR, SNTF):
            r[offset] &= ~value
        elif offset == SACT:
            if r[CMD] & ST:
                r[SACT] |= value
        elif offset == CI and r[CMD] & ST:
            r[CI] |= value
            self._next()
        self.changed()

    def _write_command(self, value: int) -> None:
        r = self.registers
        before = r[CMD]
        r[CMD] = value & CMD_WRITABLE
        if before & ST and not value & ST:
            self._abandon()
            r[CI] = r[SACT] = 0
        if value & CLO and not value & ST:
            r[TFD] &= ~(AtaStatus.BSY | AtaStatus.DRQ)
        self._sign()
        if value & ST and not before & ST:
            self._next()

    def _write_control(self, value: int) -> None:
        before = self.registers[SCTL]
        self.registers[SCTL] = value & 0xFFF
        detection = value & 0xF
        if detection == 1 and before & 0xF != 1:
            self._abandon()
            self.registers[SSTS] = 0
            self.registers[TFD] = NO_DEVICE
        elif detection == 0 and before & 0xF in (1, 4):
            self._link_reset()
        elif detection == 4:
            self._abandon()
            self.registers[SSTS] = 4

    @property
    def interrupting(self) -> bool:
        """Whether an enabled condition holds."""
        return bool(self.read(IS) & self.registers[IE])

    def _raise(self, bits: int) -> None:
        self.registers[IS] |= bits
        self.changed()

    # --- frames to the host

    def _receive(self, place: int, frame: bytes) -> None:
        r = self.registers
        if r[CMD] & FRE:
            self.memory.dma_write((r[FBU] << 32 | r[FB]) + place, frame)

    def _task(self) -> bytes:
        """Status and the rest of the task file, as frames carry it from their third byte on."""
        unit = self.unit
        assert unit is not None
        low, mid, high = unit.low, unit.mid, unit.high
        place = (low & 0xFF, mid & 0xFF, high & 0xFF, unit.device | 0xA0, low >> 8, mid >> 8, high >> 8)
        return bytes((unit.status & 0xFF, unit.error, *place, 0, unit.count & 0xFF, unit.count >> 8))

    def _send_registers(self, *, interrupt: bool) -> None:
        """Register frame from the drive: a command is over, or the signature."""
        flags = INTERRUPT if interrupt else 0
        self._receive(RFIS, (bytes((REGISTER_D2H, flags)) + self._task()).ljust(20, b"\0"))
        self._take_task()
        if interrupt:
            self._raise(DHRS)

    def _send_pio_setup(self, length: int, to_host: bool, status: int) -> None:
        unit = self.unit
        assert unit is not None
        flags = INTERRUPT | (TO_HOST if to_host else 0)
        frame = bytearray((bytes((PIO_SETUP, flags)) + self._task()).ljust(20, b"\0"))
        frame[15] = status
        frame[16:18] = (length & 0xFFFF).to_bytes(2, "little")
        self._receive(PSFIS, bytes(frame))

    def _send_device_bits(self, done: int) -> None:
        """Set Device Bits frame: queued commands are over."""
        r = self.registers
        unit = self.unit
        assert unit is not None
        status = unit.status & 0x77
        frame = bytes((DEVICE_BITS, INTERRUPT, status, unit.error)) + done.to_bytes(4, "little")
        self._receive(SDBFIS, frame)
        r[TFD] = r[TFD] & 0x88 | status | unit.error << 8
        r[SACT] &= ~done
        self._raise(SDBS)

    def _take_task(self) -> None:
        unit = self.unit
        assert unit is not None
        self.registers[TFD] = unit.status & 0xFF | unit.error << 8

    # --- the command list

    def _next(self) -> None:
        """Fetch commands until one keeps the drive busy."""
        r = self.registers
        while self.unit is not None and r[CMD] & ST and not r[TFD] & (AtaStatus.BSY | AtaStatus.DRQ):
            if r[TFD] & AtaStatus.ERR and r[IS] & TFES:
                return  # Stands still until the host has taken notice of the error (6.2.2).
            if self._slot is not None and not self._is_queued:
                return
            waiting = r[CI]
            if not waiting:
                break
            slot = (waiting & -waiting).bit_length() - 1
            if not self._issue(slot):
                return
        self._start_queued()

    def _header(self, slot: int) -> tuple[int, int, int]:
        """Flags, number of regions, and the address of the command table."""
        r = self.registers
        header = self.memory.dma_read((r[CLBU] << 32 | r[CLB]) + 32 * slot, 16)
        first = int.from_bytes(header[:4], "little")
        return first & 0xFFFF, first >> 16, int.from_bytes(header[8:16], "little") & ~0x7F

    def _issue(self, slot: int) -> bool:
        """Give the command of a slot to the drive; False where nothing more can be issued for now."""
        unit, r = self.unit, self.registers
        assert unit is not None
        flags, _, table = self._header(slot)
        frame = self.memory.dma_read(table, 64)
        if flags & FRAME_LENGTH < 2 or frame[0] != REGISTER_H2D:
            r[CI] &= ~(1 << slot)
            return True
        if not frame[1] & 0x80:
            self._control(slot, flags, frame[15])
            return True
        if frame[2] in (READ_QUEUED, WRITE_QUEUED) and not unit.ATAPI_SIGNATURE:
            if not r[SACT] >> slot & 1:
                r[CI] &= ~(1 << slot)
                return True
            # The drive accepts it and lets the bus go: a frame without an interrupt.
            r[CI] &= ~(1 << slot)
            self._queued.append(slot)
            return True
        if self._slot is not None or self._queued:
            return False
        r[CI] |= 1 << slot
        self._begin(slot, queued=False)
        return self._slot is None

    def _control(self, slot: int, flags: int, control: int) -> None:
        """A frame that writes the control register: software reset is asserted or taken back (10.4.1)."""
        unit = self.unit
        assert unit is not None
        self.registers[CI] &= ~(1 << slot)
        if control & SRST:
            self._reset = True
            unit.soft_reset()
            if flags & CLEAR_BUSY:
                self.registers[TFD] &= ~(AtaStatus.BSY | AtaStatus.DRQ)
        elif self._reset:
            self._reset = False
            unit.soft_reset()
            self._send_registers(interrupt=False)

    def _start_queued(self) -> None:
        if self._slot is None and self._queued and not self.registers[TFD] & AtaStatus.ERR:
            self._begin(self._queued.pop(0), queued=True)

    def _begin(self, slot: int, *, queued: bool) -> None:
        unit, r = self.unit, self.registers
        assert unit is not None
        _, regions, table = self._header(slot)
        frame = self.memory.dma_read(table, 64)
        self._slot, self._is_queued, self._moved = slot, queued, 0
        self._entry, self._entries, self._address, self._left, self._tell = table + 0x80, regions, 0, 0, False
        code = frame[2]
        lba = int.from_bytes(frame[4:7] + frame[8:11], "little")
        features, count = frame[3] | frame[11] << 8, frame[12] | frame[13] << 8
        if queued:
            # The sectors are in the features, the tag in the count (SATA 3.2, 13.6.4).
            code = READ_DMA_EXT if code == READ_QUEUED else WRITE_DMA_EXT
            features, count = 0, features
        else:
            r[TFD] |= AtaStatus.BSY
        if code in (READ_LOG, READ_LOG_DMA) and not unit.ATAPI_SIGNATURE:
            self._read_log(code, lba & 0xFF, count)
            return
        unit.load_task(features, count, lba, frame[7])
        unit.command(code)
        self._advance()

    def _read_log(self, code: int, address: int, count: int) -> None:
        """The logs that go with queueing (SATA 3.2, 13.7.4): which there are, and of the last error."""
        unit = self.unit
        assert unit is not None
        log = bytearray(512 * max(count, 1))
        if address == 0:
            log[0] = 1
            log[2 * QUEUED_ERROR_LOG] = 1
        elif address == QUEUED_ERROR_LOG:
            log[:512] = self._error_log
        else:
            unit.fail(0x04)
            self._advance()
            return
        unit.offer(bytes(log), Phase.DMA_IN if code == READ_LOG_DMA else Phase.DATA_IN, interrupt=False)
        self._advance()

    # --- the drive's side of a command

    def interrupt(self) -> None:
        """The drive has something to say: `_advance` looks at what it is."""

    def dma_request(self) -> None:
        """As above."""

    def schedule(self, delay_ns: int) -> None:
        """The drive wants to go on after a while."""
        self._timer.arm(self.clock.now + delay_ns)

    def cancel(self) -> None:
        """The drive does not want to go on."""
        self._timer.cancel()

    def _proceed(self) -> None:
        unit = self.unit
        if unit is not None and self._slot is not None:
            unit.proceed()
            self._advance()

    def _advance(self) -> None:
        """Move what the drive offers or wants, until it is busy or the command is over."""
        unit = self.unit
        assert unit is not None
        while self._slot is not None:
            phase = unit.phase
            if phase is Phase.BUSY:
                return
            if phase is Phase.IDLE:
                self._over()
                return
            length = len(unit.data) - unit.position
            to_host = phase in (Phase.DATA_IN, Phase.DMA_IN)
            packet = unit.ATAPI_SIGNATURE and phase is Phase.DATA_OUT
            if phase in (Phase.DATA_IN, Phase.DATA_OUT):
                self._send_pio_setup(length, to_host, unit.status & ~AtaStatus.DRQ)
                if not packet:
                    self._raise(PSS)
            if packet:
                _, _, table = self._header(self._slot)
                unit.give(self.memory.dma_read(table + 0x40, length))
            elif to_host:
                self._scatter(unit.take(length))
            else:
                unit.give(self._gather(length))

    def _over(self) -> None:
        """The command is done, or has failed."""
        unit, r, slot = self.unit, self.registers, self._slot
        assert unit is not None
        assert slot is not None
        self._slot = None
        self._header_count(slot)
        failed = bool(unit.status & AtaStatus.ERR)
        if self._is_queued:
            if failed:
                self._log_error(slot)
                self._queued.clear()
            self._send_device_bits(0 if failed else 1 << slot)
        else:
            self._send_registers(interrupt=True)
            if not failed:
                r[CI] &= ~(1 << slot)
        if self._tell:
            self._raise(DPS)
        if failed:
            self._raise(TFES)
        else:
            self._next()

    def _header_count(self, slot: int) -> None:
        r = self.registers
        place = (r[CLBU] << 32 | r[CLB]) + 32 * slot + 4
        self.memory.dma_write(place, (self._moved & 0xFFFF_FFFF).to_bytes(4, "little"))

    def _log_error(self, slot: int) -> None:
        """The log of a queued command's error: tag, and the registers as a register frame has them."""
        unit = self.unit
        assert unit is not None
        log = bytearray(512)
        log[0] = slot
        task = self._task()
        log[2:4] = task[:2]
        log[4:8] = task[2:6]
        log[8:11] = task[6:9]
        log[12:14] = task[10:12]
        log[511] = -sum(log) & 0xFF
        self._error_log = bytes(log)

    # --- tables of regions

    def _region(self) -> bool:
        """Go to the next region; False behind the last."""
        while not self._left:
            if not self._entries:
                return False
            entry = self.memory.dma_read(self._entry, 16)
            self._entry += 16
            self._entries -= 1
            self._address = int.from_bytes(entry[:8], "little") & ~1
            last = int.from_bytes(entry[12:16], "little")
            self._left = (last & 0x3F_FFFF | 1) + 1
            self._tell = self._tell or bool(last >> 31)
        return True

    def _scatter(self, data: bytes) -> None:
        view = memoryview(data)
        while view and self._region():
            part = view[: self._left]
            self.memory.dma_write(self._address, part)
            self._step(len(part))
            view = view[len(part) :]
        if view:
            self._raise(OFS)  # More than the table has room for: the rest is lost (6.1.4).

    def _gather(self, length: int) -> bytes:
        parts = bytearray()
        while len(parts) < length and self._region():
            size = min(self._left, length - len(parts))
            parts += self.memory.dma_read(self._address, size)
            self._step(size)
        if len(parts) < length:
            self._raise(OFS)
            parts += bytes(length - len(parts))
        return bytes(parts)

    def _step(self, size: int) -> None:
        self._address += size
        self._left -= size
        self._moved += size

    # --- state

    def save(self) -> AhciPortState:
        """The whole state but the drive's back end."""
        return AhciPortState(
            registers=tuple(sorted(self.registers.items())),
            slot=self._slot,
            is_queued=self._is_queued,
            queued=tuple(self._queued),
            moved=self._moved,
            table=(self._entry, self._entries, self._address, self._left, self._tell),
            error_log=self._error_log,
            reset=self._reset,
            signed=self._signed,
            due=self._timer.deadline,
            unit=None if self.unit is None else self.unit.save(),
        )

    def restore(self, state: AhciPortState) -> None:
        """Take a saved state."""
        self.registers = dict(state.registers)
        self._slot, self._is_queued, self._queued = state.slot, state.is_queued, list(state.queued)
        self._moved = state.moved
        self._entry, self._entries, self._address, self._left, self._tell = state.table
        self._error_log, self._reset, self._signed = state.error_log, state.reset, state.signed
        if self.unit is not None and state.unit is not None:
            self.unit.restore(state.unit)
        self._timer.restore(state.due)
