from __future__ import annotations

import pytest
from attrs import define, field

from vmcore.hardware import Device, PortSpace
from vmcore.model.errors import ConfigError


@define(eq=False)
class Recorder(Device[None]):
    log: list[tuple[object, ...]] = field(factory=list)

    def port_read(self, offset: int, size: int) -> int:
        self.log.append(("read", offset, size))
        return 0xA0 + offset

    def port_write(self, offset: int, value: int, size: int) -> None:
        self.log.append(("write", offset, value, size))

    def reset(self) -> None: ...
    def save(self) -> None: ...
    def restore(self, state: None) -> None: ...


@define(eq=False)
class Bulk(Recorder):
    def read_bulk(self, offset: int, size: int, count: int) -> bytes:
        self.log.append(("bulk", offset, size, count))
        return bytes(size * count)

    def write_bulk(self, offset: int, size: int, data: bytes) -> None:
        self.log.append(("bulk", offset, size, data))


def test_an_access_reaches_the_device_with_an_offset() -> None:
    ports, device = PortSpace(), Recorder()
    ports.claim(0x3F8, 8, device, "serial0")
    assert ports.read(0x3FD, 1) == 0xA5
    ports.write(0x3F8, 0x1234, 2)
    assert device.log == [("read", 5, 1), ("write", 0, 0x1234, 2)]


def test_unclaimed_ports_read_as_ones_and_swallow_writes() -> None:
    ports = PortSpace()
    assert [ports.read(0x80, size) for size in (1, 2, 4)] == [0xFF, 0xFFFF, 0xFFFFFFFF]
    ports.write(0x80, 1, 4)


def test_an_access_past_the_end_of_a_range_is_cut_into_bytes() -> None:
    ports, one, two = PortSpace(), Recorder(), Recorder()
    ports.claim(0x60, 1, one)
    ports.claim(0x62, 1, two)
    assert ports.read(0x60, 4) == 0xFFA0FFA0
    ports.write(0x60, 0x44332211, 4)
    assert one.log == [("read", 0, 1), ("write", 0, 0x11, 1)]
    assert two.log == [("read", 0, 1), ("write", 0, 0x33, 1)]


def test_an_access_at_the_last_port_wraps_to_the_first() -> None:
    ports, device = PortSpace(), Recorder()
    ports.claim(0, 1, device)
    assert ports.read(0xFFFF, 2) == 0xA0FF


def test_a_range_may_show_a_device_from_an_offset_on() -> None:
    ports, device = PortSpace(), Recorder()
    ports.claim(0x64, 1, device, offset=4)
    assert ports.read(0x64, 1) == 0xA4


def test_an_overlap_names_both_parties_in_hex() -> None:
    ports, device = PortSpace(), Recorder()
    ports.claim(0x3F8, 8, device, "serial0")
    with pytest.raises(ConfigError, match=r"serial9 at ports 0x03ff-0x0406.*serial0 at ports 0x03f8-0x03ff"):
        ports.claim(0x3FF, 8, device, "serial9")
    ports.claim(0x400, 8, device, "serial9")


@pytest.mark.parametrize(("base", "length"), [(-1, 2), (0xFFFF, 2), (0x10, 0)])
def test_a_range_outside_of_the_port_space_is_refused(base: int, length: int) -> None:
    with pytest.raises(ConfigError, match="0x0000 and 0xffff"):
        PortSpace().claim(base, length, Recorder(), "odd")


def test_released_ports_are_free_again() -> None:
    ports, device = PortSpace(), Recorder()
    claimed = ports.claim(0x10, 4, device)
    assert ports.at(0x13) is claimed
    ports.release(claimed)
    assert ports.at(0x13) is None
    assert ports.read(0x12, 2) == 0xFFFF
    ports.claim(0x12, 4, device)


def test_bulk_transfers_reach_a_device_that_takes_them_in_one_call() -> None:
    ports, device = PortSpace(), Bulk()
    ports.claim(0x1F0, 8, device)
    assert ports.read_bulk(0x1F0, 2, 256) == bytes(512)
    ports.write_bulk(0x1F0, 2, b"abcd")
    assert device.log == [("bulk", 0, 2, 256), ("bulk", 0, 2, b"abcd")]


def test_bulk_transfers_reach_any_other_device_one_by_one() -> None:
    ports, device = PortSpace(), Recorder()
    ports.claim(0xE9, 1, device)
    assert ports.read_bulk(0xE9, 1, 3) == b"\xa0\xa0\xa0"
    ports.write_bulk(0xE9, 1, b"hi")
    assert device.log[3:] == [("write", 0, ord("h"), 1), ("write", 0, ord("i"), 1)]
    assert ports.read_bulk(0x80, 2, 2) == b"\xff" * 4
