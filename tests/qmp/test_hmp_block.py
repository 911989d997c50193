"""The human monitor's words about disks; the expected texts are QEMU's, for the same machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange import execute, qemu

from vmcore import FlatImage, VirtualMachine
from vmcore.machine.disk_config import Disk

SPIN = FlatImage(bytes.fromhex("eb fe"))
UNKNOWN = "Error: Could not open '/nowhere': No such file or directory\r\n"

SCRIPT = [
    ("eject hd0", "Error: Device 'hd0' is not removable\r\n"),
    ("eject nosuch", "Error: Device 'nosuch' not found\r\n"),
    ("eject", 'eject: block device name expected\r\nTry "help eject" for more information\r\n'),
    ("change", 'change: block device name expected\r\nTry "help change" for more information\r\n'),
    ("eject cd0", ""),
    ("change cd0 /nowhere", UNKNOWN),
    ("change hd0 /nowhere", UNKNOWN),
    ("eject -f cd0", ""),
    ("block_resize hd0 2M", ""),
]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("disk", "cd"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 20)
    return tmp_path


async def test_what_it_says(images: Path) -> None:
    disks = [Disk(images / "disk", write_through=True, id="hd0"), Disk(images / "cd", media="cdrom", id="cd0")]
    async with VirtualMachine(flat=SPIN, disks=disks) as vm:

        async def say(line: str) -> str:
            return str(await execute(vm, "human-monitor-command", command_line=line))

        shown = await say("info block")
        assert shown == (
            f"hd0 (#block002): {images}/disk (raw)\r\n"
            "    Attached to:      /machine/ide/ide0/hd0\r\n"
            "    Cache mode:       writeback\r\n"
            "\r\n"
            f"cd0 (#block004): {images}/cd (raw, read-only)\r\n"
            "    Attached to:      /machine/ide/ide1/cd0\r\n"
            "    Removable device: not locked, tray closed\r\n"
            "    Cache mode:       writeback\r\n"
        )
        assert await say("info block -n") == "\r\n".join(
            f"{name}: {images}/{file} ({driver}{ro})\r\n    Cache mode:       writeback\r\n"
            for name, file, driver, ro in (
                ("#block004", "cd", "raw", ", read-only"),
                ("#block003", "cd", "file", ", read-only"),
                ("#block002", "disk", "raw", ""),
                ("#block001", "disk", "file", ""),
            )
        )
        assert "virtual size: 1048576 bytes" in await say("info block -v hd0")
        assert (await say("info blockstats")).startswith("hd0: rd_bytes=0 wr_bytes=0 rd_operations=0 ")
        for line, answer in SCRIPT:
            assert await say(line) == answer, line
        assert "cd0: [not inserted]\r\n" in await say("info block cd0")
        assert (images / "disk").stat().st_size == 2 << 20
        assert await say(f"change cd0 {images}/disk.2") != ""
        await say(f"change cd0 {images}/cd")
        assert f"{images}/cd (raw, read-only)" in await say("info block cd0")


def test_qemu_says_the_same(images: Path) -> None:
    options = (
        "-drive", f"if=none,id=hd0,file={images}/disk,format=raw", "-device", "ide-hd,bus=ide.0,drive=hd0",
        "-drive", f"if=none,id=cd0,file={images}/cd,format=raw,media=cdrom", "-device", "ide-cd,bus=ide.1,drive=cd0",
    )  # fmt: skip
    with qemu(*options) as other:
        for line, answer in SCRIPT:
            assert other.execute("human-monitor-command", command_line=line)["return"] == answer, line
