"""A short run of the fuzzers; the long one is `python tests/qmp/qmp_fuzz.py --count 1000000 --live 50000`."""

from __future__ import annotations

from pathlib import Path

from qmp_fuzz import live, session


def test_mutated_input_is_answered_and_lets_the_next_request_through() -> None:
    good, bad = session(5000, seed=1)
    assert good > 1000
    assert bad > 1000


async def test_mutated_input_leaves_the_server_and_the_guest_running(tmp_path: Path) -> None:
    assert await live(300, 1, tmp_path) > 10_000
