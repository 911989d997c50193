"""What all kinds of devices that come and go have in common, shown with one that is nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from attrs import evolve

from vmcore.boards.board import Bus
from vmcore.hardware.tree import ObjectTree
from vmcore.machine.plug import DevicePlug, Driver, Plugged, PlugValue
from vmcore.model.errors import CommandError
from vmcore.model.events import Event
from vmcore.model.qom import DeviceDeleted


class Widgets(Driver):
    """Widgets on a bus, which tell of all that is done to them."""

    bus_type = "WIDGET"
    asks_once = True

    def __init__(self, tree: ObjectTree, log: list[tuple[str, str]]) -> None:
        self.tree = tree
        self.log = log

    def check(
        self, name: str, given: Mapping[str, PlugValue], bus: str | None = None, *, cold: bool = False
    ) -> Mapping[str, PlugValue]:
        return {"size": 1} | dict(given)

    def place(self, device: Plugged) -> None:
        self.tree.add(device.path, object())
        self.log.append(("place", device.path))

    def take_out(self, device: Plugged) -> None:
        self.tree.remove(device.path)
        self.log.append(("take out", device.path))

    def plug(self, device: Plugged) -> None:
        self.log.append(("plug", device.path))

    def check_removal(self, device: Plugged) -> None:
        pass

    def ask_to_go(self, device: Plugged) -> None:
        self.log.append(("ask", device.path))


class Bench:
    def __init__(self) -> None:
        self.tree = ObjectTree()
        self.log: list[tuple[str, str]] = []
        self.events: list[Event] = []
        buses = {"isa.0": Bus("ISA"), "fixed": Bus("WIDGET"), "loose": Bus("WIDGET", hotpluggable=True)}
        self.plug = DevicePlug(self.tree, buses, self.events.append, {"widget": Widgets(self.tree, self.log)})

    def add(self, id: str | None = None) -> Plugged:
        device = self.plug.plan("widget", id, "loose")
        self.plug.plug(device)
        return device

    def refusal(self, driver: str = "widget", id: str | None = None, bus: str | None = None) -> str:
        with pytest.raises(CommandError) as refused:
            self.plug.plan(driver, id, bus)
        return refused.value.desc


def test_a_device_is_checked_placed_and_plugged() -> None:
    bench = Bench()
    device = bench.plug.plan("widget", "w", "loose", {"colour": "red"})
    assert device == Plugged("widget", "/machine/peripheral/w", "w", "loose", {"size": 1, "colour": "red"})
    assert bench.log == []
    bench.plug.plug(device)
    assert bench.log == [("place", device.path), ("plug", device.path)]
    assert bench.plug.devices == (device,)


def test_a_bus_is_found_by_its_kind_or_taken_by_its_name() -> None:
    bench = Bench()
    assert bench.refusal() == "Bus 'fixed' does not support hotplugging"
    assert bench.refusal(bus="nosuch") == "Bus 'nosuch' not found"
    assert bench.refusal(bus="isa.0") == "Device 'widget' can't go on ISA bus"
    assert bench.refusal(driver="gadget") == "'gadget' is not a valid device model name"
    assert bench.refusal(id="1") == "Parameter 'id' expects an identifier"
    bench.add("w")
    assert bench.refusal(id="w", bus="loose") == "Duplicate device ID 'w'"


def test_a_device_is_asked_to_go_once_and_is_gone_when_it_has_gone() -> None:
    bench = Bench()
    path = bench.add("w").path
    assert bench.plug.check_removal("w").path == bench.plug.check_removal(path).path == path
    bench.plug.ask_to_go(path)
    with pytest.raises(CommandError, match="Device w is already in the process of unplug"):
        bench.plug.check_removal("w")
    bench.plug.gone(path)
    assert bench.events == [DeviceDeleted(device="w", path=path)]
    with pytest.raises(CommandError, match="Device 'w' not found"):
        bench.plug.check_removal("w")


def test_a_record_brings_back_what_was_there() -> None:
    bench = Bench()
    old = bench.add("old")
    kept = bench.add("kept")
    new = evolve(bench.plug.plan("widget", "new", "loose"), leaving=True)
    bench.log.clear()
    bench.plug.restore((evolve(kept, leaving=True), new))
    assert bench.log == [
        ("take out", kept.path),
        ("take out", old.path),
        ("place", kept.path),
        ("place", new.path),
    ]
    assert [device.id for device in bench.plug.devices] == ["kept", "new"]
    assert all(device.leaving for device in bench.plug.devices)
    assert set(bench.tree.node("/machine/peripheral").children) == {"kept", "new"}
    assert bench.events == []
