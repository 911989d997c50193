"""What `blockdev-add` is given, as options of nodes.

Members, their order and the texts of errors are those of QEMU's BlockdevOptions for the drivers that there are here.
A member that is a node (`file`, `image`) is the name of one, or the options of a new one that goes along with it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import evolve

from vmcore.block.node import SECTOR, Fault, NodeOptions, StateRule
from vmcore.model.errors import CommandError

__all__ = ["DRIVERS", "read_blockdev"]

DRIVERS: Final = ("blkdebug", "file", "null-co", "raw")
"""Drivers of nodes that management can make."""

_EVENTS: Final = ("none", "read_aio", "write_aio", "flush_to_os", "flush_to_disk")
_OPERATIONS: Final = ("read", "write", "write-zeroes", "discard", "flush", "block-status")

# Member -> (kind, mandatory).  Kinds: str, bool, int, node, a tuple of values, or a function that reads it.
_COMMON: Final[dict[str, tuple[Any, bool]]] = {
    "driver": (str, True),
    "node-name": (str, False),
    "discard": (("ignore", "unmap"), False),
    "cache": ({"direct": bool, "no-flush": bool}, False),
    "read-only": (bool, False),
    "auto-read-only": (bool, False),
    "force-share": (bool, False),
    "detect-zeroes": (("off", "on", "unmap"), False),
}
_OWN: Final[dict[str, dict[str, tuple[Any, bool]]]] = {
    "file": {
        "filename": (str, True),
        "locking": (("auto", "on", "off"), False),
        "aio": (("threads", "native", "io_uring"), False),
    },
    "null-co": {"size": (int, False), "latency-ns": (int, False), "read-zeroes": (bool, False)},
    "raw": {"file": ("node", True), "offset": (int, False), "size": (int, False)},
    "blkdebug": {"image": ("node", True), "inject-error": (list, False), "set-state": (list, False)},
}
_INJECT: Final[dict[str, tuple[Any, bool]]] = {
    "event": (_EVENTS, True),
    "state": (int, False),
    "iotype": (_OPERATIONS, False),
    "errno": (int, False),
    "sector": (int, False),
    "once": (bool, False),
    "immediately": (bool, False),
}
_SET_STATE: Final[dict[str, tuple[Any, bool]]] = {
    "event": (_EVENTS, True),
    "state": (int, False),
    "new_state": (int, True),
}
_WORDS: Final[dict[Any, str]] = {str: "string", bool: "boolean", int: "integer", list: "array"}


def read_blockdev(given: Mapping[str, Any], new_name: Callable[[], str]) -> list[NodeOptions]:
    """The nodes to make, those below first.  new_name: gives names to those that have none."""
    nodes = list(_node(given, "", new_name))
    if "node-name" not in given:
        raise CommandError("GenericError", "'node-name' must be specified for the root node")
    nodes[-1] = evolve(nodes[-1], implicit=False)
    return nodes


def _error(text: str) -> CommandError:
    return CommandError("GenericError", text)


def _check(given: Mapping[str, Any], members: Mapping[str, tuple[Any, bool]], path: str) -> None:
    for name, (kind, mandatory) in members.items():
        if name not in given:
            if mandatory:
                raise _error(f"Parameter '{path}{name}' is missing")
            continue
        _check_value(given[name], kind, path + name)
    for name in given:
        if name not in members:
            raise _error(f"Parameter '{path}{name}' is unexpected")


def _check_value(value: Any, kind: Any, path: str) -> None:
    if kind == "node":
        if not isinstance(value, str | Mapping):
            raise _error(f"Invalid parameter type for '{path}', expected: BlockdevRef")
    elif isinstance(kind, dict):
        if not isinstance(value, Mapping):
            raise _error(f"Invalid parameter type for '{path}', expected: object")
        _check(value, {name: (inner, False) for name, inner in kind.items()}, f"{path}.")
    elif isinstance(kind, tuple):
        if not isinstance(value, str):
            raise _error(f"Invalid parameter type for '{path}', expected: string")
        if value not in kind:
            raise _error(f"Parameter '{path.rpartition('.')[2]}' does not accept value '{value}'")
    elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _error(f"Invalid parameter type for '{path}', expected: {_WORDS[kind]}")
    elif kind is int and value < 0:
        raise _error(f"Parameter '{path}' expects a non-negative number")


def _node(given: Mapping[str, Any], path: str, new_name: Callable[[], str]) -> Iterator[NodeOptions]:
    driver = given.get("driver")
    if driver is None:
        raise _error(f"Parameter '{path}driver' is missing")
    if not isinstance(driver, str):
        raise _error(f"Invalid parameter type for '{path}driver', expected: string")
    if driver not in DRIVERS:
        raise _error(f"Parameter '{path}driver' does not accept value '{driver}'")
    _check(given, _COMMON | _OWN[driver], path)
    read_only = given.get("read-only", False)
    role = next((role for role in ("file", "image") if role in _OWN[driver]), "")
    child: Any = given.get(role)
    if isinstance(child, Mapping):
        # What is not said of a child is as with its parent.
        inherited = {"read-only": read_only} | dict(child)
        for options in _node(inherited, f"{path}{role}.", new_name):
            yield options
            child = options.name
    if driver == "file" and given.get("auto-read-only") and not os.access(given["filename"], os.W_OK):
        read_only = True
    yield NodeOptions(
        driver=driver,
        name=given["node-name"] if "node-name" in given else new_name(),
        read_only=read_only,
        child=child,
        filename=given.get("filename", ""),
        locking="off" if given.get("force-share") else given.get("locking", "auto"),
        offset=given.get("offset", 0),
        size=given.get("size"),
        read_zeroes=given.get("read-zeroes", False),
        faults=tuple(_faults(given.get("inject-error", []), f"{path}inject-error")),
        states=tuple(_states(given.get("set-state", []), f"{path}set-state")),
        implicit=True,
    )


def _faults(given: list[Any], path: str) -> Iterator[Fault]:
    for index, rule in enumerate(given):
        if not isinstance(rule, Mapping):
            raise _error(f"Invalid parameter type for '{path}[{index}]', expected: object")
        _check(rule, _INJECT, f"{path}[{index}].")
        sector = rule.get("sector")
        yield Fault(
            operation=rule.get("iotype", "any"),
            errno=rule.get("errno", 5),
            offset=None if sector is None else sector * SECTOR,
            event=None if rule["event"] == "none" else rule["event"],
            state=rule.get("state"),
            count=1 if rule.get("once") else None,
        )


def _states(given: list[Any], path: str) -> Iterator[StateRule]:
    for index, rule in enumerate(given):
        if not isinstance(rule, Mapping):
            raise _error(f"Invalid parameter type for '{path}[{index}]', expected: object")
        _check(rule, _SET_STATE, f"{path}[{index}].")
        yield StateRule(event=rule["event"], state=rule.get("state"), new_state=rule["new_state"])
