"""Core dumps of the guest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vmcore.model.dump import DumpGuestMemoryCapability, DumpGuestMemoryFormat, DumpQueryResult
from vmcore.model.errors import CommandError
from vmcore.model.wire import Int
from vmcore.qmp.registry import command
from vmcore.shell.dump import open_for_writing

if TYPE_CHECKING:
    from vmcore.qmp.server import Monitor
    from vmcore.vm import VirtualMachine

ELF, WINDOWS = DumpGuestMemoryFormat.ELF, DumpGuestMemoryFormat.WIN_DMP


@command("dump-guest-memory", since="1.2")
async def dump_guest_memory(
    vm: VirtualMachine,
    *,
    paging: bool,
    protocol: str,
    detach: bool | None = None,
    begin: Int | None = None,
    length: Int | None = None,
    format: DumpGuestMemoryFormat | None = None,
    monitor: Monitor,
) -> None:
    """Write a core dump of the guest, which stands still meanwhile: a 64-bit ELF file for gdb and crash.

    paging: show memory where the vCPUs map it; protocol: "file:PATH", or "fd:NAME" of a descriptor from getfd; detach:
    answer at once, and tell of the end with DUMP_COMPLETED alone; begin, length: only this physical memory; format:
    what query-dump-guest-memory-capability lists.
    """
    wanted = format or ELF
    if wanted not in (ELF, WINDOWS) and (paging or begin is not None or length is not None):
        raise _generic("kdump-compressed format doesn't support paging or filter")
    if begin is not None and length is None:
        raise _generic("Parameter 'length' is missing")
    if begin is None and length is not None:
        raise _generic("Parameter 'begin' is missing")
    if wanted not in vm.dump.formats:
        raise _generic(f"{wanted.value} is not available now")
    vm.dump.check_idle()
    kind, _, rest = protocol.partition(":")
    if kind == "fd" and _:
        if rest not in monitor.named:
            raise _generic(f"File descriptor named '{rest}' has not been found")
        descriptor = monitor.named.pop(rest)
    elif kind == "file" and _:
        descriptor = open_for_writing(rest)
    else:
        raise _generic("Invalid parameter 'protocol'")
    try:
        if length == 0:
            raise _generic("Invalid parameter 'length'")
        await vm.dump.check_memory(begin, length)
    except CommandError:
        os.close(descriptor)
        raise

    async def work() -> None:
        await vm.dump.guest(descriptor, paging=paging, begin=begin, length=length)

    async def detached() -> None:
        try:
            await work()
        except CommandError:
            return  # DUMP_COMPLETED has told of it.

    if detach:
        vm.start_soon(detached, "vmcore dump")
    else:
        await work()


@command("query-dump", since="2.6")
async def query_dump(vm: VirtualMachine) -> DumpQueryResult:
    """How far the latest dump is."""
    return vm.dump.progress


@command("query-dump-guest-memory-capability", since="2.0")
async def query_dump_guest_memory_capability(vm: VirtualMachine) -> DumpGuestMemoryCapability:
    """The formats of dumps."""
    return DumpGuestMemoryCapability(formats=vm.dump.formats)


def _generic(text: str) -> CommandError:
    return CommandError("GenericError", text)
