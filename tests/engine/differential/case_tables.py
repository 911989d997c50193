"""Cases in one line each, for what randomness misses.

    MODE BYTES "disassembly" before => after

MODE is 64, 32 or 16.  `before` and `after` are words: `rax=1` (hexadecimal; registers of 64 bits, flags `cf pf af zf
sf df of`,
`fcw fsw ftw mxcsr st0`-`st7 xmm0`-`xmm15`), `[10]=aabb` (bytes of the window from that offset on).  `@10` is the
address of the
window plus 10h.  `after` says all that changes: what it does not name must be as before; `cf=?` is undefined.
`#GP(0)` at its
start is the exception that ends the case; `cr2=` goes with `#PF(6)`.

Not named before: general registers 0, RSP in the middle of the window, the x87 as after FNINIT, MXCSR 1F80h, memory 0.
"""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import field, frozen
from engine_under_test import describe_context
from host_oracle import CASE, CODE, CODE_BYTES, CONTEXT, DATA, RESULT, WINDOW, WINDOW_SIZE

from vmcore.engine.registers import GPR_NAMES

FOLDER: Final = Path(__file__).parents[1] / "cases"
FLAGS: Final = {"cf": 0, "pf": 2, "af": 4, "zf": 6, "sf": 7, "df": 10, "of": 11}
VECTORS: Final = {
    "#DE": 0, "#DB": 1, "#BP": 3, "#OF": 4, "#BR": 5, "#UD": 6, "#NM": 7, "#NP": 11, "#SS": 12, "#GP": 13, "#PF": 14,
    "#MF": 16, "#AC": 17, "#XM": 19,
}  # fmt: skip
STACK: Final = 0x200
"""Offset of RSP in the window."""


@frozen
class TableCase:
    """One line.  packed: a `CASE`; expected: names and values, None for undefined ones."""

    where: str
    mode: int
    code: bytes
    disassembly: str
    packed: bytes = field(repr=False)
    vector: int | None
    error: int
    expected: dict[str, int | None]
    memory: dict[int, int]

    def __str__(self) -> str:
        return f"{self.where} {self.disassembly}"


def _base(mode: int) -> int:
    return WINDOW - DATA if mode == 16 else WINDOW


def _number(text: str, mode: int) -> int:
    return _base(mode) + int(text[1:], 16) if text.startswith("@") else int(text, 16)


def fresh(mode: int) -> dict[str, int]:
    """The state before a case that names nothing."""
    state = dict.fromkeys(
        GPR_NAMES,
        0,
    )
    state.update({f"st{i}": 0 for i in range(8)}, **{f"xmm{i}": 0 for i in range(16)})
    state.update(rsp=_base(mode) + STACK, fcw=0x37F, fsw=0, ftw=0, mxcsr=0x1F80, **dict.fromkeys(FLAGS, 0))
    return state


def pack(mode: int, code: bytes, state: dict[str, int], memory: dict[int, int]) -> bytes:
    """A `CASE` at the start of the code."""
    fx = bytearray(512)
    struct.pack_into("<HHBB", fx, 0, state["fcw"], state["fsw"], state["ftw"], 0)
    struct.pack_into("<II", fx, 24, state["mxcsr"], 0xFFFF)
    for i in range(8):
        fx[32 + 16 * i : 42 + 16 * i] = state[f"st{i}"].to_bytes(10, "little")
    for i in range(16):
        fx[160 + 16 * i : 176 + 16 * i] = state[f"xmm{i}"].to_bytes(16, "little")
    flags = 0x202 | sum(state[name] << bit for name, bit in FLAGS.items())
    window = bytearray(WINDOW_SIZE)
    for offset, value in memory.items():
        window[offset] = value
    gpr = [
        state[name]
        for name in [
            "rax",
            "rcx",
            "rdx",
            "rbx",
            "rsp",
            "rbp",
            "rsi",
            "rdi",
            "r8",
            "r9",
            "r10",
            "r11",
            "r12",
            "r13",
            "r14",
            "r15",
        ]
    ]
    context = CONTEXT.pack(*gpr, 0 if mode == 16 else CODE, flags, bytes(fx))
    return CASE.pack(context, mode, code.ljust(CODE_BYTES - 2, b"\x90") + b"\x0f\x0b", bytes(window))


def unpack(result: bytes, mode: int) -> tuple[dict[str, int], int, int, bytes]:
    """State by name, vector, error code and window of a `RESULT`."""
    context, vector, error, cr2, window = RESULT.unpack(result)
    state = describe_context(context)
    flags = state.pop("rflags")
    state.update({name: flags >> bit & 1 for name, bit in FLAGS.items()}, cr2=cr2)
    if mode != 64:
        for name in ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"]:
            state[name] &= 0xFFFF if (mode, name) == (16, "rsp") else 0xFFFF_FFFF
    return state, vector, error, window


def _words(text: str, mode: int, state: dict[str, int | None], memory: dict[int, int]) -> tuple[int | None, int]:
    vector, error = None, 0
    for word in text.split():
        if match := re.fullmatch(r"(#\w\w)(?:\((\w+)\))?", word):
            vector, error = VECTORS[match[1]], int(match[2] or "0", 16)
            continue
        name, _, value = word.partition("=")
        if match := re.fullmatch(r"\[(\w+)\]", name):
            for index, byte in enumerate(bytes.fromhex(value)):
                memory[int(match[1], 16) + index] = byte
        elif name not in state and name != "cr2":
            raise ValueError(f"{name!r} is no register")
        else:
            state[name] = None if value == "?" else _number(value, mode)
    return vector, error


def parse(line: str, where: str) -> TableCase:
    """One line of a table."""
    mode_text, data, disassembly = shlex.split(line, posix=True)[:3]
    mode, code = int(mode_text), bytes.fromhex(data)
    before_text, after_text = line.split('"', 2)[2].split("=>")
    before: dict[str, int | None] = dict(fresh(mode))
    memory: dict[int, int] = {}
    _words(before_text, mode, before, memory)
    known = {name: value for name, value in before.items() if value is not None}
    packed = pack(mode, code, known, memory)
    expected, after_memory = dict(before), dict(memory)
    vector, error = _words(after_text, mode, expected, after_memory)
    return TableCase(where, mode, code, disassembly, packed, vector, error, expected, after_memory)


def tables() -> Iterator[TableCase]:
    """All cases of all tables."""
    for path in sorted(FOLDER.glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            text = line.split("##", 1)[0].strip()
            if text and not text.startswith("#"):
                yield parse(text, f"{path.name}:{number}")


def differences(case: TableCase, result: bytes) -> list[str]:
    """What a result has that the table does not say."""
    state, vector, error, window = unpack(result, case.mode)
    wrong = []
    if case.vector is None:
        if vector != 6 or state["rip"] != (CODE_BYTES - 2 if case.mode == 16 else CODE + CODE_BYTES - 2):
            wrong.append(f"ended by exception {vector} ({error:#x}) at {state['rip']:#x}")
    elif (vector, error) != (case.vector, case.error):
        wrong.append(f"exception {vector} ({error:#x}), expected {case.vector} ({case.error:#x})")
    for name, value in case.expected.items():
        if value is not None and state[name] != value:
            wrong.append(f"{name} is {state[name]:#x}, expected {value:#x}")
    wanted = bytearray(WINDOW_SIZE)
    for offset, byte in case.memory.items():
        wanted[offset] = byte
    wrong += [
        f"[{at:x}] is {window[at]:02x}, expected {wanted[at]:02x}"
        for at in range(WINDOW_SIZE)
        if window[at] != wanted[at]
    ]
    return wrong
