"""Debian's SeaBIOS and GRUB start Debian's kernel from a hard disk and from a CD; what Linux writes is on the disk."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest
from boot_media import check_root, grub_disk, grub_iso, linux_disk, linux_iso, needs, read_root, run_tool

from vmcore import BootOptions, Disk, ShutdownCause, ShutdownRequested, VirtualMachine
from vmcore.engine import assemble, can_assemble
from vmcore.firmware import stock
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.exits import DebugExit, Exit
from vmcore.model.units import SECOND

pytestmark = pytest.mark.skipif(stock.find(stock.PC) is None, reason="seabios is not installed")

WRITE = """\
dd if=/dev/urandom of=/data bs=1M count=20 2> /dev/null
md5sum /data > /data.md5
sync
echo 3 > /proc/sys/vm/drop_caches
md5sum -c /data.md5
nproc
"""
COMPLAINTS = re.compile(
    rb"(?i)ACPI[^\n]*(error|warning|exception)|firmware bug|ata\d[^\n]*(exception|failed|error)|i/o error|call trace"
)


@pytest.fixture(scope="session")
def disk_image(generic_kernel: Path, busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk from which Linux starts, with a shell on the serial port."""
    return linux_disk(tmp_path_factory.mktemp("disk") / "disk.img", generic_kernel)


@pytest.fixture(scope="session")
def cd_image(generic_kernel: Path, busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CD from which Linux starts."""
    script = "md5sum /boot/vmlinuz\nnproc\npoweroff -f"
    return linux_iso(tmp_path_factory.mktemp("cd") / "cd.iso", generic_kernel, script)


@pytest.mark.parametrize(("board", "cpus"), [("pc", 1), ("pc", 4), ("q35", 2)])
async def test_a_system_on_a_disk(board: str, cpus: int, disk_image: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    shutil.copy(disk_image, image)
    disk = Disk(image, write_through=True)
    async with VirtualMachine(board=board, firmware=stock.PC, cpus=cpus, memory="256M", disks=[disk]) as vm:
        serial = vm.serial[0]
        with vm.fail_after(60):
            log = (await serial.expect(b"/ # ")).before
            for line in WRITE.splitlines():
                await serial.send_all(line.encode() + b"\n")
                log += (await serial.expect(b"/ # ")).before
            await serial.send_all(b"mount -o remount,ro / && poweroff -f\n")
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
        log += await serial.receive_some()
    assert b"GRUB" in log
    assert b"/data: OK" in log
    assert b"nproc\r\n%d\r\n" % cpus in log
    assert not COMPLAINTS.search(log), COMPLAINTS.search(log)
    check_root(image)
    data = read_root(image, "/data")
    assert len(data) == 20 << 20
    assert read_root(image, "/data.md5").split()[0].decode() == hashlib.md5(data).hexdigest()


@pytest.mark.parametrize(("board", "cpus"), [("pc", 2), ("q35", 1)])
async def test_a_system_on_a_cd(board: str, cpus: int, cd_image: Path, generic_kernel: Path) -> None:
    async with VirtualMachine(board=board, firmware=stock.PC, cpus=cpus, memory="256M", cdrom=cd_image) as vm:
        with vm.fail_after(60):
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
        log = vm.serial[0].unread
    assert b"GRUB" in log
    assert hashlib.md5(generic_kernel.read_bytes()).hexdigest().encode() in log
    assert b"\n%d\r\n" % cpus in log
    assert not COMPLAINTS.search(log), COMPLAINTS.search(log)


# --- which of several is started


def sector(number: int) -> bytes:
    """A boot sector that ends the machine with this number."""
    code = assemble(f"mov al, {number}; mov dx, 0xf4; out dx, al; x: hlt; jmp x", 16, 0x7C00)
    return code.ljust(510, b"\0") + b"\x55\xaa"


def eltorito(tmp_path: Path, number: int) -> Path:
    """A CD that boots a sector without emulating anything."""
    needs("xorriso")
    inside = tmp_path / "cd"
    inside.mkdir()
    (inside / "boot").write_bytes(sector(number).ljust(2048, b"\0"))
    image = tmp_path / "boot.iso"
    run_tool("xorriso", "-as", "mkisofs", "-quiet", "-b", "boot", "-no-emul-boot", "-o", image, inside)
    return image


FLOPPY, DISK, SECOND_DISK, CD = 1, 2, 3, 4


class Bench:
    """A machine with a floppy, two disks and a CD, each with a boot sector that says which it is."""

    def __init__(self, tmp_path: Path, board: str, boot: BootOptions | str, **index: int) -> None:
        self.machine = Machine(
            MachineConfig(
                board=board,
                firmware=stock.PC,
                boot=boot,
                disks=[
                    Disk(sector(DISK).ljust(1 << 20, b"\0"), boot_index=index.get("disk")),
                    Disk(sector(SECOND_DISK).ljust(1 << 20, b"\0"), boot_index=index.get("second")),
                    Disk(eltorito(tmp_path, CD), media="cdrom", boot_index=index.get("cd")),
                ],
                floppies=[
                    Disk(sector(FLOPPY).ljust(1440 << 10, b"\0"), interface="floppy", boot_index=index.get("floppy"))
                ],
                devices=["isa-debug-exit,iobase=0xf4,iosize=1"],
            )
        )

    def run(self, seconds: int = 30) -> Exit:
        return self.machine.run(until_ns=self.machine.now_ns + seconds * SECOND)

    @property
    def console(self) -> bytes:
        return bytes(self.machine.serial[0].tail)


needs_assembler = pytest.mark.skipif(not can_assemble(), reason="keystone has no wheel here")


@needs_assembler
@pytest.mark.parametrize("board", ["pc", "q35"])
@pytest.mark.parametrize(
    ("boot", "index", "started"),
    [
        ("cad", {}, DISK),
        ("acd", {}, FLOPPY),
        ("dc", {}, CD),
        ("cad", {"second": 0}, SECOND_DISK),
        ("cad", {"cd": 1, "floppy": 2}, CD),
        ("dca", {"cd": 3, "floppy": 2}, FLOPPY),
        ("ndc", {}, CD),
    ],
)
def test_the_order(tmp_path: Path, board: str, boot: str, index: dict[str, int], started: int) -> None:
    assert Bench(tmp_path, board, boot, **index).run() == DebugExit(started)


@needs_assembler
def test_once_is_until_the_reset(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "pc", BootOptions("c", once="d"))
    twin = Machine.from_snapshot(bench.machine.save())
    for machine in (bench.machine, twin):
        machine.run(instructions=1_000_000)
        machine.reset()
    assert bench.run() == DebugExit(DISK)
    assert twin.run(until_ns=30 * SECOND) == DebugExit(DISK)


@needs_assembler
@pytest.mark.parametrize(("key", "started"), [("1", DISK), ("3", FLOPPY), ("4", CD)])
def test_the_menu(tmp_path: Path, key: str, started: int) -> None:
    bench = Bench(tmp_path, "pc", BootOptions(menu=True, menu_wait_ms=3000))
    machine = bench.machine
    machine.run(until_ns=1 * SECOND)
    assert b"Press ESC for boot menu." in bench.console
    assert machine.keyboard.tap("esc")
    machine.run(until_ns=machine.now_ns + SECOND // 2)
    assert b"Select boot device:" in bench.console
    assert machine.keyboard.tap(key)
    assert bench.run() == DebugExit(started)


@needs_assembler
def test_the_menu_passes_where_no_key_comes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "pc", BootOptions(menu=True, menu_wait_ms=3000))
    assert bench.run() == DebugExit(DISK)
    assert 3 * SECOND <= bench.machine.now_ns < 4 * SECOND


@needs_assembler
@pytest.mark.parametrize("board", ["pc", "q35"])
def test_what_does_not_boot_is_passed_over(board: str) -> None:
    machine = Machine(
        MachineConfig(
            board=board,
            firmware=stock.PC,
            boot="dca",
            disks=[Disk(bytes(1 << 20)), Disk(None, media="cdrom")],
            floppies=[sector(FLOPPY).ljust(1440 << 10, b"\0")],
            devices=["isa-debug-exit,iobase=0xf4,iosize=1"],
        )
    )
    assert machine.run(until_ns=60 * SECOND) == DebugExit(FLOPPY)
    console = bytes(machine.serial[0].tail)
    assert b"Boot failed: not a bootable disk" in console


def test_nothing_boots() -> None:
    machine = Machine(MachineConfig(firmware=stock.PC, disks=[Disk(bytes(1 << 20))], floppies=[None]))
    machine.run(until_ns=60 * SECOND)
    assert b"No bootable device." in bytes(machine.serial[0].tail)


def test_nothing_boots_and_it_is_tried_again() -> None:
    machine = Machine(MachineConfig(firmware=stock.PC, boot=BootOptions(reboot_timeout_ms=2000)))
    machine.run(until_ns=7 * SECOND)
    assert bytes(machine.serial[0].tail).count(b"No bootable device.  Retrying in 2 seconds.") >= 3


@needs_assembler
def test_strictly_what_has_an_index(tmp_path: Path) -> None:
    machine = Machine(
        MachineConfig(
            firmware=stock.PC,
            boot=BootOptions(strict=True),
            disks=[Disk(bytes(1 << 20), boot_index=1), Disk(sector(DISK).ljust(1 << 20, b"\0"))],
            devices=["isa-debug-exit,iobase=0xf4,iosize=1"],
        )
    )
    machine.run(until_ns=20 * SECOND)
    assert b"No bootable device." in bytes(machine.serial[0].tail)


def test_grub_waits_for_a_choice(tmp_path: Path) -> None:
    """GRUB's menu on the serial port, which starts its first entry when its time is over."""
    config = (
        "serial --unit=0\nterminal_input serial\nterminal_output serial\nset timeout=1\n"
        "menuentry first { echo this is the first; reboot }\nmenuentry second { echo this is the second; halt }\n"
    )
    image = grub_disk(tmp_path / "disk.img", {}, config, megabytes=32, modules=("reboot", "halt", "sleep", "gfxterm"))
    machine = Machine(MachineConfig(firmware=stock.PC, disks=[image], no_reboot=True))
    machine.run(until_ns=30 * SECOND)
    console = bytes(machine.serial[0].tail)
    assert b"this is the first" in console
    assert b"this is the second" not in console


def test_a_cd_without_a_system_says_so(tmp_path: Path) -> None:
    image = grub_iso(tmp_path / "cd.iso", {}, "serial --unit=0\nterminal_output serial\necho nothing here\nhalt\n")
    machine = Machine(MachineConfig(firmware=stock.PC, cdrom=image))
    machine.run(until_ns=30 * SECOND)
    assert b"nothing here" in bytes(machine.serial[0].tail)
