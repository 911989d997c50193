"""Real guests for the tests: found on this machine, or the test skips (fails where VMCORE_REQUIRE_GUESTS is set).

And the check of what marked tests claim to show.
"""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
{script}
"""


@pytest.fixture(autouse=True)
def conformance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test marked `conformance` claims to show must happen while it runs."""
    names = {name for mark in request.node.iter_markers("conformance") for name in mark.args}
    if not names:
        yield
        return
    from conformance_witness import witness

    with witness(monkeypatch) as seen:
        yield
    assert names <= seen, f"did not happen: {', '.join(sorted(names - seen))}"


def require(found: Path | None, what: str) -> Path:
    """The file, or a skip that says what is missing; a failure where guests are required."""
    if found is None:
        reason = f"no {what} on this machine (Debian: apt-get install {what})"
        if os.environ.get("VMCORE_REQUIRE_GUESTS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def newest(pattern: str) -> Path | None:
    return max(Path("/boot").glob(pattern), default=None)


@pytest.fixture(scope="session")
def cloud_kernel() -> Path:
    """Debian's kernel for virtual machines."""
    return require(newest("vmlinuz-*-cloud-amd64"), "linux-image-cloud-amd64")


@pytest.fixture(scope="session")
def generic_kernel() -> Path:
    """Debian's kernel for real machines."""
    kernels = [
        path for path in Path("/boot").glob("vmlinuz-*-amd64") if "cloud" not in path.name and "rt" not in path.name
    ]
    return require(max(kernels, default=None), "linux-image-amd64")


@pytest.fixture(scope="session")
def busybox() -> Path:
    """A statically linked busybox."""
    path = Path("/bin/busybox")
    return require(path if path.exists() and is_static(path.read_bytes()) else None, "busybox-static")


def is_static(elf: bytes) -> bool:
    """Whether a 64-bit ELF program has no interpreter (no PT_INTERP program header)."""
    offset, size, count = struct.unpack_from("<Q", elf, 32)[0], *struct.unpack_from("<HH", elf, 54)
    return all(struct.unpack_from("<I", elf, offset + i * size)[0] != 3 for i in range(count))


def cpio(files: dict[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive in the "newc" format (Linux Documentation/driver-api/early-userspace/buffer-format.rst)."""
    archive = bytearray()
    for inode, (name, (mode, data)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


@pytest.fixture(scope="session")
def initramfs(busybox: Path) -> Callable[[str], bytes]:
    """initramfs(script) -> an initial RAM disk whose /init mounts /proc, /sys and /dev and then runs the script."""

    def make(script: str) -> bytes:
        files = {
            "bin": (0o40755, b""),
            "dev": (0o40755, b""),
            "bin/busybox": (0o100755, busybox.read_bytes()),
            "init": (0o100755, INIT.format(script=script).encode()),
        }
        return gzip.compress(cpio(files), 1)

    return make
