"""How types of the management model are declared: attrs classes and enums that carry what the wire needs to know.

Nothing here converts or sends anything; it only says which types there are.  Names on the wire are those of the
classes; a member is named as its attribute with `-` for `_`, unless `wire` says otherwise.  A member that may be
None with default None is optional and left out on the wire when it is None.

    @struct
    @frozen(kw_only=True)
    class AddfdInfo:
        fdset_id: Int
        fd: Int

    @union(discriminator="type")
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
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar, overload

import attrs
from attrs import frozen

__all__ = [
    "ENUMS",
    "STRUCTS",
    "UNIONS",
    "EnumType",
    "Int",
    "Int8",
    "Int16",
    "Int32",
    "IntegerType",
    "Size",
    "StructType",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "UnionType",
    "branch",
    "enum",
    "struct",
    "union",
    "wire",
    "wire_name",
]


@frozen
class IntegerType:
    """Kind of integer.  name: as the schema spells it; low, high: inclusive limits."""

    name: str
    low: int
    high: int


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


@frozen
class EnumType:
    """An enumeration.  values: those of the wire, in order; value_features: features of single values."""

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


@frozen
class UnionType:
    """A tagged union: the common members in `cls`, the members of each tag in a subclass; a tag without one has
    none of its own.
    """

    name: str
    cls: type[Any]
    discriminator: str
    branches: dict[StrEnum, type[Any]]
    features: tuple[str, ...] = ()


ENUMS: Final[dict[str, EnumType]] = {}
STRUCTS: Final[dict[str, StructType]] = {}
UNIONS: Final[dict[str, UnionType]] = {}

C = TypeVar("C", bound=type[Any])
E = TypeVar("E", bound=type[StrEnum])


def wire(name: str, **arguments: Any) -> Any:
    """An attrs field whose name on the wire is `name`; takes `features` and the arguments of attrs.field."""
    return attrs.field(metadata={"wire": name, "features": arguments.pop("features", ())}, **arguments)


def wire_name(attribute: attrs.Attribute[Any]) -> str:
    """Name of a member on the wire."""
    name: str = attribute.metadata.get("wire", attribute.name.replace("_", "-"))
    return name


def _new_name(name: str) -> None:
    if name in ENUMS or name in STRUCTS or name in UNIONS:
        raise ValueError(f"the management model has a type {name} already")


def enum(
    *, features: tuple[str, ...] = (), value_features: Mapping[str, tuple[str, ...]] | None = None
) -> Callable[[E], E]:
    """Register an enumeration under the name of its class."""

    def register(cls: E) -> E:
        _new_name(cls.__name__)
        ENUMS[cls.__name__] = EnumType(cls.__name__, cls, features, value_features or {})
        return cls

    return register


@overload
def struct(cls: C) -> C: ...
@overload
def struct(*, features: tuple[str, ...]) -> Callable[[C], C]: ...
def struct(cls: Any = None, *, features: tuple[str, ...] = ()) -> Any:
    """Register an attrs class as a structure under its name: `@struct` or `@struct(features=(...))`, above
    `@frozen`.
    """

    def register(cls: type[Any]) -> type[Any]:
        if not attrs.has(cls):
            raise TypeError(f"{cls.__name__}: write @struct above @frozen")
        _new_name(cls.__name__)
        STRUCTS[cls.__name__] = StructType(cls.__name__, cls, features)
        return cls

    return register if cls is None else register(cls)


def union(*, discriminator: str, features: tuple[str, ...] = ()) -> Callable[[C], C]:
    """Register an attrs class as a tagged union.  discriminator: the member (its attribute) whose value is the tag."""

    def register(cls: C) -> C:
        if discriminator not in {a.name for a in attrs.fields(cls)}:
            raise TypeError(f"{cls.__name__} has no member {discriminator}")
        _new_name(cls.__name__)
        UNIONS[cls.__name__] = UnionType(cls.__name__, cls, discriminator, {}, features)
        return cls

    return register


def branch(*tags: StrEnum) -> Callable[[C], C]:
    """Register a subclass of a union's class as what these tags add to the common members."""

    def register(cls: C) -> C:
        base = next((UNIONS[b.__name__] for b in cls.__mro__[1:] if b.__name__ in UNIONS), None)
        if base is None:
            raise TypeError(f"{cls.__name__} is not a subclass of a class registered with @union")
        for tag in tags:
            if tag in base.branches:
                raise ValueError(f"{base.name} has a branch {tag.value} already")
            base.branches[tag] = cls
        return cls

    return register
