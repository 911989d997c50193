"""Linux and trouble: memory that fails, interrupts that nobody expects."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from exchange import connected
from guest_kit import MakeInitramfs

from vmcore import Reset, ShutdownCause, VirtualMachine
from vmcore.model.events import MemoryFailure, MemoryFailureAction

READY = """
echo "ready: $(/bin/busybox grep -c . /proc/cpuinfo)"
/bin/busybox sleep 2
/bin/busybox dmesg | /bin/busybox grep -e mce -e 'Memory failure'
echo "bad: $(/bin/busybox grep HardwareCorrupted /proc/meminfo)"
exec /bin/busybox sh
"""


async def test_linux_takes_a_failed_page_out_of_use(generic_kernel: Path, initramfs: MakeInitramfs) -> None:
    async with VirtualMachine(
        kernel=generic_kernel, initrd=initramfs(READY), append="console=ttyS0", memory="256M", cpus=2
    ) as vm:
        with vm.fail_after(60):
            await vm.serial[0].expect(b"ready: ")
            with vm.events.subscribe(MemoryFailure) as failures:
                # A page in the middle of free memory, found by scrubbing; the other processor is told too.
                outcome = await vm.memory_failure(0xC00_0000, action_required=False)
                assert outcome.action is MemoryFailureAction.INJECT
                assert [failures.receive_nowait().action for _ in range(2)] == [MemoryFailureAction.INJECT] * 2
            told = await vm.serial[0].expect(b"bad: ")
            assert b"mce: [Hardware Error]: Machine check events logged" in told.before
            assert b"Memory failure: 0xc000: recovery action for free buddy page: Recovered" in told.before
            assert (await vm.serial[0].expect(b" kB")).before.split()[-1] == b"4"


async def test_linux_panics_over_a_page_that_its_kernel_needs(generic_kernel: Path, initramfs: MakeInitramfs) -> None:
    async with VirtualMachine(
        kernel=generic_kernel, initrd=initramfs(READY), append="console=ttyS0 panic=-1", memory="256M"
    ) as vm:
        with vm.fail_after(60):
            await vm.serial[0].expect(b"ready: ")
            await vm.sleep(0.5)
            async with vm.events.expect(Reset) as reset:
                await vm.memory_failure(0xC00_0000, action_required=True)
            assert reset.value == Reset(True, ShutdownCause.GUEST_RESET)
            log = vm.serial[0].unread
        assert b"mce: [Hardware Error]: CPU 0: Machine Check Exception: 7 Bank 9: bd80000000000134" in log
        assert b"ADDR c000000 MISC 8c" in log
        assert b"Kernel panic - not syncing: Fatal machine check" in log


async def test_linux_is_told_of_what_clients_do_and_they_of_what_it_does(
    generic_kernel: Path, initramfs: MakeInitramfs, tmp_path: Path
) -> None:
    async with (
        VirtualMachine(
            kernel=generic_kernel,
            initrd=initramfs("exec /bin/busybox sh"),
            append="console=ttyS0",
            memory="256M",
            cpus=2,
            rtc="2026-01-01T00:00:00",
        ) as vm,
        connected(vm, tmp_path / "qmp") as qmp,
    ):
        await vm.start()
        with trio.fail_after(100):  # The host's time: an idle guest's flies.
            await vm.serial[0].expect(b"# ")
            assert await qmp.execute("inject-nmi") == {"return": {}}
            for _ in vm.peek().present_cpus:
                await vm.serial[0].expect(b"Uhhuh. NMI received for unknown reason")
                await vm.serial[0].expect(b"Dazed and confused, but trying to continue")
            # What scrubbing finds in a page, told to both processors; what the page is used for, the kernel decides.
            mce = "mce -b 0 9 0xbd000000000000c0 5 0xc000000 0x8c"
            assert await qmp.execute("human-monitor-command", command_line=mce) == {"return": ""}
            await vm.serial[0].expect(b"Memory failure: 0xc000: recovery action for ")
            await vm.serial[0].send_all(b"export PATH=/bin; busybox date -u -s 2026-01-31; busybox hwclock -w -u\n")
            data = (await qmp.event("RTC_CHANGE"))["data"]
            assert data["qom-path"] == "/machine/rtc"
            assert data["offset"] == pytest.approx(30 * 24 * 3600, abs=60)
