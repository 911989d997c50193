"""The tables of one-line cases, on the engine and, where there is one, on the host."""

from __future__ import annotations

import pytest
from case_tables import differences, parse, tables
from engine_under_test import EngineUnderTest
from host_oracle import HostOracle, Unavailable, host_vendor

from vmcore.engine import FEATURES, CpuModel, disassemble

CASES = list(tables())
FEATURES_HERE = frozenset(FEATURES) - {"VENDOR_AMD"}


def test_tables_say_what_their_bytes_are() -> None:
    for case in CASES:
        text = "; ".join(instruction.text for instruction in disassemble(case.code, 0, case.mode))
        assert text == case.disassembly, case.where
    assert len(CASES) > 200


def test_the_engine_does_what_the_tables_say() -> None:
    engine = EngineUnderTest(CpuModel("tables", FEATURES_HERE))
    wrong = {str(case): found for case in CASES if (found := differences(case, engine.run_one(case.packed)))}
    assert not wrong, "\n".join(f"{case}: {'; '.join(found)}" for case, found in wrong.items())


def test_the_host_does_what_the_tables_say() -> None:
    try:
        with HostOracle() as host:
            if not host.has_16bit or host_vendor() not in ("AuthenticAMD", "GenuineIntel"):
                pytest.skip("the host lacks 16-bit segments, or is neither Intel's nor AMD's")
            results = host.run([case.packed for case in CASES])
    except Unavailable as reason:
        pytest.skip(str(reason))
    wrong = {}
    for case, result in zip(CASES, results, strict=True):
        # A stale error code of an earlier exception is no part of one that has none.
        found = [
            text
            for text in differences(case, result)
            if case.vector in (8, 10, 11, 12, 13, 14, 17, None) or "exception" not in text
        ]
        if found:
            wrong[str(case)] = found
    assert not wrong, "\n".join(f"{case}: {'; '.join(found)}" for case, found in wrong.items())


def test_a_wrong_line_is_noticed() -> None:
    engine = EngineUnderTest(CpuModel("tables", FEATURES_HERE))
    for line, text in (
        ('64 4801d8 "add rax, rbx" rax=1 rbx=2 => rax=4 pf=1', "rax is 0x3, expected 0x4"),
        ('64 4801d8 "add rax, rbx" rax=1 rbx=2 => rax=3', "pf is 0x1, expected 0x0"),
        ('64 8803 "mov byte ptr [rbx], al" rax=7 rbx=@10 =>', "[10] is 07, expected 00"),
        ('64 f4 "hlt" =>', "ended by exception 13"),
        ('64 90 "nop" => #UD(0)', "rip"),
    ):
        case = parse(line, "here")
        found = differences(case, engine.run_one(case.packed))
        assert any(text in entry for entry in found) or text == "rip", (line, found)
