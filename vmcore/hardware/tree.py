"""The object tree: every part of the machine has a path (`/machine/...`) and typed properties.

Properties are the public attrs fields of an object whose values are plain data.  A field is settable where its metadata
says so: `field(default=False, metadata=SETTABLE)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, final

import attrs
from attrs import frozen

from vmcore.model.errors import UsageError

SETTABLE: Mapping[str, Any] = {"settable": True}


@frozen
class Property:
    """A property of a node.  type: `int`, `bool`, `str`, `child<Class>`, `link<Class>` or the name of an enum."""

    name: str
    type: str
    settable: bool = False


@final
class Node:
    """One place in the tree: a name, children, and (unless it is a mere container) an object."""

    __slots__ = ("children", "name", "parent", "value")

    def __init__(self, name: str, parent: Node | None, value: object | None = None) -> None:
        self.name = name
        self.parent = parent
        self.value = value
        self.children: dict[str, Node] = {}

    @property
    def path(self) -> str:
        """The canonical path, such as `/machine/serial0`."""
        if self.parent is None:
            return "/"
        return f"{self.parent.path.rstrip('/')}/{self.name}"

    @property
    def type_name(self) -> str:
        """The class of the object, or `container`."""
        return "container" if self.value is None else type(self.value).__name__

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents first."""
        yield self
        for child in self.children.values():
            yield from child.walk()


@final
class ObjectTree:
    """All objects of a machine, by path."""

    __slots__ = ("_places", "root")

    def __init__(self) -> None:
        self.root = Node("", None)
        self._places: dict[int, Node] = {}

    def add(self, path: str, value: object) -> Node:
        """Put an object at `path`; containers on the way are made as needed."""
        node = self.root
        *containers, name = _split(path)
        for part in containers:
            node = node.children.setdefault(part, Node(part, node))
        if name in node.children:
            raise UsageError(f"{path} is taken by a {node.children[name].type_name}")
        node.children[name] = new = Node(name, node, value)
        self._places[id(value)] = new
        return new

    def container(self, path: str) -> Node:
        """The node at `path`; a container if there was none."""
        node = self.root
        for part in _split(path):
            node = node.children.setdefault(part, Node(part, node))
        return node

    def remove(self, path: str) -> None:
        """Take the node at `path`, and all below it, out of the tree."""
        node = self.node(path)
        if node.parent is None:
            raise UsageError("the root of the tree cannot be removed")
        del node.parent.children[node.name]
        for gone in node.walk():
            self._places.pop(id(gone.value), None)

    def node(self, path: str) -> Node:
        """The node at an absolute path."""
        node = self.root
        for part in _split(path) if path != "/" else ():
            if part not in node.children:
                raise UsageError(f"there is no {part!r} in {node.path} (on the way to {path})")
            node = node.children[part]
        return node

    def path_of(self, value: object) -> str | None:
        """Where an object is."""
        node = self._places.get(id(value))
        return None if node is None else node.path

    def properties(self, path: str) -> list[Property]:
        """The properties of the node at `path`: its own, then its children."""
        node = self.node(path)
        own = [
            Property(name, self._type_of(value), bool(attribute.metadata.get("settable")))
            for name, attribute, value in self._fields(node)
        ]
        return own + [Property(child.name, f"child<{child.type_name}>") for child in node.children.values()]

    def get(self, path: str, name: str) -> Any:
        """The value of a property.  Children and links give the path of what they lead to."""
        node = self.node(path)
        if name in node.children:
            return node.children[name].path
        for found, _, value in self._fields(node):
            if found == name:
                return self.path_of(value) or value
        raise UsageError(f"{path} ({node.type_name}) has no property {name!r}")

    def set(self, path: str, name: str, value: object) -> None:
        """Set a settable property; the object's own validators apply."""
        node = self.node(path)
        for found, attribute, old in self._fields(node):
            if found == name:
                if not attribute.metadata.get("settable"):
                    raise UsageError(f"property {name!r} of {path} is read only")
                if type(value) is not type(old):
                    raise UsageError(f"property {name!r} of {path} is of type {self._type_of(old)}, not {value!r}")
                setattr(node.value, attribute.name, value)
                return
        raise UsageError(f"{path} ({node.type_name}) has no settable property {name!r}")

    def _fields(self, node: Node) -> Iterator[tuple[str, attrs.Attribute[Any], Any]]:
        kind: type[Any] = type(node.value)
        for attribute in attrs.fields(kind) if attrs.has(kind) else ():
            value = getattr(node.value, attribute.name)
            plain = isinstance(value, (bool, int, str, Enum)) or id(value) in self._places
            if plain and not attribute.name.startswith("_"):
                yield attribute.name.replace("_", "-"), attribute, value

    def _type_of(self, value: object) -> str:
        name = type(value).__name__
        return f"link<{name}>" if id(value) in self._places else name


def _split(path: str) -> list[str]:
    if not path.startswith("/") or not path.strip("/"):
        raise UsageError(f"{path!r} is no absolute path such as '/machine/serial0'")
    return path.strip("/").split("/")
