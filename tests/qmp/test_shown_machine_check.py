"""Machine checks and failing memory: what the guest is told, and what becomes of the machine where it cannot be."""

from __future__ import annotations

import pytest
from exchange import execute

from vmcore import FlatImage, FlatMode, ShutdownCause, ShutdownRequested, UsageError, VirtualMachine
from vmcore.model.events import (
    Event,
    MemoryFailure,
    MemoryFailureAction,
    MemoryFailureFlags,
    MemoryFailureRecipient,
    Reset,
    Shutdown,
)

VALID, UNCORRECTED, ACTION = 1 << 63, 1 << 61, 1 << 55
REQUIRED = 0xBD80000000000134
OPTIONAL = 0xBD000000000000C0
CORRECTED = 0x9C00000000000134
RESTARTS, IN_PROGRESS = 1, 4

SPIN = bytes.fromhex("eb fe")
# Real mode: a handler for vector 18, CR4.MCE, R to COM1, spin.  The handler writes M, bank 9's status (its low byte),
# clears it and IA32_MCG_STATUS, and returns.
HANDLE = bytes.fromhex(
    "31 c0 8e d8 c7 06 48 00 25 7c 8c 0e 4a 00 0f 20 e0 66 83 c8 40 0f 22 e0 ba f8 03 b0 52 ee eb fe"
)
HANDLE = HANDLE.ljust(0x25, b"\x90") + bytes.fromhex(
    "ba f8 03 b0 4d ee 66 b9 25 04 00 00 0f 32 ba f8 03 ee 66 31 c0 66 31 d2 0f 30 66 b9 7a 01 00 00 0f 30 cf"
)
# As above, but the handler never ends.
STUCK = HANDLE[:0x25] + bytes.fromhex("ba f8 03 b0 4d ee eb fe")
PAGE = 0x8000


def failure(
    action: MemoryFailureAction,
    *,
    required: bool,
    recursive: bool = False,
    recipient: MemoryFailureRecipient = MemoryFailureRecipient.GUEST,
) -> MemoryFailure:
    return MemoryFailure(recipient, action, MemoryFailureFlags(required, recursive))


def machine(code: bytes = HANDLE, cpus: int = 1, cpu: str = "max") -> VirtualMachine:
    return VirtualMachine(memory="1M", flat=FlatImage(code, mode=FlatMode.REAL), cpus=cpus, cpu=cpu)


async def ready(vm: VirtualMachine) -> None:
    """The guest has set up its handler, and runs freely."""
    await vm.start()
    await vm.serial[0].expect(b"R")


async def line(vm: VirtualMachine, text: str) -> str:
    said: str = await execute(vm, "human-monitor-command", command_line=text)
    return said


@pytest.mark.conformance("MEMORY_FAILURE", "MemoryFailureRecipient.guest", "MemoryFailureAction.inject")
async def test_a_page_that_an_instruction_needs_is_told_to_the_guest() -> None:
    async with machine() as vm:
        await ready(vm)
        async with vm.events.expect(MemoryFailure) as told:
            outcome = await vm.memory_failure(PAGE, action_required=True)
        assert outcome.action is MemoryFailureAction.INJECT
        assert told.value == failure(MemoryFailureAction.INJECT, required=True)
        await vm.serial[0].expect(b"M\x34")
        await vm.stop()
        assert vm.cpu.read_msr(0x400 + 4 * 9 + 2) == PAGE


async def test_the_whole_record_is_that_of_a_page_found_bad_in_passing() -> None:
    async with machine(STUCK) as vm:
        await ready(vm)
        await vm.memory_failure(PAGE + 0x123, action_required=False)
        await vm.serial[0].expect(b"M")
        await vm.stop()
        assert [vm.cpu.read_msr(0x425 + index) for index in range(3)] == [OPTIONAL, PAGE + 0x123, 0x8C]
        assert vm.cpu.read_msr(0x17A) == IN_PROGRESS | RESTARTS


@pytest.mark.conformance("MEMORY_FAILURE", "MemoryFailureAction.ignore", "MemoryFailureRecipient.guest")
async def test_one_that_can_wait_waits_while_the_guest_works_on_another() -> None:
    async with machine(STUCK) as vm:
        await ready(vm)
        await vm.memory_failure(PAGE, action_required=True)
        await vm.serial[0].expect(b"M")
        with vm.events.subscribe(Event) as events:
            assert (await vm.memory_failure(PAGE, action_required=False)).action is MemoryFailureAction.IGNORE
            assert events.receive_nowait() == failure(MemoryFailureAction.IGNORE, required=False, recursive=True)


@pytest.mark.conformance("MEMORY_FAILURE", "MemoryFailureAction.reset", "RESET", "ShutdownCause.guest-reset")
async def test_one_that_cannot_wait_then_resets_the_machine() -> None:
    async with machine(STUCK) as vm:
        await ready(vm)
        await vm.memory_failure(PAGE, action_required=True)
        await vm.serial[0].expect(b"M")
        with vm.events.subscribe(Event) as events:
            assert (await vm.memory_failure(PAGE, action_required=True)).action is MemoryFailureAction.RESET
            assert events.receive_nowait() == failure(MemoryFailureAction.RESET, required=True, recursive=True)
            assert events.receive_nowait() == Reset(True, ShutdownCause.GUEST_RESET)
        assert vm.free_running
        await vm.serial[0].expect(b"R")


async def test_a_guest_that_does_not_take_machine_checks_is_reset() -> None:
    async with machine(SPIN) as vm:
        await vm.run(instructions=10)
        with vm.events.subscribe(Event) as events:
            await vm.memory_failure(PAGE, action_required=False)
            assert events.receive_nowait() == failure(MemoryFailureAction.RESET, required=False)
            assert events.receive_nowait() == Reset(True, ShutdownCause.GUEST_RESET)
        assert (await execute(vm, "query-status"))["status"] == "prelaunch"


@pytest.mark.conformance(
    *["MEMORY_FAILURE", "MemoryFailureAction.fatal", "MemoryFailureAction.ignore", "MemoryFailureRecipient.hypervisor"],
    *["SHUTDOWN", "ShutdownCause.host-error"],
)
@pytest.mark.parametrize(("cpu", "address"), [("486", PAGE), ("max", 0x300000)])
async def test_memory_that_no_guest_can_be_told_of_is_the_machines_own(cpu: str, address: int) -> None:
    own = MemoryFailureRecipient.HYPERVISOR
    async with machine(SPIN, cpu=cpu) as vm:
        await vm.start()
        with vm.events.subscribe(Event) as events:
            await vm.memory_failure(address, action_required=False)
            assert events.receive_nowait() == failure(MemoryFailureAction.IGNORE, required=False, recipient=own)
            assert vm.free_running
            await vm.memory_failure(address, action_required=True)
            assert events.receive_nowait() == failure(MemoryFailureAction.FATAL, required=True, recipient=own)
            assert events.receive_nowait() == Shutdown(False, ShutdownCause.HOST_ERROR)
        assert vm.exit == ShutdownRequested(ShutdownCause.HOST_ERROR, guest=False, status=1)
        await vm.wait_end()
        with pytest.raises(UsageError, match="the machine is off"):
            await vm.memory_failure(address, action_required=True)


async def test_a_reset_that_is_a_shutdown_ends_the_machine() -> None:
    async with machine(SPIN) as vm:
        await vm.start()
        await execute(vm, "set-action", reboot="shutdown")
        await vm.memory_failure(PAGE, action_required=True)
        assert vm.exit == ShutdownRequested(ShutdownCause.GUEST_RESET, guest=True)


@pytest.mark.conformance("MEMORY_FAILURE", "MemoryFailureAction.inject", "MemoryFailureAction.reset")
async def test_the_monitor_command_mce() -> None:
    async with machine(cpus=2) as vm:
        await ready(vm)
        with vm.events.subscribe(Event) as events:
            assert await line(vm, f"mce 0 9 {CORRECTED:#x} 0 0 0") == ""
            assert events.receive_nowait() == failure(MemoryFailureAction.INJECT, required=False)
            assert await line(vm, f"mce 0 9 {REQUIRED:#x} 7 0x8000 0x8c") == ""
            assert events.receive_nowait() == failure(MemoryFailureAction.INJECT, required=True)
            await vm.serial[0].expect(b"M\x34")
            # The second vCPU has not started, and so does not take it.
            said = await line(vm, f"mce -b 0 9 {REQUIRED:#x} 7 0x8000 0x8c")
            assert said == "CPU 1: MCE capability is not enabled, raising triple fault"
            assert events.receive_nowait() == failure(MemoryFailureAction.INJECT, required=True)
            assert events.receive_nowait() == failure(MemoryFailureAction.RESET, required=False)
            assert events.receive_nowait() == Reset(True, ShutdownCause.GUEST_RESET)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mce 7 9 1 0 0 0", ""),
        ("mce 0 10 0xbd80000000000134 5 0 0", "Invalid MCE bank number\r\n"),
        ("mce 0 9 1 0 0 0", "Invalid MCE status code\r\n"),
        ("mce 0 9", 'unexpected end of expression\r\nTry "help mce" for more information\r\n'),
        ("mce x 9", "invalid char 'x' in expression\r\nTry \"help mce\" for more information\r\n"),
    ],
)
async def test_what_mce_refuses(text: str, said: str) -> None:
    async with machine() as vm:
        assert await line(vm, text) == said


async def test_processors_without_machine_checks_or_broadcast_refuse_them() -> None:
    async with machine(cpu="486") as vm:
        assert await line(vm, f"mce 0 9 {REQUIRED:#x} 7 0 0") == "MCE injection not supported\r\n"
    async with machine(cpu="pentium3") as vm:
        refused = await line(vm, f"mce -b 0 9 {REQUIRED:#x} 7 0 0")
        assert refused == "Guest CPU does not support MCA broadcast\r\n"


async def test_a_guest_that_has_switched_reporting_off_hears_nothing() -> None:
    async with machine() as vm:
        await vm.run(instructions=100)
        vm.cpu.write_msr(0x400 + 4 * 9, 0)
        said = await line(vm, f"mce 0 9 {REQUIRED:#x} 7 0 0")
        assert said == "CPU 0: Uncorrected error reporting disabled for bank 9\r\n"
        vm.cpu.write_msr(0x17B, 0)
        said = await line(vm, f"mce 0 9 {REQUIRED:#x} 7 0 0")
        assert said == "CPU 0: Uncorrected error reporting disabled\r\n"
        assert (await vm.inject_machine_check(0, 9, REQUIRED)).action is None


async def test_bad_arguments_are_errors_that_say_so() -> None:
    async with machine() as vm:
        with pytest.raises(UsageError, match="there is no vCPU 3"):
            await vm.inject_machine_check(3, 0, REQUIRED)
        with pytest.raises(UsageError, match="status=0x1"):
            await vm.inject_machine_check(0, 0, 1 << 64)
        with pytest.raises(UsageError, match="address=-1"):
            await vm.memory_failure(-1, action_required=True)


async def test_machine_checks_are_inputs_that_a_replay_repeats() -> None:
    from vmcore import Machine

    async with machine() as vm:
        await vm.run(instructions=1000)
        await vm.inject_machine_check(0, 9, REQUIRED, mcg_status=RESTARTS, address=PAGE)
        await vm.run(instructions=1000)
        inputs, digest = vm.peek().inputs, vm.digest()
        with Machine.replay(vm.config, inputs) as again:
            again.run(1000)
            assert again.digest() == digest
