"""How types of the management model are declared: attrs classes and enums that carry what the wire needs to know.

Nothing here converts or sends anything; it only says which types there are.  A type has the name of its class; a
member is named as its attribute with `-` for `_`, unless `Named` says otherwise.  A member whose type allows None
and whose default is None is optional: it is left out on the wire when it is None.

    @struct
    @frozen(kw_only=True)
    class AddfdInfo:
        fdset_id: Int
        fd: Int

    @union("type")
    @frozen(kw_only=True)
    class NumaOptions:
        type: NumaOptionsType

    @branch(NumaOptionsType.DIST)
    @frozen(kw_only=True)
    class NumaDistOptions(NumaOptions):
        type: NumaOptionsType = NumaOptionsType.DIST
        src: UInt16
        dst: UInt16
        val: UInt8

What does not fit into a Python type is said with `Annotated`: the kind of an integer (`Int`, `UInt16`, ...), another
name on the wire (`Annotated[str, Named("UUID")]`), features (`Annotated[Int | None, DEPRECATED]`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints, overload

import attrs
from attrs import frozen

__all__ = [
    "DEPRECATED",
    "ENUMS",
    "NULL",
    "STRUCTS",
    "UNIONS",
    "UNSTABLE",
    "AlternateType",
    "EnumType",
    "Features",
    "Int",
    "Int8",
    "Int16",
    "Int32",
    "IntegerType",
    "JsonNull",
    "Member",
    "Named",
    "Size",
    "StrOrNull",
    "StructType",
    "TaggedUnion",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "branch",
    "enum",
    "member",
    "members",
    "struct",
    "union",
]


# --- what Annotated carries ------------------------------------------------------------------------------------------


@frozen
class IntegerType:
    """Kind of integer.  name: as the management documents spell it; low, high: inclusive limits."""

    name: str
    low: int
    high: int


@frozen
class AlternateType:
    """A value that may be of several types on the wire and of one in Python.  accepts: names of the simple types."""

    name: str
    accepts: tuple[str, ...]


@frozen
class Named:
    """Another name on the wire than the attribute's."""

    name: str


class Features(tuple[str, ...]):
    """Features of a member, as the schema lists them."""

    __slots__ = ()


DEPRECATED: Final = Features(("deprecated",))
UNSTABLE: Final = Features(("unstable",))


class JsonNull(Enum):
    """Type of NULL."""

    NULL = "null"


NULL: Final = JsonNull.NULL
"""The value null for an optional member of type Any, where None would leave the member out."""


def _signed(bits: int, name: str) -> IntegerType:
    return IntegerType(name, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _unsigned(bits: int, name: str) -> IntegerType:
    return IntegerType(name, 0, (1 << bits) - 1)


Int = Annotated[int, _signed(64, "int")]
Int8 = Annotated[int, _signed(8, "int8")]
Int16 = Annotated[int, _signed(16, "int16")]
Int32 = Annotated[int, _signed(32, "int32")]
UInt8 = Annotated[int, _unsigned(8, "uint8")]
UInt16 = Annotated[int, _unsigned(16, "uint16")]
UInt32 = Annotated[int, _unsigned(32, "uint32")]
UInt64 = Annotated[int, _unsigned(64, "uint64")]
Size = Annotated[int, _unsigned(64, "size")]
StrOrNull = Annotated[str, AlternateType("StrOrNull", ("str", "null"))]
"""A string, or null on the wire, which is the empty string here."""


# --- the registry ----------------------------------------------------------------------------------------------------


@frozen
class EnumType:
    """An enumeration.  value_features: features of single values of the wire."""

    name: str
    cls: type[StrEnum]
    features: tuple[str, ...] = ()
    value_features: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@frozen
class StructType:
    """A structure."""

    name: str
    cls: type[Any]
    features: tuple[str, ...] = ()


@frozen(eq=False)
class TaggedUnion:
    """A tagged union: the common members are in `cls`, those of each tag in a subclass of it.

    discriminator: the attribute that holds the tag; branches: subclass of each tag, a tag without one adds nothing;
    structs: name of the structure that a tag adds, as the documents call it.
    """

    name: str
    cls: type[Any]
    discriminator: str
    tags: type[StrEnum]
    branches: dict[StrEnum, type[Any]]
    structs: dict[StrEnum, str]
    features: tuple[str, ...] = ()


ENUMS: Final[dict[str, EnumType]] = {}
STRUCTS: Final[dict[str, StructType]] = {}
UNIONS: Final[dict[str, TaggedUnion]] = {}

C = TypeVar("C", bound=type[Any])
E = TypeVar("E", bound=type[StrEnum])


def _new_name(name: str) -> None:
    if name in ENUMS or name in STRUCTS or name in UNIONS:
        raise ValueError(f"the management model has a type {name} already")


def _check_attrs(cls: type[Any]) -> None:
    if "__attrs_attrs__" not in cls.__dict__:
        raise TypeError(f"{cls.__name__}: write the decorator above @frozen")


@overload
def enum(cls: E) -> E: ...
@overload
def enum(
    *, features: tuple[str, ...] = (), value_features: Mapping[str, tuple[str, ...]] | None = None
) -> Callable[[E], E]: ...
def enum(
    cls: Any = None, *, features: tuple[str, ...] = (), value_features: Mapping[str, tuple[str, ...]] | None = None
) -> Any:
    """Register an enumeration under the name of its class."""

    def register(cls: type[StrEnum]) -> type[StrEnum]:
        _new_name(cls.__name__)
        ENUMS[cls.__name__] = EnumType(cls.__name__, cls, features, value_features or {})
        return cls

    return register if cls is None else register(cls)


@overload
def struct(cls: C) -> C: ...
@overload
def struct(*, features: tuple[str, ...]) -> Callable[[C], C]: ...
def struct(cls: Any = None, *, features: tuple[str, ...] = ()) -> Any:
    """Register an attrs class as a structure under its name."""

    def register(cls: type[Any]) -> type[Any]:
        _check_attrs(cls)
        _new_name(cls.__name__)
        STRUCTS[cls.__name__] = StructType(cls.__name__, cls, features)
        return cls

    return register if cls is None else register(cls)


def union(discriminator: str, *, features: tuple[str, ...] = ()) -> Callable[[C], C]:
    """Register an attrs class as a tagged union.  discriminator: the attribute whose value is the tag."""

    def register(cls: C) -> C:
        _check_attrs(cls)
        _new_name(cls.__name__)
        tags = get_type_hints(cls).get(discriminator)
        if not (isinstance(tags, type) and issubclass(tags, StrEnum)):
            raise TypeError(f"{cls.__name__} has no member {discriminator} that is an enumeration")
        UNIONS[cls.__name__] = TaggedUnion(cls.__name__, cls, discriminator, tags, {}, {}, features)
        return cls

    return register


def branch(*tags: StrEnum, struct: str | None = None) -> Callable[[C], C]:
    """Register a subclass of a union's class as what these tags add to the common members.

    struct: the documents' name of what is added, where it is not the name of the class.
    """

    def register(cls: C) -> C:
        _check_attrs(cls)
        base = next((UNIONS[b.__name__] for b in cls.__mro__[1:] if b.__name__ in UNIONS), None)
        if base is None:
            raise TypeError(f"{cls.__name__} is not a subclass of a class registered with @union")
        for tag in tags:
            if tag in base.branches:
                raise ValueError(f"{base.name} has a branch {tag.value} already")
            base.branches[tag] = cls
            base.structs[tag] = struct or cls.__name__
        return cls

    return register


# --- members ---------------------------------------------------------------------------------------------------------


@frozen
class Member:
    """A member of a structure, or an argument.

    name: on the wire; attribute: in Python; type: without None and without what only concerns the member; optional:
    may be left out on the wire.
    """

    name: str
    attribute: str
    type: Any
    optional: bool
    features: tuple[str, ...] = ()


def member(attribute: str, annotation: Any, *, optional: bool = False) -> Member:
    """The member that an attribute with this annotation stands for; optional also where the annotation has None."""
    name = attribute.replace("_", "-")
    features: tuple[str, ...] = ()
    kept: list[Any] = []
    bare = annotation
    if get_origin(annotation) is Annotated:
        bare, *extras = get_args(annotation)
        for extra in extras:
            if isinstance(extra, Named):
                name = extra.name
            elif isinstance(extra, Features):
                features = features + tuple(extra)
            else:
                kept.append(extra)
    if get_origin(bare) in (Union, UnionType):
        choices = [choice for choice in get_args(bare) if choice is not NoneType]
        if len(choices) != 1:
            raise TypeError(f"{attribute}: {annotation} has no meaning on the wire")
        bare, optional = choices[0], True
        if get_origin(bare) is Annotated:
            bare, *extras = get_args(bare)
            kept = [*extras, *kept]
    return Member(name, attribute, Annotated[(bare, *kept)] if kept else bare, optional, features)


_MEMBERS: dict[Any, tuple[Member, ...]] = {}


def members(cls: type[Any]) -> tuple[Member, ...]:
    """The members of an attrs class in order, those of its bases first."""
    if cls not in _MEMBERS:
        hints = get_type_hints(cls, include_extras=True)
        _MEMBERS[cls] = tuple(member(a.name, hints[a.name]) for a in attrs.fields(cls))
    return _MEMBERS[cls]
