from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from vmcore.engine.topology import CpuTopology
from vmcore.firmware import acpi
from vmcore.firmware.platform import MemoryKind, PlatformLayout, SerialPort
from vmcore.machine.build import plan_cpu, plan_layout
from vmcore.machine.config import MachineConfig
from vmcore.model.errors import ConfigError
from vmcore.model.units import MIB

LAYOUTS = {
    "small": PlatformLayout(memory=1 * MIB, cpus=1, serial=()),
    "usual": PlatformLayout(memory=256 * MIB, cpus=4),
    "large": PlatformLayout(
        memory=8 << 30, cpus=255, serial=(SerialPort(0x3F8, 4),) * 4, text_screen=True, floppies=True
    ),
    "q35": PlatformLayout(memory=4 << 30, cpus=2, low_ram_end=0x8000_0000, ich9=True, ecam=0xB000_0000, gpe0=0x620),
    "bare": PlatformLayout(memory=64 * MIB, keyboard=False, rtc=False, mouse=False, pm_timer_bits=32, s5_sleep_type=7),
}


def read_tables(layout: PlatformLayout) -> dict[bytes, bytes]:
    """Walks from the root pointer as an operating system does; the tables by signature."""
    built = acpi.build(layout)

    def read(address: int, size: int) -> bytes:
        for part in built.segments:
            if part.address <= address and address + size <= part.end:
                return part.data[address - part.address : address - part.address + size]
        raise AssertionError(f"no table at {address:#x}")

    def table(address: int) -> bytes:
        data = read(address, int.from_bytes(read(address + 4, 4), "little"))
        assert sum(data) & 0xFF == 0 or data[:4] == b"FACS"
        return data

    pointer = read(built.rsdp, 36)
    assert sum(pointer[:20]) & 0xFF == 0
    assert sum(pointer) & 0xFF == 0
    (rsdt_at,), (xsdt_at,) = struct.unpack_from("<I", pointer, 16), struct.unpack_from("<Q", pointer, 24)
    rsdt, xsdt = table(rsdt_at), table(xsdt_at)
    entries = struct.unpack(f"<{(len(xsdt) - 36) // 8}Q", xsdt[36:])
    assert entries == struct.unpack(f"<{(len(rsdt) - 36) // 4}I", rsdt[36:])
    found = {data[:4]: data for data in (rsdt, xsdt, *map(table, entries))}
    fadt = found[b"FACP"]
    facs_at, dsdt_at = struct.unpack_from("<II", fadt, 36)
    assert struct.unpack_from("<QQ", fadt, 132) == (0, dsdt_at)
    assert facs_at % 64 == 0
    found[b"FACS"], found[b"DSDT"] = table(facs_at), table(dsdt_at)
    return found


@pytest.mark.parametrize("name", LAYOUTS)
def test_all_tables_are_reached_from_the_root_pointer_with_right_checksums(name: str) -> None:
    more = {b"HPET", b"MCFG"} if LAYOUTS[name].ecam else {b"HPET"}
    assert set(read_tables(LAYOUTS[name])) == {b"RSDT", b"XSDT", b"FACP", b"APIC", b"FACS", b"DSDT"} | more


@pytest.mark.parametrize("name", LAYOUTS)
def test_tables_lie_where_the_memory_map_says_they_do(name: str) -> None:
    layout = LAYOUTS[name]
    kinds = {MemoryKind.ACPI, MemoryKind.NVS, MemoryKind.RESERVED}
    reserved = [r for r in layout.memory_map() if r.kind in kinds]
    for part in acpi.build(layout).segments:
        assert any(r.start <= part.address and part.end <= r.end for r in reserved), part
        if part.name == "FACS" and layout.memory >= 4 * MIB:
            assert any(r.kind is MemoryKind.NVS and r.start <= part.address < r.end for r in reserved)


def test_the_fixed_table_tells_ports_and_interrupt_of_the_layout() -> None:
    layout = PlatformLayout(memory=64 * MIB, pm1_event=0x700, pm1_control=0x704, pm_timer=0x708, sci_irq=11)
    fadt = read_tables(layout)[b"FACP"]
    assert struct.unpack_from("<HI", fadt, 46) == (11, 0xB2)
    assert fadt[52:54] == b"\xf1\xf0"
    assert struct.unpack_from("<I4xI8xII", fadt, 56) == (0x700, 0x704, 0x708, 0xAFE0)
    assert struct.unpack_from("<Q", fadt, 148 + 4) == (0x700,)
    assert struct.unpack_from("<BBBBQB", fadt, 116) == (1, 8, 0, 1, 0xCF9, 0x06)
    flags, boot = struct.unpack_from("<I", fadt, 112)[0], struct.unpack_from("<H", fadt, 109)[0]
    assert flags & (1 << 10)
    assert not flags & (1 << 4)
    assert boot == 1 | 2 | 4
    bare = read_tables(LAYOUTS["bare"])[b"FACP"]
    assert struct.unpack_from("<H", bare, 109)[0] == 1 | 4 | 0x20
    assert struct.unpack_from("<I", bare, 112)[0] & (1 << 8)


def test_the_interrupt_table_lists_processors_and_overrides() -> None:
    madt = read_tables(LAYOUTS["usual"])[b"APIC"]
    assert struct.unpack_from("<II", madt, 36) == (0xFEE00000, 1)
    entries, at = [], 44
    while at < len(madt):
        entries.append(madt[at : at + madt[at + 1]])
        at += madt[at + 1]
    assert [entry[2:8] for entry in entries if entry[0] == 0] == [bytes([n, n, 1, 0, 0, 0]) for n in range(4)]
    assert struct.pack("<BBBBII", 1, 12, 0, 0, 0xFEC00000, 0) in entries
    assert struct.pack("<BBBBIH", 2, 10, 0, 0, 2, 0) in entries
    assert struct.pack("<BBBBIH", 2, 10, 0, 9, 9, 0xD) in entries
    assert struct.pack("<BBBHB", 4, 6, 0xFF, 0, 1) in entries


def test_places_for_vcpus_are_listed_by_their_apic_ids_and_as_empty_where_they_are() -> None:
    layout = PlatformLayout(memory=64 * MIB, cpus=2, topology=CpuTopology(sockets=2, cores=3), present=0b100001)
    madt = read_tables(layout)[b"APIC"]
    assert madt[8] == 5
    processors = [struct.unpack_from("<BBI", madt, 44 + 8 * n + 2) for n in range(6)]
    assert processors == [(0, 0, 1), (1, 1, 2), (2, 2, 2), (3, 4, 2), (4, 5, 2), (5, 6, 1)]


def test_processors_tell_the_node_that_they_belong_to() -> None:
    config = MachineConfig(
        memory="64M",
        memory_backends=["memory-backend-ram,id=m0,size=64M"],
        numa=["node,cpus=0-1,memdev=m0", "node,cpus=2"],
        cpus=1,
        maxcpus=3,
    )
    code = read_tables(plan_layout(config, plan_cpu(config)))[b"DSDT"]
    found = [code[match.end()] for match in re.finditer(b"_PXM", code)]
    assert found == [0, 0, 1]


def test_too_little_room_for_the_tables_is_an_error_that_says_how_much_is_needed() -> None:
    with pytest.raises(ConfigError, match="acpi_size: 8192: expected at least 0x"):
        acpi.build(PlatformLayout(memory=64 * MIB, cpus=255, acpi_size=8192))


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_acpi_compiler_finds_no_fault(name: str, tmp_path: Path) -> None:
    if shutil.which("iasl") is None:
        pytest.skip("iasl (acpica-tools) is not installed")
    for signature, data in read_tables(LAYOUTS[name]).items():
        file = tmp_path / f"{signature.decode().lower()}.dat"
        file.write_bytes(data)
        done = subprocess.run(["iasl", "-d", file], capture_output=True, text=True, check=True)
        source = file.with_suffix(".dsl")
        complaints = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line or "arning" in line]
        assert complaints == []
        assert "terminates in the middle" not in source.read_text()
        assert "Invalid" not in source.read_text()
    # The definition block again from its disassembly: the compiler's own checks.
    done = subprocess.run(["iasl", "-we", tmp_path / "dsdt.dsl"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 Errors, 0 Warnings, 0 Remarks" in done.stdout
