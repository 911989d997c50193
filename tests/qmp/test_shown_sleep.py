"""Sleep and wake-up over the management model, by guests that write to the ACPI registers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from exchange import execute

from vmcore import FlatImage, Idle, RunState, ShutdownCause, ShutdownRequested, UsageError, VirtualMachine
from vmcore.machine.inputs import MouseButton, MouseMove
from vmcore.model.events import Event, Suspend, Wakeup

RTC_EN = "ba 02 06 b8 00 04 ef"  # mov dx, 602h; mov ax, 400h; out dx, ax
EVERY_SECOND = "b0 01 e6 70 b0 ff e6 71 b0 03 e6 70 b0 ff e6 71 b0 05 e6 70 b0 ff e6 71"
ALARM = "b0 0b e6 70 b0 22 e6 71"  # register B: AIE, 24 hours
SLEEP = "ba 04 06 b8 {} ef"  # mov dx, 604h; mov ax, SLP_TYP and SLP_EN; out dx, ax
S3, S4 = SLEEP.format("00 24"), SLEEP.format("00 28")
SAY_STATUS = "ba 00 06 ed ba f8 03 ee 88 e0 ee"  # mov dx, 600h; in ax, dx; to COM1, low byte first
SPIN = "eb fe"


def once(action: str) -> FlatImage:
    """Does something unless CMOS byte 0Fh says that the machine wakes, and then says the PM1 status and spins."""
    what = bytes.fromhex(action)
    return FlatImage(
        bytes.fromhex("b0 0f e6 70 e4 71 3c fe 74") + bytes([len(what)]) + what + bytes.fromhex(SAY_STATUS + SPIN)
    )


@asynccontextmanager
async def asleep(action: str = S3) -> AsyncIterator[VirtualMachine]:
    """A guest that runs freely and has gone to sleep."""
    async with VirtualMachine(memory="1M", flat=once(action)) as vm:
        async with vm.events.expect(Suspend):
            await execute(vm, "cont")
        yield vm


async def names(vm: VirtualMachine, wanted: Sequence[str], *commands: str) -> list[str | None]:
    """The events that commands cause, and the guest after them."""
    with vm.events.subscribe(Event) as events:
        for command in commands:
            assert await execute(vm, command) == {}
        seen: list[str | None] = []
        with trio.fail_after(10):
            while len(seen) < len(wanted):
                seen.append((await events.receive()).wire_name)
        return seen


@pytest.mark.conformance("SUSPEND", "WAKEUP", "system_wakeup", "RunState.suspended")
async def test_a_guest_sleeps_until_it_is_woken() -> None:
    async with asleep() as vm:
        assert await execute(vm, "query-status") == {"running": False, "status": "suspended"}
        assert await execute(vm, "query-current-machine") == {"wakeup-suspend-support": True}
        assert await names(vm, ["WAKEUP"], "system_wakeup") == ["WAKEUP"]
        assert await execute(vm, "query-status") == {"running": True, "status": "running"}
        # WAK_STS, and the power button, which stands for what has no event of its own.
        await vm.serial[0].expect(b"\x00\x81")
        with pytest.raises(UsageError, match=r"^Unable to wake up: guest is not in suspended state$"):
            await execute(vm, "system_wakeup")


async def test_the_alarm_of_the_clock_wakes_it_by_guest_time() -> None:
    async with VirtualMachine(memory="1M", flat=once(RTC_EN + EVERY_SECOND + ALARM + S3)) as vm:
        await vm.run(until=Suspend)
        slept_at = vm.guest_ns
        await vm.run(until=Wakeup)
        assert vm.guest_ns - slept_at <= 1_000_000_000
        assert vm.guest_ns % 1_000_000_000 == 0
        await vm.serial[0].expect(b"\x00\x84")


async def test_an_alarm_that_is_not_enabled_to_wake_does_not() -> None:
    async with VirtualMachine(memory="1M", flat=once(EVERY_SECOND + ALARM + S3)) as vm:
        await vm.run(until=Suspend)
        await vm.run(seconds=3)
        assert vm.peek().asleep


async def test_an_alarm_that_came_before_the_sleep_ends_it_at_once() -> None:
    wait = "66 b9 00 00 11 00 67 e2 fd"  # mov ecx, 110000h; loop $ (a second and a bit)
    async with VirtualMachine(
        memory="1M", flat=once(RTC_EN + EVERY_SECOND + ALARM + wait + S3), instruction_ns=1000
    ) as vm:
        await vm.run(until=Wakeup)
        assert vm.guest_ns < 1_200_000_000
        await vm.serial[0].expect(b"\x00\x84")


async def test_devices_have_no_power_while_it_sleeps() -> None:
    start_dog = "ba 43 04 b0 0e ee"  # mov dx, 443h; mov al, 0eh; out dx, al: 2 s
    async with VirtualMachine(memory="1M", flat=once(start_dog + S3), devices=["ib700"], instruction_ns=1000) as vm:
        with vm.events.subscribe(Event) as events:
            await vm.run(until=Suspend)
            assert await vm.run() == Idle(None), "nothing will wake it"
            await vm.run(seconds=10)
            assert isinstance(events.receive_nowait(), Suspend)
            await vm.wake()
            await vm.run(seconds=10)
            assert isinstance(events.receive_nowait(), Wakeup)
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()


async def test_a_key_wakes_it() -> None:
    async with asleep() as vm:
        async with vm.events.expect(Wakeup):
            await execute(vm, "send-key", keys=[{"type": "qcode", "data": "spc"}])
        assert vm.state is RunState.RUNNING


async def test_a_button_of_the_mouse_wakes_it_and_moving_it_does_not() -> None:
    async with VirtualMachine(memory="1M", flat=once(S3)) as vm:
        await vm.run(until=Suspend)
        machine = vm.peek()
        machine.apply(MouseMove(5, 5))
        assert machine.asleep
        assert machine.apply(MouseButton("left", True))
        assert not machine.asleep


async def test_the_power_button_does_not_wake_it() -> None:
    async with asleep() as vm:
        assert await names(vm, ["POWERDOWN"], "system_powerdown") == ["POWERDOWN"]
        assert vm.state is RunState.SUSPENDED


async def test_stop_and_cont_of_a_sleeping_guest() -> None:
    async with asleep() as vm:
        assert await names(vm, ["STOP"], "stop") == ["STOP"]
        assert (await execute(vm, "query-status"))["status"] == "paused"
        with pytest.raises(UsageError, match="not in suspended state"):
            await execute(vm, "system_wakeup")
        assert await names(vm, ["RESUME"], "cont") == ["RESUME"]
        assert (await execute(vm, "query-status"))["status"] == "suspended"
        assert await names(vm, ["WAKEUP"], "system_wakeup") == ["WAKEUP"]
        assert (await execute(vm, "query-status"))["status"] == "running"


async def test_a_reset_of_a_sleeping_guest_leaves_it_before_its_start() -> None:
    async with asleep() as vm:
        assert await names(vm, ["RESET"], "system_reset") == ["RESET"]
        assert (await execute(vm, "query-status"))["status"] == "prelaunch"
        assert not vm.peek().asleep


@pytest.mark.conformance("SUSPEND_DISK", "SHUTDOWN", "ShutdownCause.guest-shutdown")
async def test_a_guest_that_saved_itself_to_disk_is_switched_off() -> None:
    async with VirtualMachine(memory="1M", flat=once(S4)) as vm:
        with vm.events.subscribe(Event) as events:
            await execute(vm, "cont")
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
            assert [events.receive_nowait().wire_name for _ in range(3)] == ["RESUME", "SUSPEND_DISK", "SHUTDOWN"]


async def test_a_sleeping_guest_is_migrated_and_woken_elsewhere(tmp_path: Path) -> None:
    uri = f"file:{tmp_path / 'guest'}"
    async with asleep() as vm:
        await vm.migrate(uri)
        config = vm.config
    async with VirtualMachine(config, incoming=uri) as vm:
        assert vm.state is RunState.SUSPENDED
        async with vm.events.expect(Wakeup):
            await vm.wake()
        await vm.serial[0].expect(b"\x00\x81")


async def test_a_machine_in_lockstep_is_woken_between_runs() -> None:
    async with VirtualMachine(memory="1M", flat=once(S3)) as vm:
        await vm.run(until=Suspend)
        await vm.wake()
        await vm.serial[0].expect(b"\x00\x81")
        with pytest.raises(UsageError):
            await vm.wake()


async def test_the_human_monitor_wakes_it() -> None:
    async def line(text: str) -> str:
        said: str = await execute(vm, "human-monitor-command", command_line=text)
        return said

    async with asleep() as vm:
        assert await line("info status") == "VM status: paused (suspended)\r\n"
        assert await line("system_wakeup") == ""
        assert await line("system_wakeup") == "Error: Unable to wake up: guest is not in suspended state\r\n"
