"""Compares schemas by structure: names of types mean nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Schema = Iterable[Mapping[str, Any]]


def differences(theirs: Schema, ours: Schema) -> set[str]:
    """What differs in the commands and events that both have, a line each."""
    comparison = _Comparison(theirs, ours)
    for name, entry in comparison.ours.items():
        if entry["meta-type"] in ("command", "event") and name in comparison.theirs:
            comparison.entry(name)
    return comparison.found


class _Comparison:
    def __init__(self, theirs: Schema, ours: Schema) -> None:
        self.theirs = {entry["name"]: entry for entry in theirs}
        self.ours = {entry["name"]: entry for entry in ours}
        self.found: set[str] = set()
        self._seen: set[tuple[str, str]] = set()

    def entry(self, name: str) -> None:
        theirs, ours = self.theirs[name], self.ours[name]
        self._equal(name, "kind", theirs["meta-type"], ours["meta-type"])
        self._equal(name, "features", _features(theirs), _features(ours))
        self._equal(name, "allow-oob", theirs.get("allow-oob", False), ours.get("allow-oob", False))
        self.type(name, theirs["arg-type"], ours["arg-type"])
        if ours["meta-type"] == "command":
            self.type(f"{name} returns", theirs["ret-type"], ours["ret-type"])

    def type(self, path: str, their_name: str, our_name: str) -> None:
        if (their_name, our_name) in self._seen:
            return
        self._seen.add((their_name, our_name))
        theirs, ours = self.theirs[their_name], self.ours[our_name]
        self._equal(path, "kind", theirs["meta-type"], ours["meta-type"])
        if theirs["meta-type"] != ours["meta-type"]:
            return
        self._equal(path, "features", _features(theirs), _features(ours))
        match ours["meta-type"]:
            case "builtin":
                self._equal(path, "JSON type", theirs["json-type"], ours["json-type"])
            case "array":
                self.type(f"{path}[]", theirs["element-type"], ours["element-type"])
            case "enum":
                self._named(path, "value", theirs["members"], ours["members"])
            case "alternate":
                kinds = [
                    sorted(str(self._kind(side, m["type"])) for m in entry["members"])
                    for side, entry in ((self.theirs, theirs), (self.ours, ours))
                ]
                self._equal(path, "alternatives", *kinds)
            case "object":
                self._object(path, theirs, ours)

    def _object(self, path: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
        for their, our in self._named(path, "member", theirs["members"], ours["members"]):
            inner = f"{path}.{our['name']}"
            self._equal(inner, "optional", "default" in their, "default" in our)
            self.type(inner, their["type"], our["type"])
        self._equal(path, "tag", theirs.get("tag"), ours.get("tag"))
        cases = {case["case"]: case["type"] for case in theirs.get("variants", ())}
        for variant in ours.get("variants", ()):
            their_type = cases.pop(variant["case"], None)
            if their_type is None:
                self.found.add(f"{path}: only ours: case {variant['case']}")
            else:
                self.type(f"{path}<{variant['case']}>", their_type, variant["type"])
        self.found.update(f"{path}: only theirs: case {case}" for case in cases)

    def _named(self, path: str, kind: str, theirs: Any, ours: Any) -> list[tuple[Any, Any]]:
        """Compare lists of things with names and features; the pairs that both have."""
        their_things = {thing["name"]: thing for thing in theirs}
        our_things = {thing["name"]: thing for thing in ours}
        common = [name for name in their_things if name in our_things]
        self._equal(path, f"order of {kind}s", common, [name for name in our_things if name in their_things])
        for name in common:
            self._equal(
                f"{path}: {kind} {name}", "features", _features(their_things[name]), _features(our_things[name])
            )
        self.found.update(f"{path}: only theirs: {kind} {name}" for name in their_things if name not in our_things)
        for name, thing in our_things.items():
            if name not in their_things:
                self.found.add(f"{path}: only ours: {kind} {name} {_features(thing)}")
        return [(their_things[name], our_things[name]) for name in common]

    def _kind(self, side: Mapping[str, Mapping[str, Any]], name: str) -> Any:
        return side[name].get("json-type", side[name]["meta-type"])

    def _equal(self, path: str, what: str, theirs: object, ours: object) -> None:
        if theirs != ours:
            self.found.add(f"{path}: {what}: theirs {theirs}, ours {ours}")


def _features(entry: Mapping[str, Any]) -> list[str]:
    return sorted(entry.get("features", ()))
