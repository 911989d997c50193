"""PS/2 keyboard with 101/102 keys.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-Key)".

Keys do not repeat by themselves: in guest time, which leaps over idle seconds, a key that is held would repeat for
ever.  Pressing a key that is down already sends its code again, as a repeat does.
"""

from __future__ import annotations

from difflib import get_close_matches

from attrs import define, field, frozen

from vmcore.devices.ps2 import ACKNOWLEDGE, PASSED, RESEND, Ps2Device, Ps2State
from vmcore.devices.scancodes import KEYS, sequence
from vmcore.model.errors import UsageError

SET_LEDS, ECHO, CODE_SET, IDENTIFY, TYPEMATIC = 0xED, 0xEE, 0xF0, 0xF2, 0xF3
ENABLE, DISABLE, DEFAULTS, RESET = 0xF4, 0xF5, 0xF6, 0xFF
ALL_KEYS, KEY_TYPES = range(0xF7, 0xFB), range(0xFB, 0xFE)

IDENTITY = 0xAB, 0x83
SLOWEST = 0x2B
"""Typematic default: 10.9 characters a second after half a second."""


@frozen
class Ps2KeyboardState:
    """State of a keyboard.  down: the modifier keys that are held."""

    port: Ps2State
    scanning: bool
    code_set: int
    leds: int
    typematic: int
    down: tuple[str, ...]


@define(eq=False)
class Ps2Keyboard(Ps2Device):
    """Keys go in by name (`press`, `release`), scan codes come out."""

    leds: int = field(init=False, default=0)
    """Scroll Lock, Num Lock, Caps Lock in bits 0 to 2."""
    typematic: int = field(init=False, default=SLOWEST)
    """Rate and delay that the guest asked for; kept, not used."""
    code_set: int = field(init=False, default=2)
    scanning: bool = field(init=False, default=True)
    """Whether keys are reported."""
    _down: set[str] = field(init=False, factory=set)

    def press(self, key: str) -> bool:
        """Push a key down.  False when the guest has not taken earlier keys and there is no room: try again later."""
        return self._key(key, True)

    def release(self, key: str) -> bool:
        """Let a key go.  False when there is no room, as for `press`."""
        return self._key(key, False)

    def _key(self, key: str, down: bool) -> bool:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 3)
            raise UsageError(f"there is no key {key!r}" + (f"; did you mean {' or '.join(near)}?" if near else ""))
        ctrl, alt = not self._down.isdisjoint(("ctrl", "ctrl_r")), not self._down.isdisjoint(("alt", "alt_r"))
        if self.scanning and not self.report(sequence(key, down, self.code_set, ctrl, alt)):
            return False
        if key in ("ctrl", "ctrl_r", "alt", "alt_r"):
            (self._down.add if down else self._down.discard)(key)
        self.on_data()
        return True

    def command(self, byte: int) -> None:
        if byte == ECHO:
            self.reply(ECHO)
        elif byte == IDENTIFY:
            self.reply(ACKNOWLEDGE, *IDENTITY)
        elif byte in (SET_LEDS, CODE_SET, TYPEMATIC) or byte in KEY_TYPES:
            self._command = byte
            self.reply(ACKNOWLEDGE)
        elif byte == ENABLE:
            self._reports.clear()
            self.scanning = True
            self.reply(ACKNOWLEDGE)
        elif byte in (DISABLE, DEFAULTS):
            self._defaults()
            self.scanning = byte == DEFAULTS
            self.reply(ACKNOWLEDGE)
        elif byte in ALL_KEYS:
            # Set 3 can give each key its own repeat and release; every key reports its release here, and none repeats.
            self.reply(ACKNOWLEDGE)
        elif byte == RESET:
            self.reset()
            self.reply(ACKNOWLEDGE, PASSED)
        else:
            self.reply(RESEND)

    def parameter(self, command: int, byte: int) -> bool:
        if command in KEY_TYPES:
            if byte >= 0x80 and byte not in (0x84, 0x8B, 0x8C, 0x8D):
                return False
            self._command = command  # Any number of keys may follow.
            self.reply(ACKNOWLEDGE)
            return True
        if byte >= 0x80:
            return False
        if command == SET_LEDS:
            self.leds = byte & 7
        elif command == TYPEMATIC:
            self.typematic = byte
        elif byte == 0:
            self.reply(ACKNOWLEDGE, self.code_set)
            return True
        elif byte <= 3:
            self.code_set = byte
            self._reports.clear()
        else:
            self.reply(RESEND)
            return True
        self.reply(ACKNOWLEDGE)
        return True

    def drained(self) -> None:
        pass

    def reset(self) -> None:
        super().reset()
        self._defaults()
        self.leds = 0
        self.scanning = True

    def _defaults(self) -> None:
        self._reports.clear()
        self.typematic = SLOWEST
        self.code_set = 2

    def save(self) -> Ps2KeyboardState:
        """The whole state as an immutable value."""
        return Ps2KeyboardState(
            self.save_port(), self.scanning, self.code_set, self.leds, self.typematic, tuple(sorted(self._down))
        )

    def restore(self, state: Ps2KeyboardState) -> None:
        """Take a saved state; tells nobody."""
        self.restore_port(state.port)
        self.scanning, self.code_set = state.scanning, state.code_set
        self.leds, self.typematic = state.leds, state.typematic
        self._down = set(state.down)
