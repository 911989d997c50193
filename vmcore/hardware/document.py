"""Documentation of devices, made from their declarations."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from typing import Any

from vmcore.hardware.device import Device
from vmcore.hardware.registers import Register

HEADER = """# Device registers

Made from the declarations in `vmcore/devices` by `python docs/make_registers.py`; a test keeps it up to date.  Offsets
are into a device's range; the board decides where that lies.  Reset values are of the stored bits: a register whose
reads are computed may show more.  A bit marked *1c* is cleared by writing a one.
"""


def document(kinds: Iterable[type[Device[Any]]]) -> str:
    """All given devices as Markdown, in the order of their names."""
    parts = [HEADER]
    parts += [_device(kind) for kind in sorted(kinds, key=lambda kind: kind.__name__)]
    return "\n".join(parts)


def _device(kind: type[Device[Any]]) -> str:
    about = inspect.cleandoc(sys.modules[kind.__module__].__doc__ or "")
    lines = [f"## {kind.__name__}", "", about, ""]
    lines += ["| Offset | Bits | Name | Access | Reset | Fields | Meaning |", "|---|---|---|---|---|---|---|"]
    lines += [_register(register) for register in kind.registers()]
    return "\n".join([*lines, ""])


def _register(register: Register) -> str:
    cells = [
        f"{register.offset:#x}",
        str(register.width),
        register.name,
        register.access.value,
        f"{register.reset:#x}",
        ", ".join(_field(register, name) for name in register.bits),
        register.doc,
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _field(register: Register, name: str) -> str:
    bits = register.bits[name]
    low, high = bits if isinstance(bits, tuple) else (bits, bits)
    where = str(low) if low == high else f"{high}:{low}"
    return f"{name} {where}" + (" *1c*" if register.clears >> low & 1 else "")
