"""Which device model raised: read off the traceback, so that nothing has to be noted while all goes well."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from vmcore.hardware.clock import Clock
from vmcore.hardware.device import Device
from vmcore.hardware.tree import ObjectTree

__all__ = ["blame"]

_ACCESSES = {"port_read", "port_write", "mmio_read", "mmio_write", "read_bulk", "write_bulk"}


def blame(traceback: TracebackType | None, tree: ObjectTree) -> tuple[str, str | None] | None:
    """(device, register) of the innermost device at work when an exception was raised; None if there was none.

    device: its path in the object tree, or what it is where it has none; register: the register that it was
    accessed at, or the
    timer that fired, None where neither is known.
    """
    device: Device[Any] | None = None
    timer: str | None = None
    where: str | None = None
    while traceback is not None:
        frame = traceback.tb_frame
        this = frame.f_locals.get("self")
        if isinstance(this, Clock) and this.firing is not None:
            timer = f"timer {this.firing.name}"
        elif isinstance(this, Device):
            if this is not device:
                device, where = this, None
            if where is None and frame.f_code.co_name in _ACCESSES:
                where = _register(this, frame.f_locals)
            elif where is None:
                where = _handled(this, frame.f_code.co_name)
        traceback = traceback.tb_next
    if device is None:
        return None
    return tree.path_of(device) or type(device).__name__, where or timer


def _register(device: Device[Any], arguments: dict[str, Any]) -> str | None:
    offset = arguments.get("offset")
    if not isinstance(offset, int):
        return None
    register = type(device).register_at(offset)
    return f"offset {offset:#x}" if register is None else register.name


def _handled(device: Device[Any], method: str) -> str | None:
    """The register that the method handles, where the engine has called it directly."""
    for register in type(device).registers():
        if method in (register.read_handler, register.write_handler):
            return register.name
    return None
