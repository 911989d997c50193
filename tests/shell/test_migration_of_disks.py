"""Disks of a guest that moves: whoever runs it has the files, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from flat_guests import SPIN

from vmcore import CommandError, Disk, RunState, VirtualMachine
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine


async def test_the_files_go_with_the_guest(tmp_path: Path) -> None:
    image, moved = tmp_path / "disk", f"file:{tmp_path}/guest"
    image.write_bytes(bytes(1 << 20))
    disks = [Disk(image, write_through=True)]
    async with VirtualMachine(flat=SPIN, disks=disks) as source:
        await source.start()
        # The other machine waits while the first one still has the file.
        async with VirtualMachine(flat=SPIN, disks=disks, incoming="defer") as other:
            await source.migrate(moved)
            await other.migrate_incoming(moved)
            assert other.state is RunState.RUNNING
            with pytest.raises(CommandError, match='Failed to get "write" lock'):
                await source.cont()
            assert source.state is RunState.POSTMIGRATE
        await source.cont()
        assert source.free_running


async def test_a_guest_whose_disk_somebody_else_has_does_not_run(tmp_path: Path) -> None:
    image, moved = tmp_path / "disk", f"file:{tmp_path}/guest"
    image.write_bytes(bytes(1 << 20))
    disks = [Disk(image, write_through=True)]
    async with VirtualMachine(flat=SPIN, disks=disks) as source:
        await source.start()
        await source.migrate(moved)
        with Machine(MachineConfig(disks=disks)):
            async with VirtualMachine(flat=SPIN, disks=disks, incoming="defer") as other:
                with pytest.raises(CommandError, match='Failed to get "write" lock'):
                    await other.migrate_incoming(moved)
