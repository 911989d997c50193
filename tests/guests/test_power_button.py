"""The power button of a running Linux: its own daemon hears of it and switches the machine off."""

from __future__ import annotations

from pathlib import Path

from guest_kit import MakeInitramfs

from vmcore import Powerdown, ShutdownCause, ShutdownRequested, VirtualMachine


async def test_the_guest_switches_itself_off_when_its_power_button_is_pressed(
    cloud_kernel: Path, initramfs: MakeInitramfs, power_button_files: dict[str, tuple[int, bytes]]
) -> None:
    initrd = initramfs(
        "/bin/busybox acpid -d -c /etc/acpi &\nexec /bin/busybox sh",
        kernel=cloud_kernel,
        modules=["evdev", "button"],
        files=power_button_files,
    )
    async with VirtualMachine(kernel=cloud_kernel, initrd=initrd, append="console=ttyS0 panic=-1", memory="256M") as vm:
        await vm.start()
        with vm.fail_after(60):
            await vm.serial[0].expect(b"# ")
            # The daemon has opened its devices when they are among its descriptors.
            await vm.serial[0].send_all(b"until busybox ls -l /proc/[0-9]*/fd | busybox grep -q event; do :; done\n")
            await vm.serial[0].expect(b"# ")
            async with vm.events.expect(Powerdown):
                await vm.powerdown()
            assert await vm.wait_off() == ShutdownRequested(ShutdownCause.GUEST_SHUTDOWN)
