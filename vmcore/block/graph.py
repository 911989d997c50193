"""The block graph of a machine: its nodes by name, and its drives."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Final, final

from attrs import evolve, frozen

from vmcore.block.drive import Drive, DriveState
from vmcore.block.filters import DebugNode, OverlayNode, RawNode
from vmcore.block.locks import LockedError
from vmcore.block.node import BlockNode, FileMark, NodeOptions, NodeState
from vmcore.block.protocols import FileNode, MemoryNode, NullNode
from vmcore.model.errors import CommandError, UsageError

__all__ = ["DRIVERS", "BlockGraph", "GraphState", "implicit"]

DRIVERS: Final = ("file", "raw", "null-co", "blkdebug", "memory", "overlay")
"""Every driver that a node can have."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*\Z")
LONGEST_NAME: Final = 31


@frozen
class GraphState:
    """State of the nodes and drives.

    nodes: options and state of each node; drives: state of each drive, in order; named: nodes that were given a name
    by the graph itself so far.
    """

    nodes: tuple[tuple[NodeOptions, NodeState], ...]
    drives: tuple[DriveState, ...]
    named: int


@final
class BlockGraph:
    """Nodes and drives.  Errors of those who ask are CommandErrors with QEMU's words."""

    def __init__(self, *, active: bool = True) -> None:
        self.active = active
        """Whether files are open for use, and locked; see `activate`."""
        self.nodes: dict[str, BlockNode] = {}
        """Every node by its name, in the order in which they were made."""
        self.options: dict[str, NodeOptions] = {}
        self.drives: list[Drive] = []
        self._named = 0

    # --- nodes

    def new_name(self) -> str:
        """A name for a node that nobody named."""
        self._named += 1
        return f"#block{self._named:03d}"

    def add(self, options: NodeOptions) -> BlockNode:
        """Make a node."""
        if options.name in self.nodes:
            raise CommandError("GenericError", f"Duplicate nodes with node-name='{options.name}'")
        node = self._make(options)
        self.nodes[options.name] = node
        self.options[options.name] = options
        return node

    def check_name(self, name: str) -> None:
        """Whether a user may give a node this name."""
        if not _NAME.match(name):
            raise CommandError("GenericError", f"Invalid node-name: '{name}'")
        if len(name) > LONGEST_NAME:
            raise CommandError("GenericError", "Node name too long")
        if name in self.nodes:
            raise CommandError("GenericError", f"Duplicate nodes with node-name='{name}'")
        if any(drive.name == name for drive in self.drives):
            raise CommandError("GenericError", f"node-name={name} is conflicting with a device id")

    def _make(self, options: NodeOptions) -> BlockNode:
        name, read_only = options.name, options.read_only
        match options.driver:
            case "file":
                return self._open(options)
            case "null-co":
                return NullNode(name, options.size, read_only=read_only)
            case "memory":
                return MemoryNode(name, options.content)
            case "raw":
                child = self._child(options)
                return RawNode(name, child, offset=options.offset, size=options.size, read_only=read_only)
            case "blkdebug":
                return DebugNode(
                    name,
                    self._child(options),
                    faults=options.faults,
                    states=options.states,
                    seed=options.seed,
                    read_only=read_only,
                )
            case "overlay":
                return OverlayNode(name, self._child(options, writes=False))
        raise CommandError("GenericError", f"Unknown driver '{options.driver}'")

    def _open(self, options: NodeOptions) -> FileNode:
        path = options.filename
        try:
            return FileNode(
                options.name,
                path,
                read_only=options.read_only,
                locking=options.locking != "off",
                active=self.active,
            )
        except LockedError as error:
            raise CommandError("GenericError", str(error)) from error
        except OSError as error:
            raise CommandError("GenericError", f"Could not open '{path}': {os.strerror(error.errno or 0)}") from error

    def _child(self, options: NodeOptions, *, writes: bool = True) -> BlockNode:
        name = options.child or ""
        child = self.nodes.get(name)
        if child is None:
            raise CommandError("GenericError", f"Cannot find device='{name}' nor node-name='{name}'")
        if writes and not options.read_only and child.read_only:
            raise CommandError("GenericError", "Block node is read-only")
        if writes and not options.read_only and any(_may_write(user) for user in child.users):
            raise CommandError(
                "GenericError",
                f"Conflicts with use by {_user(child.users[0])} as 'root', which does not allow 'write' on {name}",
            )
        return child

    def find(self, name: str) -> BlockNode:
        """The node of this name.  CommandError if there is none."""
        if name not in self.nodes:
            raise CommandError("GenericError", f"Cannot find device='' nor node-name='{name}'")
        return self.nodes[name]

    def delete(self, name: str) -> None:
        """Take a node away, and those that were made along with it.  CommandError while it is in use."""
        node = self.nodes.get(name)
        if node is None:
            raise CommandError("GenericError", f"Failed to find node with node-name='{name}'")
        if any(isinstance(user, Drive) for user in node.users):
            raise CommandError("GenericError", f"Node {name} is in use")
        if node.users:
            raise CommandError("GenericError", f"Block device {name} is in use")
        self._drop(node)

    def _drop(self, node: BlockNode) -> None:
        del self.nodes[node.name]
        del self.options[node.name]
        node.close()
        for child in node.children.values():
            child.users.remove(node)
            if self.options[child.name].implicit and not child.users:
                self._drop(child)

    def release(self, node: BlockNode) -> None:
        """A medium is out of its drive: it goes if it was made for that."""
        if not node.users and self.options[node.name].implicit:
            self._drop(node)

    def below(self, node: BlockNode) -> Iterator[BlockNode]:
        """A node and all below it."""
        yield node
        for child in node.children.values():
            yield from self.below(child)

    def resize(self, name: str, size: int) -> None:
        """Give a node another size in bytes, and tell the controllers whose disks it is in."""
        node = self.find(name)
        if node.read_only:
            raise CommandError("GenericError", f"Node '{name}' is read-only")
        if not node.can_resize:
            raise CommandError("GenericError", f"Image format driver '{node.driver}' does not support resize")
        try:
            node.resize(size)
        except OSError as error:
            raise CommandError("GenericError", f"Failed to resize file: {os.strerror(error.errno or 0)}") from error
        for drive in self.drives:
            if drive.medium is not None and node in self.below(drive.medium):
                drive.controller.resized()

    # --- drives

    def add_drive(self, drive: Drive) -> None:
        """Make a drive known."""
        self.drives.append(drive)

    def drive(self, device: str | None, id: str | None) -> Drive:
        """The drive by the name of its back end or of its device.  CommandError if there is none."""
        if (device is None) is (id is None):
            raise CommandError("GenericError", "Need exactly one of 'device' and 'id'")
        for drive in self.drives:
            if (device is not None and device and drive.name == device) or (id is not None and drive.qdev == id):
                return drive
        raise CommandError("DeviceNotFound", f"Device '{device if device is not None else id}' not found")

    def resume(self) -> None:
        """The guest goes on: drives try again what they held."""
        for drive in self.drives:
            drive.resume()

    @property
    def holds(self) -> bool:
        """Whether a drive has stopped the machine, or still says that one did."""
        return any(drive.held or drive.io_status != "ok" for drive in self.drives)

    # --- state

    def save(self) -> GraphState:
        """The state as a value.  What was written to files is not part of it."""
        return GraphState(
            tuple((self.options[name], node.save()) for name, node in self.nodes.items()),
            tuple(drive.save() for drive in self.drives),
            self._named,
        )

    def restore(self, state: GraphState) -> None:
        """Take a saved state.  UsageError where a node is missing: media that were changed are to be changed back."""
        wanted = {drive.medium for drive in state.drives if drive.medium is not None}
        saved = {options.name: (options, node) for options, node in state.nodes}
        for name, (options, _) in saved.items():
            if self.options.get(name) != options and (not options.implicit or name in wanted):
                what = f"{options.driver} {options.filename}".strip()
                raise UsageError(f"the snapshot's disk node {name!r} ({what}) is not in this machine: add it first")
        for name, (options, node_state) in saved.items():
            if self.options.get(name) == options:
                self.nodes[name].restore(node_state)
        for drive, drive_state in zip(self.drives, state.drives, strict=True):
            medium = drive_state.medium
            before = drive.medium
            drive.restore(drive_state, None if medium is None else self.nodes[medium])
            if before is not None and before is not drive.medium and before.name not in saved:
                self.release(before)
        self._named = max(state.named, self._named)

    def marks(self) -> dict[str, FileMark]:
        """What the files of the host are at the moment, by the names of their nodes."""
        return {name: node.mark() for name, node in self.nodes.items() if isinstance(node, FileNode)}

    def check_marks(self, marks: Mapping[str, FileMark]) -> None:
        """UsageError if a file was written since these marks were made: the guest's disk is not what it was then."""
        for name, mark in marks.items():
            node = self.nodes.get(name)
            if isinstance(node, FileNode) and node.mark() != mark:
                raise UsageError(
                    f"{node.filename} was written since the snapshot was taken: a disk whose writes go to its file "
                    "cannot be taken back; give the disk write_through=False"
                )

    def activate(self, active: bool = True) -> None:
        """Take all files with their locks, for a guest that is about to run here; or let go of them, for one that has
        gone elsewhere.  CommandError where somebody else has one; then nothing has changed.
        """
        if active is self.active:
            return
        done: list[FileNode] = []
        try:
            for node in self.nodes.values():
                if isinstance(node, FileNode):
                    node.activate(active)
                    done.append(node)
        except OSError as error:
            for node in done:
                node.activate(not active)
            text = str(error) if isinstance(error, LockedError) else os.strerror(error.errno or 0)
            raise CommandError("GenericError", text) from error
        self.active = active

    def close(self) -> None:
        """Close all files."""
        for node in self.nodes.values():
            node.close()


def _may_write(user: object) -> bool:
    if isinstance(user, BlockNode):
        return not user.read_only and not isinstance(user, OverlayNode)
    return isinstance(user, Drive) and user.kind != "cdrom"


def _user(user: object) -> str:
    if isinstance(user, Drive):
        return f"block device '{user.name}'" if user.name else "another block device"
    assert isinstance(user, BlockNode)
    return f"node '{user.name}'"


def implicit(options: NodeOptions) -> NodeOptions:
    """The same, to go with what it is made for."""
    return evolve(options, implicit=True)
