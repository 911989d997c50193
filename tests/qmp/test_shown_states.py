"""Run states that trouble leads to."""

from __future__ import annotations

import pytest
import trio
from attrs import define, frozen
from exchange import execute, refusal

from vmcore import DeviceModelError, FlatImage, RunState, ShutdownCause, UsageError, VirtualMachine
from vmcore.hardware import Device, Register
from vmcore.model.events import Event, Resume, Shutdown, Stop

TOUCH = FlatImage(bytes.fromhex("ba 00 03 b0 42 ee eb fe"))  # mov dx, 300h; mov al, 42h; out dx, al; jmp $


@frozen
class FragileState:
    """Nothing."""


@define(eq=False)
class Fragile(Device[FragileState]):
    """A device of a user's, with a mistake in it."""

    CONTROL = Register(offset=0, doc="Divides by what is written, less 42h.")

    @CONTROL.on_write
    def _control(self, value: int) -> None:
        self.CONTROL = 1 // (value - 0x42)

    def reset(self) -> None:
        super().reset()

    def save(self) -> FragileState:
        return FragileState()

    def restore(self, state: FragileState) -> None:
        pass


def put_fragile(vm: VirtualMachine) -> None:
    """Put it at port 300h."""
    board, device = vm.peek().board, Fragile()
    board.add("/machine/peripheral/fragile", device)
    board.connect_ports(board.ports.claim(0x300, 1, device, "fragile"))


@pytest.mark.conformance("RunState.internal-error", "STOP", "RunState.prelaunch")
async def test_a_device_that_fails_leads_to_an_internal_error_that_a_reset_ends() -> None:
    async with VirtualMachine(memory="1M", flat=TOUCH) as vm:
        put_fragile(vm)
        with vm.events.subscribe(Event) as events:
            with pytest.raises(DeviceModelError, match="/machine/peripheral/fragile"):
                await vm.run(instructions=100)
            assert events.receive_nowait().wire_name == "STOP"
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()
        assert await execute(vm, "query-status") == {"running": False, "status": "internal-error"}
        assert await refusal(vm, "cont") == ("GenericError", "Resetting the Virtual Machine is required")
        await execute(vm, "system_reset")
        assert (await execute(vm, "query-status"))["status"] == "prelaunch"


async def test_such_a_failure_of_a_guest_that_runs_freely_leaves_the_block_unless_somebody_is_told() -> None:
    said: list[Event] = []

    async def run() -> None:
        async with VirtualMachine(memory="1M", flat=TOUCH) as vm:
            put_fragile(vm)
            vm.events.listen(said.append)
            await vm.start()
            await trio.sleep_forever()

    with pytest.raises(DeviceModelError, match="/machine/peripheral/fragile"):
        await run()
    assert said == [Resume(), Stop(), Shutdown(False, ShutdownCause.HOST_ERROR)]
    told: list[DeviceModelError] = []
    async with VirtualMachine(memory="1M", flat=TOUCH) as vm:
        put_fragile(vm)
        vm.on_failure = told.append
        for count in (1, 2):
            async with vm.events.expect(Stop):
                await vm.start()
            assert len(told) == count
            assert (await execute(vm, "query-status"))["status"] == "internal-error"
            assert vm.cpu.rdx & 0xFFFF == 0x300, "it can be looked at"
            with pytest.raises(UsageError, match="reset it first"):
                await vm.cont()
            await vm.reset()
            assert vm.state is RunState.PRELAUNCH
    assert told[0].device == "/machine/peripheral/fragile"


@pytest.mark.conformance("inject-nmi")
async def test_an_nmi_reaches_every_processor() -> None:
    # Handler of vector 2 at 7C17h: N to COM1.  The first vCPU halts with interrupts off.
    code = bytes.fromhex("31 c0 8e d8 c7 06 08 00 17 7c 8c 0e 0a 00 ba f8 03 b0 52 ee fa f4 fd b0 4e ba f8 03 ee f4")
    async with VirtualMachine(memory="1M", flat=FlatImage(code)) as vm:
        await vm.start()
        await vm.serial[0].expect(b"R")
        assert await execute(vm, "inject-nmi") == {}
        await vm.serial[0].expect(b"N")
