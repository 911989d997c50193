"""Tables handed to firmware as files: what its loader makes of them is what direct placement gives."""

from __future__ import annotations

import struct

from vmcore.firmware import acpi, fw_cfg, smbios
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.units import GIB, MIB


def run_loader(files: dict[str, bytes], places: dict[str, int]) -> dict[str, bytearray]:
    """Do what the commands say; places: where the files are allocated."""
    memory: dict[str, bytearray] = {}
    script = files["etc/table-loader"]
    assert len(script) % 128 == 0
    for start in range(0, len(script), 128):
        (command,) = struct.unpack_from("<I", script, start)
        name = script[start + 4 : start + 60].rstrip(b"\0").decode()
        if command == 1:
            alignment, zone = struct.unpack_from("<IB", script, start + 60)
            assert places[name] % alignment == 0
            assert zone in (1, 2)
            memory[name] = bytearray(files[name])
        elif command == 2:
            target = script[start + 60 : start + 116].rstrip(b"\0").decode()
            offset, size = struct.unpack_from("<IB", script, start + 116)
            value = int.from_bytes(memory[name][offset : offset + size], "little") + places[target]
            memory[name][offset : offset + size] = value.to_bytes(size, "little")
        else:
            assert command == 3
            offset, first, size = struct.unpack_from("<III", script, start + 60)
            assert memory[name][offset] == 0
            memory[name][offset] = -sum(memory[name][first : first + size]) & 0xFF
    return memory


def test_the_loaded_tables_lead_from_one_to_the_next_and_add_up() -> None:
    layout = PlatformLayout(memory=256 * MIB, cpus=3)
    base, root = 0x0FF0_0000, 0xF5000
    loaded = run_loader(acpi.files(layout), {"etc/acpi/tables": base, "etc/acpi/rsdp": root})
    tables, rsdp = loaded["etc/acpi/tables"], loaded["etc/acpi/rsdp"]
    assert sum(rsdp[:20]) & 0xFF == sum(rsdp) & 0xFF == 0

    def table(address: int) -> bytes:
        start = address - base
        (size,) = struct.unpack_from("<I", tables, start + 4)
        data = bytes(tables[start : start + size])
        assert sum(data) & 0xFF == 0, data[:4]
        return data

    rsdt, xsdt = table(struct.unpack_from("<I", rsdp, 16)[0]), table(struct.unpack_from("<Q", rsdp, 24)[0])
    listed = struct.unpack(f"<{(len(rsdt) - 36) // 4}I", rsdt[36:])
    assert listed == struct.unpack(f"<{(len(xsdt) - 36) // 8}Q", xsdt[36:])
    found = {data[:4]: data for data in map(table, listed)}
    fadt = found[b"FACP"]
    assert struct.unpack_from("<I", fadt, 36)[0] == base
    assert tables[:4] == b"FACS"
    dsdt = table(struct.unpack_from("<I", fadt, 40)[0])
    assert struct.unpack_from("<Q", fadt, 140)[0] == struct.unpack_from("<I", fadt, 40)[0]
    direct = acpi.build(layout).segments[-1].data
    assert dsdt in direct
    assert found[b"APIC"] in direct


def test_the_directory_lists_the_files_by_name_and_their_selectors_give_them() -> None:
    given = fw_cfg.Firmware(image=b"", files={"opt/test": b"hello"}, boot_order=("HALT",))
    items = fw_cfg.contents(PlatformLayout(memory=5 * GIB, cpus=4), given)
    directory = items[0x19]
    (count,) = struct.unpack_from(">I", directory)
    found = {}
    for index in range(count):
        size, selector, _, name = struct.unpack_from(">IHH56s", directory, 4 + 64 * index)
        found[name.rstrip(b"\0").decode()] = items[selector]
        assert size == len(items[selector])
    assert list(found) == sorted(found)
    assert found["opt/test"] == b"hello"
    assert found["bootorder"] == b"HALT\0"
    assert struct.unpack("<QQIQQI", found["etc/e820"]) == (0, 3 * GIB, 1, 4 * GIB, 2 * GIB, 1)
    assert items[0x05] == items[0x0F] == b"\4\0"
    assert found["etc/smbios/smbios-anchor"][:4] == b"_SM_"
    whole = smbios.build(PlatformLayout(memory=5 * GIB, cpus=4)).data
    assert found["etc/smbios/smbios-tables"] in whole
