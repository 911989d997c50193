"""Real guests for the tests: found on this machine, or the test skips (fails where VMCORE_REQUIRE_GUESTS is set).

And the check of what marked tests claim to show.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from guest_kit import MakeInitramfs, module_files, require

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
def initramfs(busybox: Path) -> MakeInitramfs:
    """See MakeInitramfs."""

    def make(
        script: str,
        *,
        kernel: Path | None = None,
        modules: Sequence[str] = (),
        files: Mapping[str, tuple[int, bytes]] | None = None,
    ) -> bytes:
        inside = {
            "bin": (0o40755, b""),
            "dev": (0o40755, b""),
            "lib": (0o40755, b""),
            "bin/busybox": (0o100755, busybox.read_bytes()),
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

    return make


@pytest.fixture(scope="session")
def power_button_files() -> dict[str, tuple[int, bytes]]:
    """Files for an initial RAM disk with which busybox's acpid obeys the power button (with the modules evdev and
    button).
    """
    return {
        "etc": (0o40755, b""),
        "etc/acpi": (0o40755, b""),
        "etc/acpi/PWRF": (0o40755, b""),
        "etc/acpi/PWRF/00000080": (0o100755, b"#!/bin/busybox sh\n/bin/busybox poweroff -f\n"),
    }
