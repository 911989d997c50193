from __future__ import annotations

import itertools

import pytest

from vmcore.firmware.platform import MemoryKind, PlatformLayout
from vmcore.model.errors import ConfigError
from vmcore.model.units import KIB, MIB


@pytest.mark.parametrize("memory", [64 * KIB, 640 * KIB, MIB, 2 * MIB, 4 * MIB, 512 * MIB, 3 << 30, 4 << 30, 64 << 30])
@pytest.mark.parametrize("acpi", [True, False])
def test_the_memory_map_is_ordered_disjoint_and_loses_only_what_the_pc_hides(memory: int, acpi: bool) -> None:
    layout = PlatformLayout(memory=memory, acpi=acpi)
    lines = layout.memory_map()
    for one, other in itertools.pairwise(lines):
        assert one.end <= other.start
    assert all(line.size > 0 for line in lines)
    backed = sum(line.size for line in lines if line.kind is not MemoryKind.RESERVED)
    hidden = min(max(memory - 0x9FC00, 0), 0x100000 - 0x9FC00)
    assert backed == memory - hidden


def test_memory_above_the_hole_continues_at_four_gib() -> None:
    last = PlatformLayout(memory=4 << 30).memory_map()[-1]
    assert (last.start, last.size, last.kind) == (4 << 30, 1 << 30, MemoryKind.RAM)


@pytest.mark.parametrize(
    "options",
    [
        {"memory": 1000},
        {"memory": 32 * KIB},
        {"memory": 64 * KIB + 1},
        {"cpus": 0},
        {"cpus": 256},
        {"low_ram_end": 0xD0000000},
        {"acpi_size": 100},
    ],
)
def test_impossible_values_are_refused_with_their_name(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        PlatformLayout(**options)  # type: ignore[arg-type]
