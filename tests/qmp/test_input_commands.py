"""Keyboard and mouse from outside."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from exchange import execute, qemu, refusal

from vmcore import FlatImage, VirtualMachine
from vmcore.machine.inputs import KeyInput, MouseButton, MouseMove

SPIN = FlatImage(bytes.fromhex("eb fe"))


def qcodes(*names: str) -> list[dict[str, object]]:
    return [{"type": "qcode", "data": name} for name in names]


def key(name: str, down: bool) -> dict[str, object]:
    return {"type": "key", "data": {"down": down, "key": {"type": "qcode", "data": name}}}


def inputs(vm: VirtualMachine) -> list[tuple[str, bool]]:
    found = [record.input for record in vm.peek().inputs]
    return [(what.key, what.pressed) for what in found if isinstance(what, KeyInput)]


@pytest.mark.conformance("send-key")
async def test_keys_are_held_in_guest_time_and_released_in_reverse() -> None:
    async with VirtualMachine(flat=SPIN) as vm:
        await vm.start()
        await execute(vm, "send-key", keys=qcodes("ctrl", "alt", "delete"), **{"hold-time": 2})
        await execute(vm, "send-key", keys=qcodes("a"), **{"hold-time": 1})
        await vm.sleep(0.05)
        await vm.stop()
        pressed = [("ctrl", True), ("alt", True), ("delete", True)]
        released = [(name, False) for name, _ in reversed(pressed)]
        assert inputs(vm) == [*pressed, *released, ("a", True), ("a", False)]
        times = [record.ns for record in vm.peek().inputs]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps == [2_000_000] * 6 + [1_000_000]


async def test_keys_are_also_known_by_their_scan_codes_and_unknown_ones_do_nothing() -> None:
    async with VirtualMachine(flat=SPIN) as vm:
        await vm.start()
        numbers = [{"type": "number", "data": number} for number in (0x1E, 0x9D, 0x7FF)]
        await execute(vm, "send-key", keys=[*numbers, *qcodes("unmapped")], **{"hold-time": 1})
        await vm.sleep(0.01)
        await vm.stop()
        assert inputs(vm) == [("a", True), ("ctrl_r", True), ("ctrl_r", False), ("a", False)]


async def test_a_guest_that_does_not_run_gets_no_keys() -> None:
    async with VirtualMachine(flat=SPIN) as vm:
        assert await execute(vm, "send-key", keys=qcodes("a")) == {}
        assert inputs(vm) == []


@pytest.mark.conformance("input-send-event")
async def test_events_happen_at_once() -> None:
    async with VirtualMachine(flat=SPIN) as vm:
        await vm.start()
        events = [
            key("shift", True),
            {"type": "rel", "data": {"axis": "x", "value": 5}},
            {"type": "rel", "data": {"axis": "y", "value": 7}},
            {"type": "btn", "data": {"button": "left", "down": True}},
            {"type": "btn", "data": {"button": "wheel-down", "down": True}},
            {"type": "btn", "data": {"button": "wheel-down", "down": False}},
            key("shift", False),
        ]
        assert await execute(vm, "input-send-event", events=events) == {}
        await vm.stop()
        assert [record.input for record in vm.peek().inputs] == [
            KeyInput("shift", True),
            MouseMove(dx=5),
            MouseMove(dy=-7),
            MouseButton("left", True),
            MouseMove(dz=1),
            KeyInput("shift", False),
        ]
        (mouse,) = await execute(vm, "query-mice")
        assert mouse["current"]
        assert not mouse["absolute"]


async def test_what_nothing_takes_is_refused() -> None:
    nowhere = ("GenericError", "Input handler not found for event type abs")
    async with VirtualMachine(flat=SPIN) as vm:
        await vm.start()
        events = [key("a", True), {"type": "abs", "data": {"axis": "x", "value": 5}}]
        assert await refusal(vm, "input-send-event", events=events) == nowhere
        await vm.stop()
        assert inputs(vm) == []
    async with VirtualMachine(board="none", flat=SPIN) as vm:
        await vm.start()
        found = await refusal(vm, "input-send-event", events=[key("a", True)])
        assert found == ("GenericError", "Input handler not found for event type key")
        assert await execute(vm, "query-mice") == []
        await vm.stop()


async def test_refusals_are_qemus() -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("send-key", {"keys": qcodes("nosuch")}),
        ("send-key", {"keys": [{"type": "qcode", "data": 5}]}),
        ("send-key", {"keys": [{"data": "a"}]}),
        ("input-send-event", {"events": []}),
        ("input-send-event", {"events": [key("a", True)]}),
        ("input-send-event", {"device": "x", "events": []}),
        ("input-send-event", {}),
    ]
    async with VirtualMachine(flat=SPIN) as vm:
        found = [await refusal(vm, name, **given) for name, given in cases]
    assert found[4] == ("GenericError", "VM not running")
    with qemu() as theirs:
        for (name, given), (qmp_class, text) in zip(cases, found, strict=True):
            assert theirs.execute(name, **given)["error"] == {"class": qmp_class, "desc": text}
