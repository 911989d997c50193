"""What firmware is told about booting."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from vmcore.firmware import fw_cfg
from vmcore.firmware.boot_options import BootOptions, read_boot
from vmcore.firmware.fw_cfg import Firmware
from vmcore.firmware.platform import PlatformLayout
from vmcore.model.errors import ConfigError


def files(boot: BootOptions, order: tuple[str, ...] = ()) -> dict[str, bytes]:
    items = fw_cfg.contents(PlatformLayout(), Firmware(image=b"", boot=boot, boot_order=order))
    directory = items[0x19]
    found = {}
    for at in range(4, len(directory), 64):
        size, selector, name = struct.unpack_from(">IHxx56s", directory, at)
        found[name.rstrip(b"\0").decode()] = items[selector]
        assert len(items[selector]) == size
    return found


@pytest.mark.parametrize(
    ("options", "codes", "first"),
    [
        (BootOptions(), (0x12, 0x30), (0x12, 0x30)),
        (BootOptions("dcn"), (0x23, 0x40), (0x23, 0x40)),
        (BootOptions("c", once="d"), (0x02, 0x00), (0x03, 0x00)),
        (BootOptions(""), (0, 0), (0, 0)),
    ],
)
def test_the_order_in_cmos_memory(options: BootOptions, codes: tuple[int, int], first: tuple[int, int]) -> None:
    assert options.codes() == codes
    assert options.codes(first=True) == first


def test_what_the_configuration_device_says() -> None:
    assert files(BootOptions())["etc/boot-fail-wait"] == b"\xff" * 4
    assert "bootorder" not in files(BootOptions())
    assert "etc/boot-menu-wait" not in files(BootOptions(menu=True))
    found = files(BootOptions(menu=True, menu_wait_ms=3000, reboot_timeout_ms=1000, strict=True), ("/a", "/b"))
    assert found["etc/boot-menu-wait"] == (3000).to_bytes(2, "little")
    assert found["etc/boot-fail-wait"] == (1000).to_bytes(4, "little")
    assert found["bootorder"] == b"/a\n/b\nHALT\0"
    items = fw_cfg.contents(PlatformLayout(), Firmware(image=b"", boot=BootOptions("dc", menu=True)))
    assert (items[0x0C], items[0x0E]) == (b"d\0", b"\1\0")


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (lambda: read_boot(3), "boot"),
        (lambda: read_boot("xc"), "boot.order"),
        (lambda: read_boot("cc"), "boot.order"),
        (lambda: read_boot("acdn"), "boot.order"),
        (lambda: BootOptions(once="q"), "boot.once"),
        (lambda: BootOptions(menu=1), "boot.menu"),  # type: ignore[arg-type]
        (lambda: BootOptions(strict="on"), "boot.strict"),  # type: ignore[arg-type]
        (lambda: BootOptions(menu_wait_ms=-1), "boot.menu_wait_ms"),
        (lambda: BootOptions(reboot_timeout_ms=1 << 16), "boot.reboot_timeout_ms"),
    ],
)
def test_what_cannot_be(given: Any, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        given()
    assert caught.value.path == path
