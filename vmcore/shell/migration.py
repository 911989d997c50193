"""A guest moved from one virtual machine to another through a file.

What is written is a snapshot (`vmcore.machine.snapshot_file`) and behind it whether the guest ran: one byte, 1 or 0.
So the file can be read as a snapshot too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vmcore.machine.snapshot_file import load_snapshot, save_snapshot
from vmcore.model.errors import ImageError, UsageError
from vmcore.model.events import Resume, Stop
from vmcore.model.run_state import RunState

if TYPE_CHECKING:
    from vmcore.machine.config import MachineConfig
    from vmcore.machine.machine import Machine
    from vmcore.machine.snapshot import Snapshot
    from vmcore.vm import VirtualMachine

__all__ = ["check_incoming", "migrate", "migrate_incoming"]

DEFER: Final = "defer"
_FILE: Final = "file:"


def _file(uri: object) -> Path:
    if not isinstance(uri, str) or not uri.startswith(_FILE) or uri == _FILE or "\0" in uri:
        raise UsageError(f'{uri!r}: expected "file:PATH"')
    return Path(uri.removeprefix(_FILE))


def check_incoming(uri: str | None) -> None:
    """UsageError for what no guest can come from."""
    if uri is not None and uri != DEFER:
        _file(uri)


async def migrate(vm: VirtualMachine, uri: str) -> None:
    """Stop the guest, write it to a file, and leave the machine in state `postmigrate`.

    Where that fails, the guest goes on as before, and no file is left.
    """
    path = _file(uri)
    async with vm.parked() as machine:
        before, ran = vm._state, vm._free
        if before is RunState.INMIGRATE:
            raise UsageError("the machine itself waits for a guest to come")
        if before is RunState.POSTMIGRATE:
            raise UsageError("the guest has been migrated already: `cont` it first")
        if machine.off is not None:
            raise UsageError(f"the machine is off ({machine.off}): reset it first")
        vm._free = False
        vm._state = RunState.FINISH_MIGRATE
        if ran:
            vm._say(Stop())
        done = False
        try:
            await vm.in_engine_thread(lambda: _write(machine, path, ran))
            done = True
            machine.block.activate(False)
        finally:
            vm._state = RunState.POSTMIGRATE if done else before
            vm._free = ran and not done
            if vm._free:
                vm._say(Resume())


def _write(machine: Machine, path: Path, ran: bool) -> None:
    """To a file beside it first, so that the name never stands for half a guest."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            save_snapshot(machine.save(), file)
            file.write(bytes([ran]))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


async def migrate_incoming(vm: VirtualMachine, uri: str) -> None:
    """Take the guest that waits in a file.  It runs on if it ran, unless `stop` was called meanwhile.

    Where that fails, the machine goes on waiting.
    """
    path = _file(uri)
    async with vm.parked() as machine:
        if vm._state is not RunState.INMIGRATE:
            raise UsageError("the machine does not wait for a guest: build it with incoming=")
        loaded: list[tuple[Snapshot, bool]] = []
        await vm.in_engine_thread(lambda: loaded.append(_read(vm.config, path)))
        snapshot, ran = loaded[0]
        machine.restore(snapshot)
        vm._state = RunState.PAUSED
        vm._note_off(machine.off)
        if ran and vm._autostart and machine.off is None:
            vm._run_on()


def _read(config: MachineConfig, path: Path) -> tuple[Snapshot, bool]:
    with path.open("rb") as file:
        snapshot = load_snapshot(file, config=config)
        ran = file.read(2)
    if ran not in (b"\0", b"\1"):
        raise ImageError(str(path), "ran", ran, "one byte, 0 or 1, behind the snapshot")
    return snapshot, ran == b"\1"
