"""Configuration mechanism #1 and the host bridge behind it."""

from __future__ import annotations

from pci_bench import PciBench

from vmcore.devices.i440fx import I440fx
from vmcore.devices.pci_host import PciHost
from vmcore.devices.reset_control import ResetControl

ADDRESS, DATA = 0, 4


def new_host(isa: ResetControl | None = None) -> PciHost:
    bench = PciBench()
    bench.put(I440fx(), 0)
    return PciHost(bench.bus, isa)


def chosen(host: PciHost, device: int, register: int, function: int = 0, bus: int = 0) -> int:
    host.port_write(ADDRESS, 1 << 31 | bus << 16 | device << 11 | function << 8 | register, 4)
    return host.port_read(DATA, 4)


def test_the_address_register_keeps_its_writable_bits() -> None:
    host = new_host()
    host.port_write(ADDRESS, 0xFFFFFFFF, 4)
    assert host.port_read(ADDRESS, 4) == 0x80FFFFFC


def test_the_host_bridge_is_a_440fx() -> None:
    host = new_host()
    assert chosen(host, 0, 0) == 0x12378086
    assert chosen(host, 0, 8) == 0x06000002
    host.port_write(ADDRESS, 1 << 31 | 0x08, 4)
    assert host.port_read(DATA + 3, 1) == 0x06
    assert host.port_read(DATA + 2, 2) == 0x0600


def test_what_is_not_there_reads_as_ones_and_swallows_writes() -> None:
    host = new_host()
    for device, function, bus in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert chosen(host, device, 0, function, bus) == 0xFFFFFFFF
        host.port_write(DATA, 0, 4)
    host.port_write(ADDRESS, 0, 4)
    assert host.port_read(DATA, 4) == 0xFFFFFFFF


def test_only_doublewords_reach_the_address_register() -> None:
    host = new_host()
    host.port_write(ADDRESS, 0x80001234, 4)
    host.port_write(ADDRESS, 0xFF, 1)
    host.port_write(ADDRESS + 2, 0xFFFF, 2)
    assert host.port_read(ADDRESS, 4) == 0x80001234
    assert host.port_read(ADDRESS, 2) == 0xFFFF


def test_bytes_at_the_second_port_reach_the_reset_control() -> None:
    resets: list[bool] = []
    host = new_host(isa=ResetControl(resets.append))
    host.port_write(1, 0x02, 1)
    assert host.port_read(1, 1) == 0x02
    host.port_write(1, 0x06, 1)
    host.port_write(0, 0x06060606, 4)
    assert resets == [True]
    assert new_host().port_read(1, 1) == 0xFF
