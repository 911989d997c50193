"""Interrupt controllers, clock and power management beside QEMU's: the same accesses, the same answers.

QEMU's machine stays stopped (`-S`), so no time goes by; its test protocol makes accesses and drives interrupt inputs.
Masks and left-out accesses have their reasons beside them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random

import pytest
from workbench import GuestTime

from vmcore.devices.acpi_pm import AcpiPm
from vmcore.devices.apic_bus import ApicBus
from vmcore.devices.ioapic import IoApic
from vmcore.devices.pic8259 import Pic8259
from vmcore.devices.pit8254 import Pit8254
from vmcore.devices.rtc_mc146818 import RtcMc146818
from vmcore.hardware import IrqLine, MemoryMap, Mmio, PortSpace

QEMU = shutil.which("qemu-system-x86_64")

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")

START = datetime(2026, 2, 28, 23, 59, 58, tzinfo=UTC)
MACHINE = ("-machine", "pc,hpet=off", "-S", "-nodefaults", "-display", "none")
MASTER, SLAVE, IOAPIC, PM = 0x20, 0xA0, 0xFEC0_0000, 0x600


@cache
def _interrupt_controllers() -> list[str]:
    """The names of the two 8259s in QEMU's object tree, master first."""
    tree = subprocess.run(
        [str(QEMU), *MACHINE, "-monitor", "stdio"], input="info qom-tree\nquit\n", capture_output=True, text=True
    ).stdout
    return re.findall(r"/(device\[\d+\]) \(isa-i8259\)", tree)


class Peer:
    """QEMU's devices."""

    def __init__(self, rom: Path) -> None:
        rom.write_bytes(bytes(0x10000))
        clock = f"base={START:%Y-%m-%dT%H:%M:%S},clock=vm"
        self.process = subprocess.Popen(
            [str(QEMU), *MACHINE, "-bios", str(rom), "-qtest", "stdio", "-rtc", clock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for register, value, size in (0x40, PM | 1, 4), (0x80, 1, 1):  # The ACPI block of the PIIX4 goes to 0x600.
            self.ask(f"outl 0xcf8 {0x8000_0B00 | register:#x}")
            self.ask(f"out{'bwl'[size >> 1]} 0xcfc {value:#x}")
        self.pics = [f"/machine/unattached/{name}" for name in _interrupt_controllers()]

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(("OK", "FAIL")):
                return line.removeprefix("OK").strip()
        raise AssertionError(f"QEMU ended at {command!r}")

    def read(self, port: int, size: int) -> int:
        return int(self.ask(f"in{'bwl'[size >> 1]} {port:#x}"), 16)

    def write(self, port: int, value: int, size: int) -> None:
        self.ask(f"out{'bwl'[size >> 1]} {port:#x} {value:#x}")

    def read_memory(self, address: int) -> int:
        return int(self.ask(f"readl {address:#x}"), 16)

    def write_memory(self, address: int, value: int) -> None:
        self.ask(f"writel {address:#x} {value:#x}")

    def set_input(self, irq: int, level: bool) -> None:
        self.ask(f"set_irq_in {self.pics[irq >> 3]} unnamed-gpio-in {irq & 7} {int(level)}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Ours:
    """Our devices at the same places."""

    def __init__(self) -> None:
        self.time = GuestTime()
        self.ports = PortSpace()
        self.memory = MemoryMap()
        self.pic = Pic8259(IrqLine.unconnected("intr"))
        self.ports.claim(MASTER, 2, self.pic)
        self.ports.claim(SLAVE, 2, self.pic, offset=2)
        self.ports.claim(0x4D0, 2, self.pic, offset=4)
        pit = Pit8254(IrqLine(self.pic.input(0), "irq0"), self.time.clock)
        self.ports.claim(0x40, 4, pit)
        self.ports.claim(0x61, 1, pit, offset=4)
        start = int(START.timestamp())
        self.ports.claim(0x70, 2, RtcMc146818(IrqLine(self.pic.input(8), "irq8"), self.time.clock, start=start))
        power = AcpiPm(IrqLine(self.pic.input(9), "sci"), self.time.clock, lambda state: None)
        self.ports.claim(PM, 0x0C, power)
        self.ports.claim(0xB2, 2, power, offset=0x40)
        self.memory.add(Mmio(IOAPIC, 0x1000, "ioapic", IoApic(ApicBus())))


class Both:
    """The two side by side: every read is a comparison."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.ours = Ours()
        self.done: list[str] = []

    def write(self, port: int, *values: int, size: int = 1) -> None:
        for value in values:
            self.done.append(f"write {value:#04x} to {port:#x}")
            self.peer.write(port, value, size)
            self.ours.ports.write(port, value, size)

    def read(self, port: int, mask: int = 0xFFFF_FFFF, size: int = 1) -> int:
        expected, value = self.peer.read(port, size), self.ours.ports.read(port, size)
        self.done.append(f"read {value:#04x} from {port:#x}, QEMU's is {expected:#04x}")
        assert value & mask == expected & mask, "\n".join(self.done[-40:])
        return value

    def write_memory(self, address: int, value: int) -> None:
        self.done.append(f"write {value:#010x} to {address:#x}")
        self.peer.write_memory(address, value)
        self.ours.memory.write(address, value, 4)

    def read_memory(self, address: int) -> None:
        expected, value = self.peer.read_memory(address), self.ours.memory.read(address, 4)
        self.done.append(f"read {value:#010x} from {address:#x}, QEMU's is {expected:#010x}")
        assert value == expected, "\n".join(self.done[-20:])

    def set_input(self, irq: int, level: bool) -> None:
        self.done.append(f"irq {irq} {'high' if level else 'low'}")
        self.peer.set_input(irq, level)
        self.ours.pic.set_input(irq, level)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    peer = Peer(tmp_path / "rom.bin")
    try:
        yield Both(peer)
    finally:
        peer.close()


def initialise(both: Both, random: Random | None = None) -> None:
    for port, base, wiring in (MASTER, 0x08, 0x04), (SLAVE, 0x70, 0x02):
        # With automatic EOI in the slave, QEMU loses the edge that its next request makes at the master.
        icw4 = random.choice((0x01, 0x03)) if random and port == MASTER else 0x01
        both.write(port, 0x11)
        both.write(port + 1, base, wiring, icw4)


@pytest.mark.parametrize("seed", range(4))
def test_the_8259s_agree_on_random_programs(both: Both, seed: int) -> None:
    """A poll is an acknowledge, so the whole priority logic shows without a processor."""
    random = Random(seed)
    both.write(0x43, 0x30)  # The timer keeps still.
    both.ours.pic.set_input(0, False)
    initialise(both)
    levels = 0
    special = {MASTER: False, SLAVE: False}
    for _ in range(700):
        port = random.choice((MASTER, SLAVE))
        what = random.random()
        if what < 0.40:
            irq = random.choice((1, 3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15))
            levels ^= 1 << irq
            both.set_input(irq, bool(levels >> irq & 1))
        elif what < 0.60:
            # In special mask mode, QEMU's non-specific EOI reaches masked levels, too; the sheet excludes them.
            command = random.randrange(8) | (0x02 if special[port] else 0)
            both.write(port, command << 5 | random.randrange(8))  # OCW2
        elif what < 0.70:
            special[port] = random.random() < 0.5
            both.write(port, 0x68 if special[port] else 0x48)  # OCW3
            both.write(port + 1, both.read(port + 1))  # QEMU looks at its output again only after an OCW1.
        elif what < 0.80:
            both.write(port + 1, random.getrandbits(8) & random.getrandbits(8))
        elif what < 0.97:
            both.write(port, 0x0C)
            both.read(port)
        elif random.random() < 0.3:
            # A line that is high at ICW1 is taken as a new edge by QEMU once somebody drives it again.
            for irq in range(16):
                if levels >> irq & 1:
                    both.set_input(irq, False)
            levels = 0
            special = dict.fromkeys(special, False)
            initialise(both, random)
            # Only now: QEMU looks at the levels of inputs when they change, not when they become level triggered.
            both.write(0x4D0, random.getrandbits(8))
            both.write(0x4D1, random.getrandbits(8))
        for chip in MASTER, SLAVE:
            both.write(chip, 0x0A)
            both.read(chip)
            both.write(chip, 0x0B)
            both.read(chip)
            both.read(chip + 1)


def test_the_ioapics_agree(both: Both) -> None:
    random = Random(0)
    for index in range(0x42):
        both.write_memory(IOAPIC, index)
        both.read_memory(IOAPIC + 0x10)
    for _ in range(300):
        index = random.choice((0, 2, *range(0x10, 0x40)))
        both.write_memory(IOAPIC, index)
        # QEMU stores reserved bits, too; all entries stay masked, as there is no processor to send to.
        value = random.getrandbits(32) & 0xAFFF | 0x10000 if index >= 0x10 and not index & 1 else 0
        value = random.getrandbits(32) & 0xFF00_0000 if index & 1 else value
        both.write_memory(IOAPIC + 0x10, value & 0x0F00_0000 if index < 0x10 else value)
        both.read_memory(IOAPIC + 0x10)


class Rtc:
    def __init__(self, both: Both) -> None:
        self.both = both

    def read(self, index: int, mask: int = 0xFF) -> int:
        self.both.write(0x70, index)
        return self.both.read(0x71, mask)

    def write(self, index: int, value: int) -> None:
        self.both.write(0x70, index)
        self.both.write(0x71, value)

    def show(self) -> None:
        for index in (0, 2, 4, 6, 7, 8, 9, 0x32, 0x0B, 0x0D):
            self.read(index)


def test_the_clocks_agree_in_every_format(both: Both) -> None:
    rtc = Rtc(both)
    for mode in (0x02, 0x00, 0x04, 0x06, 0x02):
        rtc.write(0x0B, mode)
        rtc.show()


def test_the_clocks_agree_when_set(both: Both) -> None:
    rtc = Rtc(both)
    random = Random(2)
    for _ in range(60):
        mode = random.choice((0x02, 0x06))
        rtc.write(0x0B, 0x80 | mode)
        for index, start, limit in (
            (0, 0, 60),
            (2, 0, 60),
            (4, 0, 24),
            (6, 1, 8),
            (7, 1, 32),
            (8, 1, 13),
            (9, 0, 100),
            (0x32, 20, 22),
        ):
            value = random.randrange(start, limit)
            rtc.write(index, value if mode & 4 else value // 10 << 4 | value % 10)
        rtc.show()
        rtc.write(0x0B, mode)
        for index in (0, 2, 4, 7, 8, 9, 0x32):  # Not the day of the week: QEMU works it out, the chip is told.
            rtc.read(index)


def test_the_clocks_agree_when_set_byte_by_byte(both: Both) -> None:
    rtc = Rtc(both)
    random = Random(3)
    for _ in range(100):
        index, limit = random.choice(((0, 60), (2, 60), (4, 24), (9, 100)))
        value = random.randrange(limit)
        rtc.write(index, value // 10 << 4 | value % 10)
        for read in (0, 2, 4, 7, 8, 9, 0x32):
            rtc.read(read)


def test_the_registers_of_the_clocks_agree(both: Both) -> None:
    rtc = Rtc(both)
    for index in (0x0A, 0x0B, 0x0C, 0x0D):
        rtc.read(index)
    for index, value in ((0x0B, 0x92), (0x0B, 0x7F), (0x0A, 0xFF), (0x0A, 0x26), (0x0C, 0xFF), (0x0D, 0), (0x0B, 0x02)):
        rtc.write(index, value)
        for read in (0x0A, 0x0B, 0x0C, 0x0D):
            rtc.read(read)
    both.read(0x70)


def test_the_power_management_blocks_agree(both: Both) -> None:
    both.write(PM, 0xFFFF, size=2)
    both.read(PM, size=2)
    both.write(PM + 2, 0x0321, size=2)
    both.read(PM + 2, size=2)
    both.write(PM + 4, 0x1C03, size=2)
    both.read(PM + 4, size=2)
    both.read(PM + 8, size=4)
    for command in 0xF1, 0xF0, 0xF1:
        both.write(0xB2, command)
        both.read(PM + 4, size=2)
        both.read(0xB2)


def test_counts_and_status_bytes_agree(both: Both) -> None:
    null_count = 0x40  # QEMU does not have it: it loads counts when they are written.
    both.write(0x61, 0x01)
    for mode in range(6):
        for access in (0x10, 0x20, 0x30):
            both.write(0x43, 0x80 | access | mode << 1)
            both.write(0x43, 0xE8)
            both.read(0x42, mask=0x7F & ~null_count)  # The output without a count is a matter of taste.
            both.write(0x42, *((0x35, 0x35) if access == 0x30 else (0x35,)))
            both.write(0x43, 0xE8)
            both.read(0x42, mask=(0xFF if mode in (0, 3) else 0x7F) & ~null_count)
            if mode not in (1, 5):  # These wait for the gate, in QEMU they do not.
                for _ in range(4):
                    both.read(0x42, mask=0xFE if mode == 3 else 0xFF)
                both.write(0x43, 0x80)
                for _ in range(2):
                    both.read(0x42, mask=0xFE if mode == 3 else 0xFF)
