"""Life of the machine: status, stop and cont, resets, power, actions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from vmcore.machine.actions import Actions
from vmcore.model.errors import CommandError
from vmcore.model.run_state import (
    PanicAction,
    RebootAction,
    ShutdownAction,
    StatusInfo,
    WatchdogAction,
)
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.qmp.server import Monitor
    from vmcore.vm import VirtualMachine
else:
    Monitor = VirtualMachine = object  # the registry resolves annotations


@command("query-status", allow_preconfig=True, since="0.14")
async def query_status(vm: VirtualMachine) -> StatusInfo:
    """The run state, and whether vCPUs may execute in it."""
    return StatusInfo(vm.state.executes, vm.state)


@command("stop", since="0.14")
async def stop(vm: VirtualMachine) -> None:
    """Pause the guest.  Nothing happens if it does not run."""
    await vm.stop()


@command("cont", since="0.14")
async def cont(vm: VirtualMachine) -> None:
    """Let the guest run.  GenericError where only a reset leads on."""
    if vm.state.needs_reset:
        raise CommandError("GenericError", "Resetting the Virtual Machine is required")
    await vm.cont()


@command("system_reset", since="0.14")
async def system_reset(vm: VirtualMachine) -> None:
    """Press the reset button; a shutdown where the action for reboots says so."""
    await vm.reset()


@command("system_powerdown", since="0.14")
async def system_powerdown(vm: VirtualMachine) -> None:
    """Press the power button: the guest is asked to switch itself off."""
    await vm.powerdown()


@command("system_wakeup", since="1.1")
async def system_wakeup(vm: VirtualMachine) -> None:
    """Wake a guest that sleeps in ACPI S3.  GenericError where it does not."""
    await vm.wake()


@command("quit", allow_preconfig=True, since="0.14")
async def quit(vm: VirtualMachine, *, monitor: Monitor) -> None:
    """Switch the machine off, whatever its shutdown action; the connection ends behind the answer."""
    monitor.closing = True
    await vm.quit()


@command("inject-nmi", since="0.14")
async def inject_nmi(vm: VirtualMachine) -> None:
    """Send a non-maskable interrupt to every vCPU."""
    for index in vm.peek().present_cpus:
        await vm.nmi(index)


@command("watchdog-set-action", since="2.11")
async def watchdog_set_action(vm: VirtualMachine, *, action: WatchdogAction) -> None:
    """Say what an expired watchdog does."""
    vm.actions = attrs.evolve(vm.actions, watchdog=action)


@command("set-action", allow_preconfig=True, since="6.0")
async def set_action(
    vm: VirtualMachine,
    *,
    reboot: RebootAction | None = None,
    shutdown: ShutdownAction | None = None,
    panic: PanicAction | None = None,
    watchdog: WatchdogAction | None = None,
) -> None:
    """Say what the machine does about reboots, shutdowns, panics and watchdogs; what is left out stays."""
    before = vm.actions
    vm.actions = Actions(
        reboot=reboot or before.reboot,
        shutdown=shutdown or before.shutdown,
        panic=panic or before.panic,
        watchdog=watchdog or before.watchdog,
    )
