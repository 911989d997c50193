"""The benchmark guests: which there are, how many rounds each does, and how they are built.

A guest is freestanding 64-bit C with a little assembly (guests/), linked to a flat image that a Multiboot loader, our
boot sector or a direct jump to `entry64` starts.  It writes 'S' to port E9h when the measured part begins, 'E' when it
ends, and then a checksum that must be the same on every emulator.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from attrs import frozen

HERE: Final = Path(__file__).parent
GUESTS: Final = HERE / "guests"

CFLAGS: Final = [
    *("-m64", "-O2", "-ffreestanding", "-fno-pic", "-fno-pie", "-no-pie", "-static", "-nostdlib", "-mno-red-zone"),
    *("-fno-stack-protector", "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-mcmodel=small", "-w"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,--no-warn-rwx-segments"),
]
BOOT_CHUNKS: Final = 2
"""32 KiB pieces that the boot sector reads."""


@frozen
class Workload:
    """One guest.  group: "integer" for the geometric mean of integer loops, else what the name says.

    rounds: how much work; unicorn: whether it runs without devices, interrupts and a page-table set-up of its own.
    """

    name: str
    group: str
    rounds: int
    unicorn: bool = True


WORKLOADS: Final = (
    Workload("int_loop", "integer", 60_000_000),
    Workload("collatz", "integer", 300_000),
    Workload("crc32", "integer", 1500),
    Workload("sha256", "integer", 60_000),
    Workload("sieve", "integer", 30),
    Workload("quicksort", "integer", 15),
    Workload("fib", "integer", 500),
    Workload("matmul_int", "integer", 200),
    Workload("interpreter", "integer", 6000),
    Workload("empty_calls", "integer", 10_000_000),
    Workload("stream", "memory", 500),
    Workload("stream_8m", "memory", 300),
    Workload("chase", "memory", 20_000_000),
    Workload("matmul_sse2", "floating", 40),
    Workload("x87", "floating", 2_000_000),
    Workload("rep_strings", "strings", 2000),
    Workload("self_modifying", "code", 100_000),
    Workload("cold_code", "code", 4),
    Workload("page_faults", "system", 300_000, unicorn=False),
    Workload("cr3_reload", "system", 200_000, unicorn=False),
    Workload("port_io", "devices", 500_000, unicorn=False),
    Workload("mmio", "devices", 500_000, unicorn=False),
    Workload("serial_output", "devices", 500_000, unicorn=False),
    Workload("software_interrupts", "system", 2_000_000, unicorn=False),
    Workload("timer_ticks", "system", 3000, unicorn=False),
)


def build(workload: Workload, directory: Path, rounds: int | None = None) -> Path:
    """Compile a guest into `directory`; the flat image.  Beside it lies the ELF file with the symbols."""
    image = directory / f"{workload.name}.bin"
    elf = directory / f"{workload.name}.elf"
    sources = [GUESTS / "start.S", GUESTS / "main.c", GUESTS / "work" / f"{workload.name}.c"]
    subprocess.run(
        [
            "gcc",
            *CFLAGS,
            f"-DROUNDS_N={rounds or workload.rounds}ul",
            f"-Wl,-T,{GUESTS / 'guest.ld'}",
            "-o",
            elf,
            *sources,
        ],
        check=True,
    )
    subprocess.run(["objcopy", "-O", "binary", elf, image], check=True)
    return image


def build_disk(image: Path, directory: Path) -> Path:
    """A hard disk of 32 MiB that boots the image: our boot sector, then the image."""
    elf, sector = directory / "boot.elf", directory / "boot.bin"
    subprocess.run(
        [
            "gcc",
            "-m32",
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,-Ttext=0x7c00",
            "-Wl,--build-id=none",
            "-w",
            f"-DCHUNKS={BOOT_CHUNKS}",
            "-o",
            elf,
            GUESTS / "boot.S",
        ],
        check=True,
    )
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", elf, sector], check=True)
    disk = directory / f"{image.stem}.img"
    content = sector.read_bytes()[:512] + image.read_bytes()
    disk.write_bytes(content + bytes((32 << 20) - len(content)))
    return disk


def entry64(workload: Workload, directory: Path) -> int:
    """Address of the guest's 64-bit entry."""
    symbols = subprocess.run(
        ["nm", directory / f"{workload.name}.elf"], check=True, capture_output=True, text=True
    ).stdout
    return next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" entry64"))
