"""The human monitor, over QMP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.errors import CommandError
from vmcore.model.wire import Int
from vmcore.qmp.hmp import HumanMonitor
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("human-monitor-command", features=("savevm-monitor-nodes",), since="0.14")
async def human_monitor_command(vm: VirtualMachine, *, command_line: str, cpu_index: Int | None = None) -> str:
    """Run a line of the human monitor; what it says.  A line that is wrong is no error: its output says so.

    cpu-index: the vCPU that the line is about, the first if it is left out.
    """
    if cpu_index is not None and cpu_index not in vm.peek().present_cpus:
        raise CommandError("GenericError", "Parameter 'cpu-index' expects a CPU number")
    text = await HumanMonitor(vm, cpu_index or 0).run(command_line)
    return text.replace("\n", "\r\n")
