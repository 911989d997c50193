"""Accesses to ports and device memory: what the engine does by itself, and what Python is asked."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest

from vmcore.engine import Cpu, PhysicalMemory
from vmcore.engine.registers import RunExit
from vmcore.hardware import COLLECT, KEEP, READ, UNTIL, WRITE, Cells, Counter
from vmcore.model.errors import UsageError

CODE = 0x1000
DEVICE = 0x8000

OUT_AL = bytes.fromhex("ee")  # out dx, al
OUT_AX = bytes.fromhex("ef")
OUT_EAX = bytes.fromhex("66ef")
IN_AL = bytes.fromhex("ec")
IN_AX = bytes.fromhex("ed")
IN_EAX = bytes.fromhex("66ed")
REP_OUTSB = bytes.fromhex("f36e")
WRITES, READS = {1: OUT_AL, 2: OUT_AX, 4: OUT_EAX}, {1: IN_AL, 2: IN_AX, 4: IN_EAX}


class Bench:
    """A vCPU in real mode that makes one access at a time; `calls` has what Python was asked."""

    def __init__(self) -> None:
        self.memory = PhysicalMemory()
        self.memory.map_ram(0, 0x8000)
        self.cpu = Cpu(self.memory)
        self.cpu.set_segment(1, 0, 0, 0xFFFF, 0x9B)
        self.calls: list[tuple[Any, ...]] = []

    def read(self, offset: int, size: int) -> int:
        self.calls.append(("read", offset, size))
        return (1 << 8 * size) - 2

    def write(self, offset: int, value: int, size: int) -> None:
        self.calls.append(("write", offset, value, size))

    def write_bulk(self, offset: int, size: int, data: bytes) -> None:
        self.calls.append(("bulk", offset, size, data))

    def run(self, code: bytes, count: int | None = None) -> RunExit:
        self.memory.write(CODE, code + b"\xf4")
        self.cpu.rip = CODE
        self.cpu.activity = 0
        return RunExit(self.cpu.run(1000 if count is None else count))

    def output(self, port: int, value: int, size: int = 1) -> None:
        self.cpu.edx, self.cpu.eax = port, value
        assert self.run(WRITES[size]) is RunExit.HALT

    def input(self, port: int, size: int = 1) -> int:
        self.cpu.edx, self.cpu.eax = port, 0
        assert self.run(READS[size]) is RunExit.HALT
        return self.cpu.eax

    def map(self, cells: Cells | None, count: int = 4, **more: Any) -> None:
        self.memory.map_port(
            0x80, count, self.read, self.write, None, self.write_bulk, cells=cells and cells.buffers, **more
        )


def cells_of(rules: Sequence[int], values: Sequence[int] = ()) -> Cells:
    cells = Cells(len(rules))
    cells.rules[:] = bytes(rules)
    cells.values[: len(values)] = bytes(values)
    cells.writable[:] = b"\xff" * len(rules)
    return cells


def test_a_readable_byte_is_read_without_python() -> None:
    bench = Bench()
    cells = cells_of([READ, 0, 0, 0], [0x42])
    bench.map(cells)
    assert bench.input(0x80) == 0x42
    cells.values[0] = 0x43
    assert bench.input(0x80) == 0x43
    assert bench.calls == []
    cells.rules[0] = 0
    assert bench.input(0x80) == 0xFE
    assert bench.calls == [("read", 0, 1)]


def test_a_byte_that_holds_for_a_while_is_read_without_python_for_so_long() -> None:
    bench = Bench()
    cells = cells_of([UNTIL, UNTIL, 0, 0], [0x42, 0x43])
    bench.map(cells)
    bench.memory.map_device(DEVICE, 0x1000, bench.read, bench.write, cells=cells.buffers)
    load = bytes.fromhex("a00080")  # mov al, [0x8000]
    assert bench.input(0x80) == 0xFE, "no time was named"
    cells.until = bench.cpu.guest_ns + 7
    assert bench.input(0x80, 2) == 0x4342  # Two instructions each: in, hlt.
    assert bench.input(0x80) == 0x42
    del bench.calls[:]
    assert bench.run(load) is RunExit.HALT
    assert (bench.cpu.eax, bench.calls) == (0x42, [])
    assert bench.cpu.guest_ns == cells.until - 1
    bench.run(b"\x90")
    bench.calls.clear()
    assert bench.input(0x80) == 0xFE
    assert bench.run(load) is RunExit.HALT
    assert bench.calls == [("read", 0, 1), ("read", 0, 1)]
    bench.output(0x80, 1)
    assert cells.values[0] == 0x42


def test_a_byte_that_can_only_be_read_is_written_by_python() -> None:
    bench = Bench()
    cells = cells_of([READ, 0, 0, 0], [0x42])
    bench.map(cells)
    bench.output(0x80, 0x99)
    assert (bench.calls, cells.values[0]) == ([("write", 0, 0x99, 1)], 0x42)


@pytest.mark.parametrize(("value", "kept"), [(0x00, 0xFC), (0xFF, 0x3F), (0x45, 0xBD), (0x83, 0x7F)])
def test_a_store_obeys_the_masks(value: int, kept: int) -> None:
    bench = Bench()
    cells = cells_of([WRITE | READ], [0xFC])
    cells.writable[0], cells.clears[0] = 0x03, 0xC0
    bench.map(cells, count=1)
    bench.output(0x80, value)
    assert cells.values[0] == kept
    assert bench.input(0x80) == kept
    assert bench.calls == []


def test_an_access_of_several_bytes_needs_the_rule_for_each() -> None:
    bench = Bench()
    cells = cells_of([READ | WRITE, READ | WRITE, READ, 0], [1, 2, 3, 4])
    bench.map(cells)
    assert bench.input(0x80, 2) == 0x0201
    bench.output(0x80, 0xBBAA, 2)
    assert list(cells.values) == [0xAA, 0xBB, 3, 4]
    assert bench.calls == []
    assert bench.input(0x81, 2) == 0x03BB
    bench.output(0x81, 0, 2)
    assert bench.input(0x80, 4) == 0xFFFFFFFE
    assert bench.calls == [("write", 1, 0, 2), ("read", 0, 4)]


def test_only_the_very_value_that_is_there_is_kept_from_python() -> None:
    bench = Bench()
    bench.map(cells_of([KEEP, KEEP, 0, 0], [0x10, 0x20]))
    bench.output(0x80, 0x10)
    bench.output(0x80, 0x2010, 2)
    assert bench.calls == []
    bench.output(0x80, 0x11)
    bench.output(0x80, 0x2110, 2)
    assert bench.calls == [("write", 0, 0x11, 1), ("write", 0, 0x2110, 2)]


def test_cells_that_end_before_the_range_leave_the_rest_to_python() -> None:
    bench = Bench()
    bench.map(cells_of([READ, READ], [7, 8]))
    assert bench.input(0x82) == 0xFE
    assert bench.input(0x81, 2) == 0xFFFE
    assert bench.calls == [("read", 2, 1), ("read", 1, 2)]


def test_offsets_are_counted_from_the_one_that_was_given() -> None:
    bench = Bench()
    bench.map(cells_of([0, 0, 0, READ, 0], [0, 0, 0, 0x33, 0]), count=2, offset=3)
    assert bench.input(0x80) == 0x33
    bench.output(0x81, 5)
    assert bench.calls == [("write", 4, 5, 1)]


def test_an_access_over_the_end_of_a_range_goes_byte_by_byte() -> None:
    bench = Bench()
    bench.map(cells_of([READ], [0x21]), count=1)
    bench.memory.map_port(0x81, 1, bench.read, bench.write)
    assert bench.input(0x80, 4) == 0xFFFFFE21
    assert bench.calls == [("read", 0, 1)]


def test_random_accesses_are_those_of_a_model_in_python() -> None:
    random = Random(7)
    bench = Bench()
    cells = cells_of([random.choice((0, READ, WRITE, READ | WRITE, KEEP, READ | KEEP)) for _ in range(16)])
    for table in cells.values, cells.writable, cells.clears:
        table[:] = random.randbytes(16)
    bench.map(cells, count=16)
    values, rules = list(cells.values), list(cells.rules)
    for _ in range(2000):
        size = random.choice((1, 2, 4))
        at = random.randrange(17 - size)
        lanes = range(at, at + size)
        before = int.from_bytes(values[at : at + size], "little")
        asked: list[tuple[Any, ...]] = []
        if random.random() < 0.5:
            if all(rules[i] & READ for i in lanes):
                expected = before
            else:
                expected, asked = (1 << 8 * size) - 2, [("read", at, size)]
            assert bench.input(0x80 + at, size) == expected
        else:
            value = random.choice((before, random.getrandbits(8 * size)))
            if all(rules[i] & WRITE for i in lanes):
                for i in lanes:
                    byte, mask = value >> 8 * (i - at) & 0xFF, cells.writable[i]
                    values[i] = values[i] & ~mask & ~(byte & cells.clears[i]) | byte & mask
            elif not (all(rules[i] & KEEP for i in lanes) and value == before):
                asked = [("write", at, value, size)]
            bench.output(0x80 + at, value, size)
        assert bench.calls == asked
        assert list(cells.values) == values
        bench.calls.clear()


def test_ports_that_nobody_mapped_read_as_ones_and_swallow_writes() -> None:
    bench = Bench()
    bench.output(0x1234, 0, 4)
    assert bench.input(0x1234, 4) == 0xFFFFFFFF
    assert bench.input(0x1234) == 0xFF


def test_handlers_of_single_registers_are_asked_first() -> None:
    bench = Bench()
    bench.map(
        None,
        readers={(0, 1): lambda: 0x11, (0, 2): lambda: 0x2222},
        writers={(1, 1): lambda value: bench.calls.append(("direct", value))},
    )
    assert (bench.input(0x80), bench.input(0x80, 2), bench.input(0x81)) == (0x11, 0x2222, 0xFE)
    bench.output(0x81, 9)
    bench.output(0x80, 8)
    assert bench.calls == [("read", 1, 1), ("direct", 9), ("write", 0, 8, 1)]


def test_device_memory_has_cells_and_handlers_too() -> None:
    bench = Bench()
    cells = cells_of([READ | KEEP] * 4 + [READ | WRITE] * 4 + [0] * 4, range(12))
    bench.memory.map_device(
        DEVICE, 12, bench.read, bench.write, cells=cells.buffers, readers={(8, 4): lambda: 0x12345678}
    )
    bench.cpu.eax = 0xAABBCCDD
    # mov [8004h], eax; mov ebx, [8000h]; mov [8000h], ebx; mov ecx, [8008h]; mov esi, [8006h]; mov [8000h], al
    code = "66a30480 668b1e0080 66891e0080 668b0e0880 668b360680 a20080"
    assert bench.run(bytes.fromhex(code)) is RunExit.HALT
    assert (bench.cpu.ebx, bench.cpu.ecx, bench.cpu.esi) == (0x03020100, 0x12345678, 0xFFFFFFFE)
    assert cells.values[4:8] == b"\xdd\xcc\xbb\xaa"
    assert bench.calls == [("read", 6, 4), ("write", 0, 0xDD, 1)]


def test_collected_bytes_come_when_the_run_ends() -> None:
    bench = Bench()
    bench.map(cells_of([COLLECT, 0, 0, 0]))
    bench.cpu.edx, bench.cpu.eax = 0x80, 0x41
    assert bench.run(OUT_AL * 3, 2) is RunExit.BUDGET
    assert bench.calls == [("bulk", 0, 1, b"AA")]


def test_collected_bytes_come_before_anything_else_that_python_sees() -> None:
    bench = Bench()
    bench.map(cells_of([COLLECT, COLLECT, 0, 0]))
    bench.cpu.acknowledge = lambda: bench.calls.append(("acknowledge",))
    bench.cpu.edx, bench.cpu.eax = 0x80, 0x41
    inc, dec = b"\x42", b"\x4a"
    assert bench.run(OUT_AL + OUT_AL + inc + OUT_AL + dec + OUT_AL + inc + inc + IN_AL) is RunExit.HALT
    assert bench.calls == [
        ("bulk", 0, 1, b"AA"),
        ("bulk", 1, 1, b"A"),
        ("bulk", 0, 1, b"A"),
        ("read", 2, 1),
    ]
    bench.calls.clear()
    bench.cpu.edx, bench.cpu.eax = 0x80, 0x42
    bench.cpu.rflags |= 0x200
    bench.cpu.set_interrupt(True)
    bench.run(OUT_AL)
    bench.calls.clear()
    bench.cpu.set_interrupt(False)

    def interrupt(offset: int, size: int) -> int:
        bench.cpu.set_interrupt(True)
        return 0

    bench.memory.map_port(0x90, 1, interrupt, None)
    # out 80h, al; in al, 90h; out 80h, al: the interrupt is taken, and asked for, after the second byte
    bench.run(bytes.fromhex("e680 e490 e680"))
    assert bench.calls == [("bulk", 0, 1, b"B"), ("acknowledge",), ("bulk", 0, 1, b"\x00")]


def test_collected_bytes_come_in_pieces_of_bounded_size() -> None:
    bench = Bench()
    bench.map(cells_of([COLLECT, 0, 0, 0]))
    bench.cpu.edx, bench.cpu.ecx = 0x80, 1000
    assert bench.run(bytes.fromhex("88c8 ee e2fb"), 100_000) is RunExit.HALT
    pieces = [call[3] for call in bench.calls]
    assert b"".join(pieces) == bytes(count & 0xFF for count in range(1000, 0, -1))
    assert max(map(len, pieces)) <= 256


def test_a_guest_that_polls_does_not_hold_back_what_it_wrote() -> None:
    bench = Bench()
    cells = cells_of([COLLECT, READ, 0, 0])
    seen = []

    def write_bulk(offset: int, size: int, data: bytes) -> None:
        seen.append((data, bench.cpu.instructions - start))

    bench.memory.map_port(0x80, 4, None, None, None, write_bulk, cells=cells.buffers)
    bench.cpu.edx, bench.cpu.eax = 0x80, 0x41
    start = bench.cpu.instructions
    assert bench.run(bytes.fromhex("ee 42 ec ebfd"), 100_000) is RunExit.BUDGET
    assert [data for data, _ in seen] == [b"A"]
    assert seen[0][1] < 600


def test_a_collector_that_raises_ends_the_run_after_the_instruction_that_brought_it_up() -> None:
    bench = Bench()
    error = LookupError("no more paper")

    def fail(offset: int, size: int, data: bytes) -> None:
        bench.calls.append((data,))
        raise error

    bench.memory.map_port(0x80, 2, bench.read, bench.write, None, fail, cells=cells_of([COLLECT, 0]).buffers)
    bench.cpu.edx, bench.cpu.eax = 0x80, 0x41
    with pytest.raises(LookupError) as caught:
        bench.run(OUT_AL + b"\x42" + IN_AL + b"\x90" * 10)
    assert caught.value is error
    assert bench.cpu.rip == CODE + 3
    assert bench.calls[0] == (b"A",)
    bench.cpu.edx = 0x80
    with pytest.raises(LookupError):  # at the end of a run, too
        bench.run(OUT_AL)


def test_a_handler_may_take_its_own_range_away() -> None:
    bench = Bench()
    gone = []

    class Handler:
        def __call__(self, offset: int, size: int) -> int:
            bench.memory.unmap_port(0x80, 4)
            bench.memory.map_port(0x80, 4, None, None)
            return 0x77

        def __del__(self) -> None:
            gone.append(True)

    bench.memory.map_port(0x80, 4, Handler(), None)
    assert bench.input(0x80) == 0x77
    assert gone
    assert bench.input(0x80) == 0xFF


def test_bytes_under_way_are_not_lost_when_another_handler_unmaps_the_range() -> None:
    bench = Bench()
    bench.map(cells_of([COLLECT, 0, 0, 0]))

    def away(offset: int, size: int) -> int:
        bench.memory.unmap_port(0x80, 4)
        return 0

    bench.memory.map_port(0x90, 1, away, None)
    bench.cpu.edx, bench.cpu.eax = 0x80, 0x41
    assert bench.run(bytes.fromhex("ee e490 ee")) is RunExit.HALT
    assert bench.calls == [("bulk", 0, 1, b"A")]


def test_shared_bytes_cannot_be_resized_while_they_are_mapped() -> None:
    bench = Bench()
    cells = cells_of([READ])
    bench.map(cells, count=1)
    with pytest.raises(BufferError):
        cells.values.append(0)
    bench.memory.unmap_port(0x80, 1)
    cells.values.append(0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"cells": (bytearray(1), bytearray(2), bytearray(1), bytearray(1), bytearray(8))}, ValueError),
        ({"cells": (bytes(1), bytearray(1), bytearray(1), bytearray(1), bytearray(8))}, BufferError),
        ({"cells": (bytearray(1),)}, TypeError),
        ({"cells": 5}, TypeError),
        ({"readers": [1]}, TypeError),
        ({"readers": {1: len}}, TypeError),
        ({"writers": {(0, 1): 5}}, TypeError),
        ({"writers": {(0, 9): len}}, OverflowError),
        ({"offset": -1}, OverflowError),
    ],
)
def test_wrong_arguments_map_nothing(arguments: dict[str, Any], error: type[Exception]) -> None:
    memory = PhysicalMemory()
    with pytest.raises(error):
        memory.map_port(0x80, 1, None, None, **arguments)
    memory.map_port(0x80, 1, None, None)


def test_overlapping_ranges_are_refused_and_leave_no_trace() -> None:
    bench = Bench()
    bench.map(None)
    cells = cells_of([READ])
    with pytest.raises(UsageError, match=r"0x0083-0x0083 overlap the mapped ports 0x0080-0x0083"):
        bench.memory.map_port(0x83, 1, None, None, cells=cells.buffers)
    cells.values.append(0)  # nobody holds them


def test_handlers_that_refer_to_the_memory_are_collected_with_it() -> None:
    class Holder:
        def __init__(self, memory: PhysicalMemory) -> None:
            self.memory = memory

        def read(self, *place: int) -> int:
            return 0

    memory = PhysicalMemory()
    holder = Holder(memory)
    memory.map_port(0x80, 1, None, None, readers={(0, 1): holder.read})
    memory.map_device(0, 16, holder.read, None)
    alive = weakref.ref(holder)
    del memory, holder
    gc.collect()
    assert alive() is None


def in_a_thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_another_python_thread_gets_on_while_a_guest_polls_a_port() -> None:
    bench = Bench()
    bench.map(None)
    bench.cpu.edx = 0x80
    turns = 0

    def count() -> None:
        nonlocal turns
        while turns < 2000:
            turns += 1
        bench.cpu.request_stop()

    thread = in_a_thread(count)
    bench.run(bytes.fromhex("ec ebfd"), 1 << 40)
    thread.join()
    assert turns == 2000


def test_a_counter_is_read_without_python_while_it_runs() -> None:
    bench = Bench()
    counter = Counter(offset=0, size=4, hz=3_579_545, bits=24)
    bench.map(None, counter=counter.description)
    assert bench.input(0x80, 4) == 0xFFFF_FFFE
    counter.run(5, 1_000)
    for now in (1_000, 1_000_000_000, 123_456_789_012, 1 << 62):
        bench.cpu.set_time(now)
        # The time of the access itself: no instruction has been retired before it.
        expected = 5 + (now - 1_000) * 3_579_545 // 1_000_000_000 & 0xFF_FFFF
        assert bench.input(0x80, 4) == expected
        bench.cpu.set_time(now)
        assert bench.input(0x81, 2) == expected >> 8 & 0xFFFF
    assert len(bench.calls) == 1
    counter.stop()
    bench.input(0x80, 4)
    assert len(bench.calls) == 2


def test_counters_are_checked() -> None:
    memory = PhysicalMemory()
    with pytest.raises(TypeError, match="counter"):
        memory.map_device(0, 16, None, None, counter=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="counter"):
        memory.map_device(0, 16, None, None, counter=(0, 8, bytearray(8)))
    assert memory.regions() == []
