"""What management is told about the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exchange import connected, execute, qemu, refusal

from vmcore import FlatImage, VirtualMachine
from vmcore.model.command_line import described

SPIN = FlatImage(bytes.fromhex("eb fe"))


@pytest.mark.conformance(
    "query-command-line-options",
    "CommandLineParameterType.string",
    "CommandLineParameterType.boolean",
    "CommandLineParameterType.number",
    "CommandLineParameterType.size",
)
async def test_management_is_told_the_options(tmp_path: Path) -> None:
    async with VirtualMachine(flat=SPIN) as vm, connected(vm, tmp_path / "qmp") as client:
        every = (await client.execute("query-command-line-options"))["return"]
        assert [one["option"] for one in every] == [info.option for info in described()]
        size = {"name": "size", "type": "size", "help": "RAM", "default": "128M"}
        memory = await client.execute("query-command-line-options", option="memory")
        assert memory == {"return": [one for one in every if one["option"] == "memory"]}
        assert size in memory["return"][0]["parameters"]
        [smp] = await execute(vm, "query-command-line-options", option="smp-opts")
        assert {"cpus": "number"}.items() <= {p["name"]: p["type"] for p in smp["parameters"]}.items()
        [chardev] = await execute(vm, "query-command-line-options", option="chardev")
        assert {"server": "boolean"}.items() <= {p["name"]: p["type"] for p in chardev["parameters"]}.items()
        [no_reboot] = await execute(vm, "query-command-line-options", option="no-reboot")
        assert no_reboot == {"option": "no-reboot", "parameters": []}


async def test_an_unknown_option_is_refused_as_by_qemu() -> None:
    expected = ("GenericError", "invalid option name: nosuch")
    async with VirtualMachine(flat=SPIN) as vm:
        assert await refusal(vm, "query-command-line-options", option="nosuch") == expected


def test_parameters_that_qemu_has_too_are_of_qemus_types() -> None:
    """Those of the groups that clients look for."""
    with qemu() as other:
        for info in described():
            answer = other.execute("query-command-line-options", option=info.option)
            if "error" in answer or info.option in ("name", "append"):
                continue
            theirs: dict[str, Any] = {p["name"]: p["type"] for p in answer["return"][0]["parameters"]}
            for parameter in info.parameters:
                assert theirs.get(parameter.name, parameter.type) == parameter.type, (info.option, parameter.name)
