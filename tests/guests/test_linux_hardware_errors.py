"""Linux and trouble: a watchdog that it does not feed, and memory that fails."""

from __future__ import annotations

from pathlib import Path

from guest_kit import MakeInitramfs

from vmcore import Reset, ShutdownCause, VirtualMachine
from vmcore.model.events import MemoryFailure, MemoryFailureAction, Watchdog
from vmcore.model.run_state import WatchdogAction

# Feeds the watchdog for a while, and then no more, without the farewell that would switch it off.
DOG = """
exec 9> /dev/watchdog
for i in 1 2 3 4 5; do echo fed >&9; /bin/busybox sleep 5; done
echo "starving"
/bin/busybox sleep 1000
"""
READY = """
echo "ready: $(/bin/busybox grep -c . /proc/cpuinfo)"
/bin/busybox sleep 2
/bin/busybox dmesg | /bin/busybox grep -e mce -e 'Memory failure'
echo "bad: $(/bin/busybox grep HardwareCorrupted /proc/meminfo)"
exec /bin/busybox sh
"""


async def test_linux_feeds_a_watchdog_and_is_reset_when_it_does_not(
    generic_kernel: Path, initramfs: MakeInitramfs
) -> None:
    initrd = initramfs(DOG, kernel=generic_kernel, modules=["ib700wdt"])
    async with VirtualMachine(
        kernel=generic_kernel, initrd=initrd, append="console=ttyS0", memory="256M", devices=["ib700"]
    ) as vm:
        with vm.fail_after(120):
            boot = await vm.serial[0].expect(b"starving")
            assert b"ib700wdt: WDT driver for IB700" in boot.before
            begin = vm.guest_ns
            async with vm.events.expect(Watchdog) as watchdog:
                pass
            assert watchdog.value == Watchdog(WatchdogAction.RESET)
            # Its default is 30 s, of which 5 s had passed.
            assert 24 < (vm.guest_ns - begin) / 1e9 < 26
            await vm.serial[0].expect(b"Linux version")


async def test_linux_feeds_the_6300esb_on_pci_too(generic_kernel: Path, initramfs: MakeInitramfs) -> None:
    initrd = initramfs(DOG, kernel=generic_kernel, modules=["i6300esb"])
    async with VirtualMachine(
        kernel=generic_kernel, initrd=initrd, append="console=ttyS0", memory="256M", devices=["i6300esb"]
    ) as vm:
        with vm.fail_after(120):
            boot = await vm.serial[0].expect(b"starving")
            assert b"i6300ESB timer 0000:00:03.0: initialized" in boot.before
            begin = vm.guest_ns
            async with vm.events.expect(Watchdog):
                pass
            # Its default is 30 s, of which 5 s had passed.
            assert 24 < (vm.guest_ns - begin) / 1e9 < 26
            await vm.serial[0].expect(b"Linux version")


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
