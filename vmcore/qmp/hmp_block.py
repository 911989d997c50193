"""The human monitor's words about disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmcore.block.drive import Drive
from vmcore.block.node import BlockNode
from vmcore.qmp.hmp_expression import LineError, Scanner

if TYPE_CHECKING:
    from vmcore.machine.machine import Machine
    from vmcore.qmp.hmp import HumanMonitor
    from vmcore.vm import VirtualMachine

__all__ = ["change", "eject", "resize", "show_block", "show_statistics"]


def show_block(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """`info block`: drives, or nodes (-n), with what is known of their images (-v)."""
    nodes, verbose = scan.flag("-n"), scan.flag("-v")
    wanted = scan.word("info block: string expected") if scan.more else None
    graph = machine.block
    if nodes:
        shown = [
            f"{node.name}: {_content(node)}\n    Cache mode:       writeback\n" + (_image(node) if verbose else "")
            for node in reversed(graph.nodes.values())
            if wanted in (None, node.name)
        ]
    else:
        shown = [_drive(drive, verbose) for drive in graph.drives if wanted in (None, drive.name)]
    return "\n".join(shown)


def _content(node: BlockNode) -> str:
    return f"{node.filename} ({node.driver}{', read-only' if node.read_only else ''})"


def _drive(drive: Drive, verbose: bool) -> str:
    medium = drive.medium
    name = drive.name or drive.qdev or ""
    if medium is None:
        text = f"{name}: [not inserted]\n"
    else:
        text = f"{drive.name}{' ' if drive.name else ''}({medium.name}): {_content(medium)}\n"
    if drive.qdev is not None:
        text += f"    Attached to:      {drive.qdev}\n"
    if drive.removable:
        locked, tray = "" if drive.locked else "not ", "open" if drive.tray_open else "closed"
        text += f"    Removable device: {locked}locked, tray {tray}\n"
    if drive.reports_status and drive.io_status != "ok":
        text += f"    I/O status:       {drive.io_status.value}\n"
    if medium is None:
        return text
    backing = medium.children.get("backing")
    if backing is not None:
        text += f"    Backing file:     {backing.filename} (chain depth: 1)\n"
    return text + "    Cache mode:       writeback\n" + (_image(medium) if verbose else "")


def _image(node: BlockNode) -> str:
    size = f"{node.size} bytes"
    text = f"\nImages:\nimage: {node.filename}\nfile format: {node.driver}\nvirtual size: {size}\n"
    allocated = node.allocated
    return text + (f"disk size: {allocated} bytes\n" if allocated is not None else "")


def show_statistics(vm: VirtualMachine, machine: Machine, index: int, scan: Scanner) -> str:
    """`info blockstats`."""
    lines = []
    for drive in machine.block.drives:
        counts = drive.statistics
        idle = 0 if counts.last_ns is None else machine.now_ns - counts.last_ns
        lines.append(
            f"{drive.name}: rd_bytes={counts.read.bytes} wr_bytes={counts.write.bytes} "
            f"rd_operations={counts.read.operations} wr_operations={counts.write.operations} "
            f"flush_operations={counts.flush.operations} wr_total_time_ns={counts.write.time_ns} "
            f"rd_total_time_ns={counts.read.time_ns} flush_total_time_ns={counts.flush.time_ns} "
            f"rd_merged=0 wr_merged=0 idle_time_ns={idle}\n"
        )
    return "".join(lines)


async def eject(monitor: HumanMonitor, text: str) -> str:
    """`eject [-f] device`."""
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        force = scan.flag("-f")
        device = scan.word("eject: block device name expected")
        _end(scan, "eject")
    await monitor.vm.block.eject(device=device, force=force)
    return ""


async def change(monitor: HumanMonitor, text: str) -> str:
    """`change device [-f] filename [format]`."""
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        device = scan.word("change: block device name expected")
        force = scan.flag("-f")
        filename = scan.word("change: filename expected")
        format = scan.word("change: string expected") if scan.more else None
        _end(scan, "change")
    await monitor.vm.block.change_medium(filename, device=device, format=format, force=force)
    return ""


async def resize(monitor: HumanMonitor, text: str) -> str:
    """`block_resize device size`; a size without a unit is in MiB."""
    async with monitor.vm.parked() as machine:
        scan = monitor.scanner(machine, text)
        device = scan.word("block_resize: block device name expected")
        size = scan.word("block_resize: invalid size")
        _end(scan, "block_resize")
    units = {"b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
    number, unit = (size[:-1], size[-1].lower()) if size[-1].lower() in units else (size, "m")
    if not number.isdecimal():
        raise LineError("block_resize: invalid size")
    await monitor.vm.block.resize(device, None, int(number) << units[unit])
    return ""


def _end(scan: Scanner, name: str) -> None:
    if scan.more:
        raise LineError(f"{name}: extraneous characters at the end of line")
