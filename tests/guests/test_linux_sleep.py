"""Linux goes to sleep in ACPI S3 and comes back with all its processors, its memory and its console."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vmcore import RunState, Shutdown, VirtualMachine
from vmcore.model.events import Suspend, Wakeup

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
    from exchange import execute

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
