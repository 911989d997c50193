"""Cases for privileged code, run on this engine and on QEMU's TCG by the same guest program (runner.asm).

A case is a mode, privilege level, registers, patches of the descriptor tables and a few instructions; its record is the
exception or interrupt that ended it with everything that can be seen then.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

sys.path.insert(0, str(Path(__file__).parent.parent))

from system_bench import CODE, GDT, IDT, STACKS, TSS, Bench, descriptor, gate

from vmcore.engine import Cpu, PhysicalMemory, RunExit

MARK = 0x81
MODEL = "Nehalem"
TARGET = 0x10400  # where INT MARK follows on INT MARK
TARGET16 = 0xBF00  # the same below 64 KiB
CASE_SIZE = 512
LAYOUT = (
    "index vector error f0 f1 f2 f3 f4 f5 f6 f7 f8 ax cx dx bx sp bp si di ds es fs gs tr ldtr cr0 cr2 cr4 dr6 dr7 cs "
    "ss r11 gsbase efer sum"
)
FIELDS = tuple(LAYOUT.split())
RECORD = struct.Struct("<37Q")
HERE = Path(__file__).parent


def available() -> bool:
    return bool(shutil.which("nasm") and shutil.which("qemu-system-x86_64"))


@define
class SystemCase:
    """mode: long, compat, prot, prot16 or v86."""

    mode: str
    cpl: int
    code: bytes
    flags: int = 2
    registers: dict[str, int] = field(factory=dict)
    patches: list[tuple[int, int]] = field(factory=list)
    cr0: int = 0
    cr4: int = 0
    sysenter_cs: int = 0x18
    dr0: int = 0
    dr7: int = 0x400
    note: str = ""

    @property
    def is_long(self) -> bool:
        return self.mode in ("long", "compat")

    def pack(self) -> bytes:
        level = self.cpl
        ip = CODE
        sp = STACKS[level]
        data = (0x10 if level == 0 else 0x28) | level
        if self.mode == "v86":
            level, cs, ss, data, ip, sp = 3, CODE >> 4, (STACKS[3] - 0x1000) >> 4, 0xA00, 0, 0x1000
        else:
            code = {"long": (0x18, 0x30), "compat": (8, 0x20), "prot": (8, 0x20), "prot16": (0x48, 0x48)}[self.mode]
            cs = code[0] if level == 0 else code[1] | level
            ss = data
            if level in (1, 2):
                cs, data = 0x90 + 0x20 * (level - 1) | level, 0x98 + 0x20 * (level - 1) | level
                ss = data
            if self.mode == "prot16":
                ip = 0
        flags = self.flags | (0x20000 if self.mode == "v86" else 0)
        head = struct.pack(
            "<16I",
            *(0, data, len(self.patches), len(self.code), cs, ss, flags, sp),
            *(self.cr0, self.cr4, self.sysenter_cs, self.dr0, self.dr7, ip, 0, 0),
        )  # fmt: skip
        r = self.registers
        head += struct.pack("<7Q", *(r.get(n, 0) for n in ("rax", "rcx", "rdx", "rbx", "rsi", "rdi", "rbp")))
        assert len(self.code) <= 64
        assert len(self.patches) <= 26
        body = head.ljust(0x80, b"\0") + self.code.ljust(64, b"\0")
        for address, value in self.patches:
            body += struct.pack("<IQ", address, value & (1 << 64) - 1)
        return body.ljust(CASE_SIZE, b"\0")


def _assemble(name: str, *options: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "program.bin"
        subprocess.run(["nasm", "-w-all", "-f", "bin", "-o", str(out), *options, str(HERE / name)], check=True)
        return out.read_bytes()


_images: dict[bool, bytes] = {}


def image(long: bool) -> bytes:
    """Memory from 0 to 1 MiB without the cases."""
    if long not in _images:
        bench = Bench("long" if long else "prot")
        mark = (IDT + 16 * MARK) if long else (IDT + 8 * MARK)
        bench.put(mark, gate(0x18 if long else 0x08, 0x18000 + 16 * MARK, 0xEE))
        # Segments of levels 1 and 2 for stacks and code.
        for level in (1, 2):
            dpl = level << 5
            bench.put(GDT + 0x90 + 0x20 * (level - 1), descriptor(0, 0xFFFFF, 0x9B | dpl, 0xA if long else 0xC))
            bench.put(GDT + 0x98 + 0x20 * (level - 1), descriptor(0, 0xFFFFF, 0x93 | dpl, 0xC))
            if not long:
                bench.memory.load(TSS + 8 + 8 * level, struct.pack("<I", 0x98 + 0x20 * (level - 1) | level))
        bench.memory.load(TARGET16, b"\xcd\x81" * 0x80)
        bench.memory.load(TARGET, b"\xcd\x81" * 0x80)
        data = bytearray(bench.memory.read(0, 0x100000))
        program = _assemble("runner.asm", *(["-DLONG"] if long else []))
        data[0x60000 : 0x60000 + 0x1000] = program[:0x1000]
        data[0x18000:0x19000] = program[0x1000:0x2000]
        _images[long] = bytes(data)
    return _images[long]


def _cases_image(cases: list[SystemCase], skip: int) -> bytes:
    body = bytearray(struct.pack("<I", len(cases)).ljust(CASE_SIZE, b"\0"))
    for index, case in enumerate(cases):
        body += case.pack() if index >= skip else b"\xff\xff\xff\xff".ljust(CASE_SIZE, b"\0")
    return bytes(body)


BIOS = b"\xf4" * 0xFFF0 + b"\xea\x00\x00\x00\x60".ljust(16, b"\xf4")


def _decode(data: bytes) -> dict[int, dict[str, int]]:
    result = {}
    for i in range(0, len(data) // RECORD.size * RECORD.size, RECORD.size):
        record = dict(zip(FIELDS, RECORD.unpack_from(data, i), strict=True))
        result[record["index"]] = record
    return result


def run_here(cases: list[SystemCase]) -> dict[int, dict[str, int] | None]:
    """Records by case number; None where the processor shut down or never came to an end."""
    return _all(cases, _here)


def run_qemu(cases: list[SystemCase]) -> dict[int, dict[str, int] | None]:
    return _all(cases, _qemu)


def _all(cases: list[SystemCase], once: object) -> dict[int, dict[str, int] | None]:
    result: dict[int, dict[str, int] | None] = {}
    start = 0
    while start < len(cases):
        assert callable(once)
        found = _decode(once(cases[0].is_long, _cases_image(cases, start)))
        result.update(found)
        end = max(found, default=start - 1) + 1
        if end < len(cases):
            result[end] = None
            end += 1
        start = end
    return result


def _here(long: bool, cases: bytes) -> bytes:
    return run_image_here(image(long), cases, MODEL)


def run_image_here(low: bytes, cases: bytes, model: str) -> bytes:
    """What the program in the image writes to port E9h."""
    memory = PhysicalMemory()
    memory.map_ram(0, 0x1000000)
    memory.map_ram(0xFFFF0000, 0x10000, rom=True, contents=BIOS)
    memory.load(0, low)
    memory.load(0x100000, cases)
    out = bytearray()
    cpu = Cpu(memory, 0, model=model)

    def write(port: int, value: int, size: int) -> None:
        if port == 0xE9:
            out.append(value & 0xFF)
        elif port == 0xF4:
            cpu.break_run()

    memory.set_port_handlers(lambda port, size: (1 << 8 * size) - 1, write)
    last = -1
    while True:
        reason = cpu.run(3_000_000)
        if reason != RunExit.BUDGET or len(out) == last:
            break
        last = len(out)
    return bytes(out)


def _qemu(long: bool, cases: bytes) -> bytes:
    return run_image_qemu(image(long), cases, MODEL)


def run_image_qemu(low: bytes, cases: bytes, model: str) -> bytes:
    """The same on QEMU."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        (where / "bios").write_bytes(BIOS)
        (where / "image").write_bytes(low[:0xA0000])
        (where / "cases").write_bytes(cases)
        out = where / "out"
        process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg", "-cpu", model, "-m", "16", "-display", "none", "-nodefaults"),
                *("-no-reboot", "-bios", str(where / "bios"), "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
                *("-device", f"loader,file={where}/image,addr=0,force-raw=on"),
                *("-device", f"loader,file={where}/cases,addr=0x100000,force-raw=on"),
                *("-chardev", f"file,id=o,path={out}", "-device", "isa-debugcon,iobase=0xe9,chardev=o"),
            ],
            stdout=subprocess.DEVNULL,
        )
        # A guest that runs wild writes no more records: give it up when nothing has come for a while.
        size = idle = 0
        while idle < (10 if size else 80):
            try:
                process.wait(0.05)
                break
            except subprocess.TimeoutExpired:
                now = out.stat().st_size if out.exists() else 0
                idle, size = (idle + 1, size) if now == size else (0, now)
        else:
            process.kill()
            process.wait()
        return out.read_bytes()


def cpuid_leaves(model: str, run: Callable[[bytes, bytes, str], bytes]) -> dict[tuple[int, int], tuple[int, ...]]:
    """EAX to EDX by leaf and subleaf, from a guest program that asks for all of them."""
    low = bytes(0x60000) + _assemble("cpuid_dump.asm")
    data = run(low, b"", model)
    rows = [struct.unpack_from("<6I", data, i) for i in range(0, len(data), 24)]
    return {row[:2]: row[2:] for row in rows}


def differences(
    case: SystemCase, ours: dict[str, int] | None, theirs: dict[str, int] | None
) -> dict[str, tuple[int, int]]:
    """What differs and is not one of TCG's known liberties.  Nothing, where TCG never came to an end.

    TCG (7.2) pushes no RF with faults, sets no EXT bit for exceptions on the way to a handler, counts gates of long
    mode twice in error codes, loads a null SS with every use of an IST, and sets no accessed bit with far transfers.
    """
    if theirs is None:
        return {}
    if ours is None:
        return {"vector": (-1, theirs["vector"])}
    found = {k: (ours[k], theirs[k]) for k in FIELDS if ours[k] != theirs[k]}
    for name in ("f2", "f3", "f4", "f5", "f6", "f7", "f8"):
        if name in found and found[name][0] ^ found[name][1] == 0x10000:
            del found[name]
    if "error" in found and case.is_long:
        ours_code, theirs_code = found["error"]
        if ours_code & 2 and ours_code >> 2 == theirs_code >> 3:
            del found["error"]
    if "error" in found and found["error"][0] == found["error"][1] | 1:
        del found["error"]
    if case.is_long and ("ss" in found or "f4" in found) and found.get("ss", found.get("f4", (0, 9)))[1] < 4:
        found.pop("ss", None)
        found.pop("f4", None)
    if case.code in (b"\xec", b"\xed", b"\x66\xed"):
        found.pop("ax", None)  # what is read from a port that nobody has
    found.pop("sum", None) if set(found) == {"sum"} else None
    return found


__all__ = [
    "SystemCase",
    "available",
    "cpuid_leaves",
    "differences",
    "run_here",
    "run_image_here",
    "run_image_qemu",
    "run_qemu",
]
