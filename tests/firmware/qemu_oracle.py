"""Runs a boot image in QEMU: a second opinion on the loaders, the ACPI tables and the BIOS, independent of our engine.

Memory is filled by QEMU's loader devices.  A ROM made here brings the processor into the state that the image asks for;
an image that starts at the reset vector brings its own ROM instead.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from vmcore.firmware.boot_image import BootImage, CpuMode
from vmcore.firmware.platform import FIRMWARE_START, HIGH_MEMORY

QEMU = "qemu-system-x86_64"

ENTRY = """
        bits 16
        org 0x8000
start:
        cli
        ; The ACPI power management function of QEMU's chip set goes to port 600h.
        mov dx, 0xCF8
        mov eax, 0x80000B40
        out dx, eax
        mov dx, 0xCFC
        mov eax, 0x601
        out dx, eax
        mov dx, 0xCF8
        mov eax, 0x80000B80
        out dx, eax
        mov dx, 0xCFC
        mov al, 1
        out dx, al
        in al, 0x92
        or al, 2
        out 0x92, al
        o32 lgdt [cs:gdt]
        mov eax, {cr4:#x}
        mov cr4, eax
        mov eax, {cr3:#x}
        mov cr3, eax
        mov ecx, 0xC0000080
        mov eax, {efer:#x}
        xor edx, edx
        test eax, eax
        jz .no_efer
        wrmsr
.no_efer:
        mov eax, {cr0:#x}
        mov cr0, eax
        jmp dword {cs:#x}:0xF0000 + far_start
gdt:    dw {gdt_limit:#x}
        dd {gdt_base:#x}

        bits {bits}
far_start:
        mov eax, {ds:#x}
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov fs, eax
        mov gs, eax
        mov esp, {rsp:#x}
        mov ebx, {rbx:#x}
        mov ebp, {rbp:#x}
        mov esi, {rsi:#x}
        mov edi, {rdi:#x}
        mov eax, {rip:#x}
        {push}
        mov eax, {rax:#x}
        mov ebx, {rbx:#x}
        {go}
        times 0x7FF0 - ($ - $$) db 0
        bits 16
        jmp 0xF000:start
        times 0x8000 - ($ - $$) db 0
"""


def available() -> str | None:
    """None if everything is installed, else what is missing."""
    missing = [program for program in (QEMU, "nasm") if shutil.which(program) is None]
    return f"{' and '.join(missing)} not installed" if missing else None


def _entry_rom(image: BootImage, work: Path) -> bytes:
    cpu = image.cpu
    wide = cpu.mode is CpuMode.LONG
    # The far jump's target is in a register that boot protocols leave undefined.
    push = "mov ecx, eax"
    source = work / "entry.asm"
    source.write_text(
        ENTRY.format(
            cr0=cpu.cr0,
            cr3=cpu.cr3,
            cr4=cpu.cr4,
            efer=cpu.efer & 0x100,
            cs=cpu.cs.selector,
            ds=cpu.ds.selector,
            gdt_limit=cpu.gdtr.limit,
            gdt_base=cpu.gdtr.base,
            bits=64 if wide else 32,
            rsp=cpu.rsp or 0x7000,
            rax=cpu.rax,
            rbx=cpu.rbx,
            rbp=cpu.rbp,
            rsi=cpu.rsi,
            rdi=cpu.rdi,
            rip=cpu.rip,
            push=push,
            go="jmp rcx" if wide else "jmp ecx",
        )
    )
    target = work / "entry.bin"
    subprocess.run(["nasm", "-f", "bin", "-o", target, source], check=True)
    return target.read_bytes()


def command(image: BootImage, work: Path, *, memory: int, cpus: int = 1, more: tuple[str, ...] = ()) -> list[str]:
    """The command line that runs `image`, with serial output on standard output."""
    rom = bytearray(HIGH_MEMORY - FIRMWARE_START)
    arguments = []
    for number, segment in enumerate(image.segments):
        if segment.address >= FIRMWARE_START and segment.end <= HIGH_MEMORY:
            rom[segment.address - FIRMWARE_START : segment.end - FIRMWARE_START] = segment.data
            continue
        path = work / f"segment{number}.bin"
        path.write_bytes(segment.data)
        arguments += ["-device", f"loader,file={path},addr={segment.address:#x},force-raw=on"]
    if image.cpu.mode is not CpuMode.REAL:
        rom[0x18000:] = _entry_rom(image, work)  # in place of the BIOS, which such an image needs for sleep alone
    (work / "rom.bin").write_bytes(rom)
    return [
        QEMU,
        *("-M", "pc", "-accel", "tcg", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"),
        *("-cpu", "qemu64", "-m", f"{memory >> 20}M", "-smp", str(cpus), "-bios", str(work / "rom.bin")),
        *arguments,
        *more,
    ]


def run(image: BootImage, work: Path, *, memory: int, cpus: int = 1, seconds: float = 60) -> bytes:
    """What the guest writes to COM1 until it powers off or resets."""
    done = subprocess.run(
        command(image, work, memory=memory, cpus=cpus), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return done.stdout
