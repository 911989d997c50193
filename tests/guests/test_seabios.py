"""Debian's SeaBIOS, unmodified, on the board `pc`: its debug log beside QEMU's, several processors, warm resets."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vmcore import VirtualMachine
from vmcore.engine import Segment, assemble, can_assemble
from vmcore.firmware import stock
from vmcore.machine.config import MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.events import Event, Reset
from vmcore.model.units import SECOND

SEABIOS = stock.find(stock.PC)
pytestmark = pytest.mark.skipif(SEABIOS is None, reason="seabios is not installed")

AS_QEMU = """\
Running on QEMU (i440fx)
Found QEMU fw_cfg
QEMU fw_cfg DMA interface supported
qemu/e820: addr 0x0000000000000000 len 0x0000000008000000 [RAM]
Relocating init from 0x000d48c0 to 0x06feb320 (size 85056)
Moving pm_base to 0x600
=== PCI bus & bridge init ===
PCI: pci_bios_init_bus_rec bus = 0x0
=== PCI device probing ===
=== PCI new allocation pass #1 ===
PCI: check devices
=== PCI new allocation pass #2 ===
PCI: 32: 0000000080000000 - 00000000fec00000
PCI: init bdf=00:00.0 id=8086:1237
PCI: init bdf=00:01.0 id=8086:7000
PIIX3/PIIX4 init: elcr=00 0c
PCI: init bdf=00:01.3 id=8086:7113
Using pmtimer, ioport 0x608
Found 1 cpu(s) max supported 1 cpu(s)
Scan for VGA option rom
Found 0 lpt ports
Found 1 serial ports
PS2 keyboard initialized
All threads complete.
Scan for option roms
  0: 0000000000000000 - 000000000009fc00 = 1 RAM
  1: 000000000009fc00 - 00000000000a0000 = 2 RESERVED
  2: 00000000000f0000 - 0000000000100000 = 2 RESERVED
  5: 00000000fffc0000 - 0000000100000000 = 2 RESERVED
Booting from Hard Disk...
Booting from Floppy...
No bootable device.
"""
"""Lines of SeaBIOS 1.16.2's log on QEMU 7.2's `pc` (-m 128 -nodefaults) that do not depend on what else is plugged in.
Those with addresses of code depend on the build: they are compared for Debian's 1.16.2-debian-1.16.2-1."""


AS_QEMU_ON_Q35 = """\
Running on QEMU (q35)
Moving pm_base to 0x600
PCIe: using q35 mmconfig at 0xb0000000
PCI: 32: 00000000c0000000 - 00000000fec00000
PCI: init bdf=00:00.0 id=8086:29c0
PCI: init bdf=00:1f.0 id=8086:2918
Q35 LPC init: elcr=00 0c
Using pmtimer, ioport 0x608
All threads complete.
  5: 00000000b0000000 - 00000000c0000000 = 2 RESERVED
  6: 00000000fed1c000 - 00000000fed20000 = 2 RESERVED
No bootable device.
"""


def started(firmware: str = stock.PC, cpus: int = 1, board: str = "pc") -> tuple[Machine, bytearray, list[Event]]:
    made = Machine(MachineConfig(board=board, firmware=firmware, cpus=cpus, devices=["isa-debugcon,iobase=0x402"]))
    log, events = bytearray(), list[Event]()
    made.on_debugcon = log.extend
    made.on_event = events.append
    return made, log, events


def test_the_log_is_that_which_qemu_gives() -> None:
    made, log, events = started()
    made.run(until_ns=2 * SECOND)
    lines = log.decode().splitlines()
    wanted = AS_QEMU.splitlines()
    if "SeaBIOS (version 1.16.2-debian-1.16.2-1)" not in lines:
        wanted = [line for line in wanted if not line.startswith(("Relocating", "  5"))]
    at = -1
    for line in wanted:
        assert line in lines, log.decode()
        if not line.startswith("Booting"):
            assert lines.index(line) > at, line
            at = lines.index(line)
    assert events == []
    assert made.instructions < 20_000_000, "it must not wait in loops"


def test_the_log_on_q35_is_that_which_qemu_gives() -> None:
    made, log, events = started(board="q35", cpus=2)
    made.run(until_ns=2 * SECOND)
    lines = log.decode().splitlines()
    places = [lines.index(line) for line in AS_QEMU_ON_Q35.splitlines()]
    assert places == sorted(places)
    assert events == []


def test_without_a_display_it_talks_on_the_serial_port() -> None:
    made, _, _ = started()
    made.run(until_ns=2 * SECOND)
    assert b"SeaBIOS" in bytes(made.serial[0].tail)
    assert b"No bootable device." in bytes(made.serial[0].tail)


@pytest.mark.parametrize("cpus", [2, 4])
def test_it_finds_all_processors(cpus: int) -> None:
    made, log, _ = started(cpus=cpus)
    made.run(until_ns=2 * SECOND)
    assert f"Found {cpus} cpu(s) max supported {cpus} cpu(s)" in log.decode()


def test_the_small_image_for_old_machines_runs_too() -> None:
    made, log, _ = started("bios.bin")
    made.run(until_ns=2 * SECOND)
    assert b"No bootable device." in log


def test_a_snapshot_within_it_goes_on_in_another_machine() -> None:
    made, log, _ = started()
    made.run(instructions=2_500_000)
    twin = Machine.from_snapshot(made.save())
    twin_log = bytearray(log)
    twin.on_debugcon = twin_log.extend
    made.run(until_ns=2 * SECOND)
    twin.run(until_ns=2 * SECOND)
    assert twin_log == log
    assert twin.digest() == made.digest()


@pytest.mark.skipif(not can_assemble(), reason="keystone has no wheel here")
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("mov dx, 0xcf9; mov al, 2; out dx, al; mov al, 6; out dx, al", id="reset control"),
        pytest.param("mov al, 0xfe; out 0x64, al", id="keyboard controller"),
        pytest.param("mov al, 1; out 0x92, al", id="port 92"),
        pytest.param("push 0; push 0; push 0; mov bx, sp; lidt ss:[bx]; int3", id="triple fault"),
    ],
)
def test_a_warm_reset_begins_anew(how: str) -> None:
    made, log, events = started()
    made.run(until_ns=2 * SECOND)
    del log[:]
    cpu = made.cpus[0]
    made.memory.write(0x7C00, assemble(f"cli; {how}; x: hlt; jmp x", 16, 0x7C00))
    cpu.cs, cpu.ss = Segment(0, 0, 0xFFFF, 0x9B), Segment(0, 0, 0xFFFF, 0x93)
    cpu.rsp, cpu.rip, cpu.activity = 0x7000, 0x7C00, type(cpu.activity)(0)
    if how.startswith("push"):
        made.memory.write(0x6FFA, bytes(6))
    made.run(until_ns=5 * SECOND)
    assert [event for event in events if isinstance(event, Reset)] == [events[-1]], "once"
    assert log.count(b"Running on QEMU (i440fx)") == 1
    assert b"No bootable device." in log


async def test_it_starts_a_kernel_from_the_firmware_configuration_device(
    cloud_kernel: Path, initramfs: Callable[[str], bytes]
) -> None:
    if stock.find(stock.LINUX_LOADER) is None:
        pytest.skip("QEMU's linuxboot_dma.bin is not installed")
    script = "/bin/busybox echo hello; /bin/busybox ls /sys/bus/pci/devices; /bin/busybox poweroff -f"
    async with VirtualMachine(
        firmware=stock.PC,
        kernel=cloud_kernel,
        initrd=initramfs(script),
        append="console=ttyS0 panic=-1",
        memory="256M",
        cpus=2,
    ) as vm:
        with vm.fail_after(60):
            await vm.run()
        log = vm.serial[0].unread
    assert b"\nhello" in log
    assert re.search(rb"0000:00:00.0\s+0000:00:01.0\s+0000:00:01.3", log)
    assert b"smp: Brought up 1 node, 2 CPUs" in log
    assert b"reboot: Power down" in log
    assert not re.search(rb"(?i)ACPI (BIOS )?(error|warning)|firmware bug", log)
