"""Small kernels of every kind, run on the machine: each sees the registers and memory that its protocol promises."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from images import bzimage, elf, multiboot_header, note

from vmcore.engine import assemble, can_assemble
from vmcore.firmware.linux_header import BootField
from vmcore.machine.config import FlatImage, FlatMode, MachineConfig
from vmcore.machine.machine import Machine
from vmcore.model.exits import DebugExit, Exit

OK = 0x2A


def run(config: MachineConfig) -> Exit:
    with Machine(config) as machine:
        return machine.run(until_ns=10**9)


def code(text: str, bits: int, address: int) -> bytes:
    """Checks that end in `fail` or in the exit device telling that all is well."""
    if not can_assemble():
        pytest.skip("keystone-engine is not installed")
    finish = f"mov al, {OK}\nout 0xf4, al\nfail: mov al, 1\nout 0xf4, al\n"
    return assemble(text + "\n" + finish, bits, address)


def config(**options: object) -> MachineConfig:
    return MachineConfig(memory="32M", devices=("isa-debug-exit,iobase=0xf4,iosize=1",), **options)  # type: ignore[arg-type]


def multiboot(start: int) -> bytes:
    header = multiboot_header(3, addresses=(start, start, 0, 0, start + 0x20))
    return header + code(
        """
        cmp eax, 0x2badb002
        jne fail
        mov ecx, dword ptr [ebx]
        and ecx, 0x44
        cmp ecx, 0x44
        jne fail
        mov esi, dword ptr [ebx + 16]
        cmp dword ptr [esi], 0x6c6c6568
        jne fail
        cmp dword ptr [ebx + 8], 31 * 1024
        jne fail
        mov eax, cr0
        and eax, 0x80000001
        cmp eax, 1
        jne fail
        mov esp, 0x80000
        pushfd
        pop eax
        test eax, 0x200
        jnz fail
        mov ax, 0x18
        mov ss, ax
        mov fs, ax
        """,
        32,
        start + 0x20,
    )


def pvh(start: int) -> bytes:
    text = """
        cmp dword ptr [ebx], 0x336ec578
        jne fail
        cmp dword ptr [ebx + 4], 1
        jne fail
        mov esi, dword ptr [ebx + 24]
        cmp dword ptr [esi], 0x6c6c6568
        jne fail
        mov esi, dword ptr [ebx + 32]
        cmp dword ptr [esi], 0x20445352
        jne fail
        str ax
        test ax, ax
        jz fail
        """
    program = code(text, 32, start)
    return elf([(start, start, program, 0x1000)], entry=start, notes=note(b"Xen", 18, start.to_bytes(4, "little")))


CHECK_LINUX = """
        cmp dword ptr [{si} + 0x202], 0x53726448
        jne fail
        mov edi, dword ptr [{si} + 0x228]
        cmp dword ptr [{di}], 0x6c6c6568
        jne fail
        cmp byte ptr [{si} + 0x1e8], 5
        jb fail
        mov edi, dword ptr [{si} + 0x70]
        cmp dword ptr [{di}], 0x20445352
        jne fail
"""


def linux(start: int) -> bytes:
    """A bzImage whose 32-bit entry fails and whose 64-bit entry, 200h further, checks."""
    text = CHECK_LINUX.format(si="rsi", di="rdi") + "mov rax, cr3\n test rax, rax\n jz fail\n"
    program = code("jmp fail", 32, start).ljust(0x200, b"\x90") + code(text, 64, start + 0x200)
    fields = {BootField.PREF_ADDRESS: (start, 8), BootField.INIT_SIZE: (0x10000, 4)}
    return bzimage(payload=program.ljust(-(-len(program) // 16) * 16, b"\0"), fields=fields)


def linux_32(start: int) -> bytes:
    program = code(CHECK_LINUX.format(si="esi", di="edi"), 32, start)
    fields = {BootField.PREF_ADDRESS: (start, 8), BootField.INIT_SIZE: (0x10000, 4)}
    return bzimage(payload=program.ljust(-(-len(program) // 16) * 16, b"\0"), xloadflags=0, fields=fields)


def linux_16(start: int) -> bytes:
    """A bzImage that is started by its real-mode code: a zImage, as it has no other entry."""
    text = """
        mov ax, cs
        sub ax, 0x20
        mov bx, ds
        cmp ax, bx
        jne fail
        mov bx, ss
        cmp ax, bx
        jne fail
        int 0x12
        cmp ax, 639
        jne fail
        mov dword ptr [0x100], 0x12345678
        """
    setup = bytearray(bzimage(version=0x203, loadflags=0, xloadflags=0))
    program = code(text, 16, 0)
    # The header is in the way of straight code: a jump over it, as in every kernel.
    setup[0x200:0x202] = b"\xeb\x6a"
    setup[0x26C : 0x26C + len(program)] = program
    return bytes(setup)


def vmlinux(start: int) -> bytes:
    program = code(CHECK_LINUX.format(si="rsi", di="rdi"), 64, start)
    high = 0xFFFFFFFF80000000
    return elf([(high + start, start, program, 0x1000)], entry=high + start)


@pytest.mark.parametrize("build", [multiboot, pvh, linux, linux_32, linux_16, vmlinux])
def test_kernels_see_what_their_protocol_promises(build: Callable[[int], bytes]) -> None:
    assert run(config(kernel=build(0x200000), append="hello")) == DebugExit(OK)


@pytest.mark.parametrize(
    ("mode", "bits", "text"),
    [
        (FlatMode.REAL, 16, "smsw ax\n test al, 1\n jnz fail\n"),
        (FlatMode.PROTECTED, 32, "smsw ax\n test al, 1\n jz fail\n push eax\n pop ebx\n cmp eax, ebx\n jne fail\n"),
        (FlatMode.LONG, 64, "mov ecx, 0xc0000080\n rdmsr\n and eax, 0x500\n cmp eax, 0x500\n jne fail\n push rax\n"),
    ],
)
def test_flat_binaries_run_in_their_mode(mode: FlatMode, bits: int, text: str) -> None:
    binary = code(text, bits, 0x10000)
    assert run(config(flat=FlatImage(binary, address=0x10000, mode=mode))) == DebugExit(OK)


def test_a_processor_without_long_mode_gets_the_32_bit_entry() -> None:
    assert run(config(kernel=linux_32(0x200000), append="hello", cpu="pentium3")) == DebugExit(OK)
