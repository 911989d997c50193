"""Commands about the protocol itself, and about names and descriptors, over a socket."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange import connected, execute

from vmcore import FlatImage, VirtualMachine
from vmcore.model.events import EVENTS
from vmcore.qmp.registry import COMMANDS

SPIN = FlatImage(bytes.fromhex("eb fe"))


@pytest.mark.conformance("qmp_capabilities", "query-version", "query-commands", "query-events", "query-qmp-schema")
async def test_a_client_finds_out_whom_it_talks_to(tmp_path: Path) -> None:
    async with VirtualMachine(memory="1M", flat=SPIN) as vm, connected(vm, tmp_path / "qmp") as client:
        version = (await client.execute("query-version"))["return"]
        assert (version["qemu"]["major"], version["qemu"]["minor"]) == (7, 2)
        assert version["package"].startswith("vmcore")
        names = [command["name"] for command in (await client.execute("query-commands"))["return"]]
        assert names == list(COMMANDS)
        events = [event["name"] for event in (await client.execute("query-events"))["return"]]
        assert events == list(EVENTS)
        schema = (await client.execute("query-qmp-schema"))["return"]
        assert [entry["name"] for entry in schema if entry["meta-type"] == "command"] == names
        assert [entry["name"] for entry in schema if entry["meta-type"] == "event"] == events


@pytest.mark.conformance("query-name")
async def test_the_name_is_told_if_there_is_one() -> None:
    async with VirtualMachine(memory="1M", flat=SPIN) as vm:
        assert await execute(vm, "query-name") == {}
    async with VirtualMachine(memory="1M", flat=SPIN, name="one") as vm:
        assert await execute(vm, "query-name") == {"name": "one"}


@pytest.mark.conformance("query-fdsets")
async def test_there_are_no_descriptor_sets_at_first() -> None:
    async with VirtualMachine(memory="1M", flat=SPIN) as vm:
        assert await execute(vm, "query-fdsets") == []
