"""The time before the machine is built, in which clients may still add to its configuration.

The block of the virtual machine is entered, and QMP is served; there is no machine yet, and whatever needs one is
refused.  `VirtualMachine.exit_preconfig` builds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, final

import attrs
import trio

from vmcore.hardware.tree import ObjectTree
from vmcore.machine.actions import Actions
from vmcore.machine.machine import CONTAINERS, configured_actions
from vmcore.machine.numa import NumaTopology
from vmcore.model.errors import UsageError
from vmcore.model.events import Shutdown
from vmcore.model.exits import ShutdownRequested
from vmcore.model.keyval import check, parse
from vmcore.model.machine import NumaOptions
from vmcore.model.run_state import RunState, ShutdownCause

if TYPE_CHECKING:
    from vmcore.machine.config import MachineConfig
    from vmcore.vm import VirtualMachine

__all__ = ["Numa", "Preconfig"]


@final
class Preconfig:
    """What there is before the machine: its configuration so far.

    autostart: the guest runs freely as soon as the machine is built.
    """

    def __init__(self, vm: VirtualMachine, autostart: bool) -> None:
        self._vm = vm
        self._autostart = autostart
        self.actions: Actions = configured_actions(vm.config)
        """What the machine is to do about reboots, shutdowns, panics and watchdogs."""
        self.tree: Final = ObjectTree()
        """The object tree, as far as there is one."""
        for path in CONTAINERS:
            self.tree.container(path)
        self.before_start: list[Callable[[], Awaitable[None]]] = []
        """Called when the machine is built and has not begun to run."""

    async def quit(self, cause: ShutdownCause) -> None:
        """The end of a machine that was never built."""
        vm = self._vm
        vm._check_entered()
        await trio.lowlevel.checkpoint()
        if vm._exit is None:
            vm._say(Shutdown(False, cause))
            vm._exit = ShutdownRequested(cause, guest=False)
            vm._state = RunState.SHUTDOWN
            vm._changed.unpark_all()

    async def leave(self) -> None:
        """Build the machine, and let it run if it is to."""
        vm = self._vm
        await trio.lowlevel.checkpoint()
        if vm.exit is not None:
            raise UsageError("the virtual machine has been switched off")
        NumaTopology.of(vm.config).complete()
        vm._build(vm.config)
        vm._preconfig = None
        vm.actions = self.actions
        await vm.chardevs._plug()
        for call in self.before_start:
            await call()
        if vm._incoming is not None:
            await vm.migration.begin(vm._incoming)
        elif self._autostart and vm.state is RunState.PRELAUNCH:
            await vm.start()


@final
class Numa:
    """`vm.numa`: the nodes, and what to add to them before the machine is built."""

    __slots__ = ("_known", "_vm")

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm
        self._known: tuple[MachineConfig, bool, NumaTopology] | None = None

    def topology(self) -> NumaTopology:
        """The nodes; until the machine is built those that there are so far."""
        config, before = self._vm.config, self._vm.preconfig
        if self._known is None or self._known[0] is not config or self._known[1] is not before:
            topology = NumaTopology.of(config)
            if not before:
                topology.complete()
            self._known = config, before, topology
        return self._known[2]

    async def add(self, option: NumaOptions | str) -> None:
        """Add an option ("node,nodeid=0,cpus=0-1,memdev=m0") before the machine is built.

        UsageError for one that does not fit those before, and once the machine is built.
        """
        vm = self._vm
        await trio.lowlevel.checkpoint()
        vm._check_entered()
        if not vm.preconfig:
            raise UsageError("The command is permitted only before the machine has been created")
        if isinstance(option, str):
            option = parse(NumaOptions, option, "numa")
        else:
            check(option, "numa")
        if vm.config.board == "none":
            raise UsageError("NUMA is not supported by this machine-type")
        NumaTopology.of(vm.config, vm.objects.memory_sizes()).add(option)
        memdev = getattr(option, "memdev", None)
        backends = vm.config.memory_backends
        if memdev is not None and all(backend.id != memdev for backend in backends):
            backends = (*backends, vm.objects.memory_options(memdev))
        vm.config = attrs.evolve(vm.config, memory_backends=backends, numa=(*vm.config.numa, option))
