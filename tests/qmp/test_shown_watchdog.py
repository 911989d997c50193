"""Watchdogs that expire because the guest hangs, and what each action makes of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
from exchange import execute

from vmcore import FlatImage, Machine, MachineConfig, VirtualMachine
from vmcore.model.events import Event, Powerdown, Watchdog
from vmcore.model.exits import Idle, ShutdownRequested
from vmcore.model.run_state import ShutdownCause, WatchdogAction

# The first time (CMOS byte 3Fh tells): starts the timer with 2 s; then cli; hlt
HANG = bytes.fromhex("b0 3f e6 70 e4 71 3c 55 74 0e b0 3f e6 70 b0 55 e6 71 ba 43 04 b0 0e ee fa f4 eb fd")
# The same, with an NMI handler (vector 2) that writes N to COM1.
NMI = bytes.fromhex("31 c0 8e d8 c7 06 08 00 17 7c 8c 0e 0a 00 ba 43 04 b0 0e ee fa f4 fd ba f8 03 b0 4e ee f4 eb fd")


async def expired(action: str, wanted: Sequence[str], code: bytes = HANG) -> tuple[str, VirtualMachine]:
    """The run state behind the events that are wanted of a machine that is left running."""
    async with VirtualMachine(memory="1M", flat=FlatImage(code), devices=["ib700"]) as vm:
        await execute(vm, "watchdog-set-action", action=action)
        with vm.events.subscribe(Event) as events:
            await execute(vm, "cont")
            seen: list[str | None] = []
            with trio.fail_after(20):
                while len(seen) < len(wanted):
                    seen.append((await events.receive()).wire_name)
            assert seen == list(wanted)
        state: str = (await execute(vm, "query-status"))["status"]
        return state, vm


@pytest.mark.conformance("WATCHDOG", "WatchdogAction.reset", "RESET")
async def test_a_watchdog_that_resets() -> None:
    assert (await expired("reset", ["RESUME", "WATCHDOG", "RESET"]))[0] == "running"


@pytest.mark.conformance("WATCHDOG", "WatchdogAction.shutdown", "POWERDOWN")
async def test_a_watchdog_that_presses_the_power_button() -> None:
    assert (await expired("shutdown", ["RESUME", "WATCHDOG", "POWERDOWN"]))[0] == "running"


@pytest.mark.conformance("WATCHDOG", "WatchdogAction.poweroff")
async def test_a_watchdog_that_switches_off_says_no_shutdown() -> None:
    async with VirtualMachine(memory="1M", flat=FlatImage(HANG), devices=["ib700"], no_shutdown=True) as vm:
        await execute(vm, "set-action", watchdog="poweroff")
        with vm.events.subscribe(Event) as events:
            await execute(vm, "cont")
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.NONE, guest=False)
            await vm.wait_end()
            assert [events.receive_nowait().wire_name for _ in range(2)] == ["RESUME", "WATCHDOG"]
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()


@pytest.mark.conformance("WATCHDOG", "WatchdogAction.pause", "RunState.watchdog", "STOP")
async def test_a_watchdog_that_pauses() -> None:
    async with VirtualMachine(memory="1M", flat=FlatImage(HANG), devices=["ib700"]) as vm:
        await execute(vm, "watchdog-set-action", action="pause")
        with vm.events.subscribe(Event) as events:
            await execute(vm, "cont")
            names = [(await events.receive()).wire_name for _ in range(3)]
            assert names == ["RESUME", "WATCHDOG", "STOP"]
            assert await execute(vm, "query-status") == {"running": False, "status": "watchdog"}
            await execute(vm, "cont")
            assert (await events.receive()).wire_name == "RESUME"
            assert (await execute(vm, "query-status"))["status"] == "running"


@pytest.mark.conformance("WATCHDOG", "WatchdogAction.none")
async def test_a_watchdog_that_does_nothing() -> None:
    assert (await expired("none", ["RESUME", "WATCHDOG"]))[0] == "running"


@pytest.mark.conformance("WATCHDOG", "WatchdogAction.debug")
async def test_a_watchdog_that_only_tells() -> None:
    assert (await expired("debug", ["RESUME", "WATCHDOG"]))[0] == "running"


def test_the_command_line_tells_of_it_on_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "guest"
    path.write_bytes(HANG)
    run = [sys.executable, "-m", "vmcore", "run", "-flat", str(path), "-device", "ib700", "-watchdog-action", "debug"]
    result = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert result.stderr.startswith(b"watchdog: timer fired\n")


@pytest.mark.conformance("WATCHDOG", "WatchdogAction.inject-nmi")
async def test_a_watchdog_that_sends_an_nmi() -> None:
    async with VirtualMachine(memory="1M", flat=FlatImage(NMI), devices=["ib700"]) as vm:
        await execute(vm, "watchdog-set-action", action="inject-nmi")
        async with vm.events.expect(Watchdog):
            await execute(vm, "cont")
        await vm.serial[0].expect(b"N")


def test_a_hung_guest_with_a_watchdog_is_not_idle_for_ever() -> None:
    with Machine(MachineConfig(memory="1M", flat=FlatImage(HANG), devices=["ib700"])) as machine:
        assert machine.run() == Idle(None), "after the reset nothing watches it any more"
        assert machine.now_ns == pytest.approx(2e9, rel=1e-6)
        assert Watchdog(WatchdogAction.RESET) in machine.take_events()


@pytest.mark.parametrize("action", [WatchdogAction.SHUTDOWN, WatchdogAction.INJECT_NMI])
def test_what_a_watchdog_does_is_no_input_that_a_replay_would_repeat(action: WatchdogAction) -> None:
    config = MachineConfig(memory="1M", flat=FlatImage(NMI), devices=["ib700"], watchdog_action=action)
    with Machine(config) as machine:
        machine.run(until_ns=3_000_000_000)
        assert machine.inputs == ()
        events = machine.take_events()
        assert (Powerdown() in events) == (action is WatchdogAction.SHUTDOWN)


def test_a_running_watchdog_is_part_of_a_snapshot() -> None:
    with Machine(MachineConfig(memory="1M", flat=FlatImage(HANG), devices=["ib700,id=dog"])) as machine:
        machine.run(until_ns=1_000_000_000)
        snapshot = machine.save()
    with Machine.from_snapshot(snapshot) as machine:
        assert machine.board.devices["/machine/peripheral/dog"].save().deadline is not None
        machine.run(until_ns=2_500_000_000)
        assert Watchdog(WatchdogAction.RESET) in machine.take_events()
