"""The emulators that the benchmarks compare: how each runs a guest and how long the measured part took.

Seconds are host time between the guest's two marks, taken where the marks arrive.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Final

from attrs import frozen
from workloads import Workload, build_disk, entry64

TIMEOUT: Final = 120.0
HERE: Final = Path(__file__).parent


@frozen
class Result:
    """One run: seconds of the measured part, and the guest's checksum."""

    seconds: float
    checksum: str


class RunFailed(Exception):
    """The guest did not end as it should; the text says what came instead."""


class Emulator(ABC):
    """One way to run a guest."""

    name: str

    @abstractmethod
    def available(self) -> bool: ...

    def can_run(self, workload: Workload) -> bool:
        return True

    @abstractmethod
    def run(self, workload: Workload, image: Path) -> Result: ...


def _timed(command: list[str], *, prefix: bytes = b"") -> Result:
    """Run a command whose standard output carries the marks, and take the time at which each arrives."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, bufsize=0
    )
    assert process.stdout is not None
    begin = time.monotonic()
    started = ended = 0.0
    seen = b""
    try:
        while not (ended and b"\n" in seen.split(b"E", 1)[-1]):
            data = process.stdout.read(1)
            now = time.monotonic()
            if not data or now - begin > TIMEOUT:
                raise RunFailed(f"{command[0]}: ended with {seen[-80:]!r}")
            seen += data
            if not started and seen.endswith(prefix + b"S"):
                started, seen = now, b""
            elif started and not ended and data == b"E":
                ended, seen = now, b"E"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    return Result(ended - started, seen.split(b"E", 1)[1].strip().decode("ascii", "replace"))


class Vmcore(Emulator):
    name = "vmcore"

    def available(self) -> bool:
        return True

    def run(self, workload: Workload, image: Path) -> Result:
        return _timed([sys.executable, str(HERE / "vmcore_guest.py"), str(image)])


class Tcg(Emulator):
    name = "tcg"

    def available(self) -> bool:
        return shutil.which("qemu-system-x86_64") is not None

    def run(self, workload: Workload, image: Path) -> Result:
        return _timed(
            [
                "qemu-system-x86_64",
                "-accel",
                "tcg",
                "-cpu",
                "max",
                "-m",
                "128",
                "-display",
                "none",
                "-nodefaults",
                "-no-reboot",
                "-serial",
                "null",
                "-kernel",
                str(image),
                "-debugcon",
                "stdio",
                "-device",
                "isa-debug-exit,iobase=0xf4,iosize=4",
            ]
        )


class Bochs(Emulator):
    """Debian's bochs, with the packages bochsbios and vgabios: a build with its debugger, which costs some speed."""

    name = "bochs"
    bios = Path("/usr/share/bochs/BIOS-bochs-latest")
    vga = Path("/usr/share/bochs/VGABIOS-lgpl-latest")

    def available(self) -> bool:
        return shutil.which("bochs") is not None and self.bios.exists() and self.vga.exists()

    def run(self, workload: Workload, image: Path) -> Result:
        directory = image.parent
        disk = build_disk(image, directory)
        config, commands = directory / "bochsrc", directory / "commands"
        config.write_text(
            "megs: 128\n"
            f"romimage: file={self.bios}\n"
            f"vgaromimage: file={self.vga}\n"
            'display_library: rfb, options="timeout=0"\n'
            "plugin_ctrl: speaker=0\nsound: waveoutdrv=dummy\n"
            "cpu: model=corei7_sandy_bridge_2600k, count=1, ips=200000000\n"
            "clock: sync=none\n"
            "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n"
            f"ata0-master: type=disk, path={disk}, mode=flat, cylinders=65, heads=16, spt=63, translation=auto\n"
            f"boot: disk\nport_e9_hack: enabled=1\nlog: {directory / 'bochs.log'}\n"
            "panic: action=fatal\nerror: action=ignore\n"
        )
        commands.write_text("c\n")
        Path(f"{disk}.lock").unlink(missing_ok=True)
        return _timed(["bochs", "-q", "-f", str(config), "-rc", str(commands)], prefix=b"\n")


class Unicorn(Emulator):
    name = "unicorn"

    def available(self) -> bool:
        try:
            import unicorn  # noqa: F401
        except ImportError:
            return False
        return True

    def can_run(self, workload: Workload) -> bool:
        return workload.unicorn

    def run(self, workload: Workload, image: Path) -> Result:
        entry = entry64(workload, image.parent)
        return _timed([sys.executable, str(HERE / "unicorn_guest.py"), str(image), hex(entry)])


EMULATORS: Final = (Vmcore(), Tcg(), Bochs(), Unicorn())
