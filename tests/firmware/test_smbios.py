from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from vmcore.firmware import smbios
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.units import MIB

LAYOUTS = [PlatformLayout(memory=memory, cpus=cpus) for memory, cpus in ((MIB, 1), (256 * MIB, 4), (8 << 30, 255))]


def structures(data: bytes) -> list[tuple[int, int, bytes, list[bytes]]]:
    """(type, handle, formatted area, strings) of each structure, found by walking as DSP0134 6.1 says."""
    at, found = 32, []
    while True:
        kind, length, handle = struct.unpack_from("<BBH", data, at)
        end = data.index(b"\0\0", at + length)
        found.append((kind, handle, data[at : at + length], data[at + length : end].split(b"\0")))
        at = end + 2
        if kind == 127:
            assert at == len(data)
            return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_entry_point_describes_the_structures(layout: PlatformLayout) -> None:
    segment = smbios.build(layout)
    data = segment.data
    assert (segment.address, segment.rom, data[:4], data[16:21]) == (0xF0000, True, b"_SM_", b"_DMI_")
    assert sum(data[:31]) & 0xFF == 0
    assert sum(data[16:31]) & 0xFF == 0
    length, address, number, revision = struct.unpack_from("<HIHB", data, 22)
    found = structures(data)
    assert (length, address, number, revision) == (len(data) - 32, 0xF0020, len(found), 0x28)
    assert [handle for _, handle, _, _ in found] == list(range(len(found)))
    assert {kind for kind, _, _, _ in found} == {0, 1, 3, 4, 16, 17, 19, 32, 127}
    for _, _, area, texts in found:
        assert len(area) in (4, 11, 22, 23, 24, 27, 31, 40, 42)
        assert texts == [b""] or b"" not in texts
    assert segment.end <= 0xFE000


@pytest.mark.parametrize("layout", LAYOUTS)
def test_dmidecode_reads_sizes_and_names(layout: PlatformLayout, tmp_path: Path) -> None:
    if shutil.which("dmidecode") is None:
        pytest.skip("dmidecode is not installed")
    # In a dump the structures follow the entry point at offset 32.
    dump = bytearray(smbios.build(layout).data)
    struct.pack_into("<I", dump, 24, 32)
    dump[21] = 0
    dump[21] = -sum(dump[16:31]) & 0xFF
    (tmp_path / "dump").write_bytes(dump)
    text = subprocess.run(
        ["dmidecode", "--from-dump", tmp_path / "dump"], capture_output=True, text=True, check=True
    ).stdout
    assert "Product Name: vmcore PC" in text
    assert f"Core Count: {layout.cpus}" in text
    size = f"{layout.memory >> 30} GB" if layout.memory >= 1 << 30 else f"{layout.memory >> 20} MB"
    assert f"Maximum Capacity: {size}" in text
    assert f"\tSize: {size if layout.memory != MIB else '1 MB'}" in text.replace("1024 kB", "1 MB")
    for word in ("Invalid", "OUT OF SPEC", "Wrong", "BAD", "broken"):
        assert word.lower() not in text.lower()


def test_the_uuid_stands_in_the_system_structure_with_its_first_fields_little_endian() -> None:
    uuid = bytes.fromhex("12345678 9abc def0 1234 56789abcdef0")
    data = smbios.build(PlatformLayout(uuid=uuid)).data
    assert bytes.fromhex("78563412 bc9a f0de 1234 56789abcdef0") in data
