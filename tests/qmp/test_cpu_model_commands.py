"""The commands about CPU models."""

from __future__ import annotations

import pytest
from exchange import execute, qemu, refusal

from vmcore import VirtualMachine
from vmcore.engine import model_names

# Present by the engine's own choice: see docs/processors.md.
DIFFERENT = {"qemu64": {"svm", "min-xlevel"}, "max": None, "base": {"min-level"}}


@pytest.mark.conformance("query-cpu-definitions")
async def test_every_model_is_told_and_can_be_had() -> None:
    async with VirtualMachine() as vm:
        found = await execute(vm, "query-cpu-definitions")
        assert [model["name"] for model in found] == list(model_names())
        by_name = {model["name"]: model for model in found}
        assert by_name["qemu64"] == {
            "name": "qemu64",
            "typename": "qemu64-x86_64-cpu",
            "migration-safe": True,
            "static": False,
            "unavailable-features": [],
            "deprecated": False,
        }
        assert [name for name, model in by_name.items() if model["static"]] == ["base"]
        assert [name for name, model in by_name.items() if not model["migration-safe"]] == ["max"]
        types = {kind["name"] for kind in await execute(vm, "qom-list-types", implements="x86_64-cpu")}
        assert {model["typename"] for model in found} == types


@pytest.mark.conformance("query-cpu-model-expansion", "CpuModelExpansionType.static", "CpuModelExpansionType.full")
async def test_a_model_is_taken_apart() -> None:
    async with VirtualMachine() as vm:

        async def props(kind: str, name: str, **switched: bool) -> dict[str, object]:
            model = {"name": name} | ({"props": switched} if switched else {})
            told = (await execute(vm, "query-cpu-model-expansion", type=kind, model=model))["model"]
            assert told["name"] == ("base" if kind == "static" else name)
            found: dict[str, object] = told["props"]
            return found

        nehalem = await props("static", "Nehalem")
        assert nehalem["vendor"] == "GenuineIntel"
        assert (nehalem["family"], nehalem["model"], nehalem["stepping"]) == (6, 26, 3)
        assert nehalem["model-id"] == "Intel Core i7 9xx (Nehalem Class Core i7)"
        assert nehalem["sse4.2"] is True
        assert nehalem["aes"] is False
        assert "sse4_2" not in nehalem
        full = await props("full", "Nehalem")
        assert full["sse4_2"] is full["sse3"] is True
        assert full.items() >= nehalem.items()
        assert (await props("static", "Nehalem", aes=True))["aes"] is True
        assert (await props("static", "Nehalem", pni=False))["pni"] is False
        assert not any(value is True for value in (await props("static", "base")).values())

        for asked, text in (
            ({"name": "nosuch"}, "CPU model 'nosuch' not found"),
            ({"name": "qemu64", "props": {"nosuch": False}}, "Property 'qemu64-x86_64-cpu.nosuch' not found"),
            ({"name": "qemu64", "props": {"sse3": "off"}}, "Invalid parameter type for 'sse3', expected: boolean"),
        ):
            refused = await refusal(vm, "query-cpu-model-expansion", type="static", model=asked)
            assert refused == ("GenericError", text)


async def test_models_are_taken_apart_as_qemu_does_it() -> None:
    with qemu() as theirs:
        async with VirtualMachine() as vm:
            for name in model_names():
                if name == "max":
                    continue
                asked = {"type": "static", "model": {"name": name}}
                ours = (await execute(vm, "query-cpu-model-expansion", **asked))["model"]["props"]
                reply = theirs.execute("query-cpu-model-expansion", **asked)["return"]["model"]["props"]
                different = {key for key in ours.keys() & reply.keys() if ours[key] != reply[key]}
                assert different <= (DIFFERENT.get(name) or set()), name
                assert {key for key, value in reply.items() if value is True} - ours.keys() == set(), name
