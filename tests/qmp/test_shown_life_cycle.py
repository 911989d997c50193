"""Life-cycle commands, events, states and reasons of the documents, each caused for real."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from exchange import execute, refusal

from vmcore import FlatImage, ShutdownCause, VirtualMachine
from vmcore.model.events import Event, Powerdown, Reset, RtcChange, Shutdown
from vmcore.model.run_state import PanicAction, RebootAction, ShutdownAction, WatchdogAction

SPIN = FlatImage(bytes.fromhex("eb fe"))  # jmp $
POWER_OFF = FlatImage(bytes.fromhex("ba 04 06 b8 00 20 ef f4"))  # mov dx, 604h; mov ax, 2000h; out dx, ax; hlt
RESET = FlatImage(bytes.fromhex("ba f9 0c b0 06 ee eb fe"))  # mov dx, 0cf9h; mov al, 6; out dx, al; jmp $
BREAK = 0x7C01
BREAKPOINT = FlatImage(bytes.fromhex("90 90 eb fc"))  # L: nop; nop; jmp L
SET_CLOCK = FlatImage(
    bytes.fromhex(
        "b0 0b e6 70 b0 82 e6 71"  # register B: SET, 24 hours
        "b0 02 e6 70 b0 30 e6 71"  # minutes: 30
        "b0 0b e6 70 b0 02 e6 71"  # register B: go on
        "eb fe"
    )
)


async def status(vm: VirtualMachine) -> str:
    found: str = (await execute(vm, "query-status"))["status"]
    return found


def machine(guest: FlatImage = SPIN, **config: Any) -> VirtualMachine:
    return VirtualMachine(memory="1M", flat=guest, **config)


@pytest.mark.conformance(
    *["query-status", "stop", "cont", "STOP", "RESUME"],
    *["RunState.prelaunch", "RunState.running", "RunState.paused"],
)
async def test_stop_and_cont() -> None:
    async with machine() as vm:
        with vm.events.subscribe(Event) as events:
            assert await execute(vm, "query-status") == {"running": False, "status": "prelaunch"}
            assert await execute(vm, "stop") == {}
            assert await status(vm) == "prelaunch"
            assert await execute(vm, "cont") == {}
            assert await execute(vm, "query-status") == {"running": True, "status": "running"}
            assert await execute(vm, "stop") == {}
            assert await execute(vm, "query-status") == {"running": False, "status": "paused"}
            names = [events.receive_nowait().wire_name for _ in range(2)]
            assert names == ["RESUME", "STOP"]
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()


@pytest.mark.conformance("system_reset", "RESET", "ShutdownCause.host-qmp-system-reset")
async def test_the_reset_button() -> None:
    async with machine() as vm:
        await vm.start()
        await vm.stop()
        async with vm.events.expect(Reset) as reset:
            assert await execute(vm, "system_reset") == {}
        assert reset.value == Reset(False, ShutdownCause.HOST_QMP_SYSTEM_RESET)
        assert await status(vm) == "prelaunch"


@pytest.mark.conformance("RESET", "ShutdownCause.guest-reset")
async def test_a_guest_that_resets_itself() -> None:
    async with machine(RESET) as vm:
        async with vm.events.expect(Reset) as reset:
            await vm.start()
        assert reset.value == Reset(True, ShutdownCause.GUEST_RESET)
        assert await status(vm) == "running"


@pytest.mark.conformance("SHUTDOWN", "ShutdownCause.guest-reset", "RebootAction.shutdown", "set-action")
async def test_a_reset_that_is_a_shutdown() -> None:
    async with machine(RESET) as vm:
        await execute(vm, "set-action", reboot="shutdown")
        async with vm.events.expect(Shutdown) as shutdown:
            await vm.start()
        assert shutdown.value == Shutdown(True, ShutdownCause.GUEST_RESET)


@pytest.mark.conformance(
    *["SHUTDOWN", "STOP", "RunState.shutdown", "ShutdownCause.guest-shutdown", "ShutdownAction.pause", "set-action"]
)
async def test_a_shutdown_that_pauses() -> None:
    async with machine(POWER_OFF) as vm:
        await execute(vm, "set-action", shutdown="pause")
        with vm.events.subscribe(Event) as events:
            await vm.start()
            await vm.wait_off()
            assert await execute(vm, "query-status") == {"running": False, "status": "shutdown"}
            names = [events.receive_nowait().wire_name for _ in range(3)]
            assert names == ["RESUME", "SHUTDOWN", "STOP"]
        assert await refusal(vm, "cont") == ("GenericError", "Resetting the Virtual Machine is required")
        await execute(vm, "system_reset")
        assert await status(vm) == "prelaunch"


@pytest.mark.conformance("system_powerdown", "POWERDOWN")
async def test_the_power_button() -> None:
    async with machine() as vm:
        await vm.start()
        async with vm.events.expect(Powerdown):
            assert await execute(vm, "system_powerdown") == {}


@pytest.mark.conformance("RunState.debug", "STOP")
async def test_a_breakpoint() -> None:
    async with machine(BREAKPOINT) as vm:
        vm.cpu.add_breakpoint(BREAK)
        with vm.events.subscribe(Event) as events:
            await vm.start()
            while (await events.receive()).wire_name != "STOP":
                pass
        assert await execute(vm, "query-status") == {"running": False, "status": "debug"}


@pytest.mark.conformance("RTC_CHANGE")
async def test_a_guest_that_sets_its_clock() -> None:
    async with machine(SET_CLOCK) as vm:
        async with vm.events.expect(RtcChange) as change:
            await vm.start()
        assert change.value.qom_path.startswith("/machine/")


@pytest.mark.conformance(
    *["set-action", "RebootAction.reset", "RebootAction.shutdown", "ShutdownAction.poweroff", "ShutdownAction.pause"],
    *["PanicAction.pause", "PanicAction.shutdown", "PanicAction.exit-failure", "PanicAction.none"],
)
async def test_actions_are_set_one_by_one() -> None:
    async with machine() as vm:
        for reboot in RebootAction:
            await execute(vm, "set-action", reboot=reboot.value)
            assert vm.actions.reboot is reboot
        for shutdown in ShutdownAction:
            await execute(vm, "set-action", shutdown=shutdown.value)
            assert vm.actions.shutdown is shutdown
        for panic in PanicAction:
            await execute(vm, "set-action", panic=panic.value)
            assert vm.actions.panic is panic
        assert (vm.actions.reboot, vm.actions.shutdown) == (RebootAction.SHUTDOWN, ShutdownAction.PAUSE)


@pytest.mark.conformance(
    *["watchdog-set-action", "WatchdogAction.reset", "WatchdogAction.shutdown", "WatchdogAction.poweroff"],
    *["WatchdogAction.pause", "WatchdogAction.debug", "WatchdogAction.none", "WatchdogAction.inject-nmi"],
)
async def test_the_action_of_watchdogs_is_set() -> None:
    async with machine() as vm:
        for action in WatchdogAction:
            assert await execute(vm, "watchdog-set-action", action=action.value) == {}
            assert vm.actions.watchdog is action
