"""What tests with guests share."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
{script}
"""


def require(found: Path | None, what: str) -> Path:
    """The file, or a skip that says what is missing; a failure where guests are required."""
    if found is None:
        reason = f"no {what} on this machine (Debian: apt-get install {what})"
        if os.environ.get("VMCORE_REQUIRE_GUESTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class MakeInitramfs(Protocol):
    """initramfs(script, kernel=, modules=, files=) -> an initial RAM disk with these files, whose /init mounts /proc,
    /sys and /dev, loads the kernel's modules and those that they depend on, and then runs the script.
    """

    def __call__(
        self,
        script: str,
        *,
        kernel: Path | None = None,
        modules: Sequence[str] = (),
        files: Mapping[str, tuple[int, bytes]] | None = None,
    ) -> bytes: ...


def module_files(kernel: Path, names: Sequence[str]) -> list[Path]:
    """The files of modules of a kernel in /boot, each behind those that it depends on (modules.dep(5)).  A name that
    the kernel has built in gives no file.
    """
    root = Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-")
    require(root if root.is_dir() else None, f"modules of {kernel.name}")
    needs = dict(line.split(":", 1) for line in (root / "modules.dep").read_text().splitlines())
    paths = {Path(path).name.split(".ko")[0].replace("-", "_"): path for path in needs}
    built_in = {Path(line).stem.replace("-", "_") for line in (root / "modules.builtin").read_text().splitlines()}
    found: list[Path] = []
    for name in (name.replace("-", "_") for name in names):
        if name in built_in:
            continue
        for path in [*reversed(needs[paths[name]].split()), paths[name]]:
            if root / path not in found:
                found.append(root / path)
    return found


def cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive in the "newc" format (Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""
    archive = bytearray()
    for inode, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


def initial_ram_disk(
    script: str,
    *,
    kernel: Path | None = None,
    modules: Sequence[str] = (),
    files: Mapping[str, tuple[int, bytes]] | None = None,
) -> bytes:
    """See MakeInitramfs.  Needs a static busybox."""
    inside = {
        "bin": (0o40755, b""),
        "dev": (0o40755, b""),
        "lib": (0o40755, b""),
        "bin/busybox": (0o100755, Path("/bin/busybox").read_bytes()),
    }
    load = ""
    if modules:
        assert kernel is not None, "modules are of a kernel"
        for path in module_files(kernel, modules):
            inside[f"lib/{path.name}"] = (0o100644, path.read_bytes())
            load += f"/bin/busybox insmod /lib/{path.name}\n"
    inside |= files or {}
    inside["init"] = (0o100755, INIT.format(script=load + script).encode())
    return gzip.compress(cpio(inside), 1)
