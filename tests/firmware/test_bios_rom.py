from __future__ import annotations

import shutil
import struct
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from vmcore.firmware.bios import rom
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.units import MIB


def test_the_kept_bytes_are_those_of_the_source(tmp_path: Path) -> None:
    if shutil.which("nasm") is None:
        pytest.skip("nasm is not installed")
    source = files("vmcore.firmware.bios").joinpath("bios.asm").read_text()
    (tmp_path / "bios.asm").write_text(source)
    subprocess.run(["nasm", "-f", "bin", "-w+error", "-o", "bios.bin", "bios.asm"], cwd=tmp_path, check=True)
    assert (tmp_path / "bios.bin").read_bytes() == rom.assembled()


def test_the_rom_ends_at_one_mebibyte_with_reset_vector_and_model() -> None:
    segment = rom.segment(PlatformLayout())
    assert segment.end == 0x100000
    assert segment.rom
    opcode, offset, selector = struct.unpack_from("<BHH", segment.data, 0x1FF0)
    assert (opcode, offset, selector) == (0xEA, 0xE05B, 0xF000)
    assert segment.data[0x1FFE] == 0xFC
    assert rom.reset_state().cs.base + rom.reset_state().rip == 0xFFFF0


def test_the_configuration_is_written_where_the_code_reads_it() -> None:
    layout = PlatformLayout(memory=64 * MIB)
    data = rom.segment(layout, boot_unit=0, start=rom.Jump(0x1020, 2, 0x1000, (0x1000, 0xE000))).data
    assert data[0x1C00:0x1C04] == b"VMCB"
    assert (data[0x1C04], data[0x1C05]) == (0, 4)
    disk, timer, base, above, low, high, equipment = struct.unpack_from("<7H", data, 0x1C06)
    assert (disk, timer, base) == (0x0D00, 0x608, 639)
    assert above == 63 * 1024 - 64
    assert (low, high) == (15 * 1024, 48 * 16 - 1)
    assert equipment == 0x26 | 2 << 9
    assert struct.unpack_from("<4HHH", data, 0x1C14) == (0x3F8, 0x2F8, 0, 0, 0x9FC0, len(layout.memory_map()))
    assert struct.unpack_from("<5H", data, 0x1C20) == (2, 0x1020, 0x1000, 0xE000, 0x1000)
    for number, line in enumerate(layout.memory_map()):
        assert struct.unpack_from("<QQI", data, 0x1C40 + 20 * number) == (line.start, line.size, line.kind)
