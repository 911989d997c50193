from __future__ import annotations

from vmcore.devices.debugcon import Debugcon
from vmcore.hardware import PortSpace


def test_bytes_written_reach_the_host_in_order() -> None:
    heard: list[bytes] = []
    port = Debugcon(heard.append)
    for byte in b"hi\x00\xff":
        port.port_write(0, byte, 1)
    assert heard == [b"h", b"i", b"\x00", b"\xff"]


def test_a_read_tells_that_the_port_is_there() -> None:
    assert Debugcon(lambda data: None).port_read(0, 1) == 0xE9
    assert Debugcon(lambda data: None, readback=0x55).port_read(0, 1) == 0x55


def test_string_output_reaches_the_host_in_one_piece() -> None:
    heard: list[bytes] = []
    ports = PortSpace()
    ports.claim(0xE9, 1, Debugcon(heard.append))
    ports.write_bulk(0xE9, 1, b"hello")
    ports.write_bulk(0xE9, 2, b"ab")
    assert heard == [b"hello", b"a"]
    assert ports.read_bulk(0xE9, 1, 3) == b"\xe9\xe9\xe9"


def test_of_a_wide_write_only_the_byte_at_the_port_counts() -> None:
    heard: list[bytes] = []
    ports = PortSpace()
    ports.claim(0xE9, 1, Debugcon(heard.append))
    ports.write(0xE9, 0x44434241, 4)
    assert heard == [b"A"]
    assert ports.read(0xE9, 2) == 0xFFE9
