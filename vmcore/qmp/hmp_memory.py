"""What the human monitor's `info` shows of NUMA nodes and of the objects that a user made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.machine.build_plug import dimms
from vmcore.model.units import MIB
from vmcore.qmp.hmp_expression import Scanner

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["iothreads", "memdev", "memory_devices", "memory_size_summary", "numa"]


def numa(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """The nodes, their vCPUs and their memory."""
    topology = vm.numa.topology()
    sizes, more = topology.sizes(), _plugged(machine)
    lines = [f"{len(sizes)} nodes"]
    for node, size in enumerate(sizes):
        cpus = "".join(f" {cpu.index}" for cpu in machine.cpus if topology.node_of(cpu.index) == node)
        plugged = more.get(node, 0)
        lines += [f"node {node} cpus:{cpus}", f"node {node} size: {(size + plugged) // MIB} MB"]
        lines.append(f"node {node} plugged: {plugged // MIB} MB")
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
    """The memory modules that there are, by address."""
    return "".join(
        f'Memory device [dimm]: "{module.id or ""}"\n  addr: {int(module.properties["addr"]):#x}\n'
        f"  slot: {module.properties['slot']}\n  node: {module.properties['node']}\n"
        f"  size: {module.properties['size']}\n  memdev: /objects/{module.properties['memdev']}\n"
        f"  hotplugged: {_flag(not module.cold)}\n  hotpluggable: true\n"
        for module in dimms(machine)
    )


def memory_size_summary(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """How much memory the machine has, and what of it was plugged in."""
    plugged = f"plugged memory: {sum(_plugged(machine).values())}\n" if machine.board.can_take_memory else ""
    return f"base memory: {vm.config.memory}\n{plugged}"


def _plugged(machine: Machine) -> dict[int, int]:
    """Bytes in memory modules by node."""
    found: dict[int, int] = {}
    for module in dimms(machine):
        node = int(module.properties["node"])
        found[node] = found.get(node, 0) + int(module.properties["size"])
    return found
