"""PhysicalMemory: regions, contents, dirty pages, ports, and what it says to bad arguments."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

import pytest

from vmcore.engine import Cpu, PhysicalMemory, RunExit, Segment, assemble
from vmcore.model.errors import UsageError


def nothing_read(offset: int, size: int) -> int:
    return 0


def nothing_written(offset: int, value: int, size: int) -> None:
    return None


def real_mode(memory: PhysicalMemory, code: str | bytes, at: int = 0x1000) -> Cpu:
    memory.load(at, assemble(code, 16, at) if isinstance(code, str) else code)
    cpu = Cpu(memory)
    cpu.cs = Segment(0, 0, 0xFFFF, 0x9B)
    cpu.rip = at
    return cpu


@pytest.fixture
def memory() -> PhysicalMemory:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x10000)
    return memory


def test_ram_is_zero_and_keeps_what_is_written(memory: PhysicalMemory) -> None:
    assert memory.read(0x1FFE, 4) == bytes(4)
    memory.write(0x1FFE, b"\x01\x02\x03\x04")
    assert memory.read(0x1FFD, 6) == b"\x00\x01\x02\x03\x04\x00"


def test_holes_read_as_ones_and_swallow_writes(memory: PhysicalMemory) -> None:
    memory.write(0xFFFE, b"abcd")
    assert memory.read(0xFFFE, 4) == b"ab\xff\xff"


def test_overlap_names_both_ranges_in_hex(memory: PhysicalMemory) -> None:
    with pytest.raises(UsageError, match=r"device at 0xf000-0x10fff overlaps RAM at 0x0-0xffff"):
        memory.map_device(0xF000, 0x2000, nothing_read, nothing_written)
    assert memory.regions() == [(0, 0x10000, "RAM")]


@pytest.mark.parametrize(
    ("start", "size", "error", "text"),
    [
        (0x100, 0x1000, ValueError, "whole pages"),
        (0x10000, 0x123, ValueError, "whole pages"),
        (0x10000, 0, ValueError, "not be zero"),
        (1 << 52, 0x1000, ValueError, "below"),
        ((1 << 52) - 0x1000, 0x2000, ValueError, "below"),
        (-1, 0x1000, OverflowError, "start"),
        (1 << 64, 0x1000, OverflowError, "start"),
        ("0", 0x1000, TypeError, "start"),
        (0x10000, 1.5, TypeError, "size"),
        (0x10000, True, TypeError, "size"),
    ],
)
def test_bad_places_of_ram_are_refused(
    memory: PhysicalMemory, start: object, size: object, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        memory.map_ram(start, size)  # type: ignore[arg-type]
    assert memory.regions() == [(0, 0x10000, "RAM")]


def test_rom_takes_contents_and_loads_but_no_writes(memory: PhysicalMemory) -> None:
    memory.map_ram(0xF0000, 0x1000, rom=True, contents=b"BIOS")
    memory.write(0xF0000, b"xxxx")
    assert memory.read(0xF0000, 5) == b"BIOS\x00"
    memory.load(0xF0000, b"bios")
    assert memory.read(0xF0000, 4) == b"bios"
    with pytest.raises(ValueError, match="do not fit ROM at 0xf1000-0xf1fff"):
        memory.map_ram(0xF1000, 0x1000, rom=True, contents=bytes(0x1001))


def test_load_refuses_what_is_no_memory_and_writes_nothing(memory: PhysicalMemory) -> None:
    with pytest.raises(ValueError, match="no RAM or ROM at 0x10000"):
        memory.load(0xFFF0, bytes(range(32)))
    assert memory.read(0xFFF0, 16) == bytes(16)


def test_alias_shows_the_same_bytes(memory: PhysicalMemory) -> None:
    memory.map_alias(0x100000, 0x2000, 0x3000)
    memory.write(0x3010, b"here")
    assert memory.read(0x100010, 4) == b"here"
    memory.write(0x101000, b"there")
    assert memory.read(0x4000, 5) == b"there"
    memory.map_alias(0x200000, 0x1000, 0x3000, rom=True)
    memory.write(0x200010, b"----")
    assert memory.read(0x3010, 4) == b"here"
    with pytest.raises(ValueError, match="inside one RAM or ROM region"):
        memory.map_alias(0x300000, 0x2000, 0xF000)


def test_alias_outlives_the_region_it_shows(memory: PhysicalMemory) -> None:
    memory.write(0x3000, b"still here")
    memory.map_alias(0x100000, 0x1000, 0x3000)
    memory.unmap(0, 0x10000)
    assert memory.read(0x100000, 10) == b"still here"
    assert memory.read(0x3000, 2) == b"\xff\xff"


def test_unmap_takes_exactly_a_region(memory: PhysicalMemory) -> None:
    with pytest.raises(UsageError, match="no region at 0x0-0x7fff"):
        memory.unmap(0, 0x8000)
    memory.unmap(0, 0x10000)
    assert memory.regions() == []


def test_a20_hides_bit_20() -> None:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x200000)
    memory.write(0x0, b"low")
    memory.write(0x100000, b"high")
    cpu = real_mode(memory, "mov ax, 0xffff; mov ds, ax; mov al, [0x10]; hlt")
    assert memory.a20 is True
    memory.a20 = False
    assert cpu.run(100) is RunExit.HALT
    assert cpu.al == ord("l")
    memory.a20 = True
    cpu.rip = 0x1000
    cpu.activity = 0
    assert cpu.run(100) is RunExit.HALT
    assert cpu.al == ord("h")


# Dirty pages


def test_writes_of_master_and_guest_are_dirty_until_cleared(memory: PhysicalMemory) -> None:
    cpu = real_mode(memory, "mov byte ptr [0x5000], 1; mov byte ptr [0x6fff], 2; hlt")
    memory.dirty_pages()
    assert memory.dirty_pages() == []
    assert cpu.run(100) is RunExit.HALT
    memory.write(0x8FFF, b"xx")
    assert memory.dirty_pages(clear=False) == [0x5000, 0x6000, 0x8000, 0x9000]
    assert memory.dirty_pages(0x6000, 0x1000) == [0x6000]
    assert memory.dirty_pages() == [0x5000, 0x8000, 0x9000]
    # The guest writes again where it wrote before: the fast path must notice that the bit was cleared.
    cpu.rip = 0x1000
    cpu.activity = 0
    assert cpu.run(100) is RunExit.HALT
    assert memory.dirty_pages() == [0x5000, 0x6000]


def test_each_reader_of_dirty_pages_has_its_own(memory: PhysicalMemory) -> None:
    cpu = real_mode(memory, "mov byte ptr [0x5000], 1; hlt")
    memory.dirty_pages()
    memory.dirty_pages(reader=1)
    for _ in range(2):
        # Each reader clears in turn, and the guest writes where it wrote before: both must notice.
        cpu.rip, cpu.activity = 0x1000, 0
        assert cpu.run(100) is RunExit.HALT
        assert memory.dirty_pages() == [0x5000]
        assert memory.dirty_pages() == []
        cpu.rip, cpu.activity = 0x1000, 0
        assert cpu.run(100) is RunExit.HALT
        assert memory.dirty_pages(reader=1) == [0x5000]
        assert memory.dirty_pages(reader=1) == []
        assert memory.dirty_pages() == [0x5000]
    with pytest.raises(ValueError, match="expected 0 or 1"):
        memory.dirty_pages(reader=2)
    memory.write(0x5000, b"\0")
    memory.dirty_pages()
    memory.dirty_pages(reader=1)
    assert 0x5000 not in memory.used_pages()
    assert 0x1000 in memory.used_pages()


def test_used_pages_are_those_that_are_not_zero(memory: PhysicalMemory) -> None:
    memory.write(0x2000, b"x")
    memory.write(0x3000, b"x")
    memory.dirty_pages()
    memory.write(0x3000, b"\0")
    memory.map_alias(0x100000, 0x1000, 0x2000)
    assert memory.used_pages() == [0x2000]


def test_digest_depends_on_contents_and_place_alone() -> None:
    def digest(*writes: tuple[int, bytes]) -> bytes:
        memory = PhysicalMemory()
        memory.map_ram(0, 0x10000)
        for place, data in writes:
            memory.write(place, data)
        return memory.digest()

    assert digest() == digest((0x1000, bytes(100)))
    assert digest((0x1000, b"a"), (0x2000, b"b")) == digest((0x2000, b"b"), (0x1000, b"a"))
    digests = [digest(), digest((0x1000, b"a")), digest((0x2000, b"a")), digest((0x1001, b"a")), digest((0x1000, b"b"))]
    assert len(set(digests)) == len(digests)
    assert all(len(value) == 16 for value in digests)


# Devices


def test_device_sees_offset_size_and_value() -> None:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x10000)
    seen: list[tuple[int, ...]] = []

    def read(offset: int, size: int) -> int:
        seen.append((offset, size))
        return 0x11223344 & (1 << 8 * size) - 1

    memory.map_device(0x20000, 0x100, read, lambda *write: seen.append(write))
    cpu = real_mode(
        memory,
        "mov ax, 0x2000; mov ds, ax; mov bl, [4]; mov cx, [6]; mov edx, [8];"
        "mov [0x10], bl; mov [0x12], cx; mov [0x14], edx; hlt",
    )
    assert cpu.run(100) is RunExit.HALT
    assert (cpu.bl, cpu.cx, cpu.edx) == (0x44, 0x3344, 0x11223344)
    assert seen == [(4, 1), (6, 2), (8, 4), (0x10, 0x44, 1), (0x12, 0x3344, 2), (0x14, 0x11223344, 4)]


@pytest.mark.parametrize("answer", [256, -1, None, "1", 1.0])
def test_bad_answers_of_a_device_are_its_fault(memory: PhysicalMemory, answer: object) -> None:
    memory.map_port(0x60, 1, lambda offset, size: answer, nothing_written)  # type: ignore[arg-type]
    cpu = real_mode(memory, "in al, 0x60; hlt")
    with pytest.raises((TypeError, OverflowError), match=r"port handler answered .* to a read of 1 bytes"):
        cpu.run(10)


def test_exception_of_a_callback_is_raised_by_run_itself_and_the_vcpu_stays_consistent(memory: PhysicalMemory) -> None:
    error = KeyError("mine")

    def read(offset: int, size: int) -> int:
        raise error

    memory.map_port(0x60, 1, read, nothing_written)
    cpu = real_mode(memory, "mov cx, 7; in al, 0x60; mov dx, 9; hlt")
    with pytest.raises(KeyError) as caught:
        cpu.run(100)
    assert caught.value is error
    assert cpu.instructions == 2
    assert cpu.rip == 0x1005
    assert cpu.cx == 7
    assert cpu.run(100) is RunExit.HALT
    assert cpu.dx == 9


def test_callback_may_change_the_map_under_its_own_feet() -> None:
    memory = PhysicalMemory()
    memory.map_ram(0, 0x10000)

    def write(offset: int, value: int, size: int) -> None:
        memory.unmap(0x20000, 0x1000)
        memory.map_ram(0x20000, 0x1000, contents=b"\x77" * 16)

    memory.map_device(0x20000, 0x1000, nothing_read, write)
    cpu = real_mode(memory, "mov ax, 0x2000; mov ds, ax; mov byte ptr [0], 1; mov bl, [1]; hlt")
    assert cpu.run(100) is RunExit.HALT
    assert cpu.bl == 0x77


# Ports


def test_ports_that_nobody_mapped_read_as_ones_or_go_to_the_default(memory: PhysicalMemory) -> None:
    cpu = real_mode(memory, "in al, 0x42; hlt")
    assert cpu.run(10) is RunExit.HALT
    assert cpu.al == 0xFF
    asked: list[tuple[int, int]] = []

    def read(port: int, size: int) -> int:
        asked.append((port, size))
        return 0x12

    memory.set_port_handlers(read, nothing_written)
    cpu.rip, cpu.activity = 0x1000, 0
    assert cpu.run(10) is RunExit.HALT
    assert (cpu.al, asked) == (0x12, [(0x42, 1)])


def test_access_past_the_end_of_a_range_goes_to_each_port_by_itself(memory: PhysicalMemory) -> None:
    memory.map_port(0x60, 2, lambda offset, size: (0xAA00 | offset) & (1 << 8 * size) - 1, nothing_written)
    memory.map_port(0x62, 1, lambda offset, size: 0x55, nothing_written)
    cpu = real_mode(memory, "in eax, 0x60; hlt")
    assert cpu.run(10) is RunExit.HALT
    assert cpu.eax == 0xFF550100


def test_overlapping_ports_are_refused_and_released_ports_are_free(memory: PhysicalMemory) -> None:
    memory.map_port(0x3F8, 8, nothing_read, nothing_written)
    with pytest.raises(UsageError, match="ports 0x03f0-0x03f8 overlap the mapped ports 0x03f8-0x03ff"):
        memory.map_port(0x3F0, 9, nothing_read, nothing_written)
    with pytest.raises(UsageError, match="no 4 ports mapped at 0x03f8"):
        memory.unmap_port(0x3F8, 4)
    memory.unmap_port(0x3F8, 8)
    memory.map_port(0x3F0, 9, nothing_read, nothing_written)
    with pytest.raises(ValueError, match="expected 1 to 2 ports"):
        memory.map_port(0xFFFE, 3, nothing_read, nothing_written)


def test_repeated_string_io_is_one_call(memory: PhysicalMemory) -> None:
    calls: list[tuple[object, ...]] = []

    def read_bulk(offset: int, size: int, count: int) -> bytes:
        calls.append((offset, size, count))
        return bytes(range(size * count))

    def write_bulk(offset: int, size: int, data: bytes) -> None:
        calls.append((offset, size, data))

    memory.map_port(0x1F0, 8, nothing_read, nothing_written, read_bulk, write_bulk)
    cpu = real_mode(
        memory, "mov dx, 0x1f0; mov di, 0x4000; mov si, 0x4000; mov cx, 8; rep insw; mov cx, 4; rep outsw; hlt"
    )
    assert cpu.run(100) is RunExit.HALT
    assert memory.read(0x4000, 16) == bytes(range(16))
    assert calls == [(0, 2, 8), (0, 2, bytes(range(8)))]


def test_bulk_answer_of_the_wrong_size_is_an_error(memory: PhysicalMemory) -> None:
    memory.map_port(0x1F0, 8, nothing_read, nothing_written, lambda offset, size, count: b"short", None)
    cpu = real_mode(memory, "mov dx, 0x1f0; mov di, 0x4000; mov cx, 8; rep insw; hlt")
    with pytest.raises(ValueError, match="read_bulk answered 5 bytes: expected 16"):
        cpu.run(100)


# Life


def test_cycle_of_memory_and_device_is_collected() -> None:
    class Device:
        def __init__(self) -> None:
            self.memory = PhysicalMemory()
            self.memory.map_ram(0, 0x1000)
            self.memory.map_device(0x1000, 16, self.read, self.write)
            self.memory.map_port(0x10, 4, self.read, self.write)
            self.memory.map_port(0xE9, 1, None, None, None, self.write_bulk, writers={(0, 1): self.write_one})
            self.cpu = Cpu(self.memory)
            self.cpu.acknowledge = self.acknowledge

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, value: int, size: int) -> None:
            return None

        def write_bulk(self, offset: int, size: int, data: bytes) -> None:
            return None

        def write_one(self, value: int) -> None:
            return None

        def acknowledge(self) -> int:
            return 0

    device: Device | None = Device()
    gone = weakref.ref(device)
    del device
    gc.collect()
    assert gone() is None


def test_callbacks_are_let_go_when_they_are_unmapped(memory: PhysicalMemory) -> None:
    def make() -> tuple[Callable[[int, int], int], weakref.ref[object]]:
        def read(offset: int, size: int) -> int:
            return 0

        return read, weakref.ref(read)

    read, gone = make()
    memory.map_device(0x20000, 16, read, nothing_written)
    memory.map_port(0x60, 1, read, None)
    del read
    assert gone() is not None
    memory.unmap(0x20000, 16)
    memory.unmap_port(0x60, 1)
    assert gone() is None


def test_other_threads_are_kept_out_while_the_guest_runs(memory: PhysicalMemory) -> None:
    inside, leave = threading.Event(), threading.Event()

    def read(offset: int, size: int) -> int:
        inside.set()
        assert leave.wait(10)
        return 0

    memory.map_port(0x60, 1, read, None)
    cpu = real_mode(memory, "in al, 0x60; hlt")
    thread = threading.Thread(target=cpu.run, args=(10,))
    thread.start()
    try:
        assert inside.wait(10)
        with pytest.raises(UsageError, match="running on another thread"):
            memory.read(0, 1)
        with pytest.raises(UsageError, match="running on another thread"):
            _ = cpu.rax
        with pytest.raises(UsageError, match="not possible while a vCPU"):
            cpu.run(1)
        assert cpu.instructions == 0
    finally:
        leave.set()
        thread.join()
    assert memory.read(0, 1) == b"\0"
