"""Linux goes to sleep in ACPI S3 and comes back with all its processors, its memory, its disk and its console."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from exchange import connected, execute
from guest_kit import MakeInitramfs

from vmcore import Disk, RunState, Shutdown, VirtualMachine
from vmcore.firmware import stock
from vmcore.model.events import Event, Suspend, Wakeup

BY_ALARM = """
echo kept > /kept
echo +100 > /sys/class/rtc/rtc0/wakealarm
echo mem > /sys/power/state
echo "slept: $?, processors: $(/bin/busybox nproc), memory: $(/bin/busybox cat /kept)"
echo "uptime: $(/bin/busybox cat /proc/uptime)"
exec /bin/busybox sh
"""
BY_HAND = """
echo mem > /sys/power/state
echo "slept: $?"
exec /bin/busybox sh
"""


@pytest.mark.parametrize(("cpus", "append"), [(1, "noapic nolapic"), (3, "")])
async def test_the_alarm_wakes_linux(
    cloud_kernel: Path, initramfs: Callable[[str], bytes], cpus: int, append: str
) -> None:
    async with VirtualMachine(
        kernel=cloud_kernel, initrd=initramfs(BY_ALARM), append=f"console=ttyS0 {append}", memory="256M", cpus=cpus
    ) as vm:
        await vm.run(until=Suspend, seconds=30)
        begin = vm.guest_ns
        await vm.run(until=Wakeup, seconds=200)
        assert 98 < (vm.guest_ns - begin) / 1e9 < 101
        with vm.fail_after(30):
            said = await vm.serial[0].expect(b"uptime: ")
            log = said.before
            assert b"ACPI: PM: Waking up from system sleep state S3" in log
            assert b"slept: 0, processors: %d, memory: kept" % cpus in log
            assert b"WARNING" not in log
            assert b"rror" not in log.partition(b"suspend entry")[2]
            await vm.serial[0].expect(b"# ")
            # The console still reads.
            await vm.serial[0].send_all(b"echo $((6 * 7)) again; busybox poweroff -f\n")
            await vm.serial[0].expect(b"42 again")
            async with vm.events.expect(Shutdown):
                pass


@pytest.mark.conformance("SUSPEND", "WAKEUP", "RunState.suspended")
async def test_a_user_wakes_linux(generic_kernel: Path, initramfs: Callable[[str], bytes]) -> None:
    async with VirtualMachine(
        kernel=generic_kernel, initrd=initramfs(BY_HAND), append="console=ttyS0", memory="256M", cpus=2
    ) as vm:
        async with vm.events.expect(Suspend):
            await vm.start()
        assert (await execute(vm, "query-status"))["status"] == RunState.SUSPENDED.value
        golden = await vm.snapshot()
        async with vm.events.expect(Wakeup):
            await vm.wake()
        with vm.fail_after(30):
            await vm.serial[0].expect(b"slept: 0")
    async with VirtualMachine.from_snapshot(golden) as vm:
        await vm.wake()
        with vm.fail_after(30):
            await vm.serial[0].expect(b"slept: 0")


WITH_DISK = """
export PATH=/bin
headers() {{
    for function in /sys/bus/pci/devices/*/config; do
        busybox dd if=$function bs=2 skip=2 count=1
        busybox dd if=$function bs=4 skip=4 count=6
    done 2>/dev/null
}}
until busybox test -b /dev/sda; do busybox sleep 0.1; done
busybox cat /dev/sda > /before
headers > /headers
{alarm}
echo mem > /sys/power/state
echo "slept: $?, processors: $(busybox nproc)"
headers | busybox cmp - /headers && echo "PCI is as before"
busybox echo 3 > /proc/sys/vm/drop_caches
busybox cmp /before /dev/sda && echo "the disk reads"
busybox dmesg | busybox grep -iE 'failed|exception|error|WARNING' && echo BAD
busybox poweroff -f
"""
ALARM = "echo +100 > /sys/class/rtc/rtc0/wakealarm"


@pytest.mark.skipif(stock.find(stock.LINUX_LOADER) is None, reason="SeaBIOS or QEMU's linuxboot_dma.bin is missing")
@pytest.mark.parametrize(
    ("board", "cpus", "how"), [("pc", 1, "alarm"), ("pc", 2, "system_wakeup"), ("q35", 2, "send-key")]
)
async def test_seabios_wakes_linux_and_its_disk_works(
    generic_kernel: Path, initramfs: MakeInitramfs, tmp_path: Path, board: str, cpus: int, how: str
) -> None:
    """The order of events and answers is QEMU 7.2's with the same guest."""
    script = WITH_DISK.format(alarm=ALARM if how == "alarm" else "")
    async with (
        VirtualMachine(
            board=board,
            firmware=stock.PC,
            kernel=generic_kernel,
            initrd=initramfs(script, kernel=generic_kernel, modules=["ata_piix", "ahci", "sd_mod"]),
            append="console=ttyS0 panic=-1",
            memory="256M",
            cpus=cpus,
            disks=[Disk(bytes(range(256)) * 16384)],
        ) as vm,
        connected(vm, tmp_path / "qmp") as qmp,
    ):
        with vm.events.subscribe(Event, capacity=100) as events:
            await vm.start()
            assert await qmp.until("SUSPEND") == ["RESUME", "SUSPEND"]
            if how != "alarm":
                assert (await qmp.execute("query-status"))["return"]["status"] == "suspended"
                # The power button does not wake it.
                assert await qmp.execute("system_powerdown") == {"return": {}}
                assert await qmp.until("POWERDOWN") == ["POWERDOWN"]
                assert (await qmp.execute("query-status"))["return"]["status"] == "suspended"
                keys = {"keys": [{"type": "qcode", "data": "a"}]} if how == "send-key" else {}
                assert await qmp.execute(how, **keys) == {"return": {}}
            assert await qmp.until("WAKEUP") == ["WAKEUP"]
            assert await qmp.until("SHUTDOWN") == ["SHUTDOWN"]
            told = [events.receive_nowait().wire_name for _ in range(4 + (how != "alarm"))]
            button = [] if how == "alarm" else ["POWERDOWN"]
            assert told == ["RESUME", "SUSPEND", *button, "WAKEUP", "SHUTDOWN"]
        log = vm.serial[0].unread
    assert b"ACPI: PM: Waking up from system sleep state S3" in log
    assert b"slept: 0, processors: %d" % cpus in log
    assert b"PCI is as before" in log
    assert b"the disk reads" in log
    assert b"BAD" not in log
