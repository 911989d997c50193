"""Guests that report a panic to pvpanic, and what each panic action makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from exchange import execute

from vmcore import FlatImage, VirtualMachine
from vmcore.model.events import Event

# in al, dx; out COM1: what the device knows.  Then the event given, then spin.
PANIC = bytes.fromhex("ba 05 05 b0 01 ee eb fe")  # mov dx, 505h; mov al, 1; out dx, al; jmp $
CRASHLOADED = bytes.fromhex("ba 05 05 b0 02 ee eb fe")
KNOWS = bytes.fromhex("ba 05 05 ec ba f8 03 ee eb fe")  # mov dx, 505h; in al, dx; mov dx, 3f8h; out dx, al; jmp $


async def panicked(
    action: str, shutdown: str, wanted: Sequence[str], code: bytes = PANIC
) -> tuple[str, list[object], object]:
    """The run state that follows, the events with what they say, and the exit."""
    async with VirtualMachine(memory="1M", flat=FlatImage(code), devices=["pvpanic"]) as vm:
        await execute(vm, "set-action", panic=action, shutdown=shutdown)
        with vm.events.subscribe(Event) as events:
            await execute(vm, "cont")
            seen: list[Event] = []
            with trio.fail_after(10):
                while [event.wire_name for event in seen] != wanted:
                    seen.append(await events.receive())
                while vm.free_running and "GUEST_CRASHLOADED" not in wanted and action != "none":
                    await trio.lowlevel.checkpoint()
            state = (await execute(vm, "query-status"))["status"]
            details = [getattr(event, "action", None) for event in seen if event.wire_name == "GUEST_PANICKED"]
            return state, details, vm.exit


@pytest.mark.conformance("GUEST_PANICKED", "PanicAction.pause", "GuestPanicAction.pause", "RunState.guest-panicked")
async def test_a_panic_that_pauses() -> None:
    state, details, exit = await panicked("pause", "poweroff", ["RESUME", "GUEST_PANICKED", "STOP"])
    assert (state, details, exit) == ("guest-panicked", ["pause"], None)


@pytest.mark.conformance(
    "GUEST_PANICKED", "PanicAction.shutdown", "GuestPanicAction.poweroff", "ShutdownCause.guest-panic"
)
async def test_a_panic_that_shuts_down() -> None:
    state, details, exit = await panicked("shutdown", "poweroff", ["RESUME", "GUEST_PANICKED", "SHUTDOWN"])
    assert (state, details) == ("shutdown", ["poweroff"])
    assert getattr(exit, "status", None) == 0


async def test_a_shutdown_that_pauses_makes_a_panic_a_pause() -> None:
    state, details, exit = await panicked("shutdown", "pause", ["RESUME", "GUEST_PANICKED", "STOP"])
    assert (state, details, exit) == ("guest-panicked", ["pause"], None)


@pytest.mark.conformance("PanicAction.exit-failure")
async def test_a_panic_that_is_a_failure_gives_its_exit_status() -> None:
    _, details, exit = await panicked("exit-failure", "poweroff", ["RESUME", "GUEST_PANICKED", "SHUTDOWN"])
    assert details == ["poweroff"]
    assert getattr(exit, "status", None) == 1


@pytest.mark.conformance("PanicAction.none", "GuestPanicAction.run")
async def test_a_panic_about_which_nothing_is_done() -> None:
    state, details, exit = await panicked("none", "poweroff", ["RESUME", "GUEST_PANICKED"])
    assert (state, details, exit) == ("running", ["run"], None)


@pytest.mark.conformance("GUEST_CRASHLOADED", "GuestPanicAction.run")
async def test_a_crash_kernel_that_takes_over() -> None:
    state, _, exit = await panicked("pause", "poweroff", ["RESUME", "GUEST_CRASHLOADED"], CRASHLOADED)
    assert (state, exit) == ("running", None)


async def test_the_device_says_what_it_knows() -> None:
    async with VirtualMachine(memory="1M", flat=FlatImage(KNOWS), devices=["pvpanic"]) as vm:
        await vm.serial[0].expect(b"\x03")
