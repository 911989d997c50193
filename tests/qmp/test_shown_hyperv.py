"""Guests that report their crash by Hyper-V's registers."""

from __future__ import annotations

import pytest
import trio
from exchange import execute

from vmcore import FlatImage, FlatMode, VirtualMachine
from vmcore.machine.hyperv import ENLIGHTENMENTS
from vmcore.model.errors import ConfigError
from vmcore.model.events import GuestPanicInformationHyperV, GuestPanicked, Reset
from vmcore.model.run_state import GuestPanicAction

# 32-bit: writes 11h to 55h with the parameter's number in the upper half to the five parameters, then CrashNotify.
CRASH = bytes.fromhex(
    "b9 00 01 00 40 b8 11 00 00 00 31 d2 0f 30 83 c0 11 42 41 81 f9 05 01 00 40 75 f1 31 c0 ba 00 00 00 80 0f 30 eb fe"
)
# 32-bit: leaves 1, 40000000h and 40000003h of CPUID to memory at 8000h, and the control register.
LOOK = bytes.fromhex(
    "bf 00 80 00 00 b8 01 00 00 00 0f a2 89 0f b8 00 00 00 40 0f a2 89 47 04 89 5f 08 89 4f 0c 89 57 10"
    "b8 03 00 00 40 0f a2 89 57 14 b9 05 01 00 40 0f 32 89 57 18 ba f8 03 00 00 b0 4f ee eb fe"
)


def machine(code: bytes, **fields: object) -> VirtualMachine:
    return VirtualMachine(memory="4M", flat=FlatImage(code, mode=FlatMode.PROTECTED), **fields)  # type: ignore[arg-type]


@pytest.mark.conformance(
    "GUEST_PANICKED", "GuestPanicInformationType.hyper-v", "GuestPanicInformation.hyper-v", "GuestPanicAction.pause"
)
@pytest.mark.parametrize("board", ["pc", "none"])
async def test_the_five_parameters_come_with_the_panic(board: str) -> None:
    serials = {"serials": 0} if board == "none" else {}
    async with machine(CRASH, hyperv=["crash"], board=board, **serials) as vm:
        await execute(vm, "set-action", panic="pause")
        with trio.fail_after(10):
            async with vm.events.expect(GuestPanicked) as panic:
                await execute(vm, "cont")
        told = GuestPanicInformationHyperV(
            arg1=0x11, arg2=0x1_0000_0022, arg3=0x2_0000_0033, arg4=0x3_0000_0044, arg5=0x4_0000_0055
        )
        assert panic.value == GuestPanicked(GuestPanicAction.PAUSE, told)
        while vm.free_running:
            await trio.lowlevel.checkpoint()
        assert (await execute(vm, "query-status"))["status"] == "guest-panicked"


async def test_cpuid_tells_of_the_registers() -> None:
    async with machine(LOOK, hyperv=["crash"]) as vm:
        await vm.serial[0].expect(b"O")
        words = [int.from_bytes(vm.memory.read(0x8000 + at, 4), "little") for at in range(0, 28, 4)]
        assert words[0] >> 31 == 1
        assert words[1] == 0x4000_0005
        assert vm.memory.read(0x8008, 12) == b"Microsoft Hv"
        assert words[5] == 1 << 10
        assert words[6] == 1 << 31


async def test_without_being_asked_for_there_is_nothing() -> None:
    async with machine(LOOK) as vm:
        await vm.run(instructions=13)
        assert vm.memory.read(0x8008, 12) != b"Microsoft Hv"
        assert "/machine/hyperv-crash" not in vm.peek().board.devices
        with vm.events.subscribe(GuestPanicked | Reset) as events:
            await vm.run(instructions=100)
            # RDMSR of the control register faults, and there is nothing to take the fault.
            assert isinstance(events.receive_nowait(), Reset)


async def test_the_parameters_are_part_of_a_snapshot() -> None:
    async with machine(CRASH, hyperv=["crash"]) as vm:
        await vm.run(instructions=9)
        device = vm.peek().board.devices["/machine/hyperv-crash"]
        assert device.save().parameters[0] == 0x11
        golden = await vm.snapshot()
    async with VirtualMachine.from_snapshot(golden) as vm:
        async with vm.events.expect(GuestPanicked) as panic:
            pass
        assert panic.value.info is not None


def test_names_that_there_are_not_are_refused() -> None:
    assert ENLIGHTENMENTS == ("crash",)
    with pytest.raises(ConfigError, match=r"hyperv\[0\]: 'time'"):
        VirtualMachine(hyperv=["time"])
