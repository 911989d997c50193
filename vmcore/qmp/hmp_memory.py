"""What the human monitor's `info` shows of NUMA nodes and of the objects that a user made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.units import MIB
from vmcore.qmp.hmp_expression import Scanner

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["iothreads", "memdev", "memory_devices", "memory_size_summary", "numa"]


def numa(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """The nodes, their vCPUs and their memory."""
    topology = vm.numa.topology()
    sizes = topology.sizes()
    lines = [f"{len(sizes)} nodes"]
    for node, size in enumerate(sizes):
        cpus = "".join(f" {cpu.index}" for cpu in machine.cpus if topology.node_of(cpu.index) == node)
        lines += [f"node {node} cpus:{cpus}", f"node {node} size: {size // MIB} MB", f"node {node} plugged: 0 MB"]
    return "\n".join(lines) + "\n"


def memdev(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """The memory back ends."""
    out = ""
    for found in vm.objects.memdevs():
        nodes = " ".join(str(node) for node in found.host_nodes)
        out += (
            f"memory backend: {found.id}\n  size:  {found.size}\n  merge: {_flag(found.merge)}\n"
            f"  dump: {_flag(found.dump)}\n  prealloc: {_flag(found.prealloc)}\n  share: {_flag(found.share)}\n"
            f"  reserve: {_flag(found.reserve)}\n  policy: {found.policy.value}\n  host nodes: {nodes}\n"
        )
    return out + "\n"


def _flag(value: bool | None) -> str:
    return "true" if value else "false"


def iothreads(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """The I/O threads."""
    return "".join(
        f"{found.id}:\n  thread_id={found.thread_id}\n  poll-max-ns={found.poll_max_ns}\n"
        f"  poll-grow={found.poll_grow}\n  poll-shrink={found.poll_shrink}\n  aio-max-batch={found.aio_max_batch}\n"
        for found in vm.objects.iothreads()
    )


def memory_devices(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """The memory modules that were plugged: no board has a place for one."""
    return ""


def memory_size_summary(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """How much memory the machine has."""
    return f"base memory: {vm.config.memory}\n"
