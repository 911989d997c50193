"""RCPSS, RCPPS, RSQRTSS, RSQRTPS: close enough (SDM Vol. 2: relative error at most 1.5 * 2**-12), and exact where
they must be."""

from __future__ import annotations

import math
import random
import struct

import pytest
from case_tables import fresh, pack, unpack
from engine_under_test import EngineUnderTest

from vmcore.engine import FEATURES, CpuModel

BOUND = 1.5 * 2.0**-12
INFINITY, MINUS_INFINITY, QUIET = 0x7F800000, 0xFF800000, 0x7FC00000


@pytest.fixture(scope="module")
def engine() -> EngineUnderTest:
    return EngineUnderTest(CpuModel("approximations", frozenset(FEATURES) - {"VENDOR_AMD"}))


def _run(engine: EngineUnderTest, code: str, source: int) -> int:
    state = {**fresh(64), "xmm1": source}
    after, vector, _, _ = unpack(engine.run_one(pack(64, bytes.fromhex(code), state, {})), 64)
    assert vector == 6
    return after["xmm0"]


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack("<f", value), "little")


def _float(bits: int) -> float:
    (value,) = struct.unpack("<f", (bits & 0xFFFF_FFFF).to_bytes(4, "little"))
    assert isinstance(value, float)
    return value


@pytest.mark.parametrize(("code", "power"), [("f30f53c1", -1.0), ("f30f52c1", -0.5)], ids=["rcpss", "rsqrtss"])
def test_relative_error_is_within_the_bound(engine: EngineUnderTest, code: str, power: float) -> None:
    r = random.Random(5)
    for _ in range(1_000):
        source = r.getrandbits(23) | r.randint(2, 250) << 23
        value = _float(source)
        assert math.isclose(_float(_run(engine, code, source)), value**power, rel_tol=BOUND)


def test_packed_forms_do_each_lane(engine: EngineUnderTest) -> None:
    lanes = (1.0, 2.0, 4.0, 16.0)
    source = sum(_bits(lane) << 32 * i for i, lane in enumerate(lanes))
    for code, power in (("0f53c1", -1.0), ("0f52c1", -0.5)):
        result = _run(engine, code, source)
        for i, lane in enumerate(lanes):
            assert math.isclose(_float(result >> 32 * i), lane**power, rel_tol=BOUND)


@pytest.mark.parametrize(
    ("code", "source", "result"),
    [
        ("f30f53c1", 0, INFINITY),
        ("f30f53c1", 0x80000000, MINUS_INFINITY),
        ("f30f53c1", 1, INFINITY),  # denormals count as zero
        ("f30f53c1", INFINITY, 0),
        ("f30f53c1", MINUS_INFINITY, 0x80000000),
        ("f30f53c1", QUIET | 5, QUIET | 5),
        ("f30f53c1", INFINITY | 5, QUIET | 5),
        ("f30f52c1", 0, INFINITY),
        ("f30f52c1", 0x80000000, MINUS_INFINITY),
        ("f30f52c1", INFINITY, 0),
        ("f30f52c1", 0xBF800000, 0xFFC00000),  # of a negative number: the default NaN
        ("f30f52c1", QUIET | 9, QUIET | 9),
    ],
)
def test_special_values_are_exact(engine: EngineUnderTest, code: str, source: int, result: int) -> None:
    assert _run(engine, code, source) & 0xFFFF_FFFF == result
