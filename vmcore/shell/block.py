"""Disks as a user and management see them, by `vm.block`: what there is, media that are changed, nodes that come and
go.

Everything that the guest could notice is an input of the machine, stamped and replayed like any other.  Errors are
CommandErrors, with the words of QEMU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from vmcore.block.drive import Drive, DriveKind
from vmcore.block.locks import LockedError
from vmcore.block.node import BlockNode, NodeOptions
from vmcore.machine.inputs import MediumInput, NodeInput, ResizeInput, TrayInput
from vmcore.model.block_info import (
    BlockdevCacheInfo,
    BlockdevChangeReadOnlyMode,
    BlockdevDetectZeroesOptions,
    BlockDeviceInfo,
    BlockDeviceStats,
    BlockInfo,
    BlockStats,
    ImageInfo,
)
from vmcore.model.errors import CommandError

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.vm import VirtualMachine

__all__ = ["Block"]

_WRITABLE_FORMATS = ("raw",)


@final
class Block:
    """`vm.block`.  Drives are named by their back end (device) or by their device (id), one of the two."""

    def __init__(self, vm: VirtualMachine) -> None:
        self._vm = vm

    # --- what there is

    async def drives(self) -> tuple[BlockInfo, ...]:
        """The drives and what is in them."""
        async with self._vm.parked() as machine:
            return tuple(_drive_info(drive) for drive in machine.block.drives)

    async def nodes(self, flat: bool = False) -> tuple[BlockDeviceInfo, ...]:
        """The nodes, the latest first.  flat: without what lies behind layers."""
        async with self._vm.parked() as machine:
            return tuple(_node_info(node, flat) for node in reversed(machine.block.nodes.values()))

    async def statistics(self, nodes: bool = False) -> tuple[BlockStats, ...]:
        """Counts of the drives, or of all nodes."""
        async with self._vm.parked() as machine:
            graph, now = machine.block, machine.now_ns
            if nodes:
                return tuple(_node_stats(node) for node in reversed(graph.nodes.values()))
            return tuple(_drive_stats(drive, now) for drive in graph.drives)

    # --- nodes

    def new_name(self) -> str:
        """A name for a node that nobody named."""
        return self._vm.peek().block.new_name()

    async def add(self, *options: NodeOptions) -> None:
        """Make nodes, those below first.  Where one cannot be made, none is."""
        async with self._vm.parked() as machine:
            made: list[str] = []
            try:
                for one in options:
                    if not one.implicit:
                        machine.block.check_name(one.name)
                    machine.apply(NodeInput(one.name, one))
                    made.append(one.name)
            except CommandError:
                for name in reversed(made):
                    if name in machine.block.nodes:
                        machine.apply(NodeInput(name))
                raise

    async def delete(self, name: str) -> None:
        """Take a node away, and those that were made along with it."""
        async with self._vm.parked() as machine:
            graph = machine.block
            if name in graph.nodes and graph.options[name].implicit:
                raise CommandError("GenericError", f"Node {name} is not owned by the monitor")
            machine.apply(NodeInput(name))

    async def resize(self, device: str | None, node_name: str | None, size: int) -> None:
        """Give a disk another size in bytes."""
        async with self._vm.parked() as machine:
            graph = machine.block
            node = next((d.medium for d in graph.drives if device and d.name == device), None)
            if node is None and node_name:
                node = graph.nodes.get(node_name)
            if node is None:
                raise CommandError(
                    "GenericError", f"Cannot find device='{device or ''}' nor node-name='{node_name or ''}'"
                )
            if size < 0:
                raise CommandError("GenericError", "Parameter 'size' expects a >0 size")
            machine.apply(ResizeInput(node.name, size))

    # --- media

    async def open_tray(self, *, device: str | None = None, id: str | None = None, force: bool = False) -> None:
        """Open the tray of a drive.  Where the guest has locked it, it is asked to let go, and that is all."""
        async with self._vm.parked() as machine:
            graph = machine.block
            machine.apply(TrayInput(graph.drives.index(graph.drive(device, id)), open=True, force=force))

    async def close_tray(self, *, device: str | None = None, id: str | None = None) -> None:
        """Close the tray of a drive."""
        async with self._vm.parked() as machine:
            graph = machine.block
            machine.apply(TrayInput(graph.drives.index(graph.drive(device, id)), open=False))

    async def remove_medium(self, *, device: str | None = None, id: str | None = None) -> None:
        """Take the medium out of an open tray.  Nothing happens if there is none."""
        async with self._vm.parked() as machine:
            graph = machine.block
            self._remove(machine, graph.drive(device, id))

    async def insert_medium(self, id: str, node_name: str) -> None:
        """Put a node into an open tray."""
        async with self._vm.parked() as machine:
            graph = machine.block
            drive = graph.drive(None, id)
            node = graph.nodes.get(node_name)
            if node is None:
                raise CommandError("GenericError", f"Node '{node_name}' not found")
            if any(isinstance(user, Drive) for user in node.users):
                raise CommandError("GenericError", f"Node '{node_name}' is already in use")
            machine.apply(MediumInput(graph.drives.index(drive), node_name))

    async def eject(self, *, device: str | None = None, id: str | None = None, force: bool = False) -> None:
        """Open the tray and take the medium out."""
        async with self._vm.parked() as machine:
            graph = machine.block
            drive = graph.drive(device, id)
            self._open(machine, drive, force)
            self._remove(machine, drive)

    async def change_medium(
        self,
        filename: str,
        *,
        device: str | None = None,
        id: str | None = None,
        format: str | None = None,
        force: bool = False,
        read_only: BlockdevChangeReadOnlyMode = BlockdevChangeReadOnlyMode.RETAIN,
    ) -> None:
        """Put a file in the place of the medium: open the tray, take out, put in, close."""
        async with self._vm.parked() as machine:
            graph = machine.block
            drive = graph.drive(device, id)
            if format is not None and format not in _WRITABLE_FORMATS:
                raise CommandError("GenericError", f"Unknown driver '{format}'")
            retained = drive.kind is DriveKind.CDROM if drive.medium is None else drive.read_only
            sealed = {"read-only": True, "read-write": False}.get(read_only.value, retained)
            file, raw = graph.new_name(), graph.new_name()
            nodes = [
                NodeOptions(driver="file", name=file, filename=filename, read_only=sealed, implicit=True),
                NodeOptions(driver="raw", name=raw, child=file, read_only=sealed, implicit=True),
            ]
            try:
                for options in nodes:
                    machine.apply(NodeInput(options.name, options))
            except CommandError as error:
                if isinstance(error.__cause__, LockedError):
                    drive.check_removable()
                raise
            try:
                self._open(machine, drive, force)
                self._remove(machine, drive)
            except CommandError:
                machine.apply(NodeInput(raw))
                raise
            number = graph.drives.index(drive)
            machine.apply(MediumInput(number, raw))
            machine.apply(TrayInput(number, open=False))

    @staticmethod
    def _open(machine: Machine, drive: Drive, force: bool) -> None:
        machine.apply(TrayInput(machine.block.drives.index(drive), open=True, force=force))
        if drive.has_tray and not drive.tray_open:
            raise CommandError(
                "GenericError",
                f"Device '{drive.qdev if not drive.name else drive.name}' is locked and force was not specified, "
                "wait for tray to open and try again",
            )

    @staticmethod
    def _remove(machine: Machine, drive: Drive) -> None:
        machine.apply(MediumInput(machine.block.drives.index(drive), None))


# --- answers ---------------------------------------------------------------------------------------------------------


def _drive_info(drive: Drive) -> BlockInfo:
    return BlockInfo(
        device=drive.name,
        qdev=drive.qdev,
        type="unknown",
        removable=drive.removable,
        locked=drive.locked,
        inserted=None if drive.medium is None else _node_info(drive.medium),
        tray_open=drive.tray_open if drive.has_tray else None,
        io_status=drive.io_status if drive.reports_status else None,
    )


def _backing(node: BlockNode) -> BlockNode | None:
    return node.children.get("backing")


def _depth(node: BlockNode) -> int:
    backing = _backing(node)
    return 0 if backing is None else 1 + _depth(backing)


def _image(node: BlockNode, flat: bool) -> ImageInfo:
    backing = _backing(node)
    return ImageInfo(
        filename=node.filename,
        format=node.driver,
        dirty_flag=False if node.driver in ("raw", "file") else None,
        actual_size=node.allocated,
        virtual_size=node.size,
        backing_filename=None if backing is None else backing.filename,
        full_backing_filename=None if backing is None else backing.filename,
        backing_filename_format=None if backing is None else backing.driver,
        backing_image=None if backing is None or flat else _image(backing, flat),
    )


def _node_info(node: BlockNode, flat: bool = False) -> BlockDeviceInfo:
    backing = _backing(node)
    return BlockDeviceInfo(
        file=node.filename,
        node_name=node.name,
        ro=node.read_only,
        drv=node.driver,
        backing_file=None if backing is None else backing.filename,
        backing_file_depth=_depth(node),
        encrypted=False,
        detect_zeroes=BlockdevDetectZeroesOptions.OFF,
        bps=0,
        bps_rd=0,
        bps_wr=0,
        iops=0,
        iops_rd=0,
        iops_wr=0,
        image=_image(node, flat),
        cache=BlockdevCacheInfo(writeback=True, direct=False, no_flush=False),
        write_threshold=0,
    )


def _node_stats(node: BlockNode) -> BlockStats:
    below = {
        "parent": next((child for role, child in node.children.items() if role != "backing"), None),
        "backing": _backing(node),
    }
    return BlockStats(
        node_name=node.name,
        stats=BlockDeviceStats(
            wr_highest_offset=node.statistics.highest_offset, account_invalid=False, account_failed=False
        ),
        parent=None if below["parent"] is None else _node_stats(below["parent"]),
        backing=None if below["backing"] is None else _node_stats(below["backing"]),
    )


def _drive_stats(drive: Drive, now: int) -> BlockStats:
    counts, medium = drive.statistics, drive.medium
    below = None if medium is None else _node_stats(medium)
    return BlockStats(
        device=drive.name,
        qdev=drive.qdev,
        node_name=None if medium is None else medium.name,
        stats=BlockDeviceStats(
            rd_bytes=counts.read.bytes,
            wr_bytes=counts.write.bytes,
            rd_operations=counts.read.operations,
            wr_operations=counts.write.operations,
            flush_operations=counts.flush.operations,
            rd_total_time_ns=counts.read.time_ns,
            wr_total_time_ns=counts.write.time_ns,
            flush_total_time_ns=counts.flush.time_ns,
            wr_highest_offset=0 if medium is None else medium.statistics.highest_offset,
            idle_time_ns=None if counts.last_ns is None else now - counts.last_ns,
            failed_rd_operations=counts.read.failed,
            failed_wr_operations=counts.write.failed,
            failed_flush_operations=counts.flush.failed,
            invalid_rd_operations=counts.read.invalid,
            invalid_wr_operations=counts.write.invalid,
            account_invalid=True,
            account_failed=True,
        ),
        parent=None if below is None else below.parent,
        backing=None if below is None else below.backing,
    )
