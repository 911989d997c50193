from __future__ import annotations

import pytest

from vmcore.devices.ps2 import REPORTS
from vmcore.devices.ps2_keyboard import Ps2Keyboard
from vmcore.model.errors import UsageError


@pytest.fixture
def keyboard() -> Ps2Keyboard:
    return Ps2Keyboard()


def taken(keyboard: Ps2Keyboard) -> str:
    codes = bytearray()
    while (code := keyboard.take()) is not None:
        codes.append(code)
    return codes.hex(" ")


def command(keyboard: Ps2Keyboard, *codes: int) -> str:
    for code in codes:
        keyboard.receive(code)
    return taken(keyboard)


def test_keys_come_out_in_set_two_from_power_on(keyboard: Ps2Keyboard) -> None:
    assert keyboard.press("a")
    assert keyboard.release("a")
    assert keyboard.press("up")
    assert taken(keyboard) == "1c f0 1c e0 75"


def test_modifiers_change_print_and_pause(keyboard: Ps2Keyboard) -> None:
    keyboard.press("alt")
    keyboard.press("print")
    keyboard.release("alt")
    keyboard.press("ctrl_r")
    keyboard.press("pause")
    assert taken(keyboard) == "11 84 f0 11 e0 14 e0 7e e0 f0 7e"


def test_an_unknown_key_is_refused_with_advice(keyboard: Ps2Keyboard) -> None:
    with pytest.raises(UsageError, match="no key 'shft'; did you mean shift"):
        keyboard.press("shft")


@pytest.mark.parametrize(
    ("codes", "answer"),
    [
        ([0xEE], "ee"),
        ([0xF2], "fa ab 83"),
        ([0xFF], "fa aa"),
        ([0xF4], "fa"),
        ([0xF5], "fa"),
        ([0xF6], "fa"),
        ([0xED, 0x07], "fa fa"),
        ([0xF3, 0x20], "fa fa"),
        ([0xF0, 0x00], "fa fa 02"),
        ([0xF0, 0x03], "fa fa"),
        ([0xF0, 0x04], "fa fe"),
        ([0xFA], "fa"),
        ([0xFB, 0x1C, 0x32], "fa fa fa"),
        ([0x00], "fe"),
        ([0xEF], "fe"),
    ],
)
def test_every_command_has_its_answer(keyboard: Ps2Keyboard, codes: list[int], answer: str) -> None:
    assert command(keyboard, *codes) == answer


def test_a_command_in_place_of_a_parameter_is_a_command(keyboard: Ps2Keyboard) -> None:
    assert command(keyboard, 0xED, 0xF2) == "fa fa ab 83"
    assert command(keyboard, 0xFB, 0x1C, 0xF4) == "fa fa fa"


def test_resend_repeats_the_last_byte(keyboard: Ps2Keyboard) -> None:
    assert command(keyboard, 0xF2) == "fa ab 83"
    assert command(keyboard, 0xFE) == "83"
    assert command(keyboard, 0xED) == "fa"
    assert command(keyboard, 0xFE) == "fa"
    assert command(keyboard, 0x02) == "fa"
    assert keyboard.leds == 2


def test_lights_and_repeat_rate_are_kept(keyboard: Ps2Keyboard) -> None:
    command(keyboard, 0xED, 0x05, 0xF3, 0x7F)
    assert keyboard.leds == 5
    assert keyboard.typematic == 0x7F
    command(keyboard, 0xFF)
    assert (keyboard.leds, keyboard.typematic) == (0, 0x2B)


@pytest.mark.parametrize(("code_set", "codes"), [(1, "1e 9e e0 48"), (2, "1c f0 1c e0 75"), (3, "1c f0 1c 63")])
def test_the_scan_code_set_can_be_chosen(keyboard: Ps2Keyboard, code_set: int, codes: str) -> None:
    command(keyboard, 0xF0, code_set)
    assert command(keyboard, 0xF0, 0x00) == f"fa fa {code_set:02x}"
    keyboard.press("a")
    keyboard.release("a")
    keyboard.press("up")
    assert taken(keyboard) == codes


def test_keys_are_not_reported_while_scanning_is_off(keyboard: Ps2Keyboard) -> None:
    command(keyboard, 0xF5)
    assert keyboard.press("a")
    assert taken(keyboard) == ""
    command(keyboard, 0xF4)
    keyboard.release("a")
    assert taken(keyboard) == "f0 1c"


def test_answers_go_ahead_of_keys(keyboard: Ps2Keyboard) -> None:
    keyboard.press("a")
    assert command(keyboard, 0xED, 0x00) == "fa fa 1c"


def test_a_key_is_taken_whole_or_not_at_all(keyboard: Ps2Keyboard) -> None:
    pressed = 0
    while keyboard.press("up"):
        pressed += 1
    assert pressed == REPORTS // 2
    assert keyboard.press("a") is False
    assert taken(keyboard) == " ".join(["e0 75"] * pressed)
    assert keyboard.press("a")


def test_answers_that_nobody_reads_are_bounded(keyboard: Ps2Keyboard) -> None:
    for _ in range(1000):
        keyboard.receive(0xF2)
    assert len(taken(keyboard).split()) == 16


def test_save_and_restore_keep_everything(keyboard: Ps2Keyboard) -> None:
    command(keyboard, 0xED, 0x03, 0xF0, 0x03, 0xF3)
    keyboard.press("ctrl")
    saved = keyboard.save()
    other = Ps2Keyboard()
    other.restore(saved)
    assert other.save() == saved
    assert other.leds == 3
    assert command(other, 0x11) == "fa 11"
    assert other.typematic == 0x11
    assert other.save() != saved
