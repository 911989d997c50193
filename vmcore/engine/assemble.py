"""Assembling x86 text, with keystone."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from vmcore.model.errors import UsageError

__all__ = ["assemble", "can_assemble"]

BITS: Final = (16, 32, 64)


@cache
def _keystone(bits: int) -> Any:
    try:
        import keystone
    except ImportError as error:
        raise UsageError(
            "assembling needs keystone-engine, which has no wheel for this platform; "
            "disassembling and running work without it"
        ) from error
    mode = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}[bits]
    return keystone.Ks(keystone.KS_ARCH_X86, mode)


def can_assemble() -> bool:
    """Whether keystone is there."""
    try:
        _keystone(64)
    except UsageError:
        return False
    return True


def assemble(text: str, bits: int = 64, address: int = 0) -> bytes:
    """Machine code for `text`: Intel syntax, statements separated by newlines or semicolons.

    Labels and data directives are allowed.  bits: 16, 32 or 64, the code size; address: where it will run.
    UsageError says what the assembler refused.
    """
    if bits not in BITS:
        raise UsageError(f"bits: {bits!r}: expected 16, 32 or 64")
    if not 0 <= address < 1 << 64:
        raise UsageError(f"address: {address:#x}: expected 0 to 2**64 - 1")
    engine = _keystone(bits)
    try:
        encoding, _ = engine.asm(text, address, as_bytes=True)
    except Exception as error:
        import keystone

        if not isinstance(error, keystone.KsError):
            raise
        done = error.get_asm_count() or 0
        raise UsageError(f"cannot assemble {text!r} for {bits} bits: {error} after {done} statements") from error
    return bytes(encoding or b"")
