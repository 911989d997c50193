"""A short run of the device fuzzer.  Its own assertions are the test; fuzz_devices.py says how to run it for longer."""

from __future__ import annotations

import fuzz_devices


def test_random_accesses_to_all_registers_do_no_harm() -> None:
    counts = fuzz_devices.fuzz(2026, rounds=25)
    assert counts["rounds"] == 25
    # The programs must have run, and not have ended at their first access.
    assert counts["BudgetSpent"] > 40
