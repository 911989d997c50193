"""The Bochs VBE extensions ("DISPI"): modes of any size with 4 to 32 bits a pixel and a linear frame buffer.

Sources: Bochs's VBE display API (vbe_display_api.txt, version B0C5); what the interface leaves open (rounding, what
happens to values that do not fit) is as QEMU's standard VGA behaves.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field, frozen

from vmcore.model.units import KIB

__all__ = ["Dispi", "DispiState"]

ID, XRES, YRES, BPP, ENABLE, BANK, VIRT_WIDTH, VIRT_HEIGHT, X_OFFSET, Y_OFFSET, MEMORY = range(11)
COUNT: Final = 10

FIRST_ID, LAST_ID = 0xB0C0, 0xB0C5
ENABLED, GET_CAPABILITIES, DAC_8BIT, LINEAR, NO_CLEAR = 0x01, 0x02, 0x20, 0x40, 0x80

MAX_WIDTH, MAX_HEIGHT, MAX_BPP = 16000, 12000, 32
BANK_SIZE: Final = 64 * KIB
DEPTHS: Final = {4: 4, 8: 8, 15: 16, 16: 16, 24: 24, 32: 32}
"""Bits that a pixel takes, by its depth."""


@frozen
class DispiState:
    """registers: by their numbers; line: bytes of a row; start: first byte that is shown."""

    index: int
    registers: tuple[int, ...]
    line: int
    start: int


@final
@define(eq=False)
class Dispi:
    """The registers behind index and data.  memory: bytes of video memory."""

    memory: int
    index: int = field(init=False, default=0)
    registers: list[int] = field(init=False, factory=lambda: [LAST_ID] + [0] * (COUNT - 1))
    line: int = field(init=False, default=0)
    """Bytes from one row to the next."""
    start: int = field(init=False, default=0)
    """Byte of the video memory that is shown first."""

    @property
    def enabled(self) -> bool:
        """Whether these registers decide about the picture, and not the VGA's."""
        return bool(self.registers[ENABLE] & ENABLED)

    @property
    def width(self) -> int:
        return self.registers[XRES]

    @property
    def height(self) -> int:
        return self.registers[YRES]

    @property
    def depth(self) -> int:
        """4, 8, 15, 16, 24 or 32."""
        return self.registers[BPP]

    @property
    def wide_dac(self) -> bool:
        """Whether the palette has 8 bits a colour, not 6."""
        return bool(self.registers[ENABLE] & DAC_8BIT)

    @property
    def clears(self) -> bool:
        """Whether switching on clears the screen."""
        return not self.registers[ENABLE] & NO_CLEAR

    @property
    def bank(self) -> int:
        """Byte of the video memory at the start of the window."""
        return self.registers[BANK] * BANK_SIZE

    def read(self, index: int) -> int:
        """A register by its number."""
        registers = self.registers
        if index == MEMORY:
            return self.memory // BANK_SIZE
        if registers[ENABLE] & GET_CAPABILITIES and index in (XRES, YRES, BPP):
            return (MAX_WIDTH, MAX_HEIGHT, MAX_BPP)[index - XRES]
        return registers[index] if index < COUNT else 0

    def write(self, index: int, value: int) -> bool:
        """Write a register by its number.  True: the mode or what is shown of it may be another now."""
        registers = self.registers
        if index == ID:
            if FIRST_ID <= value <= LAST_ID:
                registers[ID] = value
            return False
        if index == BANK:
            registers[BANK] = value & (self.memory // BANK_SIZE - 1)
        elif index == ENABLE:
            if value & ENABLED and not self.enabled:
                registers[VIRT_WIDTH] = registers[X_OFFSET] = registers[Y_OFFSET] = 0
            elif not value & ENABLED:
                registers[BANK] = 0
            registers[ENABLE] = value
            self._fit()
        elif index in (XRES, YRES, BPP, VIRT_WIDTH, X_OFFSET, Y_OFFSET):
            registers[index] = value
            self._fit()
        else:
            return False
        return True

    def _fit(self) -> None:
        """Make the registers of a mode that is on mean something that the memory has room for."""
        if not self.enabled:
            return
        r = self.registers
        if r[BPP] not in DEPTHS:
            r[BPP] = 8
        bits = DEPTHS[r[BPP]]
        r[XRES] = min(max(r[XRES] & ~7, 8), MAX_WIDTH)
        r[VIRT_WIDTH] = min(max(r[VIRT_WIDTH] & ~7, r[XRES]), MAX_WIDTH)
        self.line = r[VIRT_WIDTH] * bits // 8
        rows = self.memory // self.line
        r[YRES] = min(max(r[YRES], 1), MAX_HEIGHT, rows)
        r[VIRT_HEIGHT] = min(rows, 0xFFFF)  # The register has 16 bits, and narrow lines have more of them.
        r[X_OFFSET] = min(r[X_OFFSET], MAX_WIDTH)
        r[Y_OFFSET] = min(r[Y_OFFSET], MAX_HEIGHT)
        shown = r[YRES] * self.line
        start = r[X_OFFSET] * bits // 8 + r[Y_OFFSET] * self.line
        if start + shown > self.memory:
            r[Y_OFFSET] = 0
            start = r[X_OFFSET] * bits // 8
        if start + shown > self.memory:
            r[X_OFFSET] = start = 0
        self.start = start & ~3

    def reset(self) -> None:
        """After power-on: off."""
        self.index = self.line = self.start = 0
        self.registers[:] = [LAST_ID] + [0] * (COUNT - 1)

    def save(self) -> DispiState:
        """The whole state as an immutable value."""
        return DispiState(self.index, tuple(self.registers), self.line, self.start)

    def restore(self, state: DispiState) -> None:
        """Take a saved state."""
        self.index, self.line, self.start = state.index, state.line, state.start
        self.registers[:] = state.registers
