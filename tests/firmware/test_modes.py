from __future__ import annotations

import pytest

from vmcore.firmware.modes import memory_types, real_state
from vmcore.firmware.platform import PlatformLayout


@pytest.mark.parametrize("bits", [36, 40, 46])
@pytest.mark.parametrize("end", [0x8000_0000, 0xC000_0000, 0xE000_0000])
def test_memory_type_registers_cover_exactly_the_hole_below_four_gib(bits: int, end: int) -> None:
    msrs = dict(memory_types(PlatformLayout(low_ram_end=end, physical_bits=bits)))
    base, mask = msrs[0x200], msrs[0x201]
    assert mask & 0x800
    assert mask >> bits == 0

    def uncached(address: int) -> bool:
        return address & mask & ~0xFFF == base & mask & ~0xFFF

    assert not uncached(end - 0x1000)
    assert uncached(end)
    assert uncached((1 << 32) - 0x1000)
    assert not uncached(1 << 32)
    assert not uncached((1 << bits - 1) + end)
    assert msrs[0x2FF] == 0xC06


def test_a_real_mode_state_has_bases_to_its_selectors() -> None:
    state = real_state(0x1234, 0x5678, stack=(0x2000, 0xFFFE), data=0x3000)
    for name, register in state.segments().items():
        if name not in ("ldtr", "tr"):
            assert register.base == register.selector << 4
    assert (state.rip, state.rsp, state.ds.selector, state.idtr.limit) == (0x5678, 0xFFFE, 0x3000, 0x3FF)
    assert state.general()["rsp"] == 0xFFFE
