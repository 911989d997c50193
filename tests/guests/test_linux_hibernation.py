"""Linux saves itself to its swap space, and another machine that has the disk goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from exchange import connected
from guest_kit import MakeInitramfs

from vmcore import Disk, ShutdownCause, ShutdownRequested, VirtualMachine
from vmcore.firmware import stock
from vmcore.machine.config import MachineConfig

# Whoever finds no image in the swap space begins anew.
SCRIPT = """
export PATH=/bin
until busybox test -b /dev/sda; do busybox sleep 0.1; done
busybox cat /sys/class/block/sda/dev > /sys/power/resume
busybox mkswap /dev/sda > /dev/null && busybox swapon /dev/sda
echo began anew
exec busybox sh
"""
SLEEP = b"kept=$((6 * 7)); echo %s > /sys/power/disk; echo disk > /sys/power/state; echo went on with $kept\n"


@pytest.mark.parametrize(
    ("mode", "firmware", "wanted"),
    [
        ("platform", None, ["RESUME", "SUSPEND_DISK", "SHUTDOWN"]),
        ("shutdown", None, ["RESUME", "SHUTDOWN"]),
        ("platform", stock.PC, ["RESUME", "SUSPEND_DISK", "SHUTDOWN"]),
    ],
)
async def test_linux_goes_on_in_another_machine(
    generic_kernel: Path,
    initramfs: MakeInitramfs,
    tmp_path: Path,
    mode: str,
    firmware: str | None,
    wanted: list[str],
) -> None:
    if firmware is not None and stock.find(stock.LINUX_LOADER) is None:
        pytest.skip("SeaBIOS or QEMU's linuxboot_dma.bin is missing")
    swap = tmp_path / "swap"
    with swap.open("wb") as file:
        file.truncate(128 << 20)
    config = MachineConfig(
        kernel=generic_kernel,
        initrd=initramfs(SCRIPT, kernel=generic_kernel, modules=["ata_piix", "sd_mod"]),
        append="console=ttyS0 panic=-1",
        memory="192M",
        cpus=2,
        firmware=firmware,
        disks=[Disk(swap, write_through=True)],
    )
    async with VirtualMachine(config) as vm, connected(vm, tmp_path / "qmp") as qmp:
        await vm.start()
        await vm.serial[0].expect(b"began anew")
        await vm.serial[0].send_all(SLEEP % mode.encode())
        assert await qmp.until("SHUTDOWN") == wanted
        assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
        assert b"PM: hibernation: Wrote " in vm.serial[0].unread
    async with VirtualMachine(config) as vm:
        with vm.fail_after(60):
            await vm.serial[0].expect(b"PM: hibernation: resume from hibernation")
            boot = (await vm.serial[0].expect(b"went on with 42")).before
            assert b"began anew" not in boot
            assert b"PM: hibernation: hibernation exit" in boot
            # Its disk and its console work.
            await vm.serial[0].send_all(
                b"busybox swapoff /dev/sda && busybox dd if=/dev/sda of=/dev/null && echo $kept ok\n"
            )
            await vm.serial[0].expect(b"42 ok")
