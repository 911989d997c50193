"""What the parts of `Machine` know of it: its attributes, for type checkers.

`Machine` is one object in several files, one subject each: requests and resets (`settling`), inputs (`input_door`),
its state as a value (`state`), and the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque

    from vmcore.block.graph import BlockGraph
    from vmcore.boards.board import Board
    from vmcore.engine import Cpu, PhysicalMemory
    from vmcore.firmware.boot_image import BootImage
    from vmcore.hardware.clock import Clock
    from vmcore.hardware.tree import ObjectTree
    from vmcore.machine.actions import Actions
    from vmcore.machine.config import MachineConfig
    from vmcore.machine.inputs import InputRecord
    from vmcore.machine.machine_check import MachineCheckOutcome
    from vmcore.machine.plug import DevicePlug
    from vmcore.machine.requests import Request
    from vmcore.machine.scheduler import Scheduler
    from vmcore.machine.serial_port import SerialPort
    from vmcore.model.errors import DeviceModelError
    from vmcore.model.events import Event
    from vmcore.model.exits import Exit

__all__ = ["MachineParts"]


class MachineParts:
    """Attributes of a machine, as its parts see them."""

    if TYPE_CHECKING:
        actions: Actions
        board: Board
        _broken: DeviceModelError | None
        _checked: MachineCheckOutcome
        _events: int
        _image: BootImage | None
        _in_run: bool
        _inputs: list[InputRecord]
        _off: Exit | None
        _requests: deque[Request]
        _reset_at: int

        @property
        def config(self) -> MachineConfig: ...

        @property
        def memory(self) -> PhysicalMemory: ...

        @property
        def cpus(self) -> tuple[Cpu, ...]: ...

        @property
        def tree(self) -> ObjectTree: ...

        @property
        def serial(self) -> tuple[SerialPort, ...]: ...

        @property
        def block(self) -> BlockGraph: ...

        @property
        def plug(self) -> DevicePlug: ...

        @property
        def clock(self) -> Clock: ...

        @property
        def instructions(self) -> int: ...

        @property
        def now_ns(self) -> int: ...

        @property
        def asleep(self) -> bool: ...

        @property
        def present_cpus(self) -> tuple[int, ...]: ...

        @property
        def _scheduler(self) -> Scheduler: ...

        @property
        def _own_timers(self) -> int: ...

        def _emit(self, event: Event) -> None: ...

        def _check_open(self) -> None: ...

        def _check_parked(self, what: str) -> None: ...

        def _rewrite_tables(self) -> None: ...

        def _press_power_button(self) -> None: ...

        def _send_nmi(self, cpu: int) -> None: ...
