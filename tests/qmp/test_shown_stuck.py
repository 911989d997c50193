"""A guest that locks its processor up by exceptions without end, and what is done about it."""

from __future__ import annotations

import struct

import pytest
import trio
from exchange import execute, refusal

from vmcore import FlatImage, VirtualMachine
from vmcore.engine import Segment
from vmcore.engine.registers import Activity, TableRegister
from vmcore.model.events import Stop
from vmcore.model.exits import Idle
from vmcore.model.run_state import RunState

GDT, IDT, HANDLER, CODE, STACK = 0x1000, 0x2000, 0x5000, 0x4000, 0x8001


def descriptor(access: int) -> bytes:
    """A flat 32-bit segment."""
    return struct.pack("<HHBBBB", 0xFFFF, 0, 0, access, 0xCF, 0)


def lock_up(vm: VirtualMachine) -> None:
    """Ring 3 code with alignment checks, whose handler of #AC is entered in ring 3 as well, on a stack that is not
    aligned: the first push for the handler is the next #AC (SDM vol. 3A, 6.15, interrupt 17).
    """
    memory, cpu = vm.memory, vm.cpu
    memory.write(GDT, bytes(8) + b"".join(map(descriptor, (0x9B, 0x93, 0xFB, 0xF3))))
    memory.write(IDT + 17 * 8, struct.pack("<HHBBH", HANDLER, 0x1B, 0, 0xEE, 0))
    memory.write(CODE, bytes.fromhex("8b0501600000 ebfe"))  # mov eax, [6001h]
    cpu.cr0 |= 0x40001
    cpu.gdtr, cpu.idtr = TableRegister(GDT, 0x27), TableRegister(IDT, 0x7FF)
    cpu.cs = Segment(0x1B, 0, 0xFFFF_FFFF, 0xC0FB)
    cpu.ss = cpu.ds = Segment(0x23, 0, 0xFFFF_FFFF, 0xC0F3)
    cpu.rip, cpu.rsp = CODE, STACK
    cpu.rflags |= 1 << 18


def machine(option: str) -> VirtualMachine:
    return VirtualMachine(memory="1M", flat=FlatImage(b"\xeb\xfe"), notify_vmexit=option)


async def told(vm: VirtualMachine) -> str:
    value: str = await execute(vm, "qom-get", path="/machine/accel", property="notify-vmexit")
    return value


@pytest.mark.conformance("NotifyVmexitOption.internal-error", "RunState.internal-error", "STOP")
async def test_a_processor_that_is_locked_up_can_be_an_internal_error() -> None:
    async with machine("internal-error") as vm:
        assert await told(vm) == "internal-error"
        lock_up(vm)
        with vm.events.subscribe(Stop) as events:
            await vm.start()
            with trio.fail_after(10):
                await events.receive()
        assert vm.state is RunState.INTERNAL_ERROR
        assert await execute(vm, "query-status") == {"running": False, "status": "internal-error"}
        assert await refusal(vm, "cont") == ("GenericError", "Resetting the Virtual Machine is required")
        await execute(vm, "system_reset")
        assert vm.cpu.activity == Activity.ACTIVE
        await vm.run(instructions=100)


@pytest.mark.conformance("NotifyVmexitOption.run")
async def test_by_default_the_processor_stands_still_until_a_reset() -> None:
    async with machine("run") as vm:
        assert await told(vm) == "run"
        lock_up(vm)
        before = vm.instructions
        assert await vm.run() == Idle(None)
        assert vm.instructions == before
        await vm.nmi()
        assert await vm.run(instructions=1_000) == Idle(None)
        assert vm.cpu.activity == Activity.STUCK
        snapshot = await vm.snapshot()
        await vm.restore(snapshot)
        assert await vm.run(instructions=1_000) == Idle(None)
        await vm.reset()
        await vm.run(instructions=1_000)
        assert vm.instructions == before + 1_000


@pytest.mark.conformance("NotifyVmexitOption.disable")
async def test_nobody_may_want_to_know() -> None:
    async with machine("disable") as vm:
        assert await told(vm) == "disable"
        lock_up(vm)
        assert await vm.run(instructions=1_000) == Idle(None)
