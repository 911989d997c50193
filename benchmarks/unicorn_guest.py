"""Runs a benchmark guest in Unicorn: no devices, long mode at `entry64`, port E9h to standard output."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import unicorn
from unicorn import x86_const


def main() -> None:
    image, entry = Path(sys.argv[1]).read_bytes(), int(sys.argv[2], 16)
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.mem_map(0, 128 << 20)
    uc.mem_write(0x100000, image)

    def out(engine: Any, port: int, size: int, value: int, data: object) -> None:
        if port == 0xE9:
            os.write(1, bytes([value & 0xFF]))
        elif port == 0xF4:
            engine.emu_stop()

    uc.hook_add(unicorn.UC_HOOK_INSN, out, None, 1, 0, x86_const.UC_X86_INS_OUT)
    # `mov ss, ax` and the like at the entry load selectors that Unicorn does not know: start behind them.
    uc.reg_write(x86_const.UC_X86_REG_RSP, 0x7F00000)
    start = image.index(b"\xdb\xe3", entry - 0x100000) + 0x100000  # fninit
    uc.emu_start(start, 0)


main()
