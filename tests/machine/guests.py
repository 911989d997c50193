"""Small guests, assembled when a test runs, and machines that start them."""

from __future__ import annotations

from typing import Any

import pytest

from vmcore.engine import assemble, can_assemble
from vmcore.machine.config import FlatImage, FlatMode, MachineConfig
from vmcore.machine.machine import Machine

BITS = {FlatMode.REAL: 16, FlatMode.PROTECTED: 32, FlatMode.LONG: 64}
EXIT_PORT = 0xF4
DEBUG_EXIT = f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=4"

HALT = "cli; hlt"
SPIN = "spin: jmp spin"

ECHO = """
    mov dx, 0x3fd
wait:
    in al, dx
    test al, 1
    jz wait
    mov dx, 0x3f8
    in al, dx
    out dx, al
    mov dx, 0x3fd
    jmp wait
"""
"""Sends back what it gets at the first serial port."""

WORK = """
    mov ebx, 0x200000
    xor eax, eax
next:
    add eax, 0x9e3779b9
    mov ecx, eax
    shr ecx, 12
    and ecx, 0xffffc
    add dword ptr [rbx + rcx], eax
    jmp next
"""
"""Writes all over a megabyte, for ever."""


def image(text: str, mode: FlatMode = FlatMode.LONG, address: int | None = None) -> FlatImage:
    """A guest that starts with the first instruction of `text`."""
    if not can_assemble():
        pytest.skip("keystone has no wheel here: guests cannot be assembled")
    if address is None:
        address = 0x7C00 if mode is FlatMode.REAL else 0x100000
    return FlatImage(assemble(text, BITS[mode], address), address, mode=mode)


def config(text: str, mode: FlatMode = FlatMode.LONG, **fields: Any) -> MachineConfig:
    """A small machine with that guest."""
    fields.setdefault("memory", "16M")
    fields.setdefault("devices", [DEBUG_EXIT])
    return MachineConfig(flat=image(text, mode), **fields)


def machine(text: str, mode: FlatMode = FlatMode.LONG, **fields: Any) -> Machine:
    """A small machine with that guest, built."""
    return Machine(config(text, mode, **fields))
