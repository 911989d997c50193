"""Real guests for the tests: found on this machine, or the test skips (fails where VMCORE_REQUIRE_GUESTS is set).

And the check of what marked tests claim to show.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from guest_kit import MakeInitramfs, initial_ram_disk, require

MISSING = re.compile(r"not installed|is missing|^needs |could not import")
"""Reasons of skips for the want of something that can be had."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Where guests and references are required, a test that goes without one has failed."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("VMCORE_REQUIRE_GUESTS") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if MISSING.search(reason.removeprefix("Skipped: ")):
            report.outcome, report.longrepr = "failed", f"{item.nodeid} was skipped: {reason}"


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


@pytest.fixture(scope="session")
def initramfs(busybox: Path) -> MakeInitramfs:
    """See MakeInitramfs."""
    return initial_ram_disk


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
