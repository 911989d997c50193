"""The object tree from outside."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from attrs import define, field
from exchange import execute, qemu, refusal

from vmcore import VirtualMachine
from vmcore.hardware.tree import SETTABLE

EXIT = "isa-debug-exit,iobase=0xf4,iosize=4,id=leave"


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@define(eq=False)
class Lamp:
    """Something with properties that can be set."""

    lit: bool = field(default=False, metadata=SETTABLE)
    colour: Colour = field(default=Colour.RED, metadata=SETTABLE)
    watts: int = 5


@pytest.mark.conformance("qom-list", "qom-get")
async def test_objects_are_found_by_their_paths() -> None:
    async with VirtualMachine(devices=[EXIT], cpus=2) as vm:
        assert await execute(vm, "qom-list", path="/") == [
            {"name": "type", "type": "string"},
            {"name": "machine", "type": "child<pc-machine>"},
            {"name": "objects", "type": "child<container>"},
        ]
        found = {p["name"]: p["type"] for p in await execute(vm, "qom-list", path="/machine")}
        assert found["rtc"] == "child<rtc-mc146818>"
        assert found["peripheral"] == "child<container>"
        # A relative path does where only one object fits it.
        assert await execute(vm, "qom-list", path="cpus") == await execute(vm, "qom-list", path="/machine/cpus")
        assert await execute(vm, "qom-get", path="leave", property="type") == "isa-debug-exit"
        assert await execute(vm, "qom-get", path="/machine/cpus/cpu1", property="type") == "max-x86_64-cpu"
        assert await execute(vm, "qom-get", path="/machine/cpus", property="cpu1") == "/machine/cpus/cpu1"
        assert await execute(vm, "qom-get", path="/machine/cpus/cpu1/lapic", property="apic-id") == 1
        assert await execute(vm, "qom-get", path="/machine/pci", property="isa") == "/machine/reset-control"
        assert await execute(vm, "qom-get", path="/machine/pci/isa", property="type") == "reset-control"
        ambiguous = await refusal(vm, "qom-list", path="lapic")
        assert ambiguous == ("GenericError", "Path 'lapic' is ambiguous")


@pytest.mark.conformance("qom-set")
async def test_what_can_be_set_is_set_and_checked() -> None:
    async with VirtualMachine() as vm:
        lamp = Lamp()
        vm.devices.add("/objects/lamp", lamp)
        await execute(vm, "qom-set", path="/objects/lamp", property="lit", value=True)
        await execute(vm, "qom-set", path="/objects/lamp", property="colour", value="blue")
        assert lamp.lit
        assert lamp.colour is Colour.BLUE
        assert await execute(vm, "qom-get", path="lamp", property="colour") == "blue"
        for name, value, text in (
            ("lit", 3, "Invalid parameter type for 'lit', expected: boolean"),
            ("colour", "mauve", "Parameter 'colour' does not accept value 'mauve'"),
            ("watts", 6, "Property 'lamp.watts' is not writable"),
            ("type", 6, "Property 'lamp.type' is not writable"),
            ("volts", 6, "Property 'lamp.volts' not found"),
        ):
            found = await refusal(vm, "qom-set", path="lamp", property=name, value=value)
            assert found == ("GenericError", text)


@pytest.mark.conformance("qom-list-types", "qom-list-properties", "device-list-properties")
async def test_types_and_their_properties_are_listed() -> None:
    async with VirtualMachine() as vm:
        cpus = await execute(vm, "qom-list-types", implements="cpu")
        assert {"name": "max-x86_64-cpu", "parent": "x86_64-cpu"} in cpus
        assert all(cpu["name"].endswith("-x86_64-cpu") for cpu in cpus)
        devices = {kind["name"] for kind in await execute(vm, "qom-list-types", implements="device")}
        assert {"rtc-mc146818", "isa-debug-exit", "local-apic"} <= devices
        assert "device" not in devices
        everything = await execute(vm, "qom-list-types", abstract=True)
        assert {"name": "device", "abstract": True, "parent": "object"} in everything
        assert {"name": "object", "abstract": True} in everything
        lapic = await execute(vm, "qom-list-properties", typename="local-apic")
        assert {"name": "apic-id", "type": "int", "default-value": 0} in lapic
        assert await execute(vm, "device-list-properties", typename="local-apic") == lapic[1:]
        for cpu in cpus:
            assert await execute(vm, "qom-list-properties", typename=cpu["name"])


async def test_answers_that_have_no_more_than_qemus_are_equal_to_them() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("qom-list", {"path": "/nosuch"}),
        ("qom-list", {"path": "nosuch"}),
        ("qom-list", {"path": ""}),
        ("qom-list", {"path": "/machine/peripheral"}),
        ("qom-get", {"path": "/nosuch", "property": "x"}),
        ("qom-set", {"path": "/nosuch", "property": "x", "value": 1}),
        ("qom-get", {"path": "/machine/peripheral", "property": "x"}),
        ("qom-set", {"path": "/machine/peripheral", "property": "x", "value": 1}),
        ("qom-get", {"path": "/machine", "property": "peripheral"}),
        ("qom-list-types", {"implements": "nosuch"}),
        ("qom-list-properties", {"typename": "nosuch"}),
        ("device-list-properties", {"typename": "nosuch"}),
        ("device-list-properties", {"typename": "device"}),
        ("device-list-properties", {"typename": "container"}),
        ("device-list-properties", {"typename": "isa-debug-exit"}),
        ("device-list-properties", {"typename": "isa-debugcon"}),
    ]
    with qemu("-device", "isa-debug-exit,id=leave") as theirs:
        async with VirtualMachine(devices=[EXIT]) as vm:
            for name, given in cases:
                answer = theirs.execute(name, **given)
                if "error" in answer:
                    expected = answer["error"]["class"], answer["error"]["desc"]
                    assert await refusal(vm, name, **given) == expected
                else:
                    ours = await execute(vm, name, **given)
                    if isinstance(ours, list):
                        ours = sorted(map(str, map(sorted, map(dict.items, ours))))
                        answer["return"] = [e for e in answer["return"] if e["name"] != "chardev"]
                        answer["return"] = sorted(map(str, map(sorted, map(dict.items, answer["return"]))))
                    assert ours == answer["return"], name
