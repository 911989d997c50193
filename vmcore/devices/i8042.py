"""8042 keyboard controller of the PC/AT and PS/2, with its two PS/2 ports, the A20 gate and the reset line.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller"; IBM PC
AT Technical Reference, "Keyboard Controller" (commands, input and output port).

The controller answers at once, and its input buffer is always empty.  A byte from a PS/2 device follows the one before
it after a gap, so that a guest which reads the data port twice in a row sees the same byte twice, as on hardware.

After reset the controller is set up as a PC's firmware leaves it (translation and keyboard interrupt on, auxiliary port
off), since guests are often loaded without one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from attrs import define, field, frozen

from vmcore.devices.ps2 import Ps2Device
from vmcore.devices.ps2_keyboard import Ps2Keyboard, Ps2KeyboardState
from vmcore.devices.ps2_mouse import Ps2Mouse, Ps2MouseState
from vmcore.devices.scancodes import RELEASED, translate
from vmcore.hardware import RO, WO, Clock, Device, IrqLine, Register, Timer

GAP = 20_000
"""Guest nanoseconds between two bytes of a PS/2 device.  The wire takes a millisecond; guests only need to notice."""

# Status
OUTPUT_FULL, INPUT_FULL, SYSTEM, WAS_COMMAND, UNLOCKED, AUX_DATA = (1 << bit for bit in range(6))
# Command byte: what the controller does
KEYBOARD_INTERRUPT, AUX_INTERRUPT, SYSTEM_FLAG = 0x01, 0x02, 0x04
KEYBOARD_OFF, AUX_OFF, TRANSLATE = 0x10, 0x20, 0x40
FIRMWARE_SETUP = KEYBOARD_INTERRUPT | SYSTEM_FLAG | AUX_OFF | TRANSLATE
# Output port
NO_RESET, A20, KEYBOARD_FULL, AUX_FULL, ALWAYS = 0x01, 0x02, 0x10, 0x20, 0xCC

KEYBOARD, AUX, CONTROLLER = 0, 1, 2
"""Where the byte in the output buffer comes from.  A controller's answer looks like one of the keyboard."""


@frozen
class I8042State:
    """State of the controller and of what is plugged into it.

    memory: the controller's RAM, whose first byte is the command byte; pending: the command whose parameter comes next;
    answers: bytes with their source that wait for the output buffer; resume: guest ns at which the gap ends.
    """

    memory: bytes
    status: int
    data: int
    source: int
    pending: int
    release_prefix: bool
    answers: tuple[tuple[int, int], ...]
    resume: int | None
    a20: bool
    keyboard: Ps2KeyboardState
    mouse: Ps2MouseState | None


@define(eq=False)
class I8042(Device[I8042State]):
    """Ports 0x60 (offset 0) and 0x64 (offset 4)."""

    keyboard_irq: IrqLine
    aux_irq: IrqLine
    a20: IrqLine
    """The A20 gate: asserted, address bit 20 works.  Port 0x92 drives the same line, and the last of them wins."""
    system_reset: Callable[[], None]
    """Asks for a reset of the machine.  Must return; the reset itself happens later."""
    clock: Clock
    keyboard: Ps2Keyboard = field(factory=Ps2Keyboard)
    mouse: Ps2Mouse | None = field(factory=Ps2Mouse)

    _memory: bytearray = field(init=False, factory=lambda: bytearray(32))
    _status: int = field(init=False, default=UNLOCKED)
    _data: int = field(init=False, default=0)
    _source: int = field(init=False, default=CONTROLLER)
    _pending: int = field(init=False, default=0)
    _release_prefix: bool = field(init=False, default=False)
    _answers: deque[tuple[int, int]] = field(init=False, factory=lambda: deque(maxlen=16))
    _gap: Timer = field(init=False)

    READ_DATA = Register(0, access=RO, doc="The output buffer: a byte from a PS/2 device or from the controller.")
    WRITE_DATA = Register(0, access=WO, doc="A parameter of the last command, or a byte for the keyboard.")
    STATUS = Register(
        4,
        access=RO,
        reset=UNLOCKED | SYSTEM,
        bits={"OBF": 0, "IBF": 1, "SYS": 2, "A2": 3, "INH": 4, "AUX_OBF": 5, "TIMEOUT": 6, "PARITY": 7},
        doc="State of the buffers.",
    )
    COMMAND = Register(4, access=WO, doc="A command to the controller.")

    def __attrs_post_init__(self) -> None:
        self._gap = self.clock.timer(self._fill, "i8042 gap")
        self.keyboard.on_data = self._fill
        if self.mouse is not None:
            self.mouse.on_data = self._fill
        self._memory[0] = FIRMWARE_SETUP
        self.a20.raise_()

    # Registers

    @READ_DATA.on_read
    def _read_data(self) -> int:
        if self._status & OUTPUT_FULL:
            self._status &= ~(OUTPUT_FULL | AUX_DATA)
            if self._source != CONTROLLER:
                self._gap.arm(self.clock.now + GAP)
            self._update()
            self._fill()
        return self._data

    @WRITE_DATA.on_write
    def _write_data(self, value: int) -> None:
        self._status &= ~WAS_COMMAND
        pending, self._pending = self._pending, 0
        if not pending:
            # A byte for the keyboard switches its port on.
            self._memory[0] &= ~KEYBOARD_OFF
            self.keyboard.receive(value)
        elif pending == 0xD1:
            self._write_output_port(value)
        elif pending == 0xD2:
            self._answer(value, KEYBOARD)
        elif pending == 0xD3:
            self._answer(value, AUX)
        elif pending == 0xD4:
            self._memory[0] &= ~AUX_OFF
            if self.mouse is not None:
                self.mouse.receive(value)
        else:
            self._memory[pending & 0x1F] = value
            self._update()
        self._fill()
        self._show_status()

    @COMMAND.on_write
    def _write_command(self, value: int) -> None:
        self._status |= WAS_COMMAND
        self._pending = 0
        if 0x20 <= value <= 0x3F:
            self._answer(self._memory[value & 0x1F])
        elif 0x60 <= value <= 0x7F or value in (0xD1, 0xD2, 0xD3, 0xD4):
            self._pending = value
        elif value in (0xA7, 0xA8):
            self._switch(AUX_OFF, off=value == 0xA7)
        elif value in (0xAD, 0xAE):
            self._switch(KEYBOARD_OFF, off=value == 0xAD)
        elif value == 0xAA:
            self._memory[0] |= SYSTEM_FLAG
            self._answer(0x55)
        elif value in (0xA9, 0xAB):  # Tests of the ports' lines: no fault.
            self._answer(0x00)
        elif value == 0xC0:
            self._answer(0x80)  # Input port: the keyboard is not locked.
        elif value == 0xD0:
            self._answer(self._output_port())
        elif value in (0xDD, 0xDF):  # Common extension: the A20 gate without a parameter.
            self.a20.set(value == 0xDF)
        elif value == 0xE0:
            self._answer(0x00)  # Test inputs: clock lines are idle.
        elif value >= 0xF0 and not value & NO_RESET:  # Pulse those of the lowest four lines whose bit is zero.
            self.system_reset()
        self._show_status()

    # Output buffer

    def _answer(self, value: int, source: int = CONTROLLER) -> None:
        self._answers.append((value, source))
        self._fill()

    def _fill(self) -> None:
        """Put the next byte into the output buffer, if that is empty and there is one."""
        if self._status & OUTPUT_FULL:
            return
        if self._answers:
            self._show(*self._answers.popleft())
        elif self._gap.deadline is None and not self._show_from(self.keyboard, KEYBOARD_OFF, KEYBOARD):
            self._show_from(self.mouse, AUX_OFF, AUX)

    def _show_from(self, device: Ps2Device | None, off: int, source: int) -> bool:
        if device is None or self._memory[0] & off:
            return False
        while (byte := device.take()) is not None:
            if source == KEYBOARD and self._memory[0] & TRANSLATE:
                if byte == RELEASED:
                    self._release_prefix = True
                    continue
                byte = translate(byte) | (0x80 if self._release_prefix else 0)
                self._release_prefix = False
            self._show(byte, source)
            return True
        return False

    def _show(self, value: int, source: int) -> None:
        self._data, self._source = value, source
        self._status |= OUTPUT_FULL | AUX_DATA if source == AUX else OUTPUT_FULL
        self._update()

    def _switch(self, port: int, off: bool) -> None:
        self._memory[0] = self._memory[0] & ~port | (port if off else 0)
        self._fill()

    def _update(self) -> None:
        keyboard, aux = self._levels()
        self.keyboard_irq.set(keyboard)
        self.aux_irq.set(aux)
        self._show_status()

    def _show_status(self) -> None:
        """Drivers poll it: let the engine read it by itself."""
        self.STATUS = self._status | (SYSTEM if self._memory[0] & SYSTEM_FLAG else 0)

    def _levels(self) -> tuple[bool, bool]:
        full, setup = self._status & OUTPUT_FULL, self._memory[0]
        aux = self._status & AUX_DATA
        return bool(full and not aux and setup & KEYBOARD_INTERRUPT), bool(full and aux and setup & AUX_INTERRUPT)

    # Output port

    def _output_port(self) -> int:
        keyboard, aux = self._levels()
        lines = (KEYBOARD_FULL if keyboard else 0) | (AUX_FULL if aux else 0)
        return ALWAYS | NO_RESET | lines | (A20 if self.a20.level else 0)

    def _write_output_port(self, value: int) -> None:
        self.a20.set(bool(value & A20))
        if not value & NO_RESET:
            self.system_reset()

    # State

    def reset(self) -> None:
        """Power-on, with the keyboard and mouse, and the set-up that firmware does."""
        super().reset()
        self.keyboard.reset()
        if self.mouse is not None:
            self.mouse.reset()
        self._memory[:] = bytes([FIRMWARE_SETUP]) + bytes(31)
        self._status, self._data, self._source, self._pending = UNLOCKED, 0, CONTROLLER, 0
        self._release_prefix = False
        self._answers.clear()
        self._gap.cancel()
        self.a20.raise_()
        self._update()

    def save(self) -> I8042State:
        return I8042State(
            memory=bytes(self._memory),
            status=self._status,
            data=self._data,
            source=self._source,
            pending=self._pending,
            release_prefix=self._release_prefix,
            answers=tuple(self._answers),
            resume=self._gap.deadline,
            a20=self.a20.level,
            keyboard=self.keyboard.save(),
            mouse=None if self.mouse is None else self.mouse.save(),
        )

    def restore(self, state: I8042State) -> None:
        self._memory[:] = state.memory
        self._status, self._data, self._source = state.status, state.data, state.source
        self._pending, self._release_prefix = state.pending, state.release_prefix
        self._answers.clear()
        self._answers.extend(state.answers)
        self._gap.restore(state.resume)
        self.a20.assume(state.a20)
        self.keyboard.restore(state.keyboard)
        if self.mouse is not None and state.mouse is not None:
            self.mouse.restore(state.mouse)
        keyboard, aux = self._levels()
        self.keyboard_irq.assume(keyboard)
        self.aux_irq.assume(aux)
        self._show_status()
