"""Exits are a closed union of values."""

from typing import get_args

import attrs

from vmcore.model import exits
from vmcore.model.exits import DebugExit, Exit, Idle


def test_the_union_holds_every_class_of_the_module_and_all_are_frozen() -> None:
    assert {cls.__name__ for cls in get_args(Exit)} | {"Exit"} == set(exits.__all__)
    for cls in get_args(Exit):
        assert attrs.fields(cls) is not None
        assert hash(cls.__name__)
        assert cls.__setattr__ is not object.__setattr__, f"{cls.__name__} is not frozen"


def test_debug_exit_makes_an_odd_status() -> None:
    assert DebugExit(0).status == 1
    assert DebugExit(0x10).status == 33


def test_idle_without_a_deadline_is_idle_for_ever() -> None:
    assert Idle() == Idle(until_ns=None)
