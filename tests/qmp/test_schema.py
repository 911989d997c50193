"""The schema is what QEMU 7.2 serves, but for what the documents have besides.

qemu_schema.json is the answer of QEMU 7.2.22 to query-qmp-schema, without commands of disk images and other things
that machines here do not have.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from qmp_oracle import needs_qemu, qemu
from schema_shape import differences

from vmcore.model.control import SchemaInfo
from vmcore.model.events import EVENTS
from vmcore.qmp.commands import load
from vmcore.qmp.convert import from_wire, to_wire
from vmcore.qmp.registry import COMMANDS
from vmcore.qmp.schema import schema

RECORDED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "qemu_schema.json").read_text())

NEWER_OR_OLDER_DOCUMENTS = {
    # run-state.json is of 9.0, which dropped the member.
    "query-status returns: only theirs: member singlestep",
    # machine.json is of 4.2.
    "query-cpus-fast returns[]: only ours: member arch ['deprecated']",
    "query-cpus-fast returns[].target: only ours: value lm32 ['deprecated']",
    "query-cpus-fast returns[].target: only ours: value moxie ['deprecated']",
    "query-cpus-fast returns[].target: only ours: value unicore32 ['deprecated']",
    "query-cpus-fast returns[]: only ours: case lm32",
    "query-cpus-fast returns[]: only ours: case moxie",
    "query-cpus-fast returns[]: only ours: case unicore32",
    "query-target returns.arch: only ours: value lm32 ['deprecated']",
    "query-target returns.arch: only ours: value moxie ['deprecated']",
    "query-target returns.arch: only ours: value unicore32 ['deprecated']",
    # qmp-events.txt has the member by this name.
    "QUORUM_FAILURE: only ours: member sector-count ['deprecated']",
    "QUORUM_REPORT_BAD: only ours: member sector-count ['deprecated']",
}

DRIVERS_OF_NODES = ("blockdev-add.", "blockdev-add:")
"""Its arguments depend on the driver, of which there are four here and forty there; `read_blockdev` checks them."""
IMAGE_FORMATS_AND_BITMAPS = (
    ".image: only theirs: member snapshots",
    ".image: only theirs: member format-specific",
    "inserted: only theirs: member dirty-bitmaps",
    "query-blockstats returns[]: only theirs: member driver-specific",
)
"""Members that only formats and jobs have which there are not here."""

OBJECTS_THAT_CAN_BE_MADE = "object-add.qom-type: only theirs: value "
CASES_THAT_CAN_BE_MADE = "object-add: only theirs: case "

ALLOWED_IN_PRECONFIG = {
    "query-status",
    "set-action",
    "query-chardev",
    "qmp_capabilities",
    "query-version",
    "query-commands",
    "query-qmp-schema",
    "qom-list",
    "qom-get",
    "qom-set",
    "qom-list-types",
    "qom-list-properties",
    "object-add",
    "object-del",
    "query-uuid",
    "query-memdev",
    "query-hotpluggable-cpus",
    "set-numa-node",
    "query-name",
    "query-iothreads",
    "x-exit-preconfig",
    "query-command-line-options",
    "quit",
    "query-block",
    "query-blockstats",
    "query-named-block-nodes",
    "blockdev-add",
    "blockdev-del",
    "blockdev-open-tray",
    "blockdev-close-tray",
    "blockdev-insert-medium",
    "blockdev-remove-medium",
    "blockdev-change-medium",
    "eject",
    "block_resize",
}
"""Of QEMU 7.2's commands those that it allows before the machine is built, as far as they are recorded."""


@pytest.fixture(scope="module")
def served() -> list[dict[str, Any]]:
    """The schema as it goes on the wire."""
    load()
    value: list[dict[str, Any]] = to_wire(schema(), tuple[SchemaInfo, ...])
    return value


def unexplained(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> set[str]:
    return {
        difference
        for difference in differences(theirs, ours) - NEWER_OR_OLDER_DOCUMENTS
        # Kinds of objects that cannot be made here are not in the schema.
        if not difference.startswith((OBJECTS_THAT_CAN_BE_MADE, CASES_THAT_CAN_BE_MADE, *DRIVERS_OF_NODES))
        and not difference.endswith(IMAGE_FORMATS_AND_BITMAPS)
    }


def test_commands_and_events_have_the_recorded_structure(served: list[dict[str, Any]]) -> None:
    assert unexplained(RECORDED, served) == set()


@needs_qemu
def test_commands_and_events_have_the_structure_that_an_installed_qemu_serves(served: list[dict[str, Any]]) -> None:
    with qemu() as oracle:
        if (oracle.greeting["QMP"]["version"]["qemu"]["major"], oracle.greeting["QMP"]["version"]["qemu"]["minor"]) != (
            7,
            2,
        ):
            pytest.skip("another version of QEMU")
        assert unexplained(oracle.ask("query-qmp-schema")["return"], served) == set()


def test_what_differs_by_the_documents_does_differ(served: list[dict[str, Any]]) -> None:
    registered = set(COMMANDS) | set(EVENTS)
    expected = {line for line in NEWER_OR_OLDER_DOCUMENTS if re.split("[:. ]", line)[0] in registered}
    found = differences(RECORDED, served)
    # A type is compared where it is met first, so one of two lines is enough.
    assert {line.split(": ", 1)[1] for line in expected} <= {line.split(": ", 1)[1] for line in found}


def test_a_difference_is_found(served: list[dict[str, Any]]) -> None:
    changed = json.loads(json.dumps(served))
    entry = next(entry for entry in changed if entry["name"] == "q_obj_SHUTDOWN-arg")
    entry["members"][0]["default"] = None
    entry["members"][1]["name"] = "cause"
    assert differences(served, changed) == {
        "SHUTDOWN.guest: optional: theirs False, ours True",
        "SHUTDOWN: only theirs: member reason",
        "SHUTDOWN: only ours: member cause []",
    }


def test_the_schema_names_every_type_that_it_uses_once(served: list[dict[str, Any]]) -> None:
    names = [entry["name"] for entry in served]
    assert len(names) == len(set(names))
    used = {entry[key] for entry in served for key in ("arg-type", "ret-type", "element-type") if key in entry}
    for entry in served:
        used |= {m["type"] for m in entry.get("members", ()) if "type" in m}
        used |= {v["type"] for v in entry.get("variants", ())}
    assert used <= set(names)


def test_every_command_and_event_is_in_the_schema(served: list[dict[str, Any]]) -> None:
    assert [e["name"] for e in served if e["meta-type"] == "command"] == list(COMMANDS)
    assert [e["name"] for e in served if e["meta-type"] == "event"] == list(EVENTS)


def test_lists_are_named_by_their_element(served: list[dict[str, Any]]) -> None:
    for entry in served:
        if entry["meta-type"] == "array":
            assert entry["name"] == f"[{entry['element-type']}]"


def test_the_schema_describes_itself(served: list[dict[str, Any]]) -> None:
    assert from_wire(tuple[SchemaInfo, ...], json.loads(json.dumps(served))) == schema()


def test_commands_are_allowed_before_the_machine_is_built_where_qemu_allows_them() -> None:
    load()
    theirs = {entry["name"] for entry in RECORDED if entry["meta-type"] == "command"} | {"quit", "blockdev-add"}
    ours = {name for name, command in COMMANDS.items() if command.allow_preconfig}
    assert ours & theirs == ALLOWED_IN_PRECONFIG & set(COMMANDS)
