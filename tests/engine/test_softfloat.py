"""The floating-point kernels in integers, for hosts that are not x86-64, give what the host's instructions give."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "vmcore" / "engine"
CHECK = Path(__file__).with_name("kernels_check.cpp")
ROUNDS = 3000


def checksums(folder: Path, *flags: str, sources: tuple[str, ...] = ()) -> dict[str, str]:
    compiler = os.environ.get("CXX", "c++").split()
    program = folder / f"check{len(flags)}"
    files = [CHECK, *(ENGINE / "native" / s for s in sources)]
    options = ["-std=c++17", "-O0", "-frounding-math", "-fno-strict-aliasing", f"-I{ENGINE / 'native'}", f"-I{folder}"]
    subprocess.run([*compiler, *options, *flags, *files, "-o", program], check=True)
    output = subprocess.run([program, str(ROUNDS)], check=True, capture_output=True, text=True).stdout
    return dict(line.rsplit(" ", 1) for line in output.splitlines())


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the host has no SSE2 to compare with")
@pytest.mark.skipif(os.name != "posix" or not shutil.which("c++"), reason="no C++ compiler")
def test_kernels_in_integers_agree_with_the_host(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ENGINE / "native" / "generate.py", ENGINE / "tables", tmp_path], check=True)
    host = checksums(tmp_path)
    soft = checksums(tmp_path, "-DVMCORE_SOFT_FP", sources=("softfloat.cpp", "fpu_soft.cpp"))
    assert len(host) > 80
    assert {name for name in host if host[name] != soft[name]} == set()
