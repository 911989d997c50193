"""Keys and what a PS/2 keyboard sends for them.

Source: IBM Personal System/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller" and
"Keyboards (101- and 102-Key)", scan code sets 1 to 3 and the controller's translation of set 2 to set 1; Microsoft
Keyboard Scan Code Specification 1.3a for the Windows and multimedia keys.  Keys have the names of QEMU's QKeyCode.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

EXTENDED = 0xE0
RELEASED = 0xF0
"""Precedes the code of a key that goes up, in sets 2 and 3.  In set 1 bit 7 of the code says so."""


@frozen
class Key:
    """set2: code in set 2, with 0xE000 for the keys that have the prefix E0; set3: code in set 3, 0 if it has none."""

    set2: int
    set3: int = 0


# fmt: off
KEYS: Final[dict[str, Key]] = {
    "esc": Key(0x76, 0x08),
    "f1": Key(0x05, 0x07), "f2": Key(0x06, 0x0F), "f3": Key(0x04, 0x17), "f4": Key(0x0C, 0x1F),
    "f5": Key(0x03, 0x27), "f6": Key(0x0B, 0x2F), "f7": Key(0x83, 0x37), "f8": Key(0x0A, 0x3F),
    "f9": Key(0x01, 0x47), "f10": Key(0x09, 0x4F), "f11": Key(0x78, 0x56), "f12": Key(0x07, 0x5E),
    "grave_accent": Key(0x0E, 0x0E),
    "1": Key(0x16, 0x16), "2": Key(0x1E, 0x1E), "3": Key(0x26, 0x26), "4": Key(0x25, 0x25), "5": Key(0x2E, 0x2E),
    "6": Key(0x36, 0x36), "7": Key(0x3D, 0x3D), "8": Key(0x3E, 0x3E), "9": Key(0x46, 0x46), "0": Key(0x45, 0x45),
    "minus": Key(0x4E, 0x4E), "equal": Key(0x55, 0x55), "backspace": Key(0x66, 0x66), "tab": Key(0x0D, 0x0D),
    "q": Key(0x15, 0x15), "w": Key(0x1D, 0x1D), "e": Key(0x24, 0x24), "r": Key(0x2D, 0x2D), "t": Key(0x2C, 0x2C),
    "y": Key(0x35, 0x35), "u": Key(0x3C, 0x3C), "i": Key(0x43, 0x43), "o": Key(0x44, 0x44), "p": Key(0x4D, 0x4D),
    "bracket_left": Key(0x54, 0x54), "bracket_right": Key(0x5B, 0x5B), "backslash": Key(0x5D, 0x5C),
    "caps_lock": Key(0x58, 0x14),
    "a": Key(0x1C, 0x1C), "s": Key(0x1B, 0x1B), "d": Key(0x23, 0x23), "f": Key(0x2B, 0x2B), "g": Key(0x34, 0x34),
    "h": Key(0x33, 0x33), "j": Key(0x3B, 0x3B), "k": Key(0x42, 0x42), "l": Key(0x4B, 0x4B),
    "semicolon": Key(0x4C, 0x4C), "apostrophe": Key(0x52, 0x52), "ret": Key(0x5A, 0x5A),
    "shift": Key(0x12, 0x12), "less": Key(0x61, 0x13),
    "z": Key(0x1A, 0x1A), "x": Key(0x22, 0x22), "c": Key(0x21, 0x21), "v": Key(0x2A, 0x2A), "b": Key(0x32, 0x32),
    "n": Key(0x31, 0x31), "m": Key(0x3A, 0x3A), "comma": Key(0x41, 0x41), "dot": Key(0x49, 0x49),
    "slash": Key(0x4A, 0x4A), "shift_r": Key(0x59, 0x59),
    "ctrl": Key(0x14, 0x11), "alt": Key(0x11, 0x19), "spc": Key(0x29, 0x29),
    "alt_r": Key(0xE011, 0x39), "ctrl_r": Key(0xE014, 0x58),
    "meta_l": Key(0xE01F, 0x8B), "meta_r": Key(0xE027, 0x8C), "compose": Key(0xE02F, 0x8D),
    "insert": Key(0xE070, 0x67), "delete": Key(0xE071, 0x64), "home": Key(0xE06C, 0x6E), "end": Key(0xE069, 0x65),
    "pgup": Key(0xE07D, 0x6F), "pgdn": Key(0xE07A, 0x6D),
    "left": Key(0xE06B, 0x61), "up": Key(0xE075, 0x63), "down": Key(0xE072, 0x60), "right": Key(0xE074, 0x6A),
    "num_lock": Key(0x77, 0x76), "scroll_lock": Key(0x7E, 0x5F),
    "kp_divide": Key(0xE04A, 0x77), "kp_multiply": Key(0x7C, 0x7E), "asterisk": Key(0x7C, 0x7E),
    "kp_subtract": Key(0x7B, 0x84), "kp_add": Key(0x79, 0x7C), "kp_enter": Key(0xE05A, 0x79),
    "kp_decimal": Key(0x71, 0x71), "kp_equals": Key(0x0F), "kp_comma": Key(0x6D),
    "kp_0": Key(0x70, 0x70), "kp_1": Key(0x69, 0x69), "kp_2": Key(0x72, 0x72), "kp_3": Key(0x7A, 0x7A),
    "kp_4": Key(0x6B, 0x6B), "kp_5": Key(0x73, 0x73), "kp_6": Key(0x74, 0x74), "kp_7": Key(0x6C, 0x6C),
    "kp_8": Key(0x75, 0x75), "kp_9": Key(0x7D, 0x7D),
    "print": Key(0xE07C, 0x57), "sysrq": Key(0x84, 0x57), "pause": Key(0xE077, 0x62),
    "ro": Key(0x51), "yen": Key(0x6A), "henkan": Key(0x64), "muhenkan": Key(0x67), "katakanahiragana": Key(0x13),
    "power": Key(0xE037), "sleep": Key(0xE03F), "wake": Key(0xE05E),
    "audionext": Key(0xE04D), "audioprev": Key(0xE015), "audiostop": Key(0xE03B), "audioplay": Key(0xE034),
    "audiomute": Key(0xE023), "volumeup": Key(0xE032), "volumedown": Key(0xE021), "mediaselect": Key(0xE050),
    "mail": Key(0xE048), "calculator": Key(0xE02B), "computer": Key(0xE040),
    "ac_search": Key(0xE010), "ac_home": Key(0xE03A), "ac_back": Key(0xE038), "ac_forward": Key(0xE030),
    "ac_refresh": Key(0xE020), "ac_bookmarks": Key(0xE018),
}

_TRANSLATION = bytes.fromhex(
    "ff 43 41 3f 3d 3b 3c 58 64 44 42 40 3e 0f 29 59"
    "65 38 2a 70 1d 10 02 5a 66 71 2c 1f 1e 11 03 5b"
    "67 2e 2d 20 12 05 04 5c 68 39 2f 21 14 13 06 5d"
    "69 31 30 23 22 15 07 5e 6a 72 32 24 16 08 09 5f"
    "6b 33 25 17 18 0b 0a 60 6c 34 35 26 27 19 0c 61"
    "6d 73 28 74 1a 0d 62 6e 3a 36 1c 1b 75 2b 63 76"
    "55 56 77 78 79 7a 0e 7b 7c 4f 7d 4b 47 7e 7f 6f"
    "52 53 50 4c 4d 48 01 45 57 4e 51 4a 37 49 46 54"
)
# fmt: on


def translate(code: int) -> int:
    """A byte of set 2 as the controller shows it in set 1.  What is no key code (replies, prefixes) stays itself."""
    if code < 0x80:
        return _TRANSLATION[code]
    return {0x83: 0x41, 0x84: 0x54}.get(code, code)


def sequence(name: str, down: bool, code_set: int, ctrl: bool = False, alt: bool = False) -> bytes:
    """What a keyboard sends in a scan code set when a key of KEYS goes down or up while Ctrl or Alt are held."""
    key = KEYS[name]
    if code_set == 3:
        return _prefixed(key.set3, down) if key.set3 else b""
    if name == "print":
        # Print Screen is Shift with an extended key; with Alt it is the key SysRq of older keyboards.
        codes = _prefixed(0x84, down) if alt else _both(0xE012, 0xE07C, down)
    elif name == "pause":
        # Pause tells of its release along with its press; with Ctrl it is Break.
        if not down:
            codes = b""
        elif ctrl:
            codes = _prefixed(0xE07E, True) + _prefixed(0xE07E, False)
        else:
            codes = bytes.fromhex("e1 14 77 e1 f0 14 f0 77")
    else:
        codes = _prefixed(key.set2, down)
    return codes if code_set == 2 else to_set1(codes)


def to_set1(codes: bytes) -> bytes:
    """A sequence of set 2 in set 1."""
    result = bytearray()
    released = 0
    for code in codes:
        if code == RELEASED:
            released = 0x80
        else:
            result.append(translate(code) | released)
            released = 0
    return bytes(result)


def _prefixed(code: int, down: bool) -> bytes:
    prefix = bytes([EXTENDED]) if code >> 8 else b""
    return prefix + (b"" if down else bytes([RELEASED])) + bytes([code & 0xFF])


def _both(first: int, second: int, down: bool) -> bytes:
    if down:
        return _prefixed(first, True) + _prefixed(second, True)
    return _prefixed(second, False) + _prefixed(first, False)
