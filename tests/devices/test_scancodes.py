from __future__ import annotations

import pytest

from vmcore.devices.scancodes import KEYS, sequence, translate

SET1 = {
    "esc": "01", "1": "02", "0": "0b", "minus": "0c", "equal": "0d", "backspace": "0e", "tab": "0f",
    "q": "10", "p": "19", "bracket_left": "1a", "ret": "1c", "ctrl": "1d", "a": "1e", "l": "26", "grave_accent": "29",
    "shift": "2a", "backslash": "2b", "z": "2c", "m": "32", "slash": "35", "shift_r": "36", "asterisk": "37",
    "alt": "38", "spc": "39", "caps_lock": "3a", "f1": "3b", "f7": "41", "f10": "44", "num_lock": "45",
    "scroll_lock": "46", "kp_7": "47", "kp_subtract": "4a", "kp_add": "4e", "kp_0": "52", "kp_decimal": "53",
    "less": "56", "f11": "57", "f12": "58",
    "kp_enter": "e01c", "ctrl_r": "e01d", "kp_divide": "e035", "alt_r": "e038", "home": "e047", "up": "e048",
    "pgup": "e049", "left": "e04b", "right": "e04d", "end": "e04f", "down": "e050", "pgdn": "e051", "insert": "e052",
    "delete": "e053", "meta_l": "e05b", "meta_r": "e05c", "compose": "e05d", "power": "e05e", "sleep": "e05f",
    "print": "e02ae037", "pause": "e11d45e19dc5", "yen": "7d", "ro": "73",
}  # fmt: skip


@pytest.mark.parametrize(("key", "codes"), SET1.items())
def test_keys_have_the_codes_of_set_one_that_a_pc_knows(key: str, codes: str) -> None:
    assert sequence(key, True, 1).hex() == codes


def test_release_is_bit_seven_in_set_one_and_a_prefix_in_the_others() -> None:
    assert sequence("a", False, 1).hex() == "9e"
    assert sequence("a", False, 2).hex() == "f01c"
    assert sequence("a", False, 3).hex() == "f01c"
    assert sequence("up", False, 1).hex() == "e0c8"
    assert sequence("up", False, 2).hex() == "e0f075"
    assert sequence("up", False, 3).hex() == "f063"


def test_print_and_pause_depend_on_the_modifiers() -> None:
    assert sequence("print", False, 2).hex() == "e0f07ce0f012"
    assert sequence("print", True, 2, alt=True).hex() == "84"
    assert sequence("print", True, 1, alt=True).hex() == "54"
    assert sequence("pause", True, 2, ctrl=True).hex() == "e07ee0f07e"
    assert sequence("pause", True, 1, ctrl=True).hex() == "e046e0c6"
    assert sequence("pause", False, 2) == b""


def test_the_translation_leaves_no_two_codes_alike_but_the_two_of_f7_and_of_sysrq() -> None:
    codes = [translate(code) for code in range(0x80)]
    assert len(set(codes)) == 0x80
    assert translate(0x83) == translate(0x02)
    assert translate(0x84) == translate(0x7F)
    assert [translate(reply) for reply in (0xAA, 0xFA, 0xFE, 0xEE, 0xE0)] == [0xAA, 0xFA, 0xFE, 0xEE, 0xE0]


def test_no_two_keys_send_the_same_but_those_that_share_a_key_cap() -> None:
    for code_set in 1, 2, 3:
        sent: dict[bytes, str] = {}
        for key in KEYS:
            codes = sequence(key, True, code_set)
            if codes and key not in ("asterisk", "sysrq"):
                assert codes not in sent, (key, sent[codes])
                sent[codes] = key
