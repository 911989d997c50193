"""Short runs of the fuzzer.  Its own assertions are the test; fuzz_engine.py says how to run it for longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fuzz_engine


def test_random_code_in_every_mode_always_comes_back() -> None:
    exits = fuzz_engine.fuzz(2026, rounds=250)
    assert exits["rounds"] == 250
    # It must have run something, and not only ended in triple faults.
    assert exits["BUDGET"] > 100


def _digests(threshold: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, fuzz_engine.__file__, "--seed", "77", "--rounds", "150", "--digests"],
        env={**os.environ, "VMCORE_NATIVE": threshold, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(" ") for line in done.stdout.splitlines()]
    return {seed: digest for seed, digest in rows if digest}


def test_native_code_changes_nothing() -> None:
    """The same rounds with every block compiled at once, and with none: state and memory come out the same."""
    assert Path(str(fuzz_engine.__file__)).name == "fuzz_engine.py"
    compiled, plain = _digests("1"), _digests("0")
    both = compiled.keys() & plain.keys()
    assert len(both) > 100
    assert {seed for seed in both if compiled[seed] != plain[seed]} == set()
