"""What a vCPU's page tables map, found by reading them (SDM Vol. 3A chapter 4).  Nothing is changed by it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from attrs import frozen

from vmcore.engine.cpu import Cpu

__all__ = ["Page", "mapped_pages", "paging"]

PRESENT, WRITABLE, USER, LARGE, NO_EXECUTE = 1 << 0, 1 << 1, 1 << 2, 1 << 7, 1 << 63
CR0_PG, CR4_PSE, CR4_PAE, CR4_LA57, EFER_LMA = 1 << 31, 1 << 4, 1 << 5, 1 << 12, 1 << 10
ADDRESS: Final = 0x000F_FFFF_FFFF_F000


@frozen
class Page:
    """A page.  linear, physical: where it begins; size: bytes; entry: the table entry that maps it; rights: the
    PRESENT, WRITABLE and USER bits that all entries on the way to it agree on.
    """

    linear: int
    physical: int
    size: int
    entry: int
    rights: int


def paging(cpu: Cpu) -> bool:
    """Whether linear addresses are translated at all."""
    return bool(cpu.cr0 & CR0_PG)


def mapped_pages(cpu: Cpu) -> Iterator[Page]:
    """The pages in order of their linear addresses."""
    wide = bool(cpu.cr4 & CR4_PAE)
    if cpu.efer & EFER_LMA:
        levels = 5 if cpu.cr4 & CR4_LA57 else 4
    else:
        levels = 3 if wide else 2
    yield from _walk(cpu, cpu.cr3 & (ADDRESS if wide else 0xFFFF_F000), levels, levels, 0, PRESENT | WRITABLE | USER)


def _walk(cpu: Cpu, table: int, level: int, levels: int, base: int, rights: int) -> Iterator[Page]:
    wide = levels > 2
    bits = 9 if wide else 10
    shift = 12 + bits * (level - 1)
    pointers = levels == 3 and level == 3
    count = 4 if pointers else 1 << bits
    if pointers:
        table = cpu.cr3 & 0xFFFF_FFE0
    data = cpu.memory.read(table, count * (8 if wide else 4))
    for index, entry in enumerate(struct.unpack(f"<{count}{'Q' if wide else 'I'}", data)):
        if not entry & PRESENT:
            continue
        linear = base | index << shift
        if levels > 3 and level == levels and index >> 8:
            linear |= (1 << 64) - (1 << 12 + 9 * levels)
        # PDPTEs of PAE paging have no rights of their own.
        allowed = rights if pointers else rights & entry
        large = level in (2, 3) and entry & LARGE and (wide or bool(cpu.cr4 & CR4_PSE)) and not pointers
        if level == 1 or large:
            physical = entry & ADDRESS & -(1 << shift)
            if not wide and large:
                physical = entry & 0xFFC0_0000 | (entry >> 13 & 0xFF) << 32
            yield Page(linear, physical, 1 << shift, entry, allowed)
        else:
            yield from _walk(cpu, entry & (ADDRESS if wide else 0xFFFF_F000), level - 1, levels, linear, allowed)
