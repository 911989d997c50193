"""Sizes, durations and instants as people write them.

Sizes are bytes; the suffixes are powers of 1024, with or without "iB" or "B" ("512M", "64MiB", "1.5G").  Guest time
is counted in whole nanoseconds since the machine was built; RTC instants are whole seconds since 1970 in UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from vmcore.model.errors import ConfigError

__all__ = ["GIB", "KIB", "MIB", "MS", "SECOND", "US", "format_ns", "format_size", "parse_instant", "parse_size"]

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

US: Final = 1_000
MS: Final = 1_000_000
SECOND: Final = 1_000_000_000

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\s*", re.IGNORECASE | re.ASCII)
_HEX = re.compile(r"\s*0x[0-9a-f]+\s*", re.IGNORECASE | re.ASCII)
_SHIFT: Final = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def parse_size(text: str | int, path: str = "size") -> int:
    """Bytes of a size such as "512M", "64MiB", "1.5G", "4096" or "0x1000"; an int passes through.

    path names the field in the ConfigError that anything else raises.
    """
    expected = 'a size such as "512M", "64MiB" or a number of bytes'
    if isinstance(text, bool) or not isinstance(text, int | str):
        raise ConfigError(path, text, expected)
    if isinstance(text, int):
        if text < 0:
            raise ConfigError(path, text, "a size of 0 or more bytes")
        return text
    if _HEX.fullmatch(text):
        return int(text.strip(), 16)
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(path, text, expected)
    size = Decimal(match[1]) * (1 << _SHIFT[match[2].upper()])
    if size != int(size):
        raise ConfigError(path, text, "a size that is a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """The shortest exact form: 536870912 -> "512 MiB", 1000 -> "1000 B"."""
    for unit, name in ((1 << 40, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def format_ns(ns: int) -> str:
    """Guest time for people: 1_234_567_890 -> "1.235 s", 1_500 -> "1.500 µs"."""
    magnitude = abs(ns)
    for unit, name in ((SECOND, "s"), (MS, "ms"), (US, "µs")):
        if magnitude >= unit:
            return f"{ns / unit:.3f} {name}"
    return f"{ns} ns"


def parse_instant(text: str | int, path: str = "rtc") -> int:
    """Seconds since 1970 (UTC) of an ISO 8601 instant such as "2026-01-01T00:00:00"; without an offset it is UTC."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    if isinstance(text, str):
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            if instant.tzinfo is None:
                instant = instant.replace(tzinfo=UTC)
            return int(instant.timestamp())
    raise ConfigError(path, text, 'an instant such as "2026-01-01T00:00:00" or seconds since 1970')
