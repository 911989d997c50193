"""A short run of the fuzzer.  Its own assertions are the test; fuzz_engine.py says how to run it for longer."""

from __future__ import annotations

from fuzz_engine import fuzz


def test_random_code_in_every_mode_always_comes_back() -> None:
    exits = fuzz(2026, rounds=250)
    assert exits["rounds"] == 250
    # It must have run something, and not only ended in triple faults.
    assert exits["BUDGET"] > 100
