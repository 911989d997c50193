"""RAM that is somebody else's memory."""

from __future__ import annotations

import gc
import mmap

import pytest

from vmcore.engine import Cpu, PhysicalMemory, find_model

PAGE = 4096


def lent(pages: int) -> mmap.mmap:
    return mmap.mmap(-1, pages * PAGE)


def test_the_guest_works_in_the_memory_that_was_lent() -> None:
    memory, buffer = PhysicalMemory(), lent(4)
    buffer[PAGE : PAGE + 4] = b"here"
    memory.map_ram(0x10000, 4 * PAGE, buffer=memoryview(buffer))
    assert memory.read(0x10000 + PAGE, 4) == b"here"
    memory.write(0x10000, b"there")
    assert buffer[:5] == b"there"
    code = bytes.fromhex("c6 06 45 23 5a f4")  # mov byte [0x2345], 0x5a; hlt
    low = lent(4)
    low[: len(code)] = code
    memory.map_ram(0, 4 * PAGE, buffer=memoryview(low))
    cpu = Cpu(memory, index=0, model=find_model("max"), seed=0)
    cpu.reset()
    cpu.rip = 0
    cpu.cs = cpu.cs.__class__(selector=0, base=0, limit=0xFFFF, attributes=cpu.cs.attributes)
    cpu.run(10)
    assert low[0x2345] == 0x5A
    assert 0x2000 in memory.dirty_pages()


def test_every_page_counts_as_one_that_may_hold_something() -> None:
    memory, buffer = PhysicalMemory(), lent(16)
    memory.map_ram(0, 16 * PAGE, buffer=memoryview(buffer))
    assert memory.used_pages() == []
    empty = memory.digest()
    buffer[9 * PAGE + 5] = 1
    assert memory.used_pages() == [9 * PAGE]
    assert memory.digest() != empty
    assert memory.dirty_pages() == []
    other = PhysicalMemory()
    other.map_ram(0, 16 * PAGE)
    other.write(9 * PAGE + 5, b"\1")
    assert other.digest() == memory.digest()


def test_it_is_held_until_it_is_unmapped() -> None:
    memory, buffer = PhysicalMemory(), lent(4)
    memory.map_ram(0, 2 * PAGE, buffer=memoryview(buffer)[: 2 * PAGE])
    memory.map_ram(0x8000, 2 * PAGE, buffer=memoryview(buffer)[2 * PAGE :])
    with pytest.raises(BufferError):
        buffer.close()
    memory.unmap(0, 2 * PAGE)
    del memory
    gc.collect()
    buffer.close()


def test_what_cannot_be_lent_is_refused() -> None:
    memory, buffer = PhysicalMemory(), lent(4)
    for wrong in (memoryview(buffer)[:PAGE], memoryview(buffer)[1 : 1 + 2 * PAGE]):
        with pytest.raises(ValueError, match="expected one of that size that begins at a page"):
            memory.map_ram(0, 2 * PAGE, buffer=wrong)
    with pytest.raises((BufferError, TypeError)):
        memory.map_ram(0, 2 * PAGE, buffer=bytes(2 * PAGE))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        memory.map_ram(0, PAGE, buffer=3)  # type: ignore[arg-type]
    del wrong
    assert memory.regions() == []
    buffer.close()
