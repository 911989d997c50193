"""Types of the management model around models of vCPUs."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from attrs import frozen

from vmcore.model.wire import enum, struct

__all__ = ["CpuDefinitionInfo", "CpuModelExpansionInfo", "CpuModelExpansionType", "CpuModelInfo"]


@struct
@frozen(kw_only=True)
class CpuModelInfo:
    """A model and what differs from it.  props: object of property name -> value."""

    name: str
    props: Any | None = None


@enum
class CpuModelExpansionType(StrEnum):
    """How far a model is taken apart."""

    STATIC = "static"
    """Into a model that never changes and the properties that differ from it."""
    FULL = "full"
    """Into all its properties."""


@struct
@frozen(kw_only=True)
class CpuModelExpansionInfo:
    """A model that was taken apart."""

    model: CpuModelInfo


@struct
@frozen(kw_only=True)
class CpuDefinitionInfo:
    """A model that can be had.

    migration_safe: a guest on it can go to another host; static: it never changes; unavailable_features: what of it
    cannot be had here; typename: of its objects; alias_of: the model that the name stands for.
    """

    name: str
    migration_safe: bool | None = None
    static: bool
    unavailable_features: tuple[str, ...] | None = None
    typename: str
    alias_of: str | None = None
    deprecated: bool
