from __future__ import annotations

import pytest

from vmcore.firmware.acpi import aml


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (2, "0a02"),
        (0xFF, "0aff"),
        (0x100, "0b0001"),
        (0x12345678, "0c78563412"),
        (1 << 32, "0e0000000001000000"),
    ],
)
def test_integers_take_their_shortest_form(value: int, encoded: str) -> None:
    assert aml.integer(value).hex() == encoded


@pytest.mark.parametrize(
    ("path", "encoded"),
    [
        ("\\", b"\\\0"),
        ("_SB", b"_SB_"),
        ("\\_SB", b"\\_SB_"),
        ("^^AB", b"^^AB__"),
        ("_SB.PCI0", b"\x2e_SB_PCI0"),
        ("\\_SB.PCI0.ISA", b"\\\x2f\x03_SB_PCI0ISA_"),
    ],
)
def test_names_are_padded_and_prefixed(path: str, encoded: bytes) -> None:
    assert aml.name_string(path) == encoded


@pytest.mark.parametrize("path", ["1AB", "toolong", "abc", "A B", "A..B", "^\\A", "A\\B"])
def test_names_that_acpi_does_not_know_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"ACPI name|root prefix"):
        aml.name_string(path)


@pytest.mark.parametrize("size", [0, 62, 63, 64, 4093, 4094, 4095, 1 << 20])
def test_package_lengths_count_themselves(size: int) -> None:
    term = aml.scope("ABCD", bytes(size))
    lead = term[1]
    extra = lead >> 6
    length = lead & 0x3F if extra == 0 else lead & 0xF | int.from_bytes(term[2 : 2 + extra], "little") << 4
    assert length == len(term) - 1
    assert len(term) == 2 + extra + 4 + size


def test_identifiers_are_compressed_as_windows_and_linux_read_them() -> None:
    assert aml.eisa_id("PNP0501").hex() == "0c41d00501"
    assert aml.eisa_id("PNP0F13").hex() == "0c41d00f13"
    with pytest.raises(ValueError, match="EISA"):
        aml.eisa_id("COM1")


def test_resource_templates_end_with_their_tag() -> None:
    template = aml.resource_template(aml.io(0x3F8, 8), aml.irq(4), aml.memory32_fixed(0xFED00000, 0x400))
    content = bytes.fromhex("4701f803f8030108221000860900010000d0fe000400007900")
    assert template == b"\x11" + bytes([len(content) + 3, 0x0A, len(content)]) + content


def test_terms_nest() -> None:
    method = aml.method("_STA", aml.return_(aml.integer(0xF)))
    assert method.hex() == "14095f53544100a40a0f"
    assert aml.device("A", method) == b"\x5b\x82" + bytes([1 + 4 + len(method)]) + b"A___" + method
    assert aml.name("X", aml.package([aml.integer(1), aml.string("ab")])).hex() == "08585f5f5f120702010d616200"
    assert aml.buffer(b"abc").hex() == "11060a03616263"
    with pytest.raises(ValueError, match="ASCII"):
        aml.string("ä")
    with pytest.raises(ValueError, match="64 bits"):
        aml.integer(1 << 64)
