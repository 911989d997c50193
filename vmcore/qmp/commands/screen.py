"""The screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.errors import CommandError
from vmcore.model.ui import ImageFormat
from vmcore.model.wire import Int
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("screendump", since="0.14")
async def screendump(
    vm: VirtualMachine,
    *,
    filename: str,
    device: str | None = None,
    head: Int | None = None,
    format: ImageFormat | None = None,
) -> None:
    """Write what the screen shows to a file.

    device: the id of a display device: DeviceNotFound, as the adapter of the board has none; head: which of its heads;
    format: PPM if it is left out.
    """
    if device is not None:
        raise CommandError("DeviceNotFound", f"Device '{device}' not found")
    if head is not None:
        raise CommandError("GenericError", "'head' must be specified together with 'device'")
    await vm.screen.dump(filename, ImageFormat.PPM if format is None else format)
