"""Record what QEMU's screen shows for the guests of `test_pictures.py`: `python tests/screen/record_pictures.py`.

The guests are boot sectors; they set modes by INT 10h of the same video BIOS here and there, and by registers.  Needs
nasm and qemu-system-x86_64.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
import time
from pathlib import Path

TARGET = Path(__file__).with_name("pictures.json")

HALT = "\ncli\nl: hlt\njmp l\n"
COLORS = """
mov dx,0x3c8
xor al,al
out dx,al
inc dx
mov cx,768
p1: mov al,cl
imul ax,ax,37
out dx,al
loop p1
"""
CASES: dict[str, str] = {}
CASES["text"] = (
    """
xor ax,ax
mov ds,ax
mov ax,3
int 10h
mov ax,0xb800
mov es,ax
xor di,di
xor ax,ax
mov cx,2000
t: stosw
add ax,0x0101
and ah,0x7f
loop t
mov ah,1
mov cx,0x2000
int 10h
"""
    + HALT
)
CASES["teletype"] = (
    """
mov ax,3
int 10h
mov ah,1
mov cx,0x2000
int 10h
mov ax,0x0e41
int 10h
"""
    + HALT
)
CASES["text40"] = (
    """
mov ax,1
int 10h
mov ah,1
mov cx,0x2000
int 10h
mov ax,0x0e42
int 10h
"""
    + HALT
)
CASES["text8x8"] = (
    """
mov ax,3
int 10h
mov ax,0x1112
xor bx,bx
int 10h
mov ah,1
mov cx,0x2000
int 10h
mov cx,300
a: mov ax,0x0ec4
int 10h
loop a
"""
    + HALT
)
CASES["13h"] = (
    """
mov ax,0x13
int 10h
"""
    + COLORS
    + """
mov ax,0xa000
mov es,ax
xor di,di
mov cx,64000
t: mov ax,di
shr ax,3
stosb
loop t
"""
    + HALT
)
CASES["12h"] = (
    """
mov ax,0x12
int 10h
mov ax,0xa000
mov es,ax
mov dx,0x3ce
mov ax,0x0205
out dx,ax
xor di,di
mov cx,38400
t: mov ax,cx
mov al,[es:di]
mov ax,di
stosb
loop t
; bit mask + xor
mov ax,0x3c08
out dx,ax
mov ax,0x1803
out dx,ax
mov ax,0x0005
out dx,ax
mov ax,0x0f01
out dx,ax
mov ax,0x0500
out dx,ax
mov di,8000
mov cx,8000
u: mov al,[es:di]
mov al,0xff
stosb
loop u
; write mode 3, mode 1 copy
mov ax,0x0003
out dx,ax
mov ax,0x0305
out dx,ax
mov ax,0xff08
out dx,ax
mov di,20000
mov cx,4000
w: mov al,[es:di]
mov ax,di
stosb
loop w
mov ax,0x0105
out dx,ax
push ds
mov ax,0xa000
mov ds,ax
mov si,0
mov di,30000
mov cx,3000
rep movsb
pop ds
"""
    + HALT
)
for n in (0x0D, 0x0E, 0x10, 0x11, 0x04, 0x05, 0x06):
    CASES[f"mode{n:02x}"] = (
        f"""
mov ax,{n}
int 10h
mov cx,0
t: mov ax,0x0c00
mov al,cl
shr al,2
and al,15
mov dx,cx
shr dx,1
and dx,127
mov bx,0
int 10h
inc cx
cmp cx,300
jb t
mov ah,2
mov dx,0x0505
int 10h
mov ax,0x0e41
mov bl,3
int 10h
"""
        + HALT
    )
CASES["modex"] = (
    """
mov ax,0x13
int 10h

mov dx,0x3c4
mov ax,0x0604
out dx,ax
mov dx,0x3d4
mov ax,0x0014
out dx,ax
mov ax,0xe317
out dx,ax
mov ax,0xa000
mov es,ax
mov bl,1
q: mov dx,0x3c4
mov al,2
mov ah,bl
out dx,ax
xor di,di
mov cx,0x8000
z: mov ax,di
add al,bl
add al,ah
stosb
loop z
shl bl,1
cmp bl,16
jb q
mov dx,0x3d4
mov ax,0x500c
out dx,ax
mov ax,0x280d
out dx,ax
; line compare 200
mov ax,0xc818
out dx,ax
mov al,7
out dx,al
inc dx
in al,dx
and al,0xef
out dx,al
dec dx
mov al,9
out dx,al
inc dx
in al,dx
and al,0xbf
out dx,al
"""
    + HALT
)


def vbe(mode: int, bpp: int) -> str:
    """A VBE mode with its linear frame buffer filled through a big segment."""
    return f"""
mov ax,0x4f02
mov bx,{0x4000 | mode}
int 10h
mov di,0x600
mov ax,0x4f01
mov cx,{mode}
int 10h
cli
push cs
pop ds
lgdt [gdtr]
mov eax,cr0
or al,1
mov cr0,eax
mov bx,8
mov es,bx
and al,0xfe
mov cr0,eax
xor ax,ax
mov ds,ax
mov edi,[0x628]
mov ecx,{640 * 480 * bpp // 8 // 4}
xor eax,eax
f: a32 mov [es:edi],eax
add eax,0x01030507
add edi,4
dec ecx
jnz f
l: hlt
jmp l
gdtr: dw 15
dd gdt
gdt: dq 0
dw 0xffff,0,0x9200,0x00cf
"""


for mode, bpp in ((0x101, 8), (0x110, 16), (0x111, 16), (0x112, 24), (0x142, 32)):
    CASES[f"vbe{mode:x}"] = vbe(mode, bpp)


def assembled(source: str) -> bytes:
    """A boot sector."""
    with tempfile.TemporaryDirectory() as directory:
        text = Path(directory) / "guest.asm"
        text.write_text(f"bits 16\norg 0x7c00\n{source}\ntimes 510-($-$$) db 0\ndw 0xaa55\n")
        binary = Path(directory) / "guest.bin"
        subprocess.run(["nasm", "-f", "bin", "-o", binary, text], check=True)
        return binary.read_bytes()


def photographed(sector: bytes, patience: float = 2.5) -> bytes:
    """QEMU's screen as a PPM file, some seconds after power-on.  The cursor is on, or was switched off."""
    with tempfile.TemporaryDirectory() as directory:
        image, picture = Path(directory) / "disk.img", Path(directory) / "screen.ppm"
        image.write_bytes(sector.ljust(1 << 20, b"\0"))
        command = ["qemu-system-x86_64", "-display", "none", "-vga", "std", "-m", "64", "-net", "none"]
        command += ["-drive", f"file={image},format=raw,snapshot=on", "-monitor", "stdio"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
            assert process.stdin is not None
            time.sleep(patience)
            process.stdin.write(f"screendump {picture}\nquit\n")
            process.stdin.flush()
        return picture.read_bytes()


def main() -> None:
    """Write the file."""
    recorded = {}
    for name, source in CASES.items():
        sector = assembled(source)
        _, size, _, pixels = photographed(sector).split(b"\n", 3)
        width, height = map(int, size.split())
        digest = hashlib.sha256(pixels).hexdigest()
        recorded[name] = {
            "sector": sector.rstrip(b"\x55\xaa\0").hex(),
            "width": width,
            "height": height,
            "sha256": digest,
        }
        print(name, width, height, flush=True)
    TARGET.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
