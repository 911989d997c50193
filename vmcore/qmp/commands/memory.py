"""Guest memory into files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.wire import Int
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("memsave", since="0.14")
async def memsave(vm: VirtualMachine, *, val: Int, size: Int, filename: str, cpu_index: Int | None = None) -> None:
    """Write `size` bytes at linear address `val`, as the first vCPU or another one sees them, to a file."""
    await vm.dump.virtual(filename, val % (1 << 64), size, 0 if cpu_index is None else cpu_index)


@command("pmemsave", since="0.14")
async def pmemsave(vm: VirtualMachine, *, val: Int, size: Int, filename: str) -> None:
    """Write `size` bytes at physical address `val` to a file."""
    await vm.dump.physical(filename, val % (1 << 64), size)
