"""How migrations are done: capabilities that can be switched on, and parameters with their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from vmcore.model.errors import UsageError
from vmcore.model.migration import (
    MigrateSetParameters,
    MigrationCapability,
    MigrationParameters,
    MultiFDCompression,
)

__all__ = ["CAPABILITIES", "DEFAULT_PARAMETERS", "changed_capabilities", "changed_parameters"]

_C: Final = MigrationCapability

CAPABILITIES: Final = frozenset(
    {_C.EVENTS, _C.COMPRESS, _C.PAUSE_BEFORE_SWITCHOVER, _C.RETURN_PATH, _C.AUTO_CONVERGE, _C.VALIDATE_UUID}
)
"""What can be switched on.

EVENTS: Migration and MigrationPass are published.  COMPRESS: memory goes as zlib streams of level `compress_level`.
PAUSE_BEFORE_SWITCHOVER: when the guest stands still, wait for `go_on`.  AUTO_CONVERGE: a guest that writes faster
than is sent is held back.  RETURN_PATH: fail where the destination cannot answer; where it can, it is asked anyway.
VALIDATE_UUID: destinations of another UUID are refused; they always are, as every other difference is.
"""

_REFUSED: Final[Mapping[MigrationCapability, str]] = {
    _C.POSTCOPY_RAM: "Postcopy is not supported",
    _C.X_COLO: "QEMU compiled without replication module can't enable COLO",
    _C.BLOCK: "QEMU compiled without old-style (blk/-b, inc/-i) block migration",
    _C.BACKGROUND_SNAPSHOT: "Background-snapshot is not supported by host kernel",
    _C.ZERO_COPY_SEND: "Zero copy only available for non-compressed non-TLS multifd migration",
    _C.POSTCOPY_PREEMPT: "Postcopy preempt requires postcopy-ram",
}
"""What a client is told, in the words that it knows, where another program would lack the same."""


def changed_capabilities(
    before: frozenset[MigrationCapability], changes: Mapping[MigrationCapability, bool]
) -> frozenset[MigrationCapability]:
    """The capabilities that are on after these changes.  UsageError for one that there is not."""
    for capability, state in changes.items():
        if state and capability not in CAPABILITIES:
            raise UsageError(_REFUSED.get(capability, f"Capability '{capability.value}' is not supported"))
    return (before | {c for c, on in changes.items() if on}) - {c for c, on in changes.items() if not on}


DEFAULT_PARAMETERS: Final = MigrationParameters(
    announce_initial=50,
    announce_max=550,
    announce_rounds=5,
    announce_step=100,
    compress_level=1,
    compress_threads=8,
    compress_wait_thread=True,
    decompress_threads=2,
    throttle_trigger_threshold=50,
    cpu_throttle_initial=20,
    cpu_throttle_increment=10,
    cpu_throttle_tailslow=False,
    tls_creds="",
    tls_hostname="",
    tls_authz="",
    max_bandwidth=128 << 20,
    downtime_limit=300,
    x_checkpoint_delay=20_000,
    block_incremental=False,
    multifd_channels=2,
    xbzrle_cache_size=64 << 20,
    max_postcopy_bandwidth=0,
    max_cpu_throttle=99,
    multifd_compression=MultiFDCompression.NONE,
    multifd_zlib_level=1,
    multifd_zstd_level=1,
)
"""What holds until it is changed."""

_VALUE: Final = "expects a value between {} and {}"
_RANGE: Final = "expects an integer in the range of {} to {}"
_RANGES: Final = {
    "compress_level": (0, 9, _VALUE),
    "compress_threads": (1, 255, _VALUE),
    "decompress_threads": (1, 255, _VALUE),
    "throttle_trigger_threshold": (1, 100, _RANGE),
    "cpu_throttle_initial": (1, 99, _RANGE),
    "cpu_throttle_increment": (1, 99, _RANGE),
    "downtime_limit": (0, 2_000_000, "expects an integer in the range of 0 to (2000 * 1000) ms"),
    "multifd_channels": (1, 255, _VALUE),
    "announce_initial": (0, 100_000, _VALUE),
    "announce_max": (0, 100_000, _VALUE),
    "announce_rounds": (0, 1000, _VALUE),
    "announce_step": (1, 10_000, "expects a value between 0 and 10000"),
}
PAGE: Final = 4096


def changed_parameters(before: MigrationParameters, changes: MigrateSetParameters) -> MigrationParameters:
    """The parameters after these changes.  UsageError for a value out of range."""
    names = (field.name for field in attrs.fields(MigrateSetParameters))
    given = {name: value for name in names if (value := getattr(changes, name)) is not None}
    for name, (low, high, text) in _RANGES.items():
        if name in given and not low <= given[name] <= high:
            raise UsageError(f"Parameter '{name}' {text.format(low, high)}")
    size = given.get("xbzrle_cache_size", PAGE)
    if size < PAGE or size & size - 1:
        raise UsageError(
            "Parameter 'xbzrle_cache_size' expects a power of two no less than the target page size"
        )
    after = attrs.evolve(before, **given)
    if "max_cpu_throttle" in given and not (after.cpu_throttle_initial or 0) <= given["max_cpu_throttle"] <= 99:
        raise UsageError("Parameter 'max_cpu_throttle' expects an integer in the range of cpu_throttle_initial to 99")
    return after
