"""The floppy disk controller of a PC: an 82077AA with up to two drives on its cable.

Source: Intel 82077AA data sheet 290166 ("DS" below): section 2 (registers), 5 (commands, results), 6 (their meaning);
IBM PS/2 Hardware Interface Technical Reference (status registers A and B).

Seeks and sectors take a fixed short time each: long enough that a guest which starts a command and then waits for the
interrupt does not miss it, far shorter than a real drive's.  A sector is found whenever the medium has it; there is
no rotation, and no gap, length or CRC that a guest could see.

Media come from a `Drive` of the block layer.  Errors of the host end a command with a data error, or hold it until the
guest goes on, as the drive's policy says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, final

from attrs import define, evolve, field, frozen

from vmcore.block.drive import Done, Drive, Failed, Held
from vmcore.block.geometry import Geometry, floppy
from vmcore.devices.dma8237 import DmaChannel
from vmcore.hardware import Clock, Device, IrqLine, Register, Timer
from vmcore.hardware.registers import RO, WO

__all__ = ["Fdc82077", "Fdc82077State", "FloppyDriveState", "Transfer"]

SECTOR: Final = 512
DRIVES: Final = 4
"""That the controller can tell apart; a cable has two."""

COMMAND_NS: Final = 20_000
"""From the last byte of a command to its first sector or its result."""
STEP_NS: Final = 20_000
"""From one track to the next."""
SECTOR_NS: Final = 30_000

# Main status register (DS 2.1.4)
REQUEST, TO_HOST, NO_DMA, BUSY = 0x80, 0x40, 0x20, 0x10
# Digital output register (DS 2.1.2)
NO_RESET, GATE = 0x04, 0x08
# Data rate select register
SOFT_RESET, POWER_DOWN = 0x80, 0x40
# Status register 0 (DS 6.1)
ABNORMAL, INVALID, READY_CHANGED = 0x40, 0x80, 0xC0
SEEK_END, EQUIPMENT, HEAD = 0x20, 0x10, 0x04
# Status register 1
END_OF_CYLINDER, DATA_ERROR, NO_DATA, NOT_WRITABLE, NO_ADDRESS = 0x80, 0x20, 0x04, 0x02, 0x01
# Status register 2
SCAN_EQUAL, SCAN_FAILED, WRONG_CYLINDER, CONTROL_MARK = 0x08, 0x04, 0x10, 0x40
# Status register 3
WRITE_PROTECTED, READY, TRACK_0, TWO_SIDES = 0x40, 0x20, 0x10, 0x08
# CONFIGURE
IMPLIED_SEEK, NO_FIFO, NO_POLLING, THRESHOLD = 0x40, 0x20, 0x10, 0x0F
# First byte of commands
MULTI_TRACK, SKIP = 0x80, 0x20

LENGTHS: Final = {
    0x02: 9, 0x05: 9, 0x06: 9, 0x09: 9, 0x0C: 9, 0x11: 9, 0x16: 9, 0x19: 9, 0x1D: 9,
    0x03: 3, 0x04: 2, 0x07: 2, 0x08: 1, 0x0A: 2, 0x0D: 6, 0x0E: 1, 0x0F: 3, 0x10: 1, 0x12: 2, 0x13: 4, 0x14: 1,
}  # fmt: skip
"""Bytes of a command, by the low five bits of its first one (DS 5)."""

READS: Final = (0x06, 0x0C, 0x02)
WRITES: Final = (0x05, 0x09)
SCANS: Final = (0x11, 0x19, 0x1D)
VERIFY, FORMAT = 0x16, 0x0D

RATES: Final = {1440: (2,), 720: (2, 1), 640: (2, 1), 360: (2, 1), 320: (2, 1), 2400: (0,), 2880: (0,), 5760: (3,)}
"""Codes of the data rates at which a medium of so many sectors can be read; others: 500 kbit/s."""


@frozen
class FloppyDriveState:
    """A drive on the cable.  track: where its heads are; changed: its disk-change line; perpendicular: its bit of
    PERPENDICULAR MODE.
    """

    track: int = 0
    changed: bool = True
    perpendicular: bool = False


@frozen
class Transfer:
    """A command that moves data.  command: without its option bits; multi, skip: those; drive, cylinder, head, sector,
    size: where it is; last: sector number at which a track ends; fill: of FORMAT TRACK, with left: sectors to format;
    buffer: bytes of the present sector; at: how many of them have gone to or come from the host; matched: what a scan
    has found so far.
    """

    command: int
    multi: bool
    skip: bool
    drive: int
    cylinder: int
    head: int
    sector: int
    size: int
    last: int
    fill: int = 0
    left: int = 0
    buffer: bytes = b""
    at: int = 0
    matched: bool = True


@frozen
class Fdc82077State:
    """State of the controller.

    output, rate, tape: the digital output, data rate select and tape drive registers; command: bytes of the command
    that is coming in; result: bytes that wait to be read; transfer: the command in progress; seeks: drives whose seek
    is not reported yet with status 0 of each; polls: how many drives are still to be reported after a reset; timing:
    both bytes of SPECIFY; configuration, precompensation: of CONFIGURE; locked; deadline: when the command in progress
    goes on; seeking: drive and track of a seek in progress; step: STEP of status register A.
    """

    output: int
    rate: int
    tape: int
    command: bytes
    result: bytes
    transfer: Transfer | None
    seeks: tuple[tuple[int, int], ...]
    polls: int
    timing: tuple[int, int]
    configuration: int
    precompensation: int
    locked: bool
    deadline: int | None
    seeking: tuple[tuple[int, int], ...]
    step: bool
    irq: bool
    drives: tuple[FloppyDriveState, ...]


@final
@define(eq=False)
class Fdc82077(Device[Fdc82077State]):
    """Ports 0x3F0 to 0x3F5 and 0x3F7.

    drives: what is plugged into the cable, at most two.
    """

    irq: IrqLine
    dma: DmaChannel
    clock: Clock
    drives: Sequence[Drive | None] = ()

    _output: int = field(init=False, default=NO_RESET | GATE)
    _rate: int = field(init=False, default=2)
    _tape: int = field(init=False, default=0)
    _command: bytearray = field(init=False, factory=bytearray)
    _result: deque[int] = field(init=False, factory=deque)
    _transfer: Transfer | None = field(init=False, default=None)
    _seeks: list[tuple[int, int]] = field(init=False, factory=list)
    _polls: int = field(init=False, default=0)
    _timing: tuple[int, int] = field(init=False, default=(0, 0))
    _configuration: int = field(init=False, default=NO_FIFO)
    _precompensation: int = field(init=False, default=0)
    _locked: bool = field(init=False, default=False)
    _seeking: dict[int, int] = field(init=False, factory=dict)
    _step: bool = field(init=False, default=False)
    _states: list[FloppyDriveState] = field(init=False)
    _timer: Timer = field(init=False)

    STATUS_A = Register(
        0,
        access=RO,
        bits={"DIR": 0, "NOT_WP": 1, "NOT_INDEX": 2, "HDSEL": 3, "NOT_TRK0": 4, "STEP": 5, "NOT_DRV2": 6, "INT": 7},
        doc="Lines of the drive that is selected, and the interrupt.",
    )
    STATUS_B = Register(
        1, access=RO, reset=0xC0, bits={"MOTORS": (0, 1), "SELECT_0": 5}, doc="The motors, and the drive's number."
    )
    OUTPUT = Register(
        2,
        bits={"DRIVE": (0, 1), "NOT_RESET": 2, "GATE": 3, "MOTORS": (4, 7)},
        doc="Selects a drive, runs the motors, lets interrupt and DMA request through, resets the controller.",
    )
    TAPE = Register(3, bits={"TAPE": (0, 1)}, doc="Which drive is a tape: kept, without effect.")
    STATUS = Register(
        4,
        access=RO,
        reset=REQUEST,
        bits={"SEEKING": (0, 3), "BUSY": 4, "NO_DMA": 5, "TO_HOST": 6, "REQUEST": 7},
        doc="Whether and in which direction the data register wants a byte.",
    )
    RATE_SELECT = Register(
        4, access=WO, bits={"RATE": (0, 1), "PRECOMP": (2, 4), "POWER_DOWN": 6, "RESET": 7}, doc="Data rate, reset."
    )
    DATA = Register(5, doc="Bytes of commands, results and, without DMA, of sectors.")
    INPUT = Register(7, access=RO, bits={"CHANGED": 7}, doc="The disk-change line of the drive that is selected.")
    CONTROL = Register(7, access=WO, bits={"RATE": (0, 1)}, doc="The data rate.")

    def __attrs_post_init__(self) -> None:
        self._timer = self.clock.timer(self._go_on, "fdc")
        self._states = [FloppyDriveState() for _ in range(DRIVES)]
        self.dma.on_ready = self._dma_ready
        for number, drive in enumerate(self.drives):
            if drive is not None:
                drive.controller = _Cable(self, number)

    # --- registers

    @STATUS_A.on_read
    def _read_status_a(self) -> int:
        drive, state = self._selected()
        value = 0x04  # No index hole comes by.
        value |= 0x80 if self.irq.level else 0
        value |= 0x40 if self._drive(1) is None else 0
        value |= 0x20 if self._step else 0
        value |= 0x10 if state.track else 0
        value |= 0x02 if drive is None or not drive.read_only else 0
        return value

    @STATUS_B.on_read
    def _read_status_b(self) -> int:
        return 0xC0 | (self._output & 1) << 5 | self._output >> 4 & 3

    @OUTPUT.on_read
    def _read_output(self) -> int:
        return self._output

    @OUTPUT.on_write
    def _write_output(self, value: int) -> None:
        before, self._output = self._output, value
        if not value & NO_RESET:
            self._stop()
            self.irq.lower()
        elif not before & NO_RESET:
            self._end_reset()
        elif not value & GATE:
            self.irq.lower()
        self.OUTPUT = value

    @TAPE.on_read
    def _read_tape(self) -> int:
        return self._tape

    @TAPE.on_write
    def _write_tape(self, value: int) -> None:
        self._tape = value & 3

    @STATUS.on_read
    def _read_status(self) -> int:
        if not self._output & NO_RESET:
            return 0
        value = sum(1 << drive for drive in self._seeking)
        transfer = self._transfer
        if transfer is not None:
            value |= BUSY
            if self._by_bytes:
                value |= NO_DMA
                if self._timer.deadline is None and transfer.at < len(transfer.buffer):
                    value |= REQUEST | (TO_HOST if transfer.command in READS else 0)
            return value
        if self._result:
            return value | REQUEST | TO_HOST | BUSY
        if self._timer.deadline is not None and self._command:
            return value | BUSY
        return value | REQUEST | (BUSY if self._command else 0)

    @RATE_SELECT.on_write
    def _write_rate(self, value: int) -> None:
        self._rate = value & 0x7F
        if value & SOFT_RESET and self._output & NO_RESET:
            self._stop()
            self._end_reset()

    @INPUT.on_read
    def _read_input(self) -> int:
        number = self._output & 3
        motor = self._output >> 4 + number & 1
        return 0x80 if motor and self._drive(number) is not None and self._states[number].changed else 0

    @CONTROL.on_write
    def _write_control(self, value: int) -> None:
        self._rate = self._rate & ~3 | value & 3

    @DATA.on_read
    def _read_data(self) -> int:
        transfer = self._transfer
        if transfer is not None:
            if not self._by_bytes or transfer.command not in READS or transfer.at >= len(transfer.buffer):
                return 0
            value = transfer.buffer[transfer.at]
            self._host_moved(1)
            return value
        if not self._result:
            return 0
        self.irq.lower()
        value = self._result.popleft()
        return value

    @DATA.on_write
    def _write_data(self, value: int) -> None:
        if not self._output & NO_RESET or self._result:
            return
        transfer = self._transfer
        if transfer is not None:
            wanted = self._by_bytes and transfer.command not in READS and transfer.at < len(transfer.buffer)
            if wanted and self._timer.deadline is None:
                self._take(bytes([value]))
            return
        if self._timer.deadline is not None and self._command:
            return
        self._command.append(value)
        length = LENGTHS.get(self._command[0] & 0x1F)
        if length is None or (self._command[0] & 0x1F == 0x14 and self._command[0] & 0x60):
            self._command.clear()
            self._result.append(INVALID)
        elif len(self._command) >= length:
            self._execute(bytes(self._command))

    # --- resets

    def _stop(self) -> None:
        self._timer.cancel()
        self._transfer = None
        self._command.clear()
        self._result.clear()
        self._seeks.clear()
        self._seeking.clear()
        self._polls = 0
        for drive in self.drives:
            if drive is not None:
                drive.forget()
        if not self._locked:
            self._configuration, self._precompensation = NO_FIFO, 0
        self._states = [evolve(state, perpendicular=False) for state in self._states]

    def _end_reset(self) -> None:
        # A reset looks to the host as if every drive had become ready (DS 6.2.4); with polling off nothing is said.
        if not self._configuration & NO_POLLING:
            self._polls = DRIVES
            self._interrupt()

    # --- commands

    @property
    def _by_bytes(self) -> bool:
        """Whether the host moves data through the data register."""
        return bool(self._timing[1] & 1)

    def _drive(self, number: int) -> Drive | None:
        return self.drives[number] if number < len(self.drives) else None

    def _selected(self) -> tuple[Drive | None, FloppyDriveState]:
        number = self._output & 3
        return self._drive(number), self._states[number]

    def _interrupt(self) -> None:
        if self._output & GATE:
            self.irq.raise_()

    def _execute(self, command: bytes) -> None:
        kind = command[0] & 0x1F
        if command[0] & 0x8F == 0x8F:
            target = self._states[command[1] & 3].track + (command[2] if command[0] & 0x40 else -command[2])
            self._seek(command[1] & 3, min(max(target, 0), 255))
        elif kind in READS or kind in WRITES or kind in SCANS or kind == VERIFY:
            self._begin(command)
        elif kind == FORMAT:
            self._begin_format(command)
        elif kind == 0x03:
            self._timing = (command[1], command[2])
        elif kind == 0x04:
            self._result.append(self._status_3(command[1]))
        elif kind == 0x07:
            self._seek(command[1] & 3, 0)
        elif kind == 0x0F:
            self._seek(command[1] & 3, command[2])
        elif kind == 0x08:
            self._sense_interrupt()
        elif kind == 0x0A:
            self._command[:] = command
            self._timer.arm(self.clock.now + COMMAND_NS)
            return
        elif kind == 0x0E:
            self._dump()
        elif kind == 0x10:
            self._result.append(0x90)  # An 82077AA.
        elif kind == 0x12:
            self._perpendicular(command[1])
        elif kind == 0x13:
            self._configuration, self._precompensation = command[2] & 0x7F, command[3]
        elif kind == 0x14:
            self._locked = bool(command[0] & 0x80)
            self._result.append(0x10 if self._locked else 0)
        self._command.clear()

    def _status_3(self, select: int) -> int:
        number = select & 3
        drive, value = self._drive(number), select & 7 | READY | TWO_SIDES
        if drive is not None:
            value |= (TRACK_0 if not self._states[number].track else 0) | (WRITE_PROTECTED if drive.read_only else 0)
        return value

    def _seek(self, number: int, track: int) -> None:
        # An implied recalibration of a drive that is not there finds no track 0, which its status says.
        steps = abs(self._states[number].track - track)
        self._seeking[number] = track
        if self._timer.deadline is None or self._transfer is None:
            self._timer.arm(self.clock.now + COMMAND_NS + steps * STEP_NS)

    def _end_seeks(self) -> None:
        for number, track in sorted(self._seeking.items()):
            self._move(number, track)
            status = SEEK_END | number
            if self._drive(number) is None:
                status |= ABNORMAL | EQUIPMENT
            self._seeks.append((number, status))
        self._seeking.clear()
        self._interrupt()

    def _move(self, number: int, track: int) -> None:
        """The heads move; a step with a medium in the drive clears its disk-change line."""
        drive, state = self._drive(number), self._states[number]
        self._step = self._step or track != state.track
        if drive is None:
            return
        self._states[number] = evolve(state, track=track, changed=state.changed and not drive.present)

    def _sense_interrupt(self) -> None:
        if self._seeks:
            number, status = self._seeks.pop(0)
            self._result += (status, self._states[number].track)
        elif self._polls:
            number = DRIVES - self._polls
            self._polls -= 1
            self._result += (READY_CHANGED | number, self._states[number].track)
        else:
            self._result.append(INVALID)
            return
        if not self._seeks:
            self.irq.lower()

    def _dump(self) -> None:
        perpendicular = sum(state.perpendicular << 2 + i for i, state in enumerate(self._states))
        last = self._transfer.last if self._transfer is not None else 0
        self._result += (*(state.track for state in self._states), *self._timing, last)
        self._result += (self._locked << 7 | perpendicular, self._configuration, self._precompensation)

    def _perpendicular(self, value: int) -> None:
        if value & 0x80:
            self._states = [
                evolve(state, perpendicular=bool(value >> 2 + i & 1)) for i, state in enumerate(self._states)
            ]

    def _read_id(self, select: int) -> None:
        number, head = select & 3, select >> 2 & 1
        track = self._states[number].track
        refused = self._refused(number, track, head, 1)
        self._command.clear()
        self._finish(select & 7, refused, track, head, 1, 2)

    # --- transfers

    def _geometry(self, number: int) -> Geometry | None:
        drive = self._drive(number)
        return floppy(drive.size // SECTOR) if drive is not None and drive.present else None

    def _refused(self, number: int, cylinder: int, head: int, sector: int) -> tuple[int, int]:
        """Bits of status 1 and 2 that tell why a sector is not found; zeros if it is there."""
        geometry, drive = self._geometry(number), self._drive(number)
        if geometry is None or drive is None:
            return NO_ADDRESS, 0
        if self._rate & 3 not in RATES.get(drive.size // SECTOR, (0,)):
            return NO_ADDRESS, 0
        if cylinder != self._states[number].track:
            return NO_DATA, WRONG_CYLINDER
        if cylinder >= geometry.cylinders or head >= geometry.heads or not 1 <= sector <= geometry.sectors:
            return NO_DATA, 0
        return 0, 0

    def _begin(self, command: bytes) -> None:
        first, select, cylinder, head, sector, size, last, _, _ = command
        self._transfer = Transfer(
            first & 0x1F, bool(first & MULTI_TRACK), bool(first & SKIP), select & 3, cylinder, head, sector, size, last
        )
        if self._configuration & IMPLIED_SEEK:
            self._move(select & 3, cylinder)
        self._timer.arm(self.clock.now + COMMAND_NS)

    def _begin_format(self, command: bytes) -> None:
        _, select, size, sectors, _, fill = command
        number = select & 3
        self._transfer = Transfer(
            FORMAT, False, False, number, self._states[number].track, select >> 2 & 1, 1, size, sectors, fill, sectors
        )
        self._timer.arm(self.clock.now + COMMAND_NS)

    def _go_on(self) -> None:
        """The time of a seek, of a command's preparation or of a sector is over."""
        if self._seeking:
            self._end_seeks()
        if self._transfer is not None:
            self._next_sector()
        elif self._command and self._command[0] & 0x1F == 0x0A and len(self._command) == 2:
            self._read_id(self._command[1])

    def _next_sector(self) -> None:
        transfer = self._transfer
        assert transfer is not None
        if transfer.command == FORMAT:
            self._format_next(transfer)
            return
        drive, (one, two) = self._drive(transfer.drive), self._refused_now(transfer)
        if one or two:
            self._end(one, two)
            return
        assert drive is not None
        if transfer.command in WRITES:
            if drive.read_only:
                self._end(NOT_WRITABLE, 0)
                return
            self._transfer = evolve(transfer, buffer=bytes(SECTOR), at=0)
            self._pull()
            return
        outcome = drive.read(self._offset(transfer), SECTOR)
        match outcome:
            case Failed():
                self._end(DATA_ERROR, DATA_ERROR)
            case Held():
                pass  # `retry` comes back here.
            case Done(data):
                self._transfer = evolve(transfer, buffer=data, at=0)
                if transfer.command == VERIFY:
                    self._sector_done(False)
                elif transfer.command in SCANS:
                    self._pull()
                else:
                    self._push()

    def _refused_now(self, transfer: Transfer) -> tuple[int, int]:
        one, two = self._refused(transfer.drive, transfer.cylinder, transfer.head, transfer.sector)
        return (one, two) if one or two or transfer.size == 2 else (NO_DATA, 0)

    def _offset(self, transfer: Transfer) -> int:
        geometry = self._geometry(transfer.drive)
        assert geometry is not None
        track = transfer.cylinder * geometry.heads + transfer.head
        return (track * geometry.sectors + transfer.sector - 1) * SECTOR

    def _dma_ready(self) -> None:
        transfer = self._transfer
        if transfer is None or self._by_bytes or self._timer.deadline is not None or not transfer.buffer:
            return
        drive = self._drive(transfer.drive)
        if drive is not None and drive.held:
            return
        if transfer.command in READS:
            self._push()
        else:
            self._pull()

    def _push(self) -> None:
        """The present sector goes to the host, as far as it takes it."""
        transfer = self._transfer
        assert transfer is not None
        if self._by_bytes:
            self._interrupt()
            return
        taken, terminal = self.dma.to_memory(transfer.buffer[transfer.at :])
        if taken or terminal:
            self._host_moved(taken, terminal)

    def _host_moved(self, count: int, terminal: bool = False) -> None:
        transfer = self._transfer
        assert transfer is not None
        self._transfer = transfer = evolve(transfer, at=transfer.at + count)
        if terminal or transfer.at == len(transfer.buffer):
            self.irq.lower()
            self._sector_done(terminal)

    def _pull(self) -> None:
        """The host's bytes for the present sector are taken, as far as there are any."""
        transfer = self._transfer
        assert transfer is not None
        if self._by_bytes:
            self._interrupt()
            return
        data, terminal = self.dma.from_memory(len(transfer.buffer) - transfer.at)
        if data or terminal:
            self._take(data, terminal)

    def _take(self, data: bytes, terminal: bool = False) -> None:
        transfer = self._transfer
        assert transfer is not None
        end = transfer.at + len(data)
        if transfer.command in SCANS:
            theirs = transfer.buffer[transfer.at : end]
            transfer = evolve(transfer, matched=transfer.matched and _scan_holds(transfer.command, theirs, data))
        else:
            transfer = evolve(transfer, buffer=transfer.buffer[: transfer.at] + data + transfer.buffer[end:])
        self._transfer = transfer = evolve(transfer, at=end)
        if terminal or end == len(transfer.buffer):
            self.irq.lower()
            self._taken(terminal)

    def _taken(self, terminal: bool) -> None:
        """A sector of the host's is complete, with zeros behind an early end."""
        transfer = self._transfer
        assert transfer is not None
        if transfer.command == FORMAT:
            self._format_one(terminal)
            return
        if transfer.command in SCANS:
            if transfer.matched:
                self._end(0, SCAN_EQUAL, terminal=True)
                return
            self._sector_done(terminal)
            return
        self._store(self._offset(transfer), transfer.buffer, terminal)

    def _store(self, offset: int, data: bytes, terminal: bool) -> None:
        transfer = self._transfer
        assert transfer is not None
        drive = self._drive(transfer.drive)
        if drive is None or not drive.present or drive.read_only:
            self._end(NO_ADDRESS if drive is None or not drive.present else NOT_WRITABLE, 0)
            return
        match drive.write(offset, data):
            case Failed():
                self._end(DATA_ERROR, DATA_ERROR)
            case Held():
                # A whole sector waits: `retry` stores it.  Whether it was the last shows in `left`.
                self._transfer = evolve(transfer, at=len(transfer.buffer), left=-1 if terminal else transfer.left)
            case Done():
                self._sector_done(terminal)

    def retry(self) -> None:
        """The guest goes on after an error of the host that held a request."""
        transfer = self._transfer
        if transfer is None:
            return
        if transfer.command in WRITES or transfer.command == FORMAT:
            terminal = transfer.left == -1
            if transfer.command == FORMAT:
                self._format_store(terminal)
            else:
                self._store(self._offset(transfer), transfer.buffer, terminal)
        else:
            self._next_sector()

    def _sector_done(self, terminal: bool) -> None:
        """Go to the next sector: the next number, the other side of a multi-track command, or no further."""
        transfer = self._transfer
        assert transfer is not None
        cylinder, head, sector, over = _following(transfer)
        step = 2 if transfer.skip and transfer.command in SCANS else 1
        if not over and step == 2:
            sector += 1
        self._transfer = evolve(transfer, cylinder=cylinder, head=head, sector=sector, buffer=b"", at=0, matched=True)
        if terminal:
            self._end(0, SCAN_FAILED if transfer.command in SCANS else 0, terminal=True)
        elif over:
            # VERIFY ends so by itself; the others have missed their terminal count (DS 6.1, EN).
            verified = transfer.command == VERIFY
            scanned = SCAN_FAILED if transfer.command in SCANS else 0
            self._end(0 if verified else END_OF_CYLINDER, scanned, terminal=verified)
        else:
            self._timer.arm(self.clock.now + SECTOR_NS)

    # FORMAT TRACK takes four bytes for each sector: cylinder, head, sector, size.

    def _format_next(self, transfer: Transfer) -> None:
        drive = self._drive(transfer.drive)
        if drive is None or not drive.present:
            self._end(NO_ADDRESS, 0)
        elif drive.read_only:
            self._end(NOT_WRITABLE, 0)
        elif not transfer.left:
            self._end(0, 0, terminal=True)
        else:
            self._transfer = evolve(transfer, buffer=bytes(4), at=0)
            self._pull()

    def _format_one(self, terminal: bool) -> None:
        transfer = self._transfer
        assert transfer is not None
        one, two = self._refused(transfer.drive, transfer.cylinder, transfer.head, transfer.buffer[2])
        if one or two:
            self._end(one, two)
            return
        self._format_store(terminal)

    def _format_store(self, terminal: bool) -> None:
        transfer = self._transfer
        assert transfer is not None
        drive, sector = self._drive(transfer.drive), transfer.buffer[2]
        assert drive is not None
        match drive.write(self._offset(evolve(transfer, sector=sector)), bytes([transfer.fill]) * SECTOR):
            case Failed():
                self._end(DATA_ERROR, DATA_ERROR)
            case Held():
                pass  # `retry` comes back here.
            case Done():
                left = transfer.left - 1
                self._transfer = evolve(transfer, left=left, sector=sector + 1, buffer=b"", at=0)
                if left and not terminal:
                    self._timer.arm(self.clock.now + SECTOR_NS)
                else:
                    self._end(0, 0, terminal=True)

    def _end(self, one: int, two: int, *, terminal: bool = False) -> None:
        transfer = self._transfer
        assert transfer is not None
        self._transfer = None
        select = transfer.drive | (transfer.head & 1) << 2
        place = (transfer.cylinder, transfer.head, transfer.sector, transfer.size)
        self._finish(select, (one, two), *place, fine=terminal)

    def _finish(
        self, select: int, status: tuple[int, int], cylinder: int, head: int, sector: int, size: int, fine: bool = False
    ) -> None:
        one, two = status
        failed = bool(one or two & ~(SCAN_EQUAL | SCAN_FAILED | CONTROL_MARK)) and not fine
        self._result.extend((select | (ABNORMAL if failed else 0), one, two, cylinder, head, sector & 0xFF, size))
        self._interrupt()

    # --- media

    def medium_changed(self, number: int) -> None:
        """Another medium, or none, is in a drive: its disk-change line says so until the heads move."""
        self._states[number] = evolve(self._states[number], changed=True)

    # --- state

    def reset(self) -> None:
        """Power-on.  Where the heads are, and which media were changed, stays."""
        super().reset()
        self._locked = False
        self._stop()
        self._output, self._rate, self._tape = NO_RESET | GATE, 2, 0
        self._timing = (0, 0)
        self._step = False
        self.irq.lower()

    def save(self) -> Fdc82077State:
        """Everything but the media."""
        return Fdc82077State(
            self._output,
            self._rate,
            self._tape,
            bytes(self._command),
            bytes(self._result),
            self._transfer,
            tuple(self._seeks),
            self._polls,
            self._timing,
            self._configuration,
            self._precompensation,
            self._locked,
            self._timer.deadline,
            tuple(sorted(self._seeking.items())),
            self._step,
            self.irq.level,
            tuple(self._states),
        )

    def restore(self, state: Fdc82077State) -> None:
        """Take a saved state."""
        self._output, self._rate, self._tape = state.output, state.rate, state.tape
        self.OUTPUT = state.output
        self._command[:] = state.command
        self._result = deque(state.result)
        self._transfer = state.transfer
        self._seeks[:] = state.seeks
        self._polls = state.polls
        self._timing = state.timing
        self._configuration, self._precompensation = state.configuration, state.precompensation
        self._locked = state.locked
        self._timer.restore(state.deadline)
        self._seeking = dict(state.seeking)
        self._step = state.step
        self.irq.assume(state.irq)
        self._states[:] = state.drives


@final
@frozen
class _Cable:
    """What a drive tells the controller."""

    controller: Fdc82077
    number: int

    def retry(self) -> None:
        self.controller.retry()

    def medium_changed(self, loaded: bool) -> None:
        self.controller.medium_changed(self.number)

    def eject_requested(self) -> None:
        pass  # A floppy's door is the user's own.

    def resized(self) -> None:
        self.controller.medium_changed(self.number)


def _following(transfer: Transfer) -> tuple[int, int, int, bool]:
    """Cylinder, head and sector behind the present one, and whether the command has no more (DS 5.1, result phase)."""
    cylinder, head, sector = transfer.cylinder, transfer.head, transfer.sector
    if sector != transfer.last:
        return cylinder, head, sector + 1, False
    if transfer.multi:
        over = bool(head & 1)
        return (cylinder + 1 if over else cylinder), head ^ 1, 1, over
    return cylinder + 1, head, 1, True


def _scan_holds(command: int, disk: bytes, host: bytes) -> bool:
    """Whether a scan's condition holds for these bytes; FFh of either side matches anything (DS 5.2.5)."""
    for ours, theirs in zip(disk, host, strict=True):
        if 0xFF in (ours, theirs):
            continue
        if not (ours == theirs if command == 0x11 else ours <= theirs if command == 0x19 else ours >= theirs):
            return False
    return True
