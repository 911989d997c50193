"""Types of the management model around the protocol itself: versions, commands, the schema."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from attrs import frozen

from vmcore.model.wire import DEPRECATED, Int, branch, enum, struct, union

__all__ = [
    "CommandInfo",
    "EventInfo",
    "JSONType",
    "QMPCapability",
    "SchemaInfo",
    "SchemaInfoAlternate",
    "SchemaInfoAlternateMember",
    "SchemaInfoArray",
    "SchemaInfoBuiltin",
    "SchemaInfoCommand",
    "SchemaInfoEnum",
    "SchemaInfoEnumMember",
    "SchemaInfoEvent",
    "SchemaInfoObject",
    "SchemaInfoObjectMember",
    "SchemaInfoObjectVariant",
    "SchemaMetaType",
    "VersionInfo",
    "VersionTriple",
]


@enum
class QMPCapability(StrEnum):
    """Something that a client can switch on when it negotiates: commands out of band."""

    OOB = "oob"


@struct
@frozen(kw_only=True)
class VersionTriple:
    """A version number."""

    major: Int
    minor: Int
    micro: Int


@struct
@frozen(kw_only=True)
class VersionInfo:
    """qemu: the version of the protocol's words that is spoken; package: what program speaks it."""

    qemu: VersionTriple
    package: str


@struct
@frozen(kw_only=True)
class CommandInfo:
    """name: of a command."""

    name: str


@struct
@frozen(kw_only=True)
class EventInfo:
    """name: of an event."""

    name: str


@enum
class SchemaMetaType(StrEnum):
    """What an entry of the schema describes."""

    BUILTIN = "builtin"
    ENUM = "enum"
    ARRAY = "array"
    OBJECT = "object"
    ALTERNATE = "alternate"
    COMMAND = "command"
    EVENT = "event"


@enum
class JSONType(StrEnum):
    """What a type is in JSON; `int` is a number without fraction, `value` anything."""

    STRING = "string"
    NUMBER = "number"
    INT = "int"
    BOOLEAN = "boolean"
    NULL = "null"
    OBJECT = "object"
    ARRAY = "array"
    VALUE = "value"


@union("meta_type")
@frozen(kw_only=True)
class SchemaInfo:
    """An entry of the schema: one of the subclasses.  Names of types mean nothing beyond the schema."""

    name: str
    meta_type: SchemaMetaType
    features: tuple[str, ...] | None = None


@branch(SchemaMetaType.BUILTIN)
@frozen(kw_only=True)
class SchemaInfoBuiltin(SchemaInfo):
    """A type that JSON has."""

    meta_type: SchemaMetaType = SchemaMetaType.BUILTIN
    json_type: JSONType


@struct
@frozen(kw_only=True)
class SchemaInfoEnumMember:
    """A value of an enumeration."""

    name: str
    features: tuple[str, ...] | None = None


@branch(SchemaMetaType.ENUM)
@frozen(kw_only=True)
class SchemaInfoEnum(SchemaInfo):
    """An enumeration.  values: the names of its members alone."""

    meta_type: SchemaMetaType = SchemaMetaType.ENUM
    members: tuple[SchemaInfoEnumMember, ...]
    values: Annotated[tuple[str, ...], DEPRECATED]


@branch(SchemaMetaType.ARRAY)
@frozen(kw_only=True)
class SchemaInfoArray(SchemaInfo):
    """A list.  element_type: name of the type of its elements."""

    meta_type: SchemaMetaType = SchemaMetaType.ARRAY
    element_type: str


@struct
@frozen(kw_only=True)
class SchemaInfoObjectMember:
    """A member of an object.  default: NULL where it may be left out, None where it must be given."""

    name: str
    type: str
    default: Any | None = None
    features: tuple[str, ...] | None = None


@struct
@frozen(kw_only=True)
class SchemaInfoObjectVariant:
    """case: value of the tag; type: name of the type whose members come with it."""

    case: str
    type: str


@branch(SchemaMetaType.OBJECT)
@frozen(kw_only=True)
class SchemaInfoObject(SchemaInfo):
    """A structure or union.  tag, variants: the member that decides, and what it decides."""

    meta_type: SchemaMetaType = SchemaMetaType.OBJECT
    members: tuple[SchemaInfoObjectMember, ...]
    tag: str | None = None
    variants: tuple[SchemaInfoObjectVariant, ...] | None = None


@struct
@frozen(kw_only=True)
class SchemaInfoAlternateMember:
    """type: name of a type that is accepted."""

    type: str


@branch(SchemaMetaType.ALTERNATE)
@frozen(kw_only=True)
class SchemaInfoAlternate(SchemaInfo):
    """A value of one of several types."""

    meta_type: SchemaMetaType = SchemaMetaType.ALTERNATE
    members: tuple[SchemaInfoAlternateMember, ...]


@branch(SchemaMetaType.COMMAND)
@frozen(kw_only=True)
class SchemaInfoCommand(SchemaInfo):
    """A command.  arg_type, ret_type: names of the types of its arguments and its result."""

    meta_type: SchemaMetaType = SchemaMetaType.COMMAND
    arg_type: str
    ret_type: str
    allow_oob: bool | None = None


@branch(SchemaMetaType.EVENT)
@frozen(kw_only=True)
class SchemaInfoEvent(SchemaInfo):
    """An event.  arg_type: name of the type of its data."""

    meta_type: SchemaMetaType = SchemaMetaType.EVENT
    arg_type: str
