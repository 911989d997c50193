"""Configuration mechanism #1 and the host bridge behind it."""

from __future__ import annotations

from vmcore.devices.pci_host import ConfigSpace, PciHost
from vmcore.devices.reset_control import ResetControl

ADDRESS, DATA = 0, 4


def chosen(host: PciHost, device: int, register: int, function: int = 0, bus: int = 0) -> int:
    host.port_write(ADDRESS, 1 << 31 | bus << 16 | device << 11 | function << 8 | register, 4)
    return host.port_read(DATA, 4)


def test_the_address_register_keeps_its_writable_bits() -> None:
    host = PciHost()
    host.port_write(ADDRESS, 0xFFFFFFFF, 4)
    assert host.port_read(ADDRESS, 4) == 0x80FFFFFC


def test_the_host_bridge_is_a_440fx() -> None:
    host = PciHost()
    assert chosen(host, 0, 0) == 0x12378086
    assert chosen(host, 0, 8) == 0x06000002
    host.port_write(ADDRESS, 1 << 31 | 0x08, 4)
    assert host.port_read(DATA + 3, 1) == 0x06
    assert host.port_read(DATA + 2, 2) == 0x0600


def test_what_is_not_there_reads_as_ones_and_swallows_writes() -> None:
    host = PciHost()
    for device, function, bus in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert chosen(host, device, 0, function, bus) == 0xFFFFFFFF
        host.port_write(DATA, 0, 4)
    host.port_write(ADDRESS, 0, 4)
    assert host.port_read(DATA, 4) == 0xFFFFFFFF


def test_writes_change_the_writable_bits_of_the_bytes_that_they_reach() -> None:
    host = PciHost({0: ConfigSpace(bytes.fromhex("11223344"), {1: 0xF0, 3: 0xFF})})
    chosen(host, 0, 0)
    host.port_write(DATA + 1, 0xAA, 1)
    host.port_write(DATA + 2, 0xBBCC, 2)
    assert host.port_read(DATA, 4) == 0xBB33A211
    host.reset()
    assert chosen(host, 0, 0) == 0x44332211


def test_only_doublewords_reach_the_address_register() -> None:
    host = PciHost()
    host.port_write(ADDRESS, 0x80001234, 4)
    host.port_write(ADDRESS, 0xFF, 1)
    host.port_write(ADDRESS + 2, 0xFFFF, 2)
    assert host.port_read(ADDRESS, 4) == 0x80001234
    assert host.port_read(ADDRESS, 2) == 0xFFFF


def test_bytes_at_the_second_port_reach_the_reset_control() -> None:
    resets: list[bool] = []
    host = PciHost(isa=ResetControl(resets.append))
    host.port_write(1, 0x02, 1)
    assert host.port_read(1, 1) == 0x02
    host.port_write(1, 0x06, 1)
    host.port_write(0, 0x06060606, 4)
    assert resets == [True]
    assert PciHost().port_read(1, 1) == 0xFF
