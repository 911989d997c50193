"""Shadow memory of the host bridge: what shows between 640 KiB and 1 MiB."""

from __future__ import annotations

import pytest
from pci_bench import PciBench

from vmcore.devices.i440fx import I440fx
from vmcore.devices.shadow_memory import SHADOWED, ShadowMemory
from vmcore.hardware import MemoryMap
from vmcore.hardware.decoding import HiddenMemory, MemoryDecoder

PAM0, SMRAM = 0x59, 0x72
SEGMENTS = [(0xF0000, 0, 4), *((0xC0000 + 0x4000 * n, 1 + n // 2, 4 * (n % 2)) for n in range(12))]


def built() -> tuple[PciBench, I440fx, HiddenMemory]:
    bench = PciBench()
    bench.memory.unmap(0, bench.memory.regions()[0][1])
    bench.decoder = MemoryDecoder(bench.memory, MemoryMap())
    bench.bus.memory = bench.decoder
    rom = bench.decoder.allocate(0x20000, rom=True, contents=b"rom!" * 0x8000)
    ram = bench.decoder.allocate(SHADOWED)
    bridge = bench.put(I440fx(ShadowMemory(bench.decoder, ram, [(0xE0000, rom)])), 0)
    bench.decoder.connect()
    bridge.reset()
    bench.memory.write(ram.home, b"ram!" * (SHADOWED // 4))
    return bench, bridge, ram


def test_after_reset_rom_shows_where_there_is_some() -> None:
    bench, _, _ = built()
    assert bench.memory.read(0xC0000, 4) == b"\xff" * 4
    assert bench.memory.read(0xE0000, 4) == b"rom!"
    assert bench.memory.read(0xFFFFC, 4) == b"rom!"


@pytest.mark.parametrize(("address", "register", "shift"), SEGMENTS)
def test_each_segment_has_its_enables(address: int, register: int, shift: int) -> None:
    bench, bridge, ram = built()
    memory, size = bench.memory, 0x10000 if address == 0xF0000 else 0x4000
    bus = b"rom!" if address >= 0xE0000 else b"\xff" * 4
    bridge.config_write(PAM0 + register, 1 << shift, 1)
    memory.write(address, b"none")
    assert memory.read(address, 4) == memory.read(address + size - 4, 4) == b"ram!", "read only"
    bridge.config_write(PAM0 + register, 3 << shift, 1)
    memory.write(address, b"both")
    assert memory.read(ram.home + address - 0xA0000, 4) == memory.read(address, 4) == b"both"
    bridge.config_write(PAM0 + register, 0, 1)
    assert memory.read(address, 4) == bus
    around = [address - 4, address + size]
    bridge.config_write(PAM0 + register, 3 << shift, 1)
    assert all(memory.read(at, 4) != b"ram!" for at in around if at < 0x100000), "the neighbours stay"


def test_system_management_memory_opens_and_locks() -> None:
    bench, bridge, _ = built()
    assert bench.memory.read(0xA0000, 4) == b"\xff" * 4
    bridge.config_write(SMRAM, 0x4A, 1)
    assert bench.memory.read(0xA0000, 4) == bench.memory.read(0xBFFFC, 4) == b"ram!"
    bridge.config_write(SMRAM, 0x1A, 1)
    assert bench.memory.read(0xA0000, 4) == b"\xff" * 4
    bridge.config_write(SMRAM, 0x4A, 1)
    assert bridge.config_read(SMRAM, 1) == 0x1A, "locked until reset"
    bridge.reset()
    assert bridge.config_read(SMRAM, 1) == 0x02


def test_what_shows_is_restored() -> None:
    bench, bridge, _ = built()
    bridge.config_write(PAM0, 0x30, 1)
    saved = bridge.save()
    bridge.reset()
    assert bench.memory.read(0xF0000, 4) == b"rom!"
    bridge.restore(saved)
    assert bench.memory.read(0xF0000, 4) == b"ram!"
