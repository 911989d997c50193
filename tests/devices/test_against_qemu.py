"""The devices beside QEMU's: the same accesses, the same answers.

QEMU executes them for its test protocol (`-qtest`) while its processor halts in a ROM of four bytes.  Where the data
sheets leave no doubt and QEMU differs all the same, the access is not part of a sequence, or the bit is masked with the
reason beside it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from workbench import GuestTime

from vmcore.devices.debugcon import Debugcon
from vmcore.devices.i8042 import I8042
from vmcore.devices.port92 import Port92
from vmcore.devices.serial16550 import Serial16550
from vmcore.hardware import IrqLine, PortSpace

QEMU = shutil.which("qemu-system-x86_64")

pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-system-x86_64 is not installed")

COM1, DATA, STATUS, FAST = 0x3F8, 0x60, 0x64, 0x92

NEVER_CLEARED_BY_QEMU = 0x08
"""Status bit 3 of the 8042, command or data: QEMU sets it once and for all."""


class Peer:
    """QEMU's devices."""

    def __init__(self, rom: Path) -> None:
        rom.write_bytes(bytes(0xFFF0) + b"\xfa\xf4\xeb\xfd" + bytes(12))  # cli; hlt; jmp hlt
        devices = ["isa-serial,chardev=com", "isa-debugcon,chardev=debug"]
        self.process = subprocess.Popen(
            [str(QEMU), "-machine", "pc", "-nodefaults", "-display", "none", "-bios", str(rom), "-qtest", "stdio"]
            + ["-chardev", "null,id=com", "-chardev", "null,id=debug"]
            + [part for device in devices for part in ("-device", device)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("OK"):
                return line[2:].strip()
        raise AssertionError(f"QEMU ended at {command!r}")

    def read(self, port: int) -> int:
        return int(self.ask(f"inb {port:#x}"), 16)

    def write(self, port: int, value: int) -> None:
        self.ask(f"outb {port:#x} {value:#x}")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Ours:
    """Our devices at the same ports."""

    def __init__(self) -> None:
        self.time = GuestTime()
        self.ports = PortSpace()
        line, a20 = IrqLine.unconnected, IrqLine.unconnected("a20")
        keyboard = I8042(line("irq1"), line("irq12"), a20, lambda: None, self.time.clock)
        self.ports.claim(DATA, 1, keyboard, "i8042 data")
        self.ports.claim(STATUS, 1, keyboard, "i8042 status", offset=4)
        self.ports.claim(FAST, 1, Port92(a20, lambda: None))
        self.ports.claim(COM1, 8, Serial16550(line("irq4"), self.time.clock))
        self.ports.claim(0xE9, 1, Debugcon(lambda data: None))

    def read(self, port: int) -> int:
        value = self.ports.read(port, 1)
        self.time.advance(1_000_000)  # What takes time here takes none there.
        return value

    def write(self, port: int, value: int) -> None:
        self.ports.write(port, value, 1)


class Both:
    """The two side by side: every read is a comparison."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.ours = Ours()
        self.done: list[str] = []

    def write(self, port: int, *values: int) -> None:
        for value in values:
            self.done.append(f"write {value:#04x} to {port:#x}")
            self.peer.write(port, value)
            self.ours.write(port, value)

    def read(self, port: int, mask: int = 0xFF) -> None:
        expected, value = self.peer.read(port), self.ours.read(port)
        self.done.append(f"read {value:#04x} from {port:#x}, QEMU's is {expected:#04x}")
        assert value & mask == expected & mask, "\n".join(self.done[-20:])

    def set_up(self) -> None:
        """The 8042 tests itself, and works with interrupts and translation."""
        self.write(STATUS, 0xAA)
        self.read(DATA)
        self.write(STATUS, 0x60)
        self.write(DATA, 0x47)

    def answers(self, count: int) -> None:
        """Read `count` bytes from the 8042 as a guest does, then see that there is no more."""
        for _ in range(count):
            self.read(STATUS, mask=~NEVER_CLEARED_BY_QEMU)
            self.read(DATA)
        self.read(STATUS, mask=~NEVER_CLEARED_BY_QEMU)


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Both]:
    peer = Peer(tmp_path / "rom.bin")
    try:
        yield Both(peer)
    finally:
        peer.close()


def test_the_keyboard_controller_answers_as_qemus_does(both: Both) -> None:
    both.set_up()
    for command in 0xAA, 0xAB, 0xA9, 0x20, 0xC0:
        both.write(STATUS, command)
        both.answers(1)
    for command, state in (0xA7, 0x20), (0xA8, 0x20), (0xAD, 0x20), (0xAE, 0x20):
        both.write(STATUS, command, state)
        both.answers(1)
    for command in 0xD2, 0xD3:
        both.write(STATUS, command)
        both.write(DATA, 0x5A)
        both.answers(1)


def test_the_keyboard_answers_as_qemus_does(both: Both) -> None:
    both.set_up()
    commands = {0xFF: 2, 0xF2: 3, 0xEE: 1, 0xF4: 1, 0xF5: 1, 0xF6: 1, 0xEF: 1}
    for command, count in commands.items():
        both.write(DATA, command)
        both.answers(count)
    for command, parameter, count in (0xED, 3, 1), (0xF3, 0x20, 1), (0xF0, 0, 2), (0xF0, 3, 1), (0xF0, 0, 2):
        both.write(DATA, command)
        both.answers(1)
        both.write(DATA, parameter)
        both.answers(count)


def test_the_mouse_answers_as_qemus_does(both: Both) -> None:
    both.set_up()

    def send(command: int, count: int) -> None:
        both.write(STATUS, 0xD4)
        both.write(DATA, command)
        both.answers(count)

    for command, count in (0xFF, 3), (0xF2, 2), (0xE9, 4), (0xEB, 4), (0xE7, 1), (0xE9, 4), (0xE6, 1):
        send(command, count)
    for command in 0xE8, 3, 0xF3, 200, 0xF3, 100, 0xF3, 80:
        send(command, 1)
    for command, count in (0xF2, 2), (0xE9, 4), (0xEB, 5), (0xEE, 1), (0x12, 1), (0xEC, 1), (0xF6, 1), (0xE9, 4):
        send(command, count)
    for command in 0xF3, 200, 0xF3, 200, 0xF3, 80:
        send(command, 1)
    send(0xF2, 2)
    send(0xF4, 1)
    send(0xE9, 4)
    send(0xF5, 1)


def test_the_a20_gate_follows_as_qemus_does(both: Both) -> None:
    both.write(FAST, 0x00)
    both.read(FAST)
    both.write(FAST, 0x02)
    both.read(FAST)
    both.write(STATUS, 0x60)
    both.write(DATA, 0x00)
    for value in 0xDD, 0xDF:
        both.write(STATUS, value, 0xD0)
        both.read(DATA)


def test_the_debug_console_is_there_as_qemus_is(both: Both) -> None:
    both.write(0xE9, 0x41)
    both.read(0xE9)


def test_the_uart_passes_linuxs_probing_as_qemus_does(both: Both) -> None:
    """What Linux 6.1 does in drivers/tty/serial/8250 to learn what a UART is, register by register."""
    dll, ier, iir, lcr, mcr, lsr, msr, scr = range(COM1, COM1 + 8)
    both.write(mcr, 0x00)
    for value in 0x00, 0x0F, 0x00:
        both.write(ier, value)
        both.read(ier)
    both.write(mcr, 0x1A)
    both.read(msr, mask=0xF0)  # QEMU notes no changes in loop-back mode; the data sheet does (8.6).
    both.write(mcr, 0x00)
    both.read(msr, mask=0xF0)
    both.write(iir, 0x01)
    both.read(iir)
    for format_ in 0x80, 0xBF, 0xE0, 0x00:
        both.write(lcr, format_)
        both.read(iir)
    both.write(iir, 0x00)
    both.read(iir)
    for value in 0x5A, 0xA5:
        both.write(scr, value)
        both.read(scr)
    both.write(lcr, 0x83)
    both.write(dll, 0x01)
    both.write(ier, 0x00)
    both.read(dll)
    both.read(ier)
    both.write(lcr, 0x03)
    both.read(lcr)
    both.write(mcr, 0xFF)
    both.read(mcr)
    both.write(mcr, 0x0B)
    for value in 0x02, 0x00, 0x02, 0x02:
        both.write(ier, value)
        both.read(iir)
        both.read(iir)
    both.read(lsr)
    both.read(dll)
