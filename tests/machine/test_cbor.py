"""CBOR: the examples of RFC 8949, appendix A, and what must not be taken."""

import pytest

from vmcore.machine.cbor import CborError, decode, encode

EXAMPLES = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (18446744073709551616, "c249010000000000000000"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (-18446744073709551617, "c349010000000000000000"),
    (-1, "20"),
    (-1000, "3903e7"),
    (1.1, "fb3ff199999999999a"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\1\2\3\4", "4401020304"),
    ("", "60"),
    ("IETF", "6449455446"),
    ("ü", "62c3bc"),
    ([], "80"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    ({}, "a0"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
]


@pytest.mark.parametrize(("value", "text"), EXAMPLES)
def test_examples_of_the_standard(value: object, text: str) -> None:
    assert encode(value).hex() == text
    back = decode(bytes.fromhex(text))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "text",
    ["", "18", "0000", "1c", "5f4101ff", "9f01ff", "bf6161ff", "f7", "f93c00", "c11a514b67b0", "62c328", "a10102",
     "a2616101616102", "81" * 40 + "00", "c25a00000100", "c281f6", "ff", "a1c24101f6", "c2c2c2c24101"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(CborError):
        decode(bytes.fromhex(text))


@pytest.mark.parametrize("kind", [0x5B, 0x7B, 0x9B, 0xBB])
def test_a_length_that_cannot_be_costs_nothing(kind: int) -> None:
    with pytest.raises(CborError):
        decode(bytes([kind]) + b"\x7f" + b"\xff" * 7)


def test_what_has_no_encoding_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        encode(object())
