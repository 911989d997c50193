"""What a processor tells a guest that looks for Hyper-V: CPUID leaves from 4000_0000h on.

Source: Hypervisor Top-Level Functional Specification 6.0b, sections 2.4 (discovery) and 3.8 (guest crash enlightenment
interface).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from attrs import evolve

from vmcore.engine.models import CpuModel

__all__ = ["ENLIGHTENMENTS", "with_hyperv"]

ENLIGHTENMENTS: Final = ("crash",)
"""What there is of Hyper-V, by the names that QEMU's users know with `hv-` before them."""

LAST_LEAF: Final = 0x4000_0005
HYPERVISOR: Final = 1 << 31
"""Leaf 1, ECX: this is a virtual machine."""
GUEST_CRASH: Final = 1 << 10
"""Leaf 4000_0003h, EDX: the crash registers are there."""


def with_hyperv(model: CpuModel, enlightenments: Sequence[str]) -> CpuModel:
    """The same processor under a hypervisor that has these enlightenments; as it was for none."""
    if not enlightenments:
        return model
    vendor = struct.unpack("<3I", b"Microsoft Hv")
    features = GUEST_CRASH if "crash" in enlightenments else 0
    leaves = {
        0x4000_0000: (LAST_LEAF, *vendor),
        0x4000_0001: (int.from_bytes(b"Hv#1", "little"), 0, 0, 0),
        0x4000_0002: (0, 0, 0, 0),
        0x4000_0003: (0, 0, 0, features),
        0x4000_0004: (0, 0, 0, 0),
        0x4000_0005: (0, 0, 0, 0),
    }
    rows = [
        (leaf, subleaf, a, b, c | HYPERVISOR if leaf == 1 else c, d)
        for leaf, subleaf, a, b, c, d in model.cpuid
        if leaf >> 28 != 4  # those of any other hypervisor
    ]
    rows += [(leaf, None, *registers) for leaf, registers in leaves.items()]
    return evolve(model, cpuid=tuple(sorted(rows, key=lambda row: (row[0], row[1] or 0))))
