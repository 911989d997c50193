"""Linux sees the PCI bus after a direct start, with the built-in loaders alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from vmcore import VirtualMachine

SCRIPT = """
for d in /sys/bus/pci/devices/*; do
  /bin/busybox echo "$d" $(/bin/busybox cat $d/vendor $d/device $d/class)
done
/bin/busybox cat /proc/iomem
/bin/busybox poweroff -f
"""
FUNCTIONS = [
    b"0000:00:00.0 0x8086 0x1237 0x060000",
    b"0000:00:01.0 0x8086 0x7000 0x060100",
    b"0000:00:01.3 0x8086 0x7113 0x068000",
    b"0000:00:02.0 0x1234 0x1111 0x030000",
]
ON_Q35 = [
    b"0000:00:00.0 0x8086 0x29c0 0x060000",
    b"0000:00:02.0 0x1234 0x1111 0x030000",
    b"0000:00:1f.0 0x8086 0x2918 0x060100",
]
COMPLAINT = re.compile(rb"(?i)pci.*(bug:|can't|fail|invalid|no compatible|conflict)|ACPI.*(error|warning)")


async def test_a_directly_started_kernel_finds_the_chip_set(
    cloud_kernel: Path, initramfs: Callable[[str], bytes]
) -> None:
    async with VirtualMachine(
        kernel=cloud_kernel, initrd=initramfs(SCRIPT), append="console=ttyS0 panic=-1", memory="256M"
    ) as vm:
        with vm.fail_after(60):
            await vm.run()
        log = vm.serial[0].unread
    found = [line.rsplit(b"/", 1)[1] for line in log.splitlines() if line.startswith(b"/sys/bus/pci")]
    assert found[:4] == FUNCTIONS
    assert b"ACPI: PCI: Interrupt link LNKA configured for IRQ 10" in log
    assert not [line for line in log.splitlines() if COMPLAINT.search(line)]


async def test_on_q35_it_reaches_configuration_space_by_memory(
    cloud_kernel: Path, initramfs: Callable[[str], bytes]
) -> None:
    async with VirtualMachine(
        board="q35", kernel=cloud_kernel, initrd=initramfs(SCRIPT), append="console=ttyS0 panic=-1", memory="3G", cpus=2
    ) as vm:
        with vm.fail_after(60):
            await vm.run()
        log = vm.serial[0].unread
    found = [line.rsplit(b"/", 1)[1] for line in log.splitlines() if line.startswith(b"/sys/bus/pci")]
    assert found[:3] == ON_Q35
    assert b"PCI: MMCONFIG for domain 0000 [bus 00-ff] at [mem 0xb0000000-0xbfffffff]" in log
    assert b"ACPI: PCI: Interrupt link LNKH configured for IRQ 11" in log
    assert b"reboot: Power down" in log
    assert not [line for line in log.splitlines() if COMPLAINT.search(line)]
