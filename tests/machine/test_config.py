"""MachineConfig checks every field and names the one that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs.exceptions import FrozenInstanceError

from vmcore.machine.config import DeviceOption, FlatImage, FlatMode, MachineConfig
from vmcore.model.errors import ConfigError


def test_sizes_instants_and_paths_are_taken_as_people_write_them() -> None:
    config = MachineConfig(memory="512M", rtc="1970-01-01T00:01:00", kernel="vmlinuz", initrd=b"cpio")
    assert config.memory == 512 << 20
    assert config.rtc == 60
    assert config.kernel == Path("vmlinuz")
    assert config.initrd == b"cpio"


def test_a_configuration_is_a_frozen_value() -> None:
    assert MachineConfig(memory="64M") == MachineConfig(memory=64 << 20)
    assert hash(MachineConfig(memory="64M")) == hash(MachineConfig(memory="64M"))
    with pytest.raises(FrozenInstanceError):
        MachineConfig().cpus = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"board": "q36"}, "board"),
        ({"memory": "much"}, "memory"),
        ({"memory": "1000"}, "memory"),
        ({"memory": "4K"}, "memory"),
        ({"memory": "2T"}, "memory"),
        ({"cpus": 0}, "cpus"),
        ({"cpus": 65}, "cpus"),
        ({"cpus": True}, "cpus"),
        ({"cpus": "2"}, "cpus"),
        ({"cpu": ""}, "cpu"),
        ({"kernel": 7}, "kernel"),
        ({"append": "quiet"}, "append"),
        ({"initrd": b"x"}, "initrd"),
        ({"kernel": b"x", "append": "a\0b"}, "append"),
        ({"kernel": b"x", "bootsector": b"y"}, "bootsector"),
        ({"bootsector": b"x", "flat": FlatImage(b"y")}, "flat"),
        ({"flat": b"y"}, "flat"),
        ({"serials": 5}, "serials"),
        ({"seed": -1}, "seed"),
        ({"rtc": "now"}, "rtc"),
        ({"no_reboot": 1}, "no_reboot"),
        ({"instruction_ns": 0}, "instruction_ns"),
        ({"quantum_ns": 0}, "quantum_ns"),
        ({"board": "none", "kernel": b"x"}, "kernel"),
        ({"devices": "isa-debug-exit"}, "devices"),
        ({"devices": ["nosuch"]}, "devices[0]"),
        ({"devices": ["isa-debug-exit", "isa-debug-exit,iosize=5"]}, "devices[1].iosize"),
        ({"devices": ["isa-debug-exit,iobase=zero"]}, "devices[0].iobase"),
        ({"devices": ["isa-debug-exit,irq=3"]}, "devices[0].irq"),
        ({"devices": ["isa-debug-exit,iobase"]}, "devices[0]"),
        ({"devices": ["isa-debug-exit,iobase=1,iobase=2"]}, "devices[0].iobase"),
        ({"devices": ["isa-debug-exit,id=1a"]}, "devices[0].id"),
        ({"devices": ["isa-debug-exit,id=a", "isa-debugcon,id=a"]}, "devices[1].id"),
        ({"devices": [7]}, "devices[0]"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_place(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig(**fields)
    assert caught.value.path == path


def test_errors_do_not_print_whole_images() -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig(kernel=b"k", bootsector=bytes(100_000))
    assert len(str(caught.value)) < 200


def test_devices_are_read_from_options_and_get_their_defaults() -> None:
    config = MachineConfig(
        devices=["isa-debug-exit,iobase=0xf4,iosize=4", ("isa-debugcon", {"iobase": 0x402, "id": "log"})]
    )
    assert config.devices == (
        DeviceOption("isa-debug-exit", {"iobase": 0xF4, "iosize": 4}),
        DeviceOption("isa-debugcon", {"iobase": 0x402, "readback": 0xE9}, "log"),
    )
    assert MachineConfig(devices=["isa-debug-exit"]).devices[0].properties == {"iobase": 0x501, "iosize": 2}


def test_a_parsed_device_is_taken_again_as_it_is() -> None:
    devices = MachineConfig(devices=["isa-debug-exit,iobase=0xf4,id=quit"]).devices
    assert MachineConfig(devices=devices).devices == devices


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"image": 3}, "flat.image"),
        ({"image": None}, "flat.image"),
        ({"image": b"x", "address": -1}, "flat.address"),
        ({"image": b"x", "entry": 1 << 52}, "flat.entry"),
        ({"image": b"x", "mode": "fast"}, "flat.mode"),
    ],
)
def test_a_wrong_flat_image_is_an_error_that_names_its_place(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FlatImage(**fields)
    assert caught.value.path == path


def test_a_flat_image_takes_its_mode_by_name() -> None:
    assert FlatImage(b"x", mode="long").mode is FlatMode.LONG
