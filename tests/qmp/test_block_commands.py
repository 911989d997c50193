"""Commands about disks: one script, played to vmcore, and to a QEMU where one is installed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from exchange import connected, execute, refusal
from exchange_kit import Player
from qmp_oracle import PROGRAM, needs_qemu

from vmcore import FlatImage, VirtualMachine
from vmcore.machine.disk_config import Disk

SPIN = FlatImage(bytes.fromhex("eb fe"))

Step = tuple[str, dict[str, Any], list[Any]]


def opened(open: bool) -> dict[str, Any]:
    return {"DEVICE_TRAY_MOVED": {"device": "cd0", "id": "DEVICE", "tray-open": open}}


def refused(desc: str, kind: str = "GenericError") -> dict[str, str]:
    return {"class": kind, "desc": desc}


def node(filename: str, name: str | None, *, size: int, format: str = "raw", ro: bool = True) -> dict[str, Any]:
    """What there is to say of a node, as far as it does not depend on the host."""
    return {"file": filename, "node-name": name, "drv": format, "ro": ro, "virtual-size": size}


SCRIPT: list[Step] = [
    ("eject", {"device": "hd0"}, [refused("Device 'hd0' is not removable")]),
    ("eject", {"device": "nosuch"}, [refused("Device 'nosuch' not found", "DeviceNotFound")]),
    ("eject", {"id": "nosuch"}, [refused("Device 'nosuch' not found", "DeviceNotFound")]),
    ("eject", {}, [refused("Need exactly one of 'device' and 'id'")]),
    ("eject", {"device": "cd0", "id": "x"}, [refused("Need exactly one of 'device' and 'id'")]),
    ("blockdev-remove-medium", {"id": "DEVICE"}, [refused("Tray of device 'DEVICE' is not open")]),
    ("blockdev-open-tray", {"device": "cd0"}, [opened(True), {}]),
    ("blockdev-open-tray", {"device": "cd0"}, [{}]),
    ("blockdev-open-tray", {"device": "hd0"}, [refused("Device 'hd0' is not removable")]),
    ("blockdev-close-tray", {"id": "DEVICE"}, [opened(False), {}]),
    ("blockdev-close-tray", {"device": "cd0"}, [{}]),
    ("blockdev-add", {"driver": "file", "node-name": "f", "filename": "two", "read-only": True}, [{}]),
    ("blockdev-insert-medium", {"id": "DEVICE", "node-name": "f"}, [refused("Tray of the device is not open")]),
    ("eject", {"device": "cd0"}, [opened(True), {}]),
    ("query-block", {}, [[{"removable": False}, {"removable": True, "tray_open": True, "locked": False}]]),
    ("blockdev-remove-medium", {"id": "DEVICE"}, [{}]),
    ("blockdev-insert-medium", {"id": "DEVICE", "node-name": "nof"}, [refused("Node 'nof' not found")]),
    ("blockdev-insert-medium", {"id": "DEVICE", "node-name": "f"}, [{}]),
    ("blockdev-insert-medium", {"id": "DEVICE", "node-name": "f"}, [refused("Node 'f' is already in use")]),
    ("blockdev-close-tray", {"id": "DEVICE"}, [opened(False), {}]),
    (
        "query-block",
        {},
        [
            [
                {"removable": False},
                {
                    "removable": True,
                    "tray_open": False,
                    "locked": False,
                    "inserted": node("two", "f", size=102_400, format="file"),
                },
            ]
        ],
    ),
    ("blockdev-del", {"node-name": "f"}, [refused("Node f is in use")]),
    ("blockdev-change-medium", {"device": "cd0", "filename": "one"}, [opened(True), opened(False), {}]),
    (
        "query-block",
        {},
        [
            [
                {"removable": False},
                {"removable": True, "tray_open": False, "locked": False, "inserted": node("one", None, size=204_800)},
            ]
        ],
    ),
    (
        "blockdev-change-medium",
        {"device": "cd0", "filename": "/nowhere"},
        [refused("Could not open '/nowhere': No such file or directory")],
    ),
    ("blockdev-change-medium", {"device": "hd0", "filename": "one"}, [refused("Device 'hd0' is not removable")]),
    ("blockdev-del", {"node-name": "f"}, [{}]),
    ("blockdev-del", {"node-name": "f"}, [refused("Failed to find node with node-name='f'")]),
    (
        "blockdev-add",
        {"driver": "file", "filename": "two"},
        [refused("'node-name' must be specified for the root node")],
    ),
    ("blockdev-add", {"driver": "null-co", "node-name": "9x"}, [refused("Invalid node-name: '9x'")]),
    ("blockdev-add", {"driver": "no", "node-name": "x"}, [refused("Parameter 'driver' does not accept value 'no'")]),
    ("blockdev-add", {"node-name": "x"}, [refused("Parameter 'driver' is missing")]),
    ("blockdev-add", {"driver": "file", "node-name": "x"}, [refused("Parameter 'filename' is missing")]),
    (
        "blockdev-add",
        {"driver": "file", "node-name": "x", "filename": "/nowhere"},
        [refused("Could not open '/nowhere': No such file or directory")],
    ),
    ("blockdev-add", {"driver": "null-co", "node-name": "x", "cow": 1}, [refused("Parameter 'cow' is unexpected")]),
    (
        "blockdev-add",
        {"driver": "raw", "node-name": "x", "file": "no"},
        [refused("Cannot find device='no' nor node-name='no'")],
    ),
    (
        "blockdev-add",
        {"driver": "raw", "node-name": "x", "file": {"driver": "null-co"}, "size": 1000},
        [refused("Specified size is not multiple of 512")],
    ),
    (
        "blockdev-add",
        {"driver": "raw", "node-name": "x", "file": {"driver": "null-co", "node-name": "in", "size": 4096}},
        [{}],
    ),
    (
        "blockdev-add",
        {"driver": "raw", "node-name": "x", "file": "in"},
        [refused("Duplicate nodes with node-name='x'")],
    ),
    ("blockdev-del", {"node-name": "in"}, [refused("Node in is not owned by the monitor")]),
    ("blockdev-del", {"node-name": "x"}, [{}]),
    ("blockdev-del", {"node-name": "in"}, [refused("Failed to find node with node-name='in'")]),
    (
        "blockdev-add",
        {
            "driver": "blkdebug",
            "node-name": "b",
            "image": {"driver": "null-co"},
            "inject-error": [{"event": "no-such"}],
        },
        [refused("Parameter 'event' does not accept value 'no-such'")],
    ),
    ("block_resize", {"device": "hd0", "size": -1}, [refused("Parameter 'size' expects a >0 size")]),
    ("block_resize", {"device": "no", "size": 1}, [refused("Cannot find device='no' nor node-name=''")]),
    ("block_resize", {"node-name": "no", "size": 1}, [refused("Cannot find device='' nor node-name='no'")]),
    ("block_resize", {"device": "hd0", "size": 2_097_152}, [{}]),
]


def _play(
    path: str, directory: Path, device: str, script: list[Step], compared: Callable[[Any], Any] | None = None
) -> list[list[Any]]:
    """What comes for each step: events, then the answer."""
    player = Player(path)
    out: list[list[Any]] = []

    def ask(name: str, arguments: dict[str, Any]) -> list[Any]:
        text = json.dumps({"execute": name, "arguments": arguments}).replace("DEVICE", device)
        for image in ("one", "two"):
            text = text.replace(f'"filename": "{image}"', f'"filename": "{directory / image}"')
        player.send(text.encode())
        seen: list[Any] = []
        while "event" in (message := player.read(20)):
            seen.append({message["event"]: message["data"]})
        answer = message.get("return", message.get("error"))
        if name == "query-block":
            answer = [(compared or _drive)(drive) for drive in answer]
        seen.append(answer)
        plain = json.dumps(seen).replace(f"{directory}/", "").replace(device, "DEVICE")
        return list(json.loads(plain))

    try:
        player.read(20)
        ask("qmp_capabilities", {})
        for name, arguments, _ in script:
            out.append(ask(name, arguments))
    finally:
        player.close()
    return out


def _drive(info: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a drive: of a disk, that it is one."""
    if not info["removable"]:
        return {"removable": False}
    drive = {key: info[key] for key in ("removable", "tray_open", "locked")}
    if "inserted" in info:
        inside = info["inserted"]
        name = inside["node-name"]
        drive["inserted"] = node(
            inside["file"],
            None if name.startswith("#") else name,
            size=inside["image"]["virtual-size"],
            format=inside["drv"],
            ro=inside["ro"],
        )
    return drive


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name, size in (("disk", 1 << 20), ("one", 204_800), ("two", 102_400)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    return tmp_path


@pytest.mark.conformance(
    "DEVICE_TRAY_MOVED",
    "query-block",
    "eject",
    "blockdev-add",
    "blockdev-del",
    "blockdev-open-tray",
    "blockdev-close-tray",
    "blockdev-remove-medium",
    "blockdev-insert-medium",
    "blockdev-change-medium",
    "block_resize",
)
async def test_the_script(images: Path) -> None:
    disks = [Disk(images / "disk", write_through=True, id="hd0"), Disk(images / "one", media="cdrom", id="cd0")]
    async with VirtualMachine(flat=SPIN, disks=disks) as vm, trio.open_nursery() as nursery:
        path = f"{images}/qmp"
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        device = vm.peek().block.drives[1].qdev
        assert device is not None
        seen = await trio.to_thread.run_sync(_play, path, images, device, SCRIPT)
        nursery.cancel_scope.cancel()
    for step, answers in zip(SCRIPT, seen, strict=True):
        expected = json.loads(json.dumps(step[2]).replace("Tray of device 'DEVICE'", "Tray of device 'cd0'"))
        assert answers == expected, step[:2]
    assert (images / "disk").stat().st_size == 2_097_152


@needs_qemu
def test_the_script_with_qemu(images: Path) -> None:
    assert PROGRAM is not None
    options = [
        "-display", "none", "-nodefaults", "-S", "-M", "pc", "-qmp", f"unix:{images}/qmp,server=on,wait=off",
        "-drive", f"if=none,id=hd0,file={images}/disk,format=raw", "-device", "ide-hd,bus=ide.0,drive=hd0",
        "-drive", f"if=none,id=cd0,file={images}/one,format=raw,media=cdrom",
        "-device", "ide-cd,bus=ide.1,drive=cd0,id=qdev-of-the-cd",
    ]  # fmt: skip
    with subprocess.Popen([PROGRAM, *options], stderr=subprocess.DEVNULL) as process:
        try:
            seen = _play(f"{images}/qmp", images, "qdev-of-the-cd", SCRIPT)
        finally:
            process.kill()
    for step, answers in zip(SCRIPT, seen, strict=True):
        assert answers == step[2], step[:2]


@pytest.mark.conformance("query-blockstats", "query-named-block-nodes")
async def test_what_a_drive_has_done(images: Path) -> None:
    disks = [Disk(images / "disk", id="hd0")]
    async with VirtualMachine(flat=SPIN, disks=disks) as vm:
        async with vm.parked() as machine:
            machine.block.drives[0].read(0, 4096)
            machine.block.drives[0].write(8192, bytes(512))
        (stats,) = await execute(vm, "query-blockstats")
        counts = stats["stats"]
        assert (stats["device"], counts["rd_bytes"], counts["rd_operations"]) == ("hd0", 4096, 1)
        assert (counts["wr_bytes"], counts["wr_highest_offset"], counts["failed_rd_operations"]) == (512, 8704, 0)
        assert stats["backing"]["parent"]["node-name"] == "#block001"
        nodes = await execute(vm, "query-named-block-nodes")
        assert [one["drv"] for one in nodes] == ["overlay", "raw", "file"]
        assert [one["ro"] for one in nodes] == [False, True, True]
        assert len(await execute(vm, "query-blockstats", query_nodes=True)) == 3


def held(name: str, **more: Any) -> dict[str, Any]:
    return {"device": name, "removable": True, "locked": False, **more}


FLOPPIES: list[Step] = [
    ("query-block", {}, [[held("floppy0", file="one", ro=False), held("floppy1")]]),
    ("blockdev-open-tray", {"device": "floppy0"}, [{}]),
    ("blockdev-close-tray", {"device": "floppy0"}, [{}]),
    ("query-block", {}, [[held("floppy0", file="one", ro=False), held("floppy1")]]),
    ("eject", {"device": "floppy0"}, [{}]),
    ("eject", {"device": "floppy1"}, [{}]),
    ("query-block", {}, [[held("floppy0"), held("floppy1")]]),
    ("blockdev-change-medium", {"device": "floppy1", "filename": "two"}, [{}]),
    ("query-block", {}, [[held("floppy0"), held("floppy1", file="two", ro=False)]]),
]
"""Floppy drives have no trays: nothing opens, and nothing is told."""


async def test_floppies(images: Path) -> None:
    floppies = [Disk(images / "one", write_through=True, interface="floppy"), None]
    async with VirtualMachine(flat=SPIN, floppies=floppies) as vm, trio.open_nursery() as nursery:
        path = f"{images}/qmp"
        await nursery.start(vm.serve_qmp, f"unix:{path}")
        seen = await trio.to_thread.run_sync(_play, path, images, "DEVICE", FLOPPIES, _floppy)
        nursery.cancel_scope.cancel()
    assert seen == [answers for _, _, answers in FLOPPIES]


@needs_qemu
def test_floppies_with_qemu(images: Path) -> None:
    assert PROGRAM is not None
    options = [
        "-display", "none", "-nodefaults", "-S", "-M", "pc", "-qmp", f"unix:{images}/qmp,server=on,wait=off",
        "-drive", f"if=floppy,file={images}/one,format=raw", "-drive", "if=floppy,index=1",
    ]  # fmt: skip
    with subprocess.Popen([PROGRAM, *options], stderr=subprocess.DEVNULL) as process:
        try:
            seen = _play(f"{images}/qmp", images, "DEVICE", FLOPPIES, _floppy)
        finally:
            process.kill()
    assert seen == [answers for _, _, answers in FLOPPIES]


def _floppy(info: dict[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in info.items() if key not in ("qdev", "type", "inserted")}
    if "inserted" in info:
        known |= {"file": info["inserted"]["file"], "ro": info["inserted"]["ro"]}
    return known


async def test_a_locked_tray(images: Path) -> None:
    async with VirtualMachine(flat=SPIN, cdrom=images / "one") as vm:
        async with vm.parked() as machine:
            machine.block.drives[0].guest_lock(True)
        assert await refusal(vm, "eject", device="ide1-cd0") == (
            "GenericError",
            "Device 'ide1-cd0' is locked and force was not specified, wait for tray to open and try again",
        )
        assert await execute(vm, "blockdev-open-tray", device="ide1-cd0") == {}
        assert not (await execute(vm, "query-block"))[0]["tray_open"]
        assert await execute(vm, "eject", device="ide1-cd0", force=True) == {}
        assert "inserted" not in (await execute(vm, "query-block"))[0]


async def test_faults_by_management(images: Path, tmp_path: Path) -> None:
    async with VirtualMachine(flat=SPIN, disks=[Disk(None, media="cdrom", id="cd0")]) as vm:
        async with connected(vm, tmp_path / "socket") as client:
            rule = {"event": "none", "iotype": "read", "errno": 5, "sector": 4, "once": True}
            answer = await client.execute(
                "blockdev-add",
                driver="blkdebug",
                node_name="b",
                image={"driver": "file", "filename": str(images / "one"), "read-only": True},
                inject_error=[rule],
                read_only=True,
            )
            assert answer == {"return": {}}
        await execute(vm, "blockdev-open-tray", device="cd0")
        await execute(vm, "blockdev-insert-medium", id="/machine/ide/ide1/cd0", node_name="b")
        await execute(vm, "blockdev-close-tray", device="cd0")
        async with vm.parked() as machine:
            machine.block.drives[0].read(2048, 2048)
            machine.block.drives[0].read(2048, 2048)
        (stats,) = await execute(vm, "query-blockstats")
        assert (stats["stats"]["failed_rd_operations"], stats["stats"]["rd_operations"]) == (1, 1)
