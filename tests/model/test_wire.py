"""Declarations that cannot be meant are refused where they are made."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import pytest
from attrs import frozen

from vmcore.model import catalogue
from vmcore.model.wire import (
    DEPRECATED,
    ENUMS,
    STRUCTS,
    UNIONS,
    Features,
    Int,
    Named,
    UInt16,
    branch,
    enum,
    member,
    members,
    struct,
    union,
)

assert catalogue


class Shape(StrEnum):
    ROUND = "round"
    SQUARE = "square"


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="has a type StatusInfo already"):
        struct(frozen(type("StatusInfo", (), {})))

    class StatusInfo(StrEnum):
        ANY = "any"

    with pytest.raises(ValueError, match="has a type StatusInfo already"):
        enum(StatusInfo)


def test_the_decorators_want_an_attrs_class() -> None:
    with pytest.raises(TypeError, match="above @frozen"):
        struct(type("Plain", (), {}))


def test_a_union_needs_a_tag_that_is_an_enumeration() -> None:
    @frozen
    class Thing:
        kind: str

    with pytest.raises(TypeError, match="no member kind that is an enumeration"):
        union("kind")(Thing)


def test_a_branch_belongs_to_a_union_and_comes_once() -> None:
    @frozen
    class Loose:
        kind: int

    with pytest.raises(TypeError, match="not a subclass of a class registered with @union"):
        branch(Shape.ROUND)(Loose)
    numa = UNIONS["NumaOptions"]
    tag = next(iter(numa.branches))
    again = frozen(type("Again", (numa.cls,), {}))
    with pytest.raises(ValueError, match="has a branch node already"):
        branch(tag)(again)


def test_a_member_is_named_and_optional_by_its_annotation() -> None:
    assert member("fdset_id", Int) == member("fdset_id", Int)
    plain = member("fdset_id", UInt16)
    assert (plain.name, plain.optional, plain.type, plain.features) == ("fdset-id", False, UInt16, ())
    other = member("uuid", Annotated[UInt16 | None, Named("UUID"), DEPRECATED, Features(("unstable",))])
    assert (other.name, other.optional, other.type) == ("UUID", True, UInt16)
    assert other.features == ("deprecated", "unstable")
    with pytest.raises(TypeError, match="has no meaning on the wire"):
        member("x", int | str | None)


def test_every_optional_member_may_be_left_out_and_no_other() -> None:
    import attrs

    from vmcore.model.events import EVENTS

    classes: list[Any] = [t.cls for t in STRUCTS.values()] + [t.cls for t in UNIONS.values()] + list(EVENTS.values())
    for union_ in UNIONS.values():
        classes += union_.branches.values()
    for cls in classes:
        tags = {u.discriminator for u in UNIONS.values() if issubclass(cls, u.cls)}
        defaults = {a.name: a.default for a in attrs.fields(cls)}
        for m in members(cls):
            assert m.attribute in tags or (defaults[m.attribute] is None) == m.optional, (cls, m)


def test_everything_registered_says_what_it_is() -> None:
    for registry in (ENUMS, STRUCTS, UNIONS):
        for name, entry in registry.items():
            documentation = entry.cls.__dict__.get("__doc__") or ""
            assert documentation.strip(), name
