"""The two 8237A DMA controllers of the PC/AT, with their page registers.

Sources: Intel 8237A data sheet 231466; IBM PC AT Technical Reference, "DMA" (channels 0 to 3 move bytes, 5 to 7 words,
channel 4 is the cascade); Intel 82371FB/SB (PIIX) data sheet 290550, section 2.5.1 (registers and their addresses).

A device with a channel moves as many bytes as it has by one call (`DmaChannel.to_memory`, `from_memory`); the bus is
granted at once.  What is not kept: hold times, bus priorities, the write timing bits of the command register.  Their
bits read and write as declared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from attrs import define, evolve, field, frozen

from vmcore.engine import PhysicalMemory
from vmcore.hardware import Device, Register
from vmcore.hardware.registers import RO, RW, WO

__all__ = ["Dma8237", "Dma8237State", "DmaChannel", "DmaChannelState"]

CHANNELS: Final = 8
CASCADE: Final = 4

# Offsets of the device's range: the byte controller, the page registers (as ports from 0x80), the word controller.
BYTES, PAGES, WORDS = 0x00, 0x10, 0x20

# Registers of one controller, behind the eight of its channels.
STATUS, REQUEST, MASK_ONE, MODE, CLEAR_FLIP_FLOP, MASTER_CLEAR, CLEAR_MASKS, MASKS = range(8, 16)

PAGE_CHANNELS: Final = {0x7: 0, 0x3: 1, 0x1: 2, 0x2: 3, 0xF: 4, 0xB: 5, 0x9: 6, 0xA: 7}
"""Which channel a page register is for, by the lowest digit of its port."""

# Mode register
VERIFY, TO_MEMORY, FROM_MEMORY = 0, 1, 2
AUTO_INITIALIZE, DECREMENT = 0x10, 0x20
CASCADE_MODE = 3
# Command register
DISABLED = 0x04


@frozen
class DmaChannelState:
    """One channel.  base_address, base_count: what the guest wrote; address, count: where the transfer is; mode: the
    mode register without the channel's number; page: address bits above 15; masked; reached: terminal count was
    reached since the status was read; requested: by the guest's software or by a device that waits.
    """

    base_address: int = 0
    base_count: int = 0
    address: int = 0
    count: int = 0
    mode: int = 0
    page: int = 0
    masked: bool = True
    reached: bool = False
    requested: bool = False


@frozen
class Dma8237State:
    """channels: all eight; commands, high_bytes (which half of a 16-bit register is next): of both controllers; pages:
    the page registers with no channel behind them, by the lowest digit of their ports.
    """

    channels: tuple[DmaChannelState, ...]
    commands: tuple[int, int]
    high_bytes: tuple[bool, bool]
    pages: bytes


@final
class DmaChannel:
    """A device's end of a channel: its DREQ, DACK and TC lines."""

    __slots__ = ("_dma", "number", "on_ready")

    def __init__(self, dma: Dma8237, number: int) -> None:
        self._dma = dma
        self.number = number
        self.on_ready: Callable[[], None] = _nobody
        """Called when a channel that could not take part in a transfer before may be able to now."""

    def to_memory(self, data: bytes) -> tuple[int, bool]:
        """Move bytes from the device to memory: how many were taken, and whether the terminal count was reached.

        None are taken while the channel is masked or programmed for another direction.  A channel in verify mode
        counts and stores nothing.
        """
        return self._dma.move(self.number, TO_MEMORY, len(data), data)[:2]

    def from_memory(self, length: int) -> tuple[bytes, bool]:
        """Move at most so many bytes from memory to the device: the bytes, and whether the terminal count was reached.

        There are none while the channel is masked or programmed for another direction.
        """
        _, terminal, data = self._dma.move(self.number, FROM_MEMORY, length, None)
        return data, terminal

    def request(self, level: bool) -> None:
        """Drive DREQ, which shows in the status register."""
        self._dma.request(self.number, level)


@final
@define(eq=False)
class Dma8237(Device[Dma8237State]):
    """Both controllers and the page registers.

    Offsets 0x00-0x0F are ports 0x00-0x0F, 0x10-0x1F are ports 0x80-0x8F, 0x20-0x3F are ports 0xC0-0xDF, where each
    register has two ports.
    """

    memory: PhysicalMemory

    _state: list[DmaChannelState] = field(init=False)
    _commands: list[int] = field(init=False, factory=lambda: [0, 0])
    _high: list[bool] = field(init=False, factory=lambda: [False, False])
    _pages: bytearray = field(init=False, factory=lambda: bytearray(16))
    _channels: list[DmaChannel] = field(init=False)

    ADDRESS = Register(0, access=RW, doc="Address of channel 0, low byte first; the other channels' follow at 2, 4, 6.")
    COUNT = Register(1, access=RW, doc="Transfers of channel 0 less one, low byte first; the others' at 3, 5, 7.")
    STATUS = Register(
        8,
        access=RO,
        bits={"REACHED": (0, 3), "REQUESTED": (4, 7)},
        doc="Terminal counts reached since the last read, and channels that are asked for.",
    )
    COMMAND = Register(
        8,
        access=WO,
        bits={
            "MEMORY_TO_MEMORY": 0, "ADDRESS_HOLD": 1, "DISABLE": 2, "COMPRESSED": 3, "ROTATING": 4, "EXTENDED_WRITE": 5,
            "DREQ_LOW": 6, "DACK_HIGH": 7,
        },
        doc="DISABLE stops all channels of this controller.",
    )  # fmt: skip
    REQUEST = Register(9, access=WO, bits={"CHANNEL": (0, 1), "SET": 2}, doc="A request by software.")
    MASK_ONE = Register(10, access=WO, bits={"CHANNEL": (0, 1), "MASKED": 2}, doc="Masks one channel, or lets it go.")
    MODE = Register(
        11,
        access=WO,
        bits={"CHANNEL": (0, 1), "TRANSFER": (2, 3), "AUTO": 4, "DOWN": 5, "KIND": (6, 7)},
        doc="How one channel works: verify, write to memory or read from it; auto-initialize; direction; kind.",
    )
    CLEAR_FLIP_FLOP = Register(12, access=WO, doc="The next byte of an address or a count is the low one.")
    TEMPORARY = Register(13, access=RO, doc="The last byte of a memory-to-memory transfer: there are none.")
    MASTER_CLEAR = Register(13, access=WO, doc="As a reset of this controller.")
    CLEAR_MASKS = Register(14, access=WO, doc="Lets all channels of this controller go.")
    MASKS = Register(15, access=RW, bits={"MASKED": (0, 3)}, doc="The masks of all channels of this controller.")
    PAGE = Register(0x11, doc="Address bits 16-23 of channel 2; the other page registers lie around it.")
    WORD_ADDRESS = Register(0x20, doc="The word controller's registers, each at two ports, in the same order.")
    WORD_MASKS = Register(0x3E, bits={"MASKED": (0, 3)}, doc="The masks of channels 4 to 7.")

    def __attrs_post_init__(self) -> None:
        self._state = [DmaChannelState() for _ in range(CHANNELS)]
        self._channels = [DmaChannel(self, number) for number in range(CHANNELS)]

    def channel(self, number: int) -> DmaChannel:
        """The device's end of a channel."""
        return self._channels[number]

    # --- guest accesses

    def port_read(self, offset: int, size: int) -> int:
        """Each register has one byte."""
        value = 0
        for lane in range(size):
            value |= self._read(offset + lane) << 8 * lane
        return value

    def port_write(self, offset: int, value: int, size: int) -> None:
        """Each register has one byte."""
        for lane in range(size):
            self._write(offset + lane, value >> 8 * lane & 0xFF)

    def _read(self, offset: int) -> int:
        if PAGES <= offset < WORDS:
            number = PAGE_CHANNELS.get(offset - PAGES)
            return self._pages[offset - PAGES] if number is None else self._state[number].page
        place = _controller(offset)
        if place is None:
            return 0xFF
        which, register = place
        if register < 8:
            state = self._state[4 * which + register // 2]
            return self._half(which, state.count if register & 1 else state.address)
        states = self._state[4 * which : 4 * which + 4]
        if register == STATUS:
            value = sum(s.reached << i | s.requested << i + 4 for i, s in enumerate(states))
            for number in range(4 * which, 4 * which + 4):
                self._change(number, reached=False)
            return value
        if register == MASKS:
            return 0xF0 | sum(s.masked << i for i, s in enumerate(states))
        return 0

    def _half(self, which: int, value: int) -> int:
        high = self._high[which]
        self._high[which] = not high
        return value >> 8 * high & 0xFF

    def _write(self, offset: int, value: int) -> None:
        if PAGES <= offset < WORDS:
            number = PAGE_CHANNELS.get(offset - PAGES)
            if number is None:
                self._pages[offset - PAGES] = value
            else:
                self._change(number, page=value)
            return
        place = _controller(offset)
        if place is None:
            return
        which, register = place
        named = 4 * which + (value & 3)
        if register < 8:
            self._write_half(which, 4 * which + register // 2, bool(register & 1), value)
        elif register == STATUS:
            self._commands[which] = value
            self._ready(range(4 * which, 4 * which + 4))
        elif register == REQUEST:
            self._change(named, requested=bool(value & 4))
        elif register == MASK_ONE:
            self._change(named, masked=bool(value & 4))
            self._ready([named])
        elif register == MODE:
            self._change(named, mode=value & 0xFC)
            self._ready([named])
        elif register == CLEAR_FLIP_FLOP:
            self._high[which] = False
        elif register == MASTER_CLEAR:
            self._clear(which)
        elif register in (CLEAR_MASKS, MASKS):
            masks = value if register == MASKS else 0
            for index in range(4):
                self._change(4 * which + index, masked=bool(masks >> index & 1))
            self._ready(range(4 * which, 4 * which + 4))

    def _write_half(self, which: int, number: int, count: bool, value: int) -> None:
        # Base and current register take each byte at once (data sheet, "Base Address and Base Word Count Registers").
        state, high = self._state[number], self._high[which]
        self._high[which] = not high
        base = state.base_count if count else state.base_address
        whole = (base & 0x00FF | value << 8) if high else (base & 0xFF00 | value)
        if count:
            self._change(number, base_count=whole, count=whole)
        else:
            self._change(number, base_address=whole, address=whole)

    def _clear(self, which: int) -> None:
        self._commands[which] = 0
        self._high[which] = False
        for number in range(4 * which, 4 * which + 4):
            self._change(number, masked=True, reached=False, requested=False)

    def _change(self, number: int, **fields: int) -> None:
        self._state[number] = evolve(self._state[number], **fields)  # type: ignore[arg-type]

    def _ready(self, numbers: range | list[int]) -> None:
        for number in numbers:
            if not self._stopped(number):
                self._channels[number].on_ready()

    # --- transfers

    def request(self, number: int, level: bool) -> None:
        """A device drives its channel's DREQ."""
        self._change(number, requested=level)

    def move(self, number: int, direction: int, length: int, data: bytes | None) -> tuple[int, bool, bytes]:
        """Move at most `length` bytes on a channel: how many were moved, whether the terminal count was reached, and
        what was read from memory.
        """
        state = self._state[number]
        kind = state.mode >> 2 & 3
        if self._stopped(number) or kind not in (direction, VERIFY):
            return 0, False, b""
        unit = 2 if number > CASCADE else 1
        moved, parts, terminal = 0, bytearray(), False
        while moved + unit <= length and not terminal:
            # Up to the end of the transfer, and to where the 16-bit address wraps within its page.
            state = self._state[number]
            down = bool(state.mode & DECREMENT)
            room = state.address + 1 if down else 0x10000 - state.address
            units = min((length - moved) // unit, state.count + 1, room)
            size = units * unit
            first = state.address - units + 1 if down else state.address
            place = self._place(number, first)
            if direction == TO_MEMORY:
                assert data is not None
                if kind == TO_MEMORY:
                    self.memory.write(place, _turned(data[moved : moved + size], unit, down))
            else:
                parts += _turned(self.memory.read(place, size), unit, down) if kind == FROM_MEMORY else bytes(size)
            moved += size
            terminal = self._advance(number, units, down)
        return moved, terminal, bytes(parts)

    def _stopped(self, number: int) -> bool:
        state = self._state[number]
        # The byte controller's way to the bus, through channel 4, is taken as open: all firmware opens it.
        return bool(state.masked or self._commands[number >> 2] & DISABLED or state.mode >> 6 == CASCADE_MODE)

    def _place(self, number: int, address: int) -> int:
        page = self._state[number].page
        if number > CASCADE:
            return (page & 0xFE) << 16 | address << 1
        return page << 16 | address

    def _advance(self, number: int, units: int, down: bool) -> bool:
        state = self._state[number]
        address = state.address + (-units if down else units) & 0xFFFF
        if units <= state.count:
            self._change(number, address=address, count=state.count - units)
            return False
        if state.mode & AUTO_INITIALIZE:
            self._change(number, address=state.base_address, count=state.base_count, reached=True)
        else:
            self._change(number, address=address, count=0xFFFF, masked=True, reached=True)
        return True

    # --- state

    def reset(self) -> None:
        """Power-on."""
        super().reset()
        self._commands[:] = [0, 0]
        self._high[:] = [False, False]
        self._pages[:] = bytes(16)
        self._state[:] = [DmaChannelState() for _ in range(CHANNELS)]

    def save(self) -> Dma8237State:
        """All channels, and what the controllers share."""
        return Dma8237State(
            tuple(self._state),
            (self._commands[0], self._commands[1]),
            (self._high[0], self._high[1]),
            bytes(self._pages),
        )

    def restore(self, state: Dma8237State) -> None:
        """Take a saved state."""
        self._state[:] = state.channels
        self._commands[:] = state.commands
        self._high[:] = state.high_bytes
        self._pages[:] = state.pages


def _controller(offset: int) -> tuple[int, int] | None:
    """The controller and its register at an offset of the device's range."""
    if offset < PAGES:
        return 0, offset
    if WORDS <= offset < WORDS + 0x20:
        return 1, offset - WORDS >> 1
    return None


def _turned(data: bytes, unit: int, down: bool) -> bytes:
    """The units of a transfer in the order of their addresses, or of memory in the order of the transfer."""
    if not down:
        return data
    return b"".join(data[at : at + unit] for at in range(len(data) - unit, -1, -unit))


def _nobody() -> None:
    pass
