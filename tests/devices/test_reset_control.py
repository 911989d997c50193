from __future__ import annotations

from vmcore.devices.reset_control import ResetControl


def test_a_write_of_6_is_a_hard_and_of_4_a_soft_reset() -> None:
    resets: list[bool] = []
    control = ResetControl(resets.append)
    control.port_write(0, 0x02, 1)
    assert resets == []
    assert control.port_read(0, 1) == 0x02
    control.port_write(0, 0x06, 1)
    control.port_write(0, 0x04, 1)
    assert resets == [True, False]


def test_the_full_reset_bit_is_kept_and_the_others_are_not() -> None:
    control = ResetControl(lambda hard: None)
    control.port_write(0, 0xFB, 1)
    assert control.port_read(0, 1) == 0x0A
    assert control.save().control == 0x0A
    control.reset()
    assert control.port_read(0, 1) == 0
