"""What clients may do before the machine is built, and the end of that time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.machine import NumaOptions
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("set-numa-node", boxed="option", allow_preconfig=True, since="2.10")
async def set_numa_node(vm: VirtualMachine, *, option: NumaOptions) -> None:
    """Add to the machine's NUMA topology, before the machine is built."""
    await vm.numa.add(option)


@command("x-exit-preconfig", allow_preconfig=True, features=("unstable",), since="3.0")
async def x_exit_preconfig(vm: VirtualMachine) -> None:
    """Build the machine as it is configured by now, and let it run unless it is to wait for cont.

    GenericError for a configuration that does not make a whole: then it may still be mended.
    """
    await vm.exit_preconfig()
