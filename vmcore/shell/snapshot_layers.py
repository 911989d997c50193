"""Which disks a named snapshot has: the layers in memory that take a guest's writes.

A snapshot has a name in each layer that it is of, as QEMU's have in each image.  Who names a node means the layer
that is in it: the node itself, or the one that all its requests pass on to.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import evolve

from vmcore.block.filters import OverlayNode
from vmcore.block.graph import BlockGraph, GraphState
from vmcore.block.node import BlockNode
from vmcore.boards.board import BLOCK
from vmcore.machine.snapshot import Snapshot
from vmcore.model.errors import CommandError

__all__ = ["all_layers", "layers", "of_layers"]


def _layer(node: BlockNode) -> OverlayNode | None:
    while not isinstance(node, OverlayNode):
        if node.read_only or len(node.children) != 1:
            return None
        (node,) = node.children.values()
    return node


def all_layers(graph: BlockGraph) -> frozenset[str]:
    """The names of all layers."""
    return frozenset(name for name, node in graph.nodes.items() if isinstance(node, OverlayNode))


def layers(graph: BlockGraph, devices: Sequence[str]) -> dict[str, str]:
    """The layers in these nodes, by the names of the nodes.  CommandError, in QEMU's words, where that cannot be."""
    if not devices:
        raise CommandError("GenericError", "At least one device is required for snapshot")
    for name in devices:
        if name not in graph.nodes:
            raise CommandError("GenericError", f"No block device node '{name}'")
    found = {}
    for name in devices:
        layer = _layer(graph.nodes[name]) if graph.active else None
        if layer is None:
            # QEMU says so of nodes that are only read, too.
            raise CommandError("GenericError", f"Device '{name}' is writable but does not support snapshots")
        found[name] = layer.name
    return found


def of_layers(snapshot: Snapshot, graph: BlockGraph, names: Collection[str]) -> Snapshot:
    """The snapshot, but with all disks as they are now that are not behind these layers."""
    state: GraphState = snapshot.devices[BLOCK]
    now = {options.name: (options, node) for options, node in graph.save().nodes}
    nodes = tuple(
        now[options.name]
        if options.driver == "overlay" and options.name not in names and options.name in now
        else (options, node)
        for options, node in state.nodes
    )
    below = {node.name for name in names if name in graph.nodes for node in graph.below(graph.nodes[name])}
    return evolve(
        snapshot,
        devices={**snapshot.devices, BLOCK: evolve(state, nodes=nodes)},
        files={name: mark for name, mark in snapshot.files.items() if name in below},
    )
