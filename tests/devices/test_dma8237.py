"""The DMA controllers: what a guest programs is what a device's transfer does."""

from __future__ import annotations

import pytest

from vmcore.devices.dma8237 import Dma8237
from vmcore.engine import PhysicalMemory

PAGE_OF = {0: 0x7, 1: 0x3, 2: 0x1, 3: 0x2, 5: 0xB, 6: 0x9, 7: 0xA}
WRITE, READ, VERIFY = 0x44, 0x48, 0x40
AUTO, DOWN = 0x10, 0x20


@pytest.fixture
def memory() -> PhysicalMemory:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x40000)
    return memory


@pytest.fixture
def dma(memory: PhysicalMemory) -> Dma8237:
    return Dma8237(memory)


def program(dma: Dma8237, channel: int, place: int, count: int, mode: int) -> None:
    """What a driver does: mask, mode, flip-flop, address, page, count, unmask."""
    word, number = channel > 4, channel & 3

    def out(register: int, value: int) -> None:
        dma.port_write(0x20 + 2 * register if word else register, value, 1)

    out(10, 4 | number)
    out(11, mode | number)
    out(12, 0)
    address = place >> 1 if word else place
    for byte in (address & 0xFF, address >> 8 & 0xFF):
        out(2 * number, byte)
    dma.port_write(0x10 + PAGE_OF[channel], place >> 16, 1)
    for byte in ((count - 1) & 0xFF, (count - 1) >> 8):
        out(2 * number + 1, byte)
    out(10, number)


def count_left(dma: Dma8237, channel: int) -> int:
    dma.port_write(12, 0, 1)
    return dma.port_read(2 * channel + 1, 1) | dma.port_read(2 * channel + 1, 1) << 8


@pytest.mark.parametrize("channel", [0, 1, 2, 3])
def test_bytes_go_to_memory_until_the_terminal_count(dma: Dma8237, memory: PhysicalMemory, channel: int) -> None:
    program(dma, channel, 0x21234, 6, WRITE)
    assert dma.channel(channel).to_memory(b"abcd") == (4, False)
    assert count_left(dma, channel) == 1
    assert dma.channel(channel).to_memory(b"efgh") == (2, True)
    assert memory.read(0x21234, 8) == b"abcdef\0\0"
    assert dma.port_read(8, 1) == 1 << channel
    assert dma.port_read(8, 1) == 0, "the status forgets terminal counts when it is read"
    assert dma.channel(channel).to_memory(b"x") == (0, False), "a channel masks itself at the terminal count"


@pytest.mark.parametrize("channel", [5, 6, 7])
def test_words_go_from_memory(dma: Dma8237, memory: PhysicalMemory, channel: int) -> None:
    memory.write(0x30100, b"12345678")
    program(dma, channel, 0x30100, 3, READ)
    assert dma.channel(channel).from_memory(4) == (b"1234", False)
    assert dma.channel(channel).from_memory(100) == (b"56", True)
    assert dma.port_read(0x20 + 16, 1) == 1 << channel - 4


def test_a_channel_begins_again_by_itself(dma: Dma8237, memory: PhysicalMemory) -> None:
    program(dma, 1, 0x1000, 4, WRITE | AUTO)
    assert dma.channel(1).to_memory(b"abcd") == (4, True)
    assert dma.channel(1).to_memory(b"AB") == (2, False)
    assert memory.read(0x1000, 4) == b"ABcd"


def test_addresses_count_down(dma: Dma8237, memory: PhysicalMemory) -> None:
    program(dma, 2, 0x2003, 4, WRITE | DOWN)
    assert dma.channel(2).to_memory(b"abcd") == (4, True)
    assert memory.read(0x2000, 4) == b"dcba"


def test_addresses_wrap_within_their_page(dma: Dma8237, memory: PhysicalMemory) -> None:
    program(dma, 2, 0x1FFFE, 4, WRITE)
    dma.channel(2).to_memory(b"abcd")
    assert memory.read(0x1FFFE, 2) == b"ab"
    assert memory.read(0x10000, 2) == b"cd"
    assert memory.read(0x20000, 2) == bytes(2)


def test_the_direction_is_the_guests(dma: Dma8237, memory: PhysicalMemory) -> None:
    program(dma, 2, 0x1000, 4, READ)
    assert dma.channel(2).to_memory(b"abcd") == (0, False)
    program(dma, 2, 0x1000, 4, VERIFY)
    assert dma.channel(2).to_memory(b"abcd") == (4, True)
    assert memory.read(0x1000, 4) == bytes(4)


def test_whoever_waits_hears_that_a_channel_was_let_go(dma: Dma8237) -> None:
    heard: list[int] = []
    dma.channel(2).on_ready = lambda: heard.append(2)
    dma.port_write(8, 4, 1)
    program(dma, 2, 0x1000, 4, WRITE)
    assert heard == [], "the controller is off"
    dma.port_write(8, 0, 1)
    assert heard == [2]
    dma.port_write(13, 0, 1)
    assert dma.channel(2).to_memory(b"x") == (0, False)


def test_requests_show(dma: Dma8237) -> None:
    dma.channel(3).request(True)
    assert dma.port_read(8, 1) == 0x80
    dma.channel(3).request(False)
    assert dma.port_read(8, 1) == 0


def test_page_registers_without_a_channel_are_storage(dma: Dma8237) -> None:
    dma.port_write(0x14, 0x5A, 1)
    assert dma.port_read(0x14, 1) == 0x5A
