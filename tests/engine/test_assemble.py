"""Assembling and disassembling."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vmcore.engine import assemble, can_assemble, disassemble
from vmcore.model.errors import UsageError

needs_keystone = pytest.mark.skipif(not can_assemble(), reason="keystone has no wheel for this platform")


@needs_keystone
@pytest.mark.parametrize(
    ("text", "bits", "code"),
    [
        ("mov rax, 1", 64, "48c7c001000000"),
        ("mov eax, [bx+si]", 16, "668b00"),
        ("push eax; pop ecx", 32, "5059"),
        ("l: jmp l", 64, "ebfe"),
        ("", 64, ""),
        (".byte 1, 2\nnop", 32, "010290"),
    ],
)
def test_text_becomes_code(text: str, bits: int, code: str) -> None:
    assert assemble(text, bits).hex() == code


@needs_keystone
def test_address_counts() -> None:
    assert assemble("jmp 0x1000", 32, 0x1000) == assemble("jmp 0", 32, 0)


@needs_keystone
def test_what_cannot_be_assembled_is_the_callers_fault() -> None:
    with pytest.raises(UsageError, match="cannot assemble 'mov rax, 1; frobnicate' for 64 bits"):
        assemble("mov rax, 1; frobnicate")
    with pytest.raises(UsageError, match="bits: 8"):
        assemble("nop", 8)
    with pytest.raises(UsageError, match="address"):
        assemble("nop", 64, -1)


def test_without_keystone_the_error_says_so() -> None:
    program = (
        "import sys; sys.modules['keystone'] = None\n"
        "from vmcore.engine import assemble, can_assemble\n"
        "assert not can_assemble()\n"
        "try: assemble('nop')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("UsageError assembling needs keystone-engine, which has no wheel for this platform")


def test_importing_the_engine_loads_neither_assembler_nor_disassembler() -> None:
    program = "import sys, vmcore.engine; print([m for m in ('keystone', 'capstone') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_code_becomes_text() -> None:
    instructions = disassemble(bytes.fromhex("4801d8 0f05"), 0x1000)
    assert [(i.address, i.text, i.data) for i in instructions] == [
        (0x1000, "add rax, rbx", b"\x48\x01\xd8"),
        (0x1003, "syscall", b"\x0f\x05"),
    ]
    assert str(instructions[0]) == "0x1000: 48 01 d8: add rax, rbx"
    assert disassemble(b"\x8b\x00", bits=16)[0].text == "mov ax, word ptr [bx + si]"


def test_bytes_that_are_no_instruction_are_shown_and_passed_over() -> None:
    texts = [i.text for i in disassemble(bytes.fromhex("90 0fff 0f"), bits=64)]
    assert texts[0] == "nop"
    assert texts[-1] == "db 0x0f"
    assert sum(len(i.data) for i in disassemble(bytes(range(256)))) == 256
    assert len(disassemble(b"\x90" * 10, count=3)) == 3
    with pytest.raises(UsageError, match="bits"):
        disassemble(b"", bits=8)
