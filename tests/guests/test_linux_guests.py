"""Debian's kernels, unmodified, from the first instruction to power-off."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vmcore import Shutdown, ShutdownCause, ShutdownRequested, VirtualMachine

COMPLAINT = re.compile(
    rb"WARNING|BUG:|Call Trace|Oops|Firmware [BW]|FW_BUG|ACPI (?:BIOS )?(?:Error|Warning)"
    rb"|ACPI:.*(?:rror|nvalid|mismatch)|unexpected|spurious|stuck|timed? ?out|Unstable|unstable|not responding|failed",
    re.IGNORECASE,
)
SCRIPT = """
echo "hello from user space"
/bin/busybox cat /proc/cpuinfo
/bin/busybox poweroff -f
"""


def complaints(log: bytes) -> list[bytes]:
    return [line for line in log.splitlines() if COMPLAINT.search(line)]


@pytest.mark.parametrize("cpus", [1, 4])
async def test_the_cloud_kernel_boots_to_user_space_and_powers_off_without_complaint(
    cloud_kernel: Path, initramfs: Callable[[str], bytes], cpus: int
) -> None:
    async with VirtualMachine(
        kernel=cloud_kernel, initrd=initramfs(SCRIPT), append="console=ttyS0 panic=-1", memory="512M", cpus=cpus
    ) as vm:
        with vm.fail_after(60):
            boot = await vm.serial[0].expect(b"hello from user space")
            async with vm.events.expect(Shutdown) as shutdown:
                pass
        assert shutdown.value == Shutdown(guest=True, reason=ShutdownCause.GUEST_SHUTDOWN)
        rest = vm.serial[0].unread
        assert rest.count(b"processor\t:") == cpus
        assert b"reboot: Power down" in rest
        assert complaints(boot.before + rest) == []


async def test_the_generic_kernel_boots_to_user_space_and_powers_off(
    generic_kernel: Path, initramfs: Callable[[str], bytes]
) -> None:
    async with VirtualMachine(
        kernel=generic_kernel, initrd=initramfs(SCRIPT), append="console=ttyS0 panic=-1", memory="512M"
    ) as vm:
        with vm.fail_after(60):
            boot = await vm.serial[0].expect(b"hello from user space")
            assert await vm.run() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
        assert complaints(boot.before) == []


async def test_a_booted_guest_talks_on_the_serial_port_and_obeys_the_power_button(
    cloud_kernel: Path, initramfs: Callable[[str], bytes]
) -> None:
    script = "/bin/busybox acpid -f -a /dev/null 2>/dev/null & exec /bin/busybox sh"
    async with VirtualMachine(
        kernel=cloud_kernel, initrd=initramfs(script), append="console=ttyS0 quiet panic=-1", memory="256M", seed=7
    ) as vm:
        await vm.start()
        with vm.fail_after(60):
            await vm.serial[0].expect(b"# ")
            await vm.serial[0].send_all(b"echo $((6 * 7)) of $(busybox nproc)\n")
            await vm.serial[0].expect(b"42 of 1")
            await vm.serial[0].send_all(b"busybox poweroff -f\n")
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)


async def test_a_boot_is_the_same_run_each_time(cloud_kernel: Path, initramfs: Callable[[str], bytes]) -> None:
    initrd = initramfs(SCRIPT)

    async def boot() -> tuple[int, str]:
        async with VirtualMachine(
            kernel=cloud_kernel, initrd=initrd, append="console=ttyS0 panic=-1", memory="256M", cpus=2
        ) as vm:
            await vm.serial[0].expect(b"Run /init")
            return vm.instructions, vm.digest()

    assert await boot() == await boot()
