"""The machine's name, its command line, and file descriptors that clients hand over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vmcore.model.command_line import described
from vmcore.model.errors import CommandError
from vmcore.model.misc import AddfdInfo, CommandLineOptionInfo, FdsetFdInfo, FdsetInfo, NameInfo
from vmcore.model.wire import Int
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.qmp.server import Monitor
    from vmcore.vm import VirtualMachine
else:
    Monitor = VirtualMachine = object  # the registry resolves annotations


@command("query-name", allow_preconfig=True, since="0.14")
async def query_name(vm: VirtualMachine) -> NameInfo:
    """The name that the machine was given, if it was given one."""
    return NameInfo(name=vm.config.name)


def _received(monitor: Monitor) -> int:
    descriptor = monitor.take_descriptor()
    if descriptor is None:
        raise CommandError("GenericError", "No file descriptor supplied via SCM_RIGHTS")
    return descriptor


@command("getfd", only_on="posix", since="0.14")
async def getfd(vm: VirtualMachine, *, monitor: Monitor, fdname: str) -> None:
    """Give a name to the descriptor that came along with this command.  One that had the name is closed."""
    descriptor = _received(monitor)
    if fdname[:1].isdigit():
        os.close(descriptor)
        raise CommandError("GenericError", "Parameter 'fdname' expects a name not starting with a digit")
    if fdname in monitor.named:
        os.close(monitor.named[fdname])
    monitor.named[fdname] = descriptor


@command("closefd", since="0.14")
async def closefd(vm: VirtualMachine, *, monitor: Monitor, fdname: str) -> None:
    """Close a descriptor that `getfd` gave a name."""
    if fdname not in monitor.named:
        raise CommandError("GenericError", f"File descriptor named '{fdname}' not found")
    os.close(monitor.named.pop(fdname))


@command("add-fd", since="1.2")
async def add_fd(
    vm: VirtualMachine, *, monitor: Monitor, fdset_id: Int | None = None, opaque: str | None = None
) -> AddfdInfo:
    """Put the descriptor that came along with this command into a set; into a new one if none is named."""
    descriptor = _received(monitor)
    if fdset_id is not None and fdset_id < 0:
        os.close(descriptor)
        raise CommandError("GenericError", "Parameter 'fdset-id' expects a non-negative value")
    return AddfdInfo(fdset_id=vm.fdsets.add(descriptor, fdset_id, opaque), fd=descriptor)


@command("remove-fd", since="1.2")
async def remove_fd(vm: VirtualMachine, *, fdset_id: Int, fd: Int | None = None) -> None:
    """Close one descriptor of a set, or all of them."""
    vm.fdsets.remove(fdset_id, fd)


@command("query-fdsets", since="1.2")
async def query_fdsets(vm: VirtualMachine) -> tuple[FdsetInfo, ...]:
    """The sets of descriptors and what is in them."""
    return tuple(
        FdsetInfo(fdset_id=number, fds=tuple(FdsetFdInfo(fd=h.fd, opaque=h.opaque) for h in held))
        for number, held in vm.fdsets.all().items()
    )


@command("query-command-line-options", allow_preconfig=True, since="1.5")
async def query_command_line_options(
    vm: VirtualMachine, *, option: str | None = None
) -> tuple[CommandLineOptionInfo, ...]:
    """The options of the command line with their parameters; only one if it is named.

    GenericError if there is no such option.
    """
    found = tuple(info for info in described() if option is None or info.option == option)
    if not found:
        raise CommandError("GenericError", f"invalid option name: {option}")
    return found
