"""vmcore: a PC that you can import.

`VirtualMachine` is the machine for programs that run trio; `Machine` is the same without an event loop.  Everything
that is worth a name is exported here; names are looked up when first used, so that importing the package costs
nothing.

The rooms, from the bottom: `model` (the vocabulary: events, run states, errors, exits), `engine` (the CPU),
`hardware` (what a device is), `devices`, `firmware`, `block`, `boards`, `machine` (the synchronous PC), `vm` and
`shell` (trio), `cli`.  Imports run downwards only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmcore.engine import Cpu as Cpu
    from vmcore.engine import PhysicalMemory as PhysicalMemory
    from vmcore.engine import assemble as assemble
    from vmcore.engine import disassemble as disassemble
    from vmcore.firmware.boot_options import BootOptions as BootOptions
    from vmcore.machine.config import DeviceOption as DeviceOption
    from vmcore.machine.config import FlatImage as FlatImage
    from vmcore.machine.config import FlatMode as FlatMode
    from vmcore.machine.config import MachineConfig as MachineConfig
    from vmcore.machine.disk_config import Disk as Disk
    from vmcore.machine.machine import Machine as Machine
    from vmcore.machine.snapshot import Snapshot as Snapshot
    from vmcore.model.errors import CommandError as CommandError
    from vmcore.model.errors import ConfigError as ConfigError
    from vmcore.model.errors import DeviceModelError as DeviceModelError
    from vmcore.model.errors import GuestError as GuestError
    from vmcore.model.errors import ImageError as ImageError
    from vmcore.model.errors import UsageError as UsageError
    from vmcore.model.errors import VmcoreError as VmcoreError
    from vmcore.model.events import Event as Event
    from vmcore.model.events import GuestFault as GuestFault
    from vmcore.model.events import Powerdown as Powerdown
    from vmcore.model.events import Reset as Reset
    from vmcore.model.events import Resume as Resume
    from vmcore.model.events import RtcChange as RtcChange
    from vmcore.model.events import Shutdown as Shutdown
    from vmcore.model.events import Stop as Stop
    from vmcore.model.exits import Breakpoint as Breakpoint
    from vmcore.model.exits import BudgetSpent as BudgetSpent
    from vmcore.model.exits import DebugExit as DebugExit
    from vmcore.model.exits import Exit as Exit
    from vmcore.model.exits import GuestFaulted as GuestFaulted
    from vmcore.model.exits import Idle as Idle
    from vmcore.model.exits import ShutdownRequested as ShutdownRequested
    from vmcore.model.exits import StopRequested as StopRequested
    from vmcore.model.exits import Watchpoint as Watchpoint
    from vmcore.model.run_state import RunState as RunState
    from vmcore.model.run_state import ShutdownCause as ShutdownCause
    from vmcore.shell.events import EventsLost as EventsLost
    from vmcore.shell.serial import BytesLost as BytesLost
    from vmcore.shell.serial import ExpectFailed as ExpectFailed
    from vmcore.vm import VirtualMachine as VirtualMachine

_HOMES = {
    "engine": ("Cpu", "PhysicalMemory", "assemble", "disassemble"),
    "firmware.boot_options": ("BootOptions",),
    "machine.config": ("DeviceOption", "FlatImage", "FlatMode", "MachineConfig"),
    "machine.disk_config": ("Disk",),
    "machine.machine": ("Machine",),
    "machine.snapshot": ("Snapshot",),
    "model.errors": (
        "CommandError",
        "ConfigError",
        "DeviceModelError",
        "GuestError",
        "ImageError",
        "UsageError",
        "VmcoreError",
    ),
    "model.events": ("Event", "GuestFault", "Powerdown", "Reset", "Resume", "RtcChange", "Shutdown", "Stop"),
    "model.exits": (
        "Breakpoint",
        "BudgetSpent",
        "DebugExit",
        "Exit",
        "GuestFaulted",
        "Idle",
        "ShutdownRequested",
        "StopRequested",
        "Watchpoint",
    ),
    "model.run_state": ("RunState", "ShutdownCause"),
    "shell.events": ("EventsLost",),
    "shell.serial": ("BytesLost", "ExpectFailed"),
    "vm": ("VirtualMachine",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vmcore' has no attribute {name!r}")
    value = getattr(import_module(f"vmcore.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
