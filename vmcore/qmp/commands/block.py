"""Disks: what there is, media that are changed, nodes that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from vmcore.model.block_info import BlockdevChangeReadOnlyMode, BlockDeviceInfo, BlockInfo, BlockStats
from vmcore.model.wire import DEPRECATED, Int
from vmcore.qmp.blockdev import read_blockdev
from vmcore.qmp.registry import command

if TYPE_CHECKING:
    from vmcore.vm import VirtualMachine

_MODES = BlockdevChangeReadOnlyMode


@command("query-block", allow_preconfig=True, since="0.14")
async def query_block(vm: VirtualMachine) -> tuple[BlockInfo, ...]:
    """The drives and what is in them."""
    return await vm.block.drives()


@command("query-blockstats", allow_preconfig=True, since="0.14")
async def query_blockstats(vm: VirtualMachine, *, query_nodes: bool | None = None) -> tuple[BlockStats, ...]:
    """What the drives have read, written and flushed.

    query-nodes: counts of all nodes instead.
    """
    return await vm.block.statistics(bool(query_nodes))


@command("query-named-block-nodes", allow_preconfig=True, since="2.0")
async def query_named_block_nodes(vm: VirtualMachine, *, flat: bool | None = None) -> tuple[BlockDeviceInfo, ...]:
    """The nodes of the block graph.

    flat: without what lies behind layers.
    """
    return await vm.block.nodes(bool(flat))


@command("blockdev-add", allow_preconfig=True, since="2.9")
async def blockdev_add(vm: VirtualMachine, **parameters: Any) -> None:
    """Make a node.  driver: file, raw, null-co or blkdebug; node-name: its name; the rest depends on the driver."""
    await vm.block.add(*read_blockdev(parameters, vm.block.new_name))


@command("blockdev-del", allow_preconfig=True, since="2.9")
async def blockdev_del(vm: VirtualMachine, *, node_name: str) -> None:
    """Take a node away.  GenericError while it is in use."""
    await vm.block.delete(node_name)


@command("blockdev-open-tray", allow_preconfig=True, since="2.5")
async def blockdev_open_tray(
    vm: VirtualMachine,
    *,
    device: Annotated[str | None, DEPRECATED] = None,
    id: str | None = None,
    force: bool | None = None,
) -> None:
    """Open the tray of a drive.  Where the guest has locked it, it is asked to let go.

    force: open it though it is locked.
    """
    await vm.block.open_tray(device=device, id=id, force=bool(force))


@command("blockdev-close-tray", allow_preconfig=True, since="2.5")
async def blockdev_close_tray(
    vm: VirtualMachine, *, device: Annotated[str | None, DEPRECATED] = None, id: str | None = None
) -> None:
    """Close the tray of a drive."""
    await vm.block.close_tray(device=device, id=id)


@command("blockdev-remove-medium", allow_preconfig=True, since="2.12")
async def blockdev_remove_medium(vm: VirtualMachine, *, id: str) -> None:
    """Take the medium out of an open tray."""
    await vm.block.remove_medium(id=id)


@command("blockdev-insert-medium", allow_preconfig=True, since="2.12")
async def blockdev_insert_medium(vm: VirtualMachine, *, id: str, node_name: str) -> None:
    """Put a node into an open tray."""
    await vm.block.insert_medium(id, node_name)


@command("blockdev-change-medium", allow_preconfig=True, since="2.5")
async def blockdev_change_medium(
    vm: VirtualMachine,
    *,
    device: Annotated[str | None, DEPRECATED] = None,
    id: str | None = None,
    filename: str,
    format: str | None = None,
    force: bool | None = None,
    read_only_mode: BlockdevChangeReadOnlyMode | None = None,
) -> None:
    """Put a file in the place of a drive's medium: open the tray, change, close."""
    await vm.block.change_medium(
        filename, device=device, id=id, format=format, force=bool(force), read_only=read_only_mode or _MODES.RETAIN
    )


@command("eject", allow_preconfig=True, since="0.14")
async def eject(
    vm: VirtualMachine,
    *,
    device: Annotated[str | None, DEPRECATED] = None,
    id: str | None = None,
    force: bool | None = None,
) -> None:
    """Open the tray of a drive and take the medium out.  GenericError where the guest has locked it.

    force: though it is locked.
    """
    await vm.block.eject(device=device, id=id, force=bool(force))


@command("block_resize", allow_preconfig=True, since="0.14")
async def block_resize(
    vm: VirtualMachine, *, device: str | None = None, node_name: str | None = None, size: Int
) -> None:
    """Give a disk another size in bytes."""
    await vm.block.resize(device, node_name, size)
