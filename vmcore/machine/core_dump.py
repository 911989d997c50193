"""A core dump of the guest: an ELF file that gdb, crash and readelf open.

Source: System V ABI, "Object Files" (ELF), its AMD64 supplement for the machine's number; the layout of NT_PRSTATUS is
that of Linux (struct elf_prstatus on x86-64).  A second note for each vCPU, named QEMU, has what that has no room for:
segments, descriptor tables and control registers, in the layout that crash knows.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from attrs import frozen

from vmcore.engine import Cpu
from vmcore.engine.paging import mapped_pages, paging
from vmcore.hardware.memory_map import Ram
from vmcore.machine.machine import Machine

__all__ = ["Block", "headers", "ram_blocks", "segments"]

ET_CORE, EM_X86_64, PT_LOAD, PT_NOTE, NT_PRSTATUS, PN_XNUM = 4, 62, 1, 4, 1, 0xFFFF
FILE_HEADER, PROGRAM_HEADER, SECTION_HEADER = 64, 56, 64
PRSTATUS_SIZE, PRSTATUS_PID, PRSTATUS_REGISTERS = 336, 32, 112
MAPPINGS: Final = 100_000
"""Linear mappings that are described at most."""


@frozen
class Block:
    """`size` bytes of RAM at `physical`, that lie at `linear`."""

    physical: int
    size: int
    linear: int


def ram_blocks(machine: Machine, begin: int | None = None, length: int | None = None) -> list[Block]:
    """The machine's RAM, or what of it lies in a range of physical addresses."""
    low, high = (begin, begin + length) if begin is not None and length is not None else (0, 1 << 64)
    found = []
    for region in machine.board.memory_map:
        if isinstance(region, Ram):
            start, end = max(region.base, low), min(region.base + region.size, high)
            if start < end:
                found.append(Block(start, end - start, start))
    return found


def _cpus(machine: Machine) -> list[Cpu]:
    return [machine.cpus[index] for index in machine.present_cpus]


def segments(machine: Machine, blocks: Sequence[Block]) -> list[Block]:
    """What of `blocks` the vCPUs' page tables map, by linear addresses, each mapping once."""
    seen: dict[tuple[int, int], Block] = {}
    for cpu in _cpus(machine):
        if not paging(cpu):
            continue
        for linear, physical, size in _merged(cpu):
            for block in blocks:
                start = max(physical, block.physical)
                end = min(physical + size, block.physical + block.size)
                if start < end and len(seen) < MAPPINGS:
                    at = linear + start - physical
                    seen.setdefault((at, start), Block(start, end - start, at))
    return sorted(seen.values(), key=lambda block: block.linear)


def _merged(cpu: Cpu) -> Iterable[tuple[int, int, int]]:
    linear = physical = size = 0
    for count, page in enumerate(mapped_pages(cpu)):
        if count == MAPPINGS:
            break
        if size and linear + size == page.linear and physical + size == page.physical:
            size += page.size
            continue
        if size:
            yield linear, physical, size
        linear, physical, size = page.linear, page.physical, page.size
    if size:
        yield linear, physical, size


def headers(machine: Machine, blocks: Sequence[Block], mapped: Sequence[Block]) -> bytes:
    """Everything that stands before the memory, which follows block by block.

    mapped: segments that show parts of the blocks at linear addresses; without any the blocks are shown as they are.
    """
    notes = b"".join(map(_status, _cpus(machine))) + b"".join(map(_rest, _cpus(machine)))
    shown = list(mapped) or list(blocks)
    count = 1 + len(shown)
    sections = int(count >= PN_XNUM)
    data = FILE_HEADER + count * PROGRAM_HEADER + sections * SECTION_HEADER + len(notes)
    out = bytearray(b"\x7fELF" + bytes([2, 1, 1]) + bytes(9))
    out += struct.pack(
        "<HHIQQQ", ET_CORE, EM_X86_64, 1, 0, FILE_HEADER, (data - len(notes) - SECTION_HEADER) * sections
    )
    out += struct.pack("<IHHH", 0, FILE_HEADER, PROGRAM_HEADER, min(count, PN_XNUM))
    out += struct.pack("<HHH", SECTION_HEADER * sections, sections, 0)
    out += _program_header(PT_NOTE, data - len(notes), 0, 0, len(notes), 0)
    places, place = [], data
    for block in blocks:
        places.append((block, place))
        place += block.size
    for segment in shown:
        block, place = next((b, p) for b, p in places if b.physical <= segment.physical < b.physical + b.size)
        offset = place + segment.physical - block.physical
        out += _program_header(PT_LOAD, offset, segment.linear, segment.physical, segment.size, 7)
    if sections:
        # With so many segments their number stands in the first section header.
        out += struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, count, 0, 0)
    return bytes(out) + notes


def _program_header(kind: int, offset: int, linear: int, physical: int, size: int, flags: int) -> bytes:
    in_memory = size if kind == PT_LOAD else 0
    return struct.pack("<IIQQQQQQ", kind, flags, offset, linear, physical, size, in_memory, 0)


def _note(name: bytes, kind: int, content: bytes) -> bytes:
    padded = name + b"\0" * (-len(name) % 4)
    return struct.pack("<III", len(name), len(content), kind) + padded + content + b"\0" * (-len(content) % 4)


def _status(cpu: Cpu) -> bytes:
    """NT_PRSTATUS of a vCPU; its number, from 1 on, is the thread's."""
    status = bytearray(PRSTATUS_SIZE)
    struct.pack_into("<i", status, PRSTATUS_PID, cpu.index + 1)
    registers = (
        *(cpu.r15, cpu.r14, cpu.r13, cpu.r12, cpu.rbp, cpu.rbx, cpu.r11, cpu.r10, cpu.r9, cpu.r8),
        *(cpu.rax, cpu.rcx, cpu.rdx, cpu.rsi, cpu.rdi, (1 << 64) - 1),
        *(cpu.rip, cpu.cs.selector, cpu.rflags, cpu.rsp, cpu.ss.selector, cpu.fs.base, cpu.gs.base),
        *(cpu.ds.selector, cpu.es.selector, cpu.fs.selector, cpu.gs.selector),
    )
    struct.pack_into("<27Q", status, PRSTATUS_REGISTERS, *registers)
    return _note(b"CORE\0", NT_PRSTATUS, bytes(status))


def _rest(cpu: Cpu) -> bytes:
    """The registers that NT_PRSTATUS has no room for."""
    content = struct.pack(
        "<18Q",
        *(cpu.rax, cpu.rbx, cpu.rcx, cpu.rdx, cpu.rsi, cpu.rdi, cpu.rsp, cpu.rbp),
        *(cpu.r8, cpu.r9, cpu.r10, cpu.r11, cpu.r12, cpu.r13, cpu.r14, cpu.r15, cpu.rip, cpu.rflags),
    )
    for name in ("cs", "ds", "es", "fs", "gs", "ss", "ldtr", "tr"):
        segment = getattr(cpu, name)
        flags = segment.attributes << 8 & 0xFFFF00
        content += struct.pack("<IIIIQ", segment.selector, segment.limit, flags, 0, segment.base)
    for table in (cpu.gdtr, cpu.idtr):
        content += struct.pack("<IIIIQ", 0, table.limit, 0, 0, table.base)
    content += struct.pack("<6Q", cpu.cr0, 0, cpu.cr2, cpu.cr3, cpu.cr4, cpu.save().kernel_gs_base)
    return _note(b"QEMU\0", 0, struct.pack("<II", 1, 8 + len(content)) + content)
