"""What ACPI tells of slots for PCI devices and memory modules."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from test_acpi_tables import read_tables

from vmcore.firmware import fw_cfg
from vmcore.firmware.acpi import memory_hotplug
from vmcore.firmware.platform import PlatformLayout
from vmcore.machine.build import plan_cpu, plan_layout
from vmcore.machine.config import MachineConfig
from vmcore.model.errors import ConfigError
from vmcore.model.units import GIB, MIB


def layout(**fields: object) -> PlatformLayout:
    config = MachineConfig(**fields)  # type: ignore[arg-type]
    return plan_layout(config, plan_cpu(config))


@pytest.mark.parametrize("slots", [0, 1, 17, 256])
def test_iasl_finds_nothing_wrong(slots: int, tmp_path: Path) -> None:
    if shutil.which("iasl") is None:
        pytest.skip("iasl (acpica-tools) is not installed")
    tables = read_tables(layout(memory="256M", memory_slots=slots, max_memory="8G" if slots else None))
    (tmp_path / "dsdt.dat").write_bytes(tables[b"DSDT"])
    for arguments in (("-d", "dsdt.dat"), ("-we", "dsdt.dsl")):
        done = subprocess.run(["iasl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    source = (tmp_path / "dsdt.dsl").read_text()
    assert source.count("Method (_EJ0, 1") == 29 + slots, "all but those of the bridges and the display"
    for event in (1, 2, 3)[: 2 + bool(slots)]:
        assert f"Method (_E{event:02X}, 0" in source
    for slot in (3, 31):
        assert f"Device (S{slot << 3:02X})" in source


@pytest.mark.parametrize("slots", [1, 16, 255, 256])
def test_there_is_room_for_every_slot(slots: int) -> None:
    there = layout(memory="256M", memory_slots=slots, max_memory="8G")
    assert len(memory_hotplug.container(there)) <= memory_hotplug.size(slots)


def test_modules_have_room_above_ram_where_pci_has_none() -> None:
    there = layout(memory="5G", memory_slots=3, max_memory="9G")
    assert there.module_memory == (6 * GIB, 4 * GIB + 3 * GIB)
    assert there.high_end == 13 * GIB
    srat = read_tables(there)[b"SRAT"]
    base, size, flags = struct.unpack_from("<QQxxxxI", srat, len(srat) - 32)
    assert (base, size, flags) == (6 * GIB, 7 * GIB, 3), "enabled and hot-pluggable"
    assert all(part.end <= 6 * GIB for part in there.memory_map())
    items = fw_cfg.contents(there, fw_cfg.Firmware(image=bytes(1 << 16)))
    assert any((13 * GIB).to_bytes(8, "little") == item for item in items.values())


def test_a_machine_without_slots_says_nothing_of_memory() -> None:
    assert b"SRAT" not in read_tables(layout(memory="256M", max_memory="1G"))


def test_the_nodes_come_first_in_the_table() -> None:
    numa = ("node,nodeid=0,memdev=a", "node,nodeid=1,memdev=b")
    backends = ("memory-backend-ram,id=a,size=64M", "memory-backend-ram,id=b,size=64M")
    there = layout(memory="128M", memory_slots=1, max_memory="1G", numa=numa, memory_backends=backends)
    srat = read_tables(there)[b"SRAT"]
    last = srat[-40:]
    assert struct.unpack_from("<BBI", last) == (1, 40, 1), "the last node, as QEMU does it"


def test_slots_and_their_limits_are_checked() -> None:
    def refusal(**fields: object) -> str:
        with pytest.raises(ConfigError) as refused:
            layout(**fields)
        return refused.value.path

    assert refusal(memory_slots=1) == "max_memory"
    assert refusal(memory_slots=257, max_memory="1G") == "memory_slots"
    assert refusal(memory_slots=-1, max_memory="1G") == "memory_slots"
    assert refusal(memory_slots=1, max_memory="128M", memory="128M") == "max_memory"
    assert refusal(max_memory="64M", memory="128M") == "max_memory"
    assert refusal(memory_slots=1, max_memory="1G", board="none") == "memory_slots"
    bits = plan_cpu(MachineConfig()).phys_bits
    assert refusal(memory_slots=1, max_memory=1 << bits) == "max_memory"
    assert layout(max_memory="1G").memory == 128 * MIB
