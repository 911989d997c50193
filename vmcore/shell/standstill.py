"""Run states of a machine that an operation of the host stops and leaves again: migrations and named snapshots.

All of these are for who holds the machine parked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vmcore.model.errors import CommandError
from vmcore.model.events import Stop
from vmcore.model.run_state import RunState

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["expects_guest", "let_go", "settle", "stand_still", "stand_up"]

_PASSING: Final = frozenset({RunState.FINISH_MIGRATE, RunState.SAVE_VM, RunState.RESTORE_VM})


def expects_guest(vm: VirtualMachine) -> bool:
    """Whether the machine was built to take a guest from another one."""
    return vm._incoming is not None


def stand_still(vm: VirtualMachine, state: RunState) -> tuple[RunState, bool]:
    """Stop the guest and be in this state; the state before, and whether the guest ran."""
    before, ran = vm._state, vm._free
    vm._free, vm._state, vm._autostart = False, state, True
    if ran:
        vm._say(Stop())
    return before, ran


def stand_up(vm: VirtualMachine, state: RunState, ran: bool) -> None:
    """Be in this state again, running if it ran; `stop` meanwhile keeps it stopped, and so does what else happened."""
    if vm._state in _PASSING:
        vm._state = RunState.PAUSED if ran else state
        vm._exit = None
        vm._note_off(vm.peek().off)
        if ran:
            _run_on(vm)


def let_go(vm: VirtualMachine) -> None:
    """The guest has gone to another machine."""
    if vm._state is RunState.FINISH_MIGRATE:
        vm._state = RunState.POSTMIGRATE


def settle(vm: VirtualMachine, state: RunState) -> None:
    """The guest has come from another machine, where it was in this state."""
    runs = state is RunState.RUNNING
    vm._state = RunState.PAUSED if runs or not vm._autostart else state
    vm._exit = None
    vm._note_off(vm.peek().off)
    if runs:
        _run_on(vm)


def _run_on(vm: VirtualMachine) -> None:
    if vm._autostart and vm._exit is None:
        try:
            vm._run_on()
        except CommandError:
            # Somebody has a disk of it.  The guest is here all the same: it waits for a `cont`, which says so again.
            return
