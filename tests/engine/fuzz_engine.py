"""Random bytes as code, under random system state, in every mode: the engine must come back each time, with no
memory error.

`python tests/engine/fuzz_engine.py --seconds 600 --seed 1`; meant for a build with sanitizers:

    VMCORE_SANITIZE=address,undefined python setup.py build_ext --inplace
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
        python tests/engine/fuzz_engine.py

The sanitizers end the process where they find something; the last seed printed repeats it with `--seed N --rounds 1`.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import threading
import time
from collections import Counter
from typing import Any, Final, Self

from vmcore.engine import FEATURES, Cpu, CpuModel, CpuState, PhysicalMemory, RunExit
from vmcore.hardware import COLLECT, KEEP, READ, WRITE, Cells

RAM_SIZE: Final = 0x20_0000
TABLES: Final = 0x1_0000
"""Page tables, four pages, which map the RAM onto itself."""
MODES: Final = ("real", "unreal", "v86", "prot16", "prot32", "paged32", "pae", "compat16", "compat32", "long")
FAVOURED: Final = bytes.fromhex(
    "0f0f0f66f2f3f0484c676426362ec4c5d8d9dadbdcdddedfffcdcfcb9a8e0f01c8ccfbf40f20220f300f32"
)
"""Bytes that lead to more interesting places than most."""


class Fuzzer:
    """One machine that is used for many rounds, each from its own seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.exits: Counter[str] = Counter()
        self.runs = 0
        self.make_machine(seed)

    def make_machine(self, seed: int) -> None:
        """Two vCPUs, RAM, ROM, devices."""
        self.memory = PhysicalMemory()
        self.memory.map_ram(0, RAM_SIZE)
        self.memory.map_ram(0xFFFF_0000, 0x1_0000, rom=True)
        self.memory.map_device(0x30_0000, 0x1100, self._read, self._write)
        self.memory.map_ram(0x40_0000, 0x3000)
        self.memory.map_alias(0x50_0000, 0x2000, 0x1000)
        self.memory.set_port_handlers(self._read, self._write)
        self.memory.map_port(
            0x1F0, 8, self._read, self._write, lambda _, size, count: bytes(size * count), lambda _, size, data: None
        )
        cells = Cells(5)
        cells.rules[:] = bytes((READ | WRITE, READ | WRITE, KEEP, COLLECT, 0))
        cells.writable[:] = b"\xff\x0f" + bytes(3)
        self.memory.map_port(0x80, 5, self._read, self._write, None, lambda _, size, data: None, cells=cells.buffers)
        model = CpuModel("fuzz", frozenset(FEATURES) - {"VENDOR_AMD"}, phys_bits=40)
        self.cpus = [Cpu(self.memory, index, model=model, seed=seed) for index in range(2)]
        for cpu in self.cpus:
            cpu.acknowledge = self._acknowledge
        self.initial = self.cpus[0].save()

    # Callbacks

    def _read(self, offset: int, size: int) -> int:
        r = self.random.random()
        if r < 0.002:
            raise ArithmeticError
        if r < 0.02:
            self.cpus[0].break_run()
        return self.random.getrandbits(8 * size)

    def _write(self, offset: int, value: int, size: int) -> None:
        r = self.random.random()
        if r < 0.002:
            raise ArithmeticError
        if r < 0.01:
            self.memory.a20 = not self.memory.a20
        elif r < 0.02:
            self.memory.write(self.random.randrange(RAM_SIZE), self.random.randbytes(64))
        elif r < 0.03:
            self.cpus[0].set_interrupt(True)
        elif r < 0.04:
            self.cpus[0].nmi()
        elif r < 0.05:
            self.memory.unmap(0x40_0000, 0x3000)
            self.memory.map_ram(0x40_0000, 0x3000)

    def _acknowledge(self) -> int | None:
        self.cpus[0].set_interrupt(False)
        return self.random.choice((None, self.random.getrandbits(8), 8, 32, 255))

    # A round

    def value(self) -> int:
        """Something for a register."""
        r = self.random
        kind = r.random()
        if kind < 0.3:
            return r.randrange(RAM_SIZE)
        if kind < 0.5:
            return r.getrandbits(r.choice((4, 8, 16)))
        if kind < 0.6:
            return (1 << r.choice((15, 16, 31, 32, 47, 48, 63))) + r.randint(-16, 16)
        if kind < 0.7:
            return r.choice((0x30_0000, 0x40_0000, 0x50_0000, 0xFFFF_0000, RAM_SIZE)) + r.randint(-16, 0x1200)
        return r.getrandbits(64)

    def _segments(self, mode: str) -> list[tuple[int, int, int, int]]:
        r = self.random
        wild = r.random() < 0.15
        code = {"prot16": 0x9B, "compat16": 0x9B, "long": 0xA09B}.get(mode, 0xC09B)
        data = 0x93 if mode.endswith("16") else 0xC093
        if mode in ("real", "unreal", "v86"):
            limit = 0xFFFF_FFFF if mode == "unreal" else 0xFFFF
            attributes = 0xF3 if mode == "v86" else 0x93
            bases = [r.randrange(0x1_0000) if r.random() < 0.5 else 0 for _ in range(6)]
            segments = [(base, base << 4, limit, attributes) for base in bases]
        else:
            ring = 3 if r.random() < 0.4 else 0
            limit = 0xFFFF if mode.endswith("16") else 0xFFFF_FFFF
            segments = []
            for index in range(6):
                base = r.choice((0, 0, 0, 0x1000, 0x1_0001)) if mode != "long" or index > 3 else 0
                kind = (code if index == 1 else data) | ring << 5
                segments.append((index * 8 | ring, base, limit, kind))
        segments.append((0x40, 0x4000, 0xFF, 0x82))
        segments.append((0x48, 0x5000, r.choice((0x67, 0x67, 0x2067)), 0x8B))
        if wild:
            victim = r.randrange(8)
            segments[victim] = (
                r.getrandbits(16),
                r.getrandbits(32),
                r.choice((0xFFFF_FFFF, r.getrandbits(32), r.getrandbits(12))),
                r.getrandbits(17) & 0x1F0FF,
            )
        return segments

    def _fill(self, mode: str) -> None:
        """Memory: code, tables, descriptors; each mostly sensible."""
        r = self.random
        memory = self.memory
        memory.a20 = True
        memory.write(0, r.randbytes(0x1000))
        wide = mode in ("pae", "compat16", "compat32", "long")

        def flags() -> int:
            return 7 if r.random() < 0.97 else r.getrandbits(12)

        if wide:
            root = struct.pack("<Q", TABLES + 0x1000 | (1 if mode == "pae" else flags()))
            memory.write(TABLES, root)
            memory.write(
                TABLES + 0x1000, struct.pack("<Q", TABLES + 0x2000 | flags()) * (1 if mode != "pae" else 0) + b""
            )
            directory = TABLES + (0x1000 if mode == "pae" else 0x2000)
            big = b"".join(struct.pack("<Q", (i << 21) | 0x80 | flags()) for i in range(8))
            table = b"".join(struct.pack("<Q", (i << 12) | flags()) for i in range(512))
            memory.write(directory, struct.pack("<Q", TABLES + 0x3000 | flags()) + big[8:])
            memory.write(TABLES + 0x3000, table)
        else:
            big = b"".join(struct.pack("<I", (i << 22) | 0x80 | flags()) for i in range(4))
            memory.write(TABLES, struct.pack("<I", TABLES + 0x1000 | flags()) + big[4:])
            memory.write(TABLES + 0x1000, b"".join(struct.pack("<I", (i << 12) | flags()) for i in range(1024)))
        descriptors = []
        for _ in range(16):
            kind = r.choice(
                (
                    0x9B,
                    0x93,
                    0xFB,
                    0xF3,
                    0x9F,
                    0x97,
                    0x89,
                    0x8B,
                    0x81,
                    0x82,
                    0x84,
                    0x8C,
                    0x85,
                    0xEC,
                    0xE5,
                    r.getrandbits(8),
                )
            )
            size = r.choice((0xC, 0x4, 0xA, 0x0, 0x8, r.getrandbits(4)))
            base = r.choice((0, 0, 0x5000, r.getrandbits(20)))
            limit = r.choice((0xFFFFF, 0xFFFF, 0x67, r.getrandbits(20)))
            descriptors.append(
                limit & 0xFFFF
                | (base & 0xFFFFFF) << 16
                | kind << 40
                | (limit >> 16) << 48
                | size << 52
                | (base >> 24) << 56
            )
        if r.random() < 0.9:  # entries 1 and 2 are what most selectors mean: flat code and data
            size = 0xA if mode == "long" or mode.startswith("compat") else 0x4 if mode.endswith("16") else 0xC
            descriptors[1] = 0xFFFF | 0x9B << 40 | 0xF << 48 | (size | 8) << 52
            descriptors[2] = 0xFFFF | 0x93 << 40 | 0xF << 48 | 0xC << 52
        memory.write(0x3000, struct.pack("<16Q", *descriptors))
        memory.write(0x4000, struct.pack("<16Q", *reversed(descriptors)))
        long = mode in ("compat16", "compat32", "long")
        gates = b""
        for _ in range(256):
            kind, selector, stack = r.choice((0x8E, 0x8F, 0xEE, 0xEF)), 8, 0
            if r.random() < 0.1:
                kind = r.choice((0x86, 0x87, 0x85, 0xE5, r.getrandbits(8)))
                selector = r.choice((8, 0x10, 0x1B, 0x48, r.getrandbits(16)))
                stack = r.choice((0, 1, 7))
            target = r.randrange(0x6000, 0x9000)
            gates += struct.pack("<HHBBH", target & 0xFFFF, selector, stack, kind, target >> 16)
            if long:
                gates += bytes(8) if r.random() < 0.98 else r.randbytes(8)
        memory.write(0x2000, gates[: 0x1000 if long else 0x800])
        task = struct.pack("<26I", *([0x9000, 0x10] * 13))
        if long:
            task = struct.pack("<I13Q", 0, *([0x9000] * 13))
        memory.write(0x5000, r.randbytes(0x100) if r.random() < 0.1 else task)
        memory.write(0x6000, self.code(0x3000))

    def code(self, size: int) -> bytes:
        """Random code with more prefixes, escapes and system instructions than chance would give."""
        r = self.random
        out = bytearray(r.randbytes(size))
        for _ in range(size // 6):
            out[r.randrange(size)] = r.choice(FAVOURED)
        return bytes(out)

    def state(self, mode: str) -> CpuState:
        """A random state of `mode`."""
        r = self.random
        control = {"real": 0x10, "unreal": 0x10, "v86": 0x8000_0011, "prot16": 0x11, "prot32": 0x11}.get(
            mode, 0x8000_0011
        )
        control |= r.choice((0, 0, 0, 0x20, 0x2, 0x8, 0x4, 0x5_0000, 0x4_0000))
        extra = r.getrandbits(22) & 0x37_067F if r.random() < 0.3 else 0x600
        wide = mode in ("pae", "compat16", "compat32", "long")
        long = mode in ("compat16", "compat32", "long")
        extra = extra | 0x20 if wide else extra & ~0x2_0020
        if not long:
            extra &= ~0x2_0000
        flags = r.getrandbits(22) & 0x27_7FD5 | 2
        if r.random() < 0.8:
            flags &= ~0x100
        flags = flags | 0x2_0000 if mode == "v86" else flags & ~0x2_0000
        segments = self._segments(mode)
        ring = 3 if mode == "v86" else 0 if mode in ("real", "unreal") else segments[2][3] >> 5 & 3
        base = segments[1][1] if mode != "long" else 0
        values: dict[str, Any] = self.cpus[0].state()
        values.update(
            gpr=tuple(self.value() & (1 << 64) - 1 if long else self.value() & 0xFFFF_FFFF for _ in range(16)),
            rip=(0x8000 + r.randrange(0xF00) - base) & (0xFFFF if mode in ("real", "v86", "prot16") else 0xFFFF_FFFF),
            rflags=flags,
            cpl=ring,
            activity=0,
            shadow=r.choice((0, 0, 0, 1, 2)),
            pending=r.choice((0, 0, 0, r.getrandbits(8) & 0xFC)),
            segments=tuple(segments),
            gdtr=(0x3000, r.choice((0x7F, 0x7F, 0x17, 0xFFFF))),
            idtr=(
                0 if mode in ("real", "unreal") and r.random() < 0.7 else 0x2000,
                r.choice((0xFFF, 0xFFF, 0x3FF, 0x20)),
            ),
            cr0=control,
            cr2=0,
            cr3=TABLES | r.choice((0, 0, 8, 0x18)),
            cr4=extra,
            efer=0xD00 | r.choice((0, 1)) if long else r.choice((0, 0x801)),
            dr=(
                *(self.value() for _ in range(4)),
                *(0, 0, 0xFFFF_0FF0, r.choice((0x400, 0x400, r.getrandbits(32) & 0xFFFF_2FFF))),
            ),
            pdpte=(TABLES + 0x1000 | 1, 0, r.getrandbits(36) & ~0x1E6, 1),
            fpu_registers=tuple(r.getrandbits(80) for _ in range(8)),
            fcw=r.getrandbits(16),
            fpu_sw=r.getrandbits(16) & 0xC7FF,
            fpu_top=r.getrandbits(3),
            fpu_valid=r.getrandbits(8),
            mxcsr=r.getrandbits(16),
            vectors=r.randbytes(2048),
            instructions=r.choice((0, r.getrandbits(40))),
            lstar=0x8100,
            star=0x0010_0008 << 32,
            sysenter_cs=r.choice((0, 8)),
            sysenter_eip=0x8200,
            sysenter_esp=0x9000,
        )
        return CpuState(**values)

    def round(self, seed: int) -> str:
        """One state, some hundred instructions.

        A digest of what it came to; empty where the watchdog had a hand in it.
        """
        stops = self.exits["STOP"]
        r = self.random
        r.seed(seed)
        mode = r.choice(MODES)
        cpu = r.choice(self.cpus)
        self._fill(mode)
        cpu.restore(self.initial)
        cpu.restore(self.state(mode))
        breakpoint_at = 0x8000 + r.randrange(0x1000) if r.random() < 0.1 else None
        if breakpoint_at is not None:
            cpu.add_breakpoint(breakpoint_at)
            cpu.add_watchpoint(breakpoint_at, 4, read=True)
        for _ in range(4):
            before = cpu.instructions
            wanted = r.choice((1, 7, 100, 1000))
            self.runs += 1
            try:
                reason = cpu.run(wanted)
            except ArithmeticError:
                self.exits["callback raised"] += 1
                continue
            self.exits[reason.name] += 1
            assert cpu.instructions - before <= wanted, f"{cpu.instructions - before} instructions instead of {wanted}"
            if reason is RunExit.BUDGET:
                assert cpu.instructions - before == wanted
            if reason in (RunExit.SHUTDOWN, RunExit.WAIT):
                break
            if reason is RunExit.HALT:
                cpu.nmi()
        saved = cpu.save()
        cpu.restore(saved)
        assert cpu.save() == saved, "restoring what was saved changes it"
        if breakpoint_at is not None:
            cpu.remove_breakpoint(breakpoint_at)
            cpu.remove_watchpoint(breakpoint_at, 4, read=True)
        if self.exits["STOP"] != stops:
            return ""
        return (cpu.digest() + self.memory.digest()).hex()


class Watchdog:
    """Asks for a stop where one run takes long: repeated string instructions may run for minutes and are one
    instruction."""

    def __init__(self, fuzzer: Fuzzer) -> None:
        self._fuzzer = fuzzer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        last = -1
        while not self._ended.wait(0.05):
            if self._fuzzer.runs == last:
                for cpu in self._fuzzer.cpus:
                    cpu.request_stop()
            last = self._fuzzer.runs


def fuzz(
    seed: int,
    rounds: int | None = None,
    seconds: float | None = None,
    *,
    verbose: bool = False,
    digests: bool = False,
) -> Counter[str]:
    """Run rounds until either is used up; how the runs ended, by name.  digests: print one line a round."""
    fuzzer = Fuzzer(seed)
    began = time.monotonic()
    done = 0
    with Watchdog(fuzzer):
        while (rounds is None or done < rounds) and (seconds is None or time.monotonic() - began < seconds):
            if digests or done % 5000 == 4999:
                fuzzer.make_machine(seed)  # a new one now and then; always, where rounds are compared
            if verbose and done % 500 == 0:
                print(f"seed {seed + done}", flush=True)
            try:
                digest = fuzzer.round(seed + done)
                if digests:
                    print(seed + done, digest)
            except BaseException:
                print(f"failed with --seed {seed + done} --rounds 1", file=sys.stderr)
                raise
            done += 1
    fuzzer.exits["rounds"] = done
    return fuzzer.exits


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--digests", action="store_true", help="print a digest of every round, and nothing else")
    options = parser.parse_args()
    seconds = 60.0 if options.seconds is None and options.rounds is None else options.seconds
    exits = fuzz(options.seed, options.rounds, seconds, verbose=not options.digests, digests=options.digests)
    if not options.digests:
        print(dict(exits))


if __name__ == "__main__":
    main()
