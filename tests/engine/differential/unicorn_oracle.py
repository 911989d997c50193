"""Unicorn (QEMU's translator as a library) as an oracle.  It runs at privilege level 0 and has no IDT: only the fact
of an exception
and its vector are compared, not what is pushed.

Its registers go in and out by batches: one call of the library for all of them.
"""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import struct
import time
from typing import Any, Final, Self, final

from host_oracle import (
    CASE,
    CODE,
    CODE_SIZE,
    CONTEXT,
    DATA,
    DATA_SIZE,
    RESULT,
    VECTOR_NEVER,
    VECTOR_TIMEOUT,
    WINDOW,
    WINDOW_SIZE,
    Unavailable,
)

LIMIT: Final = 200
PATIENCE: Final = 5.0
"""Seconds for one case."""
ERROR_VECTORS: Final = {10: 6, 6: 14, 7: 14, 8: 14, 12: 14, 13: 14, 14: 14, 21: VECTOR_NEVER}
"""uc_err -> vector: invalid instruction; unmapped and protected reads, writes, fetches."""


@final
class _Machine:
    """One Unicorn instance for one mode."""

    def __init__(self, mode: int) -> None:
        import unicorn
        from unicorn import x86_const as x86

        self.mode = mode
        modes = {64: unicorn.UC_MODE_64, 32: unicorn.UC_MODE_32, 16: unicorn.UC_MODE_16}
        self.uc: Any = unicorn.Uc(unicorn.UC_ARCH_X86, modes[mode])
        self.uc.ctl_set_cpu_model(x86.UC_CPU_X86_EPYC_ROME)
        # Real mode sees the data at 0x20000 and the code at 0x10000.
        self.code = 0x10000 if mode == 16 else CODE
        self.data = 0x40000 if mode == 16 else DATA
        self.uc.mem_map(self.code, CODE_SIZE // 2 if mode == 16 else CODE_SIZE)
        self.uc.mem_map(self.data, DATA_SIZE)
        gpr = [
            "RAX",
            "RCX",
            "RDX",
            "RBX",
            "RSP",
            "RBP",
            "RSI",
            "RDI",
            "R8",
            "R9",
            "R10",
            "R11",
            "R12",
            "R13",
            "R14",
            "R15",
        ]
        if mode != 64:
            gpr = ["EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"]
        names = [*gpr, "RIP" if mode == 64 else "EIP", "EFLAGS", "FPCW", "FPSW", "FPTAG", "MXCSR"]
        names += [f"FP{i}" for i in range(8)] + [f"XMM{i}" for i in range(16 if mode == 64 else 8)]
        self.names = names
        count = len(names)
        self.buffer = ctypes.create_string_buffer(count * 16)
        base = ctypes.addressof(self.buffer)
        self.ids = (ctypes.c_int * count)(*(getattr(x86, f"UC_X86_REG_{name}") for name in names))
        self.pointers = (ctypes.c_void_p * count)(*(base + 16 * i for i in range(count)))
        self.count = count
        self.general = len(gpr)
        from unicorn.unicorn_py3.unicorn import uclib  # the loaded library

        self.lib = uclib
        self.handle = self.uc._uch
        self.vector = VECTOR_NEVER
        self.damaged = False
        self.uc.reg_write(x86.UC_X86_REG_CR4, self.uc.reg_read(x86.UC_X86_REG_CR4) | 0x600)  # OSFXSR, OSXMMEXCPT
        self.uc.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        if mode == 16:
            for name in ("DS", "ES", "SS"):
                self.uc.reg_write(getattr(x86, f"UC_X86_REG_{name}"), self.data >> 4)
            self.uc.reg_write(x86.UC_X86_REG_CS, self.code >> 4)

    def _interrupt(self, uc: Any, number: int, _: object) -> None:
        self.vector = number
        uc.emu_stop()

    def run(self, case: bytes) -> bytes:
        """Run one case."""
        context, _, code, window = CASE.unpack(case)
        values = CONTEXT.unpack(context)
        fx = values[18]
        rip = values[16]
        start = (self.code + rip) if self.mode == 16 else rip
        uc, g = self.uc, self.general
        uc.mem_write(self.data, bytes(DATA_SIZE))
        uc.mem_write(WINDOW - DATA + self.data, window)
        uc.mem_write(start, code)
        uc.ctl_remove_cache(start, start + len(code))
        cw, sw, valid = struct.unpack_from("<HHB", fx)
        tags = sum(0 if valid >> i & 1 else 3 << 2 * i for i in range(8))
        parts = [struct.pack("<QQ", value, 0) for value in values[:g]]
        parts += [struct.pack("<QQ", value, 0) for value in (rip, values[17], cw, sw, tags)]
        parts.append(fx[24:28] + bytes(12))
        top = sw >> 11 & 7
        parts += [fx[32 + 16 * (i - top & 7) :][:16] for i in range(8)]  # it counts physical registers
        parts.append(fx[160 : 160 + 16 * (16 if self.mode == 64 else 8)])
        packed = b"".join(parts)
        ctypes.memmove(self.buffer, packed, len(packed))
        self.lib.uc_reg_write_batch(self.handle, self.ids, self.pointers, self.count)
        self.vector = VECTOR_NEVER
        error = self.lib.uc_emu_start(self.handle, start, 0, 0, LIMIT)
        vector = self.vector
        self.damaged = vector != VECTOR_NEVER or error not in (
            0,
            10,
        )  # it never forgets that an exception is being delivered
        if vector == VECTOR_NEVER:
            vector = ERROR_VECTORS.get(error, VECTOR_TIMEOUT if error == 0 else VECTOR_NEVER)
        self.lib.uc_reg_read_batch(self.handle, self.ids, self.pointers, self.count)
        raw = self.buffer.raw
        numbers = [struct.unpack_from("<Q", raw, 16 * i)[0] for i in range(g + 2)]
        if self.mode != 64:
            numbers = [n & 0xFFFF_FFFF for n in numbers]
        out = bytearray(512)
        at = 16 * (g + 2)
        out[0:2] = raw[at : at + 2]
        out[2:4] = raw[at + 16 : at + 18]
        (tags,) = struct.unpack_from("<H", raw, at + 32)
        out[4] = sum((tags >> 2 * i & 3 != 3) << i for i in range(8))
        out[24:28] = raw[at + 48 : at + 52]
        at += 64
        top = out[3] >> 3 & 7
        for i in range(8):
            physical = at + 16 * (i + top & 7)
            out[32 + 16 * i : 42 + 16 * i] = raw[physical : physical + 10]
        at += 128
        registers = 256 if self.mode == 64 else 128
        out[160 : 160 + registers] = raw[at : at + registers]
        if self.mode != 64:
            out[288:416] = fx[288:416]
        gpr = numbers[:g] + list(values[g:16])
        end = numbers[g]
        packed = CONTEXT.pack(*gpr, end, numbers[g + 1], bytes(out))
        after = bytes(uc.mem_read(WINDOW - DATA + self.data, WINDOW_SIZE))
        return RESULT.pack(packed, vector, 0, 0, after)


@final
class UnicornOracle:
    """Unicorn for all modes.  A context manager."""

    def __init__(self) -> None:
        try:
            import unicorn  # noqa: F401
        except ImportError as error:
            raise Unavailable("unicorn is not installed") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left between runs."""

    def run(self, cases: list[bytes]) -> list[bytes]:
        """Run cases; their results.  Unicorn aborts the process on some code: it runs in children, and such a case
        has no result."""
        never = RESULT.pack(bytes(CONTEXT.size), VECTOR_NEVER, 0, 0, bytes(WINDOW_SIZE))
        results: list[bytes] = []
        with mmap.mmap(-1, RESULT.size * len(cases) + 8) as shared:
            while len(results) < len(cases):
                first = len(results)
                shared[:8] = struct.pack("<Q", first)
                child = os.fork()
                if child == 0:
                    try:
                        self._run_child(cases, first, shared)
                    finally:
                        os._exit(0)
                self._wait(child, shared)
                (done,) = struct.unpack("<Q", shared[:8])
                results += [shared[8 + RESULT.size * i : 8 + RESULT.size * (i + 1)] for i in range(first, done)]
                if done < len(cases):
                    results.append(never)
        return results

    @staticmethod
    def _wait(child: int, shared: mmap.mmap) -> None:
        """Wait for the child, or until it has been at one case for too long."""
        last, since = b"", time.monotonic()
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            now = time.monotonic()
            if shared[:8] != last:
                last, since = shared[:8], now
            elif now - since > PATIENCE:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return
            time.sleep(0.002)

    def _run_child(self, cases: list[bytes], first: int, shared: mmap.mmap) -> None:
        faulthandler.disable()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        machines: dict[int, _Machine] = {}
        for index in range(first, len(cases)):
            case = cases[index]
            (mode,) = struct.unpack_from("<Q", case, CONTEXT.size)
            if mode not in machines:
                machines[mode] = _Machine(mode)
            machine = machines[mode]
            shared[8 + RESULT.size * index : 8 + RESULT.size * (index + 1)] = machine.run(case)
            if machine.damaged:
                del machines[mode]
            shared[:8] = struct.pack("<Q", index + 1)
