"""An ATAPI CD-ROM drive behind a channel: packets, replies in parts, media that come and go."""

from __future__ import annotations

import struct
from random import Random
from typing import Any

import pytest
from ide_host import DRQ, ERR, Host, cdrom

from vmcore.block.filters import DebugNode
from vmcore.block.node import Fault
from vmcore.block.protocols import MemoryNode
from vmcore.devices.atapi_cdrom import AtapiCdrom
from vmcore.model.block import BlockdevOnError, DeviceTrayMoved

BLOCKS = 300
CONTENT = Random(8).randbytes(BLOCKS * 2048)


def make(*faults: Fault, **more: Any) -> Host:
    return Host(None, cdrom(DebugNode("d", MemoryNode("m", CONTENT), faults=faults), **more))


@pytest.fixture
def host() -> Host:
    return selected(make())


def selected(host: Host) -> Host:
    host.write(6, 0xB0)
    return host


def unit_of(host: Host) -> AtapiCdrom:
    unit = host.channel.units[1]
    assert isinstance(unit, AtapiCdrom)
    return unit


def packet(host: Host, *bytes_: int, limit: int = 0xFFFE) -> bytes:
    return host.packet(*bytes_, limit=limit, device=0xB0)


def sense(host: Host) -> tuple[int, int, int]:
    data = packet(host, 0x03, 0, 0, 0, 18)
    assert len(data) == 18
    return data[2], data[12], data[13]


def blocks(lba: int, count: int) -> bytes:
    return CONTENT[lba * 2048 : (lba + count) * 2048]


def test_the_signature_tells_a_packet_device(host: Host) -> None:
    host.write(8, 4)
    host.write(8, 0)
    selected(host)
    assert [host.read(n) for n in range(1, 6)] == [1, 1, 1, 0x14, 0xEB]
    assert host.status == 0
    assert host.command(0xEC, device=0xB0) & ERR
    assert (host.read(4), host.read(5)) == (0x14, 0xEB)


def test_identification(host: Host) -> None:
    block = host.pio_in(0xA1, device=0xB0)
    assert len(block) == 512
    assert block[:2] == b"\xc0\x85"
    assert sum(block) % 256 == 0
    assert host.interrupts == 1


def test_inquiry(host: Host) -> None:
    data = packet(host, 0x12, 0, 0, 0, 36)
    assert data[0] == 5
    assert data[1] == 0x80
    assert data[8:36] == b"vmcore  CD-ROM          1.0 "
    assert packet(host, 0x12, 0, 0, 0, 5) == data[:5]


def test_capacity(host: Host) -> None:
    assert packet(host, 0x25) == struct.pack(">II", BLOCKS - 1, 2048)


@pytest.mark.parametrize("limit", [2048, 0xFFFE, 3000, 12])
def test_reads_come_in_parts_of_the_hosts_size(host: Host, limit: int) -> None:
    host.edges.clear()
    data = packet(host, 0x28, 0, *struct.pack(">I", 20), 0, 0, 5, limit=limit)
    assert data == blocks(20, 5)
    assert host.interrupts == -(-len(data) // (limit & ~1)) + 1


def test_reads_of_all_lengths(host: Host) -> None:
    assert packet(host, 0xA8, 0, *struct.pack(">II", 0, BLOCKS)) == CONTENT
    assert packet(host, 0x28, 0, 0, 0, 0, 0, 0, 0, 0) == b""
    assert packet(host, 0xBE, 0, *struct.pack(">I", 3), 0, 0, 2, 0x10) == blocks(3, 2)


def test_reads_by_dma(host: Host) -> None:
    host.regions((0x20000, 0x8000), (0x30000, 0x8000))
    host.master.port_write(0, 0x08, 1)
    host.task(0, 0, features=1, device=0xB0)
    host.write(7, 0xA0)
    host.edges.clear()
    host.channel.write_bulk(0, 2, bytes((0x28, 0, *struct.pack(">I", 7), 0, 0, 32, 0, 0, 0)))
    host.master.port_write(0, 0x09, 1)
    host.time.advance(1_000_000)
    assert host.ram.read(0x20000, 0x8000) + host.ram.read(0x30000, 0x8000) == blocks(7, 32)
    assert (host.read(2), host.read(7), host.interrupts) == (3, 0x50, 1)


@pytest.mark.parametrize(
    ("bytes_", "expected"),
    [
        ((0x28, 0, 0, 0, 1, 44, 0, 0, 1), (5, 0x21, 0)),
        ((0xFF,), (5, 0x20, 0)),
        ((0x12, 1), (5, 0x24, 0)),
        ((0x43, 0, 5), (5, 0x24, 0)),
        ((0x46, 3), (5, 0x24, 0)),
        ((0x4A, 0), (5, 0x24, 0)),
        ((0x5A, 0, 0x0E), (5, 0x24, 0)),
        ((0x5A, 0, 0xC1), (5, 0x39, 0)),
        ((0xBE, 0, 0, 0, 0, 0, 0, 0, 1, 0xF8), (5, 0x24, 0)),
    ],
)
def test_what_the_drive_refuses(host: Host, bytes_: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert packet(host, *bytes_) == b""
    assert host.error == expected[0] << 4 | 4
    assert sense(host) == expected
    packet(host, 0x00)
    assert sense(host) == (0, 0, 0)


def test_tables_of_contents(host: Host) -> None:
    assert packet(host, 0x43, 0, 0, 0, 0, 0, 0, 0, 255) == bytes.fromhex(
        "0012 01 01 00 14 01 00 00000000 00 14 aa 00 0000012c"
    )
    # 300 blocks are 4 seconds; the first of them is at 2 seconds.
    assert packet(host, 0x43, 2, 0, 0, 0, 0, 0xAA, 0, 255) == bytes.fromhex("000a 01 01 00 14 aa 00 00 00 06 00")
    assert packet(host, 0x43, 0, 1, 0, 0, 0, 0, 0, 255) == bytes.fromhex("000a 01 01 00 14 01 00 00000000")
    assert len(packet(host, 0x43, 2, 2, 0, 0, 0, 0, 0, 255)) == 4 + 4 * 11


def test_what_the_drive_can(host: Host) -> None:
    data = packet(host, 0x46, 0, 0, 0, 0, 0, 0, 1, 0)
    assert int.from_bytes(data[:4], "big") == len(data) - 4
    assert data[6:8] == b"\0\x08", "a CD-ROM is in it"
    assert data[8:12] == b"\0\0\x03\x08"
    assert packet(host, 0x46, 2, 0, 3, 0, 0, 0, 1, 0)[8:] == bytes.fromhex("0003 03 04 29000000")
    page = packet(host, 0x5A, 0, 0x2A, 0, 0, 0, 0, 1, 0)
    assert int.from_bytes(page[:2], "big") == len(page) - 2
    assert (page[8], page[9], len(page)) == (0x2A, 18, 28)
    assert packet(host, 0x51, 0, 0, 0, 0, 0, 0, 0, 34)[:8] == bytes.fromhex("0020 0e 01 01 01 01 20")
    assert packet(host, 0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8) == bytes.fromhex("0000 0000 00 01 0000")


def test_a_medium_is_changed_and_the_guest_is_told_once(host: Host) -> None:
    drive = unit_of(host).drive
    packet(host, 0x00)
    assert host.error == 0
    drive.open_tray()
    packet(host, 0x00)
    assert sense(host) == (2, 0x3A, 2)
    drive.remove()
    drive.insert(MemoryNode("other", b"o" * 4096))
    drive.close_tray()
    packet(host, 0x00)
    assert sense(host) == (2, 0x3A, 1), "it was away"
    packet(host, 0x25)
    assert sense(host) == (6, 0x28, 0), "and there is another one"
    assert packet(host, 0x25) == struct.pack(">II", 1, 2048)


def test_media_events(host: Host) -> None:
    def event() -> tuple[int, int]:
        data = packet(host, 0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8)
        assert data[:4] == b"\0\x06\x04\x10"
        return data[4], data[5]

    drive = unit_of(host).drive
    assert event() == (0, 2)
    packet(host, 0x1E, 0, 0, 0, 1)
    assert not drive.open_tray()
    assert event() == (1, 2), "the user asks for the medium"
    assert event() == (0, 2)
    packet(host, 0x1E, 0, 0, 0, 0)
    drive.open_tray()
    assert event() == (3, 1)
    drive.close_tray()
    assert event() == (2, 2)


def test_the_guest_moves_and_locks_the_tray() -> None:
    said: list[Any] = []
    host = selected(make(emit=said.append))
    packet(host, 0x1E, 0, 0, 0, 1)
    packet(host, 0x1B, 0, 0, 0, 2)
    assert sense(host) == (5, 0x53, 2)
    packet(host, 0x1E, 0, 0, 0, 0)
    packet(host, 0x1B, 0, 0, 0, 2)
    packet(host, 0x00)
    assert sense(host) == (2, 0x3A, 2)
    packet(host, 0x1B, 0, 0, 0, 3)
    assert [event.tray_open for event in said if isinstance(event, DeviceTrayMoved)] == [True, False]
    packet(host, 0x00)
    assert sense(host) == (6, 0x28, 0)


def test_a_drive_without_a_medium() -> None:
    host = selected(Host(None, cdrom(None)))
    for command in (0x00, 0x25, 0x28, 0x43):
        assert packet(host, command) == b""
        assert sense(host) == (2, 0x3A, 1)
    assert packet(host, 0x46, 0, 0, 0, 0, 0, 0, 1, 0)[6:8] == b"\0\0"


def test_unreadable_blocks() -> None:
    host = selected(make(Fault(offset=4 * 2048, length=2048)))
    packet(host, 0x28, 0, 0, 0, 0, 0, 0, 0, 8)
    assert sense(host) == (3, 0x11, 0)
    assert packet(host, 0x28, 0, 0, 0, 0, 5, 0, 0, 1) == blocks(5, 1)


def test_a_held_read_is_done_when_the_guest_goes_on() -> None:
    host = selected(make(Fault(count=1), read_error=BlockdevOnError.STOP))
    host.task(0xFFFE << 8, 0, device=0xB0)
    host.write(7, 0xA0)
    host.channel.write_bulk(0, 2, bytes((0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0)))
    host.time.advance(1_000_000)
    drive = unit_of(host).drive
    assert drive.held
    assert host.status & 0x80
    drive.resume()
    assert host.wait() & DRQ
    assert host.channel.read_bulk(0, 2, 1024) == blocks(9, 1)
    assert host.wait() == 0x50


def test_a_device_reset_ends_what_goes_on(host: Host) -> None:
    host.task(0, 0, device=0xB0)
    host.write(7, 0xA0)
    host.write(7, 0x08)
    assert host.status == 0
    assert host.read(4) == 0x14
    packet(host, 0x00)
    assert host.error == 0
