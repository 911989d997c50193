"""Devices that a configuration adds to a board, by the names that users of QEMU know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vmcore.devices import ib700
from vmcore.devices.debug_exit import DebugExitPort
from vmcore.devices.debugcon import Debugcon
from vmcore.devices.ib700 import Ib700
from vmcore.devices.pvpanic import PvPanic
from vmcore.model.errors import ConfigError
from vmcore.model.events import GuestCrashloaded
from vmcore.model.run_state import GuestPanicAction

if TYPE_CHECKING:
    from vmcore.boards.board import AddedDevice, Board

__all__ = ["add_devices"]


def add_devices(board: Board, added: Sequence[AddedDevice]) -> None:
    """Build the devices and put them in their places.  ConfigError where a place is taken or there is none."""
    for device in added:
        try:
            _BUILDERS[device.model](board, device)
            board.added[device.path] = device.model
        except ConfigError as error:
            raise ConfigError(device.where, error.value, error.expected) from error


def _debug_exit(board: Board, added: AddedDevice) -> None:
    device = DebugExitPort(exit=board.services.debug_exit)
    base, size = added.properties["iobase"], added.properties["iosize"]
    board.ports.claim(base, size, device, added.model)
    board.add(added.path, device)


def _debugcon(board: Board, added: AddedDevice) -> None:
    device = Debugcon(sink=board.services.debugcon, readback=added.properties["readback"])
    board.ports.claim(added.properties["iobase"], 1, device, added.model)
    board.add(added.path, device)


def _pvpanic(board: Board, added: AddedDevice) -> None:
    services = board.services
    device = PvPanic(lambda: services.panicked(None), lambda: services.emit(GuestCrashloaded(GuestPanicAction.RUN)))
    board.ports.claim(added.properties["ioport"], 1, device, added.model)
    board.add(added.path, device)


def _ib700(board: Board, added: AddedDevice) -> None:
    device = Ib700(board.services.clock, board.services.watchdog_expired)
    board.ports.claim(ib700.PORT, ib700.PORTS, device, added.model)
    board.watchdogs.append(device)
    board.add(added.path, device)


_BUILDERS: Mapping[str, Callable[[Any, Any], None]] = {
    "isa-debug-exit": _debug_exit,
    "isa-debugcon": _debugcon,
    "pvpanic": _pvpanic,
    "ib700": _ib700,
}
