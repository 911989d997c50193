from __future__ import annotations

import pytest

from vmcore.devices.ps2 import REPORTS
from vmcore.devices.ps2_mouse import Ps2Mouse


@pytest.fixture
def mouse() -> Ps2Mouse:
    return Ps2Mouse()


def taken(mouse: Ps2Mouse) -> str:
    codes = bytearray()
    while (code := mouse.take()) is not None:
        codes.append(code)
    return codes.hex(" ")


def command(mouse: Ps2Mouse, *codes: int) -> str:
    for code in codes:
        mouse.receive(code)
    return taken(mouse)


@pytest.mark.parametrize(
    ("codes", "answer"),
    [
        ([0xFF], "fa aa 00"),
        ([0xF2], "fa 00"),
        ([0xF6], "fa"),
        ([0xF4], "fa"),
        ([0xF5], "fa"),
        ([0xE6], "fa"),
        ([0xE7], "fa"),
        ([0xEA], "fa"),
        ([0xF0], "fa"),
        ([0xE8, 0x03], "fa fa"),
        ([0xE8, 0x04], "fa fe"),
        ([0xF3, 0x64], "fa fa"),
        ([0xE9], "fa 00 02 64"),
        ([0xEB], "fa 08 00 00"),
        ([0x00], "fe"),
    ],
)
def test_every_command_has_its_answer(mouse: Ps2Mouse, codes: list[int], answer: str) -> None:
    assert command(mouse, *codes) == answer


def test_movements_are_reported_once_the_guest_wants_them(mouse: Ps2Mouse) -> None:
    mouse.move(5, 5)
    assert taken(mouse) == ""
    command(mouse, 0xF4)
    mouse.move(3, -2)
    assert mouse.button("left", True)
    assert taken(mouse) == "28 03 fe 09 00 00"
    assert mouse.button("left", True)
    assert taken(mouse) == ""


def test_a_long_way_is_cut_into_packets(mouse: Ps2Mouse) -> None:
    command(mouse, 0xF4)
    mouse.move(-300, 256)
    assert taken(mouse) == "18 01 ff 18 d3 01"


def test_movement_that_the_guest_does_not_take_adds_up(mouse: Ps2Mouse) -> None:
    command(mouse, 0xF4)
    for _ in range(10_000):
        mouse.move(1, 0)
    packets = bytes.fromhex(taken(mouse))
    assert sum(packets[1::3]) == 10_000
    assert len(packets) < REPORTS + 3 * 10_000 // 255


def test_a_button_change_waits_for_the_one_before(mouse: Ps2Mouse) -> None:
    command(mouse, 0xF4)
    changes = 0
    while mouse.button("right", changes % 2 == 0):
        changes += 1
    packets = bytes.fromhex(taken(mouse))
    assert [packet & 7 for packet in packets[::3]] == [2, 0] * (changes // 2) + [2] * (changes % 2)


@pytest.mark.parametrize(("rates", "identity"), [((200, 100, 80), 3), ((200, 200, 80), 4), ((200, 100, 81), 0)])
def test_the_mouse_knows_the_knock(mouse: Ps2Mouse, rates: tuple[int, ...], identity: int) -> None:
    for rate in rates:
        command(mouse, 0xF3, rate)
    assert command(mouse, 0xF2) == f"fa {identity:02x}"
    command(mouse, 0xFF)
    assert command(mouse, 0xF2) == "fa 00"


def test_a_wheel_mouse_adds_a_byte(mouse: Ps2Mouse) -> None:
    command(mouse, 0xF3, 200, 0xF3, 100, 0xF3, 80, 0xF4)
    mouse.move(1, 0, -1)
    assert taken(mouse) == "08 01 00 ff"


def test_an_explorer_mouse_adds_side_buttons(mouse: Ps2Mouse) -> None:
    command(mouse, 0xF3, 200, 0xF3, 200, 0xF3, 80, 0xF4)
    mouse.button("extra", True)
    mouse.move(0, 0, -1)
    assert taken(mouse) == "08 00 00 20 08 00 00 2f"


def test_status_shows_buttons_and_modes(mouse: Ps2Mouse) -> None:
    mouse.button("right", True)
    assert command(mouse, 0xE9) == "fa 01 02 64"
    mouse.button("left", True)
    mouse.button("middle", True)
    assert command(mouse, 0xF4, 0xE7, 0xE9) == "fa fa fa 37 02 64"


def test_in_remote_mode_only_the_guest_asks(mouse: Ps2Mouse) -> None:
    command(mouse, 0xF0, 0xF4)
    mouse.move(7, 0)
    assert taken(mouse) == ""
    assert command(mouse, 0xEB) == "fa 08 07 00"
    assert command(mouse, 0xEB) == "fa 08 00 00"


def test_in_wrap_mode_everything_is_echoed_but_reset_and_its_end(mouse: Ps2Mouse) -> None:
    assert command(mouse, 0xEE, 0x12, 0xF2) == "fa 12 f2"
    assert command(mouse, 0xEC, 0xF2) == "fa fa 00"
    assert command(mouse, 0xEE, 0xFF) == "fa aa 00"


def test_scaling_two_to_one_is_not_linear(mouse: Ps2Mouse) -> None:
    command(mouse, 0xE7, 0xF4)
    sent = []
    for count in range(1, 8):
        mouse.move(count, 0)
        sent.append(bytes.fromhex(taken(mouse))[1])
    assert sent == [1, 1, 3, 6, 9, 12, 14]


def test_save_and_restore_keep_everything(mouse: Ps2Mouse) -> None:
    command(mouse, 0xF3, 200, 0xF3, 100, 0xF3)
    mouse.button("left", True)
    saved = mouse.save()
    other = Ps2Mouse()
    other.restore(saved)
    assert other.save() == saved
    assert command(other, 80, 0xF2) == "fa fa 03"
    assert other.save() != saved
