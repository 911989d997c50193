"""The canonical encoding keeps different values apart and equal ones together."""

from enum import Enum
from itertools import combinations
from typing import Any

import pytest
from attrs import frozen

from vmcore.machine.canonical import encode


class Colour(Enum):
    RED = 1


@frozen
class Point:
    x: int
    y: Any = None


@frozen
class Spot:
    x: int
    y: Any = None


def encoded(value: object) -> bytes:
    pieces: list[bytes] = []
    encode(value, pieces.append)
    return b"".join(pieces)


DIFFERENT = [
    None, True, False, 0, -1, 16, -16, 1 << 80, 1.5, "", "1", "i1:1", b"", b"1", (), (1,), ((1,),), (1, 2), (12,),
    ("a", "b"), ("ab",), {}, {"a": 1}, {"a": 2}, {"b": 1}, Point(1), Point(2), Point(1, (2,)), Spot(1),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), list(combinations(DIFFERENT, 2)), ids=repr)
def test_different_values_have_different_encodings(one: object, other: object) -> None:
    assert encoded(one) != encoded(other)


def test_the_order_of_a_mapping_does_not_matter() -> None:
    assert encoded({"a": 1, "b": 2}) == encoded({"b": 2, "a": 1})


def test_kinds_that_hold_the_same_are_the_same() -> None:
    assert encoded([1, 2]) == encoded((1, 2))
    assert encoded(bytearray(b"x")) == encoded(b"x")
    assert encoded({2, 1}) == encoded((1, 2))
    assert encoded(Colour.RED) == encoded(1)


def test_a_value_of_no_known_kind_is_an_error() -> None:
    with pytest.raises(TypeError, match="no canonical form for object"):
        encoded(object())
