"""Linux with its own driver on a floppy drive."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from guest_kit import MakeInitramfs

from vmcore import Disk, ShutdownCause, ShutdownRequested, VirtualMachine

CONTENT = Random(4).randbytes(1440 << 10)
OTHER = Random(5).randbytes(720 << 10)

SCRIPT = """\
export PATH=/bin
busybox mkdir /tmp
busybox mount -t tmpfs tmp /tmp
busybox dd if=/dev/fd0 of=/tmp/a bs=36k count=10
busybox dd if=/tmp/a of=/dev/fd0 bs=36k count=3 seek=30
busybox sync
busybox echo CHANGE
busybox head -n 1
busybox dd if=/dev/fd0 of=/tmp/b bs=18k count=4
busybox cmp /tmp/b /other && busybox echo EQUAL
busybox dmesg | busybox grep -iE 'floppy|fd0'
busybox poweroff -f
"""


@pytest.mark.parametrize("board", ["pc", "q35"])
async def test_reads_writes_and_changes_the_floppy(
    board: str, generic_kernel: Path, initramfs: MakeInitramfs, tmp_path: Path
) -> None:
    image, other = tmp_path / "floppy", tmp_path / "other"
    image.write_bytes(CONTENT)
    other.write_bytes(OTHER)
    initrd = initramfs(
        SCRIPT, kernel=generic_kernel, modules=["floppy"], files={"other": (0o100644, OTHER[: 4 * 18 << 10])}
    )
    async with VirtualMachine(
        board=board,
        kernel=generic_kernel,
        initrd=initrd,
        append="console=ttyS0 panic=-1 quiet",
        memory="256M",
        floppies=[Disk(image, write_through=True, interface="floppy")],
    ) as vm:
        with vm.fail_after(60):
            await vm.serial[0].expect(b"CHANGE")
            await vm.block.change_medium(str(other), device="floppy0", format="raw")
            await vm.serial[0].send_all(b"go on\n")
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
        log = vm.serial[0].unread
    assert b"fd0 is 1.44M" in log
    assert b"EQUAL" in log
    assert b"error" not in log
    part = 36 << 10
    assert image.read_bytes() == CONTENT[: 30 * part] + CONTENT[: 3 * part] + CONTENT[33 * part :]
    assert other.read_bytes() == OTHER
