"""The objects that users make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.model.qom import ObjectOptions
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine


@command("object-add", boxed="options", allow_preconfig=True, since="2.0")
async def object_add(vm: VirtualMachine, *, options: ObjectOptions) -> None:
    """Make an object: a memory back end, an I/O thread, a source of random bytes, a secret."""
    await vm.objects.add(options)


@command("object-del", allow_preconfig=True, since="2.0")
async def object_del(vm: VirtualMachine, *, id: str) -> None:
    """Unmake an object.  GenericError for one that is in use."""
    await vm.objects.remove(id)
