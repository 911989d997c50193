"""The compiled fast handlers keep their promise: they tail-call one another and call nothing."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vmcore.engine import _native

ROW = re.compile(r"^\s+[0-9a-f]+:\s+(\S+)\s*(.*)$")
HANDLER = re.compile(r"^[0-9a-f]+ <(.*\(Cpu\*, Op const\*, long\))>:$")
# Those of run.cpp call slow functions; the rest of the list is theirs to extend.
MAY_CALL = re.compile(r"\b(h_slow|h_slow_end|h_slow_string|h_miss_read|h_miss_write|h_heat)\(")


@pytest.fixture(scope="module")
def handlers() -> dict[str, list[str]]:
    """Name to disassembled instructions of every handler in the extension module."""
    if platform.machine() != "x86_64" or not shutil.which("objdump"):
        pytest.skip("needs objdump on x86-64")
    command = ["objdump", "-dC", "--no-show-raw-insn", "-w", str(Path(_native.__file__))]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        head = HANDLER.match(line)
        if head:
            current = found.setdefault(head[1], [])
        elif not line.strip():
            current = None
        elif current is not None and (row := ROW.match(line)):
            current.append(f"{row[1]} {row[2]}")
    if len(found) < 100:
        pytest.skip("the extension module has no symbols")
    if not any(row.startswith("jmp") and row.endswith("(%rsi)") for rows in found.values() for row in rows):
        pytest.skip("built without tail calls")
    return found


INTEGER = re.compile(
    r"(mov_|alu_|step|shift_|rotate_|double_|imul_|mul_|jcc|jmp|call|ret|push_|pop_|lea|cmp_|test_|bit_r|setcc|cmov)"
)
CARRY = re.compile(r"\(Alu\)[23]|step|dynamic|double_i")  # need more registers than a call may clobber


def test_no_fast_handler_of_the_integer_instructions_calls(handlers: dict[str, list[str]]) -> None:
    chosen = {n: rows for n, rows in handlers.items() if INTEGER.search(n) and not MAY_CALL.search(n)}
    assert len(chosen) > 500
    assert {name for name, rows in chosen.items() if any(row.startswith("call") for row in rows)} == set()


def test_no_fast_handler_without_carry_needs_a_stack_frame(handlers: dict[str, list[str]]) -> None:
    chosen = {n: r for n, r in handlers.items() if INTEGER.search(n) and not MAY_CALL.search(n) and not CARRY.search(n)}
    assert len(chosen) > 500
    assert {name for name, rows in chosen.items() if any(row.startswith("push") for row in rows)} == set()


def test_simple_handlers_are_as_short_as_they_look(handlers: dict[str, list[str]]) -> None:
    lengths = {
        name: len([r for r in rows if not r.startswith(("nop", "cs nop", "data16", "xchg %ax,%ax"))])
        for name, rows in handlers.items()
        if "mov_rr<unsigned long>" in name or "alu_rr<(Alu)0, unsigned long, false>" in name
    }
    assert lengths
    assert max(lengths.values()) <= 8
