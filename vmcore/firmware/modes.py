"""Processor states in which guests are entered, and the tables in memory that go with them."""

from __future__ import annotations

import struct

from attrs import evolve

from vmcore.firmware.boot_image import (
    CR0_ET,
    CR0_PE,
    CR0_PG,
    CR4_PAE,
    EFER_LMA,
    EFER_LME,
    CpuMode,
    DescriptorTable,
    InitialState,
    SegmentState,
)
from vmcore.firmware.placement import Placement
from vmcore.firmware.platform import FOUR_GIB, PlatformLayout
from vmcore.model.errors import ConfigError
from vmcore.model.units import GIB

__all__ = [
    "CODE_SELECTOR",
    "DATA_SELECTOR",
    "device_setup",
    "long_state",
    "memory_types",
    "protected_state",
    "real_state",
]

CODE_SELECTOR = 0x10
DATA_SELECTOR = 0x18
TASK_SELECTOR = 0x20

# Descriptor access rights, bits 40-55 (SDM vol. 3, 3.4.5): code is execute/read, accessed; data read/write, accessed.
CODE_32 = 0xC09B
CODE_64 = 0xA09B
DATA_32 = 0xC093
TASK_BUSY = 0x008B

FLAT_LIMIT = 0xFFFF_FFFF
TASK_LIMIT = 0x67

PAGE = 4096
LARGE_PAGE = 2 << 20
PRESENT_WRITABLE = 0x03
PAGE_SIZE_BIT = 0x80


def _descriptor(base: int, limit: int, attributes: int) -> bytes:
    """One eight-byte segment descriptor."""
    if attributes & 0x8000:
        limit >>= 12
    word = limit & 0xFFFF | (base & 0xFFFFFF) << 16 | attributes << 40 | (limit >> 16 & 0xF) << 48 | (base >> 24) << 56
    return struct.pack("<Q", word)


def _flat_tables(where: Placement, code: int) -> tuple[DescriptorTable, int]:
    """Places a task state segment and a GDT with flat code at 10h, data at 18h and the task at 20h."""
    task = where.low(bytes(TASK_LIMIT + 1), "task state segment")
    gdt = bytes(16) + _descriptor(0, FLAT_LIMIT, code) + _descriptor(0, FLAT_LIMIT, DATA_32)
    gdt += _descriptor(task, TASK_LIMIT, TASK_BUSY) + bytes(8)
    return DescriptorTable(where.low(gdt, "GDT"), len(gdt) - 1), task


def _identity_tables(where: Placement) -> int:
    """Places page tables that map the first 4 GiB and all RAM one to one with 2 MiB pages; the address for CR3."""
    layout = where.layout
    top = FOUR_GIB + layout.high_ram if layout.high_ram else FOUR_GIB
    directories = -(-top // GIB)
    roots = -(-directories // 512)
    size = (1 + roots + directories) * PAGE
    base = where.low(b"", "page tables", size=size, alignment=PAGE)
    pointers = base + PAGE
    first = pointers + roots * PAGE
    tables = bytearray(size)

    def entry(index: int, value: int) -> None:
        struct.pack_into("<Q", tables, index * 8, value)

    for number in range(roots):
        entry(number, pointers + number * PAGE | PRESENT_WRITABLE)
    for number in range(directories):
        entry(512 + number, first + number * PAGE | PRESENT_WRITABLE)
    start = 512 * (1 + roots)
    for number in range(directories * 512):
        entry(start + number, number * LARGE_PAGE | PAGE_SIZE_BIT | PRESENT_WRITABLE)
    where.fill(base, bytes(tables), "page tables")
    return base


def real_state(segment: int, offset: int, *, stack: tuple[int, int] = (0, 0), data: int = 0) -> InitialState:
    """Real mode at segment:offset; DS, ES, FS and GS hold `data`, SS:SP is `stack`."""

    def at(selector: int, attributes: int = 0x93) -> SegmentState:
        return SegmentState(selector, selector << 4, 0xFFFF, attributes)

    return InitialState(
        mode=CpuMode.REAL,
        rip=offset,
        rsp=stack[1],
        cs=at(segment, 0x9B),
        ds=at(data),
        es=at(data),
        fs=at(data),
        gs=at(data),
        ss=at(stack[0]),
        idtr=DescriptorTable(0, 0x3FF),
    )


def _flat_state(where: Placement, entry: int, code: int) -> InitialState:
    gdtr, task = _flat_tables(where, code)
    flat = SegmentState(DATA_SELECTOR, 0, FLAT_LIMIT, DATA_32)
    return InitialState(
        mode=CpuMode.PROTECTED,
        rip=entry,
        cr0=CR0_PE | CR0_ET,
        cs=SegmentState(CODE_SELECTOR, 0, FLAT_LIMIT, code),
        ds=flat,
        es=flat,
        fs=flat,
        gs=flat,
        ss=flat,
        tr=SegmentState(TASK_SELECTOR, task, TASK_LIMIT, TASK_BUSY),
        gdtr=gdtr,
        idtr=DescriptorTable(0, 0),
    )


def protected_state(where: Placement, entry: int) -> InitialState:
    """Flat 32-bit protected mode without paging, interrupts off, at `entry`."""
    return _flat_state(where, entry, CODE_32)


def long_state(where: Placement, entry: int) -> InitialState:
    """64-bit mode with memory mapped one to one, interrupts off, at `entry`."""
    if not where.layout.long_mode:
        raise ConfigError("cpu", "without 64-bit mode", f"a model with 64-bit mode to enter {where.file}")
    return evolve(
        _flat_state(where, entry, CODE_64),
        mode=CpuMode.LONG,
        cr0=CR0_PG | CR0_PE | CR0_ET,
        cr3=_identity_tables(where),
        cr4=CR4_PAE,
        efer=EFER_LME | EFER_LMA,
    )


def device_setup(layout: PlatformLayout) -> tuple[tuple[int, int, int], ...]:
    """Port writes of firmware that guests rely on: the 8042 translates scan codes and interrupts for the keyboard."""
    return ((0x64, 0x60, 1), (0x60, 0x65, 1)) if layout.keyboard else ()


def memory_types(layout: PlatformLayout) -> tuple[tuple[int, int], ...]:
    """MTRRs as firmware leaves them (SDM vol. 3, 12.11): write-back by default, uncached where devices are."""
    write_back, write_protected, uncached = 0x0606060606060606, 0x0505050505050505, 0
    size = FOUR_GIB - layout.low_ram_end
    mask = (1 << layout.physical_bits) - size
    return (
        (0x200, layout.low_ram_end),
        (0x201, mask | 0x800),
        (0x250, write_back),
        (0x258, write_back),
        (0x259, uncached),
        *((index, write_protected) for index in range(0x268, 0x270)),
        (0x2FF, 0xC06),
    )
