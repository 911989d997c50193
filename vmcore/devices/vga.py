"""A VGA with the Bochs VBE extensions: the registers.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Video Subsystem"; J. Neal, "Hardware Level VGA
and SVGA Video Programming Information" (FreeVGA).  Where guests can tell adapters apart it is QEMU's standard VGA: no
bit of the miscellaneous output register switches the memory off, chained pairs of planes leave planes 2 and 3 alone,
and 256 colours in chained planes know no write modes.

Input status 1 shows a retrace at every second look.  One that came in guest time would make a guest that waits for it
poll millions of times: a picture's time is as many instructions here.
"""

from __future__ import annotations

from typing import Final, final

from attrs import define, field, frozen

from vmcore.devices.vga_dispi import Dispi, DispiState
from vmcore.devices.vga_memory import GRAPHICS, SEQUENCER, TEXT_SIZE, WINDOWS, Kind, VideoMemory, Window
from vmcore.hardware import RO, WO, Device, Register
from vmcore.hardware.cells import IndexedRegisters

__all__ = ["StdVga", "StdVgaState"]

# Ports, from 3B0h on.
CRTC_MONO, CRTC_COLOR = 0x04, 0x24
SEQUENCER_PORT, GRAPHICS_PORT = 0x14, 0x1E
DISPI_PORTS: Final = 0x30

MISC_COLOR: Final = 0x01
RETRACE, NOT_DISPLAYING = 0x08, 0x01

SEQUENCER_MASKS: Final = bytes((0x03, 0x3D, 0x0F, 0x3F, 0x0E, 0, 0, 0xFF))
GRAPHICS_MASKS: Final = bytes((0x0F, 0x0F, 0x0F, 0x1F, 0x03, 0x7B, 0x0F, 0x0F, 0xFF, 0, 0, 0, 0, 0, 0, 0))
ATTRIBUTE_MASKS: Final = bytes((0x3F,) * 16 + (0xEF, 0xFF, 0x3F, 0x0F, 0x0F) + (0,) * 11)

CRTC_PROTECTED: Final = 0x80
"""In register 11h: registers 0 to 7 take no writes, but for one bit."""

SR_CLOCKING, SR_MAP_MASK, SR_FONT, SR_MEMORY_MODE = 1, 2, 3, 4
GR_READ_MAP, GR_MODE, GR_MISC = 4, 5, 6
FREE_GRAPHICS: Final = bytes((0x0F, 0x0F, 0x0F, 0x1F, 0x00, 0x6B, 0x03, 0x0F, 0xFF, 0, 0, 0, 0, 0, 0, 0))
"""Bits of the graphics controller that do not decide about the window."""
CHAIN_4, ODD_EVEN, GRAPHICS_MODE = 0x08, 0x10, 0x01


@frozen
class StdVgaState:
    """State of the registers; what is in the video memory is the machine's RAM's.

    shared: what the engine has, too: graphics controller, sequencer, latches, bank.
    """

    misc: int
    feature: int
    retrace: int
    sequencer_index: int
    graphics_index: int
    crtc_index: int
    crtc: bytes
    attribute_index: int
    attribute_data: bool
    attributes: bytes
    pel_mask: int
    dac_state: int
    dac_read: int
    dac_write: int
    dac_part: int
    dac_latch: bytes
    palette: bytes
    shared: bytes
    window: tuple[str, int, int]
    dispi: DispiState


@final
@define(eq=False)
class StdVga(Device[StdVgaState]):
    """Ports 3B0h to 3DFh at offsets 0 to 2Fh, those of the DISPI interface (1CEh to 1D1h) from 30h on."""

    memory: VideoMemory
    crtc: bytearray = field(init=False, factory=lambda: bytearray(256), repr=False)
    attributes: bytearray = field(init=False, factory=lambda: bytearray(32), repr=False)
    attribute_index: int = field(init=False, default=0)
    palette: bytearray = field(init=False, factory=lambda: bytearray(768), repr=False)
    """Red, green, blue as they were written: 6 bits each, or 8."""
    dispi: Dispi = field(init=False)
    _attribute_data: bool = field(init=False, default=False)
    _dac_state: int = field(init=False, default=0)
    _dac_read: int = field(init=False, default=0)
    _dac_write: int = field(init=False, default=0)
    _dac_part: int = field(init=False, default=0)
    _dac_latch: bytearray = field(init=False, factory=lambda: bytearray(3))
    _retrace: int = field(init=False, default=0)
    # Bits that change nothing but what drawing does: the engine need not ask.
    _free_sequencer: bytearray = field(init=False, factory=lambda: bytearray(8), repr=False)
    _free_graphics: bytearray = field(init=False, factory=lambda: bytearray(FREE_GRAPHICS), repr=False)

    CRTC_INDEX_MONO = Register(0x04, doc="CRT controller index, where MISC says monochrome.")
    CRTC_DATA_MONO = Register(0x05, doc="The CRT controller's register.")
    STATUS_1_MONO = Register(0x0A, access=RO, doc="As STATUS_1, where MISC says monochrome.")
    FEATURE_MONO = Register(0x0A, access=WO, doc="As FEATURE, where MISC says monochrome.")
    ATTRIBUTE = Register(0x10, doc="Attribute controller: index and data in turns; a read gives the index.")
    ATTRIBUTE_DATA = Register(0x11, access=RO, doc="The attribute controller's register.")
    STATUS_0 = Register(0x12, access=RO, doc="Input status 0: no interrupt, no monitor sense.")
    MISC = Register(
        0x12,
        access=WO,
        bits={"COLOR": 0, "RAM": 1, "CLOCK": (2, 3), "PAGE": 5, "HSYNC_NEGATIVE": 6, "VSYNC_NEGATIVE": 7},
        doc="Miscellaneous output.",
    )
    SEQUENCER_INDEX = Register(0x14, writable=0x07, doc="Sequencer index.")
    SEQUENCER_DATA = Register(0x15, doc="The sequencer's register.")
    PEL_MASK = Register(0x16, reset=0xFF, doc="Mask of the colour numbers that reach the palette.")
    DAC_STATE = Register(0x17, access=RO, doc="0: the palette is being written, 3: read.")
    DAC_READ = Register(0x17, access=WO, doc="Colour that is read next.")
    DAC_WRITE = Register(0x18, doc="Colour that is written next.")
    DAC_DATA = Register(0x19, doc="Red, green, blue in turns.")
    FEATURE_READ = Register(0x1A, access=RO, doc="Feature control.")
    MISC_READ = Register(0x1C, access=RO, doc="Miscellaneous output.")
    GRAPHICS_INDEX = Register(0x1E, writable=0x0F, doc="Graphics controller index.")
    GRAPHICS_DATA = Register(0x1F, doc="The graphics controller's register.")
    CRTC_INDEX = Register(0x24, doc="CRT controller index.")
    CRTC_DATA = Register(0x25, doc="The CRT controller's register.")
    STATUS_1 = Register(0x2A, access=RO, bits={"NOT_DISPLAYING": 0, "RETRACE": 3}, doc="Input status 1.")
    FEATURE = Register(0x2A, access=WO, writable=0x10, doc="Feature control.")
    DISPI_INDEX = Register(0x30, width=16, doc="Bochs VBE: number of the register that DISPI_DATA is.")
    DISPI_DATA = Register(0x32, width=16, doc="Bochs VBE: the register.  It is at port 1CFh, too.")

    def __attrs_post_init__(self) -> None:
        self.dispi = Dispi(self.memory.size)
        # Words are index and data at once; the byte-wise way there would be the same, and slower.
        self._writers[SEQUENCER_PORT, 2] = self._write_sequencer_pair
        self._writers[GRAPHICS_PORT, 2] = self._write_graphics_pair
        self._readers[DISPI_PORTS + 1, 2] = self._read_dispi
        self._writers[DISPI_PORTS + 1, 2] = self._write_dispi
        self.show_window()

    def indexed(self) -> tuple[IndexedRegisters, ...]:
        shared = self.memory.shared
        return (
            IndexedRegisters(SEQUENCER_PORT, shared, SEQUENCER, SEQUENCER_MASKS, self._free_sequencer),
            IndexedRegisters(GRAPHICS_PORT, shared, GRAPHICS, GRAPHICS_MASKS, self._free_graphics),
        )

    # --- register files

    @property
    def sequencer(self) -> memoryview:
        """The sequencer's registers."""
        return memoryview(self.memory.shared)[SEQUENCER : SEQUENCER + 8]

    @property
    def graphics(self) -> memoryview:
        """The graphics controller's registers."""
        return memoryview(self.memory.shared)[GRAPHICS : GRAPHICS + 16]

    @property
    def misc(self) -> int:
        """Miscellaneous output."""
        return self.MISC

    def _is_here(self, color: bool) -> bool:
        """Whether the CRT controller is at the ports of a colour adapter, or of a monochrome one."""
        return bool(self.MISC & MISC_COLOR) == color

    # --- CRT controller

    @CRTC_INDEX.on_read
    def _read_crtc_index(self) -> int:
        return self.CRTC_INDEX if self._is_here(True) else 0xFF

    @CRTC_INDEX_MONO.on_read
    def _read_crtc_index_mono(self) -> int:
        return self.CRTC_INDEX if self._is_here(False) else 0xFF

    @CRTC_INDEX.on_write
    def _write_crtc_index(self, value: int) -> None:
        if self._is_here(True):
            self.CRTC_INDEX = value

    @CRTC_INDEX_MONO.on_write
    def _write_crtc_index_mono(self, value: int) -> None:
        if self._is_here(False):
            self.CRTC_INDEX = value

    @CRTC_DATA.on_read
    def _read_crtc(self) -> int:
        return self.crtc[self.CRTC_INDEX] if self._is_here(True) else 0xFF

    @CRTC_DATA_MONO.on_read
    def _read_crtc_mono(self) -> int:
        return self.crtc[self.CRTC_INDEX] if self._is_here(False) else 0xFF

    @CRTC_DATA.on_write
    def _write_crtc_color(self, value: int) -> None:
        if self._is_here(True):
            self._write_crtc(self.CRTC_INDEX, value)

    @CRTC_DATA_MONO.on_write
    def _write_crtc_mono(self, value: int) -> None:
        if self._is_here(False):
            self._write_crtc(self.CRTC_INDEX, value)

    def _write_crtc(self, index: int, value: int) -> None:
        if index <= 7 and self.crtc[0x11] & CRTC_PROTECTED:
            if index == 7:  # Bit 8 of line compare can always be written.
                self.crtc[7] = self.crtc[7] & ~0x10 | value & 0x10
            return
        self.crtc[index] = value

    # --- status and output

    @STATUS_1.on_read
    def _read_status(self) -> int:
        return self._status() if self._is_here(True) else 0xFF

    @STATUS_1_MONO.on_read
    def _read_status_mono(self) -> int:
        return self._status() if self._is_here(False) else 0xFF

    def _status(self) -> int:
        self._attribute_data = False
        self._retrace ^= RETRACE | NOT_DISPLAYING
        return self._retrace

    @FEATURE.on_write
    def _write_feature(self, value: int) -> None:
        if self._is_here(True):
            self.FEATURE = value & 0x10

    @FEATURE_MONO.on_write
    def _write_feature_mono(self, value: int) -> None:
        if self._is_here(False):
            self.FEATURE = value & 0x10

    @FEATURE_READ.on_read
    def _read_feature(self) -> int:
        return self.FEATURE

    @MISC_READ.on_read
    def _read_misc(self) -> int:
        return self.MISC

    @MISC.on_write
    def _write_misc(self, value: int) -> None:
        self.MISC = value & ~0x10

    # --- sequencer and graphics controller

    @SEQUENCER_DATA.on_read
    def _read_sequencer(self) -> int:
        return self.memory.shared[SEQUENCER + self.SEQUENCER_INDEX]

    @SEQUENCER_DATA.on_write
    def _write_sequencer(self, value: int) -> None:
        index = self.SEQUENCER_INDEX
        self.memory.shared[SEQUENCER + index] = value & SEQUENCER_MASKS[index]
        self.show_window()

    def _write_sequencer_pair(self, value: int) -> None:
        self.SEQUENCER_INDEX = value & 7
        self._write_sequencer(value >> 8)

    @GRAPHICS_DATA.on_read
    def _read_graphics(self) -> int:
        return self.memory.shared[GRAPHICS + self.GRAPHICS_INDEX]

    @GRAPHICS_DATA.on_write
    def _write_graphics(self, value: int) -> None:
        index = self.GRAPHICS_INDEX
        self.memory.shared[GRAPHICS + index] = value & GRAPHICS_MASKS[index]
        if GR_READ_MAP <= index <= GR_MISC:
            self.show_window()

    def _write_graphics_pair(self, value: int) -> None:
        self.GRAPHICS_INDEX = value & 15
        self._write_graphics(value >> 8)

    # --- attribute controller

    @ATTRIBUTE.on_read
    def _read_attribute_index(self) -> int:
        return 0 if self._attribute_data else self.attribute_index

    @ATTRIBUTE.on_write
    def _write_attribute(self, value: int) -> None:
        if self._attribute_data:
            index = self.attribute_index & 0x1F
            self.attributes[index] = value & ATTRIBUTE_MASKS[index]
        else:
            self.attribute_index = value & 0x3F
        self._attribute_data = not self._attribute_data

    @ATTRIBUTE_DATA.on_read
    def _read_attribute(self) -> int:
        return self.attributes[self.attribute_index & 0x1F]

    # --- palette

    @DAC_STATE.on_read
    def _read_dac_state(self) -> int:
        return self._dac_state

    @DAC_READ.on_write
    def _write_dac_read(self, value: int) -> None:
        self._dac_read, self._dac_part, self._dac_state = value, 0, 3

    @DAC_WRITE.on_read
    def _read_dac_write(self) -> int:
        return self._dac_write

    @DAC_WRITE.on_write
    def _write_dac_write(self, value: int) -> None:
        self._dac_write, self._dac_part, self._dac_state = value, 0, 0

    @DAC_DATA.on_read
    def _read_dac(self) -> int:
        value = self.palette[self._dac_read * 3 + self._dac_part]
        self._dac_part += 1
        if self._dac_part == 3:
            self._dac_part, self._dac_read = 0, self._dac_read + 1 & 0xFF
        return value

    @DAC_DATA.on_write
    def _write_dac(self, value: int) -> None:
        self._dac_latch[self._dac_part] = value
        self._dac_part += 1
        if self._dac_part == 3:
            self.palette[self._dac_write * 3 : self._dac_write * 3 + 3] = self._dac_latch
            self._dac_part, self._dac_write = 0, self._dac_write + 1 & 0xFF

    # --- Bochs VBE

    @DISPI_INDEX.on_read
    def _read_dispi_index(self) -> int:
        return self.dispi.index

    @DISPI_INDEX.on_write
    def _write_dispi_index(self, value: int) -> None:
        self.dispi.index = value

    @DISPI_DATA.on_read
    def _read_dispi(self) -> int:
        return self.dispi.read(self.dispi.index)

    @DISPI_DATA.on_write
    def _write_dispi(self, value: int) -> None:
        self.write_dispi(self.dispi.index, value)

    def write_dispi(self, index: int, value: int) -> None:
        """The guest writes a Bochs VBE register, by its number."""
        dispi = self.dispi
        was = dispi.enabled
        if not dispi.write(index, value):
            return
        if dispi.enabled:
            self._follow_dispi()
        self.show_window()
        if dispi.enabled and not was and dispi.clears:
            self.memory.clear(dispi.height * dispi.line)

    def _follow_dispi(self) -> None:
        """Set the VGA's registers as a mode of the extensions needs them; that also lets programs see what is on."""
        dispi, crtc, shared = self.dispi, self.crtc, self.memory.shared
        height = dispi.height - 1
        shared[GRAPHICS + GR_MISC] = shared[GRAPHICS + GR_MISC] & ~0x0C | 0x04 | GRAPHICS_MODE
        crtc[0x17] |= 3
        crtc[0x13] = dispi.line >> 3 & 0xFF
        crtc[0x01] = (dispi.width >> 3) - 1 & 0xFF
        crtc[0x12] = height & 0xFF
        crtc[0x07] = crtc[0x07] & ~0x42 | height >> 7 & 0x02 | height >> 3 & 0x40 | 0x10
        crtc[0x18] = 0xFF
        crtc[0x09] = crtc[0x09] & ~0x9F | 0x40
        mode = shared[GRAPHICS + GR_MODE] & ~0x60
        if dispi.depth == 4:
            shared[SEQUENCER + SR_CLOCKING] &= ~0x08
            shared[SEQUENCER + SR_MEMORY_MODE] &= ~CHAIN_4
        else:
            mode |= 0x40
            shared[SEQUENCER + SR_MEMORY_MODE] |= CHAIN_4
            shared[SEQUENCER + SR_MAP_MASK] |= 0x0F
        shared[GRAPHICS + GR_MODE] = mode

    # --- the window

    def show_window(self) -> None:
        """Make the window into the video memory what the registers say."""
        shared, memory = self.memory.shared, self.memory
        where = shared[GRAPHICS + GR_MISC] >> 2 & 3
        base, size = WINDOWS[where]
        bank = self.dispi.bank if where == 1 else 0
        if bank != memory.bank:
            memory.bank = bank
        map_mask = shared[SEQUENCER + SR_MAP_MASK]
        kind = Kind.PLANES
        if shared[SEQUENCER + SR_MEMORY_MODE] & CHAIN_4:
            # A bank may change with every row: that must not cost a change of the memory map.
            if map_mask == 0x0F and not self.dispi.enabled and not bank:
                kind = Kind.LINEAR
        elif shared[GRAPHICS + GR_MODE] & ODD_EVEN and map_mask & 3 == 3 and size == TEXT_SIZE:
            # Reads come from the planes of characters and attributes, and not from the other two.
            kind = Kind.PLANES if shared[GRAPHICS + GR_READ_MAP] & 2 else Kind.TEXT
        self._free_drawing()
        memory.show(Window(kind, base, size))

    def _free_drawing(self) -> None:
        """Tell the engine what it may change unasked."""
        shared = self.memory.shared
        # The map mask and the map to read decide about the window only where it might be plain bytes.
        chained = shared[SEQUENCER + SR_MEMORY_MODE] & CHAIN_4 or shared[GRAPHICS + GR_MODE] & ODD_EVEN
        self._free_sequencer[SR_MAP_MASK] = 0 if chained else 0x0F
        self._free_graphics[GR_READ_MAP] = 0 if chained else 0x03

    # --- state

    def reset(self) -> None:
        """Power-on; what is in the video memory stays."""
        super().reset()
        self.dispi.reset()
        self._clear_registers()
        self.show_window()

    def _clear_registers(self) -> None:
        self.crtc[:] = bytes(256)
        self.attributes[:] = bytes(32)
        self.palette[:] = bytes(768)
        self.attribute_index = self._dac_state = self._dac_read = self._dac_write = self._dac_part = self._retrace = 0
        self._dac_latch[:] = bytes(3)
        self._attribute_data = False
        self.memory.shared[:] = bytes(len(self.memory.shared))

    def save(self) -> StdVgaState:
        window = self.memory.window
        return StdVgaState(
            misc=self.MISC,
            feature=self.FEATURE,
            retrace=self._retrace,
            sequencer_index=self.SEQUENCER_INDEX,
            graphics_index=self.GRAPHICS_INDEX,
            crtc_index=self.CRTC_INDEX,
            crtc=bytes(self.crtc),
            attribute_index=self.attribute_index,
            attribute_data=self._attribute_data,
            attributes=bytes(self.attributes),
            pel_mask=self.PEL_MASK,
            dac_state=self._dac_state,
            dac_read=self._dac_read,
            dac_write=self._dac_write,
            dac_part=self._dac_part,
            dac_latch=bytes(self._dac_latch),
            palette=bytes(self.palette),
            shared=bytes(self.memory.shared),
            window=(window.kind.value, window.base, window.size),
            dispi=self.dispi.save(),
        )

    def restore(self, state: StdVgaState) -> None:
        self.MISC, self.FEATURE, self._retrace = state.misc, state.feature, state.retrace
        self.SEQUENCER_INDEX, self.GRAPHICS_INDEX = state.sequencer_index, state.graphics_index
        self.CRTC_INDEX = state.crtc_index
        self.crtc[:], self.attributes[:], self.palette[:] = state.crtc, state.attributes, state.palette
        self.attribute_index, self._attribute_data = state.attribute_index, state.attribute_data
        self.PEL_MASK = state.pel_mask
        self._dac_state, self._dac_read = state.dac_state, state.dac_read
        self._dac_write, self._dac_part = state.dac_write, state.dac_part
        self._dac_latch[:] = state.dac_latch
        self.memory.shared[:] = state.shared
        self.dispi.restore(state.dispi)
        kind, base, size = state.window
        self.memory.place(Window(Kind(kind), base, size))
        self._free_drawing()
