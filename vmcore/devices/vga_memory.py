"""Video memory, and the window through which the guest sees it below 1 MiB.

The memory itself is hidden RAM, which the engine reaches directly; what the guest sees are views of it.  Four planes
lie side by side, as a 32-bit bus has them: byte 4 * n + p is byte n of plane p.  So chained addresses (256 colours,
linear frame buffers) are the bytes in their order.

Where the registers make the window plain bytes it is RAM, too: 256 colours without a bank, and text, whose two planes
of characters and attributes then lie in a memory of their own, woven together as the guest sees them, until the mode
ends.  All else, latches and write modes, the engine answers from registers that it shares with the device (planes.h).

Sources: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; the order of planes in memory shows through
the linear frame buffer of QEMU's standard VGA and is the same here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, final

from attrs import frozen

from vmcore.hardware.decoding import Claim, HiddenMemory, MemoryDecoder, Planes
from vmcore.model.units import KIB, MIB

__all__ = [
    "GRAPHICS",
    "LATCHES",
    "SEQUENCER",
    "TEXT_SIZE",
    "VRAM_SIZE",
    "WINDOWS",
    "Kind",
    "VideoMemory",
    "Window",
]

VRAM_SIZE: Final = 16 * MIB
TEXT_SIZE: Final = 32 * KIB

# Places in the buffer that is shared with the engine (planes.h names the same).
GRAPHICS: Final = 0
SEQUENCER: Final = 16
LATCHES: Final = 24
BANK: Final = 28
SHARED: Final = 32

ORDER: Final = 50
"""Order of the window's claim: before those of PCI functions, as the adapter of a PC was there first."""

WINDOWS: Final = ((0xA0000, 128 * KIB), (0xA0000, 64 * KIB), (0xB0000, 32 * KIB), (0xB8000, 32 * KIB))
"""Base and size by the memory map field of the graphics controller's miscellaneous register."""


class Kind(Enum):
    """How the window is answered."""

    NONE = "none"
    TEXT = "text"
    LINEAR = "linear"
    PLANES = "planes"


@frozen
class Window:
    """What is to be seen at `base`."""

    kind: Kind
    base: int = 0
    size: int = 0


@final
class VideoMemory:
    """The adapter's memory, and the claim by which it shows below 1 MiB.  size: of the memory, in bytes."""

    def __init__(self, decoder: MemoryDecoder, size: int = VRAM_SIZE) -> None:
        self.shared = bytearray(SHARED)
        """Graphics controller, sequencer, latches and bank, for the engine."""
        self.size = size
        self.vram: HiddenMemory = decoder.allocate(size)
        """All of the memory."""
        self.text: HiddenMemory = decoder.allocate(TEXT_SIZE)
        """What is shown as text memory."""
        self.window = Window(Kind.NONE)
        self._decoder = decoder
        self._memory = decoder.memory
        self._claims: list[Claim] = []

    @property
    def bank(self) -> int:
        """Added to addresses in the window."""
        return int.from_bytes(self.shared[BANK : BANK + 4], "little")

    @bank.setter
    def bank(self, value: int) -> None:
        self.shared[BANK : BANK + 4] = value.to_bytes(4, "little")

    def show(self, window: Window) -> None:
        """Show this from now on."""
        if window == self.window:
            return
        if self.window.kind is Kind.TEXT and window.kind is not Kind.TEXT:
            self._weave()
        if window.kind is Kind.TEXT and self.window.kind is not Kind.TEXT:
            self._unweave()
        self.place(window)

    def place(self, window: Window) -> None:
        """Claim the window; the contents of all memories stay as they are."""
        self.window = window
        base, size = window.base, window.size
        order = (ORDER,)
        match window.kind:
            case Kind.NONE:
                claims = []
            case Kind.TEXT:
                claims = [Claim(base, size, self.text, order, "vga text")]
            case Kind.LINEAR:
                claims = [Claim(base, size, self.vram.part(0, size), order, "vga window")]
            case Kind.PLANES:
                claims = [Claim(base, size, Planes(self.vram, self.shared), order, "vga planes")]
        self._decoder.change(remove=self._claims, add=claims)
        self._claims = claims

    def read(self, start: int, size: int) -> bytes:
        """Bytes of the video memory, what is shown as text included.  Beyond its end there are zeros."""
        data = self._memory.read(self.vram.home + start, min(size, self.size - start)) if start < self.size else b""
        if self.window.kind is Kind.TEXT and start < 2 * TEXT_SIZE:
            # Whole cells, then cut to what was asked for.
            first, end = start & ~3, min(start + size + 3 & ~3, 2 * TEXT_SIZE)
            woven = bytearray(self._memory.read(self.vram.home + first, end - first))
            text = self._memory.read(self.text.home + first // 2, (end - first) // 2)
            woven[0::4], woven[1::4] = text[0::2], text[1::2]
            data = bytes(woven[start - first : start - first + size]) + data[end - start :]
        return data[:size] + bytes(max(size - len(data), 0))

    def write(self, start: int, data: bytes) -> None:
        """Put bytes into the video memory, within its size; for firmware."""
        self._memory.load(self.vram.home + start, data)

    def clear(self, size: int) -> None:
        """Make the first `size` bytes zero."""
        self._memory.load(self.vram.home, bytes(min(size, self.size)))

    def _weave(self) -> None:
        planes = bytearray(self._memory.read(self.vram.home, 2 * TEXT_SIZE))
        text = self._memory.read(self.text.home, TEXT_SIZE)
        planes[0::4], planes[1::4] = text[0::2], text[1::2]
        self._memory.load(self.vram.home, planes)

    def _unweave(self) -> None:
        planes = self._memory.read(self.vram.home, 2 * TEXT_SIZE)
        text = bytearray(TEXT_SIZE)
        text[0::2], text[1::2] = planes[0::4], planes[1::4]
        self._memory.load(self.text.home, text)
