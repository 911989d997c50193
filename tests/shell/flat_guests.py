"""Small flat guests for the tests of the shell: real mode, loaded and started at 7C00h."""

from __future__ import annotations

from vmcore import FlatImage

SPIN = FlatImage(bytes.fromhex("eb fe"))  # jmp $
HALT_FOR_EVER = FlatImage(bytes.fromhex("fa f4 eb fd"))  # cli; hlt; jmp hlt
POWER_OFF = FlatImage(bytes.fromhex("ba 04 06 b8 00 20 ef f4"))  # mov dx, 604h; mov ax, 2000h; out dx, ax; hlt
TRIPLE_FAULT = FlatImage(bytes.fromhex("0f 01 1e 0c 7c cd 03 90 90 90 90 90 00 00 00 00 00 00"))  # lidt zeros; int 3


def say(text: bytes, *, then: str = "fa f4 eb fd") -> FlatImage:
    """Writes a text to COM1 byte by byte, then runs the code given in hex (cli; hlt; jmp)."""
    # mov si, text; mov dx, 3f8h; L: lodsb; test al, al; jz done; out dx, al; jmp L; done:
    code = bytes.fromhex("be 00 00 ba f8 03 ac 84 c0 74 03 ee eb f8") + bytes.fromhex(then)
    at = 0x7C00 + len(code)
    return FlatImage(code[:1] + at.to_bytes(2, "little") + code[3:] + text + b"\0")


ECHO = FlatImage(
    # L: mov dx, 3fdh; in al, dx; test al, 1; jz L; mov dx, 3f8h; in al, dx; inc al; out dx, al; jmp L
    bytes.fromhex("ba fd 03 ec a8 01 74 f8 ba f8 03 ec fe c0 ee eb ef")
)
