"""A snapshot: the whole state of a machine as one immutable value.

It holds no object of a running machine, so it can be kept, compared, pickled and restored into any number of
machines.  Pages of RAM that hold nothing but zeros are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import field, frozen

from vmcore.block.node import FileMark
from vmcore.engine import CpuState
from vmcore.machine.config import MachineConfig
from vmcore.machine.inputs import InputRecord
from vmcore.machine.plug import Plugged
from vmcore.machine.scheduler import SchedulerState
from vmcore.machine.serial_port import SerialPortState
from vmcore.model.exits import Exit

__all__ = ["PAGE", "Snapshot"]

PAGE: Final = 4096


@frozen(kw_only=True)
class Snapshot:
    """State of a machine at an instruction boundary."""

    config: MachineConfig
    cpus: tuple[CpuState, ...]
    scheduler: SchedulerState
    devices: Mapping[str, Any]
    """State of each device, by its path in the object tree."""
    plugged: tuple[Plugged, ...]
    """The devices that are plugged in, in the order in which they came."""
    reset_at: int
    """Instructions that were retired at the latest reset."""
    serial: tuple[SerialPortState, ...]
    pages: Mapping[int, bytes] = field(repr=lambda pages: f"<{len(pages)} pages>")
    """Content of each page of memory that is not all zeros, by guest-physical address."""
    off: Exit | None
    """The exit that switched the machine off, if it is off."""
    inputs: tuple[InputRecord, ...]
    """What had reached the machine since it was built."""
    files: Mapping[str, FileMark] = field(factory=dict)
    """What the files of the host that disks are in were then, by the names of their nodes.  What a disk wrote through
    to its file is not part of a snapshot, and a base under a layer must stay as it is: so the files have to be the
    same when it is restored."""
