"""Keyboard layouts: which keys make a character.

A layout says what is printed on the keys, row by row, as plain, shifted and AltGr characters; a blank is a key without
one.  Sources: the layouts of these countries' PC keyboards (DIN 2137-1 T1, BS 4822, NF Z71-300 and their use), which
operating systems call us, gb, de and fr.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from attrs import frozen

from vmcore.model.errors import UsageError

__all__ = ["LAYOUTS", "Layout", "Stroke", "strokes"]

_DIGITS: Final = ("grave_accent", *"1234567890", "minus", "equal")
_UPPER: Final = (*"qwertyuiop", "bracket_left", "bracket_right", "backslash")
_HOME: Final = (*"asdfghjkl", "semicolon", "apostrophe")
_LOWER: Final = ("less", *"zxcvbnm", "comma", "dot", "slash")
ROWS: Final = (_DIGITS, _UPPER, _HOME, _LOWER)
"""Keys by row, the 102nd before Z and the one of the backslash behind the upper row."""

_MARKS: Final = {0x300: "`", 0x301: "´", 0x302: "^", 0x303: "~", 0x308: "¨"}
"""Accents that are typed before their letter, by the combining character."""


@frozen
class Stroke:
    """Keys that are down together: modifiers, then the key."""

    keys: tuple[str, ...]


@frozen
class Layout:
    """plain, shifted, third: characters of the keys of ROWS; dead: accents that wait for the next key."""

    name: str
    plain: tuple[str, str, str, str]
    shifted: tuple[str, str, str, str]
    third: tuple[str, str, str, str] = ("", "", "", "")
    dead: frozenset[tuple[str, str]] = frozenset()
    """(modifier, character), modifier being "", "shift" or "alt_r"."""


LAYOUTS: Final[Mapping[str, Layout]] = {
    layout.name: layout
    for layout in (
        Layout(
            "us",
            ("`1234567890-=", "qwertyuiop[]\\", "asdfghjkl;'", " zxcvbnm,./"),
            ("~!@#$%^&*()_+", "QWERTYUIOP{}|", 'ASDFGHJKL:"', " ZXCVBNM<>?"),
        ),
        Layout(
            "gb",
            ("`1234567890-=", "qwertyuiop[]#", "asdfghjkl;'", "\\zxcvbnm,./"),
            ('¬!"£$%^&*()_+', "QWERTYUIOP{}~", "ASDFGHJKL:@", "|ZXCVBNM<>?"),
            ("¦   €", "  é   úíó", "á", ""),
        ),
        Layout(
            "de",
            ("^1234567890ß´", "qwertzuiopü+#", "asdfghjklöä", "<yxcvbnm,.-"),
            ('°!"§$%&/()=?`', "QWERTZUIOPÜ*'", "ASDFGHJKLÖÄ", ">YXCVBNM;:_"),
            ("  ²³   {[]}\\", "@ €        ~", "", "|      µ"),
            frozenset({("", "^"), ("", "´"), ("shift", "`")}),
        ),
        Layout(
            "fr",
            ("²&é\"'(-è_çà)=", "azertyuiop^$*", "qsdfghjklmù", "<wxcvbn,;:!"),
            (" 1234567890°+", "AZERTYUIOP¨£µ", "QSDFGHJKLM%", ">WXCVBN?./§"),
            ("  ~#{[|`\\^@]}", "  €        ¤", "", ""),
            frozenset({("", "^"), ("shift", "¨"), ("alt_r", "~"), ("alt_r", "`")}),
        ),
    )
}
"""Layouts by name."""

_FIXED: Final = {" ": "spc", "\n": "ret", "\r": "ret", "\t": "tab", "\b": "backspace", "\x1b": "esc", "\x7f": "delete"}


@cache
def _single(name: str) -> tuple[dict[str, Stroke], dict[str, Stroke]]:
    """Characters that one stroke makes, and accents that one begins."""
    layout = LAYOUTS[name]
    made = {character: Stroke((key,)) for character, key in _FIXED.items()}
    begun: dict[str, Stroke] = {}
    # What needs the fewest modifiers comes first and stays.
    for modifier, level in (("", layout.plain), ("shift", layout.shifted), ("alt_r", layout.third)):
        for keys, characters in zip(ROWS, level, strict=True):
            for key, character in zip(keys, characters, strict=False):
                if character == " ":
                    continue
                stroke = Stroke((modifier, key) if modifier else (key,))
                (begun if (modifier, character) in layout.dead else made).setdefault(character, stroke)
    return made, begun


def _character(character: str, name: str) -> tuple[Stroke, ...]:
    made, begun = _single(name)
    if character in made:
        return (made[character],)
    if character in begun:  # An accent by itself: accent, space.
        return begun[character], made[" "]
    decomposed = unicodedata.normalize("NFD", character)
    if len(decomposed) == 2 and decomposed[0] in made:
        accent = _MARKS.get(ord(decomposed[1]))
        if accent in begun:
            return begun[accent], made[decomposed[0]]
    control = ord(character)
    if 1 <= control <= 26:
        letter = made[chr(control + 0x60)]
        return (Stroke(("ctrl", *letter.keys)),)
    raise UsageError(f"{character!r} cannot be typed with keyboard layout {name!r}")


def strokes(text: str, layout: str = "us") -> Iterator[Stroke]:
    """What to press for a text, one stroke after the other.

    Line feeds are Enter, control characters letters with Ctrl.  UsageError for a layout or a character that there is
    not, before the first stroke.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout: {layout!r}: expected one of {', '.join(LAYOUTS)}")
    found = [_character(character, layout) for character in text]
    return (stroke for one in found for stroke in one)
