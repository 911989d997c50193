"""The host's own processor as an oracle: cases run in a confined child process, in user mode."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final, Self, final

FLAGS: Final = ("-O1", "-fPIE", "-pie")
"""Far away from the addresses that cases use."""
SOURCE: Final = Path(__file__).with_name("host_oracle.c")

CODE: Final = 0x1000_0000
"""Where code may lie."""
CODE_SIZE: Final = 0x4_0000
DATA: Final = 0x2000_0000
"""Two pages of data between unmapped ones."""
DATA_SIZE: Final = 0x2000
WINDOW: Final = DATA + 0xE00
"""The part of the data that a case fills and that is compared: it lies across the two pages."""
WINDOW_SIZE: Final = 1024
CODE_BYTES: Final = 64
"""Bytes of code of a case, its last instruction (UD2) included."""

CONTEXT: Final = struct.Struct("<18Q512s")
"""RAX to R15, RIP, RFLAGS, and the FPU and XMM registers as FXSAVE64 stores them."""
CASE: Final = struct.Struct(f"<{CONTEXT.size}sQ{CODE_BYTES}s{WINDOW_SIZE}s")
RESULT: Final = struct.Struct(f"<{CONTEXT.size}sQQQ{WINDOW_SIZE}s")

VECTOR_TIMEOUT: Final = 254
VECTOR_SYSCALL: Final = 255
VECTOR_NEVER: Final = 256
"""The case killed the child: there is no result."""


class Unavailable(Exception):
    """The host cannot be an oracle, and why."""


@cache
def _program() -> Path:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Unavailable("the host is not Linux on x86-64")
    compiler = shutil.which(os.environ.get("CC", "cc").split()[-1]) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Unavailable("no C compiler")
    key = hashlib.sha256(SOURCE.read_bytes() + repr(FLAGS).encode()).hexdigest()
    name = f"vmcore-host-oracle-{os.getuid()}-{key[:16]}"
    target = Path(tempfile.gettempdir()) / name
    if not target.exists():
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / "oracle"
            done = subprocess.run(
                [compiler, *FLAGS, str(SOURCE), "-o", str(built)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise Unavailable(f"the helper does not compile: {done.stderr[:500]}")
            shutil.copy2(built, target.with_suffix(".new"))
            target.with_suffix(".new").replace(target)
    return target


@cache
def host_flags() -> frozenset[str]:
    """The feature words of /proc/cpuinfo."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def host_vendor() -> str:
    """The vendor string of CPUID."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("vendor_id"):
            return line.split(":", 1)[1].strip()
    return ""


@final
class HostOracle:
    """A running helper.  A context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([_program()], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        hello = self._read(16)
        case, result, ldt, _ = struct.unpack("<4I", hello)
        if (case, result) != (CASE.size, RESULT.size):
            self.close()
            raise Unavailable(f"the helper's structures have {case} and {result} bytes, not {CASE.size}, {RESULT.size}")
        self.has_16bit = bool(ldt)
        """Whether the kernel gives out 16-bit segments."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the helper."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            raise Unavailable("the helper ended")
        return data

    def run(self, cases: list[bytes]) -> list[bytes]:
        """Run cases (`CASE`); their `RESULT`s."""
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("<I", len(cases)) + b"".join(cases))
        self._process.stdin.flush()
        data = self._read(RESULT.size * len(cases))
        return [data[at : at + RESULT.size] for at in range(0, len(data), RESULT.size)]
