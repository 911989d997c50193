"""Errors say who did it and carry their values as fields."""

import pickle

import pytest

from vmcore.model.errors import (
    CommandError,
    ConfigError,
    DeviceModelError,
    GuestError,
    ImageError,
    UsageError,
    VmcoreError,
)


def test_the_base_class_refuses_to_be_raised_itself() -> None:
    with pytest.raises(TypeError, match="subclasses"):
        VmcoreError("x")


def test_a_config_error_is_a_value_error_that_names_path_value_and_expectation() -> None:
    error = ConfigError("devices[1].iosize", 3, "1, 2 or 4")
    assert isinstance(error, ValueError)
    assert str(error) == "devices[1].iosize: 3: expected 1, 2 or 4"
    assert (error.path, error.value, error.expected) == ("devices[1].iosize", 3, "1, 2 or 4")


def test_an_image_error_shows_numbers_in_hex() -> None:
    assert str(ImageError("vmlinuz", "boot_flag", 0x1234, "0xaa55")) == "vmlinuz: boot_flag: 0x1234: expected 0xaa55"


def test_a_device_model_error_tells_device_register_pc_and_instruction_count() -> None:
    error = DeviceModelError("/machine/rtc", "port 0x71", 0x7C00, 42)
    assert str(error) == "device model failed: /machine/rtc, port 0x71 at pc 0x7c00 after 42 instructions"
    assert str(DeviceModelError("/machine/rtc", None, None, 1)) == (
        "device model failed: /machine/rtc after 1 instructions"
    )


def test_a_guest_error_shows_only_the_details_that_it_has() -> None:
    assert str(GuestError("no page")) == "no page"
    assert str(GuestError("no page", address=0x1000, access="read", pc=0x10, disassembly="nop")) == (
        "no page (read at 0x1000, pc 0x10, nop)"
    )


@pytest.mark.parametrize(
    "error",
    [
        UsageError("closed"),
        ConfigError("memory", "x", "a size"),
        ImageError("f", "size", 1, "2"),
        GuestError("no page", pc=1, address=2, access="write", disassembly="nop"),
        DeviceModelError("/machine/rtc", None, 3, 4),
        CommandError("GenericError", "no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_survives_pickling_with_all_its_fields(error: VmcoreError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
