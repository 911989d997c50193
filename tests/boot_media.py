"""Boot media made with Debian's tools: a disk with GRUB in its master boot record and an ext4 root, a GRUB rescue CD.

Nothing here needs root or loop devices: the parts are put into the image at their places.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from guest_kit import initial_ram_disk, require

__all__ = [
    "DRIVERS",
    "GRUB",
    "check_root",
    "grub_config",
    "grub_disk",
    "grub_iso",
    "linux_disk",
    "linux_iso",
    "needs",
    "read_root",
    "run_tool",
]


SECTOR: Final = 512
ROOT_START: Final = 2048
"""First sector of the root partition, behind GRUB's core image."""
GRUB: Final = Path("/usr/lib/grub/i386-pc")
DRIVERS: Final = ("ata_piix", "ahci", "sd_mod", "sr_mod", "isofs", "ext4", "crc32c_generic")
"""Modules of Debian's kernel for what these media are in."""
MODULES: Final = ("biosdisk", "part_msdos", "ext2", "normal", "linux", "serial", "terminal", "echo", "ls", "boot")


def needs(*packages: str) -> None:
    """Skip (or fail, where guests are required) without these packages' tools."""
    where = {
        "grub-pc-bin": GRUB / "boot.img",
        "grub-common": _tool("grub-mkimage"),
        "xorriso": _tool("xorriso"),
        "mtools": _tool("mformat"),
        "e2fsprogs": _tool("mke2fs"),
        "seabios": Path("/usr/share/seabios/bios-256k.bin"),
    }
    for package in packages:
        path = where[package]
        require(path if path is not None and path.exists() else None, package)


def _tool(name: str) -> Path | None:
    found = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    return Path(found) if found else None


def run_tool(*command: str | Path) -> str:
    """Run a tool; its output.  A failure shows what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"{command[0]}: {done.stderr or done.stdout}")
    return done.stdout


def tree(root: Path, files: Mapping[str, tuple[int, bytes]]) -> Path:
    """Files on the host, from the same table as an initial RAM disk's."""
    for name, (mode, data) in files.items():
        path = root / name
        if mode & 0o170000 == 0o040000:
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        path.chmod(mode & 0o7777)
    return root


def grub_disk(
    path: Path,
    files: Mapping[str, tuple[int, bytes]],
    config: str,
    megabytes: int = 96,
    modules: tuple[str, ...] = (),
) -> Path:
    """A raw disk: GRUB in the master boot record and behind it, one active ext4 partition with these files.

    config is /boot/grub/grub.cfg on it; modules: of GRUB's, beside the usual ones.
    """
    needs("grub-pc-bin", "grub-common", "e2fsprogs")
    work = path.with_suffix(".tree")
    tree(work, {**files, "boot/grub/grub.cfg": (0o100644, config.encode())})
    size = megabytes << 20
    with path.open("wb") as image:
        image.truncate(size)
    blocks = (size - ROOT_START * SECTOR) // 1024
    offset = f"offset={ROOT_START * SECTOR}"
    mke2fs = _tool("mke2fs")
    assert mke2fs is not None
    # GRUB 2.06 does not know these two.
    features = "^metadata_csum_seed,^orphan_file"
    run_tool(mke2fs, "-qF", "-t", "ext4", "-O", features, "-b", "1024", "-E", offset, "-d", work, path, f"{blocks}k")
    core = path.with_suffix(".core")
    run_tool(
        "grub-mkimage", "-O", "i386-pc", "-d", GRUB, "-p", "(hd0,msdos1)/boot/grub", "-o", core, *MODULES, *modules
    )
    # boot.img loads the sector behind it, and that (diskboot.img) what follows: both defaults are right here.
    record = bytearray((GRUB / "boot.img").read_bytes())
    sectors = size // SECTOR - ROOT_START
    # A floppy's code is where the partition table of a disk belongs.
    record[440:512] = bytes(72)
    record[446:462] = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", ROOT_START, sectors)
    record[510:512] = b"\x55\xaa"
    boot = bytes(record) + core.read_bytes()
    assert len(boot) <= ROOT_START * SECTOR
    with path.open("r+b") as image:
        image.write(boot)
    shutil.rmtree(work)
    return path


def check_root(path: Path) -> None:
    """fsck of the root partition finds nothing to mend: it was unmounted, and is whole."""
    e2fsck = _tool("e2fsck")
    assert e2fsck is not None
    said = run_tool(e2fsck, "-f", "-n", f"{path}?offset={ROOT_START * SECTOR}")
    assert "recovering journal" not in said, said


def read_root(path: Path, name: str) -> bytes:
    """A file on the root partition."""
    debugfs = _tool("debugfs")
    assert debugfs is not None
    command = [str(debugfs), "-R", f"cat {name}", f"{path}?offset={ROOT_START * SECTOR}"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def grub_iso(path: Path, files: Mapping[str, tuple[int, bytes]], config: str) -> Path:
    """A GRUB rescue CD with these files; config is /boot/grub/grub.cfg on it."""
    needs("grub-pc-bin", "grub-common", "xorriso", "mtools")
    work = path.with_suffix(".tree")
    tree(work, {**files, "boot/grub/grub.cfg": (0o100644, config.encode())})
    run_tool("grub-mkrescue", "-d", GRUB, "--locales=", "--fonts=", "-o", path, work)
    shutil.rmtree(work)
    return path


def grub_config(append: str) -> str:
    """Start Linux at once, with GRUB on the first serial port."""
    return (
        "serial --unit=0 --speed=115200\n"
        "terminal_input serial console\n"
        "terminal_output serial console\n"
        "echo GRUB is here\n"
        f"linux /boot/vmlinuz console=ttyS0 panic=-1 {append}\n"
        "initrd /boot/initrd\n"
        "boot\n"
    )


FIND_ROOT: Final = """\
export PATH=/bin
until busybox test -b {device}; do busybox sleep 0.1; done
busybox mkdir /new
busybox mount -t {kind} {options} {device} /new
exec busybox switch_root /new /init
"""
"""What the initial RAM disk does: look for the root file system, and start what is there."""

ROOT_INIT: Final = """\
#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs dev /dev
busybox mount -t tmpfs tmp /tmp
busybox --install -s /tmp
export PATH=/tmp
cd /
exec < /dev/console > /dev/console 2>&1
{script}
"""
"""What is there: all of busybox' programs, and a script (`exec sh` for a person)."""

POWER_OFF: Final = "cd /; mount -o remount,ro / && poweroff -f"
"""How to leave a root file system that was written to."""


def _root(kernel: Path, initrd: bytes, script: str) -> dict[str, tuple[int, bytes]]:
    files = dict.fromkeys(("bin", "dev", "proc", "sys", "tmp", "boot", "boot/grub"), (16877, b""))
    files["bin/busybox"] = 0o100755, Path("/bin/busybox").read_bytes()
    files["init"] = 0o100755, ROOT_INIT.format(script=script).encode()
    files["boot/vmlinuz"] = 0o100644, kernel.read_bytes()
    files["boot/initrd"] = 0o100644, initrd
    return files


def linux_disk(path: Path, kernel: Path, script: str = "exec sh", append: str = "") -> Path:
    """A disk from which GRUB starts Linux, whose root file system is on it and runs a script."""
    look = FIND_ROOT.format(device="/dev/sda1", kind="ext4", options="-o rw")
    initrd = initial_ram_disk(look, kernel=kernel, modules=DRIVERS)
    return grub_disk(path, _root(kernel, initrd, script), grub_config(append))


def linux_iso(path: Path, kernel: Path, script: str = "exec sh", append: str = "") -> Path:
    """A CD from which GRUB starts Linux, whose root file system is on it and runs a script."""
    look = FIND_ROOT.format(device="/dev/sr0", kind="iso9660", options="-o ro")
    initrd = initial_ram_disk(look, kernel=kernel, modules=DRIVERS)
    return grub_iso(path, _root(kernel, initrd, script), grub_config(append))
