"""Keyboard and mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.errors import CommandError
from vmcore.model.ui import InputEvent, KeyValue, MouseInfo
from vmcore.model.wire import Int
from vmcore.qmp.registry import command
from vmcore.shell.input import HOLD_SECONDS

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("send-key", since="1.3")
async def send_key(vm: VirtualMachine, *, keys: tuple[KeyValue, ...], hold_time: Int | None = None) -> None:
    """Push keys down one after the other and let them go in reverse.  Nothing happens if the guest does not run.

    hold-time: milliseconds of guest time between the steps; 100 if it is left out or not positive.
    """
    if vm.state.is_live:
        await vm.input.press(keys, hold_time / 1000 if hold_time is not None and hold_time > 0 else HOLD_SECONDS)


@command("input-send-event", since="2.6")
async def input_send_event(
    vm: VirtualMachine, *, device: str | None = None, head: Int | None = None, events: tuple[InputEvent, ...]
) -> None:
    """Let keys, buttons and movements happen at once.

    device: the screen that they are meant for: DeviceNotFound, as there is none; head: which of its heads.
    """
    if device is not None:
        raise CommandError("DeviceNotFound", f"Device '{device}' not found")
    if not vm.state.is_live:
        raise CommandError("GenericError", "VM not running")
    await vm.input.send(events)


@command("query-mice", since="0.14")
async def query_mice(vm: VirtualMachine) -> tuple[MouseInfo, ...]:
    """The pointing devices."""
    return await vm.input.mice()
