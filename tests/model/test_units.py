"""Sizes and times as people write them."""

import pytest

from vmcore.model.errors import ConfigError
from vmcore.model.units import format_ns, format_size, parse_instant, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512M", 512 << 20),
        ("64MiB", 64 << 20),
        ("64MB", 64 << 20),
        ("1.5G", 3 << 29),
        ("4096", 4096),
        ("0x1000", 4096),
        (" 2 k ", 2048),
        ("1T", 1 << 40),
        (77, 77),
        ("0", 0),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1.0001K", "12Q", "1 2", -1, True, None, 1.5, "٣M"])
def test_anything_else_is_an_error_that_names_the_field(text: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_size(text, "memory")  # type: ignore[arg-type]
    assert caught.value.path == "memory"
    assert caught.value.value is text


@pytest.mark.parametrize(("size", "text"), [(512 << 20, "512 MiB"), (1000, "1000 B"), (0, "0 B"), (1 << 30, "1 GiB")])
def test_sizes_are_shown_in_their_largest_whole_unit(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (999, "999 ns"), (1500, "1.500 µs"), (1_234_567_890, "1.235 s"), (-2_000_000, "-2.000 ms")],
)
def test_guest_time_is_shown_in_a_readable_unit(ns: int, text: str) -> None:
    assert format_ns(ns) == text


def test_instants_are_utc_unless_they_say_otherwise() -> None:
    assert parse_instant("1970-01-02T00:00:00") == 86400
    assert parse_instant("1970-01-01T02:00:00+01:00") == 3600
    assert parse_instant(5) == 5
    with pytest.raises(ConfigError, match="rtc"):
        parse_instant("yesterday")
