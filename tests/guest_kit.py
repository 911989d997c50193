"""What tests with guests share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest


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
