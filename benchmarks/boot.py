"""Compares vmcore with QEMU TCG on starting stock systems: `python benchmarks/boot.py [--json FILE] [NAME ...]`.

SeaBIOS and GRUB start Debian's generic kernel from a hard disk or a CD; from the disk Linux writes 20 MiB of random
bytes, reads them back and compares.  `menu` is GRUB's menu, which waits for 5 seconds.  Needs the packages that
tests/boot_media.py names, and qemu-system-x86 for the comparison.

What counts is the CPU time of the whole process, user and system.  Runs are interleaved and the best of several is
taken.  A ratio is vmcore's seconds divided by QEMU's: below 1 vmcore is cheaper.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from attrs import frozen

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from boot_media import POWER_OFF, check_root, grub_disk, linux_disk, linux_iso  # noqa: E402

TIMEOUT: Final = 600
WRITE: Final = f"""\
dd if=/dev/urandom of=/data bs=1M count=20 2> /dev/null
md5sum /data > /data.md5
sync
echo 3 > /proc/sys/vm/drop_caches
md5sum -c /data.md5
{POWER_OFF}
"""
MENU: Final = """\
serial --unit=0
terminal_input serial console
terminal_output serial
set timeout=5
menuentry nothing { echo the time is over; halt }
"""


@frozen
class Boot:
    """A start.  medium: "disk", "cd" or "menu"; ends: what the serial port must have shown at the end."""

    medium: str
    board: str
    cpus: int
    ends: bytes

    @property
    def name(self) -> str:
        """As the table and the command line call it."""
        return f"{self.medium}-{self.board}-{self.cpus}"


BOOTS: Final = (
    *(Boot("cd", board, cpus, b"reboot: Power down") for board, cpus in (("pc", 1), ("pc", 4), ("q35", 1))),
    *(
        Boot("disk", board, cpus, b"/data: OK")
        for board, cpus in (("pc", 1), ("pc", 2), ("pc", 4), ("q35", 1), ("q35", 2), ("q35", 4))
    ),
    Boot("menu", "pc", 1, b"the time is over"),
)


def media(directory: Path) -> dict[str, Path]:
    """Make them."""
    kernels = [path for path in Path("/boot").glob("vmlinuz-*-amd64") if "cloud" not in path.name]
    kernel = max(kernels)
    return {
        "disk": linux_disk(directory / "disk.img", kernel, WRITE),
        "cd": linux_iso(directory / "cd.iso", kernel, "cat /proc/cpuinfo\npoweroff -f"),
        "menu": grub_disk(directory / "menu.img", {}, MENU, megabytes=32, modules=("halt", "sleep")),
    }


def command(emulator: str, boot: Boot, image: Path) -> list[str]:
    """How the emulator is told to do it: but for its beginning the same command."""
    drive = ["-cdrom", str(image)] if boot.medium == "cd" else ["-drive", f"file={image},format=raw"]
    common = ["-M", boot.board, "-smp", str(boot.cpus), "-m", "256", "-nodefaults", "-serial", "stdio", *drive]
    if emulator == "vmcore":
        return [sys.executable, "-m", "vmcore", "run", "-bios", "bios-256k.bin", *common]
    return ["qemu-system-x86_64", "-accel", "tcg", "-display", "none", "-no-reboot", *common]


def run(emulator: str, boot: Boot, image: Path, scratch: Path) -> float:
    """CPU seconds of one start."""
    if boot.medium != "cd":
        shutil.copy(image, scratch)
        image = scratch
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command(emulator, boot, image), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or boot.ends not in output:
        raise SystemExit(f"{emulator}, {boot.name}: ended with {process.returncode} and {output[-300:]!r}")
    if boot.medium == "disk":
        check_root(image)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="starts (all of them if none is named)")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--repeat", type=int, default=2)
    arguments = parser.parse_args()
    emulators = ["vmcore", "qemu"] if shutil.which("qemu-system-x86_64") else ["vmcore"]
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        images = media(directory)
        print(f"{'start':<12}{'vmcore s':>10}{'qemu s':>10}{'ratio':>8}", flush=True)
        for boot in BOOTS:
            if arguments.names and boot.name not in arguments.names:
                continue
            seconds: dict[str, list[float]] = {emulator: [] for emulator in emulators}
            for _ in range(arguments.repeat):
                for emulator in emulators:
                    seconds[emulator].append(run(emulator, boot, images[boot.medium], directory / "scratch"))
            best = {emulator: min(values) for emulator, values in seconds.items()}
            results[boot.name] = best
            qemu = best.get("qemu", float("nan"))
            print(f"{boot.name:<12}{best['vmcore']:>10.2f}{qemu:>10.2f}{best['vmcore'] / qemu:>8.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"cpu_seconds": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
