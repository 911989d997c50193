from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest

from vmcore.block.raw import SECTOR
from vmcore.demo import guest
from vmcore.firmware.platform import PlatformLayout
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.exits import ShutdownRequested
from vmcore.model.units import MIB


def test_the_kept_bytes_are_those_of_the_sources() -> None:
    if importlib.util.find_spec("keystone") is None:
        pytest.skip("keystone-engine is not installed")
    assert guest.assemble() == guest.disk()


def test_it_is_a_disk_with_a_boot_sector() -> None:
    image = guest.boot_image(PlatformLayout(memory=4 * MIB))
    assert len(guest.disk()) == guest.SECTORS * SECTOR
    assert [(disk.unit, disk.data) for disk in image.disks] == [(0x80, guest.disk())]


def test_qemu_runs_it_to_the_end(tmp_path: Path) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    (tmp_path / "disk").write_bytes(guest.disk())
    done = subprocess.run(
        [
            "qemu-system-x86_64",
            *("-accel", "tcg", "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-m", "16"),
            *("-drive", f"file={tmp_path / 'disk'},format=raw"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=True,
    )
    for line in (b"hello from sector 15", b"page fault at 123456789000h", b"there they are", b"78498", b"604h: off"):
        assert line in done.stdout


def test_our_machine_runs_it_to_the_end() -> None:
    with Machine(MachineConfig(bootsector=guest.disk(), memory="4M")) as machine:
        assert isinstance(machine.run(until_ns=5 * 10**9), ShutdownRequested)
        output = machine.serial[0].take()
    assert guest.KEY_PROMPT in output
    assert output.endswith(b"control at port 604h: off\r\n")
    assert b"unexpected" not in output


@pytest.mark.parametrize("model", ["486", "pentium3"])
def test_a_processor_without_64_bit_mode_is_told_so(model: str) -> None:
    with Machine(MachineConfig(bootsector=guest.disk(), memory="4M", cpu=model)) as machine:
        machine.run(until_ns=10**9)
        assert machine.serial[0].take().endswith(b"this processor has no 64-bit mode\r\n")
