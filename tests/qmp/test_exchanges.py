"""Every recorded exchange, played to vmcore's server, and to a QEMU where one is installed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from exchange_kit import CODE, DIRECTORY, Exchange, load, mismatches, play
from qmp_oracle import needs_qemu
from record_exchanges import NEEDS_NEW_QEMU, running_qemu

from vmcore import FlatImage, VirtualMachine
from vmcore.block.node import NodeOptions
from vmcore.qmp.commands import load as load_commands
from vmcore.qmp.registry import COMMANDS

FILES = sorted(DIRECTORY.glob("*.json"))
EXCHANGES = {f"{path.stem}: {e.name}": e for path in FILES for e in load(path)}
DISK = re.compile(r"driver=qcow2,node-name=(\w+),.*")
LISTS = {"-device": "devices", "-object": "memory_backends", "-numa": "numa"}
OPTIONS: dict[str, tuple[str, Any]] = {
    "-cpu": ("cpu", str),
    "-preconfig": ("preconfig", True),
    "-no-reboot": ("no_reboot", True),
    "-no-shutdown": ("no_shutdown", True),
    "-name": ("name", str),
    "-incoming": ("incoming", str),
}

load_commands()


def _missing(exchange: Exchange) -> set[str]:
    """Commands that QEMU has and vmcore has not yet: they are unknown to it, whatever their arguments."""
    out = set()
    for step in exchange.steps:
        try:
            request = json.loads(step.send)
        except (ValueError, RecursionError):
            continue
        name = request.get("execute") if isinstance(request, dict) else None
        if not isinstance(name, str) or not name.isascii() or name in (*COMMANDS, "nosuch"):
            continue
        if "CommandNotFound" not in str(step.replies):
            out.add(name)
    return out


def _config(options: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    rest = iter(options)
    for option in rest:
        if option in LISTS:
            out[LISTS[option]] = (*out.get(LISTS[option], ()), next(rest))
        elif option == "-machine":
            assert next(rest) == "hmat=on"
            out["hmat"] = True
        elif option == "-blockdev":
            next(rest)  # see `_disks`
        elif option == "-m":
            size, *more = next(rest).split(",")
            out["memory"] = f"{size}M"
            for name, _, value in (pair.partition("=") for pair in more):
                out |= {"memory_slots": int(value)} if name == "slots" else {"max_memory": value}
        elif option == "-smp":
            pairs = (pair.rpartition("=") for pair in next(rest).split(","))
            out |= {name or "cpus": int(value) for name, _, value in pairs}
        else:
            name, value = OPTIONS[option]
            out[name] = value(next(rest)) if callable(value) else value
    return out


def _disks(options: list[str]) -> list[NodeOptions]:
    """Nodes of vmcore's that can do what QEMU's images with snapshots in them can."""
    out = []
    for option in options:
        if match := DISK.fullmatch(option):
            out.append(NodeOptions(driver="memory", name=f"{match[1]}-base", content=bytes(1 << 20), read_only=True))
            out.append(NodeOptions(driver="overlay", name=match[1], child=f"{match[1]}-base"))
    return out


async def ours(path: Path, exchange: Exchange, counts: list[int]) -> list[list[Any]]:
    """Play an exchange to vmcore."""
    guest = FlatImage(CODE[exchange.guest])
    async with (
        VirtualMachine(flat=guest, **({"memory": "1M", "vga": "none"} | _config(exchange.options))) as vm,
        trio.open_nursery() as nursery,
    ):
        if disks := _disks(exchange.options):
            await vm.block.add(*disks)
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        seen = await trio.to_thread.run_sync(play, str(path), exchange, counts)
        nursery.cancel_scope.cancel()
    return seen


@pytest.mark.parametrize("name", EXCHANGES)
async def test_the_exchange_goes_as_recorded(name: str, tmp_path: Path) -> None:
    exchange = EXCHANGES[name]
    if missing := _missing(exchange):
        pytest.skip(f"no {', '.join(sorted(missing))} yet")
    expected = [step.expected for step in exchange.steps]
    seen = await ours(tmp_path / "qmp", exchange, [len(replies) for replies in expected])
    assert "\n".join(mismatches(exchange, expected, seen)) == ""


def test_every_difference_from_qemu_has_its_reason() -> None:
    for name, exchange in EXCHANGES.items():
        for step in exchange.steps:
            assert (step.ours is None) == (step.because == ""), name
            assert step.ours != step.replies, f"{name}: that is no difference"


def test_there_are_enough_exchanges() -> None:
    assert len(EXCHANGES) >= 150


LIVE_SHARE = 8
"""Of the exchanges that need a QEMU of their own only every so manieth is compared here, as each takes almost a second;
`record_exchanges.py` does all, and a difference shows in the data files.
"""


def _live(path: Path) -> Iterator[tuple[Exchange, list[list[Any]]]]:
    exchanges = load(path)
    if path.stem in NEEDS_NEW_QEMU:
        # QEMU ends at once when the guest leaves through isa-debug-exit, now with and now without the last reply.
        for exchange in [e for e in exchanges if e.guest != "debug-exit"][::LIVE_SHARE]:
            with running_qemu(exchange) as monitor:
                yield exchange, play(monitor, exchange, [len(step.replies) for step in exchange.steps])
    else:
        with running_qemu(exchanges[0]) as monitor:
            for exchange in exchanges:
                yield exchange, play(monitor, exchange, [len(step.replies) for step in exchange.steps])


@needs_qemu
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_qemu_still_says_what_was_recorded(file: Path) -> None:
    differences = []
    for exchange, seen in _live(file):
        differences += mismatches(exchange, [step.replies for step in exchange.steps], seen)
    assert "\n".join(differences) == ""
