"""A drive on an ATA bus, as far as disks and packet devices are alike: task file, phases, transfers, signature.

This is the drive, not the adapter: it knows neither ports nor interrupts of a PC.  An adapter (`AtaPort`) gives it
the task file and the command, moves the data while `phase` says so, and is told of interrupts.  So the same drive
serves a channel of a PC's IDE adapter and a port of another kind of adapter.

    unit.load_task(...)             # an adapter without registers of its own; others use `write_register`
    unit.command(0xC8)
    unit.phase                      # BUSY: a while later the adapter calls `proceed`; DATA_IN: `take`; DATA_OUT: `give`
    unit.dma_length                 # bytes that can be moved by DMA now: `take`, `give`

Time: commands without the medium end at once, those with it some microseconds of guest time later.  Data is read when
a command (PIO: each block of it) becomes due, and written when it has come in.

Source: T13 1410D (ATA/ATAPI-6), sections 7 (registers), 8 (commands), 9 (protocols).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import IntEnum, IntFlag
from typing import Any, Final, Protocol, TypeAlias

from attrs import define, field, frozen

from vmcore.block.drive import Drive, Nobody

__all__ = [
    "ACCESS_NS",
    "AtaError",
    "AtaPort",
    "AtaStatus",
    "AtaUnit",
    "AtaUnitState",
    "Open",
    "Phase",
    "Value",
    "identity_words",
    "swapped",
]

ACCESS_NS: Final = 20_000
"""Guest time that an access to the medium takes."""


class AtaStatus(IntFlag):
    """The status register (7.15)."""

    ERR = 0x01
    """Also CHK of packet devices."""
    DRQ = 0x08
    DSC = 0x10
    DF = 0x20
    DRDY = 0x40
    BSY = 0x80


class AtaError(IntFlag):
    """The error register (7.11)."""

    ABRT = 0x04
    IDNF = 0x10
    UNC = 0x40


class Phase(IntEnum):
    """What the adapter has to do."""

    IDLE = 0
    """Nothing: a command may come."""
    BUSY = 1
    """The drive works.  It has asked for a call of `proceed`, or waits for its `Drive` to try again."""
    DATA_IN = 2
    """The host reads the data register."""
    DATA_OUT = 3
    """The host writes the data register."""
    DMA_IN = 4
    """The adapter moves data to memory."""
    DMA_OUT = 5
    """The adapter moves data from memory."""


class AtaPort(Protocol):
    """The adapter, as a drive sees it."""

    def interrupt(self) -> None:
        """The drive wants the host's attention (INTRQ)."""

    def schedule(self, delay_ns: int) -> None:
        """Call `proceed` after so much guest time; a call that is under way is void."""

    def cancel(self) -> None:
        """Do not call `proceed`."""

    def dma_request(self) -> None:
        """Data can be moved by DMA (DMARQ)."""


class Open:
    """The adapter of a drive that has none."""

    def interrupt(self) -> None:
        pass

    def schedule(self, delay_ns: int) -> None:
        pass

    def cancel(self) -> None:
        pass

    def dma_request(self) -> None:
        pass


Value: TypeAlias = int | bool | bytes | str
"""What the own state of a kind of drive is made of."""


@frozen
class AtaUnitState:
    """State of a drive.

    task: the registers by name, two deep where 48-bit commands need it; data: what is being moved, of which `position`
    bytes have been; own: the rest, by name.
    """

    task: tuple[tuple[str, int], ...]
    phase: int
    data: bytes
    position: int
    own: tuple[tuple[str, Value], ...]


_TASK: Final = ("features", "count", "low", "mid", "high", "device", "status", "error")
_BY_NUMBER: Final = {1: "features", 2: "count", 3: "low", 4: "mid", 5: "high"}


@define(eq=False)
class AtaUnit(Nobody, ABC):
    """A drive on an ATA bus."""

    drive: Drive
    number: int = 0
    """0 or 1: which of the two on its cable; it shows in what the drive says of itself."""
    port: AtaPort = field(factory=Open, init=False, repr=False)

    features: int = field(default=0, init=False)
    count: int = field(default=0, init=False)
    low: int = field(default=0, init=False)
    mid: int = field(default=0, init=False)
    high: int = field(default=0, init=False)
    device: int = field(default=0, init=False)
    status: int = field(default=0, init=False)
    error: int = field(default=0, init=False)
    phase: Phase = field(default=Phase.IDLE, init=False)
    data: bytes | bytearray = field(default=b"", init=False, repr=False)
    position: int = field(default=0, init=False)

    ATAPI_SIGNATURE = False

    def __attrs_post_init__(self) -> None:
        self.drive.controller = self
        self.reset()

    # --- the task file

    def write_register(self, number: int, value: int) -> None:
        """The host writes register 1 to 6 (features to device); the value before stays readable behind it."""
        if number == 6:
            self.device = value
        else:
            name = _BY_NUMBER[number]
            setattr(self, name, (getattr(self, name) << 8 | value) & 0xFFFF)

    def read_register(self, number: int, previous: bool = False) -> int:
        """The host reads register 1 to 6 (error to device), or the value before in two that are two deep."""
        if number == 1:
            return self.error
        if number == 6:
            return self.device | 0xA0
        value: int = getattr(self, _BY_NUMBER[number])
        return value >> 8 if previous else value & 0xFF

    def load_task(self, features: int, count: int, lba: int, device: int) -> None:
        """All registers at once, for adapters that get them in one piece.  features, count: 16 bits; lba: 48 bits."""
        part = [lba >> 8 * n & 0xFF for n in range(6)]
        self.features, self.count, self.device = features, count, device
        self.low, self.mid, self.high = (part[n + 3] << 8 | part[n] for n in range(3))

    # --- resets

    def reset(self) -> None:
        """Power-on, or the adapter's reset line."""
        self.abandon()
        self.features = self.device = 0
        self.reset_settings()
        self.sign()

    def soft_reset(self) -> None:
        """The adapter's software reset."""
        self.abandon()
        self.sign()

    def abandon(self) -> None:
        """Drop the command under way."""
        self.port.cancel()
        self.drive.forget()
        self.phase = Phase.IDLE
        self.data, self.position = b"", 0

    def sign(self) -> None:
        """Diagnostics passed, and the registers say what kind of device this is (9.12)."""
        self.count = self.low = 1
        self.mid, self.high = (0x14, 0xEB) if self.ATAPI_SIGNATURE else (0, 0)
        self.device &= 0x10
        self.error = 1
        self.status = 0 if self.ATAPI_SIGNATURE else AtaStatus.DRDY | AtaStatus.DSC

    @abstractmethod
    def reset_settings(self) -> None:
        """Power-on values of all that commands can set."""

    # --- commands

    @abstractmethod
    def command(self, code: int) -> None:
        """The host gives a command; the drive is idle."""

    @abstractmethod
    def proceed(self) -> None:
        """The time has come that the drive asked for: go on with the command."""

    @abstractmethod
    def moved(self) -> None:
        """All of `data` has been moved."""

    def finish(self, *, interrupt: bool = True) -> None:
        """The command is done."""
        self.phase, self.data, self.position = Phase.IDLE, b"", 0
        self.status, self.error = AtaStatus.DRDY | AtaStatus.DSC, 0
        if interrupt:
            self.port.interrupt()

    def fail(self, error: int, more: int = 0) -> None:
        """The command ends with an error."""
        self.phase, self.data, self.position = Phase.IDLE, b"", 0
        self.status, self.error = AtaStatus.DRDY | AtaStatus.DSC | AtaStatus.ERR | more, error
        self.port.interrupt()

    def work(self, delay_ns: int = ACCESS_NS) -> None:
        """Be busy for a while; then `proceed` is called."""
        self.phase, self.status = Phase.BUSY, AtaStatus.BSY | AtaStatus.DSC
        self.port.schedule(delay_ns)

    def offer(self, data: bytes, phase: Phase, *, interrupt: bool = True) -> None:
        """Let the adapter fetch data."""
        self.data, self.position, self.phase = data, 0, phase
        self.status, self.error = AtaStatus.DRDY | AtaStatus.DSC | AtaStatus.DRQ, 0
        if phase is Phase.DMA_IN:
            self.port.dma_request()
        elif interrupt:
            self.port.interrupt()

    def expect(self, length: int, phase: Phase, *, interrupt: bool) -> None:
        """Let the adapter bring data."""
        self.data, self.position, self.phase = bytearray(length), 0, phase
        self.status, self.error = AtaStatus.DRDY | AtaStatus.DSC | AtaStatus.DRQ, 0
        if phase is Phase.DMA_OUT:
            self.port.dma_request()
        elif interrupt:
            self.port.interrupt()

    # --- data

    @property
    def dma_length(self) -> int:
        """Bytes that can be moved by DMA now."""
        return len(self.data) - self.position if self.phase >= Phase.DMA_IN else 0

    def take(self, length: int) -> bytes:
        """Data for the host: at most so much, less where the block ends."""
        if self.phase not in (Phase.DATA_IN, Phase.DMA_IN):
            return b""
        part = self.data[self.position : self.position + length]
        self.position += len(part)
        if self.position == len(self.data):
            self.moved()
        return bytes(part)

    def give(self, data: bytes) -> int:
        """Data from the host; how much of it was taken."""
        if self.phase not in (Phase.DATA_OUT, Phase.DMA_OUT):
            return 0
        assert isinstance(self.data, bytearray)
        part = data[: len(self.data) - self.position]
        self.data[self.position : self.position + len(part)] = part
        self.position += len(part)
        if self.position == len(self.data):
            self.moved()
        return len(part)

    # --- what the drive's back end says

    def retry(self) -> None:
        """The guest goes on after a failure: the same step again."""
        self.port.schedule(0)

    # --- state

    def save(self) -> AtaUnitState:
        """The whole state but the back end's."""
        return AtaUnitState(
            task=tuple((name, int(getattr(self, name))) for name in _TASK),
            phase=int(self.phase),
            data=bytes(self.data),
            position=self.position,
            own=tuple(sorted(self.own_state().items())),
        )

    def restore(self, state: AtaUnitState) -> None:
        """Take a saved state."""
        for name, value in state.task:
            setattr(self, name, value)
        self.phase = Phase(state.phase)
        incoming = self.phase in (Phase.DATA_OUT, Phase.DMA_OUT)
        self.data = bytearray(state.data) if incoming else state.data
        self.position = state.position
        self.take_own_state(dict(state.own))

    @abstractmethod
    def own_state(self) -> dict[str, Value]:
        """What the kind of drive adds."""

    @abstractmethod
    def take_own_state(self, own: dict[str, Any]) -> None:
        """Take what `own_state` gave."""


def swapped(text: str, length: int) -> bytes:
    """Text in an identification block: each word's first character in its high half (8.12.8)."""
    padded = text.encode("ascii", "replace")[:length].ljust(length)
    return b"".join(padded[n + 1 : n + 2] + padded[n : n + 1] for n in range(0, length, 2))


def identity_words(words: dict[int, int], texts: dict[int, tuple[str, int]]) -> bytes:
    """An identification block of 256 words.  words: by number; texts: by number of the first word, and their length."""
    block = bytearray(512)
    for number, value in words.items():
        block[2 * number : 2 * number + 2] = (value & 0xFFFF).to_bytes(2, "little")
    for number, (text, length) in texts.items():
        block[2 * number : 2 * number + length] = swapped(text, length)
    block[510] = 0xA5
    block[511] = -sum(block) & 0xFF
    return bytes(block)
