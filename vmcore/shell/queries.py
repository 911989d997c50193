"""What there is to know about a virtual machine, as typed answers: the face of the management model's queries.

Nothing here is remembered: every answer is made when it is asked for, from the configuration where that decides, else
from the machine.  Only what needs the vCPUs' registers stops the guest for a moment.
"""

from __future__ import annotations

import uuid as uuids
from typing import TYPE_CHECKING, final

from vmcore.boards.kinds import BOARDS
from vmcore.engine.registers import Activity
from vmcore.machine.build_plug import dimm_ost_info, dimms, ost_info, plugged_cpus
from vmcore.machine.plug_cpu import cpu_type
from vmcore.model.acpi import ACPIOSTInfo
from vmcore.model.machine import (
    CpuInfo,
    CpuInfoArch,
    CpuInfoFast,
    CpuInfoX86,
    CpuInstanceProperties,
    CurrentMachineParams,
    HotpluggableCPU,
    KvmInfo,
    MachineInfo,
    Memdev,
    MemoryDeviceInfo,
    MemoryDeviceInfoKind,
    MemoryInfo,
    PCDIMMDeviceInfo,
    PCDIMMDeviceInfoWrapper,
    SysEmuTarget,
    TargetInfo,
    UuidInfo,
)
from vmcore.model.misc import IOThreadInfo
from vmcore.model.pci import PciInfo
from vmcore.shell.pci import pci_info

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["Queries"]


def signed(value: int) -> int:
    """A 64-bit register as the signed integer that it is on the wire."""
    return value - (1 << 64) if value >> 63 else value


@final
class Queries:
    """`vm.query`: each method answers one question."""

    __slots__ = ("_vm",)

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm

    async def cpus_fast(self) -> tuple[CpuInfoFast, ...]:
        """The vCPUs, as far as they can be told without stopping them."""
        machine, thread = self._vm.peek(), self._vm.thread_id
        return tuple(
            CpuInfoFast(
                cpu_index=index,
                qom_path=device.path,
                thread_id=thread,
                props=self._place(index),
                arch=CpuInfoArch.X86,
                target=SysEmuTarget.X86_64,
            )
            for index, device in plugged_cpus(machine).items()
        )

    async def cpus(self) -> tuple[CpuInfo, ...]:
        """The vCPUs, where they are and whether they sleep.  Stops the guest for a moment."""
        async with self._vm.parked() as machine:
            return tuple(
                CpuInfoX86(
                    cpu=index,
                    current=index == 0,
                    halted=machine.cpus[index].activity != Activity.ACTIVE,
                    qom_path=device.path,
                    thread_id=self._vm.thread_id,
                    props=self._place(index),
                    pc=signed((machine.cpus[index].cs.base + machine.cpus[index].rip) % (1 << 64)),
                )
                for index, device in plugged_cpus(machine).items()
            )

    async def hotpluggable_cpus(self) -> tuple[HotpluggableCPU, ...]:
        """The places for vCPUs, the highest first, each with what is in it."""
        there = {} if self._vm.preconfig else plugged_cpus(self._vm.peek())
        return tuple(
            HotpluggableCPU(
                type=cpu_type(self._vm.config.cpu_model),
                vcpus_count=1,
                props=self._place(index),
                qom_path=there[index].path if index in there else None,
            )
            for index in reversed(range(self._vm.config.topology.total))
        )

    async def ospm_status(self) -> tuple[ACPIOSTInfo, ...]:
        """What the guest last said about each slot for a memory module and each place for a vCPU (_OST).

        Of places for vCPUs there is nothing to tell where the board has no ACPI for them, or the guest has not turned
        to the modern form of the port block, without which it has no way to say anything.
        """
        async with self._vm.parked() as machine:
            modules, slots = machine.board.memory_slots, machine.board.cpu_slots
            said = [dimm_ost_info(machine, slot) for slot in range(0 if modules is None else modules.count)]
            if slots is not None and not slots.device.legacy:
                said += [ost_info(machine, index) for index in range(len(machine.cpus))]
            return tuple(said)

    async def machines(self) -> tuple[MachineInfo, ...]:
        """The boards that a configuration can ask for."""
        default_board, default_cpu = type(self._vm.config)().board, type(self._vm.config)().cpu
        return tuple(
            MachineInfo(
                name=kind.version or kind.name,
                alias=None if kind.version is None else kind.name,
                is_default=True if kind.name == default_board else None,
                cpu_max=kind.max_cpus,
                hotpluggable_cpus=kind.hotpluggable_cpus,
                numa_mem_supported=False,
                deprecated=False,
                default_cpu_type=cpu_type(default_cpu),
                default_ram_id=kind.ram,
            )
            for kind in BOARDS.values()
        )

    async def current_machine(self) -> CurrentMachineParams:
        """What the board can."""
        return CurrentMachineParams(wakeup_suspend_support=self._vm.peek().board.can_suspend)

    async def target(self) -> TargetInfo:
        """The architecture."""
        return TargetInfo(arch=SysEmuTarget.X86_64)

    async def memory_size(self) -> MemoryInfo:
        """How much memory the machine has: from the beginning, and in modules where the board takes them."""
        plugged = None
        if not self._vm.preconfig:
            machine = self._vm.peek()
            if machine.board.can_take_memory:
                plugged = sum(int(module.properties["size"]) for module in dimms(machine))
        return MemoryInfo(base_memory=self._vm.config.memory, plugged_memory=plugged)

    async def memdevs(self) -> tuple[Memdev, ...]:
        """The memory back ends, the board's main memory among them."""
        return self._vm.objects.memdevs()

    async def iothreads(self) -> tuple[IOThreadInfo, ...]:
        """The I/O threads that were made; none of this machine's own, whose devices work where its vCPUs do."""
        return self._vm.objects.iothreads()

    async def memory_devices(self) -> tuple[MemoryDeviceInfo, ...]:
        """The memory modules that there are, by address."""
        return tuple(
            PCDIMMDeviceInfoWrapper(
                type=MemoryDeviceInfoKind.DIMM,
                data=PCDIMMDeviceInfo(
                    id=module.id,
                    addr=int(module.properties["addr"]),
                    size=int(module.properties["size"]),
                    slot=int(module.properties["slot"]),
                    node=int(module.properties["node"]),
                    memdev=f"/objects/{module.properties['memdev']}",
                    hotplugged=not module.cold,
                    hotpluggable=True,
                )
            )
            for module in dimms(self._vm.peek())
        )

    async def pci(self) -> tuple[PciInfo, ...]:
        """The PCI buses and the functions on them, as the guest has set them up.  Stops the guest for a moment."""
        async with self._vm.parked() as machine:
            return pci_info(machine)

    async def kvm(self) -> KvmInfo:
        """The engine executes the guest itself: there is no way to KVM in this program."""
        return KvmInfo(enabled=False, present=False)

    async def uuid(self) -> UuidInfo:
        """The machine's UUID; all zeros where the configuration gives none."""
        return UuidInfo(uuid=self._vm.config.uuid or str(uuids.UUID(int=0)))

    def _place(self, index: int) -> CpuInstanceProperties:
        return self._vm.numa.topology().places()[index]
