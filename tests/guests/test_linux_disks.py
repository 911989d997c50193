"""Linux with its own drivers on IDE disks and CD-ROM drives: what it writes is on the disk, and clean."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from guest_kit import MakeInitramfs, require

from vmcore import Disk, RunState, ShutdownCause, ShutdownRequested, VirtualMachine
from vmcore.block.node import Fault
from vmcore.model.block import BlockErrorAction, BlockIoError

MODULES = ["ata_piix", "sd_mod", "sr_mod", "ext4", "crc32c_generic", "isofs"]
APPEND = "console=ttyS0 panic=-1 quiet"

WAIT = "until busybox test -b {device}; do busybox sleep 0.1; done\n"


def tool(name: str, package: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    return str(require(Path(found) if found else None, package))


@pytest.fixture
def ext4(tmp_path: Path) -> Path:
    """An empty ext4 file system of 24 MiB."""
    image = tmp_path / "ext4"
    with image.open("wb") as file:
        file.truncate(24 << 20)
    subprocess.run([tool("mkfs.ext4", "e2fsprogs"), "-q", image], check=True)
    return image


def check(image: Path) -> None:
    """The file system is clean, without repairs."""
    subprocess.run([tool("e2fsck", "e2fsprogs"), "-f", "-n", image], check=True, capture_output=True)


CONTENT = bytes(range(256)) * 8192


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    """A CD-ROM with a file of 2 MiB."""
    inside = tmp_path / "cd"
    inside.mkdir()
    (inside / "big").write_bytes(CONTENT)
    command = [tool("xorriso", "xorriso"), "-as", "mkisofs", "-quiet", "-o", str(tmp_path / "iso"), str(inside)]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path / "iso"


def content_of(image: Path, path: str) -> bytes:
    """A file of an ext4 file system that nobody has mounted."""
    command = [tool("debugfs", "e2fsprogs"), "-R", f"cat {path}", str(image)]
    return subprocess.run(command, check=True, capture_output=True).stdout


async def test_a_file_system_is_written_and_clean(
    generic_kernel: Path, initramfs: MakeInitramfs, ext4: Path, iso: Path
) -> None:
    script = (
        "export PATH=/bin\n"
        + WAIT.format(device="/dev/sda")
        + WAIT.format(device="/dev/sr0")
        + "busybox mkdir /disk /cd\n"
        "busybox mount -t ext4 /dev/sda /disk && busybox mount -t iso9660 -o ro /dev/sr0 /cd\n"
        "busybox cp /cd/big /disk/big && busybox sync\n"
        "busybox echo 3 > /proc/sys/vm/drop_caches\n"
        "busybox cmp /cd/big /disk/big && busybox echo EQUAL\n"
        "busybox dmesg | busybox grep -E 'exception|I/O error|MWDMA'\n"
        "busybox umount /disk\n"
        "busybox poweroff -f\n"
    )
    initrd = initramfs(script, kernel=generic_kernel, modules=MODULES)
    disk = Disk(ext4, write_through=True)
    async with VirtualMachine(
        kernel=generic_kernel, initrd=initrd, append=APPEND, memory="256M", disks=[disk], cdrom=iso
    ) as vm:
        with vm.fail_after(120):
            await vm.serial[0].expect(b"EQUAL")
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
        text = await vm.serial[0].receive_some()
        async with vm.parked() as machine:
            counts = machine.block.drives[0].statistics
            assert counts.write.bytes >= len(CONTENT)
            assert counts.flush.operations > 0
    assert text.count(b"MWDMA2") == 2, "both drives work by DMA"
    assert b"error" not in text
    assert b"exception" not in text
    check(ext4)
    assert content_of(ext4, "/big") == CONTENT


async def test_a_full_host_stops_the_guest_and_nothing_is_lost(
    generic_kernel: Path, initramfs: MakeInitramfs, ext4: Path
) -> None:
    """Three writes in a row find no room on the host; the guest, paused each time, notices nothing."""
    script = (
        "export PATH=/bin\n" + WAIT.format(device="/dev/sda") + "busybox mkdir /disk\n"
        "busybox mount -t ext4 /dev/sda /disk\n"
        "busybox dd if=/dev/zero of=/disk/zeros bs=1M count=4 && busybox umount /disk && busybox echo DONE\n"
        "busybox dmesg | busybox grep -E 'exception|I/O error' && busybox echo BAD\n"
        "busybox poweroff -f\n"
    )
    initrd = initramfs(script, kernel=generic_kernel, modules=MODULES)
    disk = Disk(ext4, write_through=True, faults=[Fault(operation="write", errno=28, skip=10, count=3)])
    stops = 0
    async with VirtualMachine(kernel=generic_kernel, initrd=initrd, append=APPEND, memory="256M", disks=[disk]) as vm:
        with vm.events.subscribe(BlockIoError) as errors:
            while vm.exit is None:
                await vm.run(seconds=120)
                stops += vm.state is RunState.IO_ERROR
                assert stops <= 3
            for _ in range(3):
                event = await errors.receive()
                assert (event.action, event.nospace) == (BlockErrorAction.STOP, True)
        text = await vm.serial[0].receive_some()
    assert stops == 3
    assert b"DONE" in text
    assert b"BAD" not in text
    check(ext4)
