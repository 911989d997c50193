"""The firmware configuration device by its ports and by DMA."""

from __future__ import annotations

import struct

from vmcore.devices.fw_cfg import FwCfg
from vmcore.engine import PhysicalMemory

SELECT, READ, SKIP, WRITE, ERROR = 8, 2, 4, 16, 1
REQUEST = 0x1000


def device() -> FwCfg:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x10000)
    return FwCfg(memory, {0: b"QEMU", 0x20: b"contents of a file"})


def dma(chip: FwCfg, control: int, length: int, address: int) -> int:
    """Make a request; the control word after it."""
    chip.memory.write(REQUEST, struct.pack(">IIQ", control, length, address))
    chip.port_write(4, 0, 4)
    chip.port_write(8, int.from_bytes(REQUEST.to_bytes(4, "big"), "little"), 4)
    return int.from_bytes(chip.memory.read(REQUEST, 4), "big")


def test_an_item_is_read_byte_by_byte_and_by_strings() -> None:
    chip = device()
    chip.port_write(0, 0x20, 2)
    assert bytes(chip.port_read(1, 1) for _ in range(8)) == b"contents"
    assert chip.read_bulk(1, 1, 16) == b" of a file\0\0\0\0\0\0"
    chip.port_write(0, 0x4000, 2)
    assert chip.read_bulk(1, 1, 4) == b"QEMU", "the bit for writing is ignored"
    chip.port_write(0, 0x1234, 2)
    assert chip.port_read(1, 1) == 0


def test_the_dma_address_register_reads_as_its_signature() -> None:
    chip = device()
    assert chip.port_read(4, 4).to_bytes(4, "little") + chip.port_read(8, 4).to_bytes(4, "little") == b"QEMU CFG"


def test_dma_selects_skips_and_reads() -> None:
    chip = device()
    assert dma(chip, 0x20 << 16 | SELECT | SKIP, 9, 0) == 0
    chip.memory.write(0x2000, b"\xff" * 32)
    assert dma(chip, READ, 20, 0x2000) == 0
    assert chip.memory.read(0x2000, 21) == b"of a file" + bytes(11) + b"\xff"


def test_what_is_not_there_reads_as_zeros() -> None:
    chip = device()
    chip.memory.write(0x2000, b"\xff" * 4)
    assert dma(chip, 0x99 << 16 | SELECT | READ, 4, 0x2000) == 0
    assert chip.memory.read(0x2000, 4) == bytes(4)


def test_writes_and_addresses_that_there_are_not_fail() -> None:
    chip = device()
    assert dma(chip, 0x20 << 16 | SELECT | WRITE, 4, 0x2000) == ERROR
    assert dma(chip, 0x20 << 16 | SELECT, 0, 0) == 0
    assert dma(chip, READ, 4, (1 << 64) - 2) == ERROR
