"""The object tree: paths, properties and types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmcore.model.qom import ObjectPropertyInfo, ObjectTypeInfo
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("qom-list", allow_preconfig=True, since="1.2")
async def qom_list(vm: VirtualMachine, *, path: str) -> tuple[ObjectPropertyInfo, ...]:
    """The properties of an object, its children among them.

    path: absolute, or the end of a path if there is only one object that it fits.
    """
    return await vm.qom.properties(path)


@command("qom-get", allow_preconfig=True, since="1.2")
async def qom_get(vm: VirtualMachine, *, path: str, property: str) -> Any:
    """The value of a property; of children and links the path."""
    return await vm.qom.get(path, property)


@command("qom-set", allow_preconfig=True, since="1.2")
async def qom_set(vm: VirtualMachine, *, path: str, property: str, value: Any) -> None:
    """Set a property that can be set while the machine exists."""
    await vm.qom.set(path, property, value)


@command("qom-list-types", allow_preconfig=True, since="1.1")
async def qom_list_types(
    vm: VirtualMachine, *, implements: str | None = None, abstract: bool | None = None
) -> tuple[ObjectTypeInfo, ...]:
    """The types of objects.

    implements: only those that derive from this one; abstract: also those of which no object can be made.
    """
    return await vm.qom.types(implements, bool(abstract))


@command("qom-list-properties", allow_preconfig=True, since="2.12")
async def qom_list_properties(vm: VirtualMachine, *, typename: str) -> tuple[ObjectPropertyInfo, ...]:
    """The properties of a type."""
    return await vm.qom.type_properties(typename)


@command("device-list-properties", since="1.2")
async def device_list_properties(vm: VirtualMachine, *, typename: str) -> tuple[ObjectPropertyInfo, ...]:
    """The properties that a device is given, with their defaults."""
    return await vm.qom.device_properties(typename)
