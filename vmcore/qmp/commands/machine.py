"""What the machine is: vCPUs, boards, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.machine import (
    CpuInfo,
    CpuInfoFast,
    CurrentMachineParams,
    HotpluggableCPU,
    KvmInfo,
    MachineInfo,
    Memdev,
    MemoryDeviceInfo,
    MemoryInfo,
    TargetInfo,
    UuidInfo,
)
from vmcore.model.misc import IOThreadInfo
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("query-cpus", features=("deprecated",), since="0.14")
async def query_cpus(vm: VirtualMachine) -> tuple[CpuInfo, ...]:
    """The vCPUs with their instruction pointers.  Stops the guest for a moment: query-cpus-fast does not."""
    return await vm.query.cpus()


@command("query-cpus-fast", since="2.12")
async def query_cpus_fast(vm: VirtualMachine) -> tuple[CpuInfoFast, ...]:
    """The vCPUs, without stopping them."""
    return await vm.query.cpus_fast()


@command("query-hotpluggable-cpus", allow_preconfig=True, since="2.7")
async def query_hotpluggable_cpus(vm: VirtualMachine) -> tuple[HotpluggableCPU, ...]:
    """The places for vCPUs, and which are taken."""
    return await vm.query.hotpluggable_cpus()


@command("query-machines", since="1.2")
async def query_machines(vm: VirtualMachine) -> tuple[MachineInfo, ...]:
    """The boards that there are."""
    return await vm.query.machines()


@command("query-current-machine", since="4.0")
async def query_current_machine(vm: VirtualMachine) -> CurrentMachineParams:
    """What this machine can."""
    return await vm.query.current_machine()


@command("query-target", since="1.2")
async def query_target(vm: VirtualMachine) -> TargetInfo:
    """The architecture of the machine."""
    return await vm.query.target()


@command("query-memory-size-summary", since="2.11")
async def query_memory_size_summary(vm: VirtualMachine) -> MemoryInfo:
    """How much memory the machine started with."""
    return await vm.query.memory_size()


@command("query-memdev", allow_preconfig=True, since="2.1")
async def query_memdev(vm: VirtualMachine) -> tuple[Memdev, ...]:
    """The memory back ends."""
    return await vm.query.memdevs()


@command("query-kvm", since="0.14")
async def query_kvm(vm: VirtualMachine) -> KvmInfo:
    """Whether the host's hypervisor executes the guest."""
    return await vm.query.kvm()


@command("query-uuid", allow_preconfig=True, since="0.14")
async def query_uuid(vm: VirtualMachine) -> UuidInfo:
    """The machine's UUID."""
    return await vm.query.uuid()


@command("query-iothreads", allow_preconfig=True, since="2.0")
async def query_iothreads(vm: VirtualMachine) -> tuple[IOThreadInfo, ...]:
    """The I/O threads that were made."""
    return await vm.query.iothreads()


@command("query-memory-devices", since="2.1")
async def query_memory_devices(vm: VirtualMachine) -> tuple[MemoryDeviceInfo, ...]:
    """The memory modules that were plugged."""
    return await vm.query.memory_devices()
