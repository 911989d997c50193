"""A real kernel, started in QEMU from our boot images: the loaders, the BIOS and the ACPI tables as Linux sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
import qemu_oracle

from vmcore.firmware import linux
from vmcore.firmware.image_file import ImageFile
from vmcore.firmware.linux import LinuxEntry
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.units import MIB

MEMORY = 256 * MIB


def debian_kernel() -> ImageFile:
    found = sorted(Path("/boot").glob("vmlinuz-*-cloud-amd64"))
    if not found:
        pytest.skip("Debian's linux-image-cloud-amd64 is not installed")
    if missing := qemu_oracle.available():
        pytest.skip(missing)
    return ImageFile(str(found[0]), found[0].read_bytes())


@pytest.mark.parametrize("entry", [LinuxEntry.LONG_MODE, LinuxEntry.REAL_MODE])
def test_linux_takes_our_tables_without_complaint(entry: LinuxEntry, tmp_path: Path) -> None:
    layout = PlatformLayout(memory=MEMORY, cpus=2, gpe0=0xAFE0)  # where QEMU has its general-purpose events
    # Without a root file system the kernel panics in the end, and resets at once.
    image = linux.load(debian_kernel(), layout, append="console=ttyS0 panic=-1 tsc=reliable", entry=entry)
    log = qemu_oracle.run(image, tmp_path, memory=MEMORY, cpus=2).decode(errors="replace")
    assert "Unable to mount root fs" in log
    assert "ACPI: 1 ACPI AML tables successfully acquired and loaded" in log
    assert "smp: Brought up 1 node, 2 CPUs" in log
    assert "BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable" in log
    if entry is LinuxEntry.LONG_MODE:  # The BIOS leaves QEMU's power management function off.
        for line in log.splitlines():
            assert not ("ACPI" in line and any(word in line for word in ("rror", "arning", "BUG"))), line
    assert "Firmware Bug" not in log
