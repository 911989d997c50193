from __future__ import annotations

from vmcore.devices.post import PostPort
from vmcore.model.events import Event, PostCode


def test_the_last_code_is_read_back_and_forgotten_on_reset() -> None:
    port = PostPort()
    port.port_write(0, 0x42, 1)
    assert port.port_read(0, 1) == 0x42
    port.reset()
    assert port.port_read(0, 1) == 0


def test_codes_are_told_where_that_is_wanted() -> None:
    heard: list[Event] = []
    port = PostPort(heard.append)
    port.port_write(0, 1, 1)
    port.port_write(0, 1, 1)
    assert heard == [PostCode(1), PostCode(1)]
