"""A guest that hammers every register of every device at random: nothing may crash, hang, grow or raise.

`python tests/machine/fuzz_devices.py --seconds 600 --seed 1`; meant for a build with sanitizers, which fuzz_engine.py
tells how to make.  Each round has a seed of its own, which is printed when something is found: `--seed N --rounds 1`
repeats it.

A round is a machine with all that its board can have, and a guest of random accesses (all widths, ports and memory,
single and repeated, registers and bus masters' tables in RAM full of random bytes), with keys, bytes and buttons from
outside in between.  Behind it the machine is reset, and has to come up as a new one does: the program again, or SeaBIOS
and then the boot sector of the first disk.  For that CMOS gets back what it held at first, as firmware believes it.
"""

from __future__ import annotations

import argparse
import random
import resource
import struct
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve

from vmcore import Disk, FlatImage, Machine, MachineConfig
from vmcore.engine import Activity, Segment
from vmcore.firmware.stock import find
from vmcore.hardware.memory_map import Mmio
from vmcore.model.exits import DebugExit, Exit, PauseRequested, ShutdownRequested

CODE: Final = 0x2_0000
CODE_SIZE: Final = 0x4000
SCRATCH: Final = 0x8_0000
MEMORY: Final = 16 << 20
ACCESSES: Final = 400
INSTRUCTIONS: Final = 30_000
KEYS: Final = ("a", "ret", "ctrl", "alt", "delete", "up", "pause", "print", "f12", "kp_5", "meta_l")
MARK: Final = ord("K")
COM1: Final = 0x3F8

BOOT_INSTRUCTIONS: Final = 60_000_000
"""Within which SeaBIOS has come to the boot sector."""

PRELUDE: Final = bytes.fromhex("66baf803b04bee")  # mov dx, 3f8h; mov al, 'K'; out dx, al

ENDINGS: Final = ("Pm window", "Lpc window", "8042 command", "port A", "pci configuration", "pvpanic")

Place = tuple[int, int]
"""Start and length of a range."""


def places(machine: Machine, rarely: bool) -> tuple[list[Place], list[Place]]:
    """Ranges of ports, and of memory that devices answer, as the engine has them now.

    rarely: with those that end most programs within a few accesses, because they switch the machine off or reset it.
    """
    ports = [
        (claimed.base, claimed.length)
        for claimed in machine.board.ports.ranges
        if rarely or not any(word in claimed.name for word in ENDINGS)
    ]
    memory = [(region.base, region.size) for region in machine.board.memory_map if isinstance(region, Mmio)]
    memory += [(start, size) for start, size, kind in machine.memory.regions() if kind == "device" and start < 1 << 32]
    return ports, memory


def program(choose: random.Random, ports: list[Place], memory: list[Place]) -> bytes:
    """Random accesses, in 32-bit protected mode with flat segments, that begin again at their end."""
    code = bytearray(PRELUDE)
    while len(code) < CODE_SIZE - 64:
        kind = choose.random()
        if kind < 0.45:
            code += _port(choose, _somewhere(choose, ports) & 0xFFFF)
        elif kind < 0.55 and ports:
            # Index and data registers: the same range, one write and one more access behind it.
            base, length = choose.choice(ports)
            code += _port(choose, base, write=True) + _port(choose, base + choose.randrange(length) & 0xFFFF)
        elif kind < 0.6:
            code += _configuration(choose)
        elif kind < 0.9:
            code += _memory(choose, _somewhere(choose, memory) & 0xFFFF_FFFF)
        elif kind < 0.95:
            code += _repeated(choose, _somewhere(choose, ports) & 0xFFFF)
        else:
            # Tables of bus masters, near addresses that registers may have been given.
            code += b"\xc7\x05" + struct.pack("<II", SCRATCH + choose.randrange(0x1000) & ~3, _value(choose))
    return bytes(code) + b"\xe9" + struct.pack("<i", -len(code) - 5)


def _somewhere(choose: random.Random, ranges: list[Place]) -> int:
    if not ranges or choose.random() < 0.02:
        return choose.getrandbits(32)
    base, length = choose.choice(ranges)
    return base + choose.randrange(min(length, 0x1000) if choose.random() < 0.9 else length)


def _value(choose: random.Random) -> int:
    kind = choose.randrange(5)
    if kind == 0:
        return SCRATCH + choose.randrange(0x1000)
    if kind == 1:
        return 1 << choose.randrange(32)
    return choose.choice((0, 0xFFFF_FFFF, choose.getrandbits(8), choose.getrandbits(32)))


def _port(choose: random.Random, port: int, write: bool | None = None) -> bytes:
    write = choose.random() < 0.6 if write is None else write
    operation = choose.choice((b"\xee", b"\x66\xef", b"\xef") if write else (b"\xec", b"\x66\xed", b"\xed"))
    load = b"\xb8" + struct.pack("<I", _value(choose)) if write else b""
    return b"\x66\xba" + struct.pack("<H", port) + load + operation


def _configuration(choose: random.Random) -> bytes:
    """A write to PCI configuration space by mechanism 1: anything, or a function that is given a place and let work."""
    function = choose.randrange(8) if choose.random() < 0.5 else 0
    device = choose.randrange(32) if choose.random() < 0.3 else choose.choice((0, 1, 2, 3, 4, 5, 31))
    place = 1 << 31 | device << 11 | function << 8
    if choose.random() < 0.5:
        bar = choose.randrange(6)
        value = choose.choice((0xC000 + 0x100 * bar, 0xFEA0_0000 + 0x10000 * choose.randrange(16), _value(choose)))
        return _config_write(place | 0x10 + 4 * bar, value) + _config_write(place | 4, choose.choice((7, 0x407, 3)))
    return _select(place | choose.randrange(64) << 2) + _port(choose, 0xCFC + choose.randrange(4))


def _select(place: int) -> bytes:
    return b"\x66\xba\xf8\x0c\xb8" + struct.pack("<I", place) + b"\xef"


def _config_write(place: int, value: int) -> bytes:
    return _select(place) + b"\x66\xba\xfc\x0c\xb8" + struct.pack("<I", value) + b"\xef"


def _memory(choose: random.Random, address: int) -> bytes:
    place = struct.pack("<I", address)
    kind = choose.randrange(8)
    if kind < 3:
        return (b"\xa0", b"\x66\xa1", b"\xa1")[kind] + place
    if kind < 6:
        return b"\xb8" + struct.pack("<I", _value(choose)) + (b"\xa2", b"\x66\xa3", b"\xa3")[kind - 3] + place
    if kind == 6:
        return b"\x0f\x6f\x05" + place  # movq mm0, [address]
    return b"\x0f\x7f\x05" + place  # movq [address], mm0


def _repeated(choose: random.Random, port: int) -> bytes:
    pointers = struct.pack("<I", SCRATCH + choose.randrange(0x1000))
    setup = b"\x66\xba" + struct.pack("<H", port) + b"\xb9" + struct.pack("<I", choose.randrange(1, 600))
    setup += b"\xbf" + pointers + b"\xbe" + pointers
    return setup + choose.choice((b"\xf3\x6c", b"\xf3\x66\x6d", b"\xf3\x6d", b"\xf3\x6e", b"\xf3\x66\x6f", b"\xf3\x6f"))


def from_outside(machine: Machine, choose: random.Random) -> None:
    """Something that a user or a cable does."""
    kind = choose.randrange(6)
    if kind == 0:
        (machine.keyboard.press if choose.random() < 0.6 else machine.keyboard.release)(choose.choice(KEYS))
    elif kind == 1 and machine.serial:
        port = choose.choice(machine.serial)
        port.send(choose.randbytes(choose.randrange(1, 60)))
    elif kind == 2:
        machine.power_button()
    elif kind == 3:
        machine.nmi(choose.choice(machine.present_cpus))


def start(machine: Machine) -> None:
    """Have the first vCPU execute the program, in flat protected mode, whatever it does at present."""
    cpu = machine.cpus[0]
    cpu.cr0 = 0x11
    cpu.cs = Segment(0x08, 0, 0xFFFF_FFFF, 0xC09B)
    for name in ("ds", "es", "ss"):
        setattr(cpu, name, Segment(0x10, 0, 0xFFFF_FFFF, 0xC093))
    cpu.rflags, cpu.rip, cpu.rsp = 2, CODE, SCRATCH - 16
    cpu.activity = Activity.ACTIVE


class Fuzzer:
    """Rounds, each from its own seed.  configs: configurations by name, of which each round takes one."""

    def __init__(self, configs: Mapping[str, MachineConfig]) -> None:
        self.configs = configs
        self.counts: Counter[str] = Counter()

    def round(self, seed: int) -> None:
        """One machine, one random program, a reset at the end."""
        choose = random.Random(seed)
        name = choose.choice(sorted(self.configs))
        with Machine(self.configs[name]) as machine:
            seen: list[bytes] = []
            machine.serial[0].on_output = seen.append
            self._come_up(machine, seen, name)
            cmos = machine.board.devices["/machine/rtc"].save().cmos
            machine.memory.write(SCRATCH, choose.randbytes(0x2000))
            self._program(machine, choose)
            start(machine)
            for _ in range(choose.randrange(1, 6)):
                exit = machine.run(INSTRUCTIONS)
                self.counts[type(exit).__name__] += 1
                machine.take_events()
                if self._is_off(machine, exit):
                    break
                from_outside(machine, choose)
                if choose.random() < 0.3:
                    self._program(machine, choose)
            if choose.random() < 0.2:
                self._check_state(machine)
            clock = machine.board.devices["/machine/rtc"]
            clock.restore(evolve(clock.save(), cmos=cmos))
            machine.reset()
            self._come_up(machine, seen, name)
            self.counts["rounds"] += 1
            self.counts["instructions"] += machine.instructions

    @staticmethod
    def _program(machine: Machine, choose: random.Random) -> None:
        machine.memory.write(CODE, program(choose, *places(machine, rarely=choose.random() < 0.2)))

    @staticmethod
    def _come_up(machine: Machine, seen: list[bytes], name: str) -> None:
        """Run until the guest shows a sign of life."""
        seen.clear()
        end = machine.instructions + BOOT_INSTRUCTIONS
        while MARK not in b"".join(seen):
            machine.run(1_000_000 if machine.config.firmware is not None else 1_000)
            assert machine.instructions < end, f"{name}: no sign of life"

    @staticmethod
    def _is_off(machine: Machine, exit: Exit) -> bool:
        return machine.off is not None or isinstance(exit, ShutdownRequested | DebugExit | PauseRequested)

    @staticmethod
    def _check_state(machine: Machine) -> None:
        """Whatever the guest has done, the state can be saved, and restored to what it was."""
        snapshot, digest = machine.save(), machine.digest()
        machine.restore(snapshot)
        assert machine.digest() == digest


def configurations() -> dict[str, MachineConfig]:
    """Each board with as many devices as it takes; with SeaBIOS where it is installed."""
    image = FlatImage(PRELUDE + b"\xeb\xfe", address=CODE, mode="protected")
    boot_sector = bytes.fromhex("baf803b04beeebfe").ljust(510, b"\0") + b"\x55\xaa"
    disks = (
        Disk(boot_sector + bytes(range(256)) * 8190, id="hd0", read_only=True),
        Disk(bytes(1 << 20)),
        Disk(bytes(range(256)) * 800, media="cdrom"),
        Disk(None, media="cdrom"),
    )
    full: dict[str, Any] = {"memory": MEMORY, "serials": 4, "disks": disks}
    full["devices"] = ("pvpanic", "isa-debugcon,iobase=0x402", "ib700", "i6300esb")
    configs = {
        "pc": MachineConfig(board="pc", flat=image, **full),
        "pc with two vCPUs": MachineConfig(board="pc", flat=image, memory=MEMORY, serials=2, cpus=2, maxcpus=4),
        "q35": MachineConfig(board="q35", flat=image, **full),
    }
    if find("bios-256k.bin") is not None:
        configs["pc with SeaBIOS"] = MachineConfig(board="pc", firmware="bios-256k.bin", **full)
        configs["q35 with SeaBIOS"] = MachineConfig(board="q35", firmware="bios-256k.bin", **full)
    return configs


def fuzz(seed: int, *, rounds: int | None = None, seconds: float | None = None) -> Counter[str]:
    """Run rounds from consecutive seeds; what they ended with."""
    fuzzer = Fuzzer(configurations())
    until = None if seconds is None else time.monotonic() + seconds
    number = 0
    while (rounds is None or number < rounds) and (until is None or time.monotonic() < until):
        try:
            fuzzer.round(seed + number)
        except BaseException:
            print(f"found in the round of seed {seed + number}", file=sys.stderr)
            raise
        number += 1
    return fuzzer.counts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    arguments = parser.parse_args()
    counts = fuzz(arguments.seed, rounds=arguments.rounds, seconds=arguments.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(dict(counts), f"peak memory {peak} MiB")


if __name__ == "__main__":
    main()
