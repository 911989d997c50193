"""Native code for hot blocks does what the ops do: the same programs with it, without it, in slices of any length."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import random_programs

from vmcore.engine import RunExit

FIRST, LAST = 0, 250


def outcomes(native: str, slice_: int) -> list[str]:
    """What the programs did in a process of its own, as the setting is read once."""
    script = Path(random_programs.__file__)
    result = subprocess.run(
        [sys.executable, str(script), str(FIRST), str(LAST), str(slice_)],
        env={**os.environ, "VMCORE_NATIVE": native, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def interpreted() -> list[str]:
    return outcomes("0", 1_000_000)


def test_the_random_programs_run_to_their_end(interpreted: list[str]) -> None:
    assert len(interpreted) == LAST - FIRST
    assert min(int(line.split()[2]) for line in interpreted) > 200
    assert len({line.split()[1] for line in interpreted}) == LAST - FIRST


@pytest.mark.parametrize(("native", "slice_"), [("1", 1_000_000), ("20", 1_000_000), ("20", 97), ("0", 61)])
def test_programs_do_the_same_as_native_code_and_in_slices(interpreted: list[str], native: str, slice_: int) -> None:
    assert outcomes(native, slice_) == interpreted


def test_hot_blocks_get_native_code_where_the_host_can_run_it() -> None:
    _, cpu = random_programs.machine(1)
    assert cpu.run(1_000_000) is RunExit.HALT
    wanted = platform.machine() == "x86_64" and sys.platform == "linux" and os.environ.get("VMCORE_NATIVE") != "0"
    assert (cpu.statistics()["blocks_native"] > 0) == wanted
