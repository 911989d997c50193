from __future__ import annotations

from enum import Enum

import pytest
from attrs import define, field

from vmcore.hardware.tree import SETTABLE, ObjectTree, Property
from vmcore.model.errors import UsageError


class Colour(Enum):
    RED = "red"


@define(eq=False)
class Part:
    io_base: int = 0x3F8
    colour: Colour = Colour.RED
    loud: bool = field(default=False, metadata=SETTABLE)
    peer: Part | None = None
    blob: bytes = b""
    _hidden: int = 1


def tree_of(part: Part) -> ObjectTree:
    tree = ObjectTree()
    tree.add("/machine/part", part)
    return tree


def test_an_object_is_found_by_its_path_and_the_path_by_its_object() -> None:
    part = Part()
    tree = tree_of(part)
    assert tree.node("/machine/part").value is part
    assert tree.path_of(part) == "/machine/part"
    assert tree.path_of(Part()) is None
    assert tree.node("/").path == "/"


def test_properties_are_the_public_fields_of_plain_data() -> None:
    tree = tree_of(Part())
    assert tree.properties("/machine/part") == [
        Property("io-base", "int"),
        Property("colour", "Colour"),
        Property("loud", "bool", settable=True),
    ]
    assert tree.get("/machine/part", "io-base") == 0x3F8


def test_children_and_links_are_properties_that_give_paths() -> None:
    first, second = Part(), Part()
    second.peer = first
    tree = tree_of(first)
    tree.add("/machine/other", second)
    assert tree.properties("/machine") == [Property("part", "child<Part>"), Property("other", "child<Part>")]
    assert tree.get("/machine", "part") == "/machine/part"
    assert Property("peer", "link<Part>") in tree.properties("/machine/other")
    assert tree.get("/machine/other", "peer") == "/machine/part"


def test_settable_properties_are_set_and_others_refuse() -> None:
    part = Part()
    tree = tree_of(part)
    tree.set("/machine/part", "loud", True)
    assert part.loud
    with pytest.raises(UsageError, match="read only"):
        tree.set("/machine/part", "io-base", 1)
    with pytest.raises(UsageError, match="of type bool"):
        tree.set("/machine/part", "loud", 1)


@pytest.mark.parametrize("call", ["get", "set"])
def test_unknown_properties_are_named(call: str) -> None:
    tree = tree_of(Part())
    arguments = ("/machine/part", "nope") if call == "get" else ("/machine/part", "nope", 1)
    with pytest.raises(UsageError, match=r"/machine/part \(Part\) has no .*nope"):
        getattr(tree, call)(*arguments)


@pytest.mark.parametrize("path", ["machine", "", "/machine/nope", "/machine/part/deeper"])
def test_bad_paths_are_refused(path: str) -> None:
    with pytest.raises(UsageError):
        tree_of(Part()).node(path)


def test_a_place_is_taken_only_once() -> None:
    tree = tree_of(Part())
    with pytest.raises(UsageError, match="taken by a Part"):
        tree.add("/machine/part", Part())


def test_a_removed_object_is_gone_with_all_below_it() -> None:
    part, below = Part(), Part()
    tree = tree_of(part)
    tree.add("/machine/part/below", below)
    tree.remove("/machine/part")
    assert tree.path_of(below) is None
    with pytest.raises(UsageError):
        tree.node("/machine/part")
    with pytest.raises(UsageError, match="root"):
        tree.remove("/")


def test_a_container_is_made_once_and_takes_what_is_added() -> None:
    tree = ObjectTree()
    made = tree.container("/machine/peripheral")
    assert tree.container("/machine/peripheral") is made
    assert tree.add("/machine/peripheral/x", object()).parent is made
    assert made.type_name == "container"
