"""VirtualMachine: life cycle, the two ways of running, cancellation, and that nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path

import pytest
import trio
from attrs import evolve
from flat_guests import HALT_FOR_EVER, POWER_OFF, SPIN, TRIPLE_FAULT, say

from vmcore import (
    Breakpoint,
    BudgetSpent,
    ConfigError,
    Event,
    GuestFault,
    Idle,
    Powerdown,
    Reset,
    Resume,
    RunState,
    Shutdown,
    ShutdownCause,
    ShutdownRequested,
    Stop,
    StopRequested,
    UsageError,
    VirtualMachine,
)


def state(vm: VirtualMachine) -> RunState:
    """The run state, read anew: a property that changes behind the type checker's back."""
    return vm.state


def maps() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


async def test_entering_builds_a_machine_on_which_nothing_has_run() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        assert state(vm) is RunState.PRELAUNCH
        assert vm.instructions == 0
        assert vm.guest_ns == 0
        assert vm.cpu.rip == 0x7C00


async def test_a_run_with_a_number_of_instructions_retires_exactly_that_many() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        for count in (1, 7, 1000, 50_000, 3):
            before = vm.instructions
            assert await vm.run(instructions=count) == BudgetSpent()
            assert vm.instructions - before == count
        assert state(vm) is RunState.PAUSED


async def test_a_run_with_seconds_ends_at_that_guest_time() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        assert await vm.run(seconds=0.001) == BudgetSpent()
        assert vm.guest_ns == 1_000_000


async def test_a_guest_that_powers_off_ends_the_run_and_says_why() -> None:
    async with VirtualMachine(flat=POWER_OFF, memory="1M") as vm:
        with vm.events.subscribe(Event) as events:
            assert await vm.run() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
            assert await events.receive() == Shutdown(guest=True, reason=ShutdownCause.GUEST_SHUTDOWN)
        assert state(vm) is RunState.SHUTDOWN
        with pytest.raises(UsageError, match="off"):
            await vm.run()
        await vm.reset()
        assert state(vm) is RunState.PRELAUNCH
        assert await vm.run() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)


async def test_free_running_start_stop_and_cont_say_resume_and_stop() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        with vm.events.subscribe(Resume | Stop) as events:
            await vm.start()
            assert state(vm) is RunState.RUNNING
            while vm.instructions < 1_000_000:
                await trio.lowlevel.checkpoint()
            await vm.stop()
            assert state(vm) is RunState.PAUSED
            parked = vm.instructions
            await trio.testing.wait_all_tasks_blocked()
            assert vm.instructions == parked
            await vm.stop()
            await vm.cont()
            await vm.cont()
            await vm.stop()
            seen = [events.receive_nowait() for _ in range(4)]
            assert seen == [Resume(), Stop(), Resume(), Stop()]
            with pytest.raises(trio.WouldBlock):
                events.receive_nowait()


async def test_facets_are_refused_while_the_guest_runs_and_open_in_a_parked_block() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        await vm.start()
        with pytest.raises(UsageError, match="running"):
            _ = vm.cpu
        with pytest.raises(UsageError, match="free-running"):
            await vm.run()
        async with vm.parked() as machine:
            assert machine.cpus[0].rip == 0x7C00
            assert vm.cpu.rip == 0x7C00
            before = vm.instructions
        while vm.instructions == before:
            await trio.lowlevel.checkpoint()


async def test_a_guest_fault_error_from_outside_the_block_is_a_usage_error() -> None:
    vm = VirtualMachine(flat=SPIN, memory="1M")
    with pytest.raises(UsageError, match="not built"):
        await vm.start()
    async with vm:
        pass
    with pytest.raises(UsageError, match="ended"):
        await vm.start()
    with pytest.raises(UsageError, match="one use"):
        async with vm:
            pass


async def test_run_until_an_event_stops_at_the_instruction_that_caused_it() -> None:
    async with VirtualMachine(flat=TRIPLE_FAULT, memory="1M") as vm:
        exit = await vm.run(until=GuestFault | Reset)
        assert isinstance(exit, StopRequested)
        assert isinstance(exit.reason, GuestFault)
        first = vm.instructions
        exit = await vm.run(until=Reset)
        assert isinstance(exit, StopRequested)
        assert exit.reason == Reset(guest=True, reason=ShutdownCause.GUEST_RESET)
        assert vm.instructions >= first


async def test_run_until_an_address_stops_before_the_instruction_there() -> None:
    async with VirtualMachine(flat=POWER_OFF, memory="1M") as vm:
        assert await vm.run(until=0x7C06) == Breakpoint(cpu=0, pc=0x7C06)
        assert vm.instructions == 2
        assert vm.cpu.ax == 0x2000
        assert isinstance(await vm.run(), ShutdownRequested)


async def test_a_guest_that_halts_with_interrupts_off_is_an_exit_and_no_hang() -> None:
    async with VirtualMachine(flat=HALT_FOR_EVER, memory="1M") as vm:
        assert await vm.run() == Idle(None)
        # Pressing the power button is an input, but nobody enabled it: the guest stays where it is.
        with vm.events.subscribe(Powerdown) as events:
            await vm.powerdown()
            assert await events.receive() == Powerdown()
        assert await vm.run() == Idle(None)


async def test_wait_off_on_a_free_running_guest_returns_its_exit() -> None:
    async with VirtualMachine(flat=say(b"bye", then="ba0406b80020eff4"), memory="1M") as vm:
        await vm.start()
        assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
        assert vm.serial[0].unread == b"bye"


async def test_quit_says_shutdown_and_ends_a_running_guest() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        await vm.start()
        async with vm.events.expect(Shutdown) as shutdown:
            await vm.quit()
        assert shutdown.value == Shutdown(guest=False, reason=ShutdownCause.HOST_QMP_QUIT)
        assert state(vm) is RunState.SHUTDOWN


async def test_cancelling_a_run_leaves_the_machine_consistent_and_resumable() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        for _ in range(5):
            with trio.move_on_after(0.01) as scope:
                await vm.run()
            assert scope.cancelled_caught
            assert vm.cpu.rip == 0x7C00
            before = vm.instructions
            assert await vm.run(instructions=30_000) == BudgetSpent()
            assert vm.instructions == before + 30_000


async def test_where_a_run_was_cancelled_never_shows_in_the_digest() -> None:
    async def digest(cuts: int) -> str:
        async with VirtualMachine(flat=SPIN, memory="1M") as vm:
            for _ in range(cuts):
                with trio.move_on_after(0.001):
                    await vm.run(instructions=10_000_000 - vm.instructions)
            await vm.run(instructions=10_000_000 - vm.instructions)
            return vm.digest()

    assert await digest(0) == await digest(3)


async def test_guest_time_deadlines_cancel_a_spinning_guest_at_an_exact_time(autojump_clock: trio.abc.Clock) -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        with pytest.raises(trio.TooSlowError), vm.fail_after(0.005):
            await vm.run()
        assert vm.guest_ns == 5_000_000
        with vm.move_on_after(1) as scope:
            await vm.run(instructions=10)
        assert not scope.cancelled_caught


async def test_guest_time_passes_at_once_while_the_guest_idles() -> None:
    async with VirtualMachine(flat=HALT_FOR_EVER, memory="1M") as vm:
        await vm.sleep(3600)
        assert vm.guest_ns == 3600 * 10**9
        await vm.start()
        await vm.sleep(60)
        with vm.move_on_after(30) as scope:
            await trio.Event().wait()
        assert scope.cancelled_caught


async def test_an_error_in_the_block_leaves_it_bare() -> None:
    async def fail() -> None:
        async with VirtualMachine(flat=SPIN, memory="1M") as vm:
            await vm.start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def test_bad_configuration_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="memory"):
        VirtualMachine(memory="12 parsecs")
    with pytest.raises(UsageError, match="kernal"):
        VirtualMachine(kernal="vmlinuz")


async def test_an_exception_in_a_hook_comes_out_of_the_run_itself() -> None:
    class Mine(Exception):
        pass

    async with VirtualMachine(flat=say(b"x"), memory="1M") as vm:

        def hook(data: bytes) -> None:
            raise Mine(data)

        vm.serial[0].on_output = hook
        with pytest.raises(Mine):
            await vm.run()


async def test_two_runs_of_one_configuration_have_one_digest() -> None:
    digests = set()
    for _ in range(2):
        async with VirtualMachine(flat=say(b"determinism"), memory="1M", seed=3) as vm:
            await vm.serial[0].expect(b"min")
            digests.add((vm.digest(), vm.instructions))
    assert len(digests) == 1


async def test_a_snapshot_goes_on_in_another_machine_as_in_the_first() -> None:
    async with VirtualMachine(flat=say(b"one two"), memory="1M") as vm:
        await vm.serial[0].expect(b"one")
        snapshot = await vm.snapshot()
        await vm.serial[0].expect(b" two")
        end = vm.digest()
        await vm.restore(snapshot)
        await vm.run()
        restored = vm.digest()
    async with VirtualMachine.from_snapshot(snapshot) as copy:
        match = await copy.serial[0].expect(b" two")
        assert match.before == b""
        assert copy.digest() == end
        await copy.run()
        assert copy.digest() == restored
    assert evolve(snapshot, inputs=()) == evolve(snapshot, inputs=())


async def test_leaving_the_block_leaves_no_thread_and_no_descriptor() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M") as vm:
        await vm.start()
    gc.collect()
    threads, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    mapped = maps()
    for _ in range(50):
        async with VirtualMachine(flat=SPIN, memory="64M") as vm:
            await vm.start()
    gc.collect()
    # Idle threads of trio's that earlier tests used may have ended meanwhile.
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert maps() <= mapped + 5


def test_ctrl_c_ends_a_spinning_guest() -> None:
    async def main() -> None:
        async with VirtualMachine(flat=SPIN, memory="1M") as vm:
            await vm.start()
            while vm.instructions < 100_000:
                await trio.lowlevel.checkpoint()
            signal.raise_signal(signal.SIGINT)
            await vm.wait_off()

    # Shells let their background jobs ignore the signal, and the tests may be one.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            trio.run(main)
    finally:
        signal.signal(signal.SIGINT, before)


async def test_a_shutdown_that_is_to_pause_says_stop_and_stays() -> None:
    async with VirtualMachine(flat=POWER_OFF, memory="1M", no_shutdown=True) as vm:
        with vm.events.subscribe(Event) as events:
            await vm.start()
            await vm.wait_off()
            assert state(vm) is RunState.SHUTDOWN
            seen = [events.receive_nowait() for _ in range(3)]
            assert seen == [Resume(), Shutdown(True, ShutdownCause.GUEST_SHUTDOWN), Stop()]
            with pytest.raises(UsageError, match="reset it first"):
                await vm.cont()


async def test_a_reset_is_a_shutdown_where_the_reboot_action_says_so() -> None:
    async with VirtualMachine(flat=SPIN, memory="1M", no_reboot=True) as vm:
        with vm.events.subscribe(Event) as events:
            await vm.reset()
            assert events.receive_nowait() == Shutdown(False, ShutdownCause.HOST_QMP_SYSTEM_RESET)
        assert state(vm) is RunState.SHUTDOWN
