"""The object tree from outside, by `vm.qom`: paths, types and properties as management clients name them.

A type is named after its class (`rtc-mc146818`), what can be added by option after its model (`isa-debug-exit`), a
vCPU after its CPU model, the machine after its board.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final, final

import attrs
import trio
from attrs import frozen

from vmcore.boards.kinds import BOARDS
from vmcore.boards.pci_models import PCI_MODELS
from vmcore.buses.pci_bridge import PciBridge
from vmcore.devices.debug_exit import DebugExitPort
from vmcore.devices.debugcon import Debugcon
from vmcore.devices.memory_module import MemoryModule
from vmcore.engine import Cpu
from vmcore.engine.models import model_names
from vmcore.hardware.device import Device
from vmcore.hardware.tree import Node, ObjectTree
from vmcore.machine.config import DEVICE_MODELS, PLUGGABLE_MODELS
from vmcore.machine.plug_cpu import CPU_PROPERTIES, cpu_type
from vmcore.machine.plug_dimm import DIMM
from vmcore.model.errors import CommandError, UsageError
from vmcore.model.qom import ObjectPropertyInfo, ObjectTypeInfo
from vmcore.shell.qom_special import special_properties
from vmcore.shell.user_objects import USER_TYPES, UserObject

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

__all__ = ["ObjectModel"]

_MODELS: Final[dict[type[Any], str]] = {
    DebugExitPort: "isa-debug-exit",
    Debugcon: "isa-debugcon",
    MemoryModule: DIMM,
    PciBridge: "base-pci-bridge",
    **{model.cls: name for name, model in PCI_MODELS.items()},
}
_PLAIN: Final = {"int": "int", "bool": "bool", "str": "str"}
_JSON: Final = {bool: "boolean", int: "integer", str: "string"}
USER_CREATABLE: Final = "user-creatable"
"""The interface of the types of which objects can be made with object-add."""
_TYPE: Final = ObjectPropertyInfo(name="type", type="string")


@frozen
class _Type:
    """A type.  cls: what objects of it are, None where that is no one class."""

    name: str
    parent: str | None
    abstract: bool = False
    cls: type[Any] | None = None


def _class_name(cls: type[Any]) -> str:
    return _MODELS.get(cls) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()


def _classes(base: type[Any]) -> Iterator[type[Any]]:
    for cls in base.__subclasses__():
        if cls.__module__.startswith("vmcore."):
            yield cls
        yield from _classes(cls)


def _types() -> dict[str, _Type]:
    found = [
        _Type("object", None, True),
        _Type("container", "object"),
        _Type("machine", "object", True),
        *(_Type(f"{board}-machine", "machine") for board in BOARDS),
        _Type("device", "object", True, Device),
        _Type("cpu", "device", True),
        _Type("x86_64-cpu", "cpu", True, Cpu),
        *(_Type(cpu_type(model), "x86_64-cpu", cls=Cpu) for model in model_names()),
        *(_Type(kind.name, kind.parent, kind.abstract) for kind in USER_TYPES.values()),
    ]
    for cls in _classes(Device):
        parents = [base for base in cls.__mro__[1:] if issubclass(base, Device)]
        parent = "device" if parents[0] is Device else _class_name(parents[0])
        found.append(_Type(_class_name(cls), parent, inspect.isabstract(cls), cls))
    return {found_type.name: found_type for found_type in found}


@final
class ObjectModel:
    """`vm.qom`.  CommandError, with the error class that clients know, where something is not there or not allowed."""

    __slots__ = ("_vm",)

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm

    @asynccontextmanager
    async def _tree(self) -> AsyncIterator[ObjectTree]:
        """The object tree while nothing changes it; what there is of it before the machine is built."""
        self._vm._check_entered()
        before = self._vm._preconfig
        if before is not None:
            await trio.lowlevel.checkpoint()
            yield before.tree
        else:
            async with self._vm.parked() as machine:
                yield machine.tree

    # --- objects

    async def properties(self, path: str) -> tuple[ObjectPropertyInfo, ...]:
        """The properties of an object, its children among them."""
        async with self._tree() as tree:
            node = self._resolve(tree, path)
            return (_TYPE, *self._properties(tree, node))

    async def get(self, path: str, name: str) -> Any:
        """The value of a property; of children and links the path."""
        async with self._tree() as tree:
            node = self._resolve(tree, path)
            if name == "type":
                return self.type_name(node)
            own = special_properties(self._vm, node)
            if name in own:
                return own[name].get()
            if not any(found.name == name for found in tree.properties(node.path)):
                raise self._missing(node, name)
            value = tree.get(node.path, name)
            # Text is text: values of the model's enumerations stay what they are.
            return value.value if isinstance(value, Enum) and not isinstance(value, StrEnum) else value

    async def set(self, path: str, name: str, value: Any) -> None:
        """Set a property that may be set while the machine exists."""
        async with self._tree() as tree:
            node = self._resolve(tree, path)
            own = special_properties(self._vm, node)
            if name in own:
                own[name].set(value)
                return
            found = next((p for p in tree.properties(node.path) if p.name == name), None)
            if found is None and name != "type":
                raise self._missing(node, name)
            if found is None or not found.settable:
                text = f"Property '{self.type_name(node)}.{name}' is not writable"
                raise CommandError("GenericError", text)
            tree.set(node.path, name, self._converted(tree.get(node.path, name), name, value))

    @staticmethod
    def _converted(old: Any, name: str, value: Any) -> Any:
        if isinstance(old, Enum):
            try:
                return type(old)(value)
            except ValueError as error:
                text = f"Parameter '{name}' does not accept value '{value}'"
                raise CommandError("GenericError", text) from error
        if type(value) is not type(old):
            expected = _JSON.get(type(old), type(old).__name__)
            raise CommandError("GenericError", f"Invalid parameter type for '{name}', expected: {expected}")
        return value

    def type_name(self, node: Node) -> str:
        """Type of the object at a node."""
        if node.path == "/machine":
            return f"{self._vm.config.board}-machine"
        if isinstance(node.value, Cpu):
            return cpu_type(node.value.model.name)
        if isinstance(node.value, UserObject):
            return node.value.type_name
        return "container" if node.value is None else _class_name(type(node.value))

    def _properties(self, tree: ObjectTree, node: Node) -> Iterator[ObjectPropertyInfo]:
        for name, special in special_properties(self._vm, node).items():
            yield ObjectPropertyInfo(name=name, type=special.type)
        for found in tree.properties(node.path):
            kind = found.type
            if found.name in node.children:
                kind = f"child<{self.type_name(node.children[found.name])}>"
            elif kind.startswith("link<"):
                kind = f"link<{self.type_name(tree.node(tree.get(node.path, found.name)))}>"
            yield ObjectPropertyInfo(name=found.name, type=kind)

    def _missing(self, node: Node, name: str) -> CommandError:
        return CommandError("GenericError", f"Property '{self.type_name(node)}.{name}' not found")

    def _resolve(self, tree: ObjectTree, path: str) -> Node:
        """The node at an absolute path, or the only one whose path ends in a relative one."""
        parts = [part for part in path.split("/") if part]
        found = [self._below(tree, tree.root, parts)]
        if not path.startswith("/"):
            found = [self._below(tree, node, parts) for node in tree.root.walk()]
        nodes = {node.path: node for node in found if node is not None}
        if len(nodes) > 1:
            raise CommandError("GenericError", f"Path '{path}' is ambiguous")
        if not nodes:
            raise CommandError("DeviceNotFound", f"Device '{path}' not found")
        return next(iter(nodes.values()))

    @staticmethod
    def _below(tree: ObjectTree, node: Node, parts: list[str]) -> Node | None:
        for part in parts:
            if part in node.children:
                node = node.children[part]
                continue
            try:
                led_to = tree.get(node.path, part)
                node = tree.node(led_to)
            except (UsageError, AttributeError):
                return None
        return node

    # --- types

    async def types(self, implements: str | None = None, abstract: bool = False) -> tuple[ObjectTypeInfo, ...]:
        """The types that there are, those that derive from one if that is given."""
        known = _types()
        return tuple(
            ObjectTypeInfo(name=kind.name, abstract=True if kind.abstract else None, parent=kind.parent)
            for kind in known.values()
            if (abstract or not kind.abstract) and (implements is None or implements in _ancestors(known, kind))
        )

    async def type_properties(self, name: str) -> tuple[ObjectPropertyInfo, ...]:
        """The properties that objects of a type have."""
        known = _types()
        if name not in known:
            raise CommandError("DeviceNotFound", f"Class '{name}' not found")
        return (_TYPE, *_declared(known[name]))

    def kind(self, name: str) -> _Type | None:
        """The type of devices of a name; None where there is none."""
        known = _types()
        found = known.get(name)
        return found if found is not None and "device" in _ancestors(known, found) else None

    async def device_properties(self, name: str) -> tuple[ObjectPropertyInfo, ...]:
        """The properties that a device of a type is given, with their defaults."""
        known = _types()
        if name not in known:
            raise CommandError("DeviceNotFound", f"Device '{name}' not found")
        if known[name].abstract or "device" not in _ancestors(known, known[name]):
            raise CommandError("GenericError", "Parameter 'typename' expects a non-abstract device type")
        return tuple(_declared(known[name]))


def _ancestors(known: dict[str, _Type], kind: _Type) -> Iterator[str]:
    """The names of a type and of all that it derives from."""
    if kind.name in USER_TYPES and not kind.abstract:
        yield USER_CREATABLE
    yield kind.name
    while kind.parent is not None:
        kind = known[kind.parent]
        yield kind.name


def _declared(kind: _Type) -> Iterator[ObjectPropertyInfo]:
    if kind.parent == "x86_64-cpu":
        for name, (type_name, default) in CPU_PROPERTIES.items():
            yield ObjectPropertyInfo(name=name, type=type_name, default_value=default)
        return
    if kind.name in USER_TYPES:
        for found in USER_TYPES[kind.name].properties:
            yield ObjectPropertyInfo(name=found.name, type=found.type, description=found.description)
        return
    if kind.name in PLUGGABLE_MODELS:
        for name, known in PLUGGABLE_MODELS[kind.name].items():
            yield ObjectPropertyInfo(
                name=name,
                type="link<memory-backend>" if (kind.name, name) == (DIMM, "memdev") else known.type_name,
                default_value=known.default,
                description=known.description,
            )
        return
    if kind.name in DEVICE_MODELS:
        for name, (default, _, _) in DEVICE_MODELS[kind.name].items():
            yield ObjectPropertyInfo(name=name, type="uint32", default_value=default)
        return
    for field in attrs.fields(kind.cls) if kind.cls is not None and attrs.has(kind.cls) else ():
        if not field.name.startswith("_") and field.type in _PLAIN:
            plain = isinstance(field.default, bool | int | str)
            yield ObjectPropertyInfo(
                name=field.name.replace("_", "-"),
                type=_PLAIN[field.type],
                default_value=field.default if plain else None,
            )
