"""The engine against the host's processor and Unicorn: a short run of each.  compare_run.py is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from compare_run import compare_with
from host_oracle import Unavailable

SEED = 20260101


def _compare(oracle: str, cases: int, length: int, seed: int = SEED) -> None:
    try:
        found = compare_with(oracle, seed, cases, length)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert found.instructions == cases * length
    # Most cases must come to their end and not fault, or nothing would have been shown.
    assert found.vectors[6] > cases // 2
    assert not found.differences, "\n".join(str(difference) for difference in found.differences[:10])


def test_single_instructions_do_what_the_host_does() -> None:
    _compare("host", 12_000, 1)


def test_sequences_of_instructions_do_what_the_host_does() -> None:
    _compare("host", 4_000, 4)


def test_single_instructions_do_what_unicorn_does() -> None:
    _compare("unicorn", 4_000, 1)


def test_native_code_does_what_the_host_does() -> None:
    """Blocks are compiled when they are first executed, where they are compiled at all."""
    done = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).with_name("compare_run.py"))),
            *("--cases", "1500", "--length", "6", "--mode", "64", "--seed", str(SEED)),
        ],
        env={**os.environ, "VMCORE_NATIVE": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Unavailable" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("9000 instructions in 1500 cases, 0 differences")
