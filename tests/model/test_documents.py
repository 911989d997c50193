"""The types are those of the management documents.

docs/documents.json has what the documents say, without their words: names, members, values, branches.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

from vmcore.model import catalogue
from vmcore.model.events import EVENTS
from vmcore.model.wire import ENUMS, STRUCTS, UNIONS, IntegerType, Member, members

assert catalogue

DOCUMENTS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parents[2] / "docs" / "documents.json").read_text())


def name_of(type_: Any) -> Any:
    """A type as the documents write it."""
    if get_origin(type_) is Annotated:
        return next(extra.name for extra in get_args(type_)[1:] if isinstance(extra, IntegerType))
    if get_origin(type_) is tuple:
        return [name_of(get_args(type_)[0])]
    return type_.__name__


def lacking(documented: dict[str, Any], ours: tuple[Member, ...]) -> dict[str, Any]:
    """The documented members that are not there as they are documented."""
    have = {("*" if member.optional else "") + member.name: name_of(member.type) for member in ours}
    return {name: type_ for name, type_ in documented.items() if have.get(name) != type_}


def added(documented: dict[str, Any], ours: tuple[Member, ...]) -> set[str]:
    return {member.name for member in ours} - {name.lstrip("*") for name in documented}


def test_the_documents_have_what_they_are_said_to_have() -> None:
    assert len(DOCUMENTS["commands"]) == 28
    assert len(DOCUMENTS["events"]) == 33
    assert sum(len(DOCUMENTS[kind]) for kind in ("enums", "structs", "unions")) == 55


@pytest.mark.parametrize("name", DOCUMENTS["enums"])
def test_enumerations_have_the_documented_values_in_order(name: str) -> None:
    documented = DOCUMENTS["enums"][name]["data"]
    assert [value.value for value in ENUMS[name].cls if value.value in documented] == documented


ADDED_VALUES = {
    "SysEmuTarget": {"avr", "loongarch64", "rx"},
    "NumaOptionsType": {"hmat-lb", "hmat-cache"},
}


@pytest.mark.parametrize("name", DOCUMENTS["enums"])
def test_enumerations_have_no_other_values_than_later_versions_of_qemu(name: str) -> None:
    values = {value.value for value in ENUMS[name].cls}
    assert values - set(DOCUMENTS["enums"][name]["data"]) == ADDED_VALUES.get(name, set())


ADDED_MEMBERS = {
    "MachineInfo": {"default-ram-id"},
    "Memdev": {"share", "reserve"},
    "CpuInstanceProperties": {"cluster-id"},
    "NumaNodeOptions": {"initiator"},
    "NumaCpuOptions": {"cluster-id"},
}


def structure(name: str) -> tuple[tuple[Member, ...], bool]:
    """The members of a structure, also of one that only is a branch of a union; whether it is one."""
    if name in STRUCTS:
        return members(STRUCTS[name].cls), False
    for union in UNIONS.values():
        for tag, struct in union.structs.items():
            if struct == name:
                common = {member.name for member in members(union.cls)}
                own = members(union.branches[tag])
                return tuple(member for member in own if member.name not in common), True
    raise AssertionError(f"no structure {name}")


@pytest.mark.parametrize("name", DOCUMENTS["structs"])
def test_structures_have_the_documented_members(name: str) -> None:
    documented = dict(DOCUMENTS["structs"][name]["data"])
    if "base" in DOCUMENTS["structs"][name]:
        documented |= DOCUMENTS["structs"][DOCUMENTS["structs"][name]["base"]]["data"]
    ours, _ = structure(name)
    assert lacking(documented, ours) == {}
    assert added(documented, ours) == ADDED_MEMBERS.get(name, set())


@pytest.mark.parametrize("name", DOCUMENTS["unions"])
def test_unions_have_the_documented_members_and_branches(name: str) -> None:
    documented = DOCUMENTS["unions"][name]
    union = UNIONS[name]
    assert lacking(documented["base"], members(union.cls)) == {}
    assert added(documented["base"], members(union.cls)) == set()
    assert union.discriminator.replace("_", "-") == documented["discriminator"]
    branches = {tag.value: struct for tag, struct in union.structs.items()}
    assert {tag: branches[tag] for tag in documented["data"]} == documented["data"]
    assert set(branches) - set(documented["data"]) <= ADDED_VALUES.get(union.tags.__name__, set())


ADDED_EVENT_MEMBERS = {
    "BLOCK_IMAGE_CORRUPTED": {"node-name", "fatal"},
    "BLOCK_IO_ERROR": {"node-name", "nospace", "reason"},
    "BLOCK_JOB_READY": {"type", "len", "offset", "speed"},
    "DEVICE_TRAY_MOVED": {"id"},
    "QUORUM_FAILURE": {"sectors-count"},
    "QUORUM_REPORT_BAD": {"type", "sectors-count"},
}


@pytest.mark.parametrize("name", DOCUMENTS["events"])
def test_events_have_the_documented_members(name: str) -> None:
    documented = DOCUMENTS["events"][name].get("data", {})
    assert lacking(documented, members(EVENTS[name])) == {}
    assert added(documented, members(EVENTS[name])) == ADDED_EVENT_MEMBERS.get(name, set())
