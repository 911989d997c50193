"""From the disks of a configuration to nodes and drives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import field, frozen

from vmcore.block.drive import Drive, DriveKind
from vmcore.block.graph import BlockGraph
from vmcore.block.node import BlockNode, NodeOptions
from vmcore.hardware.emit import Emit
from vmcore.machine.disk_config import Disk, DiskInterface, place_disks
from vmcore.machine.inputs import MediumInput, NodeInput, ResizeInput, TrayInput
from vmcore.model.block import BlockdevOnError
from vmcore.model.errors import CommandError, ConfigError

__all__ = ["Drives", "apply_to_disks", "build_disks"]

_AUTO: Final = BlockdevOnError.AUTO


@frozen
class Drives:
    """What is plugged in where: adapter: into the board's adapter; floppies: on the floppy controller's cable."""

    adapter: dict[int, Drive] = field(factory=dict)
    floppies: dict[int, Drive] = field(factory=dict)


def build_disks(
    disks: tuple[Disk, ...],
    board: str,
    graph: BlockGraph,
    emit: Emit,
    now: Callable[[], int],
    stop: Callable[[], None],
) -> Drives:
    """Open the images and make the drives.  ConfigError for a file that cannot be used."""
    places = Drives()
    for number, disk in enumerate(place_disks(disks, board)):
        try:
            medium = None if disk.path is None else _medium(disk, graph)
        except CommandError as error:
            expected = f"an image that can be used ({error})"
            raise ConfigError(f"disks[{number}].path", str(disk.path), expected) from error
        if medium is not None and not medium.size and not disk.is_cdrom:
            raise ConfigError(f"disks[{number}].path", str(disk.path), "an image that is not empty")
        assert disk.id is not None
        assert disk.index is not None
        drive = Drive(
            disk.id,
            _kind(disk),
            medium,
            read_error=BlockdevOnError.REPORT if disk.read_error is _AUTO else disk.read_error,
            write_error=BlockdevOnError.ENOSPC if disk.write_error is _AUTO else disk.write_error,
            serial=disk.serial,
            boot_index=disk.boot_index,
            emit=emit,
            now=now,
            stop=stop,
        )
        graph.add_drive(drive)
        if disk.interface is DiskInterface.IDE:
            places.adapter[disk.index] = drive
        elif disk.is_floppy:
            places.floppies[disk.index] = drive
    return places


def _kind(disk: Disk) -> DriveKind:
    if disk.is_floppy:
        return DriveKind.FLOPPY
    return DriveKind.CDROM if disk.is_cdrom else DriveKind.DISK


def apply_to_disks(graph: BlockGraph, what: TrayInput | MediumInput | NodeInput | ResizeInput) -> None:
    """Do what a user does with a disk.  CommandError where that cannot be."""
    match what:
        case TrayInput(number, open, force):
            if open:
                graph.drives[number].open_tray(force)
            else:
                graph.drives[number].close_tray()
        case MediumInput(number, None):
            drive = graph.drives[number]
            before = drive.medium
            drive.remove()
            if before is not None:
                graph.release(before)
        case MediumInput(number, str(name)):
            graph.drives[number].insert(graph.find(name))
        case NodeInput(name, None):
            graph.delete(name)
        case NodeInput(_, NodeOptions() as options):
            graph.add(options)
        case ResizeInput(name, size):
            graph.resize(name, size)


def _medium(disk: Disk, graph: BlockGraph) -> BlockNode:
    """The nodes of a disk: its file or bytes, `raw` over a file, then faults, then the layer that takes the writes."""
    base_read_only = disk.read_only or disk.is_cdrom or not disk.write_through
    name = graph.new_name()
    if isinstance(disk.path, Path):
        graph.add(
            NodeOptions(driver="file", name=name, filename=str(disk.path), read_only=base_read_only, implicit=True)
        )
        name = _above(graph, "raw", name, base_read_only)
    else:
        assert disk.path is not None
        graph.add(NodeOptions(driver="memory", name=name, content=disk.path, read_only=True, implicit=True))
    if not disk.read_only and not disk.is_cdrom and not disk.write_through:
        name = _above(graph, "overlay", name, False)
    if disk.faults:
        read_only = graph.nodes[name].read_only
        upper = graph.new_name()
        graph.add(
            NodeOptions(
                driver="blkdebug",
                name=upper,
                child=name,
                faults=disk.faults,
                seed=disk.seed,
                read_only=read_only,
                implicit=True,
            )
        )
        name = upper
    return graph.nodes[name]


def _above(graph: BlockGraph, driver: str, child: str, read_only: bool) -> str:
    name = graph.new_name()
    graph.add(NodeOptions(driver=driver, name=name, child=child, read_only=read_only, implicit=True))
    return name
